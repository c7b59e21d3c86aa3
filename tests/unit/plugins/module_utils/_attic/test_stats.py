# SPDX-License-Identifier: GPL-3.0-or-later
"""What needs no database: the text for Prometheus, the reading of refusals, the metrics' completeness."""

from __future__ import annotations

import os
import pathlib
import re
import typing as t

import pytest
import yaml
from ansible_collections.pantheros.nixci.plugins.module_utils._attic import metrics as _attic_metrics
from ansible_collections.pantheros.nixci.plugins.module_utils._core import errors as _errors
from ansible_collections.pantheros.nixci.plugins.module_utils._core.postgresql import read_refusal
from ansible_collections.pantheros.nixci.plugins.module_utils._core.prometheus import Gauge, Textfile, exposition
from ansible_collections.pantheros.nixci.plugins.modules import attic_stats_info

from tests.support.collection import hide_library, run_module

PREAMBLE = 'connection to server at "db" (::1), port 5432 failed: '


def test_values_are_written_as_prometheus_reads_them() -> None:
    text = exposition(
        [
            Gauge("attic_objects", "Two\nlines \\ and a backslash.", [({}, 3)]),
            Gauge("attic_cache_objects", 'A "quoted" help.', [({"cache": 'a"b\\c\nd'}, 2**62), ({"cache": "e"}, 1.5)]),
            Gauge("attic_unknown", "Not known.", [({}, None)]),
        ]
    )
    assert text == (
        "# HELP attic_objects Two\\nlines \\\\ and a backslash.\n"
        "# TYPE attic_objects gauge\n"
        "attic_objects 3\n"
        '# HELP attic_cache_objects A "quoted" help.\n'
        "# TYPE attic_cache_objects gauge\n"
        'attic_cache_objects{cache="a\\"b\\\\c\\nd"} 4611686018427387904\n'
        'attic_cache_objects{cache="e"} 1.5\n'
    )


def test_every_documented_figure_has_its_gauge() -> None:
    documented = yaml.safe_load(attic_stats_info.RETURN)
    not_numbers = {"name", "is_public", "deleted_at", "retention_period", "oldest_use", "sharing"}
    elsewhere = {"effective_retention_period", "last_push"}  # under names with their units
    cache = documented["caches"]["contains"]
    assert set(_attic_metrics.CACHE) == set(cache) - not_numbers - elsewhere
    assert set(_attic_metrics.SHARING) == set(cache["sharing"]["contains"])
    for section in ("total", "health", "garbage"):
        assert set(getattr(_attic_metrics, section.upper())) == set(documented[section]["contains"])


def test_no_name_of_a_gauge_is_used_twice() -> None:
    caches = [{"name": "a", "sharing": None, "effective_retention_period": 0, "last_push": "1970-01-02T00:00:00Z"}]
    gauges = _attic_metrics.gauges({"caches": caches, "total": None, "health": None, "garbage": None})
    names = [gauge.name for gauge in gauges]
    assert len(names) == len(set(names)) and all(re.fullmatch("[a-z_]+", name) for name in names)
    assert exposition(gauges).endswith('attic_cache_last_push_timestamp_seconds{cache="a"} 86400\n')


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


def test_a_failed_write_leaves_nothing_behind(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    (tmp_path / "attic.prom").write_text("as before\n")
    with pytest.raises(_errors.ForbiddenError, match="cannot be written .No space left on device."):
        Textfile(str(tmp_path / "attic.prom")).write("new\n")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"attic.prom": "as before\n"}


def test_a_folder_that_this_user_cannot_look_into_is_one_sentence(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden, look = str(tmp_path / "hidden"), os.stat

    def stat(path: t.Any, *args: t.Any, **kwargs: t.Any) -> os.stat_result:
        # Root may look everywhere, so a folder without rights would not show it.
        if str(path).startswith(f"{hidden}/"):
            raise PermissionError(13, "Permission denied")
        return look(path, *args, **kwargs)

    monkeypatch.setattr(os, "stat", stat)
    found = run_module("attic_stats_info", {"textfile": f"{hidden}/in/attic.prom"})
    assert found["msg"].startswith(f"textfile: there is no directory '{hidden}/in' that this user can see; ")
