# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests to Cloudflare's DNS API, and explanations of its errors. Private: may change without notice."""

from __future__ import annotations

import itertools
import re
import typing as t

from ansible.module_utils.basic import env_fallback

from .._core.errors import (
    AuthenticationError,
    ConflictError,
    ForbiddenError,
    InvalidError,
    NixciError,
    NotFoundError,
    UnavailableError,
)
from .._core.http import JsonClient, http_argument_spec
from .._core.redact import redact
from .record import Record, Step

# Only the numbers are stable. Cloudflare publishes no complete list of them.
TOKEN_MALFORMED = {6003, 6111}
TOKEN_REFUSED = {1000, 9106, 9109, 10000}
NO_SUCH_ROUTE = {7003}
RECORD_GONE = 81044
# The records have changed since they were read.
RECORD_CONFLICT = {RECORD_GONE, 81053, 81054, 81055, 81056, 81057, 81058}
TOO_MANY_RECORDS = 81045
# A refusal by the zone's plan is recognised by its message: https://github.com/cloudflare/terraform-provider-cloudflare/issues/3217
TAGS_REFUSED = re.compile(r"has \d+ tags, exceeding the quota of (\d+)")


def cloudflare_argument_spec() -> dict[str, t.Any]:
    """Options of doc_fragments/_cloudflare.py and _http.py."""
    return {
        "token": {
            "type": "str",
            "required": True,
            "no_log": True,
            "fallback": (env_fallback, ["CLOUDFLARE_API_TOKEN", "CLOUDFLARE_TOKEN"]),
        },
        "url": {"type": "str", "default": "https://api.cloudflare.com/client/v4"},
        "longest_pause": {"type": "int", "default": 30},
        **http_argument_spec(),
    }


