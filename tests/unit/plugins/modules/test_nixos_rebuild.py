# SPDX-License-Identifier: GPL-3.0-or-later
"""nixos_rebuild against a host made of links and small programs that speak as NixOS' own do."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import stat
import subprocess
import typing as t

import pytest
from ansible_collections.pantheros.nixci.plugins.module_utils._nixos import activation as _activation
from ansible_collections.pantheros.nixci.plugins.module_utils._nixos import deployment as _deployment
from ansible_collections.pantheros.nixci.plugins.module_utils._nixos import host as _nixos
from ansible_collections.pantheros.nixci.plugins.module_utils._nixos import settings as _settings
from ansible_collections.pantheros.nixci.plugins.module_utils._nixos import staging as _staging

MODULE = "nixos_rebuild"
DATA = pathlib.Path(__file__).parents[1] / "module_utils/_nixos/data"

# ROOT/fail selects what goes wrong; ROOT/calls is the journal of all calls. A build "evaluates" the configuration folder as
# the mount namespace shows it: the system's manifest is that of the files that are there.
REBUILD = """
echo "nixos-rebuild $*" >> {root}/calls
[ "$LC_ALL" = C ] || {{ echo "wrong locale" >&2; exit 1; }}
case "$(cat {root}/fail 2>/dev/null)" in
  evaluation) cat {data}/evaluation/nix-2.26-type.txt >&2; exit 1 ;;
  build) cat {data}/build/secret.txt >&2; exit 1 ;;
  slow) sleep 30 ;;
esac
wanted=$(cat {root}/wanted)
if [ -e {root}/imports ]; then
  mkdir -p "$wanted/etc/nixci"
  (cd "$(cat {root}/seen)/nixci" && find modules settings -type f | sort | xargs sha256sum) |
    awk 'BEGIN {{ printf "{{\\"version\\": \\"1.0.0\\", \\"files\\": {{" }}
         {{ printf "%s\\"%s\\": \\"%s\\"", sep, $2, $1; sep = ", " }} END {{ print "}}}}" }}' > "$wanted/etc/nixci/manifest.json"
fi
ln -sfn "$wanted" result; echo "$wanted"
"""
SWITCH = """
echo "switch-to-configuration $*" >> {root}/calls
here=$(dirname "$(dirname "$0")")
case "$1:$(cat {root}/fail 2>/dev/null)" in
  *:locked) cat {data}/activation/lock-perl.txt >&2; exit 11 ;;
  *:check) echo "Pre-switch check 'ports' failed" >&2; echo "Pre-switch checks failed" >&2; exit 1 ;;
  *:bus) printf 'Error: Failed to open dbus connection\n\nCaused by:\n    D-Bus error: Connection refused\n' >&2; exit 1 ;;
  boot:init) exit 0 ;;
  boot:loader) [ "${{here##*/}}" = old ] || {{ cat {data}/activation/boot-loader.txt >&2; exit 1; }} ;;
  *:init) cat {data}/activation/init-changed.txt >&2; exit 100 ;;
  boot:inhibited) exit 0 ;;
  *:inhibited) cat {data}/activation/switch-inhibitors.txt >&2; exit 1 ;;
  dry-activate:*) cat {data}/activation/dry-activate.txt >&2; exit 0 ;;
  boot:*) exit 0 ;;
  test:race) cat {data}/activation/lock-rust.txt >&2; exit 11 ;;
  test:late-check) echo "Pre-switch checks failed" >&2; exit 1 ;;
esac
ln -sfn "$here" {root}/current-system
[ "${{here##*/}}" != old ] || exit 0
case "$(cat {root}/fail 2>/dev/null)" in
  script) cat {data}/activation/snippet.txt; exit 2 ;;
  units) cat {data}/activation/perl-units.txt >&2; exit 4 ;;
  jobs) cat {data}/activation/rust-jobs.txt >&2; exit 4 ;;
  user-units) cat {data}/activation/rust-user-units.txt >&2; exit 4 ;;
  user) cat {data}/activation/rust-user.txt >&2; exit 4 ;;
  unnamed) echo "x.service loaded failed failed x" > {root}/failed-units; exit 4 ;;
  script-units) cat {data}/activation/snippet.txt; cat {data}/activation/rust-jobs.txt >&2; exit 4 ;;
  dead) exit 3 ;;
