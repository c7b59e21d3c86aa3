# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backblaze B2's native API through b2sdk. Private: may change without notice.

b2sdk's session is used rather than its object layer, which answers from caches and asserts after a key was made.
"""

from __future__ import annotations

import contextlib
import re
import time
import traceback
import typing as t
from collections.abc import Iterator
from urllib.parse import urlsplit

from ._errors import (
    AuthenticationError,
    ConflictError,
    ForbiddenError,
    InvalidError,
    NixciError,
    NotFoundError,
    UnavailableError,
)
from ._http import BoundedRetry, http_argument_spec

try:
    import requests
    from b2sdk.v3 import SSE_B2_AES, B2HttpApiConfig, B2Session, InMemoryAccountInfo
    from b2sdk.v3.exception import B2Error, InvalidAuthToken, Unauthorized
    from requests.adapters import HTTPAdapter
    from urllib3.exceptions import ReadTimeoutError
except ImportError:
    B2_IMPORT_ERROR: str | None = traceback.format_exc()
    _Session, B2Error = object, Exception
else:
    B2_IMPORT_ERROR = None
    _Session = requests.Session

Json = dict[str, t.Any]

RULE_MEMBERS = {
    "file_name_prefix": "fileNamePrefix",
    "days_from_hiding_to_deleting": "daysFromHidingToDeleting",
    "days_from_uploading_to_hiding": "daysFromUploadingToHiding",
    "days_from_starting_to_canceling_unfinished_large_files": "daysFromStartingToCancelingUnfinishedLargeFiles",
}

BY_CODE: dict[str, type[NixciError]] = {
    "duplicate_bucket_name": ConflictError,
    "cannot_delete_non_empty_bucket": ConflictError,
    "bad_bucket_id": NotFoundError,
}
BY_STATUS: dict[int, type[NixciError]] = {
    403: ForbiddenError,
    404: NotFoundError,
    408: UnavailableError,
    409: ConflictError,
    429: UnavailableError,
}


def b2_argument_spec() -> dict[str, t.Any]:
    """Options that every B2 module has; see doc_fragments/_b2.py."""
    return {
        "key_id": {"type": "str", "required": True, "no_log": False},
        "key": {"type": "str", "required": True, "no_log": True},
        "realm": {"type": "str", "default": "production"},
        "region": {"type": "str"},
        **http_argument_spec(ca_path=False),
    }


class Refusal(B2Error):
    """Carries an answer, or the lack of one, through b2sdk, which repeats only what it knows to be temporary."""

    def __init__(self, error: NixciError | None = None, *, status: int = 0, code: str = "", message: str = "") -> None:
        super().__init__(message)
        self.error, self.status, self.code, self.message = error, status, code, message


class BoundedSession(_Session):
    """b2sdk waits up to 20 minutes for an answer and for ever on Retry-After; this session sets our bounds instead.

    Creating a key is not repeated once the request may have arrived: a lost answer would leave a key whose secret
    nobody has.
    """

    def __init__(self, timeout: float, retries: int) -> None:
        super().__init__()
        self.timeout = timeout
        self.repeating = self._adapter(retries, {"POST"})
        self.cautious = self._adapter(retries, {"GET"})

    def _adapter(self, retries: int, methods: set[str]) -> t.Any:
        retry = BoundedRetry(
            total=retries,
            backoff_factor=0.5,
            status_forcelist=(408, 500, 502, 503, 504),
            allowed_methods=methods,
            raise_on_status=False,
        )
        return HTTPAdapter(max_retries=retry)

    def get_adapter(self, url: str) -> t.Any:
        return self.cautious if url.endswith("/b2_create_key") else self.repeating

    def request(self, method: str, url: str, **arguments: t.Any) -> t.Any:
        place = "{0.scheme}://{0.netloc}".format(urlsplit(url))
        # A redirect would carry the credential to another place, so none is followed.
        arguments.update(timeout=self.timeout, allow_redirects=False)
        try:
            response = super().request(method, url, **arguments)
        except NixciError as exc:
            raise Refusal(exc) from None
        except requests.exceptions.RequestException as exc:
            raise Refusal(UnavailableError(f"B2: {place} {self._trouble(exc)}.")) from None
        # b2sdk sees 401 itself: it logs in again, once, when a token has expired.
        if response.status_code in (200, 401):
            return response
        code, message = _read_error(response)
        raise Refusal(status=response.status_code, code=code, message=message)

    def _trouble(self, exc: requests.exceptions.RequestException) -> str:
        # After the last repetition the cause is wrapped: ConnectionError(MaxRetryError(reason)).
        cause = getattr(exc.args[0], "reason", None) if exc.args else None
        if isinstance(exc, requests.exceptions.Timeout) or isinstance(cause, ReadTimeoutError):
            return f"did not answer within {self.timeout:g} s; check the network, or raise timeout"
        if isinstance(exc, requests.exceptions.SSLError):
            return "has a certificate that is not trusted; check the realm and the clock"
        return "cannot be reached; check the realm and the network"


class B2Client:
    """One authorised account. Raises the errors of _errors.py only.

    In check mode whatever writes goes the same way, judging the key's rights, up to the request itself.
    """

    def __init__(self, params: t.Mapping[str, t.Any], *, check_mode: bool = False) -> None:
        if B2_IMPORT_ERROR:
            raise NixciError(
                "B2 needs the Python library b2sdk on the machine that runs this task; "
                "install it with 'pip install b2sdk'.",
                exception=B2_IMPORT_ERROR,
            )
        realm = params["realm"].rstrip("/")
        if realm != "production" and not re.match(r"https?://[^/]+", realm):
            raise InvalidError(f"B2: realm '{realm}' is neither production nor a URL with https:// or http://.")
        self.check_mode = check_mode
        self.key_id = params["key_id"]
        config = B2HttpApiConfig(
            http_session_factory=lambda: BoundedSession(params["timeout"], params["retries"]),
            user_agent_append="pantheros.nixci",
        )
        # In memory: b2sdk would otherwise keep the token in a file in the home directory.
        self.session = B2Session(InMemoryAccountInfo(), api_config=config)
        with self._typed(f"log in with the key {self.key_id}"):
            self.session.authorize_account(realm, self.key_id, params["key"])
            account = self.session.account_info
            self.account_id: str = account.get_account_id()
            self.s3_endpoint: str = account.get_s3_api_url()
            self.capabilities = frozenset(account.get_allowed()["capabilities"])
        self.region = region_of(self.s3_endpoint, params["region"])

    def require(self, capability: str, doing: str) -> None:
        """Says before any change, and in check mode too, what the key lacks."""
        if capability not in self.capabilities:
            raise ForbiddenError(
                f"B2: cannot {doing}: the key {self.key_id} lacks the capability {capability}; use a key that has it.",
                missing_capability=capability,
            )

    # Buckets.

    def find_bucket(self, name: str) -> Json | None:
        doing = f"look for the bucket '{name}'"
        self.require("listBuckets", doing)
        with self._typed(doing):
            answer = self.session.list_buckets(self.account_id, bucket_name=name)
            # Names are compared without case.
            found = [each for each in answer["buckets"] if each["bucketName"].lower() == name.lower()]
            return self._bucket(found[0]) if found else None

    def create_bucket(self, wish: Json) -> Json:
        doing = f"create the bucket '{wish['name']}'"
        self._require_for(wish, doing)
        if self.check_mode:
            return {**wish, "id": None, "revision": None, **self._place()}
        with self._typed(doing):
            return self._bucket(
                self.session.create_bucket(self.account_id, wish["name"], wish["type"], **_settings(wish))
            )

    def update_bucket(self, bucket: Json, fields: Json) -> Json:
        """Writes only on top of the revision that was read; ConflictError if there is a newer one."""
        doing = f"update the bucket '{bucket['name']}'"
        self._require_for(fields, doing)
        if self.check_mode:
            return {**bucket, **fields}
        with self._typed(doing):
            return self._bucket(
                self.session.update_bucket(
                    self.account_id,
                    bucket["id"],
                    bucket_type=fields.get("type"),
                    if_revision_is=bucket["revision"],
                    **_settings(fields),
                )
            )

    def delete_bucket(self, bucket: Json) -> None:
        doing = f"delete the bucket '{bucket['name']}'"
        self.require("deleteBuckets", doing)
        if self.check_mode:
            return
        try:
            with self._typed(doing):
                self.session.delete_bucket(self.account_id, bucket["id"])
        except NotFoundError as exc:
            # Gone already is what was asked for.
            if exc.details["code"] != "bad_bucket_id":
                raise

    def _require_for(self, fields: Json, doing: str) -> None:
        self.require("writeBuckets", doing)
        if fields.get("default_encryption"):
            self.require("writeBucketEncryption", doing)

    def _place(self) -> Json:
        return {"account_id": self.account_id, "s3_endpoint": self.s3_endpoint, "region": self.region}

    def _bucket(self, raw: Json) -> Json:
        encryption = raw.get("defaultServerSideEncryption") or {}
        readable = encryption.get("isClientAuthorizedToRead")
        return {
            "name": raw["bucketName"],
            "id": raw["bucketId"],
            "type": raw["bucketType"],
            "lifecycle_rules": sorted_rules(_rule(each) for each in raw["lifecycleRules"]),
            # None means that it may not be read, which is not the same as no encryption.
            "default_encryption": ((encryption.get("value") or {}).get("mode") or "none") if readable else None,
            "bucket_info": raw["bucketInfo"],
            "revision": raw["revision"],
            **self._place(),
        }

    # Application keys.

    def list_keys(self, name: str) -> list[Json]:
        """All keys of that name that have not expired; B2 does not keep names unique."""
        doing = f"list the keys named '{name}'"
        self.require("listKeys", doing)
        found: list[Json] = []
        start = None
        with self._typed(doing):
            while True:
                page = self.session.list_keys(self.account_id, 1000, start)
                found += [_key(each) for each in page["keys"] if each["keyName"] == name and not _expired(each)]
                start = page.get("nextApplicationKeyId")
                if not start:
                    return found

    def create_key(self, name: str, rights: Json) -> tuple[Json, str | None]:
        """The key and, this one time, its secret; neither id nor secret in check mode."""
        doing = f"create the key '{name}'"
        self.require("writeKeys", doing)
        if self.check_mode:
            return {"id": None, "name": name, **rights}, None
        try:
            with self._typed(doing):
                raw = self.session.create_key(
                    self.account_id,
                    rights["capabilities"],
                    name,
                    None,
                    rights["bucket_ids"] or None,
                    rights["name_prefix"],
                )
                return _key(raw), raw["applicationKey"]
        except UnavailableError as exc:
            raise UnavailableError(
                f"{exc} A key named '{name}' may exist now whose secret nobody has; run again with the same "
                "stored_key_id: a new key is created, and the lost one is removed once the new one is stored.",
                **exc.details,
            ) from None

    def delete_key(self, name: str, key_id: str) -> None:
        doing = f"delete the key '{name}' ({key_id})"
        self.require("deleteKeys", doing)
        if self.check_mode:
            return
        try:
            with self._typed(doing):
                self.session.delete_key(key_id)
        except InvalidError as exc:
            # B2 says bad_request of an id that it does not know; gone already is what was asked for.
            if exc.details.get("code") != "bad_request" or any(each["id"] == key_id for each in self.list_keys(name)):
                raise

    @contextlib.contextmanager
    def _typed(self, doing: str) -> Iterator[None]:
        """Turns what b2sdk raises into one sentence about what we were doing."""
        try:
            yield
        except Refusal as exc:
            raise exc.error or _refused(exc, doing) from None
        except InvalidAuthToken as exc:
            raise AuthenticationError(
                f"B2: cannot {doing}: B2 does not know this key id with this secret; check both, "
                "and that the key was not deleted and has not expired.",
                status=401,
                code=exc.code,
            ) from None
        except Unauthorized as exc:
            raise ForbiddenError(f"B2: cannot {doing}: {exc}.", status=401, code=exc.code) from None
        except B2Error as exc:
            raise NixciError(f"B2: cannot {doing}: {exc}.") from None
        except (KeyError, TypeError, ValueError, AttributeError):
            raise UnavailableError(
                f"B2: cannot {doing}: the answer is not one of B2's native API; check that realm is the right address."
            ) from None


def region_of(s3_endpoint: str, expected: str | None) -> str | None:
    """The second label of s3.REGION.DOMAIN; the expected region where the endpoint does not name one."""
    match = re.fullmatch(r"s3\.([a-z0-9-]+)\.[a-z0-9.-]*[a-z][a-z0-9.-]*", urlsplit(s3_endpoint).hostname or "")
    region = match.group(1) if match else expected
    if expected and region != expected:
        raise InvalidError(
            f"B2: the account of this key lives in the region {region}, not in {expected}; "
            "an account cannot move, so use a key of an account there or correct region."
        )
    return region


def sorted_rules(rules: t.Iterable[Json]) -> list[Json]:
    """Rules as they are compared: without nulls, in the order of the prefixes."""
    full = [{member: value for member, value in rule.items() if value is not None} for rule in rules]
    return sorted(full, key=lambda rule: rule["file_name_prefix"])


def _rule(raw: Json) -> Json:
    # A member that B2 invents later keeps its own name and so shows up as a difference.
    names = {theirs: ours for ours, theirs in RULE_MEMBERS.items()}
    return {names.get(member, member): value for member, value in raw.items()}


def _settings(wish: Json) -> Json:
    """The arguments that b2sdk's create and update share; what is absent is left alone."""
    settings: Json = {}
    if "lifecycle_rules" in wish:
        settings["lifecycle_rules"] = [
            {RULE_MEMBERS[member]: value for member, value in rule.items()} for rule in wish["lifecycle_rules"]
        ]
    if "bucket_info" in wish:
        settings["bucket_info"] = wish["bucket_info"]
    if wish.get("default_encryption"):
        settings["default_server_side_encryption"] = SSE_B2_AES
    return settings


