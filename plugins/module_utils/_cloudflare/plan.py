# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From desired and existing records to the changes to make. Private: may change without notice."""

from __future__ import annotations

import collections
import dataclasses
import itertools
import typing as t

from .._core.change import Change
from .._core.errors import ConflictError, InvalidError
from .desired import DesiredFields, DesiredRecords, RecordSet
from .names import quote, within
from .record import Record, Step, Zone
from .values import LONGEST_SET, Value


@dataclasses.dataclass(frozen=True)
class Plan:
    zone_id: str
    steps: list[Step]
    before: list[Record]
    """The records that the task manages or removes, as they are."""
    after: list[Record]
    """The records that the task manages, as they will be."""

    @property
    def change(self) -> Change:
        return Change(state(self.before), state(self.after))


def plan(desired: DesiredRecords, zone: Zone) -> Plan:
    """With prune, `zone` must contain all its records."""
    groups: dict[tuple[str, str], list[Record]] = {(one.name, one.type): [] for one in desired.sets}
    managed = [record for record in sorted(zone.records, key=order) if (record.name, record.type) in groups]
    for record in managed:
        groups[record.name, record.type].append(record)
    steps = [step for one in desired.sets for step in plan_set(desired, one, groups[one.name, one.type])]
    steps += remove_conflicting(desired, steps, zone.records)
    if desired.prune:
        steps += prune(desired, steps, zone.records)
    steps = [step for step in steps if step.before != step.after]
    refuse_managed(desired, steps)
    refuse_foreign(desired, steps)
    refuse_lone_ds(desired, steps, zone.records)
    refuse_last_name_server(desired, steps, zone.records)

    replaced = {step.before.id: step.after for step in steps if step.before}
    kept = [replaced.get(record.id, record) for record in managed]
    created = [step.after for step in steps if not step.before]
    after = sorted((record for record in (*kept, *created) if record), key=order)
    refuse_long_sets(managed, after)
    known = {record.id for record in managed}
    removed = [step.before for step in steps if step.before and not step.after and step.before.id not in known]
    return Plan(zone.id, steps, [*managed, *removed], after)


def plan_set(desired: DesiredRecords, one: RecordSet, existing: list[Record]) -> list[Step]:
    """The steps for one name and type, including those that change nothing: prune needs to know what is desired."""
    missing, kept, others = dict(one.present), [], []
    for record in existing:
        fields = missing.pop(record.value, None)
        if fields is None:
            others.append(record)
        else:
            kept.append(Step(record, desired_record(desired, record, record.value, fields)))

    alone = one.exclusive or (one.type == "CNAME" and desired.replace_conflicting)
    surplus = others
    if not one.all_absent and not (one.present and alone):
        surplus = [record for record in others if record.value in one.absent]
    # A surplus record becomes a missing one, so that its id, comment and tags are kept.
    paired = list(zip(surplus, missing.items(), strict=False))
    updated = [Step(old, desired_record(desired, old, value, fields)) for old, (value, fields) in paired]
    deleted = [Step(old, None) for old in surplus[len(paired) :]]
    unpaired = list(missing.items())[len(paired) :]
    created = [
        Step(None, desired_record(desired, Record(one.name, one.type, value), value, fields))
        for value, fields in unpaired
    ]
    return [*kept, *updated, *deleted, *created]


def desired_record(desired: DesiredRecords, old: Record, value: Value, fields: DesiredFields) -> Record:
    """The desired state of a record; a new one has no id yet."""
    record = fields.applied_to(old, value)
    if old.read_only:
        return record  # not even a mark can be added to it; `refuse_managed` reports a difference
    only_comment_differs = dataclasses.replace(record, comment=old.comment) == old
    if only_comment_differs and old.id and not desired.owner.may_change(old):
        return old  # another owner may keep it
    if record.proxied and not record.proxiable:
        raise InvalidError(
            f"{record} cannot be proxied, because Cloudflare's proxy does not reach this address; set proxied: false."
        )
    if record.proxied and "flatten_cname" in record.settings:
        raise InvalidError(
            f"{record} cannot be both proxied and flattened; set either proxied or flatten_cname to false."
        )
    return desired.owner.mark(record)


def remove_conflicting(desired: DesiredRecords, steps: list[Step], existing: list[Record]) -> list[Step]:
    """Remove what conflicts with a new record, if the task allows it."""
    deleted = {step.before.id for step in steps if step.before and not step.after}
    rivals: dict[str | None, Record] = {}
    by_name = itertools.groupby(sorted(existing, key=order), key=lambda record: record.name)
    at_name = {name: list(records) for name, records in by_name}
    for new in (step.after for step in steps if step.after and not step.before):
        for record in at_name.get(new.name, ()):
            if record.id in deleted or not record.excludes(new, desired.zone):
                continue
            if record.read_only:
                raise ConflictError(
                    f"Cannot create {new}: {record} exists at the same name, the two types conflict, and Cloudflare keeps the "
                    "existing one read-only for one of its features; turn that feature off first."
                )
            if not desired.replace_conflicting:
                raise ConflictError(
                    f"Cannot create {new}: {record} exists at the same name, and the two types conflict; "
                    "remove it first, or set replace_conflicting: true to replace it in this task."
                )
            rivals[record.id] = record
    return [Step(record, None) for record in rivals.values()]


