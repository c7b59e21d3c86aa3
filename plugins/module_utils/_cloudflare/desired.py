# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The records that a task wants, parsed and checked. Private: may change without notice."""

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
class DesiredFields:
    """The fields that the task sets; None leaves a field as it is."""

    ttl: int | None = None
    proxied: bool | None = None
    comment: str | None = None
    tags: frozenset[str] | None = None
    settings: dict[str, bool] | None = None

    @classmethod
    def from_params(cls, params: Params) -> DesiredFields:
        type_, ttl, proxied = params["type"], params["ttl"], params["proxied"]
        if ttl is not None and ttl != AUTOMATIC_TTL and not 30 <= ttl <= 86400:
            raise InvalidError(f"The ttl {ttl} is neither 1 (automatic) nor between 30 and 86400 seconds.")
        if proxied and type_ not in PROXIABLE:
            raise InvalidError(f"Records of type {type_} cannot be proxied.")
        if proxied and ttl not in (None, AUTOMATIC_TTL):
            raise InvalidError("The TTL of a proxied record is automatic; remove ttl.")
        if re.search(r"[\r\n]", params["comment"] or ""):
            raise InvalidError("A comment must not contain line breaks.")
        for tag in params["tags"] or ():
            if not re.fullmatch(r"[\w-]+(:[^\r\n]*)?", tag, re.ASCII):
                raise InvalidError(
                    f"The tag '{tag}' is not of the form name:value with letters, digits, - and _ in its name."
                )
        settings = {name: on for name, on in (params["settings"] or {}).items() if on is not None}
        if settings.get("flatten_cname") and type_ != "CNAME":
            raise InvalidError(f"flatten_cname applies to a CNAME, not to type {type_}.")
        tags = None if params["tags"] is None else frozenset(map(normal_tag, params["tags"]))
        return cls(ttl, proxied, params["comment"], tags, settings or None)

    def applied_to(self, record: Record, value: Value) -> Record:
        """The desired record, without the mark of its owner."""
        fields = {
            name: given for name in ("ttl", "proxied", "comment", "tags") if (given := getattr(self, name)) is not None
        }
        if self.settings:
            off = {name for name, on in self.settings.items() if not on}
            fields["settings"] = (record.settings - off) | (set(self.settings) - off)
        desired = dataclasses.replace(record, value=value, **fields)
        return dataclasses.replace(desired, ttl=AUTOMATIC_TTL) if desired.proxied else desired


@dataclasses.dataclass
class RecordSet:
    """What the task wants of the records of one name and type."""

    name: str
    type: str
    exclusive: bool
    present: dict[Value, DesiredFields] = dataclasses.field(default_factory=dict)
    absent: set[Value] = dataclasses.field(default_factory=set)
    all_absent: bool = False

    def add(self, params: Params) -> None:
        present, fields = params["state"] == "present", DesiredFields.from_params(params)
        given = params["content"]
        content = given if isinstance(given, list) else [] if given is None else [given]
        values = [Value.from_option(self.type, one) for one in content]
        if present and not values:
            raise InvalidError("content needs at least one value; to remove the records, set state: absent.")
        if given == []:
            raise InvalidError("content is an empty list; to remove all records of this name and type, omit content.")
        if params["exclusive"] != self.exclusive:
            raise InvalidError("exclusive must not be both true and false for one name and type.")
        if not present:
            self.absent |= set(values)
            self.all_absent = self.all_absent or not values
        for value in values if present else ():
            if self.type == "CNAME" and value.text == self.name:
                raise InvalidError(f"The CNAME {self.name} points to itself; give the name of another host.")
            if self.present.setdefault(value, fields) != fields:
                raise InvalidError(f"'{value.text}' appears twice, with different options.")
        if self.present and (self.all_absent or self.absent & set(self.present)):
            raise InvalidError("The same record is to be both present and absent.")


@dataclasses.dataclass(frozen=True)
class DesiredRecords:
    """Everything that the task wants of a zone."""

    zone: str
    """The name of the zone; empty if the task gives only its id."""
    sets: list[RecordSet]
    owner: Owner
    replace_conflicting: bool
    prune: bool

    @property
    def single_name(self) -> str | None:
        """The name, if the task manages records of one name only."""
        names = {one.name for one in self.sets}
        return names.pop() if len(names) == 1 and not self.prune else None

    @classmethod
    def from_params(cls, params: Params) -> DesiredRecords:
        """Raises InvalidError for whatever is wrong regardless of what the zone contains."""
        if params["owner"] is not None and not re.fullmatch(r"[\w-]([\w.-]*[\w-])?", params["owner"], re.ASCII):
            raise InvalidError(
                f"The owner '{params['owner']}' must consist of letters, digits and ._- and must not end in a dot."
            )
        if params["prune"] and (params["owner"] is None or params["records"] is None):
            raise InvalidError("prune removes records with the owner's mark that are not in records; it needs both.")
        if params["batch_size"] < 1:
            raise InvalidError("batch_size must be at least 1.")
        if not params["zone"] and not params["zone_id"]:
            raise InvalidError("zone and zone_id are empty; set one of them.")
        zone = host_name(params["zone"]) if params["zone"] else ""
        desired = cls(
            zone,
            record_sets(params, zone),
            Owner(params["owner"], params["take_over"]),
            params["replace_conflicting"],
            params["prune"],
        )
        desired.refuse_contradictions()
        return desired

    def refuse_contradictions(self) -> None:
        records = [Record(one.name, one.type, value) for one in self.sets for value in one.present]
        rivals = [record for record in records if record.type in ("CNAME", "NS")]
        for one, other in itertools.product(rivals, records):
            if one is other or not one.excludes(other, self.zone):
                continue
            if one.type == other.type:
                raise InvalidError(
                    f"A CNAME has one target, but the task sets '{one.value.text}' and '{other.value.text}' for {one.name}."
                )
            raise InvalidError(
                f"The task sets {one.type} '{one.value.text}' and {other.type} '{other.value.text}' for {one.name}, "
                "and these types cannot exist at the same name."
            )


def record_sets(params: Params, zone: str) -> list[RecordSet]:
    sets: dict[tuple[str, str], RecordSet] = {}
    entries = [params] if params["records"] is None else params["records"]
    for number, entry in enumerate(entries, 1):
        # An entry inherits the options that it leaves out from the task.
        options = {**params, **{option: value for option, value in entry.items() if value is not None}}
        try:
            key = (qualified(options["name"], zone), options["type"])
            sets.setdefault(key, RecordSet(*key, exclusive=options["exclusive"])).add(options)
        except InvalidError as exc:
            if entry is params:
                raise
            raise InvalidError(f"Entry {number} of records ({options['type']} {options['name']}): {exc}") from None
    return list(sets.values())


def qualified(name: str, zone: str) -> str:
    if not name:
        raise InvalidError("The name is empty; '@' is the zone itself.")
    if zone:
        return full_name(name, zone)
    if "." not in name.removesuffix("."):
        raise InvalidError(
            f"With zone_id alone the name must be fully qualified, but '{name}' is not; or set zone as well."
        )
    return host_name(name)
