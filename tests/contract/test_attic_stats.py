# SPDX-License-Identifier: GPL-3.0-or-later
"""The figures against a real PostgreSQL, with the tables of the Attic double and, where LAB_ATTICD names it, of atticd."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import ipaddress
import json
import os
import pathlib
import re
import socket
import subprocess
import typing as t
from collections.abc import Iterator

import certifi
import hypothesis
import psycopg2
import pytest
from ansible_collections.pantheros.nixci.plugins.module_utils._attic.schema import grants
from ansible_collections.pantheros.nixci.plugins.module_utils._core.errors import UnavailableError
from ansible_collections.pantheros.nixci.plugins.module_utils._core.postgresql import snapshot
from ansible_collections.pantheros.nixci.plugins.modules import attic_stats_info
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from lab.shell import run, wait
from tests.contract.attic_database import AtticDatabase
from tests.contract.attic_population import (
    DAY,
    KEYPAIR,
    Asked,
    Cache,
    Chunk,
    Nar,
    Object,
    Population,
    populations,
    questions,
)
from tests.support.check_mode import assert_check_mode_contract
from tests.support.collection import run_module
from tests.support.paths import ROOT
from tests.support.playbook import play
from tests.support.postgresql import Server, server

EVERYTHING = ["usage", "health", "garbage", "sharing"]
SMALL = Population(
    caches=[Cache(None, False), Cache(2, False), Cache(0, True)],
    chunks=[Chunk("V", 100, 40, 0, 3), Chunk("V", 60, 30, 0, 3), Chunk("D", 8, 4, 0, 5)],
    nars=[Nar("V", 100, 0, 3, [0]), Nar("V", 160, 0, 3, [0, 1])],
    objects=[Object(0, 0, 3, None), Object(1, 1, 3, 1), Object(2, 1, 9, None)],
)
# What chance seldom brings together: chunks 0 to 3 are old and held; an upload that may run refers to the first, one
# that was cut short to the second, and the third is held by nobody known. NAR 3 is due in one cache of two,
# NAR 4 in its only one, so that its chunk goes as well.
TRICKY = Population(
    caches=[Cache(2, False), Cache(None, True)],
    chunks=[
        Chunk("V", 9, 5, 1, 6),
        Chunk("V", 8, 4, 1, 6),
        Chunk("V", 7, 3, 2, 6),
        Chunk("V", 6, 2, 1, 0),
        Chunk("V", 5, 1, 0, 6),
    ],
    nars=[
        Nar("P", 9, 0, 1, [0, 3]),
        Nar("P", 8, 0, 5, [1]),
        Nar("V", 7, 1, 6, [2, None]),
        Nar("V", 6, 0, 5, [3, 3]),
        Nar("V", 5, 0, 5, [4]),
    ],
    objects=[Object(0, 3, 5, 2), Object(1, 3, 5, None), Object(0, 2, 1, None), Object(0, 4, 5, None)],
)
PASSWORD = "canary-of-a-password"

thoroughly = hypothesis.settings(max_examples=60, deadline=None, derandomize=True, database=None)


@pytest.fixture(scope="module", params=["double", "real"])
def attic(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AtticDatabase]:
    atticd = os.environ.get("LAB_ATTICD") if request.param == "real" else None
    if request.param == "real" and not atticd:
        pytest.skip("LAB_ATTICD does not name a real atticd")
    with server().database() as name:
        attic = AtticDatabase(server(), name, tmp_path_factory.mktemp("storage"), atticd)
        attic.migrate()
        yield attic


@pytest.fixture
def small(attic: AtticDatabase) -> AtticDatabase:
    attic.fill(SMALL)
    return attic


@pytest.fixture
def fresh(attic: AtticDatabase) -> Iterator[AtticDatabase]:
    """One whose tables a test may spoil."""
    with server().database() as name:
        spare = dataclasses.replace(attic, name=name)
        spare.migrate()
        yield spare


@pytest.fixture
def host(small: AtticDatabase) -> Server:
    if small.server.container is None:
        pytest.skip("NIXCI_TEST_POSTGRESQL names a server whose host is not ours")
    return small.server


def ask(attic: AtticDatabase, **options: t.Any) -> dict[str, t.Any]:
    return run_module("attic_stats_info", {**attic.server.login(attic.name), **options})


def figures(attic: AtticDatabase, asked: Asked, gather: list[str]) -> dict[str, t.Any]:
    return ask(
        attic,
        gather=gather,
        default_retention_period=f"{asked.default_retention}d" if asked.default_retention else "0",
        unused_days=asked.unused,
        stuck_after=f"{asked.stuck}d",
    )


# -- the figures -------------------------------------------------------------------------------------------------


@thoroughly
@hypothesis.given(population=populations(), asked=questions)
@hypothesis.example(population=TRICKY, asked=Asked(4, 3, 3))
def test_every_figure_is_right(attic: AtticDatabase, population: Population, asked: Asked) -> None:
    now = attic.fill(population)
    found = figures(attic, asked, EVERYTHING)
    expected = population.figures(asked, now)
    assert {key: found[key] for key in expected} == expected
    assert found["changed"] is False


@thoroughly
@hypothesis.given(population=populations(), asked=questions)
@hypothesis.example(population=TRICKY, asked=Asked(4, 3, 3))
def test_the_collection_does_what_was_predicted(attic: AtticDatabase, population: Population, asked: Asked) -> None:
    attic.fill(population)
    predicted = figures(attic, asked, ["garbage"])["garbage"]
    before, stored = attic.rows(), attic.stored()
    attic.collect(asked.default_retention * DAY)
    after = attic.rows()
    assert before["object"] - after["object"] == predicted["next_objects"]
    assert before["nar"] - after["nar"] == predicted["next_nars"]
    assert before["chunk"] - after["chunk"] == predicted["next_chunks"]
    assert stored - attic.stored() == predicted["next_bytes"]
    assert set(figures(attic, asked, ["garbage"])["garbage"].values()) == {0}


def test_an_empty_server_has_figures_too(fresh: AtticDatabase) -> None:
    found = ask(fresh, gather=EVERYTHING)
    assert found["caches"] == []
    assert found["total"]["objects"] == found["total"]["stored_bytes"] == 0
    assert found["total"]["deduplication_ratio"] is found["total"]["compression_ratio"] is None
    assert found["schema"] == "m20260624_000001_remove_chunk_recovery"


def test_what_was_not_asked_for_is_null(small: AtticDatabase) -> None:
    found = ask(small)
    assert found["garbage"] is None and found["caches"][0]["sharing"] is None
    assert found["total"]["objects"] == 3 and found["health"]["deleting_chunks"] == 1
    found = ask(small, gather=["health"])
    assert found["caches"] is found["total"] is None
    assert "attic_cache_" not in found["prometheus"] and "attic_deleting_bytes 4\n" in found["prometheus"]


def test_more_chunks_than_one_collection_takes_need_another(fresh: AtticDatabase) -> None:
    fresh.execute(
        "INSERT INTO chunk (state, chunk_hash, chunk_size, file_size, compression, remote_file, remote_file_id, created_at)"
        " SELECT 'V', 'sha256:0', 1, 1, 'zstd', '{}', 'local:' || n, now() FROM generate_series(1, 65536) n"
    )
    found = ask(fresh, gather=["garbage"])["garbage"]
    assert (found["next_chunks"], found["next_collections"]) == (65536, 2)


def test_tables_from_before_june_2026_are_understood(fresh: AtticDatabase) -> None:
    fresh.fill(SMALL)
    new = ask(fresh, gather=EVERYTHING)
    fresh.execute(
        "ALTER TABLE nar ADD completeness_hint boolean NOT NULL DEFAULT true;"
        "ALTER TABLE chunkref ADD chunk_hash varchar, ADD compression varchar;"
        'DROP INDEX "idx-chunk-state-holders"; DROP INDEX "idx-nar-state-holders";'
        "DELETE FROM seaql_migrations WHERE version >= 'm2026'"
    )
    old = ask(fresh, gather=EVERYTHING)
    assert old["schema"] == "m20230112_000006_add_nar_completeness_hint"
    assert {key: old[key] for key in ("caches", "total", "health", "garbage")} == {
        key: new[key] for key in ("caches", "total", "health", "garbage")
    }


# -- beside a server at work -------------------------------------------------------------------------------------


def test_writers_are_not_held_up_and_do_not_disturb(small: AtticDatabase) -> None:
    params = {**small.server.login(small.name), **LOGIN_DEFAULTS}
    with snapshot(params) as db:
        count = "SELECT count(*) AS n FROM object"
        assert db.row("counting", count)["n"] == 3
        with contextlib.closing(psycopg2.connect(small.url)) as connection, connection, connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '2s'; UPDATE chunk SET state = 'D'; DELETE FROM nar")
        assert db.row("counting", count)["n"] == 3
    assert ask(small)["total"]["objects"] == 0


def test_nothing_can_be_written(small: AtticDatabase) -> None:
    params = {**small.server.login(small.name), **LOGIN_DEFAULTS}
    with (
        pytest.raises(UnavailableError, match="trying it failed .*read-only"),
        snapshot(params) as db,
    ):
        db.rows("trying it", "DELETE FROM object RETURNING id")


# -- failures ----------------------------------------------------------------------------------------------------

LOGIN_DEFAULTS = {
    "login_unix_socket": None,
    "ssl_mode": "prefer",
    "ca_cert": None,
    "connect_timeout": 5,
    "statement_timeout": 5,
}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"login_password": "wrong"}, 'password authentication failed for user "postgres"; check login_user and'),
        ({"login_user": "nobody-here"}, "password authentication failed .*; check login_user and"),
        ({"login_password": None}, "no password supplied; check login_user and"),
        ({"login_db": "not-here"}, "database \"not-here\" does not exist; give the name of Attic's database as login_db"),
        ({"login_port": 1}, "Connection refused.*check that PostgreSQL runs"),
        ({"login_host": "nowhere.invalid"}, "could not translate host name .*nowhere.invalid.*check that PostgreSQL runs"),
        ({"login_host": None, "login_unix_socket": "/nowhere"}, "/nowhere/.s.PGSQL.* failed: No such file.*check that"),
        ({"ssl_mode": "require"}, "server does not support SSL.*; check ssl_mode and ca_cert"),
        ({"login_db": "postgres"}, "The database 'postgres' has none of Attic's tables .*as login_db, or start atticd"),
        ({"login_db": "null\0"}, "a character that PostgreSQL cannot take"),
        ({"login_unix_socket": "/run"}, "login_host for TCP or login_unix_socket .*, not both"),
        ({"connect_timeout": 0}, "connect_timeout must be from 1 to 300 seconds, not 0"),
        ({"statement_timeout": 3601}, "statement_timeout must be from 1 to 3600 seconds"),
        ({"unused_days": 0}, "unused_days must be from 1 to 36500"),
        ({"default_retention_period": "70y"}, "exceeds what the server can store"),
        ({"stuck_after": "soon"}, "stuck_after: 'soon' is not a duration"),
    ],
)  # fmt: skip
def test_a_failure_names_cause_and_remedy(
    small: AtticDatabase,
    options: dict[str, t.Any],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: pathlib.Path,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("PGPASSFILE", raising=False)
    found = ask(small, **options)
    assert found["failed"] and re.search(message, found["msg"]), found
    assert "Traceback" not in json.dumps(found) and "\n" not in found["msg"]


def test_a_server_that_never_answers_is_left_in_time(small: AtticDatabase) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        found = ask(small, login_host="127.0.0.1", login_port=silent.getsockname()[1], connect_timeout=2)
    assert "timeout expired; check the address and the network, or raise connect_timeout" in found["msg"]


def test_a_query_that_takes_too_long_is_ended(small: AtticDatabase) -> None:
    with contextlib.closing(psycopg2.connect(small.url)) as connection, connection.cursor() as cursor:
        cursor.execute("LOCK TABLE chunk")
        found = ask(small, statement_timeout=1)
    assert "adding up the chunks was cancelled after 1 s, the limit is 1 s" in found["msg"]
    assert "raise statement_timeout or gather less" in found["msg"]


def test_a_lost_connection_is_reported(small: AtticDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(*_: t.Any) -> None:
        small.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pantheros.nixci'"
        )

    monkeypatch.setattr("ansible_collections.pantheros.nixci.plugins.module_utils._attic.stats.check_schema", cut)
    found = ask(small)
    assert "counting the objects of each cache failed" in found["msg"] and "run again later" in found["msg"]


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("DROP TABLE chunkref, chunk CASCADE", "m20260624_\\w+: it lacks chunk.id, .*chunkref.chunk_id. Use a server from m2023"),
        ("ALTER TABLE nar DROP holders_count", "it lacks nar.holders_count."),
        ("DROP TABLE seaql_migrations", "its last migration is unknown: it lacks seaql_migrations.version"),
    ],
)  # fmt: skip
def test_unknown_tables_are_refused_with_what_is_missing(fresh: AtticDatabase, statement: str, message: str) -> None:
    fresh.execute(statement)
    assert re.search(message, ask(fresh)["msg"])


# -- TLS ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def authority(host: Server, tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    """The certificate of the server, which now speaks TLS and is its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "the server")])
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now - dt.timedelta(1), now + dt.timedelta(1))
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host.host))])
    certificate = builder.add_extension(address, critical=False).sign(key, SHA256()).public_bytes(Encoding.PEM).decode()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    for file, content in (("server.crt", certificate), ("server.key", private)):
        install = f"install -o postgres -m 600 /dev/stdin /data/db/{file}"
        run("docker", "exec", "--interactive", str(host.container), "sh", "-c", install, input=content)
    (tmp_path / "root.crt").write_text(certificate)
    _reload(host, "on")
    yield tmp_path / "root.crt"
    _reload(host, "off")