def prune(desired: DesiredRecords, steps: list[Step], existing: list[Record]) -> list[Step]:
    """Remove records that carry the owner's mark and are not desired."""
    planned = {step.before.id for step in steps if step.before}
    surplus = [record for record in existing if record.id not in planned and desired.owner.marked(record)]
    for record in surplus:
        if desired.zone and not within(record.name, desired.zone):
            raise InvalidError(
                f"prune would remove {record}, which is not within the zone {desired.zone}; "
                "check that zone_id is the id of zone."
            )
    return [Step(record, None) for record in surplus]


def refuse_managed(desired: DesiredRecords, steps: list[Step]) -> None:
    """Cloudflare refuses every change of the records that it manages itself."""
    managed = [step.before for step in steps if step.before and step.before.read_only]
    if not managed:
        return
    exclusive = {(one.name, one.type) for one in desired.sets if one.present and one.exclusive}
    beside = any((record.name, record.type) in exclusive for record in managed)
    raise ConflictError(
        "Cloudflare keeps these records read-only, because they belong to one of its features such as Email Routing: "
        f"{'; '.join(map(str, managed))}. Nothing was changed; turn the feature off, or leave them as they are"
        f"{', with exclusive: false if other records are to stand beside them' if beside else ''}."
    )


def refuse_foreign(desired: DesiredRecords, steps: list[Step]) -> None:
    """Records of other owners must not change."""
    foreign = [str(step.before) for step in steps if step.before and not desired.owner.may_change(step.before)]
    if foreign:
        raise ConflictError(
            f"These records have another owner, because their comments do not contain 'managed by {desired.owner.name}': "
            f"{'; '.join(foreign)}. Nothing was changed; remove what is no longer needed, or adopt it with take_over: true.",
            foreign=foreign,
        )


def refuse_lone_ds(desired: DesiredRecords, steps: list[Step], existing: list[Record]) -> None:
    """A DS exists only beside the name servers of a delegation. The zone itself is delegated elsewhere."""
    after = {record.id: record for record in existing}
    after |= {step.before.id: step.after for step in steps if step.before and step.after}
    kept = [after[id_] for id_ in after.keys() - {step.before.id for step in steps if step.before and not step.after}]
    kept += [step.after for step in steps if step.after and not step.before]
    delegated = {desired.zone, *(record.name for record in kept if record.type == "NS")}
    lone = {record.name for record in kept if record.type == "DS"} - delegated
    unless = "" if desired.zone else ", or set zone as well if this is the zone itself"
    for step in steps:
        if step.name not in lone:
            continue
        if step.after and not step.before and step.after.type == "DS":
            raise InvalidError(
                f"The DS of {step.name} needs name servers (NS) of the same name, because it belongs to a delegation; add them{unless}."
            )
        if step.before and not step.after and step.before.type == "NS":
            raise InvalidError(
                f"This would leave the DS of {step.name} without name servers (NS), which Cloudflare refuses; "
                f"remove it in the same task (type: DS, state: absent){unless}."
            )


def refuse_last_name_server(desired: DesiredRecords, steps: list[Step], existing: list[Record]) -> None:
    """The zone itself must keep a name server."""
    deleted = {step.before.id for step in steps if step.before and not step.after}
    served = {record.name for record in existing if record.type == "NS" and record.id not in deleted}
    served |= {step.name for step in steps if step.after and not step.before and step.after.type == "NS"}
    for server in existing:
        # With zone_id alone any name may be the zone itself.
        if server.type != "NS" or server.name in served or desired.zone not in ("", server.name):
            continue
        if desired.zone:
            remedy = "the zone itself; keep at least one of them"
        else:
            remedy = (
                "which may be the zone itself; keep at least one of them, or set zone as well if the zone is another"
            )
        raise InvalidError(f"This would remove the last name server (NS) of {server.name}, {remedy}.")


def refuse_long_sets(before: list[Record], after: list[Record]) -> None:
    """The texts of a name must not grow beyond what Cloudflare accepts."""

    def sizes(records: list[Record]) -> collections.Counter[str]:
        found: collections.Counter[str] = collections.Counter()
        for record in records:
            if record.type == "TXT":
                found[record.name] += len(quote(dict(record.value.parts).get("content", "")))
        return found

    old = sizes(before)
    for name, size in sizes(after).items():
        if size > max(LONGEST_SET, old[name]):
            raise InvalidError(
                f"The texts (TXT) of {name} would have {size} characters altogether, quotes included; "
                f"Cloudflare accepts {LONGEST_SET}."
            )


def count(before: list[Record], after: list[Record]) -> dict[str, int]:
    """How many records were created, updated and deleted between two states."""
    old, new = ({record.id: record for record in records} for records in (before, after))
    return {
        "created": sum(record.id not in old for record in after),
        "updated": sum(id_ in new and new[id_] != record for id_, record in old.items()),
        "deleted": len(old.keys() - new.keys()),
    }


def order(record: Record) -> tuple[t.Any, ...]:
    return (record.name, record.type, record.value, record.id or "")


def state(records: list[Record]) -> dict[str, t.Any] | None:
    return {"records": [record.public() for record in sorted(records, key=order)]} if records else None
