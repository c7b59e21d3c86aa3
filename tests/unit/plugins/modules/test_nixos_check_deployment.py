# SPDX-License-Identifier: GPL-3.0-or-later
"""nixos_check after a deployment: which units decide, how long they are observed, and probes from elsewhere."""

from __future__ import annotations

import contextlib
import datetime
import pathlib
import socket
import ssl
import threading
import time
import typing as t

import pytest
import trustme
from ansible_collections.pantheros.nixci.plugins.module_utils._nixos import check, unit_watch

Serve = t.Callable[[t.Any], str]


class Systemd:
    """A systemctl that prints what the test wrote down, per unit and per subcommand."""

    SCRIPT = """#!/bin/sh
case $1 in
  show) shift 3; first=1
    for unit; do [ $first ] || echo; first=;
      case $unit in *@.*) echo "Failed to get properties: Unit name $unit is neither a valid invocation ID nor unit name." >&2; exit 1 ;; esac
      if [ -e "{folder}/units/$unit" ]; then . "{folder}/units/$unit"; else echo LoadState=not-found; fi
    done ;;
  list-units) case $2 in --failed) cat "{folder}/failed" ;; *) cat "{folder}/moving" ;; esac ;;
  list-jobs) cat "{folder}/jobs" ;;
esac
"""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        (folder / "units").mkdir()
        for name in ("failed", "moving", "jobs"):
            (folder / name).touch()
        program(folder, "systemctl", self.SCRIPT.format(folder=folder))
        program(folder, "journalctl", '#!/bin/sh\necho "journal of $*"\n')

    def unit(self, name: str, active: str, sub: str, age: float = 3600, **more: t.Any) -> None:
        """A unit that has been in this state for so many seconds."""
        since = round((time.clock_gettime(time.CLOCK_MONOTONIC) - age) * 1e6)
        shown = {
            "LoadState": "loaded",
            "ActiveState": active,
            "SubState": sub,
            "ActiveEnterTimestampMonotonic": since if active == "active" else 0,
            "ExecMainStartTimestampMonotonic": since,
            "StateChangeTimestampMonotonic": since,
            "Type": "simple",
            **more,
        }
        (self.folder / "units" / name).write_text("".join(f"echo {key}={value}\n" for key, value in shown.items()))
        failed = self.folder / "failed"
        if active == "failed":
            failed.write_text(f"{failed.read_text()}{name} loaded failed failed A description\n")


def program(folder: pathlib.Path, name: str, script: str) -> None:
    (folder / name).write_text(script)
    (folder / name).chmod(0o755)


