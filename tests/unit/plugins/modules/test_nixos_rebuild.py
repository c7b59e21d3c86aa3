# SPDX-License-Identifier: GPL-3.0-or-later
"""nixos_rebuild against a host made of links and small programs that speak as NixOS' own do."""

from __future__ import annotations

import os
import pathlib
import stat
import typing as t

import pytest
from ansible_collections.pantheros.nixci.plugins.module_utils._nixos import host as _nixos

MODULE = "nixos_rebuild"

# FAKE/fail selects what goes wrong; FAKE/calls is the journal of all calls.
REBUILD = """
echo "nixos-rebuild $*" >> {root}/calls
[ "$LC_ALL" = C ] || {{ echo "wrong locale" >&2; exit 1; }}
case "$1:$(cat {root}/fail 2>/dev/null)" in
  build:evaluation) cat {root}/evaluation.txt >&2; exit 1 ;;
  build:build) cat {root}/build.txt >&2; exit 1 ;;
  build:slow) sleep 30 ;;
esac
wanted=$(cat {root}/wanted)
if [ "$1" = build ]; then ln -sfn "$wanted" result; echo "$wanted"; exit 0; fi
ln -sfn "$wanted" {root}/profiles/system-8-link; ln -sfn system-8-link {root}/profiles/system
case "$(cat {root}/fail 2>/dev/null)" in
  reboot) status=100 ;;
  race) echo "Failed to start transient service unit: Unit x.service was already loaded" >&2; exit 1 ;;
  *) ln -sfn "$wanted" {root}/current-system
     case "$(cat {root}/fail 2>/dev/null)" in
       script) status=2; echo "Activation script snippet 'etc' failed (1)" >&2 ;;
       units) status=4; echo "warning: the following units failed: atticd.service, other.service" >&2 ;;
       classic) echo "warning: the following units failed: atticd.service" >&2
                echo "warning: error(s) occurred while switching to the new configuration" >&2; exit 1 ;;
       unnamed) status=4 ;;
     esac ;;
esac
[ -z "$status" ] || {{ echo "Command '['systemd-run', '$wanted/bin/switch-to-configuration', 'switch']'" \
  "returned non-zero exit status $status." >&2; exit 1; }}
"""
SWITCH = """
echo "switch-to-configuration $*" >> {root}/calls
case "$(cat {root}/fail 2>/dev/null)" in
  locked) echo "Could not acquire lock" >&2; exit 11 ;;
  check) echo "Pre-switch check 'ports' failed" >&2; exit 1 ;;
esac
echo "would restart the following units: caddy.service, atticd.service" >&2
echo "would start the following units: atticd-gc.timer" >&2
"""
JOURNALCTL = """
echo "journalctl $*" >> {root}/calls
case "$*" in *atticd.service*) cat {root}/journal.txt ;; esac
"""
EVALUATION = """\
building the system configuration...
error:
       … while calling the 'head' builtin
         at /nix/store/abc-source/lib/attrsets.nix:1534:13:
         1533|           || pred here (elemAt values 1) (head values) then
         1534|             head values
             |             ^
       … while evaluating the attribute 'value'
         at /nix/store/abc-source/lib/modules.nix:816:9:

       (stack trace truncated; use '--show-trace' to show the full, detailed trace)

       error: A definition for option `nixci.attic.listen' is not of type `string'. Definition values:
       - In `/etc/nixos/nixci/settings/attic.json': 8080
Command 'nix-build '<nixpkgs/nixos>' -A config.system.build.toplevel' returned non-zero exit status 1.
"""
BUILD = """\
building the system configuration...
error: builder for '/nix/store/abc-caddyfile.drv' failed with exit code 1;
       last 2 log lines:
       > API_TOKEN=canary-in-build-log
       > Error: unrecognized directive
       For full logs, run 'nix log /nix/store/abc-caddyfile.drv'.
error: 1 dependencies of derivation '/nix/store/def-system.drv' failed to build
"""
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.canary-signature"
JOURNAL = f"""\
Attic Server 0.1.0 (release)
AWS_SECRET_ACCESS_KEY=canary-secret-key
refused: Authorization: Bearer canary-bearer-token
token {JWT}
Error: Database error: connection refused
"""


