# SPDX-License-Identifier: GPL-3.0-or-later
"""Verify Signature V4 of S3 requests, in the header or in the query (presigned)."""

from __future__ import annotations

import dataclasses
import datetime
import hmac
import typing as t
from urllib.parse import parse_qsl, quote, unquote

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.compat import HTTPHeaders
from botocore.credentials import Credentials

MAX_SKEW = datetime.timedelta(minutes=15)


class Denied(Exception):
    """An S3 error: status, code, message."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


@dataclasses.dataclass(frozen=True)
class Claim:
    """What the request states about its signature."""

    key_id: str
    region: str
    service: str
    signed_headers: tuple[str, ...]
    signature: str
    timestamp: str
    presigned_seconds: int | None = None


class _Recompute(S3SigV4Auth):
    """botocore chooses the headers that it signs; the receiver must sign exactly those that the sender named."""

    def headers_to_sign(self, request: t.Any) -> HTTPHeaders:
        chosen = HTTPHeaders()
        for name in request.context["signed_headers"]:
            chosen[name] = request.headers.get(name, "")
        return chosen


def read_claim(headers: t.Mapping[str, str], query: str) -> Claim | None:
    """None for an anonymous request."""
    given = dict(parse_qsl(query, keep_blank_values=True))
    try:
        if "X-Amz-Signature" in given:
            return _claim(
                given["X-Amz-Credential"],
                given["X-Amz-SignedHeaders"],
                given["X-Amz-Signature"],
                given["X-Amz-Date"],
                _seconds(given["X-Amz-Expires"]),
            )
        scheme, _, rest = headers.get("authorization", "").partition(" ")
        if not scheme:
            return None
        if scheme != "AWS4-HMAC-SHA256":
            raise Denied(400, "InvalidRequest", "The authorization mechanism is not supported. Use AWS4-HMAC-SHA256.")
        parts = dict(part.strip().split("=", 1) for part in rest.split(","))
        if "x-amz-content-sha256" not in parts["SignedHeaders"].lower().split(";"):
            raise Denied(403, "AccessDenied", "header 'x-amz-content-sha256' must be included in signature")
        return _claim(parts["Credential"], parts["SignedHeaders"], parts["Signature"], headers["x-amz-date"])
    except (KeyError, ValueError):
        raise Denied(400, "AuthorizationHeaderMalformed", "The authorization is malformed.") from None


def _seconds(text: str) -> int:
    seconds = int(text) if len(text) < 10 else -1
    if not 0 <= seconds <= 7 * 24 * 3600:
        raise Denied(400, "AuthorizationQueryParametersError", "X-Amz-Expires must be less than a week (in seconds)")
    return seconds


def _claim(credential: str, signed: str, signature: str, timestamp: str, seconds: int | None = None) -> Claim:
    key_id, day, region, service, end = credential.split("/")
    if end != "aws4_request" or day != timestamp[:8]:
        raise ValueError
    return Claim(key_id, region, service, tuple(signed.lower().split(";")), signature, timestamp, seconds)


def check(claim: Claim, secret: str, region: str, method: str, path: str, query: str, headers: dict[str, str]) -> None:
    """Raises Denied unless the signature is right; `path` and `query` are as they were sent."""
    _check_time(claim)
    if claim.region != region or claim.service != "s3" or "host" not in claim.signed_headers:
        raise Denied(403, "SignatureDoesNotMatch", f"The signature must be for the service s3 in {region}.")
    pairs = [pair.partition("=") for pair in query.split("&") if pair]
    canonical_query = "&".join(
        f"{_canonical(key)}={_canonical(value)}" for key, _, value in pairs if key != "X-Amz-Signature"
    )
    url = f"http://{headers.get('host', '')}{quote(unquote(path), safe='/-_.~')}"
    request = AWSRequest(method, f"{url}?{canonical_query}" if canonical_query else url)
    for name, value in headers.items():
        request.headers[name] = value
    if claim.presigned_seconds is not None and "x-amz-content-sha256" not in headers:
        request.headers["x-amz-content-sha256"] = "UNSIGNED-PAYLOAD"
    request.context.update(timestamp=claim.timestamp, signed_headers=claim.signed_headers)
    signer = _Recompute(Credentials(claim.key_id, secret), "s3", region)
    expected = signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
    if not hmac.compare_digest(expected.encode(), claim.signature.encode(errors="replace")):
        raise Denied(403, "SignatureDoesNotMatch", "Signature validation failed")


def _canonical(text: str) -> str:
    return quote(unquote(text), safe="-_.~")


def _check_time(claim: Claim) -> None:
    try:
        signed_at = datetime.datetime.strptime(claim.timestamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.UTC)
    except ValueError:
        raise Denied(403, "AccessDenied", "The date of the signature is malformed.") from None
    age = datetime.datetime.now(datetime.UTC) - signed_at
    if claim.presigned_seconds is None:
        if abs(age) > MAX_SKEW:
            raise Denied(403, "RequestTimeTooSkewed", "The request's time differs too much from the server's.")
    elif not -MAX_SKEW < age <= datetime.timedelta(seconds=claim.presigned_seconds):
        raise Denied(403, "AccessDenied", "Request has expired")
