# SPDX-License-Identifier: GPL-3.0-or-later
"""The server's tables, in SQLite or PostgreSQL, and the queries that several parts share."""

from __future__ import annotations

import contextlib
import datetime as dt
import sqlite3
import time
import typing as t
from collections.abc import Iterator

Row = dict[str, t.Any]

SCHEMA = """
CREATE TABLE IF NOT EXISTS cache (id {id}, name varchar(50) NOT NULL UNIQUE, keypair varchar NOT NULL,
  is_public boolean NOT NULL, store_dir varchar NOT NULL, priority integer NOT NULL,
  upstream_cache_key_names varchar NOT NULL, created_at {time} NOT NULL, deleted_at {time} NULL,
  retention_period integer NULL);
CREATE TABLE IF NOT EXISTS nar (id {id}, state char(1) NOT NULL, nar_hash varchar NOT NULL, nar_size bigint NOT NULL,
  compression varchar NOT NULL, num_chunks integer NOT NULL DEFAULT 1, holders_count integer NOT NULL DEFAULT 0,
  created_at {time} NOT NULL);
CREATE TABLE IF NOT EXISTS object (id {id}, cache_id bigint NOT NULL REFERENCES cache (id) ON DELETE CASCADE,
  nar_id bigint NOT NULL REFERENCES nar (id) ON DELETE CASCADE, store_path_hash varchar(32) NOT NULL,
  store_path varchar NOT NULL, "references" varchar NOT NULL, system varchar, deriver varchar, sigs varchar NOT NULL,
  ca varchar, created_at {time} NOT NULL, last_accessed_at {time} NULL, created_by varchar NULL);
CREATE TABLE IF NOT EXISTS chunk (id {id}, state char(1) NOT NULL, chunk_hash varchar NOT NULL,
  chunk_size bigint NOT NULL, file_hash varchar NULL, file_size bigint NULL, compression varchar NOT NULL,
  remote_file varchar NOT NULL, remote_file_id varchar NOT NULL UNIQUE, holders_count integer NOT NULL DEFAULT 0,
  created_at {time} NOT NULL);
CREATE TABLE IF NOT EXISTS chunkref (id {id}, nar_id bigint NOT NULL REFERENCES nar (id) ON DELETE CASCADE,
  seq integer NOT NULL, chunk_id bigint NULL REFERENCES chunk (id) ON DELETE SET NULL);
CREATE UNIQUE INDEX IF NOT EXISTS "idx-object-cache-hash" ON object (cache_id, store_path_hash);
CREATE INDEX IF NOT EXISTS "idx-cache-name" ON cache (name);
CREATE INDEX IF NOT EXISTS "idx-chunk-chunk-hash" ON chunk (chunk_hash);
CREATE INDEX IF NOT EXISTS "idx-chunk-nar-id" ON chunkref (nar_id);
CREATE INDEX IF NOT EXISTS "idx-chunk-chunk-id" ON chunkref (chunk_id);
CREATE INDEX IF NOT EXISTS "idx-chunk-state-holders" ON chunk (state, holders_count);
CREATE INDEX IF NOT EXISTS "idx-nar-nar-hash" ON nar (nar_hash);
CREATE INDEX IF NOT EXISTS "idx-nar-state-holders" ON nar (state, holders_count);
CREATE TABLE IF NOT EXISTS seaql_migrations (version varchar NOT NULL PRIMARY KEY, applied_at bigint NOT NULL);
"""
# The migrations of the real server for the schema above. With these it accepts the database of a double.
MIGRATIONS = """
m20221227_000001_create_cache_table m20221227_000003_create_nar_table m20221227_000002_create_object_table
m20221227_000004_add_object_last_accessed m20221227_000005_add_cache_retention_period
m20230103_000001_add_object_created_by m20230112_000001_add_chunk_table m20230112_000002_add_chunkref_table
m20230112_000003_add_nar_num_chunks m20230112_000004_migrate_nar_remote_files_to_chunks
m20230112_000005_drop_old_nar_columns m20230112_000006_add_nar_completeness_hint
m20260508_000001_add_chunk_state_holders_index m20260611_000001_add_nar_state_holders_index
m20260624_000001_remove_chunk_recovery
"""