@pytest.fixture
def systemd(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Systemd:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(check, "PAUSE", 0.05)
    return Systemd(tmp_path)


def decisive(result: dict[str, t.Any]) -> dict[str, bool]:
    return {one["check"]: one["decisive"] for one in result["failures"]}


# -- which units decide


def test_a_changed_unit_that_fails_decides(module: t.Any, systemd: Systemd) -> None:
    systemd.unit("web.service", "failed", "failed", Result="exit-code")
    result = module("nixos_check", {"changed_units": ["web.service"], "grace": 1})
    assert result["failed"]
    assert decisive(result) == {"unit web.service": True} and result["ignored"] == []
    assert "web.service: failed (failed)" in result["msg"] and "journal of" in result["msg"]


def test_units_that_failed_before_or_are_unrelated_are_listed_only(module: t.Any, systemd: Systemd) -> None:
    systemd.unit("web.service", "active", "running")
    systemd.unit("backup.service", "failed", "failed")
    systemd.unit("other.service", "failed", "failed")
    systemd.unit("required.service", "failed", "failed")
    params = {
        "units": ["required.service"],
        "changed_units": ["web.service", "backup.service"],
        "ignore_failed": ["backup.service", "required.service"],
        "grace": 1,
    }
    result = module("nixos_check", params)
    assert not result["failed"], result
    assert set(result["ignored"]) == {"backup.service", "other.service", "required.service"}
    assert set(decisive(result).values()) == {False}
    assert [unit["decisive"] for unit in result["failed_units"]] == [False] * 3
    broken = module("nixos_check", {**params, "ignore_failed": ["required.service"]})
    assert broken["failed"] and decisive(broken)["unit backup.service"]
    assert "Also failed, but not because of this: required.service, other.service." in broken["msg"]


def test_without_changed_units_other_failures_of_the_host_are_not_looked_for(module: t.Any, systemd: Systemd) -> None:
    systemd.unit("web.service", "active", "running")
    systemd.unit("other.service", "failed", "failed")
    assert module("nixos_check", {"units": ["web.service"], "grace": 1})["ignored"] == []
    assert module("nixos_check", {"changed_units": [], "grace": 1})["ignored"] == ["other.service"]


def test_what_only_changed_need_not_run(module: t.Any, systemd: Systemd) -> None:
    systemd.unit("backup.service", "inactive", "dead", Type="oneshot", ExecMainStartTimestampMonotonic=0)
    systemd.unit("backup.timer", "active", "waiting", age=0, Type="")
    systemd.unit("setup.service", "active", "exited", age=0, Type="oneshot")
    systemd.unit("stopped.service", "inactive", "dead")
    names = ["backup.service", "backup.timer", "setup.service", "stopped.service", "gone.service", "template@.service"]
    started = time.monotonic()
    result = module("nixos_check", {"changed_units": names, "steady": 60, "grace": 1})
    assert not result["failed"], result
    assert time.monotonic() - started < 30


def test_a_required_task_must_have_ended_well(module: t.Any, systemd: Systemd) -> None:
    systemd.unit("task.service", "inactive", "dead", Type="oneshot", Result="success")
    assert not module("nixos_check", {"units": ["task.service"], "grace": 1})["failed"]
    systemd.unit("task.service", "inactive", "dead", Type="oneshot", ExecMainStartTimestampMonotonic=0)
    assert module("nixos_check", {"units": ["task.service"], "grace": 1})["failed"], "it never ran"
    systemd.unit("server.service", "inactive", "dead", ConditionResult="no")
    assert (
        "inactive (dead, its condition was not met)"
        in module("nixos_check", {"units": ["server.service"], "grace": 1})["msg"]
    )


# -- for how long


def test_a_unit_is_observed_to_the_end_even_after_the_grace_period(module: t.Any, systemd: Systemd) -> None:
    systemd.unit("web.service", "active", "running", age=0)
    started = time.monotonic()
    assert not module("nixos_check", {"changed_units": ["web.service"], "steady": 3, "grace": 1})["failed"]
    assert time.monotonic() - started >= 2.5


def test_a_unit_that_restarts_while_it_is_observed_fails(module: t.Any, systemd: Systemd) -> None:
    young = (
        "echo LoadState=loaded; echo ActiveState=active; echo SubState=running; echo NRestarts=7;"
        "echo ActiveEnterTimestampMonotonic=$(($(cut -d. -f1 /proc/uptime) - 2))000000\n"
    )
    (systemd.folder / "units" / "web.service").write_text(young)
    result = module("nixos_check", {"changed_units": ["web.service"], "steady": 4, "grace": 1})
    assert result["failed"]
    assert "restarted 7 times" in result["msg"]


@pytest.mark.parametrize(
    ("active", "sub"),
    [
        ("activating", "auto-restart"),
        ("activating", "auto-restart-queued"),
        ("activating", "start"),
        ("inactive", "dead-before-auto-restart"),
        ("failed", "failed-before-auto-restart"),
        ("deactivating", "stop-sigterm"),
    ],
)
def test_no_moment_of_a_restart_passes(module: t.Any, systemd: Systemd, active: str, sub: str) -> None:
    systemd.unit("web.service", active, sub, age=0)
    assert module("nixos_check", {"changed_units": ["web.service"], "grace": 1})["failed"]
    systemd.unit("task.service", "activating", "start", Type="oneshot")
    assert not module("nixos_check", {"changed_units": ["task.service"], "grace": 1})["failed"]


def test_the_commands_do_not_run_again_while_units_are_only_observed(
    module: t.Any, systemd: Systemd, tmp_path: pathlib.Path
) -> None:
    systemd.unit("web.service", "active", "running", age=0)
    log = tmp_path / "log"
    command = {"counted": ["sh", "-c", f"echo x >> {log}"]}
    module("nixos_check", {"changed_units": ["web.service"], "steady": 3, "commands": command, "grace": 9})
    assert len(log.read_text().splitlines()) == 2, "at first, and at the end"


def test_a_unit_that_failed_for_good_ends_the_grace_period(module: t.Any, systemd: Systemd) -> None:
    systemd.unit("web.service", "failed", "failed")
    started = time.monotonic()
    result = module("nixos_check", {"changed_units": ["web.service"], "ports": [1], "grace": 300})
    assert result["failed"] and time.monotonic() - started < 60
    assert "Failed, and nothing starts them again: web.service" in result["msg"]
    assert "port 1 of 127.0.0.1" in result["msg"], "all findings in one message"


@pytest.mark.parametrize("still", ["moving", "jobs", "young"])
def test_a_unit_that_may_recover_does_not_end_it(module: t.Any, systemd: Systemd, still: str) -> None:
    systemd.unit("web.service", "failed", "failed", age=0 if still == "young" else 3600)
    if still != "young":
        (systemd.folder / still).write_text("12 opnix.service start running\n")
    result = module("nixos_check", {"changed_units": ["web.service"], "grace": 1})
    assert "Not steadily active after 1 s" in result["msg"]


# -- probes


def test_ports(module: t.Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as unused:
        port = server.getsockname()[1]
        unused.bind(("127.0.0.1", 0))
        free = unused.getsockname()[1]
        for entry in (port, str(port), f"127.0.0.1:{port}", f"localhost:{port}"):
            assert not module("nixos_check", {"ports": [entry], "grace": 1})["failed"]
        result = module("nixos_check", {"ports": [port, f"127.0.0.1:{free}"], "grace": 1})
    assert result["msg"] == f"Nothing accepts connections on port {free} of 127.0.0.1: Connection refused."
    assert decisive(result) == {f"port 127.0.0.1:{free}": True}


@pytest.mark.parametrize("entry", ["ssh", "host:", "::1:22", "70000", 0, "a b:22"])
def test_a_port_that_is_none_is_refused_at_once(module: t.Any, entry: t.Any) -> None:
    assert (
        "neither a port from 1 to 65535 nor HOST:PORT" in module("nixos_check", {"ports": [entry], "grace": 300})["msg"]
    )


def test_an_address_of_version_6_needs_brackets(module: t.Any) -> None:
    with socket.socket(socket.AF_INET6) as server:
        server.bind(("::1", 0))
        server.listen()
        assert not module("nixos_check", {"ports": [f"[::1]:{server.getsockname()[1]}"], "grace": 1})["failed"]


def test_commands(module: t.Any, tmp_path: pathlib.Path) -> None:
    broken = tmp_path / "broken.sh"
    broken.write_text("echo it is broken, PASSWORD=canary-secret >&2; exit 4\n")
    commands = {
        "fine": ["true"],
        "status": {"argv": ["sh", "-c", "exit 3"], "rc": 3},
        "text": {"argv": ["echo", "hello"], "contains": "hello"},
    }
    assert not module("nixos_check", {"commands": commands, "grace": 1}, check=True)["failed"]
    bad = {
        "status": ["sh", str(broken)],
        "text": {"argv": ["echo", "hello"], "contains": "good bye"},
        "absent": ["no-such-program"],
        "slow": {"argv": ["sleep", "30"], "timeout": 1},
    }
    result = module("nixos_check", {"commands": bad, "grace": 1})
    for expected in (
        "The command status ends with status 4: it is broken, PASSWORD=***.",
        "The command text does not print 'good bye'.",
        "The program 'no-such-program' was not found on this host.",
        "'sleep 30' was not finished within 1 s",
    ):
        assert expected in result["msg"]
    assert "canary" not in str(result)
    assert set(decisive(result)) == {f"command {name}" for name in bad}


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("true", "is not a list of a program and its arguments"),
        ([], "is not a list of a program and its arguments"),
        ({"argv": ["true"], "shell": True}, "unknown key shell"),
        ({"argv": ["true"], "rc": "zero"}, "rc and timeout of probe must be numbers"),
        ({"argv": ["true"], "timeout": 0}, "timeout of probe must be from 1 to 600"),
    ],
)
def test_a_command_that_cannot_run_is_refused_at_once(module: t.Any, command: t.Any, expected: str) -> None:
    assert expected in module("nixos_check", {"commands": {"probe": command}, "grace": 300})["msg"]


