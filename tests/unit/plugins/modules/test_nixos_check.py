# SPDX-License-Identifier: GPL-3.0-or-later
"""nixos_check against programs that print what the test wrote down."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pathlib
import socket
import threading
import time
import typing as t

import pytest
from ansible_collections.pantheros.nixci.plugins.module_utils._nixos import check, dump, listener, unit_watch

Program = t.Callable[[str, str], None]


@pytest.fixture
def program(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """Puts a shell script of a name first on PATH."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(check, "PAUSE", 0.05)

    def write(name: str, script: str) -> None:
        (tmp_path / name).write_text(f"#!/bin/sh\ncd {tmp_path}\n{script}\n")
        (tmp_path / name).chmod(0o755)

    write("journalctl", 'echo "AWS_SECRET_ACCESS_KEY=canary-key"; echo "connection refused ($*)"')
    return write


def answer(active: str, sub: str, age: float = 60) -> str:
    """What systemctl shows of a unit that became active so many seconds ago."""
    entered = round((time.clock_gettime(time.CLOCK_MONOTONIC) - age) * 1e6)
    return f'printf "ActiveState={active}\\nSubState={sub}\\nActiveEnterTimestampMonotonic={entered}\\n"'


def test_active_units_pass_at_once(module: t.Any, program: Program) -> None:
    program("systemctl", f"{answer('active', 'running')}; echo; {answer('active', 'waiting')}")
    start = time.monotonic()
    result = module("nixos_check", {"units": ["a.service", "b.timer"], "timeout": 5})
    assert not result["failed"] and not result["changed"]
    assert result["units"] == {"a.service": "active (running)", "b.timer": "active (waiting)"}
    assert time.monotonic() - start < unit_watch.SETTLED


def test_a_unit_that_starts_late_is_waited_for(module: t.Any, program: Program) -> None:
    late = f"if [ -e started ]; then {answer('active', 'running')}; else touch started; {answer('activating', 'start')}; fi"
    program("systemctl", late)
    assert not module("nixos_check", {"units": ["a.service"], "timeout": 5})["failed"]


def test_a_restart_loop_is_not_taken_for_running(module: t.Any, program: Program) -> None:
    # Active whenever it is asked, but never for long.
    uptime = "$(cut -d. -f1 /proc/uptime)000000"
    program("systemctl", f'printf "ActiveState=active\\nSubState=running\\nActiveEnterTimestampMonotonic={uptime}\\n"')
    assert module("nixos_check", {"units": ["a.service"], "timeout": 1})["failed"]


def test_a_failed_unit_shows_its_journal_without_secrets(module: t.Any, program: Program) -> None:
    program("systemctl", answer("activating", "auto-restart"))
    result = module("nixos_check", {"units": ["atticd.service"], "timeout": 1})
    assert result["failed"]
    assert "Not steadily active after 1 s: atticd.service" in result["msg"]
    assert "connection refused" in result["msg"] and "--unit=atticd.service" in result["msg"]
    assert "canary" not in str(result)
    assert result["failed_units"][0]["name"] == "atticd.service"


def test_all_problems_are_listed_together(
    module: t.Any, program: Program, serve: t.Callable[[t.Any], str], tmp_path: pathlib.Path
) -> None:
    program("systemctl", answer("failed", "failed"))
    program("runuser", 'printf "atticd=postgres\\nnotes=notes\\n"')
    secret = tmp_path / "secret"
    secret.write_text("canary")
    secret.chmod(0o644)
    result = module(
        "nixos_check",
        {
            "units": ["a.service"],
            "databases": {"atticd": "atticd", "notes": "notes", "absent": "absent"},
            "files": {str(secret): "0400", str(tmp_path / "absent"): "0400"},
            "urls": [{"url": "http://127.0.0.1:9/"}],
            "timeout": 1,
        },
    )
    assert result["failed"]
    for expected in (
        "Not steadily active after 1 s: a.service",
        "no database 'atticd' owned by the user 'atticd' (found: postgres)",
        "no database 'absent' owned by the user 'absent' (found: no such database)",
        f"{secret} has the mode 0644 instead of 0400",
        f"{tmp_path / 'absent'} cannot be found",
        "http://127.0.0.1:9/ does not answer properly",
    ):
        assert expected in result["msg"]
    assert "'notes'" not in result["msg"] and "canary" not in str(result)