def _reload(host: Server, ssl: str) -> None:
    host.execute(f"ALTER SYSTEM SET ssl = {ssl}")
    host.execute("SELECT pg_reload_conf()")
    wait("the new configuration", lambda: _encrypted(host) == (ssl == "on"), 10)


def _encrypted(host: Server) -> bool:
    with contextlib.closing(psycopg2.connect(host.url())) as connection:
        return connection.info.ssl_in_use


def test_only_the_right_server_gets_the_password(small: AtticDatabase, authority: pathlib.Path) -> None:
    assert ask(small, ssl_mode="verify-full", ca_cert=str(authority))["total"]["objects"] == 3
    other = pathlib.Path(certifi.where())
    found = ask(small, ssl_mode="verify-full", ca_cert=str(other))
    assert re.search("certificate verify failed; check ssl_mode and ca_cert", found["msg"]), found
    found = ask(small, ssl_mode="verify-full", ca_cert="/nowhere.crt")
    assert re.search("root certificate file .*/nowhere.crt.* does not exist.*; check ssl_mode", found["msg"]), found


# -- rights ------------------------------------------------------------------------------------------------------


def test_a_missing_right_is_reported_with_the_grant_that_gives_it(small: AtticDatabase) -> None:
    with small.server.role(PASSWORD) as role:
        login = {"login_user": role, "login_password": PASSWORD, "gather": EVERYTHING}
        refused = ask(small, **login)
        message = "may not read cache, chunk, chunkref, nar, object, seaql_migrations in the database"
        assert f"The role '{role}' {message}" in refused["msg"]
        small.execute(refused["msg"].partition("with: ")[2])
        try:
            assert ask(small, **login)["caches"] == ask(small, gather=EVERYTHING)["caches"]
            with (
                contextlib.closing(psycopg2.connect(small.server.url(small.name, role, PASSWORD))) as connection,
                pytest.raises(psycopg2.errors.InsufficientPrivilege),
            ):
                connection.cursor().execute("SELECT keypair FROM cache")
        finally:
            small.execute(f"DROP OWNED BY {role}")


