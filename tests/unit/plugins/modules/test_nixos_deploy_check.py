# SPDX-License-Identifier: GPL-3.0-or-later
"""nixos_deploy_check on a folder that looks like a host."""

from __future__ import annotations

import contextlib
import fcntl
import inspect
import json
import os
import pathlib
import re
import stat
import subprocess
import time
import typing as t
from collections.abc import Iterator

import pytest
from ansible_collections.pantheros.nixci.plugins.module_utils._nixos import (
    caches,
    check,
    deployment,
    readiness,
    rollback,
)
from ansible_collections.pantheros.nixci.plugins.plugin_utils._deploy import glance

BOOT_ID = "0f1e2d3c-boot"
Statvfs = t.Callable[..., None]


class Machine:
    """The files of a NixOS host that the module reads."""

    def __init__(self, folder: pathlib.Path, patch: pytest.MonkeyPatch, module: t.Any) -> None:
        self.folder, self.module = folder, module
        for name in ("store", "profiles", "boot", "state/failed"):
            (folder / name).mkdir(parents=True)
        self.current, self.booted = folder / "current-system", folder / "booted-system"
        self.profile, self.record = folder / "profiles/system", folder / "deployments.jsonl"
        self.pending, self.lock = folder / "state/deployment", folder / "lock"
        (folder / "boot_id").write_text(f"{BOOT_ID}\n")
        for name, path in {
            "CURRENT_SYSTEM": self.current,
            "BOOTED_SYSTEM": self.booted,
            "PROFILE": self.profile,
            "STORE": folder / "store",
            "BOOT": folder / "boot",
            "LOCK": self.lock,
            "UNFINISHED": folder / "unfinished",
        }.items():
            patch.setattr(readiness, name, str(path))
        patch.setattr(rollback, "PROFILE", str(self.profile))
        for name, path in {
            "BOOT_ID": folder / "boot_id",
            "PENDING": self.pending,
            "FAILED": folder / "state/failed",
            "RECORD": self.record,
        }.items():
            patch.setattr(deployment, name, str(path))
        patch.setattr(caches, "NETRC", str(folder / "netrc"))
        patch.setattr(caches, "CONFIGURATION", str(folder / "nix.conf"))
        self.first = self.system("first")
        self.run(self.generation(1, self.first))

    def system(self, name: str, **manifest: t.Any) -> str:
        path = self.folder / "store" / f"{name:0<32}-nixos-system-web-25.11"
        (path / "bin").mkdir(parents=True)
        (path / "bin/switch-to-configuration").touch()
        (path / "etc/nixci").mkdir(parents=True)
        (path / "etc/nixci/manifest.json").write_text(json.dumps(manifest))
        return str(path)

    def generation(self, number: int, system: str) -> str:
        link = self.folder / f"profiles/system-{number}-link"
        link.symlink_to(system)
        self.profile.unlink(missing_ok=True)
        self.profile.symlink_to(link.name)
        return system

    def run(self, system: str) -> None:
        for link in (self.current, self.booted):
            link.unlink(missing_ok=True)
            link.symlink_to(system)

    def confirmed(self, before: str, after: str, number: int, result: str = "confirmed") -> None:
        line = {"result": result, "from": before, "to": after, "from_generation": number}
        with self.record.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def wait_for_confirmation(self, system: str, **values: t.Any) -> None:
        found = {"id": "7", "system": system, "action": "switch", "phase": "activated", "boot_id": BOOT_ID,
                 "started": int(time.time()), "confirm_timeout": 120, "who": "ada@laptop", **values}  # fmt: skip
        self.pending.write_text("".join(f"{key}={value}\n" for key, value in found.items()))

    def look(self, **params: t.Any) -> t.Any:
        found = self.module("nixos_deploy_check", params)
        assert not found["failed"] and not found["changed"], found
        return found


@pytest.fixture
def machine(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, module: t.Any) -> Machine:
    return Machine(tmp_path, monkeypatch, module)