def test_everything_may_pass(
    module: t.Any, program: Program, serve: t.Callable[[t.Any], str], tmp_path: pathlib.Path
) -> None:
    def app(environ: t.Any, start: t.Any) -> list[bytes]:
        start("200 OK" if environ["HTTP_HOST"] == "cache.example.com" else "404 Not Found", [])
        return [b""]

    program("runuser", 'echo "atticd=atticd"')
    secret = tmp_path / "secret"
    secret.touch(mode=0o400)
    url = {"url": serve(app), "headers": {"Host": "cache.example.com"}}
    checks = {"databases": {"atticd": "atticd"}, "files": {str(secret): "0400"}, "urls": [url], "timeout": 1}
    for check_mode in (True, False):
        result = module("nixos_check", checks, check=check_mode)
        assert not result["failed"], result
    assert "404" in module("nixos_check", {**checks, "urls": [{"url": url["url"]}]})["msg"]


def test_impossible_options_are_refused(module: t.Any, program: Program) -> None:
    assert "at least one unit" in module("nixos_check", {})["msg"]
    assert "from 1 to 3600" in module("nixos_check", {"units": ["a.service"], "timeout": 0})["msg"]


def test_a_host_without_systemd_is_told_so(module: t.Any, program: Program) -> None:
    program(
        "systemctl",
        'echo "System has not been booted with systemd as init system (PID 1). Can\'t operate." >&2; exit 1',
    )
    result = module("nixos_check", {"units": ["a.service"], "timeout": 1})
    assert result["msg"] == (
        "systemd cannot be asked for a.service: System has not been booted with systemd as init system (PID 1). Can't operate."
    )