def test_the_documentation_names_the_same_grant() -> None:
    documented = " ".join(
        attic_stats_info.DOCUMENTATION.replace("V(GRANT", "GRANT").replace(";)", ";").replace("\\\\)", ")").split()
    )
    assert grants("attic_stats") in documented


def test_a_strange_name_of_a_role_is_quoted() -> None:
    assert grants('attic "stats"').endswith('TO "attic ""stats""";')


# -- the textfile ------------------------------------------------------------------------------------------------


def test_check_mode_predicts_the_textfile(small: AtticDatabase, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "attic.prom"

    def run(*, check: bool = False) -> dict[str, t.Any]:
        options = {**small.server.login(small.name), "textfile": str(path)}
        found = run_module("attic_stats_info", options, check=check)
        found.pop("taken_at", None)
        return found

    def state() -> t.Any:
        return (oct(path.stat().st_mode), path.read_text()) if path.exists() else None

    assert assert_check_mode_contract(run, state).actual["changed"]
    assert path.read_text() == run()["prometheus"]
    assert path.stat().st_mode & 0o777 == 0o644 and [*tmp_path.iterdir()] == [path]
    path.chmod(0o600)
    assert assert_check_mode_contract(run, state).actual["changed"]
    path.write_text("# by hand\n")
    assert assert_check_mode_contract(run, state).actual["diff"]["before"]["content"] == ["# by hand", ""]
    os.utime(path, (1, 1))
    assert not run()["changed"] and path.stat().st_mtime > 1, "its age must show how old the figures are"


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("relative.prom", "absolute path that ends in .prom"),
        ("/tmp/attic.txt", "absolute path that ends in .prom"),  # noqa: S108
        ("/nowhere/attic.prom", "there is no directory '/nowhere'"),
    ],
)
def test_an_unusable_textfile_is_refused(small: AtticDatabase, path: str, message: str, check: bool) -> None:
    options = {**small.server.login(small.name), "textfile": path}
    assert re.search(message, run_module("attic_stats_info", options, check=check)["msg"])


