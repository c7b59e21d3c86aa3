# SPDX-License-Identifier: GPL-3.0-or-later
"""Made-up content of Attic's database, and its figures worked out in plain Python from the server's rules."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import typing as t

from hypothesis import strategies as st

DAY = 86_400
KEYPAIR = "canary-of-a-signing-key"
Row = dict[str, t.Any]


@dataclasses.dataclass(frozen=True)
class Cache:
    retention: int | None  # days
    deleted: bool


@dataclasses.dataclass(frozen=True)
class Chunk:
    state: str
    size: int
    file_size: int
    holders: int
    age: int  # whole days, to which everything here adds half a day: no limit is ever hit exactly


@dataclasses.dataclass(frozen=True)
class Nar:
    state: str
    size: int
    holders: int
    age: int
    chunks: list[int | None]  # None is a chunk that was lost


@dataclasses.dataclass(frozen=True)
class Object:
    cache: int
    nar: int
    pushed: int
    fetched: int | None

    @property
    def age(self) -> int:
        """Days since its last use."""
        return self.pushed if self.fetched is None else min(self.pushed, self.fetched)


@dataclasses.dataclass(frozen=True)
class Asked:
    default_retention: int  # days
    unused: int
    stuck: int


@dataclasses.dataclass(frozen=True)
class Population:
    caches: list[Cache]
    chunks: list[Chunk]
    nars: list[Nar]
    objects: list[Object]

    # -- into the database

    def tables(self, now: dt.datetime) -> dict[str, list[Row]]:
        def ago(days: int) -> dt.datetime:
            return now - dt.timedelta(days=days + 0.5)

        return {
            "cache": [
                {"id": number, "name": name(number), "keypair": KEYPAIR, "is_public": number % 2 == 0,
                 "store_dir": "/nix/store", "priority": 41, "upstream_cache_key_names": "[]", "created_at": ago(99),
                 "deleted_at": ago(1) if one.deleted else None,
                 "retention_period": None if one.retention is None else one.retention * DAY}
                for number, one in enumerate(self.caches)
            ],
            "chunk": [
                {"id": number, "state": one.state, "chunk_hash": f"sha256:{number}", "chunk_size": one.size,
                 "file_hash": None if one.state == "P" else "sha256:0",
                 "file_size": None if one.state == "P" else one.file_size, "compression": "zstd",
                 "remote_file": json.dumps({"Local": {"name": key(number)}}), "remote_file_id": f"local:{key(number)}",
                 "holders_count": one.holders, "created_at": ago(one.age)}
                for number, one in enumerate(self.chunks)
            ],
            "nar": [
                {"id": number, "state": one.state, "nar_hash": f"sha256:{number}", "nar_size": one.size,
                 "compression": "zstd", "num_chunks": len(one.chunks), "holders_count": one.holders,
                 "created_at": ago(one.age)}
                for number, one in enumerate(self.nars)
            ],
            "chunkref": [
                {"nar_id": number, "seq": seq, "chunk_id": chunk}
                for number, one in enumerate(self.nars) for seq, chunk in enumerate(one.chunks)
            ],
            "object": [
                {"cache_id": one.cache, "nar_id": one.nar, "store_path_hash": f"{number:032}",
                 "store_path": f"/nix/store/{number:032}-x", "references": "[]", "sigs": "[]",
                 "created_at": ago(one.pushed), "last_accessed_at": None if one.fetched is None else ago(one.fetched)}
                for number, one in enumerate(self.objects)
            ],
        }  # fmt: skip

    def files(self) -> list[str]:
        """Of the chunks that are in the storage."""
        return [key(number) for number, one in enumerate(self.chunks) if one.state != "P"]

    # -- what the module must say

    def figures(self, asked: Asked, now: dt.datetime) -> Row:
        return {
            "caches": [self._cache(number, asked, now) for number in sorted(range(len(self.caches)), key=name)],
            "total": self._total(asked),
            "health": self._health(asked),
            "garbage": self._garbage(asked),
        }

    def _due(self, one: Object, asked: Asked) -> bool:
        own = self.caches[one.cache].retention
        retention = asked.default_retention if own is None else own
        return retention != 0 and one.age >= retention

    def _uses(self, objects: list[Object], asked: Asked) -> Row:
        due = [one for one in objects if self._due(one, asked)]
        unused = [one for one in objects if one.age >= asked.unused]
        found: Row = {}
        for objects_key, bytes_key, some in (
            ("objects", "logical_bytes", objects),
            ("due_objects", "due_bytes", due),
            ("unused_objects", "unused_bytes", unused),
        ):
            found[objects_key] = len(some)
            found[bytes_key] = sum(self.nars[one.nar].size for one in some)
        return found

    def _used_chunks(self, cache: int) -> set[int]:
        nars = {one.nar for one in self.objects if one.cache == cache}
        chunks = {chunk for nar in nars for chunk in self.nars[nar].chunks if chunk is not None}
        return {chunk for chunk in chunks if self.chunks[chunk].state == "V"}

    def _cache(self, number: int, asked: Asked, now: dt.datetime) -> Row:
        one = self.caches[number]
        objects = [other for other in self.objects if other.cache == number]
        uses = self._uses(objects, asked)
        ours = self._used_chunks(number)
        others = set().union(*(self._used_chunks(other) for other in range(len(self.caches)) if other != number))
        unique = sum(self.chunks[chunk].size for chunk in ours)
        stored = sum(self.chunks[chunk].file_size for chunk in ours)

        def moment(days: int | None) -> str | None:
            if days is None:
                return None
            return (now - dt.timedelta(days=days + 0.5)).astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

        return {
            "name": name(number),
            "is_public": number % 2 == 0,
            "deleted_at": moment(1 if one.deleted else None),
            "retention_period": "global" if one.retention is None else one.retention * DAY,
            "effective_retention_period": (asked.default_retention if one.retention is None else one.retention) * DAY,
            **uses,
            "last_push": moment(min((other.pushed for other in objects), default=None)),
            "oldest_use": moment(max((other.age for other in objects), default=None)),
            "sharing": {
                "unique_bytes": unique,
                "stored_bytes": stored,
                "exclusive_bytes": sum(self.chunks[chunk].file_size for chunk in ours - others),
                "deduplication_ratio": quotient(uses["logical_bytes"], unique),
                "compression_ratio": quotient(unique, stored),
            },
        }

    def _total(self, asked: Asked) -> Row:
        nars = [one for one in self.nars if one.state == "V"]
        chunks = [one for one in self.chunks if one.state == "V"]
        uses = self._uses(self.objects, asked)
        unique, stored = sum(one.size for one in chunks), sum(one.file_size for one in chunks)
        return {
            "caches": len([one for one in self.caches if not one.deleted]),
            "deleted_caches": len([one for one in self.caches if one.deleted]),
            **uses,
            "nars": len(nars),
            "nar_bytes": sum(one.size for one in nars),
            "chunks": len(chunks),
            "unique_bytes": unique,
            "stored_bytes": stored,
            "deduplication_ratio": quotient(uses["logical_bytes"], unique),
            "compression_ratio": quotient(unique, stored),
        }

    def _health(self, asked: Asked) -> Row:
        found: Row = {}
        for kind, rows in (("nars", self.nars), ("chunks", self.chunks)):
            pending = [one for one in rows if one.state == "P"]
            held = [number for number, one in enumerate(rows) if one.state == "V" and one.holders > 0]
            leaked = [number for number in held if rows[number].age >= asked.stuck]
            if kind == "chunks":
                uploading = [one for one in self.nars if one.state == "P" and one.age < asked.stuck]
                leaked = [number for number in leaked if not any(number in one.chunks for one in uploading)]
            found[f"pending_{kind}"] = len(pending)
            found[f"stuck_{kind}"] = len([one for one in pending if one.age >= asked.stuck])
            found[f"held_{kind}"] = len(held)
            found[f"leaked_{kind}"] = len(leaked)
        deleting = [one for one in self.chunks if one.state == "D"]
        found["deleting_chunks"] = len(deleting)
        found["deleting_bytes"] = sum(one.file_size for one in deleting)
        found["broken_nars"] = len([one for one in self.nars if None in one.chunks])
        return found

    def _garbage(self, asked: Asked) -> Row:
        def unreferenced(objects: list[Object], nars: dict[int, Nar]) -> tuple[dict[int, Nar], dict[int, Chunk]]:
            """NARs and chunks that a collection finds when only these objects and NARs are left."""
            used = {one.nar for one in objects}
            free = {n: one for n, one in nars.items() if one.state == "V" and not one.holders and n not in used}
            return free, {
                n: one
                for n, one in enumerate(self.chunks)
                if one.state == "V" and not one.holders and not any(n in nar.chunks for nar in nars.values())
            }

        everything = dict(enumerate(self.nars))
        orphaned_nars, orphaned_chunks = unreferenced(self.objects, everything)
        left = [one for one in self.objects if not self._due(one, asked)]
        gone, _ = unreferenced(left, everything)
        _, free = unreferenced(left, {n: one for n, one in everything.items() if n not in gone})
        deleting = [one for one in self.chunks if one.state == "D"]
        removed = [*free.values(), *deleting]
        return {
            "orphaned_nars": len(orphaned_nars),
            "orphaned_nar_bytes": sum(one.size for one in orphaned_nars.values()),
            "orphaned_chunks": len(orphaned_chunks),
            "orphaned_bytes": sum(one.file_size for one in orphaned_chunks.values()),
            "next_objects": len(self.objects) - len(left),
            "next_nars": len(gone),
            "next_chunks": len(removed),
            "next_bytes": sum(one.file_size for one in removed),
            "next_collections": 1 if removed else 0,
        }


def name(number: int) -> str:
    """In an order that neither the ids nor every collation has."""
    return f"{'bA_a-B'[number % 6]}{number}"


def key(number: int) -> str:
    return f"{number:08x}.chunk"


def quotient(whole: int, part: int) -> float | None:
    return None if part == 0 else round(whole / part, 3)


days = st.integers(0, 6)
sizes = st.integers(0, 2**62)
holders = st.sampled_from([0, 0, 0, 1, 2])


@st.composite
def populations(draw: st.DrawFn) -> Population:
    """Few rows, much sharing: what belongs together meets often."""
    caches = draw(st.lists(st.builds(Cache, st.none() | days, st.booleans()), max_size=4))
    chunk = st.builds(Chunk, st.sampled_from("VVVVPD"), sizes, sizes, holders, days)
    chunks = draw(st.lists(chunk, max_size=7))
    refs = st.lists(st.none() | st.integers(0, len(chunks) - 1) if chunks else st.none(), max_size=4)
    nars = draw(st.lists(st.builds(Nar, st.sampled_from("VVVP"), sizes, holders, days, refs), max_size=6))
    if not caches or not nars:
        return Population(caches, chunks, nars, [])
    cache, nar = st.integers(0, len(caches) - 1), st.integers(0, len(nars) - 1)
    return Population(
        caches, chunks, nars, draw(st.lists(st.builds(Object, cache, nar, days, st.none() | days), max_size=12))
    )


questions = st.builds(Asked, days, st.integers(1, 6), days)
