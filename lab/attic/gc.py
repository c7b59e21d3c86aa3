# SPDX-License-Identifier: GPL-3.0-or-later
"""Garbage collection: expired objects, then NARs without objects, then chunks without NARs."""

from __future__ import annotations

import datetime as dt
import logging
import threading

from .config import Config
from .database import Database, now
from .storage import open_storage

log = logging.getLogger("attic_server::gc")
CHUNKS_PER_RUN = {True: 500, False: 65535}


def collect(config: Config) -> None:
    log.info("Running garbage collection...")
    database, storage = Database(config.database_url), open_storage(config.storage)
    with database.begin() as tx:
        caches = tx.all(
            "SELECT id, name, coalesce(retention_period, ?) AS period FROM cache WHERE coalesce(retention_period, ?) <> 0",
            config.default_retention_period,
            config.default_retention_period,
        )
        log.info("Found %d caches subject to time-based garbage collection", len(caches))
        total = 0
        for cache in caches:
            cutoff = now() - dt.timedelta(seconds=cache["period"])
            deleted = tx.run(
                "DELETE FROM object WHERE cache_id = ? AND created_at < ? "
                "AND (last_accessed_at IS NULL OR last_accessed_at < ?)",
                cache["id"],
                cutoff,
                cutoff,
            )
            log.info("Deleted %d objects from %s (ID %d)", deleted, cache["name"], cache["id"])
            total += deleted
        log.info("Deleted %d objects in total", total)
    with database.begin() as tx:
        nars = tx.run(
            "DELETE FROM nar WHERE state = 'V' AND holders_count = 0 "
            "AND NOT EXISTS (SELECT 1 FROM object WHERE object.nar_id = nar.id)"
        )
        log.info("Deleted %d orphan NARs", nars)
    with database.begin() as tx:
        tx.run(
            "UPDATE chunk SET state = 'D' WHERE state = 'V' AND holders_count = 0 "
            "AND NOT EXISTS (SELECT 1 FROM chunkref WHERE chunkref.chunk_id = chunk.id)"
        )
        chunks = tx.all(
            "SELECT id, remote_file FROM chunk WHERE state = 'D' LIMIT ?", CHUNKS_PER_RUN[database.is_sqlite]
        )
    gone = []
    for chunk in chunks:
        try:
            storage.delete(chunk["remote_file"])
            gone.append(chunk["id"])
        except Exception as exc:  # stays 'D', and the next run retries it
            log.warning("Deletion failed: %s", exc)
    with database.begin() as tx:
        for chunk_id in gone:
            tx.run("DELETE FROM chunk WHERE id = ?", chunk_id)
    log.info("Deleted %d orphan chunks", len(gone))


def collect_forever(config: Config, stop: threading.Event) -> None:
    """Run at the start and then after each interval, whether a run fails or not."""
    while config.gc_interval and not stop.is_set():
        try:
            collect(config)
        except Exception as exc:
            log.warning("Garbage collection failed: %s", exc)
        stop.wait(config.gc_interval)
