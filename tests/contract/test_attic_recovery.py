# SPDX-License-Identifier: GPL-3.0-or-later
"""What an interrupted server leaves behind, and the SQL that releases it before the next start: nix/modules/attic-recovery.nix.

With the Attic double always, with the real atticd where LAB_ATTICD names it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import pathlib
import subprocess
import threading
import time
import typing as t
from collections.abc import Iterator

import psycopg2
import pytest
import requests

from tests.contract.atticd import ROOT_TOKEN, Atticd, Path, command_of
from tests.support.collection import run_module
from tests.support.paths import ROOT
from tests.support.postgresql import Server, server

# A Nix string without antiquotation.
SQL = (ROOT / "nix/modules/attic-recovery.nix").read_text().split("''")[1]
SIZE = 6_000_000


@dataclasses.dataclass
class Environment:
    """A server whose database belongs to a role of its own, as on a host."""

    postgresql: Server
    database: str
    url: str
    atticd: Atticd

    def recover(self) -> str:
        """What the unit runs before a start; what it says."""
        if self.postgresql.container is None:
            pytest.skip("NIXCI_TEST_POSTGRESQL names a server whose psql is not ours")
        psql = ["psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--file=-", self.url]
        command = ["docker", "exec", "--interactive", self.postgresql.container, *psql]
        run = subprocess.run(command, input=SQL, capture_output=True, text=True, timeout=60, check=False)
        assert (run.returncode, run.stdout) == (0, ""), run.stderr
        return run.stderr

    def health(self) -> dict[str, int]:
        options = {**self.postgresql.login(self.database), "gather": ["health"], "stuck_after": "0"}
        return run_module("attic_stats_info", options)["health"]

    def held(self) -> dict[str, int]:
        return {key: value for key, value in self.health().items() if key.startswith(("held_", "pending_")) and value}

    def chunks(self) -> int:
        with contextlib.closing(psycopg2.connect(self.postgresql.url(self.database))) as db, db.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM chunk")
            return int(cursor.fetchone()[0])

    def collect(self) -> None:
        assert self.atticd.run("garbage-collector-once").returncode == 0


@pytest.fixture(params=["double", "real"])
def environment(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Iterator[Environment]:
    command = command_of(request.param)
    postgresql = server()
    with postgresql.database() as name, contextlib.ExitStack() as stack:
        role = stack.enter_context(postgresql.role("secret"))
        stack.callback(
            postgresql.execute, f"ALTER DATABASE {name} OWNER TO postgres; DROP OWNED BY {role} CASCADE", name
        )
        postgresql.execute(f"ALTER DATABASE {name} OWNER TO {role}")
        url = postgresql.url(name, role, "secret")
        atticd = Atticd(command, tmp_path, database={"url": url})
        stack.callback(atticd.stop)
        yield Environment(postgresql, name, url, atticd)


class Upload:
    """A push whose second half is sent when it is told to."""

    def __init__(self, atticd: Atticd) -> None:
        self.atticd, self.cache, self.path = atticd, atticd.create(), Path(SIZE)
        self.rest = threading.Event()
        self.status: int | None = None
        self.thread = threading.Thread(target=self._push)
        self.thread.start()

    def _push(self) -> None:
        headers = {
            "Authorization": f"Bearer {ROOT_TOKEN}",
            "X-Attic-Nar-Info": json.dumps(self.path.info(self.cache)),
        }
        with contextlib.suppress(requests.ConnectionError):
            url = f"{self.atticd.url}/_api/v1/upload-path"
            self.status = requests.put(url, data=self._body(), headers=headers, timeout=30).status_code

    def _body(self) -> Iterator[bytes]:
        yield self.path.nar[: SIZE // 2]
        self.rest.wait(20)
        yield self.path.nar[SIZE // 2 :]

    def finish(self) -> None:
        self.rest.set()
        self.thread.join()


@pytest.fixture
def upload(environment: Environment) -> Iterator[Upload]:
    """A push that is half done."""
    environment.atticd.start()
    upload = Upload(environment.atticd)
    for _ in range(100):
        held = environment.held()
        if held.get("held_chunks", 0) > 20 and not held.get("pending_chunks") and held == environment.held():
            break
        time.sleep(0.2)
    yield upload
    upload.finish()


def test_a_killed_server_leaves_nothing_for_ever(environment: Environment, upload: Upload) -> None:
    process = t.cast("subprocess.Popen[bytes]", environment.atticd.process)
    process.kill()
    process.wait()
    environment.atticd.process = None
    upload.finish()
    pending = "UPDATE chunk SET state = 'P' WHERE id = (SELECT max(id) FROM chunk)"  # as if killed a moment earlier
    environment.postgresql.execute(pending, environment.database)
    left = environment.held()
    assert (left["pending_nars"], left["pending_chunks"]) == (1, 1) and left["held_chunks"] > 20
    environment.collect()
    assert environment.held() == left, "no collection removes them"
    assert "removed 1 pending NARs and marked 1 pending chunks" in environment.recover()
    assert environment.held() == {}
    environment.collect()
    assert environment.chunks() == 0
    environment.atticd.start()
    assert environment.atticd.push(upload.cache, upload.path).status_code == 200


def test_a_server_that_is_stopped_finishes_the_upload(environment: Environment, upload: Upload) -> None:
    threading.Timer(0.5, upload.rest.set).start()
    assert environment.atticd.stop() == 0
    upload.finish()
    assert upload.status == 200
    environment.recover()
    assert environment.held() == {}
    environment.collect()
    assert environment.chunks() > 20
    environment.atticd.start()
    assert environment.atticd.nar(upload.cache, upload.path).status_code == 200


def test_a_server_at_work_loses_nothing(environment: Environment, upload: Upload) -> None:
    before = environment.held()
    assert "Another server or collector uses the database" in environment.recover()
    assert environment.held() == before
    upload.finish()
    assert upload.status == 200


def test_before_the_first_start_there_is_nothing_to_do(environment: Environment) -> None:
    assert environment.recover() == ""


def test_backups_and_readers_do_not_count_as_servers(environment: Environment) -> None:
    environment.atticd.run("db-migrations")
    environment.postgresql.execute(
        "INSERT INTO nar (state, nar_hash, nar_size, compression, created_at) VALUES ('P', 'sha256:0', 1, 'zstd', now())",
        environment.database,
    )
    with (
        environment.postgresql.role("reader") as reader,
        contextlib.closing(psycopg2.connect(environment.postgresql.url(environment.database))) as backup,
        contextlib.closing(psycopg2.connect(environment.postgresql.url(environment.database, reader, "reader"))),
        backup.cursor() as cursor,
    ):
        cursor.execute("SELECT count(*) FROM nar")
        assert "removed 1 pending NARs" in environment.recover()
