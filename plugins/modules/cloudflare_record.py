#!/usr/bin/python
# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: cloudflare_record
short_description: Manage DNS records at Cloudflare
version_added: 0.1.0
description:
  - Manages a record set, which is all records with one name and one type. The set becomes equal to O(content), or is extended by it.
  - O(records) manages many sets in one task and reads the zone only once.
  - Existing records are changed in place and keep their ids.
    Several changes are sent as one batch, which Cloudflare applies completely or not at all. See O(batch_size).
  - Existing records keep the TTL, proxying, comment, tags and settings that the task does not set.
  - A run without changes makes two requests, or one request if O(zone_id) is set.
extends_documentation_fragment:
  - pantheros.nixci._attributes
  - pantheros.nixci._attributes.actiongroup_cloudflare
  - pantheros.nixci._cloudflare
  - pantheros.nixci._http
  - pantheros.nixci._http.ca_path
options:
  zone:
    description:
      - The name of the zone. Either O(zone) or O(zone_id) is required. An empty value is the same as no value.
      - If O(zone_id) is set as well, the name is only used to complete O(name).
    type: str
  zone_id:
    description: The id of the zone. It saves a request, and the token does not need C(Zone / Zone / Read).
    type: str
  records:
    description:
      - Several record sets, instead of the single set that O(name), O(type) and O(content) describe.
      - An entry inherits the options that it leaves out from the task.
      - Entries with the same name and type form one set, so each value may have its own entry.
    type: list
    elements: dict
    suboptions:
      name:
        description: See O(name).
        type: str
        required: true
      type:
        description: See O(type).
        type: str
        choices: &types [A, AAAA, CAA, CERT, CNAME, DNSKEY, DS, HTTPS, LOC, MX, NAPTR, NS, OPENPGPKEY, PTR, SMIMEA, SRV, SSHFP, SVCB, TLSA, TXT, URI]
        required: true
      content:
        description: See O(content).
        type: raw
      exclusive:
        description: See O(exclusive). All entries with the same name and type must agree.
        type: bool
      ttl:
        description: See O(ttl).
        type: int
      proxied:
        description: See O(proxied).
        type: bool
      comment:
        description: See O(comment).
        type: str
      tags:
        description: See O(tags).
        type: list
        elements: str
      settings:
        description: See O(settings).
        type: dict
        suboptions: &settings
          ipv4_only:
            description: Whether a proxied name resolves to IPv4 addresses only.
            type: bool
          ipv6_only:
            description: Whether a proxied name resolves to IPv6 addresses only.
            type: bool
          flatten_cname:
            description: Whether Cloudflare returns the addresses of the target instead of the CNAME. Requires a paid plan, and O(proxied) must be false.
            type: bool
      state:
        description: See O(state).
        type: str
        choices: [present, absent]
  name:
    description:
      - The name of the records, fully qualified or relative to the zone. V(@) is the zone itself.
      - A name is fully qualified if it is the name of the zone, is a subdomain of it, or ends in a dot.
        Thus V(notexample.com) in the zone C(example.com) means C(notexample.com.example.com).
      - The name must be fully qualified if O(zone) is not set.
      - An internationalized name is converted to punycode. An emoji, which IDNA 2008 does not allow, must be given in punycode.
      - Cloudflare appends the zone to a name that is outside the zone of O(zone_id). The module removes such a new record again and fails.
      - Required unless O(records) is set.
    type: str
  type:
    description: The type of the records. Required if O(name) is set.
    type: str
    choices: *types
  content:
    description:
      - A value or a list of values. Required if O(state=present).
      - With O(state=absent), only records with these values are removed, or all records of this name and type if O(content) is not set.
        An empty list is an error.
      - A value is the text that follows the type in a zone file, such as V(10 mail.example.com) for MX and
        V(0 issue "letsencrypt.org") for CAA, or a mapping of its parts.
      - The parts, in the order of the text, are for CAA C(flags, tag, value); CERT C(type, key_tag, algorithm, certificate);
        DNSKEY C(flags, protocol, algorithm, public_key); DS C(key_tag, algorithm, digest_type, digest);
        HTTPS and SVCB C(priority, target, value); LOC C(lat_degrees, lat_minutes, lat_seconds, lat_direction, long_degrees,
        long_minutes, long_seconds, long_direction, altitude, size, precision_horz, precision_vert); MX C(priority, target);
        NAPTR C(order, preference, flags, service, regex, replacement); SMIMEA and TLSA
        C(usage, selector, matching_type, certificate); SRV C(priority, weight, port, target);
        SSHFP C(algorithm, type, fingerprint); URI C(priority, weight, target).
      - A CNAME has exactly one value. Targets are fully qualified names, with or without the final dot, and no IP addresses.
      - A DS needs name servers (NS) of the same name. The order of the entries does not matter.
      - Give the value of a TXT record as plain text. The module quotes it and splits it into strings of 255 bytes.
        Leading and trailing blanks are significant. Line breaks are an error unless they are quoted.
      - A TXT record that consists of quoted strings, as in a zone file, is one text, with or without blanks between the strings and
        with or without parentheses around them. Other texts with unbalanced or adjoining quotes are an error.
      - Cloudflare limits a TXT record to 4096 bytes, and all TXT records of a name to 8192 characters altogether, quotes included
        (U(https://developers.cloudflare.com/dns/manage-dns-records/reference/dns-record-types/)).
      - Different spellings of a value are equal. This concerns the case of host names and hexadecimal digits, IPv6 addresses, quotes,
        and the order of service parameters.
    type: raw
  exclusive:
    description:
      - If V(true), the set becomes equal to O(content). Other records of this name and type are changed or removed.
      - If V(false), the set is extended by O(content). Other records are kept.
      - Records that Cloudflare keeps read-only for its own features, such as Email Routing, can only be kept.
        The task fails if it would change or remove one.
    type: bool
    default: true
  ttl:
    description:
      - The time to live in seconds, from 30 to 86400. V(1) means automatic, which is 300 seconds.
        Values below 60 require an Enterprise zone.
      - The TTL of a new record is automatic by default. The TTL of a proxied record is always automatic.
    type: int
  proxied:
    description:
      - Whether traffic goes through Cloudflare's proxy. Only records of type A, AAAA and CNAME can be proxied.
        A new record is not proxied by default.
      - Private addresses cannot be proxied.
      - Do not proxy a binary cache. The proxy rejects large uploads and aborts slow ones.
    type: bool
  comment:
    description:
      - A comment of one line. V("") removes the comment.
      - The maximum length depends on the plan of the zone.
    type: str
  tags:
    description:
      - Tags of the form C(name:value). V([]) removes all tags. Names of tags are not case-sensitive.
      - Tags require a paid plan. Without one, Cloudflare returns error 9300 (U(https://github.com/cloudflare/terraform-provider-cloudflare/issues/3217)).
    type: list
    elements: str
  settings:
    description: Settings of the records. Settings that are left out stay unchanged.
    type: dict
    suboptions: *settings
  owner:
    description:
      - Protects records of other owners. The module adds the mark C(managed by OWNER) to the comments of records that it writes, and
        fails instead of changing or removing a record without this mark.
      - A record without the mark that differs from the desired state only in its comment is left unchanged, without a failure.
      - The owner may contain letters, digits and C(._-).
    type: str
  take_over:
    description: Whether to change, mark or remove records of other owners as well. Their marks are replaced.
    type: bool
    default: false
  replace_conflicting:
    description:
      - Whether to remove existing records that conflict with a new record at the same name, in the same batch.
      - Addresses and a CNAME conflict with each other. The name servers (NS) of a name below the zone conflict with both.
      - If V(false), a conflict is an error that names both records.
    type: bool
    default: false
  prune:
    description:
      - Whether to remove all records of the zone that carry the mark of O(owner) and are not in O(records).
        Records without the mark are never pruned.
      - Requires O(owner) and O(records).
      - If both O(zone) and O(zone_id) are set and a record to be pruned is outside O(zone), the task fails, because O(zone_id) is then
        the id of another zone.
    type: bool
    default: false
  batch_size:
    description:
      - The maximum number of changes in a batch. Cloudflare accepts 200 on the Free plan and 3500 on other plans
        (U(https://developers.cloudflare.com/dns/manage-dns-records/how-to/batch-record-changes/)).
      - Cloudflare applies a batch completely or not at all. If there are more changes, the module sends several batches and keeps
        the changes of a name together if they fit. After a failure the next run makes the remaining changes.
    type: int
    default: 200
  state:
    description: Whether the records exist.
    type: str
    choices: [present, absent]
    default: present
notes:
  - The token needs C(Zone / DNS / Read) to read, which is sufficient for check mode and for runs without changes. It needs
    C(Zone / DNS / Edit), which includes reading, to write, and C(Zone / Zone / Read) to find O(zone) by its name.
  - A token cannot read its own permissions, so check mode does not detect that C(Zone / DNS / Edit) is missing.
  - The module never removes the last name server (NS) of the zone itself. If O(zone) is not set, this applies to every name,
    because any name may be the zone.
  - Cloudflare enforces limits of the zone's plan (tags, length of comments, TTLs below 60, number of records) only when records are
    written, so check mode does not detect them.
author:
  - The pantheros.nixci contributors (@pantheros)
"""

EXAMPLES = r"""
- name: Give the cache exactly one address
  pantheros.nixci.cloudflare_record:
    token: "{{ cloudflare_token }}"
    zone: hbohlen.systems
    name: cache
    type: A
    content: 203.0.113.10
    owner: nixci

- name: Add a verification text and keep existing ones
  pantheros.nixci.cloudflare_record:
    token: "{{ cloudflare_token }}"
    zone: hbohlen.systems
    name: "@"
    type: TXT
    content: verification=12345
    exclusive: false

- name: Remove all IPv6 addresses of the cache
  pantheros.nixci.cloudflare_record:
    token: "{{ cloudflare_token }}"
    zone: hbohlen.systems
    name: cache
    type: AAAA
    state: absent

- name: Manage all records of the hosts and remove those that are no longer listed
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

- name: Replace the CNAME of www by an address in one batch
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
  description: The record, if exactly one of the managed records exists after the task, otherwise null.
  returned: success
  type: dict
  contains: &record
    id:
      description: The id of the record. It is null in check mode for a record that would be created.
      type: str
      returned: success
      sample: 023e105f4ecef8ad9ca31a8372d0c353
    name:
      description: The fully qualified name, in lower case and punycode.
      type: str
      returned: success
      sample: cache.hbohlen.systems
    type:
      description: The type of the record.
      type: str
      returned: success
      sample: A
    content:
      description: The value as in a zone file. The value of a TXT record has no quotes.
      type: str
      returned: success
      sample: 203.0.113.10
    data:
      description: The parts of the value if its type has several, otherwise null. See O(content).
      type: dict
      returned: success
      sample: {priority: 10, target: mail.hbohlen.systems}
    ttl:
      description: The time to live in seconds; 1 means automatic.
      type: int
      returned: success
      sample: 1
    proxied:
      description: Whether traffic goes through Cloudflare's proxy.
      type: bool
      returned: success
      sample: false
    comment:
      description: The comment, empty if there is none.
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
      description: The settings that are on.
      type: dict
      returned: success
      sample: {flatten_cname: true}
records:
  description: All records with the names and types of the task, as they are after it.
  returned: success
  type: list
  elements: dict
  contains: *record
changes:
  description: The numbers of records that were created, updated and deleted, or would be in check mode.
  returned: success
  type: dict
  contains:
    created:
      description: The number of new records.
      type: int
      returned: success
      sample: 1
    updated:
      description: The number of records that were changed in place.
      type: int
      returned: success
      sample: 0
    deleted:
      description: The number of removed records.
      type: int
      returned: success
      sample: 0
zone_id:
  description: The id of the zone.
  returned: success
  type: str
  sample: 9a7806061c88ada191ed06f989cc3dac
status:
  description: The HTTP status of the response, if it was an error.
  returned: failure
  type: int
  sample: 429
retry_after:
  description: The pause in seconds that Cloudflare requested, if it is longer than O(longest_pause).
  returned: failure
  type: float
  sample: 300
codes:
  description: Cloudflare's error codes, if Cloudflare rejected the request.
  returned: failure
  type: list
  elements: int
  sample: [81053]
foreign:
  description: The records of other owners that the task would have changed.
  returned: failure
  type: list
  elements: str
  sample: ["A cache.hbohlen.systems → 198.51.100.1 (no comment)"]
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._cloudflare.client import CloudflareClient, cloudflare_argument_spec
from ..module_utils._cloudflare.desired import DesiredRecords
from ..module_utils._cloudflare.plan import Plan, count, plan
from ..module_utils._cloudflare.record import SETTINGS, Record, Step, Zone
from ..module_utils._cloudflare.values import SHAPES
from ..module_utils._core.errors import InvalidError, NixciError
from ..module_utils._core.resource import run

STATES = ["present", "absent"]


def record_spec(**defaults: t.Any) -> dict[str, t.Any]:
    """The options of a record set. Those of an entry have no defaults, because the entry inherits from the task."""
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


class CloudflareRecords:
    """The records of a zone that a task manages."""

    def __init__(self, params: dict[str, t.Any]) -> None:
        self.client = CloudflareClient(params)
        self.desired = DesiredRecords.from_params(params)
        self.zone_id: str = params["zone_id"] or ""
        self.batch_size: int = params["batch_size"]
        self.before: list[Record] | None = None  # what existed when we began to write

    def read(self, params: dict[str, t.Any]) -> Zone:
        self.zone_id = self.zone_id or self.client.zone_id(self.desired.zone)
        return Zone(self.zone_id, self.client.records(self.zone_id, self.desired.single_name))

    def plan(self, params: dict[str, t.Any], found: Zone) -> Plan:
        return plan(self.desired, found)

    def predict(self, plan: Plan) -> dict[str, t.Any]:
        return self.result(plan, plan.after)

    def apply(self, plan: Plan) -> dict[str, t.Any]:
        if self.before is None:
            self.before = plan.before
        written = self.client.apply(plan.zone_id, plan.steps, self.batch_size)
        updated = {step.before.id for step in plan.steps if step.before}
        self.remove_stray(plan.zone_id, [record for record in written if record.id not in updated])
        fresh = {record.key: record for record in written}
        return self.result(plan, [fresh.get(record.key, record) for record in plan.after])

    def remove_stray(self, zone_id: str, created: list[Record]) -> None:
        """Cloudflare appends the zone to a name outside of it, which only the response shows."""
        names = {one.name for one in self.desired.sets}
        stray = [record for record in created if record.name not in names]
        if not stray:
            return
        remedy = "give the fully qualified name, and check that zone_id is the id of the zone"
        problem = f"The name is not within the zone: Cloudflare created '{stray[0].name}'"
        try:
            self.client.apply(zone_id, [Step(record, None) for record in stray], self.batch_size)
        except NixciError as exc:
            which = ", ".join(f"{record.type} {record.name}" for record in stray)
            raise InvalidError(f"{problem}, and removing it again failed; remove {which}, {remedy}. {exc}") from None
        raise InvalidError(f"{problem}, which was removed again; {remedy}.")

    def result(self, plan: Plan, after: list[Record]) -> dict[str, t.Any]:
        records = [{"id": record.id, **record.public()} for record in after]
        return {
            "record": records[0] if len(records) == 1 else None,
            "records": records,
            # An attempt whose response was lost may have made changes, too, so the last plan alone does not count.
            "changes": count(plan.before if self.before is None else self.before, after),
            "zone_id": plan.zone_id,
        }


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
    run(module, lambda: CloudflareRecords(module.params))


if __name__ == "__main__":
    main()
