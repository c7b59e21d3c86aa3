#!/usr/bin/python
# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: cloudflare_record
short_description: Manage DNS records at Cloudflare, one set or many at once
version_added: 0.1.0
description:
  - Makes the set of records with one name and one type equal to O(content), or makes it contain O(content).
    O(records) does this for many sets in one task, with one listing of the zone.
  - Existing records are changed in place, so that their ids, comments, tags and settings live on.
    Several changes are one call that happens as a whole or not at all, see O(batch_size).
  - A record that exists already keeps what is not set here (TTL, proxying, comment, tags, settings).
  - A run that has nothing to do makes two requests, or one with O(zone_id).
extends_documentation_fragment:
  - pantheros.nixci._attributes
  - pantheros.nixci._attributes.actiongroup_cloudflare
  - pantheros.nixci._cloudflare
  - pantheros.nixci._http
  - pantheros.nixci._http.ca_path
options:
  zone:
    description:
      - The name of the zone. One of O(zone) and O(zone_id) is required; an empty one counts as not given.
      - With O(zone_id) it only completes O(name) and is not looked up.
    type: str
  zone_id:
    description: The id of the zone. It saves one request, and the token needs no C(Zone / Zone / Read).
    type: str
  records:
    description:
      - Many records instead of the one set of O(name), O(type) and O(content).
      - An option that an entry leaves out is the one of the task, so what all have in common is written once.
      - Entries of the same name and type are one set, so a list with one entry for each value works as well.
    type: list
    elements: dict
    suboptions:
      name:
        description: As O(name).
        type: str
        required: true
      type:
        description: As O(type).
        type: str
        choices: &types [A, AAAA, CAA, CERT, CNAME, DNSKEY, DS, HTTPS, LOC, MX, NAPTR, NS, OPENPGPKEY, PTR, SMIMEA, SRV, SSHFP, SVCB, TLSA, TXT, URI]
        required: true
      content:
        description: As O(content).
        type: raw
      exclusive:
        description: As O(exclusive). The same for all entries of one name and type.
        type: bool
      ttl:
        description: As O(ttl).
        type: int
      proxied:
        description: As O(proxied).
        type: bool
      comment:
        description: As O(comment).
        type: str
      tags:
        description: As O(tags).
        type: list
        elements: str
      settings:
        description: As O(settings).
        type: dict
        suboptions: &settings
          ipv4_only:
            description: A proxied name answers with IPv4 addresses only.
            type: bool
          ipv6_only:
            description: A proxied name answers with IPv6 addresses only.
            type: bool
          flatten_cname:
            description: Answer with the addresses of the target instead of the CNAME. For paid plans, and not with O(proxied).
            type: bool
      state:
        description: As O(state).
        type: str
        choices: [present, absent]
  name:
    description:
      - The name, complete or relative to the zone; V(@) is the zone itself.
      - It counts as complete if it equals the zone, ends in a dot and the zone, or ends in a dot.
        So V(notexample.com) in the zone C(example.com) is C(notexample.com.example.com).
      - With O(zone_id) alone it must be complete.
      - To a name outside of the zone of O(zone_id) Cloudflare appends that zone. Such a new record is removed again, and the task fails.
      - Required unless O(records) is given.
    type: str
  type:
    description: The type of the records. Required with O(name).
    type: str
    choices: *types
  content:
    description:
      - One value or a list of values. Required with O(state=present).
      - With O(state=absent) only these records are removed; without it, all records of this name and type are.
        An empty list is refused.
      - A value is the text that a zone file has after the type, such as V(10 mail.example.com) for MX and
        V(0 issue "letsencrypt.org") for CAA, or a mapping of its parts.
      - The parts, in the order of the text, are for CAA C(flags, tag, value); CERT C(type, key_tag, algorithm, certificate);
        DNSKEY C(flags, protocol, algorithm, public_key); DS C(key_tag, algorithm, digest_type, digest);
        HTTPS and SVCB C(priority, target, value); LOC C(lat_degrees, lat_minutes, lat_seconds, lat_direction, long_degrees,
        long_minutes, long_seconds, long_direction, altitude, size, precision_horz, precision_vert); MX C(priority, target);
        NAPTR C(order, preference, flags, service, regex, replacement); SMIMEA and TLSA
        C(usage, selector, matching_type, certificate); SRV C(priority, weight, port, target);
        SSHFP C(algorithm, type, fingerprint); URI C(priority, weight, target).
      - A CNAME has exactly one. Targets are complete names, with or without the final dot.
      - A text for TXT is written as it is; quoting and the division into strings of 255 bytes happen here.
        Text that consists of quoted strings is understood as well. Blanks at its ends count; line breaks are refused, unless quoted.
      - A text has at most 4096 bytes, and all texts of a name together have at most 8192 characters
        (U(https://developers.cloudflare.com/dns/manage-dns-records/reference/dns-record-types/)), quotes included.
      - Another spelling of the same value is no difference (case of host names and hexadecimal digits, IPv6, quotes,
        order of service parameters).
    type: raw
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
      - Whether Cloudflare's proxy answers for the name, for types A, AAAA and CNAME. A new record is not proxied.
      - Private addresses cannot be proxied.
      - A binary cache must not be. The proxy refuses large uploads and cuts slow ones off.
    type: bool
  comment:
    description:
      - A note of one line, V("") for none.
      - Cloudflare refuses long ones; how long depends on the plan.
    type: str
  tags:
    description:
      - Tags of the form C(name:value), V([]) for none. Upper and lower case are the same in names.
      - For paid plans; others refuse them with error 9300 (U(https://github.com/cloudflare/terraform-provider-cloudflare/issues/3217)).
    type: list
    elements: str
  settings:
    description: Switches of the records. One that is left out stays as it is.
    type: dict
    suboptions: *settings
  owner:
    description:
      - Protects the records of others. New records get "managed by <owner>" at the end of their comment, and a record of
        this name and type without that mark is neither changed nor removed. The task fails and names it.
      - A record without the mark that is as wanted already, its comment apart, is left as it is; that is no failure.
      - Letters, digits and C(._-).
    type: str
  take_over:
    description: Change, mark or remove such records nevertheless. Other owners' marks are replaced.
    type: bool
    default: false
  replace_conflicting:
    description:
      - Remove what a new record excludes at its name, in the same batch. An address and a CNAME exclude each other,
        and name servers (NS) of a name below the zone exclude both.
      - Without it the task fails and names both records.
    type: bool
    default: false
  prune:
    description:
      - Remove every record of the zone that carries the mark of O(owner) and is not wanted by O(records).
      - Records without the mark are never removed by it. Needs O(owner) and O(records).
      - With O(zone) and O(zone_id), a record that is not within O(zone) is refused, for then O(zone_id) is the id of another zone.
    type: bool
    default: false
  batch_size:
    description:
      - How many changes go into one batch. Cloudflare takes 200 on the Free plan and 3500 on others
        (U(https://developers.cloudflare.com/dns/manage-dns-records/how-to/batch-record-changes/)).
      - A batch happens as a whole or not at all. If there are more changes than this, several batches follow each other,
        and the changes of one name stay together; after a failure the next run makes the rest.
    type: int
    default: 200
  state:
    description: Whether the records shall exist.
    type: str
    choices: [present, absent]
    default: present
notes:
  - Reading, so also check mode and a run that changes nothing, needs C(Zone / DNS / Read); writing needs C(Zone / DNS / Edit),
    which includes reading; finding O(zone) by its name needs C(Zone / Zone / Read).
  - The last name server (NS) of the zone itself is not removed. With O(zone_id) alone this holds for each name,
    because any of them may be the zone.
  - What depends on the plan of the zone (tags, length of comments, TTLs below 60, number of records) is refused by Cloudflare
    only when it is written, so check mode does not foresee it.
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
    content: 203.0.113.10
    owner: nixci

- name: One more verification text beside those that exist
  pantheros.nixci.cloudflare_record:
    token: "{{ cloudflare_token }}"
    zone: hbohlen.systems
    name: "@"
    type: TXT
    content: verification=12345
    exclusive: false

- name: No IPv6
  pantheros.nixci.cloudflare_record:
    token: "{{ cloudflare_token }}"
    zone: hbohlen.systems
    name: cache
    type: AAAA
    state: absent

- name: All records of the machines, and none of those that were made here and left the list
  pantheros.nixci.cloudflare_record:
    token: "{{ cloudflare_token }}"
    zone: hbohlen.systems
    owner: nixci
    prune: true
    proxied: false
    records:
      - {name: cache, type: A, content: 203.0.113.10}
      - {name: builder, type: A, content: [203.0.113.11, 203.0.113.12], ttl: 600}
      - {name: www, type: CNAME, content: cache.hbohlen.systems}
      - {name: "@", type: MX, content: [10 mail.hbohlen.systems, 20 backup.example.org]}
      - {name: "@", type: CAA, content: 0 issue "letsencrypt.org"}
      - name: _sip._tcp
        type: SRV
        content:
          - {priority: 10, weight: 5, port: 5060, target: sip.example.org}

- name: The name www becomes an address, and its CNAME goes in the same step
  pantheros.nixci.cloudflare_record:
    token: "{{ cloudflare_token }}"
    zone: hbohlen.systems
    name: www
    type: A
    content: 203.0.113.10
    replace_conflicting: true
"""

RETURN = r"""
record:
  description: The record, if the task is about exactly one that exists after it; otherwise null.
  returned: success
  type: dict
  contains: &record
    id:
      description: The id of the record; null in check mode for one that would be new.
      type: str
      returned: success
      sample: 023e105f4ecef8ad9ca31a8372d0c353
    name:
      description: The complete name, in lower case and punycode.
      type: str
      returned: success
      sample: cache.hbohlen.systems
    type:
      description: The type.
      type: str
      returned: success
      sample: A
    content:
      description: The value as a zone file has it. The one of a TXT is without quotes.
      type: str
      returned: success
      sample: 203.0.113.10
    data:
      description: The parts of the value, for types that have several; otherwise null. See O(content).
      type: dict
      returned: success
      sample: {priority: 10, target: mail.hbohlen.systems}
    ttl:
      description: Seconds, 1 for automatic.
      type: int
      returned: success
      sample: 1
    proxied:
      description: Whether Cloudflare's proxy answers for the name.
      type: bool
      returned: success
      sample: false
    comment:
      description: The comment, empty for none.
      type: str
      returned: success
      sample: managed by nixci
    tags:
      description: The tags, sorted.
      type: list
      elements: str
      returned: success
      sample: ["team:infra"]
    settings:
      description: The switches that are on.
      type: dict
      returned: success
      sample: {flatten_cname: true}
records:
  description: All records of the names and types of the task, as they are after it.
  returned: success
  type: list
  elements: dict
  contains: *record
changes:
  description: How many records were created, updated and deleted, or would be in check mode.
  returned: success
  type: dict
  contains:
    created:
      description: New records.
      type: int
      returned: success
      sample: 1
    updated:
      description: Records changed in place.
      type: int
      returned: success
      sample: 0
    deleted:
      description: Records removed.
      type: int
      returned: success
      sample: 0
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
foreign:
  description: The records that O(owner) protects, if the task would have changed them.
  returned: failure
  type: list
  elements: str
  sample: ["A cache.hbohlen.systems → 198.51.100.1 (no comment)"]
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._cloudflare.client import CloudflareClient, cloudflare_argument_spec
from ..module_utils._cloudflare.desired import Task
from ..module_utils._cloudflare.plan import Plan, Step, plan
from ..module_utils._cloudflare.record import SETTINGS, Record
from ..module_utils._cloudflare.values import SHAPES
from ..module_utils._core.errors import ConflictError, InvalidError, NixciError, UnavailableError

STATES = ["present", "absent"]


def record_spec(**defaults: t.Any) -> dict[str, t.Any]:
    """The options of one set of records; those of an entry have no defaults, because the task gives them."""
    spec: dict[str, dict[str, t.Any]] = {
        "name": {"type": "str"},
        "type": {"type": "str", "choices": list(SHAPES)},
        "content": {"type": "raw"},
        "exclusive": {"type": "bool"},
        "ttl": {"type": "int"},
        "proxied": {"type": "bool"},
        "comment": {"type": "str"},
        "tags": {"type": "list", "elements": "str"},
        "settings": {"type": "dict", "options": {name: {"type": "bool"} for name in SETTINGS}},
        "state": {"type": "str", "choices": STATES},
    }
    for option, default in defaults.items():
        spec[option]["default"] = default
    return spec


def entry_spec() -> dict[str, t.Any]:
    spec = record_spec()
    spec["name"]["required"] = spec["type"]["required"] = True
    return spec


def apply(client: CloudflareClient, task: Task, zone_id: str, first: Plan, batch_size: int) -> list[Record]:
    """Makes the changes; returns the records of the task as Cloudflare has them now."""
    try:
        done, written = first, client.apply(zone_id, first.steps, batch_size)
    except (UnavailableError, ConflictError):
        # The call may have worked although its answer got lost, or somebody was faster: what is there now decides.
        done = plan(task, client.records(zone_id, task.only_name))
        written = client.apply(zone_id, done.steps, batch_size)
    known = {step.before.id for step in done.steps if step.before}
    take_back(client, task, zone_id, [record for record in written if record.id not in known], batch_size)
    fresh = {record.key: record for record in written}
    return [fresh.get(record.key, record) for record in done.after]


def take_back(client: CloudflareClient, task: Task, zone_id: str, new: list[Record], batch_size: int) -> None:
    """Cloudflare appends its zone to a name that is not within it, which only its answer tells."""
    names = {one.name for one in task.sets}
    stray = [record for record in new if record.name not in names]
    if not stray:
        return
    remedy = "give the complete name, and check that zone_id is the id of the zone"
    made = f"The name is not within the zone: Cloudflare made '{stray[0].name}' of it"
    try:
        client.apply(zone_id, [Step(record, None) for record in stray], batch_size)
    except NixciError as exc:
        which = ", ".join(f"{record.type} {record.name}" for record in stray)
        raise InvalidError(f"{made}, and removing that again failed; remove {which}, {remedy}. {exc}") from None
    raise InvalidError(f"{made}, and that was removed again; {remedy}.")


def run(module: AnsibleModule, client: CloudflareClient) -> dict[str, t.Any]:
    task = Task.read(module.params)
    zone_id = module.params["zone_id"] or client.zone_id(task.zone)
    planned = plan(task, client.records(zone_id, task.only_name))
    after = planned.after
    if planned.steps and not module.check_mode:
        after = apply(client, task, zone_id, planned, module.params["batch_size"])
    records = [{"id": record.id, **record.public()} for record in after]
    return planned.change.result(
        record=records[0] if len(records) == 1 else None,
        records=records,
        changes=planned.count(),
        zone_id=zone_id,
    )


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **cloudflare_argument_spec(),
            **record_spec(exclusive=True, state="present"),
            "zone": {"type": "str"},
            "zone_id": {"type": "str"},
            "records": {"type": "list", "elements": "dict", "options": entry_spec()},
            "owner": {"type": "str"},
            "take_over": {"type": "bool", "default": False},
            "replace_conflicting": {"type": "bool", "default": False},
            "prune": {"type": "bool", "default": False},
            "batch_size": {"type": "int", "default": 200},
        },
        required_one_of=[("zone", "zone_id"), ("name", "records")],
        mutually_exclusive=[("name", "records"), ("type", "records"), ("content", "records")],
        required_by={"name": ["type"]},
        supports_check_mode=True,
    )
    try:
        result = run(module, CloudflareClient(module.params))
    except NixciError as exc:
        module.fail_json(msg=str(exc), **exc.details)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