def _key(raw: Json) -> Json:
    return {
        "id": raw["applicationKeyId"],
        "name": raw["keyName"],
        "capabilities": sorted(set(raw["capabilities"])),
        "bucket_ids": sorted(raw.get("bucketIds") or []),
        "name_prefix": raw.get("namePrefix") or None,
        "expires": raw.get("expirationTimestamp") is not None,
    }


def _expired(raw: Json) -> bool:
    until = raw.get("expirationTimestamp")
    return until is not None and until <= time.time() * 1000


def _read_error(response: t.Any) -> tuple[str, str]:
    try:
        body = response.json()
        return str(body["code"]), str(body.get("message", ""))[:300]
    except (ValueError, KeyError, TypeError, AttributeError):
        return "", ""


def _refused(exc: Refusal, doing: str) -> NixciError:
    fallback = UnavailableError if exc.status >= 500 or not exc.code else InvalidError
    kind = BY_CODE.get(exc.code) or BY_STATUS.get(exc.status) or fallback
    words = f"{exc.message} ({exc.status} {exc.code})" if exc.code else f"the answer was {exc.status} without a reason"
    hint = "; raise the spending cap of the account" if "cap_exceeded" in exc.code else ""
    return kind(f"B2: cannot {doing}: {words}{hint}.", status=exc.status, code=exc.code)