class Host:
    """What the fake programs see and leave."""

    def __init__(self, root: pathlib.Path) -> None:
        self.root = root

    def program(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("#!/bin/sh\n" + text.format(root=self.root))
        file.chmod(file.stat().st_mode | stat.S_IXUSR)

    def system(self, name: str) -> str:
        self.program(f"store/{name}/bin/switch-to-configuration", SWITCH)
        return str(self.root / "store" / name)

    def link(self, name: str, target: str) -> None:
        link = self.root / name
        link.parent.mkdir(exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(target)

    def fail(self, how: str | None) -> None:
        (self.root / "fail").write_text(how or "")

    def calls(self) -> list[str]:
        file = self.root / "calls"
        return [line.split(" --flake")[0] for line in file.read_text().splitlines()] if file.exists() else []

    @property
    def current(self) -> str:
        return os.path.realpath(self.root / "current-system")


@pytest.fixture
def host(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    host = Host(tmp_path)
    for name, text in (
        ("nixos-rebuild", REBUILD),
        ("journalctl", JOURNALCTL),
        ("systemctl", "echo 'x.service loaded'"),
    ):
        host.program(f"bin/{name}", text)
    host.link("current-system", host.system("old"))
    host.link("profiles/system-7-link", host.system("old"))
    host.link("profiles/system", "system-7-link")
    (tmp_path / "wanted").write_text(host.system("new"))
    (tmp_path / "evaluation.txt").write_text(EVALUATION)
    (tmp_path / "build.txt").write_text(BUILD)
    (tmp_path / "journal.txt").write_text(JOURNAL)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(_nixos, "CURRENT_SYSTEM", str(tmp_path / "current-system"))
    monkeypatch.setattr(_nixos, "PROFILE", str(tmp_path / "profiles/system"))
    monkeypatch.setattr(_nixos, "UNFINISHED", str(tmp_path / "run/unfinished"))
    return host


Run = t.Callable[..., dict[str, t.Any]]


def test_check_predicts_the_run_and_a_second_run_does_nothing(host: Host, module: Run) -> None:
    old, new = host.system("old"), host.system("new")
    check = module(MODULE, {}, check=True)
    assert check["changed"] and host.current == old
    assert check["system"] == {"path": new, "previous": old, "generation": 7, "activated": False}
    done = module(MODULE, {})
    assert done["changed"] and host.current == new
    assert (done["diff"], done["units"]) == (check["diff"], check["units"])
    assert done["system"] == {"path": new, "previous": old, "generation": 8, "activated": True}
    calls = len(host.calls())
    again = module(MODULE, {})
    assert not again["changed"] and not again["failed"]
    assert host.calls()[calls:] == ["nixos-rebuild build"]


def test_the_units_that_would_be_touched_are_told(host: Host, module: Run) -> None:
    result = module(MODULE, {}, check=True)
    assert result["units"] == {
        "stop": [],
        "restart": ["caddy.service", "atticd.service"],
        "reload": [],
        "start": ["atticd-gc.timer"],
    }
    assert "restart: caddy.service, atticd.service\n" in result["diff"]["prepared"]


def test_closure_changes_are_part_of_the_diff(host: Host, module: Run) -> None:
    host.program("bin/nix", "printf 'caddy: 2.8 → 2.9, \\033[31;1m+12.0 KiB\\033[0m\\n'")
    assert "caddy: 2.8 → 2.9, +12.0 KiB\n" in module(MODULE, {}, check=True)["diff"]["prepared"]


def test_the_flake_is_used_for_build_and_switch(host: Host, module: Run) -> None:
    module(MODULE, {"flake": "/etc/nixos#hetzner-vps"})
    lines = (host.root / "calls").read_text().splitlines()
    assert [line for line in lines if line.endswith("--flake /etc/nixos#hetzner-vps")] == [lines[0], lines[-1]]


def test_a_system_that_runs_but_would_not_boot_is_switched_to(host: Host, module: Run) -> None:
    host.link("current-system", host.system("new"))
    result = module(MODULE, {})
    assert result["changed"] and result["system"]["generation"] == 8


def test_evaluation_error_names_option_and_file_first_and_changes_nothing(host: Host, module: Run) -> None:
    host.fail("evaluation")
    result = module(MODULE, {})
    assert result["failed"] and not result["changed"] and result["reason"] == "evaluation"
    assert result["msg"].splitlines() == [
        "The configuration is wrong; nothing was activated:",
        "A definition for option `nixci.attic.listen' is not of type `string'. Definition values:",
        "- In `/etc/nixos/nixci/settings/attic.json': 8080",
    ]
    assert host.calls() == ["nixos-rebuild build"]
    host.fail(None)
    assert module(MODULE, {})["changed"]


def test_build_failure_shows_the_log_of_the_first_builder(host: Host, module: Run) -> None:
    host.fail("build")
    result = module(MODULE, {})
    assert result["reason"] == "build" and host.current == host.system("old")
    assert "builder for '/nix/store/abc-caddyfile.drv' failed" in result["msg"].splitlines()[1]
    assert "unrecognized directive" in result["msg"] and "canary" not in str(result)


@pytest.mark.parametrize("how", ["units", "classic"])
def test_failed_units_are_named_with_their_journal_and_no_secret(host: Host, module: Run, how: str) -> None:
    host.fail(how)
    result = module(MODULE, {})
    assert result["failed"] and result["changed"] and result["reason"] == "units_failed"
    assert result["system"]["activated"] is True
    assert result["failed_units"][0]["name"] == "atticd.service"
    assert "activated, but these units failed: atticd.service" in result["msg"]
    assert "Database error: connection refused" in result["msg"]
    assert "canary" not in str(result)


def test_units_that_the_text_does_not_name_are_asked_for(host: Host, module: Run) -> None:
    host.fail("unnamed")
    assert [unit["name"] for unit in module(MODULE, {})["failed_units"]] == ["x.service"]


def test_after_failed_units_the_next_run_activates_again(host: Host, module: Run) -> None:
    host.fail("units")
    assert module(MODULE, {})["failed"]
    host.fail(None)
    assert module(MODULE, {})["changed"]
    assert not module(MODULE, {})["changed"]


def test_an_activation_that_broke_off_is_repeated(host: Host, module: Run) -> None:
    # as a killed run leaves it: links already moved, units not yet handled
    host.link("current-system", host.system("new"))
    host.link("profiles/system-8-link", host.system("new"))
    host.link("profiles/system", "system-8-link")
    (host.root / "run").mkdir()
    (host.root / "run/unfinished").write_text(host.system("new"))
    assert module(MODULE, {}, check=True)["changed"]
    assert module(MODULE, {})["changed"]
    assert not module(MODULE, {})["changed"]


@pytest.mark.parametrize(
    ("how", "reason", "words", "activated"),
    [
        ("script", "activation_script", "snippet 'etc' failed", True),
        ("reboot", "reboot_required", "needs a reboot", False),
        ("race", "locked", "Another activation is running", False),
    ],
)
def test_failed_activations_are_told_apart(
    host: Host, module: Run, how: str, reason: str, words: str, activated: bool
) -> None:
    host.fail(how)
    result = module(MODULE, {})
    assert (result["failed"], result["reason"]) == (True, reason) and words in result["msg"]
    assert result["system"]["activated"] is activated


@pytest.mark.parametrize(("how", "reason"), [("locked", "locked"), ("check", "pre_switch_check")])
@pytest.mark.parametrize("check", [True, False])
def test_what_stops_activation_stops_it_before_the_profile_moves(
    host: Host, module: Run, how: str, reason: str, check: bool
) -> None:
    host.fail(how)
    result = module(MODULE, {}, check=check)
    assert result["failed"] and result["reason"] == reason
    assert os.path.realpath(host.root / "profiles/system") == host.system("old")


def test_time_is_bounded(host: Host, module: Run) -> None:
    host.fail("slow")
    result = module(MODULE, {"timeout": 1})
    assert result["reason"] == "timeout" and "within 1 s" in result["msg"]
    assert "must be from 1" in module(MODULE, {"timeout": 0})["msg"]


def test_a_host_that_is_not_nixos_is_told_so(host: Host, module: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    (host.root / "bin/nixos-rebuild").unlink()
    assert "is not NixOS" in module(MODULE, {})["msg"]
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "become: true" in module(MODULE, {})["msg"]
