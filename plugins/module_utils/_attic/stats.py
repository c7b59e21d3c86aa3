# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures about an Attic server from its database. Private: may change without notice.

They follow the server's source at b7c9056: server/src/gc.rs has what it collects, server/src/api/v1/upload_path.rs who
holds a row and when, and server/src/database/entity/{nar,chunk}.rs the states of a row.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import typing as t

from .._core.duration import parse_duration
from .._core.errors import InvalidError
from .._core.postgresql import Snapshot
from .schema import check_schema

Row = dict[str, t.Any]

SECTIONS = ("usage", "health", "garbage", "sharing")
# One collection removes no more chunks than this (gc.rs, orphan_chunk_limit).
CHUNKS_PER_COLLECTION = 65_535
INT32_MAX = 2**31 - 1

# The collector's rule. GREATEST skips a NULL, and both times must be before the limit.
LAST_USE = "greatest(o.created_at, o.last_accessed_at)"
RETENTION = "coalesce(c.retention_period, %(default_retention)s)"
DUE = f"({RETENTION} <> 0 AND {LAST_USE} < now() - make_interval(secs => {RETENTION}))"
UNUSED = f"({LAST_USE} < now() - make_interval(secs => %(unused)s))"
OLD = "created_at < now() - make_interval(secs => %(stuck)s)"

USAGE = f"""
SELECT c.id, c.name, c.is_public, c.deleted_at, c.retention_period, {RETENTION} AS effective_retention,
  count(o.id) AS objects, sum(n.nar_size) AS logical_bytes,
  count(o.id) FILTER (WHERE {DUE}) AS due_objects, sum(n.nar_size) FILTER (WHERE {DUE}) AS due_bytes,
  count(o.id) FILTER (WHERE {UNUSED}) AS unused_objects, sum(n.nar_size) FILTER (WHERE {UNUSED}) AS unused_bytes,
  max(o.created_at) AS last_push, min({LAST_USE}) AS oldest_use
FROM cache c LEFT JOIN object o ON o.cache_id = c.id LEFT JOIN nar n ON n.id = o.nar_id
GROUP BY c.id
"""  # noqa: S608

STORAGE = """
SELECT * FROM
  (SELECT count(*) AS nars, sum(nar_size) AS nar_bytes FROM nar WHERE state = 'V') nars,
  (SELECT count(*) AS chunks, sum(chunk_size) AS unique_bytes, sum(file_size) AS stored_bytes
   FROM chunk WHERE state = 'V') chunks
"""

# Each line uses an index of the server: (state, holders_count) since May 2026, chunkref (chunk_id) always.
# A held chunk is no leak while an upload that may still run refers to it.
HEALTH = f"""
SELECT * FROM
  (SELECT count(*) AS pending_nars, count(*) FILTER (WHERE {OLD}) AS stuck_nars FROM nar WHERE state = 'P') a,
  (SELECT count(*) AS pending_chunks, count(*) FILTER (WHERE {OLD}) AS stuck_chunks FROM chunk WHERE state = 'P') b,
  (SELECT count(*) AS held_nars, count(*) FILTER (WHERE {OLD}) AS leaked_nars
   FROM nar WHERE state = 'V' AND holders_count > 0) c,
  (SELECT count(*) AS held_chunks, count(*) FILTER (WHERE {OLD} AND NOT EXISTS (
     SELECT FROM chunkref r JOIN nar n ON n.id = r.nar_id
     WHERE r.chunk_id = chunk.id AND n.state = 'P' AND NOT n.{OLD})) AS leaked_chunks
   FROM chunk WHERE state = 'V' AND holders_count > 0) d,
  (SELECT count(*) AS deleting_chunks, sum(file_size) AS deleting_bytes FROM chunk WHERE state = 'D') e,
  (SELECT count(DISTINCT nar_id) AS broken_nars FROM chunkref WHERE chunk_id IS NULL) f
"""  # noqa: S608

