# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The figures of stats.py as gauges of Prometheus. Private: may change without notice."""

from __future__ import annotations

import datetime as dt
import typing as t

from .._core.prometheus import Gauge

Row = dict[str, t.Any]

# Key of a figure → help text. The name of the gauge is the prefix and the key.
TOTAL = {
    "caches": "Caches that can be used.",
    "deleted_caches": "Caches that were destroyed on a server that keeps their rows.",
    "objects": "Store paths in all caches.",
    "nars": "Distinct NARs.",
    "chunks": "Distinct chunks.",
    "logical_bytes": "Size of all store paths as NARs, without sharing and compression.",
    "nar_bytes": "Size of the distinct NARs.",
    "unique_bytes": "Size of the distinct chunks before compression.",
    "stored_bytes": "Size of the distinct chunks after compression, as they are stored.",
    "due_objects": "Store paths that the next garbage collection removes.",
    "due_bytes": "Size of these store paths as NARs.",
    "unused_objects": "Store paths neither pushed nor fetched for the given time.",
    "unused_bytes": "Size of these store paths as NARs.",
    "deduplication_ratio": "Logical bytes per unique byte.",
    "compression_ratio": "Unique bytes per stored byte.",
}
CACHE = {
    "objects": "Store paths in the cache.",
    "logical_bytes": "Size of the store paths of the cache as NARs, without sharing and compression.",
    "due_objects": "Store paths of the cache that the next garbage collection removes.",
    "due_bytes": "Size of these store paths of the cache as NARs.",
    "unused_objects": "Store paths of the cache neither pushed nor fetched for the given time.",
    "unused_bytes": "Size of these store paths of the cache as NARs.",
}
SHARING = {
    "unique_bytes": "Size of the distinct chunks of the cache before compression.",
    "stored_bytes": "Size of the distinct chunks of the cache after compression.",
    "exclusive_bytes": "Size after compression of the chunks that no other cache uses.",
    "deduplication_ratio": "Logical bytes per unique byte of the cache.",
    "compression_ratio": "Unique bytes per stored byte of the cache.",
}
HEALTH = {
    "pending_nars": "NARs that are being uploaded, or were when the server stopped.",
    "pending_chunks": "Chunks that are being uploaded, or were when the server stopped.",
    "stuck_nars": "Pending NARs that are too old to be uploads.",
    "stuck_chunks": "Pending chunks that are too old to be uploads.",
    "held_nars": "NARs held by an upload, running or leaked.",
    "held_chunks": "Chunks held by an upload, running or leaked.",
    "leaked_nars": "Old NARs that are held; a figure that persists is a leak.",
    "leaked_chunks": "Old chunks that are held; a figure that persists is a leak.",
    "deleting_chunks": "Chunks that a garbage collection has marked and not yet removed.",
    "deleting_bytes": "Size of these chunks in the storage.",
    "broken_nars": "NARs that lack a chunk, for which the server answers 503.",
}
GARBAGE = {
    "orphaned_nars": "NARs to which no cache refers any more.",
    "orphaned_nar_bytes": "Size of these NARs.",
    "orphaned_chunks": "Chunks to which no NAR refers any more.",
    "orphaned_bytes": "Size of these chunks in the storage.",
    "next_objects": "Store paths that the next garbage collection removes.",
    "next_nars": "NARs that the next garbage collection removes.",
    "next_chunks": "Chunks that the next garbage collection removes, if one collection is enough.",
    "next_bytes": "Size of these chunks in the storage.",
    "next_collections": "Garbage collections that it takes to remove them all.",
}


def gauges(figures: Row) -> list[Gauge]:
    """One gauge for each figure that was gathered; those of a cache are labelled with its name."""
    caches = figures["caches"] or []
    found = [
        *_single("attic_", TOTAL, figures["total"]),
        *_single("attic_", HEALTH, figures["health"]),
        *_single("attic_garbage_", GARBAGE, figures["garbage"]),
        *_per_cache(CACHE, [(cache["name"], cache) for cache in caches]),
        *_per_cache(SHARING, [(cache["name"], cache["sharing"] or {}) for cache in caches]),
    ]
    times = {
        "retention_seconds": ("How long a store path is kept after its last use, 0 for ever.", _retention),
        "last_push_timestamp_seconds": ("When the newest store path was pushed.", _last_push),
    }
    for key, (text, value) in times.items():
        found.append(Gauge(f"attic_cache_{key}", text, [({"cache": cache["name"]}, value(cache)) for cache in caches]))
    return found


def _single(prefix: str, texts: dict[str, str], figures: Row | None) -> list[Gauge]:
    return [Gauge(prefix + key, text, [({}, (figures or {}).get(key))]) for key, text in texts.items()]


def _per_cache(texts: dict[str, str], rows: list[tuple[str, Row]]) -> list[Gauge]:
    return [
        Gauge(f"attic_cache_{key}", text, [({"cache": name}, row.get(key)) for name, row in rows])
        for key, text in texts.items()
    ]


def _retention(cache: Row) -> int:
    return int(cache["effective_retention_period"])


def _last_push(cache: Row) -> int | None:
    pushed = cache["last_push"]
    return pushed and int(dt.datetime.fromisoformat(pushed.replace("Z", "+00:00")).timestamp())