def test_a_host_without_the_programs_is_told_so(
    module: t.Any, program: Program, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program("timeout", "exit 1")
    monkeypatch.setenv("PATH", str(tmp_path))
    result = module(
        "nixos_check",
        {"units": ["a.service"], "databases": {"a": "a"}, "logins": {"a.service": "postgresql://a@b/c"}, "timeout": 1},
    )
    assert sorted(result["msg"].splitlines()) == [
        "The program 'psql' was not found on this host.",
        "The program 'systemctl' was not found on this host.",
    ]


def test_a_unit_that_does_not_exist_is_named(module: t.Any, program: Program) -> None:
    program("systemctl", 'printf "LoadState=not-found\\nActiveState=inactive\\nSubState=dead\\n"')
    result = module("nixos_check", {"units": ["a.service"], "timeout": 1})
    assert result["msg"] == "This host has no usable unit a.service (not-found)."
    program(
        "systemctl",
        'echo "Failed to get properties: Unit name x y is neither a valid invocation ID nor unit name." >&2; exit 1',
    )
    result = module("nixos_check", {"units": ["x y"], "timeout": 1})
    assert "Unit name x y is neither a valid" in result["msg"]


def test_a_login_is_tried_as_the_process_of_the_service(module: t.Any, program: Program) -> None:
    program("systemctl", f"echo MainPID={os.getpid()}")
    program("psql", "exit 0")
    program("setpriv", 'echo "$@" PGHOST=$PGHOST > setpriv-log')
    url = "postgresql://atticd@localhost/atticd?host=/run/postgresql"
    params = {"logins": {"atticd.service": url}, "postgresql": {"PGHOST": "/run/pg", "PGPORT": "5433"}, "timeout": 1}
    result = module("nixos_check", params)
    assert not result["failed"], result
    log = (pathlib.Path(os.environ["PATH"].split(":")[0]) / "setpriv-log").read_text()
    assert f"--reuid={os.getuid()} --regid={os.getgid()} --clear-groups" in log
    assert url in log and "PGHOST=/run/pg" in log
    program("setpriv", """echo 'psql: error: FATAL:  Peer authentication failed for user "atticd"' >&2; exit 2""")
    assert (
        "user of atticd.service cannot log in to PostgreSQL (psql: error: FATAL:  Peer authentication failed"
        in (module("nixos_check", params)["msg"])
    )
    program("systemctl", "echo MainPID=0")
    assert "atticd.service does not run" in module("nixos_check", params)["msg"]
    secret = {**params, "logins": {"atticd.service": "postgresql://atticd:canary@db/atticd"}}
    result = module("nixos_check", secret)
    assert "has a password" in result["msg"]


class Dumps:
    def __init__(self, program: Program, folder: pathlib.Path, module: t.Any) -> None:
        self.program, self.folder, self.module = program, folder, module
        program("runuser", 'shift 2; exec "$@"')
        self.restore("exit 0")
        self.unit(f"touch {folder}/atticd-20261126T130000Z.dump; exit 0")

    def restore(self, script: str) -> None:
        self.program("pg_restore", f'echo "$@" >> restore-log; {script}')

    def unit(self, script: str) -> None:
        self.program("systemctl", f"echo $@ >> started; {script}")

    def dump(self, name: str, age: float) -> None:
        (self.folder / name).touch()
        os.utime(self.folder / name, (time.time() - age, time.time() - age))

    def started(self) -> int:
        log = pathlib.Path(os.environ["PATH"].split(":")[0]) / "started"
        return len(log.read_text().splitlines()) if log.exists() else 0

    def restored(self) -> str:
        return (pathlib.Path(os.environ["PATH"].split(":")[0]) / "restore-log").read_text()

    def check(self, **changes: t.Any) -> dict[str, t.Any]:
        check_mode = changes.pop("check", False)
        entry = {"database": "atticd", "unit": "nixci-backup-atticd.service", "folder": str(self.folder), **changes}
        return self.module("nixos_check", {"dumps": [entry], "timeout": 1}, check=check_mode)


@pytest.fixture
def dumps(program: Program, tmp_path: pathlib.Path, module: t.Any, monkeypatch: pytest.MonkeyPatch) -> Dumps:
    system = tmp_path / "current-system"
    system.symlink_to("/nonexistent")
    an_hour_ago = time.time() - 3600
    os.utime(system, (an_hour_ago, an_hour_ago), follow_symlinks=False)
    monkeypatch.setattr(dump, "CURRENT_SYSTEM", str(system))
    folder = tmp_path / "dumps"
    folder.mkdir()
    return Dumps(program, folder, module)


def test_a_young_dump_of_this_system_is_only_listed(dumps: Dumps) -> None:
    dumps.dump("atticd-20261126T120000Z.dump", 60)
    dumps.dump("atticd-20261126T115900Z.dump", 90)
    dumps.dump("other-20261126T120000Z.dump", 1)
    result = dumps.check()
    path = f"{dumps.folder}/atticd-20261126T120000Z.dump"
    assert result["dumps"] == {"atticd": {"path": path, "size": 0, "made": False}}
    assert dumps.started() == 0 and dumps.restored() == f"--list {path}\n"


@pytest.mark.parametrize("age", [None, 2 * 3600, 30 * 3600], ids=["none", "before the activation", "old"])
def test_a_missing_or_stale_dump_is_made_and_read_completely(dumps: Dumps, age: float | None) -> None:
    if age:
        dumps.dump("atticd-20261125T120000Z.dump", age)
    assert dumps.check(check=True)["dumps"]["atticd"]["made"] is False and dumps.started() == 0
    result = dumps.check()
    assert result["dumps"]["atticd"]["made"] is True and not result["changed"]
    assert dumps.started() == 1 and "--file=/dev/null" in dumps.restored()
    assert dumps.check()["dumps"]["atticd"]["made"] is False and dumps.started() == 1


def test_a_dump_that_fails_is_a_failure_with_its_journal(dumps: Dumps) -> None:
    dumps.unit("exit 1")
    result = dumps.check()
    assert "nixci-backup-atticd.service cannot dump the database 'atticd'" in result["msg"]
    assert "connection refused" in result["msg"] and "canary" not in str(result)
    dumps.unit("exit 0")
    assert "left no new dump of 'atticd'" in dumps.check()["msg"]


def test_a_copy_off_the_host_is_made_and_must_be_young(
    dumps: Dumps, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dump, "COPIES", str(tmp_path))
    state, name = tmp_path / "atticd.offsite", "atticd-20261126T120000Z.dump"

    def check(check: bool = False) -> dict[str, t.Any]:
        copies = [{"unit": "nixci-offsite.service", "databases": ["atticd"]}]
        return dumps.module("nixos_check", {"copies": copies, "timeout": 1}, check=check)

    assert check(check=True)["copies"] == {"atticd": None} and dumps.started() == 0
    dumps.unit("exit 1")
    assert "nixci-offsite.service cannot copy the dumps off the host" in check()["msg"]
    dumps.unit("true")
    assert "does not say that it copied a dump of 'atticd'" in check()["msg"]

    dumps.unit(f"echo {name} > {state}")
    started = dumps.started()
    for _ in range(2):
        made = check()
        assert made["copies"] == {"atticd": name} and not made["changed"]
        assert dumps.started() == started + 1
    a_day_and_more = time.time() - 27 * 3600
    os.utime(state, (a_day_and_more, a_day_and_more))
    assert not check().get("failed") and dumps.started() == started + 2


def test_a_dump_that_cannot_be_read_is_a_failure(dumps: Dumps) -> None:
    dumps.dump("atticd-20261126T120000Z.dump", 60)
    dumps.restore("echo 'pg_restore: error: did not find magic string in file header' >&2; exit 1")
    assert "cannot be read: pg_restore: error: did not find magic string" in dumps.check()["msg"]


def test_the_listener_must_belong_to_the_unit(
    module: t.Any,
    program: Program,
    serve: t.Callable[[t.Any], str],
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A container on the port is seen, whatever it answers."""

    def app(environ: t.Any, start: t.Any) -> list[bytes]:
        start("401 Unauthorized", [])
        return [b'{"code":401,"error":"Unauthorized"}']

    url = serve(app)
    entry = {"url": url, "unit": "atticd.service", "status": 401, "contains": "Unauthorized"}
    result = module("nixos_check", {"urls": [entry], "timeout": 1})
    assert f"(process {os.getpid()}, " in result["msg"] and "instead of atticd.service" in result["msg"]
    monkeypatch.setattr(listener, "_holders", lambda inodes: [(1, "0::/system.slice/atticd.service")] if inodes else [])
    result = module("nixos_check", {"urls": [entry], "timeout": 1})
    assert not result["failed"], result
    assert result["answers"] == [
        {
            "url": url,
            "host": None,
            "status": 401,
            "sha256": hashlib.sha256(b'{"code":401,"error":"Unauthorized"}').hexdigest(),
            "certificate_until": None,
        }
    ]
    free = f"http://127.0.0.1:{_free_port()}/"
    assert "Nothing listens on" in module("nixos_check", {"urls": [{**entry, "url": free}], "timeout": 1})["msg"]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", *ANY])
def test_listeners_are_found_by_address(address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as server:
        server.bind((address, 0))
        server.listen()
        port = server.getsockname()[1]
        host = ANY.get(address, address)
        assert f"(process {os.getpid()}, " in (listener.problem(host, port, "atticd.service") or "")
        if address == "127.0.0.1":
            assert "Nothing listens" in (listener.problem("127.0.0.2", port, "atticd.service") or "")


def test_a_server_of_another_kind_is_no_traceback(module: t.Any, program: Program) -> None:
    """Something may speak another protocol on the port, or answer what the expected server would not."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def speak() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    connection.sendall(b"SSH-2.0-OpenSSH_9.7\r\n")
                    connection.close()

        threading.Thread(target=speak, daemon=True).start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        assert f"{url} does not answer properly" in module("nixos_check", {"urls": [{"url": url}], "timeout": 1})["msg"]


def test_another_answer_than_expected_is_told(module: t.Any, program: Program, serve: t.Callable[[t.Any], str]) -> None:
    def app(environ: t.Any, start: t.Any) -> list[bytes]:
        start("302 Found", [("Location", "https://example.org/")])
        return [b"elsewhere"]

    url = serve(app)
    for entry, expected in (
        ({"status": 401}, "answers with status 302, but 401 is expected"),
        ({"contains": "Unauthorized"}, "without 'Unauthorized', so it is another server"),
    ):
        assert expected in module("nixos_check", {"urls": [{"url": url, **entry}], "timeout": 1})["msg"]
    assert module("nixos_check", {"urls": [{"url": url}], "timeout": 1})["answers"][0]["status"] == 302


def test_the_running_system_lists_its_own_checks(
    module: t.Any, program: Program, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = tmp_path / "manifest.json"
    monkeypatch.setattr(check, "MANIFEST", str(manifest))
    assert "built with the modules of this collection" in module("nixos_check", {"manifest": True})["msg"]
    manifest.write_text(json.dumps({"version": "0.0.1", "files": {}}))
    assert "another version of this collection" in module("nixos_check", {"manifest": True})["msg"]
    checks: dict[str, t.Any] = dict.fromkeys(("databases", "postgresql", "files", "logins", "dumps", "urls"), {})
    secret = {"files": {str(tmp_path / "absent"): "0400"}}
    manifest.write_text(json.dumps({"checks": {**checks, "units": ["a.service"], **secret}}))
    program("systemctl", f"{answer('active', 'running')}; echo; {answer('active', 'running')}")
    result = module("nixos_check", {"manifest": True, "units": ["b.service"], "timeout": 1})
    assert f"{tmp_path / 'absent'} cannot be found" in result["msg"]
    assert list(result["units"]) == ["b.service", "a.service"]


def test_a_mode_that_lost_its_quotes_is_named(module: t.Any, program: Program, tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").touch()
    for mode in ("rw", 999):
        assert "is not octal" in module("nixos_check", {"files": {str(tmp_path / "file"): mode}})["msg"]