# What the three steps of a collection would find.
GARBAGE = f"""
WITH refs AS MATERIALIZED (
  SELECT o.nar_id, count(*) FILTER (WHERE {DUE}) AS due, bool_and({DUE}) AS all_due
  FROM object o JOIN cache c ON c.id = o.cache_id GROUP BY o.nar_id
), nars AS MATERIALIZED (
  SELECT n.id, n.nar_size, r.nar_id IS NULL AS orphaned FROM nar n LEFT JOIN refs r ON r.nar_id = n.id
  WHERE n.state = 'V' AND n.holders_count = 0 AND r.all_due IS NOT FALSE
), chunks AS MATERIALIZED (
  SELECT c.file_size, NOT EXISTS (SELECT FROM chunkref r WHERE r.chunk_id = c.id) AS orphaned FROM chunk c
  WHERE c.state = 'V' AND c.holders_count = 0 AND NOT EXISTS (
    SELECT FROM chunkref r LEFT JOIN nars n ON n.id = r.nar_id WHERE r.chunk_id = c.id AND n.id IS NULL)
)
SELECT * FROM
  (SELECT sum(due) AS objects FROM refs) a,
  (SELECT count(*) AS nars, count(*) FILTER (WHERE orphaned) AS orphaned_nars,
     sum(nar_size) FILTER (WHERE orphaned) AS orphaned_nar_bytes FROM nars) b,
  (SELECT count(*) AS chunks, sum(file_size) AS stored_bytes, count(*) FILTER (WHERE orphaned) AS orphaned_chunks,
     sum(file_size) FILTER (WHERE orphaned) AS orphaned_bytes FROM chunks) c,
  (SELECT count(*) AS deleting_chunks, sum(file_size) AS deleting_bytes FROM chunk WHERE state = 'D') d
"""  # noqa: S608

# One row for each set of caches that share chunks: however many chunks there are, such sets are few.
SHARING = """
SELECT owners.caches, sum(c.chunk_size) AS unique_bytes, sum(c.file_size) AS stored_bytes
FROM (
  SELECT r.chunk_id, array_agg(DISTINCT o.cache_id) AS caches
  FROM (SELECT DISTINCT cache_id, nar_id FROM object) o JOIN chunkref r ON r.nar_id = o.nar_id
  GROUP BY r.chunk_id
) owners JOIN chunk c ON c.id = owners.chunk_id AND c.state = 'V'
GROUP BY owners.caches
"""


@dataclasses.dataclass(frozen=True)
class Scope:
    """What to gather, and the spans in seconds that the figures depend on."""

    sections: frozenset[str]
    default_retention: int
    unused: int
    stuck: int

    @classmethod
    def from_params(cls, params: dict[str, t.Any]) -> Scope:
        default = parse_duration("default_retention_period", params["default_retention_period"])
        if default > INT32_MAX:
            raise InvalidError(
                f"default_retention_period: {default} s exceeds what the server can store; the limit is 2^31 - 1."
            )
        if not 1 <= params["unused_days"] <= 36_500:
            raise InvalidError(f"unused_days must be from 1 to 36500, not {params['unused_days']}.")
        sections = frozenset(params["gather"])
        return cls(
            sections=sections | {"usage"} if "sharing" in sections else sections,
            default_retention=default,
            unused=params["unused_days"] * 86_400,
            stuck=parse_duration("stuck_after", params["stuck_after"]),
        )