def test_a_check_that_fails_is_repeated_within_the_grace_period(
    module: t.Any, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "PAUSE", 0.05)
    late = ["sh", "-c", f"test -e {tmp_path}/ready || {{ touch {tmp_path}/ready; exit 1; }}"]
    assert not module("nixos_check", {"commands": {"late": late}, "grace": 60})["failed"]


@pytest.fixture
def tls(tmp_path: pathlib.Path) -> t.Iterator[tuple[str, str]]:
    """A server with a certificate for cache.example.com that is valid for ten days, and the file of its authority."""
    authority = trustme.CA()
    until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=10, hours=1)
    certificate = authority.issue_cert("cache.example.com", not_after=until)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            while True:
                try:
                    connection, _peer = server.accept()
                except OSError:
                    return
                with contextlib.suppress(OSError), context.wrap_socket(connection, server_side=True) as secure:
                    secure.recv(4096)
                    secure.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nattic")

        threading.Thread(target=answer, daemon=True).start()
        yield f"https://127.0.0.1:{server.getsockname()[1]}/", str(tmp_path / "ca.pem")


def test_certificates(module: t.Any, tls: tuple[str, str]) -> None:
    url, authority = tls
    entry = {"url": url, "ca_path": authority, "certificate_name": "cache.example.com", "contains": "attic"}
    for days, fine in ((9, True), (11, False)):
        result = module("nixos_check", {"urls": [{**entry, "certificate_days": days}], "grace": 1})
        assert result["failed"] is not fine, result
        if not fine:
            assert f"The certificate of {url} is valid until 20" in result["msg"]
            assert "less than 11 days" in result["msg"]
        else:
            assert result["answers"][0]["certificate_until"].endswith("Z")
    other = module("nixos_check", {"urls": [{**entry, "certificate_name": "www.example.com"}], "grace": 1})
    assert "its certificate is not trusted (Hostname mismatch" in other["msg"]
    unknown = module("nixos_check", {"urls": [{**entry, "ca_path": None}], "grace": 1})
    assert "its certificate is not trusted (unable to get local issuer certificate)" in unknown["msg"]
    absent = module("nixos_check", {"urls": [{**entry, "ca_path": "/nonexistent.pem"}], "grace": 300})
    assert "certificates in /nonexistent.pem cannot be read" in absent["msg"]


