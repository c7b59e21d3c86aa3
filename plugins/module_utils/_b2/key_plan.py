# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which application key to use, create or delete. Private: may change without notice."""

from __future__ import annotations

import dataclasses
import datetime
import re

from .._core.change import Change
from .._core.errors import ConflictError, InvalidError
from .client import Capabilities
from .key import Json, difference, rights_of
from .store import Stored

NEW = "(new key)"
MAX_SECONDS = 86_400_000


@dataclasses.dataclass(frozen=True)
class Found:
    """What the plan depends on."""

    keys: list[Json]
    """All keys of the account that have not expired."""
    bucket_id: str | None
    """The id of the bucket that the options name; None if the account has no such bucket."""
    stored: Stored | None
    """What the store holds; None without a store."""
    accepted: bool
    """Whether B2 accepts the stored secret for the stored id, if that is a key of this name."""
    now: float


@dataclasses.dataclass(frozen=True)
class KeyPlan:
    change: Change
    rights: Json
    key: Json | None
    """The key to use if it exists already."""
    create: bool
    delete: tuple[str, ...]
    superseded: tuple[str, ...]
    """Other keys of the name that stay."""
    warnings: tuple[str, ...]
    missing_bucket: str | None = None
    """Only apply refuses it: in check mode the task before this one may be about to create the bucket."""


def check_options(params: Json) -> None:
    """Raises what B2 would refuse, and what an undefined variable would turn into a key for the whole account."""
    if not re.fullmatch(r"[A-Za-z0-9-]{1,100}", params["name"]):
        raise InvalidError(f"'{params['name']}' cannot be the name of a key: use 1 to 100 letters, digits and hyphens.")
    if params["state"] == "absent":
        return
    for option in ("capabilities", "bucket", "bucket_id", "name_prefix", "file"):
        if params[option] is not None and not params[option]:
            raise InvalidError(f"{option} is empty; leave it out or give it a value.")
    if params["name_prefix"] and not (params["bucket"] or params["bucket_id"]):
        raise InvalidError("name_prefix needs bucket or bucket_id.")
    seconds, renew = params["valid_duration_seconds"], params["renew_before"]
    if seconds is not None and not 1 <= seconds <= MAX_SECONDS:
        raise InvalidError(f"valid_duration_seconds must be between 1 and {MAX_SECONDS} (1000 days).")
    if renew is not None and not 0 <= renew < seconds:
        raise InvalidError(
            "renew_before must be less than valid_duration_seconds, or every run would create a new key."
        )


def plan_key(params: Json, found: Found, capabilities: Capabilities) -> KeyPlan:
    """Raises what may cost a key in use, what would keep a new key from being stored, and a missing capability."""
    if params["state"] == "absent":
        plan = _plan(_change(params, found, {}, None), {}, None, ())
    else:
        rights = desired_rights(params, found)
        key, warnings = _held_key(params, found)
        if key and _must_replace(params, found, key, rights):
            key = None
        if key and key["multi_bucket"]:
            warnings.append(
                f"B2: the key '{key['name']}' ({key['id']}) was created through version 4 of B2's API, so restic, rclone, s3ql "
                "and Backblaze's web page cannot use it; set recreate: true once to replace it."
            )
        plan = _plan(_change(params, found, rights, key["id"] if key else NEW), rights, key, tuple(warnings))
        if params["bucket"] and not found.bucket_id:
            plan = dataclasses.replace(plan, missing_bucket=params["bucket"])
    _check(params, found, plan, capabilities)
    return plan


def _plan(change: Change, rights: Json, key: Json | None, warnings: tuple[str, ...]) -> KeyPlan:
    before, after = ((state or {}).get("keys", {}) for state in (change.before, change.after))
    return KeyPlan(
        change=change,
        rights=rights,
        key=key,
        create=NEW in after,
        delete=tuple(key_id for key_id in before if key_id not in after),
        superseded=tuple(key_id for key_id in after if key_id != (key["id"] if key else NEW)),
        warnings=warnings,
    )