def gather(db: Snapshot, scope: Scope) -> Row:
    """The figures. Every key exists, with None for what the scope excludes."""
    spans = {"default_retention": scope.default_retention, "unused": scope.unused, "stuck": scope.stuck}

    def ask(section: str, purpose: str, sql: str) -> list[Row] | None:
        return db.rows(purpose, sql, **spans) if section in scope.sections else None

    schema = check_schema(db)
    usage = ask("usage", "counting the objects of each cache", USAGE)
    storage = ask("usage", "adding up the chunks", STORAGE)
    health = ask("health", "finding stuck rows", HEALTH)
    garbage = ask("garbage", "predicting the next collection", GARBAGE)
    sharing = ask("sharing", "finding which caches share chunks", SHARING)
    caches = [_cache(row, sharing) for row in sorted(usage, key=lambda row: row["name"])] if usage is not None else None
    return {
        "taken_at": _time(db.row("reading the clock", "SELECT now() AS now")["now"]),
        "schema": schema,
        "caches": caches,
        "total": _total(caches, storage[0]) if caches is not None and storage else None,
        "health": {key: _int(value) for key, value in health[0].items()} if health else None,
        "garbage": _garbage(garbage[0]) if garbage else None,
    }


def ratio(whole: int, part: int) -> float | None:
    return round(whole / part, 3) if part else None


def _cache(row: Row, sharing: list[Row] | None) -> Row:
    return {
        "name": row["name"],
        "is_public": row["is_public"],
        "deleted_at": _time(row["deleted_at"]),
        "retention_period": "global" if row["retention_period"] is None else row["retention_period"],
        "effective_retention_period": row["effective_retention"],
        **{f"{prefix}objects": row[f"{prefix}objects"] for prefix in ("", "due_", "unused_")},
        **{key: _int(row[key]) for key in ("logical_bytes", "due_bytes", "unused_bytes")},
        "last_push": _time(row["last_push"]),
        "oldest_use": _time(row["oldest_use"]),
        "sharing": _sharing(row, sharing) if sharing is not None else None,
    }


def _sharing(cache: Row, sharing: list[Row]) -> Row:
    """What this cache refers to, and what only this cache refers to."""
    ours = [row for row in sharing if cache["id"] in row["caches"]]
    unique = sum(_int(row["unique_bytes"]) for row in ours)
    stored = sum(_int(row["stored_bytes"]) for row in ours)
    return {
        "unique_bytes": unique,
        "stored_bytes": stored,
        "exclusive_bytes": sum(_int(row["stored_bytes"]) for row in ours if len(row["caches"]) == 1),
        "deduplication_ratio": ratio(_int(cache["logical_bytes"]), unique),
        "compression_ratio": ratio(unique, stored),
    }


def _total(caches: list[Row], storage: Row) -> Row:
    summed = ("objects", "logical_bytes", "due_objects", "due_bytes", "unused_objects", "unused_bytes")
    total = {key: sum(cache[key] for cache in caches) for key in summed}
    stored = {key: _int(value) for key, value in storage.items()}
    return {
        "caches": sum(cache["deleted_at"] is None for cache in caches),
        "deleted_caches": sum(cache["deleted_at"] is not None for cache in caches),
        **total,
        **stored,
        "deduplication_ratio": ratio(total["logical_bytes"], stored["unique_bytes"]),
        "compression_ratio": ratio(stored["unique_bytes"], stored["stored_bytes"]),
    }


def _garbage(row: Row) -> Row:
    found = {key: _int(value) for key, value in row.items()}
    chunks = found["chunks"] + found["deleting_chunks"]
    return {
        "orphaned_nars": found["orphaned_nars"],
        "orphaned_nar_bytes": found["orphaned_nar_bytes"],
        "orphaned_chunks": found["orphaned_chunks"],
        "orphaned_bytes": found["orphaned_bytes"],
        "next_objects": found["objects"],
        "next_nars": found["nars"],
        "next_chunks": chunks,
        "next_bytes": found["stored_bytes"] + found["deleting_bytes"],
        "next_collections": -(-chunks // CHUNKS_PER_COLLECTION),
    }


def _int(value: t.Any) -> int:
    """A sum of bigint is a decimal, and NULL where there was nothing to add."""
    return int(value or 0)


def _time(value: dt.datetime | None) -> str | None:
    return value.astimezone(dt.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ") if value else None  # noqa: UP017
