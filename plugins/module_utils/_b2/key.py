# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Application keys of Backblaze B2, with the module's option names. Private: may change without notice."""

from __future__ import annotations

import datetime
import time
import typing as t

from .._core.errors import InvalidError, NixciError, UnavailableError
from .._core.redact import redact
from .client import B2Client
from .store import Pair, Store

Json = dict[str, t.Any]

RIGHTS = ("capabilities", "bucket_ids", "name_prefix", "expires")


class Keys:
    """The requests for application keys. B2 cannot change a key.

    A key that is created for given buckets through version 4 of the API cannot log in through an older version, which
    many programs and Backblaze's web page use, so keys are created through version 3. Each version lists its own keys:
    https://www.backblaze.com/apidocs/b2-list-keys
    """

    def __init__(self, client: B2Client) -> None:
        self.client = client

    def list(self) -> list[Json]:
        """All keys of the account that have not expired. B2 does not keep names unique."""
        client, action = self.client, "list the keys of the account"
        client.capabilities.require("listKeys", action)
        with client.typed(action):
            older = _list(client.session_v3, client.account_id)
            known = {key["id"] for key in older}
            newer = [key for key in _list(client.session, client.account_id) if key["id"] not in known]
        return older + [{**key, "multi_bucket": bool(key["bucket_ids"])} for key in newer]

    def create(self, name: str, rights: Json, seconds: int | None) -> tuple[Json, str]:
        """The key and its secret, which B2 never shows again."""
        client = self.client
        try:
            with client.typed(f"create the key '{name}'"):
                raw = client.session_v3.create_key(
                    client.account_id,
                    rights["capabilities"],
                    name,
                    seconds,
                    rights["bucket_ids"][0] if rights["bucket_ids"] else None,
                    rights["name_prefix"],
                )
                return _key(raw), raw["applicationKey"]
        except UnavailableError as exc:
            raise UnavailableError(
                f"{exc} A key named '{name}' may exist now whose secret nobody has; run again: another key is created if "
                "one is needed, and the lost one is removed with the superseded ones.",
                **exc.details,
            ) from None

    def delete(self, name: str, key_id: str) -> None:
        try:
            with self.client.typed(f"delete the key '{name}' ({key_id})"):
                self.client.session.delete_key(key_id)
        except InvalidError as exc:
            # B2 answers bad_request to an unknown id. If the key is gone already, that is the desired state.
            if exc.details.get("code") != "bad_request" or any(each["id"] == key_id for each in self.list()):
                raise


def create_and_store(
    keys: Keys, name: str, rights: Json, seconds: int | None, store: Store | None
) -> tuple[Json, str | None]:
    """Create a key, and delete it again if it cannot be stored. Returns the secret if there is no store."""
    key, secret = keys.create(name, rights, seconds)
    if rights_of(key) != rights:
        error = InvalidError(f"B2: the new key '{name}' has other rights than desired: {difference(key, rights)}.")
        _delete_again(keys, key, error)
    if store is None:
        return key, secret
    pair = Pair(key["id"], secret)
    try:
        store.write(pair)
    except NixciError as exc:
        reason = type(exc)(redact(str(exc), [secret]), **exc.details)
        try:
            stored = store.read().pair == pair
        except NixciError:
            # To delete it could leave a dead key in the store, for its users to fetch.
            raise UnavailableError(
                f"{reason} It is unknown whether {store.where} holds the new key '{name}' ({key['id']}), "
                "so the key was not deleted. Run again when the store can be reached: that settles it.",
                **exc.details,
            ) from None
        if not stored:
            _delete_again(keys, key, reason)
    return key, None


def _delete_again(keys: Keys, key: Json, reason: NixciError) -> t.NoReturn:
    end = f"The new key ({key['id']}) was deleted again; nothing else was changed."
    try:
        keys.delete(key["name"], key["id"])
    except NixciError as exc:
        end = f"The new key ({key['id']}) could not be deleted again: {exc}"
    raise type(reason)(f"{reason} {end}", **reason.details) from None


def rights_of(key: Json) -> Json:
    return {right: key[right] for right in RIGHTS}


def difference(key: Json, desired: Json) -> str:
    return ", ".join(
        f"{right} {key[right]} instead of {value}" for right, value in desired.items() if key[right] != value
    )


def _list(session: t.Any, account_id: str) -> list[Json]:
    found: list[Json] = []
    start = None
    while True:
        # B2 bills more than 1000 in one answer as several requests.
        page = session.list_keys(account_id, 1000, start)
        found += [_key(each) for each in page["keys"] if not _expired(each)]
        start = page.get("nextApplicationKeyId")
        if not start:
            return found


def _key(raw: Json) -> Json:
    until = raw.get("expirationTimestamp")
    one = raw.get("bucketId")
    return {
        "id": raw["applicationKeyId"],
        "name": raw["keyName"],
        "capabilities": sorted(set(raw["capabilities"])),
        "bucket_ids": [one] if one else sorted(raw.get("bucketIds") or []),
        "name_prefix": raw.get("namePrefix") or None,
        "expires": until is not None,
        "expires_at": until and f"{datetime.datetime.fromtimestamp(until // 1000, datetime.UTC):%Y-%m-%dT%H:%M:%SZ}",
        "multi_bucket": False,
    }


def _expired(raw: Json) -> bool:
    until = raw.get("expirationTimestamp")
    return until is not None and until <= time.time() * 1000