class CloudflareClient(JsonClient):
    service = "Cloudflare"
    # More records than a plan allows by default (200 to 3500), so that one request reads a zone. The API allows 5000000.
    PAGE = 5000

    def __init__(self, params: dict[str, t.Any]) -> None:
        super().__init__(
            params["url"],
            params["token"],
            timeout=params["timeout"],
            retries=params["retries"],
            ca_path=params["ca_path"],
            longest_pause=params["longest_pause"],
        )
        self.token_works = False

    def call(self, kind: type, method: str, path: str, body: t.Any = None, params: t.Any = None) -> dict[str, t.Any]:
        """A successful response whose result is of this type."""
        response = self.request(method, path, body, params)
        if (
            not isinstance(response, dict)
            or not response.get("success")
            or not isinstance(response.get("result"), kind)
        ):
            raise self.unexpected(method, path)
        self.token_works = True  # from now on a refusal means a missing right, see error()
        return response

    def unexpected(self, method: str, path: str) -> NixciError:
        return UnavailableError(
            f"Cloudflare: the response to {method} {path} is not one of Cloudflare's API; check that url is right."
        )

    def parse(self, method: str, path: str, records: t.Iterable[t.Any]) -> list[Record]:
        try:
            return [Record.parse(one) for one in records]
        except (AttributeError, KeyError, TypeError, ValueError):
            raise self.unexpected(method, path) from None

    def zone_id(self, zone: str) -> str:
        found = self.call(list, "GET", "/zones", params={"name": zone, "per_page": 50})["result"]
        if not all(isinstance(one, dict) and isinstance(one.get("id"), str) for one in found):
            raise self.unexpected("GET", "/zones")
        if not found:
            raise NotFoundError(
                f"Cloudflare: the token sees no zone '{zone}'. Either the name is wrong or belongs to another account, "
                "or the token lacks Zone / Zone / Read (the template 'Edit zone DNS' does not grant it); add that permission "
                "or set zone_id."
            )
        if len(found) > 1:
            which = ", ".join(f"{one['id']} ({one.get('status', 'unknown status')})" for one in found)
            raise ConflictError(
                f"Cloudflare: the token sees several zones '{zone}': {which}; set zone_id to choose one."
            )
        return str(found[0]["id"])

    def records(self, zone_id: str, name: str | None = None) -> list[Record]:
        """All records of a name or of the zone, of every type, because a new record may conflict with any of them.

        The API's filters for content do not handle quotes, case and spellings of addresses, so they are not used.
        """
        path = f"/zones/{zone_id}/dns_records"
        only = {"name.exact": name} if name else {}
        found: dict[str | None, Record] = {}  # a record that moves to a later page meanwhile is returned twice
        page, last = 0, False
        while not last:
            page += 1
            response = self.call(list, "GET", path, params={**only, "per_page": self.PAGE, "page": page})
            found |= {record.id: record for record in self.parse("GET", path, response["result"])}
            info = response.get("result_info")
            pages = info.get("total_pages") if isinstance(info, dict) else None
            last = page >= pages if isinstance(pages, int) else len(response["result"]) < self.PAGE
        return list(found.values())

    def apply(self, zone_id: str, steps: list[Step], batch_size: int) -> list[Record]:
        """One plain request for one change, batches for several. Returns the records written."""
        path = f"/zones/{zone_id}/dns_records"
        written: list[Record] = []
        done = 0
        for batch in batches(steps, batch_size):
            try:
                written += self.single(path, batch[0]) if len(steps) == 1 else self.batch(path, batch)
            except NixciError as exc:
                if done:
                    exc.args = (
                        f"{exc} {done} of {len(steps)} changes were made; run the task again to make the others.",
                    )
                raise
            done += len(batch)
        return written

    def single(self, path: str, step: Step) -> list[Record]:
        if step.before and not step.after:
            # 404: someone else was faster, or the response to our first attempt was lost.
            place = f"{path}/{step.before.id}"
            done = self.request("DELETE", place, none_on=(404,), empty={})
            # Cloudflare promises no more of this response than its result.
            if done is not None and not (isinstance(done, dict) and isinstance(done.get("result"), dict)):
                raise self.unexpected("DELETE", place)
            return []
        call = ("PATCH", f"{path}/{step.before.id}") if step.before else ("POST", path)
        return self.parse(*call, [self.call(dict, *call, step.body)["result"]])

    def batch(self, path: str, steps: list[Step]) -> list[Record]:
        """The API makes all changes of a batch or none: first deletes, then patches, then posts."""
        body: dict[str, list[t.Any]] = {"deletes": [], "patches": [], "posts": []}
        for step in steps:
            body[step.kind].append({**({"id": step.before.id} if step.before else {}), **step.body})
        filled = {kind: items for kind, items in body.items() if items}
        done = self.call(dict, "POST", f"{path}/batch", filled)["result"]
        written = (one for kind in ("patches", "posts") for one in done.get(kind) or ())
        return self.parse("POST", f"{path}/batch", written)

    def explain(self, status: int, body: t.Any) -> str:
        chain = causes(body.get("errors")) if isinstance(body, dict) else []
        if not chain:
            return super().explain(status, body)
        return redact(" ".join("; ".join(f"{code} {text}" for code, text in chain).split())[:500], [self.token])

    def error(self, method: str, path: str, status: int, content: t.Any) -> NixciError:
        errors = content.get("errors") if isinstance(content, dict) else None
        chain = causes(errors)
        if not chain or status == 429 or status >= 500:
            return super().error(method, path, status, content)
        codes = {code for code, _text in chain}
        message = self.explain(status, content)
        details = {"status": status, "codes": [code for code, _text in chain]}
        right = "Zone / DNS / Read, or Edit to make changes," if method == "GET" else "Zone / DNS / Edit"
        if codes & TOKEN_MALFORMED:
            return AuthenticationError(
                f"Cloudflare does not accept the format of the token ({message}); "
                "give the complete API token, without 'Bearer', and not the global key.",
                **details,
            )
        if codes & TOKEN_REFUSED and self.token_works:
            return ForbiddenError(
                f"Cloudflare: the token is valid but not allowed to {method} {path} ({message}); it needs {right} for this zone.",
                **details,
            )
        if codes & TOKEN_REFUSED:
            return AuthenticationError(
                f"Cloudflare refuses the token for {method} {path} ({message}): it is wrong, expired or revoked, or "
                f"lacks {right} or Zone / Zone / Read for this zone.",
                **details,
            )
        if codes & NO_SUCH_ROUTE:
            return NotFoundError(f"Cloudflare has no {path} ({message}); check zone_id.", **details)
        tags = TAGS_REFUSED.search(message)
        if tags:
            remedy = (
                "this plan has no tags; leave tags out" if tags[1] == "0" else f"this plan allows {tags[1]} per record"
            )
            return InvalidError(f"Cloudflare refuses the tags ({message}): {remedy}.", **details)
        if TOO_MANY_RECORDS in codes:
            return InvalidError(
                f"Cloudflare refuses more records ({message}): the zone has as many as its plan allows; remove some first.",
                **details,
            )
        kind = ConflictError if codes & RECORD_CONFLICT else InvalidError
        return kind(f"Cloudflare refuses {method} {path} ({message}).", **details)


def causes(errors: t.Any) -> list[tuple[int, str]]:
    """Code and message of each error, including those in the chain below it."""
    found: list[tuple[int, str]] = []
    for one in errors if isinstance(errors, list) else ():
        if isinstance(one, dict) and isinstance(one.get("code"), int):
            found += [(one["code"], str(one.get("message"))), *causes(one.get("error_chain"))]
    return found


def batches(steps: list[Step], size: int) -> list[list[Step]]:
    """As few batches as possible. All changes of a name are in one if they fit, so that the name never lacks records."""
    found: list[list[Step]] = [[]]
    for _name, group in itertools.groupby(sorted(steps, key=lambda step: step.name), key=lambda step: step.name):
        together = sorted(group, key=lambda step: step.rank)
        if len(found[-1]) + len(together) > size and found[-1]:
            found.append([])
        for step in together:
            if len(found[-1]) == size:
                found.append([])
            found[-1].append(step)
    return [batch for batch in found if batch]
