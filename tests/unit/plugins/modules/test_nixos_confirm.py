# SPDX-License-Identifier: GPL-3.0-or-later
"""nixos_confirm, and what nixos_rebuild leaves for it, on the same small programs as nixos_rebuild."""

from __future__ import annotations

import fcntl
import json
import os
import pathlib
import typing as t

import pytest
from ansible_collections.pantheros.nixci.plugins.module_utils._nixos import deployment as _deployment

from .test_nixos_rebuild import Host, Run, host

__all__ = ["host"]

REBUILD, MODULE = "nixos_rebuild", "nixos_confirm"


def pending(module: Run, **params: t.Any) -> str:
    done = module(REBUILD, {"confirm_timeout": 100, **params})
    assert done["deployment"]["pending"], done
    return str(done["deployment"]["id"])


def rewrite(host: Host, **changes: str) -> None:
    file = pathlib.Path(_deployment.PENDING)
    values = dict(line.split("=", 1) for line in file.read_text().splitlines())
    file.write_text("".join(f"{key}={value}\n" for key, value in {**values, **changes}.items()))


@pytest.mark.parametrize("state", ["confirmed", "reverted"])
def test_check_predicts_the_run_and_a_second_run_does_nothing(host: Host, module: Run, state: str) -> None:
    params = {"state": state, "id": pending(module)}
    check = module(MODULE, params, check=True)
    assert _deployment.read() and host.profile == host.system("old")
    done = module(MODULE, params)
    assert (check["changed"], check["diff"]) == (done["changed"], done["diff"]) and done["changed"]
    end = host.system("new" if state == "confirmed" else "old")
    assert host.current == host.profile == end and not (host.root / "timer").exists()
    again = module(MODULE, params)
    assert not again["changed"] and not again["failed"] and again["record"] == done["record"]
    assert len(_deployment.records()) == 1


def test_the_revert_is_armed_before_the_activation_and_again_at_its_end(host: Host, module: Run) -> None:
    pending(module)
    runs = [line.split() for line in (host.root / "calls").read_text().splitlines() if line.startswith("systemd-run")]
    assert [run[1] for run in runs] == ["nixci-revert", "nixci-activation", "nixci-revert"]
    assert [run[2:] for run in runs] == [["1000"], [], ["100"]]


def test_the_record_has_what_the_run_knows(host: Host, module: Run) -> None:
    record = {"who": "alice", "controller": "laptop", "transport": "cache", "bytes": 5, "durations": {"copy": 0.5}}
    done = module(MODULE, {"id": pending(module, who="bob"), "record": record})
    [line] = _deployment.records()
    assert line == done["record"] and {**line, **record} == line
    assert (line["result"], line["to_generation"], line["from_generation"], line["pipeline"]) == (
        "confirmed",
        8,
        7,
        None,
    )
    assert (line["from"], line["to"], line["host"]) == (host.system("old"), host.system("new"), "web")


def test_another_deployment_is_not_confirmed(host: Host, module: Run) -> None:
    pending(module, who="alice")
    for state in ("confirmed", "reverted"):
        refused = module(MODULE, {"id": "0123456789ab", "state": state})
        assert refused["reason"] == "another_deployment" and "by alice since" in refused["msg"]
    assert host.profile == host.system("old") and _deployment.read()


def test_nothing_to_confirm(host: Host, module: Run) -> None:
    assert not module(MODULE, {})["changed"]
    assert module(MODULE, {"id": "0123456789ab"})["reason"] == "not_pending"


def test_a_late_confirmation_says_what_happened(host: Host, module: Run) -> None:
    name = pending(module)
    module(MODULE, {"state": "reverted", "reason": "The shop is closed"})
    for params in ({}, {"id": name}):
        late = module(MODULE, params)
        assert late["reason"] == "reverted" and "The shop is closed" in late["msg"]
    other = module(MODULE, {"state": "confirmed", "id": name}, check=True)
    assert other["failed"], "check mode refuses what the run refuses"


def test_what_was_confirmed_is_not_taken_back(host: Host, module: Run) -> None:
    name = pending(module)
    module(MODULE, {})
    refused = module(MODULE, {"state": "reverted", "id": name})
    assert refused["reason"] == "not_pending" and "was confirmed at" in refused["msg"]
    host.link("current-system", host.system("old"))
    moved = module(MODULE, {"id": name})
    assert moved["reason"] == "not_running" and "since then the host was switched" in moved["msg"]


def test_what_is_not_activated_is_not_confirmed(host: Host, module: Run) -> None:
    pending(module)
    rewrite(host, phase="armed")
    assert module(MODULE, {})["reason"] == "activating"
    rewrite(host, phase="activated")
    host.link("current-system", host.system("old"))
    assert module(MODULE, {})["reason"] == "not_running"