@pytest.fixture
def space(monkeypatch: pytest.MonkeyPatch) -> Statvfs:
    """Lets every file system have so many bytes and inodes left."""

    def left(free: int, inodes: int = 10**6) -> None:
        values = (4096, 1, 10**9, free, free, 10**6, inodes, inodes, 0, 255)
        monkeypatch.setattr(os, "statvfs", lambda _path: os.statvfs_result(values))

    return left


def test_a_ready_host_has_no_problem(machine: Machine) -> None:
    other = machine.system("other", checks=dict.fromkeys(readiness.CHECKS, {}))
    found = machine.look(store_path=other)
    assert found["problems"] == [] and found["present"] and found["manifest"] and not found["current"]
    assert found["running"]["system"] == found["running"]["profile"] == machine.first
    assert found["running"]["generation"] == 1 and found["missing_bytes"] == 0


def test_a_manifest_of_another_version_is_not_read(machine: Machine) -> None:
    other = machine.system("other", checks={"units": []})
    assert not machine.look(store_path=other)["manifest"]
    listed = with_manifest_keys()
    assert listed == readiness.CHECKS


def with_manifest_keys() -> set[str]:
    """What nixos_check takes from a manifest."""
    return set(re.findall(r'listed\["(\w+)"\]', inspect.getsource(check.with_manifest)))


def test_the_running_system_is_current(machine: Machine) -> None:
    assert machine.look(store_path=machine.first)["current"]
    other = machine.system("other")
    machine.run(other)
    assert not machine.look(store_path=other)["current"], "it does not boot"
    assert machine.look(store_path=other, action="test")["current"]
    (machine.folder / "unfinished").write_text(machine.first)
    assert not machine.look(store_path=machine.first)["current"], "an activation was interrupted"


def test_what_is_no_system_is_refused(machine: Machine) -> None:
    (machine.folder / "store/hello").mkdir()
    (problem,) = machine.look(store_path=str(machine.folder / "store/hello"))["problems"]
    assert "is not a NixOS system" in problem


def test_a_full_disk_is_found_from_what_is_missing(machine: Machine, space: Statvfs) -> None:
    there, missing = machine.system("there"), str(machine.folder / "store/missing")
    space(300 << 20)
    assert machine.look(store_path=missing, closure={there: 500 << 20, missing: 200 << 20})["problems"] == []
    found = machine.look(store_path=missing, closure={there: 1, missing: 250 << 20})
    assert found["missing_bytes"] == 250 << 20
    assert "has 300 MiB left, but the system needs 250 MiB more" in found["problems"][0]
    assert "needs 250 MiB more" in machine.look(store_path=missing, need_bytes=250 << 20)["problems"][0]


def test_a_system_that_locks_out_who_deploys_is_refused_although_it_is_only_evaluated(machine: Machine) -> None:
    good, missing = access(), str(machine.folder / "store/missing")
    login = {"user": "deploy", "port": 22, "keys": [KEY], "sudo": True}
    machine.run(machine.system("running", access=good))

    def problems(manifest: dict[str, t.Any], **params: t.Any) -> list[str]:
        return list(machine.look(store_path=missing, access=login, manifest=manifest, copy="ssh", **params)["problems"])

    assert problems({"access": good}) == problems({}) == []
    closed = {"access": {**good, "ssh": {**good["ssh"], "ports": [2222]}, "users": {}}}
    (problem,) = problems(closed)
    assert "would lock out who deploys it. SSH does not listen on port 22, but on 2222" in problem
    assert "The user 'deploy' does not exist" in problem and "deploy_force: [lockout]" in problem
    forced = machine.look(store_path=missing, access=login, manifest=closed, copy="ssh", force=["lockout"])
    assert forced["problems"] == [] and "as deploy_force demands" in forced["notes"][0]
    machine.run(machine.system("closed", **closed))
    assert problems(closed) == [], "so it is already"


def test_a_system_that_is_here_says_itself_whom_it_locks_out(machine: Machine) -> None:
    off = {**access(), "ssh": {**access()["ssh"], "enable": False}}
    (problem,) = machine.look(store_path=machine.system("off", access=off), access={"user": "root"})["problems"]
    assert "SSH is off" in problem


KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGOOD"


def access() -> dict[str, t.Any]:
    return {
        "ssh": {"enable": True, "ports": [22], "permitRootLogin": "no"},
        "firewall": {"enable": True, "tcpPorts": [22]},
        "users": {"deploy": {"keys": [KEY], "groups": [], "wheel": True}},
        "sudo": {"enable": True},
    }


def test_the_checks_of_a_system_are_known_before_it_is_here(machine: Machine) -> None:
    listed = {"checks": dict.fromkeys(readiness.CHECKS, {})}
    assert machine.look(store_path=str(machine.folder / "store/missing"), manifest=listed, copy="ssh")["manifest"]


def test_inodes_are_counted(machine: Machine, space: Statvfs) -> None:
    space(1 << 40, inodes=900)
    assert "900 inodes left" in machine.look(store_path=machine.system("other"))["problems"][0]


def test_boot_needs_space_for_a_new_kernel_only(machine: Machine, space: Statvfs) -> None:
    other = machine.system("other")
    for name in ("kernel", "initrd"):
        file = machine.folder / "store" / f"{name:0<32}-linux/{name}"
        file.parent.mkdir()
        file.write_bytes(b"x" * (1 << 20))
        (pathlib.Path(other) / name).symlink_to(file)
    space(70 << 20)
    assert machine.look(store_path=other)["problems"] == [], "the boot loader reads the store"
    copies = machine.folder / "boot/EFI/nixos"
    copies.mkdir(parents=True)
    assert readiness.kernel_bytes(other) == 2 << 20
    (copies / f"{'kernel':0<32}-linux-bzImage.efi").touch()
    assert readiness.kernel_bytes(other) == 1 << 20
    space(1 << 20)
    problems = machine.look(store_path=other)["problems"]
    assert any("boot has 1 MiB left, but kernel and initrd" in one for one in problems)
    assert not any("boot has" in one for one in machine.look(store_path=other, action="test")["problems"])


def test_an_unconfirmed_deployment_is_named(machine: Machine) -> None:
    other = machine.system("other")
    machine.wait_for_confirmation(other)
    found = machine.look(store_path=machine.system("third"))
    (problem,) = found["problems"]
    assert "begun by ada@laptop at " in problem and "goes back by itself in about " in problem
    pending = deployment.read()
    assert pending and "in about 20 s" in readiness.unconfirmed_sentence(pending, pending.started + 100)
    assert found["unconfirmed"]["id"] == "7"
    assert not machine.look(store_path=machine.first)["current"], "the host does not stay as it is"


def test_one_that_a_reboot_ended_is_no_obstacle(machine: Machine) -> None:
    machine.wait_for_confirmation(machine.system("other"), boot_id="before")
    found = machine.look(store_path=machine.system("third"))
    assert found["problems"] == [] and "interrupted by a reboot" in found["notes"][0]


def test_a_system_that_was_booted_waits_for_its_confirmation(machine: Machine) -> None:
    other = machine.system("other")
    machine.run(other)
    machine.wait_for_confirmation(other, action="boot", boot_id="before")
    found = machine.look(store_path=other)
    assert found["resume"] == "7" and found["problems"] == [] and not found["current"]
    assert machine.look(store_path=machine.first)["problems"], "of another system, it is not confirmed"


def test_a_running_build_is_named(machine: Machine) -> None:
    with holding(machine.lock, "ada@laptop 2026-11-26 15:00:00 UTC"):
        (problem,) = machine.look(store_path=machine.first)["problems"]
        assert "(ada@laptop 2026-11-26 15:00:00 UTC)" in problem
    assert machine.look(store_path=machine.first)["problems"] == [], "the text alone is no lock"


@contextlib.contextmanager
def holding(lock: pathlib.Path, who: str) -> Iterator[None]:
    with lock.open("w") as file:
        file.write(who)
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def test_a_clock_that_differs_is_a_warning(machine: Machine) -> None:
    warned = machine.look(store_path=machine.first, time=time.time() - 3600)["notes"]
    assert "s ahead of the controller's" in warned[0]
    assert not machine.look(store_path=machine.first, time=time.time()).get("notes")


