#!/usr/bin/python
# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: cloudflare_record
short_description: Manage the DNS records of one name and type at Cloudflare
version_added: 0.1.0
description:
  - Makes the set of records with one name and one type equal to O(content), or makes it contain O(content).
  - Existing records are changed in place, so that their ids, tags and settings live on.
    Several changes are one call that happens as a whole or not at all.
  - A record that exists already keeps what is not set here (TTL, proxying, comment).
  - The types are A, AAAA, CNAME and TXT.
extends_documentation_fragment:
  - pantheros.nixci._attributes
  - pantheros.nixci._attributes.actiongroup_cloudflare
  - pantheros.nixci._cloudflare
  - pantheros.nixci._http
  - pantheros.nixci._http.ca_path
options:
  zone:
    description:
      - The name of the zone. One of O(zone) and O(zone_id) is required.
      - With O(zone_id) it only completes O(name) and is not looked up.
    type: str
  zone_id:
    description: The id of the zone. It saves one request, and the token needs no C(Zone / Zone / Read).
    type: str
  name:
    description:
      - The name, complete or relative to the zone; V(@) is the zone itself.
      - It counts as complete if it equals the zone, ends in a dot and the zone, or ends in a dot.
        So V(notexample.com) in the zone C(example.com) is C(notexample.com.example.com).
      - With O(zone_id) alone it must be complete.
    type: str
    required: true
  type:
    description: The type of the records.
    type: str
    choices: [A, AAAA, CNAME, TXT]
    required: true
  content:
    description:
      - The values. Required with O(state=present).
      - With O(state=absent) only these records are removed; without it, all records of this name and type are.
      - A CNAME has exactly one.
      - A text for TXT is written as it is; quoting and the division into strings of 255 bytes happen here.
        Text that consists of quoted strings is understood as well.
    type: list
    elements: str
  exclusive:
    description:
      - V(true) means that the set equals O(content), and other records of this name and type are changed or removed.
      - V(false) means that the set contains O(content), and other records stay.
    type: bool
    default: true
  ttl:
    description:
      - Seconds that resolvers may keep the record, V(1) for automatic (which is 300), otherwise 30 to 86400.
        Below 60 is for Enterprise zones.
      - A new record is automatic. A proxied record always is.
    type: int
  proxied:
    description:
      - Whether Cloudflare's proxy answers for the name. A new record is not proxied.
      - A binary cache must not be. The proxy refuses large uploads and cuts slow ones off.
    type: bool
  comment:
    description: A note of one line, V("") for none.
    type: str
  owner:
    description:
      - Protects the records of others. New records get "managed by <owner>" at the end of their comment, and a record of
        this name and type without that mark is neither changed nor removed. The task fails and names it.
      - A record without the mark that has the wanted content, TTL and proxying already is left as it is; that is no failure.
      - Letters, digits and C(._-).
    type: str
  take_over:
    description: Change, mark or remove such records nevertheless. Other owners' marks are replaced.
    type: bool
    default: false
  state:
    description: Whether the records shall exist.
    type: str
    choices: [present, absent]
    default: present
author:
  - The pantheros.nixci contributors (@pantheros)
"""

EXAMPLES = r"""
- name: The cache has one address, whatever was there before
  pantheros.nixci.cloudflare_record:
    token: "{{ cloudflare_token }}"
    zone: hbohlen.systems
    name: cache
    type: A
    content: [203.0.113.10]
    owner: nixci

- name: One more verification text beside those that exist
  pantheros.nixci.cloudflare_record:
    token: "{{ cloudflare_token }}"
    zone: hbohlen.systems
    name: "@"
    type: TXT
    content: ["verification=12345"]
    exclusive: false

- name: No IPv6
  pantheros.nixci.cloudflare_record:
    token: "{{ cloudflare_token }}"
    zone: hbohlen.systems
    name: cache
    type: AAAA
    state: absent
"""

RETURN = r"""
record:
  description: The record, if exactly one of this name and type exists after the task; otherwise null.
  returned: success
  type: dict
  sample: &record
    id: 023e105f4ecef8ad9ca31a8372d0c353
    name: cache.hbohlen.systems
    type: A
    content: 203.0.113.10
    ttl: 1
    proxied: false
    comment: managed by nixci
records:
  description: >-
    All records of this name and type after the task, by content. The value of a TXT is without quotes.
    In check mode a record that would be new has the id null.
  returned: success
  type: list
  elements: dict
  sample: [*record]