esac
exit 0
"""
NIX_ENV = """
echo "nix-env $*" >> {root}/calls
case "$3" in
  --set) [ "$(readlink -f {root}/profiles/system)" = "$4" ] || {{
    ln -sfn "$4" {root}/profiles/system-8-link; ln -sfn system-8-link {root}/profiles/system; }} ;;
  --switch-generation) ln -sfn "system-$4-link" {root}/profiles/system ;;
  --delete-generations) rm {root}/profiles/system-$4-link ;;
esac
"""
# As the real ones, without the rights that those need.
UNSHARE = 'while [ "${{1#--}}" != "$1" ]; do shift; done; exec "$@"'
MOUNT = 'echo "$2" > {root}/seen'
# The unit's output goes to the journal and to nobody else.
SYSTEMD_RUN = """
unit= timer=
while [ "$1" != -- ]; do
  case "$1" in --pipe) exit 99 ;; --unit=*) unit=${{1#*=}} ;; --on-active=*) timer=${{1#*=}} ;; esac
  shift
done
shift
echo "systemd-run $unit $timer" >> {root}/calls
if [ "$timer" ]; then echo "$*" > {root}/timer; exit 0; fi
case $unit in nixci-revert*) exec "$@" ;; esac
[ "$(cat {root}/fail 2>/dev/null)" != lock-unit ] || {{ cat {data}/activation/lock-unit.txt >&2; exit 1; }}
"$@" > {root}/output.txt 2>&1
"""
# The revert is armed if its timer is there.
SYSTEMCTL = """
case "$*" in
  "is-active --quiet nixci-revert.timer") [ -e {root}/timer ] || exit 3 ;;
  is-active*) exit 3 ;;
  *"stop"*nixci-revert.timer) rm -f {root}/timer ;;
  *list-units*) cat {root}/failed-units 2>/dev/null; true ;;
  show*) while [ "$1" != -- ]; do shift; done; shift
    for unit; do cat {root}/shown-$unit 2>/dev/null || printf 'LoadState=loaded\nActiveState=active\nSubState=exited\n'; echo; done ;;
  reboot) echo reboot >> {root}/calls ;;
esac
"""
JOURNALCTL = """
echo "journalctl $*" >> {root}/calls
case "$*" in
  *_SYSTEMD_UNIT=nixci-activation.service*) cat {root}/output.txt ;;
  *atticd.service*|*dbus-broker.service*) cat {root}/journal.txt ;;