# -- secrets, and the way it runs on a host ----------------------------------------------------------------------


def test_no_secret_shows_up(small: AtticDatabase, tmp_path: pathlib.Path) -> None:
    # By variables, as JUnit's report repeats what is written in a task.
    login = {
        **small.server.login(small.name),
        "login_password": "{{ right }}",
        "gather": EVERYTHING,
        "connect_timeout": 2,
    }
    textfile = tmp_path / "attic.prom"
    with small.server.role(PASSWORD) as role:
        failing: list[dict[str, t.Any]] = [
            {"login_password": "{{ canary }}"},
            {"login_user": role, "login_password": "{{ canary }}"},
            {"login_db": "not-here"},
            {"login_port": 1},
            {"login_password": "{{ canary }}' host='nowhere"},
            {"login_password": "{{ canary }}\0"},
            {"ssl_mode": "require"},
            {"textfile": "/nowhere/attic.prom"},
        ]
        tasks: list[dict[str, t.Any]] = []
        for options in failing:
            task = {"pantheros.nixci.attic_stats_info": {**login, **options}, "ignore_errors": True}
            tasks += [{**task, "register": "found"}, {"ansible.builtin.assert": {"that": "found is failed"}}]
        tasks.append({"pantheros.nixci.attic_stats_info": {**login, "textfile": str(textfile)}})
        variables = {"right": small.server.password, "canary": PASSWORD}
        played = play(tasks, variables, tmp_path / "play", secrets=[*variables.values(), KEYPAIR])
    assert played.returncode == 0, played.output
    assert played.leaks == []
    assert "attic_objects 3" in textfile.read_text()