def test_a_stale_plan_is_refused(machine: Machine) -> None:
    other, third = machine.system("other"), machine.system("third")
    (problem,) = machine.look(store_path=other, expected=third)["problems"]
    assert "make a new plan" in problem
    assert machine.look(store_path=machine.first, expected=third)["problems"] == [], "it was applied already"


def test_a_system_that_was_taken_back_needs_force(machine: Machine) -> None:
    other = machine.system("other")
    (machine.folder / "state/failed" / os.path.basename(other)).write_text("caddy.service failed\n2026-11-26\n")
    assert "taken back: caddy.service failed (2026-11-26)." in machine.look(store_path=other)["problems"][0]
    assert machine.look(store_path=other, force=["failed_system"])["problems"] == []


def test_a_cache_that_is_down_is_a_warning_if_ssh_will_do(machine: Machine) -> None:
    missing = {"store_path": str(machine.folder / "store/missing"), "caches": [{"url": "http://127.0.0.1:9/ci"}]}
    found = machine.look(**missing)
    assert found["problems"] == [] and "goes over SSH" in found["notes"][0]
    assert "cannot be reached" in machine.look(**missing, copy="cache")["problems"][0]


def test_a_cache_must_sign_with_the_expected_key(machine: Machine, serve: t.Any) -> None:
    name = f"{'missing':0<32}"

    def app(environ: t.Any, start: t.Any) -> list[bytes]:
        path = environ["PATH_INFO"]
        start("200 OK" if path in ("/ci/nix-cache-info", f"/ci/{name}.narinfo") else "404 Not Found", [])
        return [b"StorePath: x\nSig: other-1:abc\n"]

    url = serve(app)
    params = {"store_path": str(machine.folder / f"store/{name}-nixos"), "copy": "cache"}
    assert machine.look(**params, caches=[{"url": f"{url}/ci", "key": "other-1:key"}])["problems"] == []
    (problem,) = machine.look(**params, caches=[{"url": f"{url}/ci", "key": "ci:key"}])["problems"]
    assert "signs with the key other-1, but the host trusts ci" in problem


def test_the_caches_are_those_of_the_host(machine: Machine) -> None:
    (machine.folder / "nix.conf").write_text(
        "substituters = http://127.0.0.1:9/ci?priority=10\nextra-trusted-public-keys = ci:key # ours\n"
    )
    missing = {"store_path": str(machine.folder / "store/missing")}
    assert "http://127.0.0.1:9/ci cannot be reached" in machine.look(**missing)["notes"][0]
    assert machine.look(**missing, copy="ssh")["notes"] == []
    assert caches.configured() == [{"url": "http://127.0.0.1:9/ci", "keys": ["ci:key"]}]


# Which system a rollback brings back


def test_without_a_record_it_is_the_generation_before(machine: Machine) -> None:
    assert "no earlier system" in machine.look(generation="previous")["problems"][0]
    machine.run(machine.generation(2, machine.system("second")))
    assert machine.look(generation="previous")["store_path"] == machine.first


def test_a_second_rollback_takes_the_first_one_back(machine: Machine) -> None:
    second, third = machine.system("second"), machine.system("third")
    machine.confirmed(machine.first, second, 1)
    machine.confirmed(second, third, 2)
    machine.run(machine.generation(3, third))
    assert machine.look(generation="previous")["store_path"] == second
    machine.confirmed(third, second, 3)
    machine.run(machine.generation(4, second))
    assert machine.look(generation="previous")["store_path"] == third


def test_what_was_taken_back_or_collected_is_no_target(machine: Machine) -> None:
    second, bad = machine.system("second"), machine.system("bad")
    machine.confirmed(machine.first, second, 1)
    machine.confirmed(second, bad, 2, result="reverted")
    machine.run(machine.generation(2, second))
    assert machine.look(generation="previous")["store_path"] == machine.first
    machine.confirmed("/nix/store/collected", second, 2)
    assert machine.look(generation="previous")["store_path"] == machine.first