zone_id:
  description: The id of the zone.
  returned: success
  type: str
  sample: 9a7806061c88ada191ed06f989cc3dac
codes:
  description: Cloudflare's error codes, if it refused the request.
  returned: failure
  type: list
  elements: int
  sample: [81053]
"""

import dataclasses
import re
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._change import Change
from ..module_utils._cloudflare import (
    AUTOMATIC_TTL,
    PROXIABLE,
    TYPES,
    Batch,
    CloudflareClient,
    Record,
    cloudflare_argument_spec,
    comparable,
    full_name,
    host_name,
)
from ..module_utils._errors import ConflictError, InvalidError, NixciError, UnavailableError

RIVALS = {"A": ("CNAME",), "AAAA": ("CNAME",), "CNAME": ("A", "AAAA", "CNAME"), "TXT": ()}
ANY_MARK = re.compile(r"\s*\(?\bmanaged by [\w.-]+\)?")


@dataclasses.dataclass(frozen=True)
class Plan:
    change: Change
    batch: Batch
    after: list[Record]


def check(params: dict[str, t.Any]) -> None:
    """What can be refused without asking anybody."""
    type_, content, ttl = params["type"], params["content"], params["ttl"]
    if params["state"] == "present" and not content:
        raise InvalidError("content needs at least one value; to remove the records use state: absent.")
    if params["state"] == "present" and type_ == "CNAME" and len(content) > 1:
        raise InvalidError(f"A CNAME has one target, but content has {len(content)}.")
    if ttl is not None and ttl != AUTOMATIC_TTL and not 30 <= ttl <= 86400:
        raise InvalidError(f"The ttl {ttl} is neither 1 (automatic) nor between 30 and 86400 seconds.")
    if params["proxied"] and type_ not in PROXIABLE:
        raise InvalidError(f"Records of type {type_} cannot be proxied.")
    if params["proxied"] and ttl not in (None, AUTOMATIC_TTL):
        raise InvalidError("A proxied record has an automatic TTL; leave ttl out.")
    if re.search(r"[\r\n]", params["comment"] or ""):
        raise InvalidError("A comment has no line breaks.")
    if params["owner"] is not None and not re.fullmatch(r"[\w-]([\w.-]*[\w-])?", params["owner"], re.ASCII):
        raise InvalidError(f"The owner '{params['owner']}' may have letters, digits and ._- only, and no final dot.")


def owned(params: dict[str, t.Any], record: Record) -> bool:
    """Whether the record is ours to change."""
    if params["owner"] is None or params["take_over"] or record.id is None:
        return True
    return marked(params["owner"], record.comment)


def marked(owner: str, comment: str) -> bool:
    return re.search(rf"\bmanaged by {re.escape(owner)}(?![\w-]|\.\w)", comment) is not None


def comment_for(params: dict[str, t.Any], record: Record) -> str:
    owner, comment = params["owner"], params["comment"]
    if comment is None:
        comment = record.comment
    if owner is None or marked(owner, comment):
        return comment
    comment = ANY_MARK.sub("", comment).strip()
    return f"{comment} (managed by {owner})" if comment else f"managed by {owner}"


def wish(params: dict[str, t.Any], record: Record, content: str) -> Record:
    """The record as it shall be; unset options keep what it has."""
    fields = {field: params[field] for field in ("ttl", "proxied") if params[field] is not None}
    wanted = dataclasses.replace(record, content=content, **fields)
    if wanted.proxied:
        wanted = dataclasses.replace(wanted, ttl=AUTOMATIC_TTL)
    if not owned(params, record) and wanted == record:
        return record  # it is as we want it, so it may stay somebody else's
    return dataclasses.replace(wanted, comment=comment_for(params, record))


def plan(params: dict[str, t.Any], name: str, existing: list[Record]) -> Plan:
    """What to do; `existing` are all records of the name, of any type."""
    type_ = params["type"]
    mine = sorted((record for record in existing if record.type == type_), key=lambda one: (one.content, one.id))
    missing = list(dict.fromkeys(comparable(type_, content) for content in params["content"] or ()))
    named, others = [], []
    for record in mine:
        if record.content in missing:
            missing.remove(record.content)
            named.append(record)
        else:
            others.append(record)

    if params["state"] == "absent":
        deletes, updates, new = (named if params["content"] else mine), [], []
    else:
        spare = others if params["exclusive"] else []
        updates = [(record, wish(params, record, record.content)) for record in named]
        updates += [(record, wish(params, record, content)) for record, content in zip(spare, missing, strict=False)]
        deletes = spare[len(missing) :]
        new = [wish(params, Record(name, type_, content), content) for content in missing[len(spare) :]]
    updates = [(old, wanted) for old, wanted in updates if old != wanted]

    guard(params, [*deletes, *(old for old, _wanted in updates)])
    rivals = [record for record in existing if record.type in RIVALS[type_]]
    if new and rivals:
        raise ConflictError(
            f"Cannot create {new[0]}: at the same name there is {rivals[0]}, and a CNAME tolerates neither an address nor "
            "another CNAME beside it; remove one of the two first."
        )

    wanted_by_id = {old.id: wanted for old, wanted in updates}
    after = [wanted_by_id.get(record.id, record) for record in mine if record not in deletes] + new
    after.sort(key=lambda one: one.content)
    return Plan(
        Change(state(mine), state(after)),
        Batch(
            deletes=tuple(record.id for record in deletes),
            patches=tuple((old.id, old.changes(wanted)) for old, wanted in updates),
            posts=tuple(record.body() for record in new),
        ),
        after,
    )


def guard(params: dict[str, t.Any], touched: list[Record]) -> None:
    foreign = [str(record) for record in touched if not owned(params, record)]
    if foreign:
        raise ConflictError(
            f"Owned by something else, because the comment does not say 'managed by {params['owner']}': "
            f"{'; '.join(foreign)}. Nothing was changed; remove what is no longer needed, or adopt it with take_over: true.",
            foreign=foreign,
        )


def state(records: list[Record]) -> dict[str, t.Any] | None:
    return {"records": [record.public() for record in records]} if records else None


def write(client: CloudflareClient, params: dict[str, t.Any], zone_id: str, name: str, first: Plan) -> list[Record]:
    try:
        written = client.apply(zone_id, first.batch)
        after = first.after
    except (UnavailableError, ConflictError):
        # The call may have worked although its answer got lost, or somebody was faster: what is there now decides.
        again = plan(params, name, client.records(zone_id, name))
        written = client.apply(zone_id, again.batch) if again.batch else []
        after = again.after
    stray = [record for record in written if record.name != name]
    if stray:
        raise InvalidError(
            f"The name '{name}' is not within the zone: Cloudflare made '{stray[0].name}' of it. "
            "Remove that record, and give the complete name or set zone, too."
        )
    fresh = {record.content: record for record in written}
    return [fresh.get(record.content, record) for record in after]


def run(module: AnsibleModule, client: CloudflareClient) -> dict[str, t.Any]:
    params = module.params
    check(params)
    if params["zone"]:
        zone = host_name(params["zone"])
        name = full_name(params["name"], zone)
    elif "." in params["name"].removesuffix("."):
        name = host_name(params["name"])
    else:
        raise InvalidError(
            f"With zone_id alone the name must be complete, '{params['name']}' is not; or set zone, too."
        )
    # Wrong content is refused before the first request.
    for content in params["content"] or ():
        comparable(params["type"], content)

    zone_id = params["zone_id"] or client.zone_id(zone)
    planned = plan(params, name, client.records(zone_id, name))
    after = planned.after
    if planned.batch and not module.check_mode:
        after = write(client, params, zone_id, name, planned)
    records = [dataclasses.asdict(record) for record in after]
    return planned.change.result(
        record=records[0] if len(records) == 1 else None,
        records=records,
        zone_id=zone_id,
    )


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **cloudflare_argument_spec(),
            "zone": {"type": "str"},
            "zone_id": {"type": "str"},
            "name": {"type": "str", "required": True},
            "type": {"type": "str", "required": True, "choices": list(TYPES)},
            "content": {"type": "list", "elements": "str"},
            "exclusive": {"type": "bool", "default": True},
            "ttl": {"type": "int"},
            "proxied": {"type": "bool"},
            "comment": {"type": "str"},
            "owner": {"type": "str"},
            "take_over": {"type": "bool", "default": False},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        required_one_of=[("zone", "zone_id")],
        required_if=[("state", "present", ["content"])],
        supports_check_mode=True,
    )
    try:
        result = run(module, CloudflareClient(module.params))
    except NixciError as exc:
        module.fail_json(msg=str(exc), **exc.details)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
