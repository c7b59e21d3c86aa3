# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A consistent, read-only snapshot of a PostgreSQL database. Private: may change without notice."""

from __future__ import annotations

import contextlib
import re
import time
import typing as t
from collections.abc import Iterator

from .deps import optional, require
from .errors import (
    AuthenticationError,
    ForbiddenError,
    InvalidError,
    NixciError,
    NotFoundError,
    UnavailableError,
)

with optional("psycopg2"):
    import psycopg2
    import psycopg2.extras

SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
CONNECT_TIMEOUTS = range(1, 301)
STATEMENT_TIMEOUTS = range(1, 3601)

# A failed connection has no error code in psycopg2, only a message of the server or of libpq.
REFUSALS: tuple[tuple[str, type[NixciError], str], ...] = (
    (
        "(Peer|Ident) authentication failed",
        AuthenticationError,
        "over the socket the operating system user is the role, so set become_user to a user who has one",
    ),
    (
        "password authentication failed|no password supplied|password retrieved from file",
        AuthenticationError,
        "check login_user and login_password, or the entry in the password file",
    ),
    (
        'role "[^"]*" (does not exist|is not permitted to log in)',
        AuthenticationError,
        "check login_user; without it the operating system user is the role",
    ),
    ("pg_hba.conf", ForbiddenError, "admit the role by a line in pg_hba.conf, or log in another way"),
    ("permission denied for database", ForbiddenError, "run GRANT CONNECT ON DATABASE for the role"),
    ('database "[^"]*" does not exist', NotFoundError, "give the name of Attic's database as login_db"),
    ("certificate|SSL", UnavailableError, "check ssl_mode and ca_cert"),
    ("too many (clients|connections)|remaining connection slots|starting up|shutting down|in recovery", UnavailableError,
     "run again later"),
    ("timeout expired", UnavailableError, "check the address and the network, or raise connect_timeout"),
)  # fmt: skip
UNREACHABLE = "check that PostgreSQL runs and listens there"

# For one transaction only, so that it also applies behind a connection pooler. A report is not urgent: it leaves the
# other processors to the server, and uses more memory instead to sort a large table.
LIMITS = """
SET LOCAL statement_timeout = %s; SET LOCAL TimeZone = 'UTC';
SET LOCAL max_parallel_workers_per_gather = 0; SET LOCAL work_mem = '32MB'
"""


def postgresql_argument_spec() -> dict[str, t.Any]:
    """Options of every module that reads PostgreSQL; see doc_fragments/_postgresql.py."""
    return {
        "login_db": {"type": "str", "default": "atticd"},
        "login_host": {"type": "str"},
        "login_unix_socket": {"type": "path"},
        "login_port": {"type": "int", "default": 5432},
        "login_user": {"type": "str"},
        "login_password": {"type": "str", "no_log": True},
        "ssl_mode": {"type": "str", "choices": list(SSL_MODES), "default": "prefer"},
        "ca_cert": {"type": "path"},
        "connect_timeout": {"type": "int", "default": 10},
        "statement_timeout": {"type": "int", "default": 60},
    }


class Snapshot:
    """All queries see the database at the same moment."""

    def __init__(self, cursor: t.Any, seconds: int) -> None:
        self._cursor = cursor
        self._seconds = seconds

    def rows(self, purpose: str, sql: str, **values: t.Any) -> list[dict[str, t.Any]]:
        """The purpose is for the error message."""
        started = time.monotonic()
        try:
            self._cursor.execute(sql, values)
            return [dict(row) for row in self._cursor.fetchall()]
        except psycopg2.Error as exc:
            raise _explain(exc, purpose, time.monotonic() - started, self._seconds) from None

    def row(self, purpose: str, sql: str, **values: t.Any) -> dict[str, t.Any]:
        return self.rows(purpose, sql, **values)[0]


@contextlib.contextmanager
def snapshot(params: dict[str, t.Any]) -> Iterator[Snapshot]:
    """Never blocks a writer: the only lock of the transaction is that of a SELECT."""
    connection = _connect(params)
    seconds = params["statement_timeout"]
    try:
        connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
        with connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor:
            cursor.execute(LIMITS, (seconds * 1000,))
            yield Snapshot(cursor, seconds)
    except psycopg2.Error as exc:
        raise _explain(exc, "starting a transaction", 0, seconds) from None
    finally:
        connection.close()


def _connect(params: dict[str, t.Any]) -> t.Any:
    require(
        "psycopg2",
        "Reading PostgreSQL",
        "install python3-psycopg2, on NixOS (python3.withPackages (p: [ p.psycopg2 ])), "
        "or name another ansible_python_interpreter",
    )
    for option, allowed in (("connect_timeout", CONNECT_TIMEOUTS), ("statement_timeout", STATEMENT_TIMEOUTS)):
        if params[option] not in allowed:
            raise InvalidError(f"{option} must be from {allowed[0]} to {allowed[-1]} seconds, not {params[option]}.")
    # Not mutually_exclusive in the argument spec, which counts a null as a value; `default(None)` means omitted.
    if params["login_host"] and params["login_unix_socket"]:
        raise InvalidError("Give login_host for TCP or login_unix_socket for the local socket, not both.")
    arguments = {
        "dbname": params["login_db"],
        "host": params["login_unix_socket"] or params["login_host"],
        "port": params["login_port"],
        "user": params["login_user"],
        "password": params["login_password"],
        "sslmode": params["ssl_mode"],
        "sslrootcert": params["ca_cert"],
        "connect_timeout": params["connect_timeout"],
        "application_name": "pantheros.nixci",
        # Notices within half a minute that a server has vanished in the middle of a query.
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 4,
        "tcp_user_timeout": 30_000,
    }
    try:
        return psycopg2.connect(**{key: value for key, value in arguments.items() if value is not None})
    except psycopg2.Error as exc:
        kind, reason, remedy = read_refusal(str(exc))
        raise kind(f"PostgreSQL refuses access to the database '{params['login_db']}': {reason}; {remedy}.") from None
    except ValueError:  # a NUL character, which libpq cannot take
        raise InvalidError("One of the login options holds a character that PostgreSQL cannot take.") from None


def read_refusal(text: str) -> tuple[type[NixciError], str, str]:
    """The kind of failure, its decisive line without libpq's preamble, and the remedy."""
    lines = [line.strip() for line in text.splitlines() if line.strip()] or ["no reason was given"]
    for pattern, kind, remedy in REFUSALS:
        for line in lines:
            if re.search(pattern, line):
                return kind, _decisive(line), remedy
    return UnavailableError, _decisive(lines[0]), UNREACHABLE


def _decisive(line: str) -> str:
    """The preamble names the address, which is worth keeping if the server itself did not answer."""
    return re.split(r"(?:FATAL|ERROR): +", line)[-1].rstrip(".")[:300]


def _explain(exc: t.Any, purpose: str, elapsed: float, limit: int) -> NixciError:
    reason = (exc.diag.message_primary or str(exc).strip() or type(exc).__name__).splitlines()[0][:300]
    if exc.pgcode == "57014":
        return UnavailableError(
            f"PostgreSQL: {purpose} was cancelled after {elapsed:.0f} s, the limit is {limit} s ({reason}); "
            "raise statement_timeout or gather less."
        )
    if exc.pgcode == "42501":
        return ForbiddenError(f"PostgreSQL: {purpose} is not allowed ({reason}); grant the role the right to read it.")
    return UnavailableError(f"PostgreSQL: {purpose} failed ({reason}); read the server's log, or run again later.")
