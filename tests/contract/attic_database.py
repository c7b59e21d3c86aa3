# SPDX-License-Identifier: GPL-3.0-or-later
"""Attic's tables in a real PostgreSQL, made and collected by the double or by the real server."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import os
import pathlib
import subprocess
import typing as t

import psycopg2
import psycopg2.extras

from lab.attic import gc
from lab.attic.config import Config
from lab.attic.database import Database
from tests.contract.attic_population import Population
from tests.support.postgresql import Server

TABLES = ("cache", "object", "nar", "chunk", "chunkref")


@dataclasses.dataclass(frozen=True)
class AtticDatabase:
    server: Server
    name: str
    folder: pathlib.Path
    atticd: str | None
    """The real server's program; None for the double."""

    @property
    def url(self) -> str:
        return self.server.url(self.name)

    def migrate(self) -> None:
        if self.atticd:
            self._atticd("db-migrations", 0)
        else:
            Database(self.url).migrate()

    def collect(self, default_retention: int) -> None:
        """A garbage collection by the server itself."""
        if self.atticd:
            self._atticd("garbage-collector-once", default_retention)
        else:
            storage = {"type": "local", "path": str(self.folder)}
            signing: t.Any = None
            gc.collect(Config(self.url, storage, signing, default_retention_period=default_retention))

    def execute(self, statement: str) -> None:
        self.server.execute(statement, self.name)

    def rows(self) -> dict[str, int]:
        with contextlib.closing(psycopg2.connect(self.url)) as connection, connection.cursor() as cursor:
            cursor.execute(f"SELECT {', '.join(f'(SELECT count(*) FROM {table})' for table in TABLES)}")  # noqa: S608
            return dict(zip(TABLES, cursor.fetchone(), strict=True))

    def stored(self) -> int:
        """Bytes of the chunks that have a file."""
        with contextlib.closing(psycopg2.connect(self.url)) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT coalesce(sum(file_size), 0) FROM chunk WHERE state <> 'P'")
            return int(cursor.fetchone()[0])

    def fill(self, population: Population) -> dt.datetime:
        """Replaces what is there; returns the moment from which ages count."""
        with contextlib.closing(psycopg2.connect(self.url)) as connection, connection, connection.cursor() as cursor:
            cursor.execute(f"TRUNCATE {', '.join(TABLES)}")
            cursor.execute("SELECT now()")
            now = cursor.fetchone()[0]
            for table, rows in population.tables(now).items():
                if rows:
                    columns = ", ".join(f'"{column}"' for column in rows[0])
                    values = [tuple(row.values()) for row in rows]
                    into = f"INSERT INTO {table} ({columns}) VALUES %s"  # noqa: S608
                    psycopg2.extras.execute_values(cursor, into, values)
        for key in population.files():
            path = self.folder / key[:1] / key[:2] / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return now

    def _atticd(self, mode: str, default_retention: int) -> None:
        config = self.folder / "server.toml"
        (self.folder / "VERSION").write_text("1")
        config.write_text(
            f'[database]\nurl = "{self.url}"\n[storage]\ntype = "local"\npath = "{self.folder}"\n'
            "[chunking]\nnar-size-threshold = 0\nmin-size = 1\navg-size = 2\nmax-size = 3\n"
            f'[garbage-collection]\ndefault-retention-period = "{default_retention}s"\n'
            '[jwt.signing]\ntoken-hs256-secret-base64 = "YSBzZWNyZXQ="\n'
        )
        subprocess.run(
            [str(self.atticd), "-f", str(config), "--mode", mode],
            check=True, capture_output=True, timeout=60, env={"PATH": os.environ["PATH"], "RUST_LOG": "warn"},
        )  # fmt: skip
