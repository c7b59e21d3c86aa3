# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a wish and the records that exist to the calls to make. Private: may change without notice."""

from __future__ import annotations

import collections
import dataclasses
import itertools
import typing as t

from .._core.change import Change
from .._core.errors import ConflictError, InvalidError
from .desired import Members, RecordSet, Task
from .names import quote, within
from .record import Record
from .values import LONGEST_SET, Value


@dataclasses.dataclass(frozen=True)
class Step:
    """One change. `before` is None for a new record, `after` for one to delete."""

    before: Record | None
    after: Record | None

    @property
    def name(self) -> str:
        return (self.before or self.after).name

    @property
    def kind(self) -> str:
        """The list of a batch that it belongs to."""
        if self.before is None:
            return "posts"
        return "deletes" if self.after is None else "patches"

    @property
    def body(self) -> dict[str, t.Any]:
        if self.after is None:
            return {}
        return self.before.changes(self.after) if self.before else self.after.body()


@dataclasses.dataclass(frozen=True)
class Plan:
    change: Change
    steps: list[Step]
    after: list[Record]
    """The records that the task is about, as they will be."""

    def count(self) -> dict[str, int]:
        kinds = [step.kind for step in self.steps]
        return {"created": kinds.count("posts"), "updated": kinds.count("patches"), "deleted": kinds.count("deletes")}


def plan(task: Task, existing: list[Record]) -> Plan:
    """What to do; `existing` are at least all records of the task's names, and all of the zone for prune."""
    groups: dict[tuple[str, str], list[Record]] = {(one.name, one.type): [] for one in task.sets}
    mine = [record for record in sorted(existing, key=order) if (record.name, record.type) in groups]
    for record in mine:
        groups[record.name, record.type].append(record)
    steps = [step for one in task.sets for step in compare(task, one, groups[one.name, one.type])]
    steps += displace(task, steps, existing)
    if task.prune:
        steps += prune(task, steps, existing)
    steps = [step for step in steps if step.before != step.after]
    refuse(task, steps, existing)

    replaced = {step.before.id: step.after for step in steps if step.before}
    after = [replaced.get(record.id, record) for record in mine] + [step.after for step in steps if not step.before]
    after = sorted((record for record in after if record), key=order)
    refuse_long_sets(mine, after)
    known = {record.id for record in mine}
    removed = [step.before for step in steps if step.kind == "deletes" and step.before.id not in known]
    return Plan(Change(state([*mine, *removed]), state(after)), steps, after)


def compare(task: Task, one: RecordSet, existing: list[Record]) -> list[Step]:
    """The steps for one name and type, those that change nothing included: they show what is wanted as it is."""
    missing, kept, others = dict(one.wanted), [], []
    for record in existing:
        members = missing.pop(record.value, None)
        if members is None:
            others.append(record)
        else:
            kept.append(Step(record, wish(task, record, record.value, members)))

    alone = one.exclusive or (one.type == "CNAME" and task.replace_conflicting)
    surplus = others
    if not one.emptied and not (one.wanted and alone):
        surplus = [record for record in others if record.value in one.unwanted]
    # A record that has to go becomes one that is missing, so that its id, comment and tags live on.
    paired = list(zip(surplus, missing.items(), strict=False))
    updated = [Step(old, wish(task, old, value, members)) for old, (value, members) in paired]
    deleted = [Step(old, None) for old in surplus[len(paired) :]]
    unpaired = list(missing.items())[len(paired) :]
    created = [Step(None, wish(task, Record(one.name, one.type, value), value, members)) for value, members in unpaired]
    return [*kept, *updated, *deleted, *created]


def wish(task: Task, old: Record, value: Value, members: Members) -> Record:
    """What shall become of a record; a new one has no id yet."""
    wanted = members.applied_to(old, value)
    as_wanted = dataclasses.replace(wanted, comment=old.comment) == old
    if as_wanted and old.id and not task.owner.may_change(old):
        return old  # so it may stay somebody else's
    if wanted.proxied and not wanted.proxiable:
        raise InvalidError(
            f"{wanted} cannot be proxied, because Cloudflare's proxy does not reach this address; set proxied: false."
        )
    if wanted.proxied and "flatten_cname" in wanted.settings:
        raise InvalidError(f"{wanted} cannot be proxied and flattened at once; set proxied or flatten_cname to false.")
    return task.owner.mark(wanted)


def displace(task: Task, steps: list[Step], existing: list[Record]) -> list[Step]:
    """Removes what excludes a new record, if the task allows it."""
    gone = {step.before.id for step in steps if step.kind == "deletes"}
    rivals: dict[str, Record] = {}
    by_name = itertools.groupby(sorted(existing, key=order), key=lambda record: record.name)
    at_name = {name: list(records) for name, records in by_name}
    for new in (step.after for step in steps if step.before is None):
        for record in at_name.get(new.name, ()):
            if record.id in gone or not record.excludes(new, task.zone):
                continue
            if not task.replace_conflicting:
                raise ConflictError(
                    f"Cannot create {new}: at the same name there is {record}, and one does not tolerate the other; "
                    "remove it first, or replace it in this step with replace_conflicting: true."
                )
            rivals[record.id] = record
    return [Step(record, None) for record in rivals.values()]


def prune(task: Task, steps: list[Step], existing: list[Record]) -> list[Step]:
    """Removes what carries our mark and is not wanted."""
    seen = {step.before.id for step in steps if step.before}
    gone = [record for record in existing if record.id not in seen and task.owner.marked(record)]
    for record in gone:
        if task.zone and not within(record.name, task.zone):
            raise InvalidError(
                f"prune would remove {record}, which is not within the zone {task.zone}; "
                "check that zone_id is the id of zone."
            )
    return [Step(record, None) for record in gone]


def refuse(task: Task, steps: list[Step], existing: list[Record]) -> None:
    """What must not happen, whatever the task says."""
    touched = [step.before for step in steps if step.before]
    foreign = [str(record) for record in touched if not task.owner.may_change(record)]
    if foreign:
        raise ConflictError(
            f"Owned by something else, because the comment does not say 'managed by {task.owner.name}': "
            f"{'; '.join(foreign)}. Nothing was changed; remove what is no longer needed, or adopt it with take_over: true.",
            foreign=foreign,
        )
    gone = {step.before.id for step in steps if step.kind == "deletes"}
    served = {record.name for record in existing if record.type == "NS" and record.id not in gone}
    served |= {step.name for step in steps if step.kind == "posts" and step.after.type == "NS"}
    for server in existing:
        # With zone_id alone any of the names may be the zone itself.
        if server.type != "NS" or server.name in served or task.zone not in (None, server.name):
            continue
        if task.zone:
            remedy = "the zone itself; keep at least one of them"
        else:
            remedy = "which may be the zone itself; keep at least one of them, or set zone, too, if it is another name"
        raise InvalidError(f"This would remove the last name server (NS) of {server.name}, {remedy}.")


def refuse_long_sets(before: list[Record], after: list[Record]) -> None:
    """The texts of a name must not grow beyond what Cloudflare takes."""

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
                f"All texts (TXT) of {name} together would have {size} characters, quotes included; "
                f"Cloudflare takes {LONGEST_SET}."
            )


def order(record: Record) -> tuple[t.Any, ...]:
    return (record.name, record.type, record.value, record.id or "")


def state(records: list[Record]) -> dict[str, t.Any] | None:
    return {"records": [record.public() for record in sorted(records, key=order)]} if records else None
