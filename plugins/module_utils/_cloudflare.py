# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The calls to Cloudflare's DNS API, and its errors in our words. Private: may change without notice."""

from __future__ import annotations

import itertools
import re
import typing as t

from ansible.module_utils.basic import env_fallback

from ._cloudflare_plan import Step
from ._cloudflare_record import Record
from ._errors import AuthenticationError, ConflictError, ForbiddenError, InvalidError, NixciError, NotFoundError
from ._http import JsonClient, http_argument_spec

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
        **http_argument_spec(),
    }


class CloudflareClient(JsonClient):
    service = "Cloudflare"
    # More than the plans allow a zone by default (200 to 3500), so that one request shows all. The API takes 5000000.
    PAGE = 5000

    def __init__(self, params: dict[str, t.Any]) -> None:
        token = params["token"].strip()
        # requests would quote the whole header in its complaint about such a token.
        if not re.fullmatch(r"[!-~]+", token):
            raise InvalidError(
                "The Cloudflare token is empty or holds blanks, line breaks or other foreign characters."
            )
        super().__init__(
            params["url"],
            {"Authorization": f"Bearer {token}"},
            timeout=params["timeout"],
            retries=params["retries"],
            ca_path=params["ca_path"],
        )
        self.token_works = False

    def request(self, *args: t.Any, **kwargs: t.Any) -> t.Any:
        answer = super().request(*args, **kwargs)
        self.token_works = True  # a later refusal is about rights, see error()
        return answer

    def zone_id(self, zone: str) -> str:
        found = self.request("GET", "/zones", params={"name": zone, "per_page": 50})["result"]
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
        only = {"name.exact": name} if name else {}
        found: dict[str | None, Record] = {}  # one that moves to a later page meanwhile would come twice
        for page in itertools.count(1):
            answer = self.request(
                "GET", f"/zones/{zone_id}/dns_records", params={**only, "per_page": self.PAGE, "page": page}
            )
            found |= {record.id: record for record in map(Record.parse, answer["result"])}
            info = answer.get("result_info") or {}
            if len(answer["result"]) < self.PAGE or page >= info.get("total_pages", page + 1):
                break
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
        if step.kind == "posts":
            return [Record.parse(self.request("POST", path, step.body)["result"])]
        if step.kind == "patches":
            return [Record.parse(self.request("PATCH", f"{path}/{step.before.id}", step.body)["result"])]
        # 404: somebody was faster, or the answer to our first try got lost.
        self.request("DELETE", f"{path}/{step.before.id}", none_on=(404,))
        return []

    def batch(self, path: str, steps: list[Step]) -> list[Record]:
        """The API runs deletes, patches and posts in this order, all or none."""
        body: dict[str, list[t.Any]] = {"deletes": [], "patches": [], "posts": []}
        for step in steps:
            body[step.kind].append({**({"id": step.before.id} if step.before else {}), **step.body})
        answer = self.request("POST", f"{path}/batch", {kind: items for kind, items in body.items() if items})["result"]
        return [Record.parse(one) for kind in ("patches", "posts") for one in answer.get(kind) or ()]

    def error(self, method: str, path: str, status: int, content: t.Any) -> NixciError:
        errors = content.get("errors") if isinstance(content, dict) else None
        if not errors or status == 429 or status >= 500:
            return super().error(method, path, status, content)
        chain = [cause for one in errors for cause in (one, *(one.get("error_chain") or ()))]
        codes = {cause.get("code") for cause in chain}
        words = "; ".join(f"{cause.get('code')} {cause.get('message')}" for cause in chain)[:500]
        details = {"status": status, "codes": [cause.get("code") for cause in chain]}
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