def on_the_host(host: Server, user: str, **options: t.Any) -> dict[str, t.Any]:
    """With the host's own Python and psycopg2, by Ansible, over the socket."""
    done = subprocess.run(
        [
            str(ROOT / ".venv/bin/ansible"), "all", f"--inventory={host.container},",
            "--connection=community.docker.docker", f"--user={user}", "--one-line",
            "--extra-vars=ansible_python_interpreter=/usr/bin/python3",
            "--module-name=pantheros.nixci.attic_stats_info", f"--args={json.dumps(options)}",
        ],
        capture_output=True, text=True, check=False, timeout=300,
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".collections"), "ANSIBLE_REMOTE_TEMP": "/tmp"},  # noqa: S108
    )  # fmt: skip
    return json.loads(done.stdout.partition("=> ")[2] or json.dumps({"msg": done.stdout + done.stderr}))


def test_it_runs_on_the_host_over_the_socket(host: Server, small: AtticDatabase) -> None:
    found = on_the_host(host, "postgres", login_db=small.name)
    assert found["total"]["objects"] == 3, found


def test_a_user_without_a_role_is_advised_to_become_one(host: Server, small: AtticDatabase) -> None:
    found = on_the_host(host, "root", login_db=small.name, login_user="postgres", login_unix_socket="/run/postgresql")
    assert 'Peer authentication failed for user "postgres"; over the socket' in found["msg"]
    assert "set become_user" in found["msg"]