def test_a_certificate_needs_https(module: t.Any) -> None:
    entry = {"url": "http://127.0.0.1/", "certificate_days": 3}
    assert "has no certificate to check" in module("nixos_check", {"urls": [entry], "grace": 300})["msg"]
    assert "is not a URL" in module("nixos_check", {"urls": [{"url": "cache.example.com"}], "grace": 300})["msg"]


def test_a_controller_needs_no_systemd(
    module: t.Any, serve: Serve, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def app(environ: t.Any, start: t.Any) -> list[bytes]:
        start("200 OK", [])
        return [b"hello"]

    monkeypatch.setenv("PATH", str(tmp_path))  # no systemctl, no journalctl
    url = serve(app)
    port = url.rstrip("/").rsplit(":", 1)[1]
    result = module("nixos_check", {"urls": [{"url": url, "status": 200}], "ports": [f"127.0.0.1:{port}"], "grace": 2})
    assert not result["failed"], result
    assert result["failures"] == [] and result["ignored"] == []


def test_kinds_of_checks_can_be_left_out(module: t.Any, systemd: Systemd) -> None:
    systemd.unit("web.service", "failed", "failed")
    checks = {"units": ["web.service"], "ports": [1], "files": {"/nonexistent": "0400"}, "grace": 1}
    result = module("nixos_check", {**checks, "skip": ["ports", "files"]})
    assert decisive(result) == {"unit web.service": True}
    assert not module("nixos_check", {**checks, "skip": ["units", "ports", "files"]})["failed"]


@pytest.mark.parametrize("steady", [1, 601])
def test_impossible_observations_are_refused(module: t.Any, steady: int) -> None:
    assert "steady must be from 2 to 600" in module("nixos_check", {"units": ["a.service"], "steady": steady})["msg"]
    assert unit_watch.SETTLED == 2
