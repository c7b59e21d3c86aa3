# SPDX-License-Identifier: GPL-3.0-or-later
"""A real PostgreSQL for tests: the one that NIXCI_TEST_POSTGRESQL names, else one in a container of the lab's image.

NIXCI_TEST_POSTGRESQL is the URL of a superuser on a server for tests: postgresql://user:password@host:port/postgres
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import functools
import os
import secrets
import typing as t
import urllib.parse
from collections.abc import Iterator

import psycopg2

from lab.shell import attempt, run, wait
from tests.support.containers import mark
from tests.support.lab_image import lab_image

# As on NixOS, the socket knows its users by the operating system; the network asks for a password.
START = """
set -eu
install -d -o postgres /run/postgresql /data
cd /data
initdb() { su postgres -c "$(echo /usr/lib/postgresql/*/bin/initdb) $*"; }
initdb -D /data/db --auth-local=peer --auth-host=scram-sha-256 >/dev/null
echo 'host all all all scram-sha-256' >>/data/db/pg_hba.conf
echo "ALTER ROLE postgres PASSWORD '$PASSWORD'" | su postgres -c "$(echo /usr/lib/postgresql/*/bin/postgres) --single -D /data/db postgres" >/dev/null
exec su postgres -c "exec $(echo /usr/lib/postgresql/*/bin/postgres) -D /data/db -k /run/postgresql -c fsync=off -c listen_addresses='*'"
"""


@dataclasses.dataclass(frozen=True)
class Server:
    host: str
    port: int
    user: str
    password: str
    container: str | None = None
    """The container with its socket in /run/postgresql."""

    def url(self, database: str = "postgres", user: str | None = None, password: str | None = None) -> str:
        who = [urllib.parse.quote(word, safe="") for word in (user or self.user, password or self.password)]
        return f"postgresql://{':'.join(who)}@{self.host}:{self.port}/{database}"

    def login(self, database: str) -> dict[str, t.Any]:
        """Options with which a module logs in."""
        return {
            "login_db": database,
            "login_host": self.host,
            "login_port": self.port,
            "login_user": self.user,
            "login_password": self.password,
        }

    def execute(self, statement: str, database: str = "postgres") -> None:
        with contextlib.closing(psycopg2.connect(self.url(database))) as connection:
            connection.autocommit = True
            connection.cursor().execute(statement)

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        name = f"nixci_{secrets.token_hex(6)}"
        self.execute(f"CREATE DATABASE {name}")
        try:
            yield name
        finally:
            self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    @contextlib.contextmanager
    def role(self, password: str, name: str | None = None) -> Iterator[str]:
        """A role that can only log in; its grants must be gone when it is dropped."""
        name = name or f"nixci_{secrets.token_hex(6)}"
        self.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{password}'")
        try:
            yield name
        finally:
            self.execute(f"DROP ROLE {name}")


@functools.cache
def server() -> Server:
    """One for each process of a test run."""
    if given := os.environ.get("NIXCI_TEST_POSTGRESQL"):
        parts = urllib.parse.urlsplit(given)
        who = [urllib.parse.unquote(word or "") for word in (parts.username, parts.password)]
        return Server(parts.hostname or "127.0.0.1", parts.port or 5432, *who)
    name, password = f"nixci-stats-{secrets.token_hex(4)}", secrets.token_hex(12)
    image = lab_image()
    atexit.register(attempt, "docker", "rm", "--force", "--volumes", name)
    run(
        "docker", "run", "--detach", mark(), f"--name={name}", "--cap-add=ALL", "--cap-drop=SYS_RESOURCE",
        "--env", "PASSWORD", image, "bash", "-c", START, env={**os.environ, "PASSWORD": password},
    )  # fmt: skip
    address = run("docker", "inspect", "--format={{.NetworkSettings.IPAddress}}", name).strip()
    made = Server(address, 5432, "postgres", password, name)
    wait("PostgreSQL in its container", lambda: _answers(made), 60, lambda: attempt("docker", "logs", name).stderr)
    return made


def _answers(made: Server) -> bool:
    try:
        psycopg2.connect(made.url(), connect_timeout=2).close()
    except psycopg2.OperationalError:
        return False
    return True