def test_it_waits_for_a_revert_no_longer_than_it_may(host: Host, module: Run) -> None:
    pending(module)
    with open(_deployment.LOCK, "a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert module(MODULE, {"timeout": 1})["reason"] == "locked"


def test_unconfirmed_deployments_are_not_overtaken(host: Host, module: Run) -> None:
    name = pending(module, who="alice")
    (host.root / "wanted").write_text(host.system("newer"))
    for check in (True, False):
        refused = module(REBUILD, {}, check=check)
        assert refused["reason"] == "unconfirmed" and "by alice since" in refused["msg"]
        assert refused["deployment"]["id"] == name
    assert host.current == host.system("new")


def test_a_deployment_without_its_timer_is_taken_back_by_the_next_run(host: Host, module: Run) -> None:
    """Killed in the moment before it was armed, or somebody has stopped the timer."""
    pending(module)
    (host.root / "timer").unlink()
    done = module(REBUILD, {})
    assert done["changed"] and host.profile == host.system("new"), done
    assert [record["result"] for record in _deployment.records()] == ["reverted", "confirmed"]


def test_a_system_that_was_not_confirmed_may_be_tried_twice(host: Host, module: Run) -> None:
    for _ in range(2):
        module(MODULE, {"id": pending(module), "state": "reverted", "reason": "not confirmed in time"})
    refused = module(REBUILD, {})
    assert refused["reason"] == "failed_system" and "force: [failed_system]" in refused["msg"]
    assert module(REBUILD, {}, check=True)["reason"] == "failed_system"
    assert not module(REBUILD, {"force": ["failed_system"]})["failed"]


def test_pins_of_confirmed_generations(host: Host, module: Run) -> None:
    """The newest ones stay, and those in use."""
    roots = pathlib.Path(_deployment.ROOTS)
    roots.mkdir(parents=True)
    for number, system in ((2, "booted"), (3, "three"), (4, "four"), (5, "five")):
        (roots / f"confirmed-{number}").symlink_to(host.system(system))
    host.link("booted-system", host.system("booted"))
    module(MODULE, {"id": pending(module), "keep_generations": 2})
    assert sorted(os.listdir(roots)) == ["confirmed-2", "confirmed-5", "confirmed-8"]


def test_who_cannot_or_must_not(host: Host, module: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "from 1 to 1000" in module(MODULE, {"keep_generations": 0})["msg"]
    assert "from 1 to 86400" in module(MODULE, {"timeout": 0})["msg"]
    assert "from 0 to 86400" in module(REBUILD, {"confirm_timeout": -1})["msg"]
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "become: true" in module(MODULE, {})["msg"]


# After a restart of the host


def restart(host: Host, system: str) -> None:
    (host.root / "boot-id").write_text("boot-2\n")
    host.link("current-system", host.system(system))
    (host.root / "timer").unlink(missing_ok=True)


def test_an_interrupted_deployment_is_recorded_and_not_to_blame(host: Host, module: Run) -> None:
    name = pending(module)
    restart(host, "old")
    late = module(MODULE, {"id": name})
    assert late["reason"] == "interrupted" and "restarted before" in late["msg"]
    assert module(REBUILD, {})["changed"]
    assert [record["result"] for record in _deployment.records()] == ["interrupted", "confirmed"]


def test_a_profile_that_was_set_before_the_restart_is_set_back(host: Host, module: Run) -> None:
    pending(module)
    rewrite(host, phase="confirming", permanent="yes")
    host.link("profiles/system-8-link", host.system("new"))
    host.link("profiles/system", "system-8-link")
    restart(host, "old")
    module(MODULE, {})
    assert host.profile == host.system("old") and not os.path.lexists(host.root / "profiles/system-8-link")


@pytest.mark.parametrize("booted", ["new", "old"])
def test_a_boot_is_confirmed_after_the_reboot(host: Host, module: Run, booted: str) -> None:
    name = pending(module, action="boot")
    assert not (host.root / "timer").exists(), "what does not run need not be left"
    restart(host, booted)
    done = module(MODULE, {"id": name})
    if booted == "new":
        assert done["changed"] and host.profile == host.system("new")
    else:
        assert done["reason"] == "reverted" and "booted" in done["msg"] and host.profile == host.system("old")


def test_a_booted_system_is_left_by_a_reboot(host: Host, module: Run) -> None:
    pending(module, action="boot")
    restart(host, "new")
    done = module(MODULE, {"state": "reverted", "reason": "no shop"})
    assert done["changed"] and host.profile == host.system("old") and host.calls()[-1] == "reboot"


# What a running system cannot replace, and who would be locked out


def test_an_inhibitor_becomes_a_boot_by_policy(host: Host, module: Run) -> None:
    for name, value in (("old", "dbus"), ("new", "broker")):
        (pathlib.Path(host.system(name)) / "switch-inhibitors").write_text(json.dumps({"bus": value, name: "own"}))
    shown = module(REBUILD, {"inhibitors": "boot"}, check=True)
    assert shown["inhibitors"] == {"bus": ["dbus", "broker"]} and shown["reboot_required"]
    assert "bus: dbus -> broker" in shown["diff"]["prepared"]
    done = module(REBUILD, {"inhibitors": "boot"})
    assert done["deployment"]["action"] == "boot" and done["reboot_required"]
    assert (host.current, host.profile) == (host.system("old"), host.system("new"))


def test_an_inhibitor_is_forced_but_not_a_changed_init(host: Host, module: Run) -> None:
    host.fail("init")
    assert module(REBUILD, {"inhibitors": "force"})["reason"] == "reboot_required"
    host.fail(None)
    for name, value in (("old", "dbus"), ("new", "broker")):
        (pathlib.Path(host.system(name)) / "switch-inhibitors").write_text(json.dumps({"bus": value}))
    assert not module(REBUILD, {"inhibitors": "force"})["failed"]
    assert host.current == host.profile == host.system("new")


def test_who_would_be_locked_out_is_refused(host: Host, module: Run) -> None:
    (host.root / "imports").unlink()
    manifest = pathlib.Path(host.system("new")) / "etc/nixci/manifest.json"
    manifest.parent.mkdir()
    manifest.write_text('{"access": {"ssh": {"enable": false}}}')
    access = {"user": "deploy", "port": 22}
    for check in (True, False):
        refused = module(REBUILD, {"access": access}, check=check)
        assert refused["reason"] == "lockout" and "SSH is off" in refused["msg"]
    assert host.current == host.system("old")
    done = module(REBUILD, {"access": access, "force": ["lockout"]})
    assert done["changed"] and done["access"] == ["SSH is off (services.openssh.enable)."]


def test_a_system_without_a_manifest_is_not_reviewed(host: Host, module: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    (host.root / "imports").unlink()
    monkeypatch.setenv("SSH_CONNECTION", "192.0.2.1 40000 192.0.2.2 22")
    assert "no manifest of ours" in module(REBUILD, {}, check=True)["access"][0]
    monkeypatch.delenv("SSH_CONNECTION")
    monkeypatch.delenv("SUDO_USER", raising=False)
    assert "set access" in module(REBUILD, {}, check=True)["access"][0]


def test_nothing_to_do_needs_no_lock(host: Host, module: Run) -> None:
    new = module(REBUILD, {})["store_path"]
    calls = len(host.calls())
    with open(host.root / "run/lock", "a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        done = module(REBUILD, {"store_path": new, "timeout": 1})
        assert not done["failed"] and not done["changed"] and done["deployment"]["id"] is None
    assert host.calls()[calls:] == []


def test_who_holds_the_lock_is_named(host: Host, module: Run) -> None:
    (host.root / "run").mkdir(exist_ok=True)
    with open(host.root / "run/lock", "a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write("alice since 2026-11-26T15:00:00Z\n")
        file.flush()
        refused = module(REBUILD, {"timeout": 1})
        assert refused["reason"] == "locked" and "(alice since 2026-11-26T15:00:00Z)" in refused["msg"]


def test_a_killed_run_that_confirms_by_itself_is_continued(host: Host, module: Run) -> None:
    pending(module)
    rewrite(host, confirm_timeout="0")
    (host.root / "wanted").write_text(host.system("newer"))
    done = module(REBUILD, {})
    assert done["deployment"]["previous"] == host.system("old"), "what was never confirmed is nothing to go back to"
    assert host.profile == host.system("newer")
    assert [record["result"] for record in _deployment.records()] == ["interrupted", "confirmed"]


def test_a_killed_confirmation_of_its_own_is_completed_by_the_next_run(host: Host, module: Run) -> None:
    name = pending(module)
    rewrite(host, confirm_timeout="0", phase="confirming", permanent="yes")
    done = module(REBUILD, {})
    assert done["deployment"]["id"] == name and host.profile == host.system("new")
    assert [record["result"] for record in _deployment.records()] == ["confirmed"]


def test_a_disk_that_fills_in_the_activation_is_a_reason_to_go_back(
    host: Host, module: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, seen = _deployment.write_file, []

    def full(path: str, text: str) -> None:
        if path == _deployment.PENDING:
            seen.append(path)
            if len(seen) == 2:
                path = "/dev/full/deployment"
        write(path, text)

    monkeypatch.setattr(_deployment, "write_file", full)
    done = module(REBUILD, {})
    assert (done["reason"], done["cause"]) == ("reverted", "not_written") and "cannot be written" in done["msg"], done
    assert host.current == host.profile == host.system("old") and _deployment.read() is None
