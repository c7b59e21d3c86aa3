# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Verify that a key can use a bucket through the S3 API of B2. Private: may change without notice."""

from __future__ import annotations

import contextlib
import re
import typing as t
import uuid
from collections.abc import Iterator

from .._core.deps import optional, require
from .._core.errors import (
    AuthenticationError,
    ForbiddenError,
    InvalidError,
    NixciError,
    NotFoundError,
    UnavailableError,
)

with optional("boto3"):
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError


def round_trip(
    bucket: t.Mapping[str, t.Any], key_id: str, key: str, prefix: str, *, timeout: float, retries: int
) -> str | None:
    """Write, read, compare and delete a small object as Attic does, then remove the versions that deleting only hides.

    Raises NixciError if one of the first four fails. Returns a warning if a version stays behind.
    """
    require("boto3", "verify_with")
    if not bucket["region"]:
        raise InvalidError(
            f"B2: the region cannot be read from the S3 endpoint {bucket['s3_endpoint']}, and S3 signatures need it; "
            "set region."
        )
    place = {"Bucket": bucket["name"], "Key": f"{prefix}nixci-verify/{uuid.uuid4()}"}
    body = f"nixci {place['Key']}".encode()
    access = f"the key {key_id} in the bucket '{bucket['name']}' through {bucket['s3_endpoint']}"
    versions: set[str | None] = set()
    with _typed(access, "write", "writeFiles"):
        s3 = _client(bucket, key_id, key, timeout, retries)
    try:
        with _typed(access, "write", "writeFiles"):
            versions.add(s3.put_object(**place, Body=body).get("VersionId"))
        with _typed(access, "read", "readFiles"):
            if s3.get_object(**place)["Body"].read() != body:
                raise UnavailableError(f"B2: what was read back with {access} is not what was written.")
    except NixciError:
        # Perhaps only the answer was lost and the object exists.
        with contextlib.suppress(NixciError):
            _remove(s3, place, versions, access)
        raise
    return _remove(s3, place, versions, access)


def _client(bucket: t.Mapping[str, t.Any], key_id: str, key: str, timeout: float, retries: int) -> t.Any:
    return boto3.client(
        "s3",
        endpoint_url=bucket["s3_endpoint"],
        region_name=bucket["region"],
        aws_access_key_id=key_id,
        aws_secret_access_key=key,
        config=Config(
            connect_timeout=timeout,
            read_timeout=timeout,
            retries={"total_max_attempts": retries + 1, "mode": "standard"},
            s3={"addressing_style": "path"},
            # B2 refuses the checksum trailers that AWS clients send by default.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )


def _remove(s3: t.Any, place: dict[str, str], versions: set[str | None], access: str) -> str | None:
    with _typed(access, "delete", "writeFiles"):
        # By name, which only adds a hide marker.
        versions.add(s3.delete_object(**place).get("VersionId"))
    try:
        with _typed(access, "list", "listFiles"):
            # A retried request may have left more versions than it reported.
            found = s3.list_object_versions(Bucket=place["Bucket"], Prefix=place["Key"])
            versions |= {each["VersionId"] for kind in ("Versions", "DeleteMarkers") for each in found.get(kind, [])}
    except ForbiddenError:
        pass
    try:
        with _typed(access, "remove", "deleteFiles"):
            for version in filter(None, versions):
                s3.delete_object(**place, VersionId=version)
    except NixciError as exc:
        return f"{exc} The object {place['Key']} stays hidden until a lifecycle rule removes it."
    return None


@contextlib.contextmanager
def _typed(access: str, action: str, capability: str) -> Iterator[None]:
    try:
        yield
    except ClientError as exc:
        # Letters only: a server that is not S3 could send anything here, even a secret.
        code = "".join(re.findall("^[A-Za-z]{1,60}$", str(exc.response.get("Error", {}).get("Code", ""))))
        status = exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        details = {"status": status, "code": code}
        if code in ("InvalidAccessKeyId", "SignatureDoesNotMatch"):
            raise AuthenticationError(
                f"B2: cannot {action} an object with {access}: {code}; check the id and the secret. "
                "The master key does not work through S3.",
                **details,
            ) from None
        if code == "AccessDenied":
            raise ForbiddenError(
                f"B2: cannot {action} an object with {access}: access denied; "
                f"the key lacks the capability {capability} or is restricted to another bucket or prefix.",
                **details,
            ) from None
        kind = NotFoundError if status == 404 else UnavailableError if status >= 500 else InvalidError
        raise kind(
            f"B2: cannot {action} an object with {access}: the answer was {status}{code and ' '}{code}.", **details
        ) from None
    except ResponseParserError:
        raise UnavailableError(
            f"B2: cannot {action} an object with {access}: the answer is not one of S3's API; check that realm is the right address."
        ) from None
    except BotoCoreError as exc:
        raise UnavailableError(f"B2: cannot {action} an object with {access}: {str(exc)[:200]}.") from None