def test_a_tested_system_goes_back_to_what_boots(machine: Machine) -> None:
    tested = machine.system("tested")
    machine.confirmed(machine.first, tested, 1, result="tested")
    machine.run(tested)
    assert machine.look(generation="previous")["store_path"] == machine.first


def test_a_generation_by_its_number(machine: Machine) -> None:
    assert machine.look(generation="1")["current"]
    assert "no generation 9; it has 1" in machine.look(generation="9")["problems"][0]


def test_a_line_cut_off_by_a_crash_is_left_out(machine: Machine) -> None:
    second = machine.system("second")
    machine.confirmed(machine.first, second, 1)
    machine.record.write_text(machine.record.read_text() + '{"result": "conf')
    machine.run(machine.generation(2, second))
    assert machine.look(generation="previous")["store_path"] == machine.first


# The action looks with a shell first, and runs the module only if there is something to do.


def glanced(machine: Machine, system: str, action: str = "switch", **replaced: str) -> t.Any:
    script = glance.SCRIPT.read_text()
    places = {
        "$(id -u)": "0",
        "/run/current-system": str(machine.current),
        "/run/booted-system": str(machine.booted),
        "/nix/var/nix/profiles/system": str(machine.profile),
        "/run/nixci/lock": str(machine.lock),
        "/run/nixci/unfinished-activation": str(machine.folder / "unfinished"),
        "/var/lib/nixci/deployment": str(machine.pending),
        "/proc/sys/kernel/random/boot_id": str(machine.folder / "boot_id"),
        **replaced,
    }
    for old, new in places.items():
        assert old in script, old
        script = script.replace(old, new)
    done = subprocess.run(["sh", "-c", script, "sh", system], capture_output=True, text=True, check=True)
    return glance.nothing_to_do(done.stdout, action)


def runnable(machine: Machine, name: str, number: int, **manifest: t.Any) -> str:
    system = machine.generation(number, machine.system(name, **manifest))
    program = pathlib.Path(system, "bin/switch-to-configuration")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    pathlib.Path(system, "etc/hostname").write_text("web\n")
    machine.run(system)
    return system


@pytest.mark.parametrize("action", ["switch", "boot", "test"])
def test_a_glance_says_what_the_module_says(machine: Machine, action: str) -> None:
    checks = dict.fromkeys(readiness.CHECKS, {})
    system = runnable(machine, "other", 2, revision="abc", checks=checks)
    found = machine.look(store_path=system, action=action)
    seen = glanced(machine, system, action)
    assert seen and seen["current"] and seen["manifest"] and seen["running"]["revision"] == "abc"
    assert seen == {name: found[name] for name in seen}
    assert glanced(machine, str(machine.profile), action) == seen, "a link to the system"


@pytest.mark.parametrize("what", ["unfinished", "state/deployment"])
def test_a_glance_leaves_what_was_interrupted_to_the_module(machine: Machine, what: str) -> None:
    system = runnable(machine, "other", 2)
    assert glanced(machine, system)
    (machine.folder / what).write_text("id=7\n")
    assert glanced(machine, system) is None


def test_a_glance_leaves_another_run_to_the_module(machine: Machine) -> None:
    system = runnable(machine, "other", 2)
    machine.lock.touch()
    assert glanced(machine, system)
    with machine.lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert glanced(machine, system) is None


def test_a_glance_leaves_everything_else_to_the_module(machine: Machine) -> None:
    system = runnable(machine, "other", 2)
    assert glanced(machine, machine.first) is None, "another system runs"
    assert glanced(machine, system, **{"$(id -u)": "1000"}) is None, "not root"
    assert glanced(machine, system, **{"$(date +%s)": str(int(time.time()) - 3600)}) is None, "the clock differs"
    machine.booted.unlink()
    machine.booted.symlink_to(machine.first)
    assert glanced(machine, system) and glanced(machine, system, "boot") is None
    pathlib.Path(system, "etc/nixci/manifest.json").write_text("[")
    assert glanced(machine, system) is None, "a manifest that cannot be read"
    assert glance.nothing_to_do("sh: not found", "switch") is None
