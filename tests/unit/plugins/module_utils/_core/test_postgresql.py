# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.pantheros.nixci.plugins.module_utils._core import errors as _errors
from ansible_collections.pantheros.nixci.plugins.module_utils._core.postgresql import read_refusal

from tests.support.collection import hide_library, run_module

PREAMBLE = 'connection to server at "db" (::1), port 5432 failed: '


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ('FATAL:  Peer authentication failed for user "attic"', _errors.AuthenticationError, "set become_user"),
        ('FATAL:  role "root" does not exist', _errors.AuthenticationError, "check login_user"),
        ('FATAL:  no pg_hba.conf entry for host "10.0.0.9", user "x"', _errors.ForbiddenError, "pg_hba.conf"),
        ('FATAL:  permission denied for database "atticd"', _errors.ForbiddenError, "GRANT CONNECT"),
        ('FATAL:  database "atticd" does not exist', _errors.NotFoundError, "login_db"),
        ("SSL error: certificate verify failed", _errors.UnavailableError, "ca_cert"),
        ("FATAL:  sorry, too many clients already", _errors.UnavailableError, "run again later"),
        ("FATAL:  the database system is starting up", _errors.UnavailableError, "run again later"),
        ("FATAL:  Passwort-Authentifizierung fehlgeschlagen", _errors.UnavailableError, "check that PostgreSQL runs"),
        ("", _errors.UnavailableError, "check that PostgreSQL runs"),
    ],
)
def test_a_refusal_is_read(text: str, kind: type[_errors.NixciError], words: str) -> None:
    # libpq tries each address, and says all it got
    found, cause, remedy = read_refusal(f"{PREAMBLE}Connection refused\n{PREAMBLE}{text}\n" if text else "")
    assert (found, words in remedy) == (kind, True)
    assert "\n" not in cause and (kind is _errors.UnavailableError or text.removeprefix("FATAL:  ") == cause)


def test_the_missing_library_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    hide_library(monkeypatch, "psycopg2")
    found = run_module("attic_stats_info", {})
    assert (
        "needs the Python library psycopg2 on the machine that runs this task; install python3-psycopg2, on NixOS"
        in found["msg"]
    )