class Database:
    """Keeps idle connections, and checks each before it is used again."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.is_sqlite = url.startswith("sqlite:")
        self.idle: list[t.Any] = []

    @contextlib.contextmanager
    def begin(self) -> Iterator[Transaction]:
        connection = self._take()
        try:
            yield Transaction(connection, self.is_sqlite)
            connection.commit()
        except BaseException:
            connection.close()
            raise
        self.idle.append(connection)

    def _take(self) -> t.Any:
        while self.idle:
            connection = self.idle.pop()
            try:
                connection.cursor().execute("SELECT 1")
                return connection
            except Exception:  # the database was restarted meanwhile
                connection.close()
        return self._connect()

    def _connect(self) -> t.Any:
        # A lab may lose the last second in a crash, and both databases are several times faster without waiting for the disk.
        if self.is_sqlite:
            path, _, query = self.url.removeprefix("sqlite:").removeprefix("//").partition("?")
            uri = f"file:{path}?{query or 'mode=rw'}"
            connection = sqlite3.connect(uri, uri=True, timeout=30, check_same_thread=False)
            connection.row_factory = sqlite3.Row
            connection.executescript("PRAGMA foreign_keys = ON; PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF")
            return connection
        import psycopg2  # needed on PostgreSQL only
        import psycopg2.extras

        return psycopg2.connect(
            self.url, cursor_factory=psycopg2.extras.RealDictCursor, options="-c synchronous_commit=off"
        )

    def migrate(self) -> None:
        types = (
            {"id": "integer PRIMARY KEY AUTOINCREMENT NOT NULL", "time": "timestamp_with_timezone_text"}
            if self.is_sqlite
            else {"id": "bigserial PRIMARY KEY", "time": "timestamp with time zone"}
        )
        with self.begin() as tx:
            for statement in SCHEMA.format(**types).split(";"):
                if statement.strip():
                    tx.run(statement)
            for name in MIGRATIONS.split():
                tx.run("INSERT INTO seaql_migrations VALUES (?, ?) ON CONFLICT DO NOTHING", name, int(time.time()))


class Transaction:
    def __init__(self, connection: t.Any, is_sqlite: bool) -> None:
        self.connection = connection
        self.is_sqlite = is_sqlite

    def run(self, sql: str, *args: t.Any) -> int:
        """Number of rows affected."""
        return self._execute(sql, args).rowcount

    def all(self, sql: str, *args: t.Any) -> list[Row]:
        return [dict(row) for row in self._execute(sql, args).fetchall()]

    def one(self, sql: str, *args: t.Any) -> Row | None:
        rows = self.all(sql, *args)
        return rows[0] if rows else None

    def insert(self, table: str, **values: t.Any) -> int:
        columns = ", ".join(f'"{name}"' for name in values)
        marks = ", ".join("?" * len(values))
        row = self.one(f"INSERT INTO {table} ({columns}) VALUES ({marks}) RETURNING id", *values.values())  # noqa: S608
        return t.cast(Row, row)["id"]

    def hold(self, table: str, where: str, *args: t.Any) -> Row | None:
        """Protect a valid row from the garbage collector until `release`."""
        lock = "" if self.is_sqlite else " FOR UPDATE SKIP LOCKED"
        return self.one(
            f"UPDATE {table} SET holders_count = holders_count + 1 WHERE id IN "  # noqa: S608
            f"(SELECT id FROM {table} WHERE state = 'V' AND {where} LIMIT 1{lock}) RETURNING *",
            *args,
        )

    def release(self, table: str, ids: t.Iterable[int]) -> None:
        for row_id in ids:
            self.run(f"UPDATE {table} SET holders_count = holders_count - 1 WHERE id = ?", row_id)  # noqa: S608

    def _execute(self, sql: str, args: tuple[t.Any, ...]) -> t.Any:
        if self.is_sqlite:
            return self.connection.execute(sql, [_text(arg) for arg in args])
        cursor = self.connection.cursor()
        cursor.execute(sql.replace("?", "%s"), args)
        return cursor


def now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def _text(value: t.Any) -> t.Any:
    """SQLite compares times as text, so all of them need the same number of digits."""
    return value.isoformat(timespec="microseconds") if isinstance(value, dt.datetime) else value
