# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a task says about the records of a zone, read and checked. Private: may change without notice."""

from __future__ import annotations

import dataclasses
import itertools
import re
import typing as t

from .._core.errors import InvalidError
from .names import full_name, host_name
from .record import AUTOMATIC_TTL, PROXIABLE, Owner, Record, normal_tag
from .values import Value

Params = dict[str, t.Any]


@dataclasses.dataclass(frozen=True)
class Members:
    """The members that the task sets; None means that it does not care."""

    ttl: int | None = None
    proxied: bool | None = None
    comment: str | None = None
    tags: frozenset[str] | None = None
    settings: dict[str, bool] | None = None

    @classmethod
    def read(cls, params: Params) -> Members:
        type_, ttl, proxied = params["type"], params["ttl"], params["proxied"]
        if ttl is not None and ttl != AUTOMATIC_TTL and not 30 <= ttl <= 86400:
            raise InvalidError(f"The ttl {ttl} is neither 1 (automatic) nor between 30 and 86400 seconds.")
        if proxied and type_ not in PROXIABLE:
            raise InvalidError(f"Records of type {type_} cannot be proxied.")
        if proxied and ttl not in (None, AUTOMATIC_TTL):
            raise InvalidError("A proxied record has an automatic TTL; leave ttl out.")
        if re.search(r"[\r\n]", params["comment"] or ""):
            raise InvalidError("A comment has no line breaks.")
        for tag in params["tags"] or ():
            if not re.fullmatch(r"[\w-]+(:[^\r\n]*)?", tag, re.ASCII):
                raise InvalidError(
                    f"The tag '{tag}' is not of the form name:value with letters, digits, - and _ in name."
                )
        settings = {name: on for name, on in (params["settings"] or {}).items() if on is not None}
        if settings.get("flatten_cname") and type_ != "CNAME":
            raise InvalidError(f"flatten_cname is for a CNAME, not for type {type_}.")
        tags = None if params["tags"] is None else frozenset(map(normal_tag, params["tags"]))
        return cls(ttl, proxied, params["comment"], tags, settings or None)

    def applied_to(self, record: Record, value: Value) -> Record:
        """The record as it shall be, its owner's mark apart."""
        fields = {
            name: given for name in ("ttl", "proxied", "comment", "tags") if (given := getattr(self, name)) is not None
        }
        if self.settings:
            off = {name for name, on in self.settings.items() if not on}
            fields["settings"] = (record.settings - off) | (set(self.settings) - off)
        wanted = dataclasses.replace(record, value=value, **fields)
        return dataclasses.replace(wanted, ttl=AUTOMATIC_TTL) if wanted.proxied else wanted


@dataclasses.dataclass
class RecordSet:
    """All that the task says about the records of one name and type."""

    name: str
    type: str
    exclusive: bool
    wanted: dict[Value, Members] = dataclasses.field(default_factory=dict)
    unwanted: set[Value] = dataclasses.field(default_factory=set)
    emptied: bool = False

    def add(self, params: Params) -> None:
        present, members = params["state"] == "present", Members.read(params)
        given = params["content"]
        content = given if isinstance(given, list) else [] if given is None else [given]
        values = [Value.given(self.type, one) for one in content]
        if present and not values:
            raise InvalidError("content needs at least one value; to remove the records use state: absent.")
        if given == []:
            raise InvalidError(
                "content is an empty list; to remove all records of this name and type leave content out."
            )
        if params["exclusive"] != self.exclusive:
            raise InvalidError("exclusive cannot be true and false for the same name and type.")
        if not present:
            self.unwanted |= set(values)
            self.emptied = self.emptied or not values
        for value in values if present else ():
            if self.wanted.setdefault(value, members) != members:
                raise InvalidError(f"'{value.text}' is wanted twice, with different options.")
        if self.wanted and (self.emptied or self.unwanted & set(self.wanted)):
            raise InvalidError("The same record is told to be present and absent.")


@dataclasses.dataclass(frozen=True)
class Task:
    zone: str | None
    """The name of the zone, if it was given."""
    sets: list[RecordSet]
    owner: Owner
    replace_conflicting: bool
    prune: bool

    @property
    def only_name(self) -> str | None:
        """The name, if the task is about one name alone."""
        names = {one.name for one in self.sets}
        return names.pop() if len(names) == 1 and not self.prune else None

    @classmethod
    def read(cls, params: Params) -> Task:
        """Refuses what can be refused without asking anybody."""
        if params["owner"] is not None and not re.fullmatch(r"[\w-]([\w.-]*[\w-])?", params["owner"], re.ASCII):
            raise InvalidError(
                f"The owner '{params['owner']}' may have letters, digits and ._- only, and no final dot."
            )
        if params["prune"] and (params["owner"] is None or params["records"] is None):
            raise InvalidError("prune removes what carries the owner's mark and is not in records; it needs both.")
        if params["batch_size"] < 1:
            raise InvalidError("batch_size is at least 1.")
        if not params["zone"] and not params["zone_id"]:
            raise InvalidError("zone and zone_id are empty; one of them is needed.")
        zone = host_name(params["zone"]) if params["zone"] else None
        sets: dict[tuple[str, str], RecordSet] = {}
        entries = [params] if params["records"] is None else params["records"]
        for number, entry in enumerate(entries, 1):
            # An option that an entry leaves out is that of the task.
            whole = {**params, **{option: value for option, value in entry.items() if value is not None}}
            try:
                key = (complete(whole["name"], zone), whole["type"])
                sets.setdefault(key, RecordSet(*key, exclusive=whole["exclusive"])).add(whole)
            except InvalidError as exc:
                if entry is params:
                    raise
                raise InvalidError(f"Entry {number} of records ({whole['type']} {whole['name']}): {exc}") from None
        task = cls(
            zone,
            list(sets.values()),
            Owner(params["owner"], params["take_over"]),
            params["replace_conflicting"],
            params["prune"],
        )
        task.refuse_contradictions()
        return task

    def refuse_contradictions(self) -> None:
        wanted = [Record(one.name, one.type, value) for one in self.sets for value in one.wanted]
        rivals = [record for record in wanted if record.type in ("CNAME", "NS")]
        for one, other in itertools.product(rivals, wanted):
            if one is other or not one.excludes(other, self.zone):
                continue
            if one.type == other.type:
                raise InvalidError(
                    f"A CNAME has one target, but the task wants '{one.value.text}' and '{other.value.text}' for {one.name}."
                )
            raise InvalidError(
                f"The task wants {one.type} '{one.value.text}' and {other.type} '{other.value.text}' for {one.name}, "
                "and one does not tolerate the other at its name."
            )


def complete(name: str, zone: str | None) -> str:
    if not name:
        raise InvalidError("The name is empty; the zone itself is '@'.")
    if zone:
        return full_name(name, zone)
    if "." not in name.removesuffix("."):
        raise InvalidError(f"With zone_id alone the name must be complete, '{name}' is not; or set zone, too.")
    return host_name(name)