esac
"""
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.canary-signature"
JOURNAL = f"""\
Attic Server 0.1.0 (release)
AWS_SECRET_ACCESS_KEY=canary-secret-key
refused: Authorization: Bearer canary-bearer-token
token {JWT}
Error: Database error: connection refused
"""
STAGED = {"modules": {"default.nix": "{ }\n"}, "settings": {"web": {"port": 80}}}


class Host:
    """What the fake programs see and leave."""

    def __init__(self, root: pathlib.Path) -> None:
        self.root = root

    def program(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("#!/bin/sh\n" + text.format(root=self.root, data=DATA))
        file.chmod(file.stat().st_mode | stat.S_IXUSR)

    def system(self, name: str, host_name: str = "web") -> str:
        self.program(f"store/{name}/bin/switch-to-configuration", SWITCH)
        etc = self.root / "store" / name / "etc"
        etc.mkdir(exist_ok=True)
        (etc / "hostname").write_text(f"{host_name}\n")
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
        lines = file.read_text().splitlines() if file.exists() else []
        return [" ".join(line.split()[:2]) for line in lines if not line.startswith("journalctl")]

    @property
    def current(self) -> str:
        return os.path.realpath(self.root / "current-system")

    @property
    def profile(self) -> str:
        return os.path.realpath(self.root / "profiles/system")

    @property
    def config(self) -> pathlib.Path:
        return self.root / "etc/nixos"

    def tree(self) -> dict[str, str]:
        return {
            str(path.relative_to(self.config)): path.read_text()
            for path in self.config.rglob("*")
            if path.is_file() and ".git" not in path.parts
        }


@pytest.fixture
def host(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    host = Host(tmp_path)
    for name, text in (
        ("nixos-rebuild", REBUILD),
        ("journalctl", JOURNALCTL),
        ("nix-env", NIX_ENV),
        ("unshare", UNSHARE),
        ("mount", MOUNT),
        ("systemd-run", SYSTEMD_RUN),
        ("systemctl", SYSTEMCTL),
    ):
        host.program(f"bin/{name}", text)
    host.link("current-system", host.system("old"))
    host.link("profiles/system-7-link", host.system("old"))
    host.link("profiles/system", "system-7-link")
    host.config.mkdir(parents=True)
    (host.config / "configuration.nix").write_text("{ imports = [ ./nixci/modules ]; }\n")
    (tmp_path / "wanted").write_text(host.system("new"))
    (tmp_path / "imports").touch()
    (tmp_path / "seen").write_text(str(host.config))
    (tmp_path / "journal.txt").write_text(JOURNAL)
    (tmp_path / "systemd").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(_nixos, "CURRENT_SYSTEM", str(tmp_path / "current-system"))
    monkeypatch.setattr(_settings, "CURRENT_SYSTEM", str(tmp_path / "current-system"))
    monkeypatch.setattr(_nixos, "PROFILE", str(tmp_path / "profiles/system"))
    monkeypatch.setattr(_nixos, "SYSTEMD", str(tmp_path / "systemd"))
    monkeypatch.setattr(_nixos, "BOOTED_SYSTEM", str(tmp_path / "booted-system"))
    paths = {
        "PENDING": "state/deployment",
        "FAILED": "state/failed",
        "RECORD": "logs/deployments.jsonl",
        "LOCK": "run/deployment.lock",
        "ROOTS": "gcroots",
        "BOOT_ID": "boot-id",
    }
    for name, path in paths.items():
        monkeypatch.setattr(_deployment, name, str(tmp_path / path))
    (tmp_path / "boot-id").write_text("boot-1\n")
    monkeypatch.setattr(_activation, "SCRIPT", str(tmp_path / "run/nixci-revert"))
    monkeypatch.setattr(_activation, "TEXT", script(tmp_path))
    monkeypatch.setattr(_staging, "FOLDER", str(tmp_path / "staging"))
    monkeypatch.setattr(_staging, "LOCK", str(tmp_path / "run/lock"))
    for module in (_nixos, _settings):
        monkeypatch.setattr(module, "UNFINISHED", str(tmp_path / "run/unfinished-activation"))
    return host


def script(root: pathlib.Path) -> str:
    """The revert, with its places below a folder."""
    text = _activation.TEXT
    places = {
        "/nix/var/nix/profiles/system": "profiles/system",
        "/run/current-system": "current-system",
        "/nix/var/nix/gcroots/nixci": "gcroots",
        "/var/lib/nixci": "state",
        "/run/nixci": "run",
        "/var/log/nixci": "logs",
        "/proc/sys/kernel/random/boot_id": "boot-id",
    }
    for place, below in places.items():
        assert f"={place}\n" in text, place
        text = text.replace(f"={place}\n", f"={root / below}\n")
    return text


Run = t.Callable[..., dict[str, t.Any]]


def staged(host: Host, **changes: t.Any) -> dict[str, t.Any]:
    return {"action": "build", "staged": {**STAGED, "config_dir": str(host.config), **changes}}


# Building and activating


def test_check_predicts_the_run_and_a_second_run_does_nothing(host: Host, module: Run) -> None:
    old, new = host.system("old"), host.system("new")
    check = module(MODULE, {}, check=True)
    assert check["changed"] and host.current == old and not (host.root / "gcroots").exists()
    assert check["system"] == {"path": new, "previous": old, "generation": 7, "activated": False}
    done = module(MODULE, {})
    assert done["changed"] and host.current == new
    assert (done["diff"], done["units"]) == (check["diff"], check["units"])
    assert done["system"] == {"path": new, "previous": old, "generation": 8, "activated": True}
    calls = len(host.calls())
    again = module(MODULE, {})
    assert not again["changed"] and not again["failed"]
    assert host.calls()[calls:] == ["nixos-rebuild build"]


def test_what_was_built_is_activated_without_a_second_evaluation(host: Host, module: Run) -> None:
    built = module(MODULE, {"action": "build"})
    assert built["changed"] and built["store_path"] == host.system("new") and host.current == host.system("old")
    assert os.path.realpath(host.root / "gcroots/built") == built["store_path"], (
        "the garbage collector must not take it"
    )
    (host.root / "wanted").write_text(host.system("newer"))
    calls = len(host.calls())
    done = module(MODULE, {"store_path": built["store_path"]})
    assert done["changed"] and host.current == host.profile == built["store_path"]
    assert host.calls()[calls:] == [
        "switch-to-configuration dry-activate",
        "systemd-run nixci-revert",
        "systemd-run nixci-activation",
        "switch-to-configuration test",
        "systemd-run nixci-revert",
        "nix-env --profile",
        "switch-to-configuration boot",
    ]
    assert sorted(os.listdir(host.root / "gcroots")) == ["confirmed-8"]


def test_the_units_that_would_be_touched_are_told(host: Host, module: Run) -> None:
    result = module(MODULE, {}, check=True)
    assert result["units"]["restart"] == ["nix-daemon.service"]
    assert "start: atticd.service, caddy.service\n" in result["diff"]["prepared"]


def test_units_that_come_and_go_are_listed(host: Host, module: Run) -> None:
    for system, unit in (("old", "mine.timer"), ("new", "atticd.service")):
        folder = host.root / "store" / system / "etc/systemd/system"
        folder.mkdir(parents=True)
        (folder / unit).touch()
    result = module(MODULE, {}, check=True)
    assert (result["units"]["new"], result["units"]["gone"]) == (["atticd.service"], ["mine.timer"])
    assert "new: atticd.service\ngone: mine.timer\n" in result["diff"]["prepared"]


def test_closure_changes_are_part_of_the_diff(host: Host, module: Run) -> None:
    host.program("bin/nix", "printf 'caddy: 2.8 → 2.9, \\033[31;1m+12.0 KiB\\033[0m\\n'")
    assert "caddy: 2.8 → 2.9, +12.0 KiB\n" in module(MODULE, {}, check=True)["diff"]["prepared"]


def test_the_flake_is_used_for_the_build(host: Host, module: Run) -> None:
    module(MODULE, {"flake": "/etc/nixos#hetzner-vps"})
    assert "nixos-rebuild build --flake /etc/nixos#hetzner-vps" in (host.root / "calls").read_text()


def test_a_system_that_runs_but_would_not_boot_is_switched_to(host: Host, module: Run) -> None:
    host.link("current-system", host.system("new"))
    result = module(MODULE, {})
    assert result["changed"] and result["system"]["generation"] == 8


def test_boot_only_changes_what_boots(host: Host, module: Run) -> None:
    result = module(MODULE, {"action": "boot"})
    assert result["changed"] and (host.current, host.profile) == (host.system("old"), host.system("new"))
    assert not module(MODULE, {"action": "boot"})["changed"]


def test_a_path_that_is_no_system_is_refused(host: Host, module: Run) -> None:
    result = module(MODULE, {"store_path": str(host.root)})
    assert result["reason"] == "invalid" and "is not a NixOS system" in result["msg"]


# Staged files


def test_staged_files_are_built_and_never_in_place(host: Host, module: Run) -> None:
    (host.config / "nixci/settings").mkdir(parents=True)
    (host.config / "nixci/settings/other.json").write_text("{}")
    before = host.tree()
    check = module(MODULE, staged(host), check=True)
    result = module(MODULE, staged(host))
    assert (check["changed"], check["diff"], check["units"]) == (True, result["diff"], result["units"])
    assert host.tree() == before and host.current == host.profile == host.system("old")
    manifest = json.loads((host.root / "store/new/etc/nixci/manifest.json").read_text())
    assert set(manifest["files"]) == {"modules/default.nix", "settings/other.json", "settings/web.json"}
    assert not os.path.exists(_staging.FOLDER)


def test_only_named_settings_are_left_out(host: Host, module: Run) -> None:
    (host.config / "nixci/settings").mkdir(parents=True)
    (host.config / "nixci/settings/other.json").write_text("{}")
    module(MODULE, staged(host, absent=["other"]))
    manifest = json.loads((host.root / "store/new/etc/nixci/manifest.json").read_text())
    assert "settings/other.json" not in manifest["files"]
    assert (host.config / "nixci/settings/other.json").exists()


@pytest.mark.parametrize("check", [True, False])
def test_a_configuration_that_does_not_import_the_files_is_refused(host: Host, module: Run, check: bool) -> None:
    (host.root / "imports").unlink()
    before = host.tree()
    result = module(MODULE, staged(host), check=check)
    assert result["failed"] and result["reason"] == "not_imported"
    assert "imports = [ ./nixci/modules ];" in result["msg"] and str(host.config) in result["msg"]
    assert host.tree() == before and host.current == host.profile == host.system("old")
    assert not [call for call in host.calls() if call.startswith("switch-to-configuration")]


def test_another_copy_of_the_files_is_refused(host: Host, module: Run) -> None:
    shutil.copytree(host.config, host.root / "elsewhere")
    for folder in ("modules", "settings"):
        (host.root / "elsewhere/nixci" / folder).mkdir(parents=True)
    (host.root / "elsewhere/nixci/modules/default.nix").write_text("{ older = true; }")
    host.program("bin/mount", "echo {root}/elsewhere > {root}/seen")
    result = module(MODULE, staged(host))
    assert result["reason"] == "not_imported" and "modules/default.nix, settings/web.json" in result["msg"]


def test_the_configuration_of_another_host_is_refused(host: Host, module: Run) -> None:
    host.system("new", "nixos")
    for params in (staged(host), {}, {"store_path": host.system("new", "nixos")}):
        result = module(MODULE, params)
        assert result["reason"] == "another_host" and "'nixos'" in result["msg"] and "'web'" in result["msg"]
    assert host.current == host.profile == host.system("old")
    assert not module(MODULE, {**staged(host), "host_name": "nixos"})["failed"]
    host.system("new", "WEB.example.org")
    assert not module(MODULE, staged(host))["failed"], "the same name, with the domain of its network"


def test_what_is_left_of_a_killed_run_is_removed(host: Host, module: Run) -> None:
    left = pathlib.Path(_staging.FOLDER) / "killed/0"
    left.mkdir(parents=True)
    module(MODULE, staged(host))
    assert not left.exists()


def test_a_refused_configuration_leaves_nothing(host: Host, module: Run) -> None:
    before = host.tree()
    for how in ("evaluation", "build", "check", "slow"):
        host.fail(how)
        assert module(MODULE, {**staged(host), "timeout": 1 if how == "slow" else 60})["failed"]
        assert host.tree() == before and not os.path.exists(_staging.FOLDER)


def test_staged_files_are_never_activated(host: Host, module: Run) -> None:
    assert "needs action=build" in module(MODULE, {**staged(host), "action": "switch"})["msg"]


def test_a_host_without_its_configuration_is_told_so(host: Host, module: Run) -> None:
    (host.config / "configuration.nix").unlink()
    host.fail("evaluation")
    assert "neither flake.nix nor configuration.nix" in module(MODULE, staged(host))["msg"]
    shutil.rmtree(host.config)
    result = module(MODULE, staged(host))
    assert result["reason"] == "no_configuration" and "nixos_config_dir" in result["msg"]
    assert not host.config.exists()


def test_without_mount_namespaces_the_reason_is_given(host: Host, module: Run) -> None:
    host.program("bin/unshare", "echo 'unshare: unshare failed: Operation not permitted' >&2; exit 1")
    result = module(MODULE, staged(host))
    assert result["reason"] == "no_namespace" and "Operation not permitted" in result["msg"]


def test_a_linked_folder_is_refused_because_a_copy_would_share_it(host: Host, module: Run) -> None:
    (host.root / "shared").mkdir()
    (host.config / "nixci").symlink_to(host.root / "shared")
    result = module(MODULE, staged(host))
    assert "is a symbolic link" in result["msg"] and not list((host.root / "shared").iterdir())


# With real namespaces, where the machine has them


@pytest.fixture
def namespaces(host: Host) -> None:
    for name in ("unshare", "mount"):
        (host.root / "bin" / name).unlink()
    try:
        subprocess.run(["unshare", "--mount", "--propagation=private", "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as exc:
        pytest.skip(f"mount namespaces are not possible here: {exc}")


def git(folder: pathlib.Path, *args: str) -> str:
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    return subprocess.run(
        ["git", "-C", str(folder), *identity, *args], check=True, capture_output=True, text=True
    ).stdout


@pytest.mark.usefixtures("namespaces")
def test_the_build_sees_the_copy_at_its_own_place(host: Host, module: Run) -> None:
    """Also where the configuration folder is a link, and for absolute paths."""
    real = host.root / "home/nixos"
    shutil.move(host.config, host.root / "home/nixos")
    host.config.symlink_to(real)
    before = host.tree()
    result = module(MODULE, staged(host))
    assert not result["failed"], result
    manifest = json.loads((host.root / "store/new/etc/nixci/manifest.json").read_text())
    assert set(manifest["files"]) == {"modules/default.nix", "settings/web.json"}
    assert host.tree() == before and sorted(path.name for path in real.iterdir()) == ["configuration.nix"]


@pytest.mark.usefixtures("namespaces")
@pytest.mark.parametrize("kind", ["repository", "worktree"])
def test_git_knows_the_files_of_the_copy_and_of_the_original_nothing_new(host: Host, module: Run, kind: str) -> None:
    """The build lists what git knows, as Nix does with a flake."""
    (host.config / "flake.nix").write_text("{ }")
    git(host.config, "init", "--quiet")
    git(host.config, "add", "flake.nix", "configuration.nix")
    git(host.config, "commit", "--quiet", "--message=x")
    if kind == "worktree":
        shutil.move(host.config, host.root / "main")
        git(host.root / "main", "worktree", "add", "--quiet", str(host.config))
    (host.config / "notes.txt").write_text("not for git")
    (host.config / "nixci/settings").mkdir(parents=True)
    (host.config / "nixci/settings/mine.txt").write_text("not for git")
    host.program(
        "bin/nixos-rebuild",
        "cd {root}/etc/nixos; git ls-files > {root}/known; rm nixci/settings/mine.txt; cd - > /dev/null\n" + REBUILD,
    )
    before = git(host.config, "status", "--porcelain"), git(host.config, "ls-files", "--stage"), host.tree()
    result = module(MODULE, {**staged(host), "flake": str(host.config)})
    assert not result["failed"], result
    known = ["configuration.nix", "flake.nix", "nixci/modules/default.nix", "nixci/settings/web.json"]
    assert (host.root / "known").read_text().split() == known
    assert (git(host.config, "status", "--porcelain"), git(host.config, "ls-files", "--stage"), host.tree()) == before


# What goes wrong


def test_evaluation_error_names_option_and_file_first_and_changes_nothing(host: Host, module: Run) -> None:
    host.fail("evaluation")
    result = module(MODULE, {})
    assert result["failed"] and not result["changed"] and result["reason"] == "evaluation"
    assert result["msg"].splitlines()[:2] == [
        "The configuration is wrong; nothing was activated:",
        'A definition for option `networking.firewall.allowedTCPPorts."[definition 1-entry 1]"\' is not of type `16 bit unsigned integer; '
        "between 0 and 65535 (both inclusive)'. Definition values:",
    ]
    assert host.current == host.profile == host.system("old")


def test_build_failure_shows_the_log_without_its_secret(host: Host, module: Run) -> None:
    host.fail("build")
    result = module(MODULE, {})
    assert result["reason"] == "build" and "unrecognized directive" in result["msg"]
    assert "canary" not in json.dumps({**result, "invocation": None})


@pytest.mark.parametrize(
    ("how", "decisive", "listed"),
    [
        ("units", ["atticd.service"], ["other.service"]),
        ("jobs", ["atticd.service"], []),
        ("script-units", ["atticd.service"], []),
    ],
)
def test_failed_units_of_the_change_are_named_and_the_host_goes_back(
    host: Host, module: Run, how: str, decisive: list[str], listed: list[str]
) -> None:
    host.fail(how)
    result = module(MODULE, {})
    assert result["failed"] and not result["changed"], result
    assert (result["reason"], result["cause"]) == ("reverted", "units_failed")
    assert [unit["name"] for unit in result["failed_units"] if unit["decisive"]] == decisive
    assert [unit["name"] for unit in result["failed_units"] if not unit["decisive"]] == listed
    assert "was activated, but" in result["msg"] and "nothing was activated" not in result["msg"]
    assert f"The host went back to {host.system('old')}." in result["msg"]
    assert "connection refused" in result["failed_units"][0]["journal"]
    assert "canary" not in json.dumps({**result, "invocation": None})
    assert host.current == host.profile == host.system("old")
    assert not [path for path in (host.root / "logs").iterdir() if "canary" in path.read_text()]


@pytest.mark.parametrize(("how", "name"), [("user-units", "dbus-broker.service"), ("unnamed", "x.service")])
def test_units_that_the_change_does_not_touch_are_only_listed(host: Host, module: Run, how: str, name: str) -> None:
    host.fail(how)
    result = module(MODULE, {})
    assert not result["failed"] and host.profile == host.system("new"), result
    assert [(unit["name"], unit["decisive"]) for unit in result["failed_units"]] == [(name, False)]


def test_units_that_had_failed_before_are_only_listed(host: Host, module: Run) -> None:
    (host.root / "failed-units").write_text("old.service loaded failed failed x\n")
    [unit] = module(MODULE, {})["failed_units"]
    assert (unit["name"], unit["decisive"], unit["failed_before"]) == ("old.service", False, True)


def test_a_unit_of_the_manifest_decides(host: Host, module: Run) -> None:
    (host.root / "imports").unlink()
    (host.root / "store/new/etc/nixci").mkdir(parents=True)
    (host.root / "store/new/etc/nixci/manifest.json").write_text('{"checks": {"units": ["other.service"]}}')
    host.fail("units")
    result = module(MODULE, {})
    assert [unit["decisive"] for unit in result["failed_units"]] == [True, True]


def test_a_user_whose_activation_failed_is_named_without_units(host: Host, module: Run) -> None:
    host.fail("user")
    result = module(MODULE, {})
    assert result["cause"] == "units_failed" and "not completely for alice" in result["msg"]
    assert "failed: ." not in result["msg"]


@pytest.mark.parametrize(
    ("how", "cause", "words"),
    [
        ("script", "activation_script", "failed in copyKeys"),
        ("dead", "activation", "with status 3"),
        ("loader", "boot_loader", "No space left on device"),
    ],
)
def test_failed_activations_are_told_apart_and_taken_back(
    host: Host, module: Run, how: str, cause: str, words: str
) -> None:
    host.fail(how)
    result = module(MODULE, {})
    assert (result["failed"], result["reason"], result["cause"]) == (True, "reverted", cause) and words in result["msg"]
    assert host.current == host.profile == host.system("old") and not result["changed"]
    assert not os.path.lexists(host.root / "profiles/system-8-link"), (
        "what was never confirmed must not be in the boot menu"
    )
    [record] = _deployment.records()
    assert record["result"] == "reverted" and words in record["reason"]
    again = module(MODULE, {})
    assert again["reason"] == "failed_system" and words in again["msg"]
    host.fail(None)
    assert not module(MODULE, {"force": ["failed_system"]})["failed"]
    assert not os.listdir(_deployment.FAILED), "a confirmation forgets the failure"


@pytest.mark.parametrize(
    ("how", "reason", "words"),
    [
        ("race", "locked", "Another activation is running"),
        ("late-check", "pre_switch_check", "nothing was activated"),
        ("lock-unit", "locked", "Another activation is running"),
    ],
)
def test_what_was_not_activated_leaves_nothing(host: Host, module: Run, how: str, reason: str, words: str) -> None:
    host.fail(how)
    result = module(MODULE, {})
    assert (result["failed"], result["reason"]) == (True, reason) and words in result["msg"]
    assert host.current == host.profile == host.system("old") and not result["changed"]
    assert not (host.root / "timer").exists() and _deployment.read() is None and not _deployment.records()
    host.fail(None)
    assert module(MODULE, {})["changed"]


@pytest.mark.parametrize(
    ("how", "reason"), [("locked", "locked"), ("check", "pre_switch_check"), ("bus", "not_started")]
)
@pytest.mark.parametrize("check", [True, False])
def test_what_stops_activation_stops_it_before_the_profile_moves(
    host: Host, module: Run, how: str, reason: str, check: bool
) -> None:
    host.fail(how)
    result = module(MODULE, {}, check=check)
    assert result["failed"] and result["reason"] == reason
    assert ("own checks" in result["msg"]) is (how == "check")
    assert host.profile == host.system("old")


@pytest.mark.parametrize("how", ["init", "inhibited", "inhibitors"])
def test_what_needs_a_reboot_says_how_to_go_on_until_it_was_done(host: Host, module: Run, how: str) -> None:
    if how == "inhibitors":  # dry-activate itself may not mind
        for name, value in (("old", "dbus"), ("new", "broker")):
            (pathlib.Path(host.system(name)) / "switch-inhibitors").write_text(
                json.dumps({"dbus-implementation": value})
            )
    host.fail(how)
    refused = module(MODULE, staged(host))
    assert refused["reason"] == ("reboot_required" if how == "init" else "inhibited") and not refused["changed"]
    assert "nixos_rebuild_action: boot" in refused["msg"] and "pre-switch" not in refused["msg"]
    assert host.profile == host.system("old")

    built = module(MODULE, {**staged(host), "activation": "boot"})
    assert not built["failed"] and ("units" in built) is (how == "inhibitors")
    assert module(MODULE, {"action": "boot", "store_path": built["store_path"]})["changed"]
    again = module(MODULE, {"store_path": built["store_path"]})
    assert again["reason"] == refused["reason"] and "boots next: reboot the host" in again["msg"]

    host.link("current-system", host.system("new"))  # rebooted
    host.fail(None)
    assert not module(MODULE, {"store_path": built["store_path"]})["changed"]


def test_an_interrupted_activation_is_repeated(host: Host, module: Run) -> None:
    for name in ("current-system", "profiles/system-7-link"):
        host.link(name, host.system("new"))
    (host.root / "run").mkdir(exist_ok=True)
    (host.root / "run/unfinished-activation").write_text(host.system("new"))
    assert module(MODULE, {}, check=True)["changed"]
    assert module(MODULE, {})["changed"]
    assert not module(MODULE, {})["changed"]


def test_a_run_waits_for_an_activation_that_an_earlier_one_left(host: Host, module: Run) -> None:
    waits = '[ "$1" != is-active ] || {{ [ -e {root}/waited ] && exit 3; touch {root}/waited; exit 0; }}'
    host.program("bin/systemctl", waits + SYSTEMCTL)
    assert module(MODULE, {})["changed"]
    host.program("bin/systemctl", "exit 0")
    result = module(MODULE, {"timeout": 1})
    assert result["reason"] == "locked"


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
