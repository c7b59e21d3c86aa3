# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The calls to Cloudflare's DNS API, and its errors in our words. Private: may change without notice."""

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
from .plan import Step
from .record import Record

# The numbers are all that the API promises; it has no complete official list.
TOKEN_MALFORMED = {6003, 6111}
TOKEN_REFUSED = {1000, 9106, 9109, 10000}
NO_SUCH_ROUTE = {7003}
RECORD_GONE = 81044
# Both kinds mean that the list we had is out of date.
RECORD_CONFLICT = {RECORD_GONE, 81053, 81054, 81055, 81056, 81057, 81058}
TOO_MANY_RECORDS = 81045
# What a plan refuses, by its words: https://github.com/cloudflare/terraform-provider-cloudflare/issues/3217
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
    # More than the plans allow a zone by default (200 to 3500), so that one request shows all. The API takes 5000000.
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

    def answer(self, kind: type, method: str, path: str, body: t.Any = None, params: t.Any = None) -> dict[str, t.Any]:
        """An answer with a result, which is a list or a mapping."""
        answer = self.request(method, path, body, params)
        if not isinstance(answer, dict) or not answer.get("success") or not isinstance(answer.get("result"), kind):
            raise self.strange(method, path)
        self.token_works = True  # a later refusal is about rights, see error()
        return answer

    def strange(self, method: str, path: str) -> NixciError:
        return UnavailableError(
            f"Cloudflare: {method} {path} answered with something else than Cloudflare's API does; check that url is right."
        )

    def parse(self, method: str, path: str, answers: t.Iterable[t.Any]) -> list[Record]:
        try:
            return [Record.parse(one) for one in answers]
        except (AttributeError, KeyError, TypeError):
            raise self.strange(method, path) from None

    def zone_id(self, zone: str) -> str:
        found = self.answer(list, "GET", "/zones", params={"name": zone, "per_page": 50})["result"]
        if not found:
            raise NotFoundError(
                f"Cloudflare: the token sees no zone '{zone}'. Either the name is wrong or belongs to another account, or "
                "the token lacks Zone / Zone / Read (the template 'Edit zone DNS' does not grant it); add that permission "
                "or give zone_id."
            )
        if len(found) > 1:
            which = ", ".join(f"{one['id']} ({one.get('status', 'unknown status')})" for one in found)
            raise ConflictError(
                f"Cloudflare: the token sees several zones '{zone}': {which}; give zone_id to choose one."
            )
        return found[0]["id"]

    def records(self, zone_id: str, name: str | None = None) -> list[Record]:
        """Every record of a name or of the zone, of any type: what a new record could conflict with is among them.

        Content is not filtered here, because the API's filters fail on quotes, case and spellings of addresses.
        """
        path = f"/zones/{zone_id}/dns_records"
        only = {"name.exact": name} if name else {}
        found: dict[str | None, Record] = {}  # one that moves to a later page meanwhile would come twice
        for page in itertools.count(1):
            answer = self.answer(list, "GET", path, params={**only, "per_page": self.PAGE, "page": page})
            found |= {record.id: record for record in self.parse("GET", path, answer["result"])}
            pages = (answer.get("result_info") or {}).get("total_pages")
            if len(answer["result"]) < self.PAGE if pages is None else page >= pages:
                return list(found.values())

    def apply(self, zone_id: str, steps: list[Step], batch_size: int) -> list[Record]:
        """One call for one change, batches for several; returns the records written."""
        path = f"/zones/{zone_id}/dns_records"
        written: list[Record] = []
        done = 0
        for batch in batches(steps, batch_size):
            try:
                written += self.single(path, batch[0]) if len(steps) == 1 else self.batch(path, batch)
            except NixciError as exc:
                if done:
                    exc.args = (f"{exc} {done} of {len(steps)} changes are made; run again for the others.",)
                raise
            done += len(batch)
        return written

    def single(self, path: str, step: Step) -> list[Record]:
        if step.kind != "deletes":
            call = ("PATCH", f"{path}/{step.before.id}") if step.before else ("POST", path)
            return self.parse(*call, [self.answer(dict, *call, step.body)["result"]])
        # 404: somebody was faster, or the answer to our first try got lost.
        self.request("DELETE", f"{path}/{step.before.id}", none_on=(404,))
        return []

    def batch(self, path: str, steps: list[Step]) -> list[Record]:
        """The API runs deletes, patches and posts in this order, all or none."""
        body: dict[str, list[t.Any]] = {"deletes": [], "patches": [], "posts": []}
        for step in steps:
            body[step.kind].append({**({"id": step.before.id} if step.before else {}), **step.body})
        filled = {kind: items for kind, items in body.items() if items}
        done = self.answer(dict, "POST", f"{path}/batch", filled)["result"]
        answers = (one for kind in ("patches", "posts") for one in done.get(kind) or ())
        return self.parse("POST", f"{path}/batch", answers)

    def error(self, method: str, path: str, status: int, content: t.Any) -> NixciError:
        errors = content.get("errors") if isinstance(content, dict) else None
        chain = causes(errors)
        if not chain or status == 429 or status >= 500:
            return super().error(method, path, status, content)
        codes = {code for code, _message in chain}
        words = redact("; ".join(f"{code} {message}" for code, message in chain)[:500], [self.token])
        details = {"status": status, "codes": [code for code, _message in chain]}
        right = "Zone / DNS / Read, or Edit to change something," if method == "GET" else "Zone / DNS / Edit"
        if codes & TOKEN_MALFORMED:
            return AuthenticationError(
                f"Cloudflare does not accept the form of the token ({words}); "
                "give the whole API token, without 'Bearer', and not the global key.",
                **details,
            )
        if codes & TOKEN_REFUSED and self.token_works:
            return ForbiddenError(
                f"Cloudflare: the token is valid but may not do {method} {path} ({words}); it needs {right} for this zone.",
                **details,
            )
        if codes & TOKEN_REFUSED:
            return AuthenticationError(
                f"Cloudflare refuses the token for {method} {path} ({words}): it is wrong, expired or revoked, or "
                f"lacks {right} or Zone / Zone / Read for this zone.",
                **details,
            )
        if codes & NO_SUCH_ROUTE:
            return NotFoundError(f"Cloudflare has no {path} ({words}); check zone_id.", **details)
        tags = TAGS_REFUSED.search(words)
        if tags:
            remedy = (
                "this plan has no tags; leave tags out" if tags[1] == "0" else f"this plan has {tags[1]} per record"
            )
            return InvalidError(f"Cloudflare refuses the tags ({words}): {remedy}.", **details)
        if TOO_MANY_RECORDS in codes:
            return InvalidError(
                f"Cloudflare refuses more records ({words}): the zone has as many as its plan allows; remove some first.",
                **details,
            )
        kind = ConflictError if codes & RECORD_CONFLICT else InvalidError
        return kind(f"Cloudflare refuses {method} {path} ({words}).", **details)


def causes(errors: t.Any) -> list[tuple[int, str]]:
    """Code and message of each error, with those that are hidden in a chain below it."""
    found: list[tuple[int, str]] = []
    for one in errors if isinstance(errors, list) else ():
        if isinstance(one, dict) and isinstance(one.get("code"), int):
            found += [(one["code"], str(one.get("message"))), *causes(one.get("error_chain"))]
    return found


def batches(steps: list[Step], size: int) -> list[list[Step]]:
    """As few as possible, with all changes of a name in one batch if they fit: no name is left empty in between."""
    found: list[list[Step]] = [[]]
    for _name, group in itertools.groupby(sorted(steps, key=lambda step: step.name), key=lambda step: step.name):
        together = sorted(group, key=lambda step: ("deletes", "patches", "posts").index(step.kind))
        if len(found[-1]) + len(together) > size and found[-1]:
            found.append([])
        for step in together:
            if len(found[-1]) == size:
                found.append([])
            found[-1].append(step)
    return [batch for batch in found if batch]