def desired_rights(params: Json, found: Found) -> Json:
    bucket_ids = []
    if params["bucket"] or params["bucket_id"]:
        bucket_ids = [found.bucket_id or f"({params['bucket']}, not created yet)"]
    return {
        "capabilities": sorted(set(params["capabilities"])),
        "bucket_ids": bucket_ids,
        "name_prefix": params["name_prefix"] or None,
        "expires": params["valid_duration_seconds"] is not None,
    }


def _held_key(params: Json, found: Found) -> tuple[Json | None, list[str]]:
    """The key whose secret is known, and warnings. None if the secret is lost, which B2 itself must say."""
    name, stored = params["name"], found.stored
    warnings: list[str] = []
    if stored and not stored.pair:
        warnings = _nothing_stored(params, stored, [key["id"] for key in found.keys if key["name"] == name])
    held = stored.pair.id if stored and stored.pair else params["stored_key_id"]
    key = next((key for key in found.keys if key["id"] == held), None)
    if key is None or (key["name"] != name and params["recreate"]):
        return None, warnings
    if key["name"] != name:
        raise ConflictError(
            f"B2: the stored key {held} is named '{key['name']}', not '{name}', and may be in use; "
            "correct the name or the place, or set recreate: true to put a new key in its place."
        )
    if stored and not found.accepted:
        return None, [f"B2 refuses the secret of the key {held} that {stored.where} holds, so a new key is needed."]
    return key, warnings


def _nothing_stored(params: Json, stored: Stored, ids: list[str]) -> list[str]:
    """Keys without a stored one: an interrupted run left them, or they are stored elsewhere and in use."""
    if not ids or params["recreate"] or params["rotate"]:
        return []
    exist = (
        f"B2: {stored.where} holds no complete key, but keys named '{params['name']}' exist and may be in use: "
        f"{', '.join(ids)}"
    )
    if params["superseded"] == "delete":
        raise ConflictError(
            f"{exist}. Correct the place or the name, or set recreate: true to replace and delete them."
        )
    return [f"{exist}. They are kept."]


def _must_replace(params: Json, found: Found, key: Json, rights: Json) -> bool:
    if params["rotate"] or (params["recreate"] and key["multi_bucket"]):
        return True
    if rights_of(key) == rights:
        return _seconds_left(key, found.now) < (params["renew_before"] or 0)
    if params["recreate"]:
        return True
    raise ConflictError(
        f"B2: the key '{key['name']}' ({key['id']}) has other rights than desired: {difference(key, rights)}. "
        "B2 cannot change a key; set recreate: true to replace it by a new one with a new secret."
    )


def _seconds_left(key: Json, now: float) -> float:
    if not key["expires"]:
        return float("inf")
    return datetime.datetime.fromisoformat(key["expires_at"]).timestamp() - now


def _change(params: Json, found: Found, rights: Json, current: str | None) -> Change:
    """The keys of the name before and after; `current` is the one to use, None if there should be none."""
    name, attributes = params["name"], found.stored.attributes if found.stored else None
    keys = {key["id"]: rights_of(key) for key in found.keys if key["name"] == name}
    before: Json = {"name": name, "keys": keys}
    if current is None:
        return Change(before if keys else None, None)
    # A returned secret may be lost on its way, so every working key stays until the next run shows that it was not.
    returned = current == NEW and not found.stored
    others = keys if params["superseded"] == "keep" or returned else {}
    after: Json = {"name": name, "keys": {**others, current: rights}}
    if attributes is not None:
        before["file"], after["file"] = attributes.before, attributes.after
    return Change(before if keys else None, after)


def _check(params: Json, found: Found, plan: KeyPlan, capabilities: Capabilities) -> None:
    name = params["name"]
    if params["key_id"] in plan.delete:
        raise InvalidError(
            f"B2: the key {params['key_id']}, which does the work, is itself named '{name}' and would be deleted; "
            "use another key or another name."
        )
    if plan.create:
        if found.stored:
            if found.stored.obstacle:
                raise found.stored.obstacle
            action = f"create the key '{name}', which is deleted again if it cannot be stored"
            capabilities.require("deleteKeys", action)
        capabilities.require("writeKeys", f"create the key '{name}'")
    for key_id in plan.delete:
        capabilities.require("deleteKeys", f"delete the key '{name}' ({key_id})")
