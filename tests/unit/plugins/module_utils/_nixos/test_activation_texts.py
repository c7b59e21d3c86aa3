# SPDX-License-Identifier: GPL-3.0-or-later
"""What each edition of switch-to-configuration prints and returns, and what is made of it.

perl: NixOS until 24.05. rust: since 24.11; `preSwitchChecks` and a lock that does not wait came with 25.05, inhibitors with 26.05. The texts
were printed by these programs, or are composed as their sources print them where a test machine cannot bring that about.
"""

from __future__ import annotations

import dataclasses
import pathlib
import types
import typing as t

import pytest
from ansible_collections.pantheros.nixci.plugins.module_utils._nixos import activation, messages
from ansible_collections.pantheros.nixci.plugins.module_utils._nixos import host as hosts
from ansible_collections.pantheros.nixci.plugins.module_utils._nixos.command import Outcome

SYSTEM = "/nix/store/11111111111111111111111111111111-nixos-system-web-26.05"
BEGIN = """\
stopping the following units: app.service
activating the configuration...
setting up /etc...
"""
RESTARTED = BEGIN + "restarting sysinit-reactivation.target\nstarting the following units: app.service\n"
STATUS = """\
× {0}
     Loaded: loaded (/etc/systemd/system/{0}; enabled; preset: enabled)
     Active: failed (Result: exit-code) since Thu 2026-11-26 19:14:54 UTC; 1s ago
    Process: 2665 ExecStart=/nix/store/qkvplpg07dm04z5p5702l56agpgr6xw5-start/bin/start (code=exited, status=1/FAILURE)

Nov 26 19:14:54 web systemd[1]: Started {0}.
Nov 26 19:14:54 web start[2665]: Could not acquire lock
Nov 26 19:14:54 web start[2665]: Pre-switch checks failed
Nov 26 19:14:54 web systemd[1]: {0}: Failed with result 'exit-code'.
"""
INHIBITED = """\
Checking switch inhibitors...
There are changes to critical components of the system:

dbus-implementation : dbus -> broker

Switching into this system is not recommended.
You probably want to run 'nixos-rebuild boot' and reboot your system instead.

If you really want to switch into this configuration directly, then
you can set NIXOS_NO_CHECK=1 to ignore pre-switch checks.

WARNING: doing so might cause the switch to fail or your system to become unstable.

Pre-switch check 'switchInhibitors' failed
Pre-switch checks failed
"""
INIT = """\
Warning: the new NixOS configuration has an ‘init’ that is
incompatible with the current configuration.  The new configuration
won't take effect until you reboot the system.
"""
DEPENDENCY = "A dependency job for app.service failed. See 'journalctl -xe' for details.\n"
JOB = """\
Job for app.service failed because the control process exited with error code.
See "systemctl status app.service" and "journalctl -xeu app.service" for details.
"""
USER = """\
reloading user units for alice...
starting the following user units: sync.service
Failed to start user unit sync.service
warning: the following user units failed: sync.service
See `systemctl --user status sync.service` for details.
warning: user activation for alice failed
"""
NO_BUS = "Error: Failed to open dbus connection\n\nCaused by:\n    D-Bus error: Connection refused (org.freedesktop.DBus.Error.NoServer)\n"


def failed(edition: str, *units: str) -> str:
    blank = "\n" if edition == "perl" else ""
    return f"warning: the following units failed: {', '.join(units)}\n{blank}" + "\n".join(map(STATUS.format, units))


APP_PERL, OTHER_PERL = failed("perl", "app.service"), failed("perl", "other.service")
APP_RUST, OTHER_RUST = failed("rust", "app.service"), failed("rust", "other.service")
NO_RELOAD = "Failed to reload app.service: Job type reload is not applicable for unit app.service.\n"
SNIPPET = "Activation script snippet 'keys' failed (1)\n"
WARN = "WARN: restarting or reloading systemd units from the activation script is deprecated and will be removed in NixOS 26.11.\n"
DIE = "at /nix/store/x/bin/switch-to-configuration line 93.\n"
APP, OTHER, SYNC = ("app.service",), ("other.service",), ("sync.service",)


@dataclasses.dataclass(frozen=True)
class Case:
    """app.service is of the change, other.service is not; `crashed` is what systemd says in the end."""

    name: str
    status: int
    text: str
    reason: str | None
    decisive: tuple[str, ...] = ()
    listed: tuple[str, ...] = ()
    crashed: tuple[str, ...] = ()
    words: str = ""


OF_BOTH = [
    ("nothing-failed", 0, RESTARTED, None),
    ("nothing-to-do", 0, "activating the configuration...\nsetting up /etc...\nrestarting sysinit-reactivation.target\n", None),
    ("init-changed", 100, INIT, "reboot_required"),
]  # fmt: skip
CASES = {
    "perl": [
        *(Case(*case) for case in OF_BOTH),
        Case("unit", 4, RESTARTED + JOB + APP_PERL, "units_failed", APP),
        Case("other-unit", 4, RESTARTED + OTHER_PERL, None, listed=OTHER),
        Case("both", 4, RESTARTED + failed("perl", "app.service", "other.service"), "units_failed", APP, OTHER),
        Case("dependency", 4, RESTARTED + DEPENDENCY + OTHER_PERL, "units_failed", APP, OTHER),
        Case("no-such-unit", 4, RESTARTED + "Failed to start app.service: Unit db.service not found.\n", "units_failed", APP),
        Case("no-reload", 4, RESTARTED + NO_RELOAD, "units_failed", APP),
        Case("timeout", 4, RESTARTED + "Job for app.service failed because a timeout was exceeded.\n", "units_failed", APP),
        Case("canceled", 4, RESTARTED + "Job for app.service canceled.\n", "units_failed", APP),
        Case("assertion", 4, RESTARTED + "Assertion failed on job for app.service.\n", "units_failed", APP),
        # It reads the states without a pause, and a simple service is active until its process ends.
        Case("dies-after-the-end", 0, RESTARTED, "units_failed", APP, crashed=APP),
        Case("snippet", 2, BEGIN + SNIPPET, "activation_script", words="failed in keys"),
        Case("snippet-and-unit", 4, BEGIN + SNIPPET + APP_PERL, "units_failed", APP, words="snippets of the activation script failed: keys"),
        Case("snippet-and-other-unit", 4, BEGIN + SNIPPET + OTHER_PERL, "activation_script", listed=OTHER),
        Case("script-that-speaks-like-us", 2, BEGIN + "Could not acquire lock\nPre-switch checks failed\nJob for app.service failed.\n", "activation_script"),
        Case("script-that-fails-silently-inside", 0, BEGIN + "Job for app.service failed.\nFailed to start app.service: Unit app.service not found.\n", None),
        Case("daemon-reload", 3, BEGIN + "Failed to reload daemon: Connection timed out\n", "activation", words="with status 3"),
        Case("lock-file", 13, "Could not open lock - Permission denied " + DIE, "activation"),
        Case("interrupted-lock", 11, "Could not acquire lock - Resource temporarily unavailable " + DIE, "locked"),
    ],
    "rust": [
        *(Case(*case) for case in OF_BOTH),
        Case("unit", 4, RESTARTED + "Failed to start app.service\n" + APP_RUST, "units_failed", APP),
        Case("other-unit", 4, RESTARTED + OTHER_RUST, None, listed=OTHER),
        Case("dependency", 4, RESTARTED + "Failed to start app.service\n" + OTHER_RUST, "units_failed", APP, OTHER),
        Case("no-reload", 4, RESTARTED + NO_RELOAD, "units_failed", APP),
        Case("dies-after-the-end", 0, RESTARTED, "units_failed", APP, crashed=APP),
        Case("script", 2, BEGIN + "Failed to run activate script\n", "activation_script"),
        Case("script-and-other-unit", 4, BEGIN + "Failed to run activate script\n" + OTHER_RUST, "activation_script", listed=OTHER),
        Case("lock", 11, "Could not acquire lock\n", "locked"),
        Case("check", 1, "not today\nPre-switch check 'no' failed\nPre-switch checks failed\n", "pre_switch_check", words="not today"),
        Case("check-that-names-none", 1, "Pre-switch checks failed\n", "pre_switch_check"),
        Case("inhibitor", 1, INHIBITED, "pre_switch_check", words="dbus -> broker"),
        Case("user-unit", 4, BEGIN + USER, None, listed=SYNC),
        Case("user", 4, BEGIN + NO_BUS + "warning: user activation for alice failed\n", "units_failed", words="not completely for alice"),
        Case("user-and-unit", 4, BEGIN + USER + "Failed to start app.service\n", "units_failed", APP, SYNC),
        Case("no-bus", 1, NO_BUS, "activation", words="Failed to open dbus connection"),
        Case("reload-timeout", 1, BEGIN + "Error: systemd daemon reload failed, timeout after 180s\n", "activation", words="timeout after 180s"),
        Case("breaks-off-after-a-check-like-text", 1, BEGIN + "Pre-switch checks failed\n" + NO_BUS, "activation"),
        Case("deprecated-restart", 0, BEGIN + WARN, None),
    ],
}  # fmt: skip


class Machine:
    """What the activation asks the host, answered as after one run of the program."""

    def __init__(self, case: Case) -> None:
        self.case = case

    def find(self, _program: str) -> str:
        return "/bin/sh"

    def run(self, *argv: str) -> Outcome:
        if argv[0] == "systemd-run":
            return Outcome(self.case.status, "", "")
        if argv[0] == "journalctl" and f"_SYSTEMD_UNIT={hosts.UNIT}.service" in argv:
            return Outcome(0, self.case.text, "")
        if argv[:2] == ("systemctl", "show"):
            return Outcome(0, "\n".join(map(self._shown, argv[argv.index("--") + 1 :])), "")
        return Outcome(0, "", "")

    def _shown(self, unit: str) -> str:
        state = "failed" if unit in self.case.crashed else "active"
        return f"LoadState=loaded\nActiveState={state}\nSubState=x\n"

    def failed_units(self) -> list[str]:
        return list(self.case.crashed)


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=f"{edition}-{case.name}") for edition in CASES for case in CASES[edition]]
)
def test_what_an_activation_brought_about(case: Case, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "SYSTEMD", str(tmp_path))
    machine = Machine(case)
    host = types.SimpleNamespace(runner=machine, failed_units=machine.failed_units)
    deployment = types.SimpleNamespace(id="1", system=SYSTEM, confirm_timeout=0, no_check=False)
    run = activation.Activation(t.cast(t.Any, host), t.cast(t.Any, deployment), {"restart": ["app.service"]})
    error = run.run(60)
    assert (error.details["reason"] if error else None) == case.reason, error
    assert [unit["name"] for unit in run.failed if unit["decisive"]] == list(case.decisive)
    assert [unit["name"] for unit in run.failed if not unit["decisive"]] == list(case.listed)
    assert case.words in str(error or "")


def test_only_what_was_refused_before_it_began_is_not_taken_back() -> None:
    """Everything else may have changed the host."""
    refused = {case.name for cases in CASES.values() for case in cases if case.reason in activation.NOT_ACTIVATED}
    assert refused == {"lock", "interrupted-lock", "check", "check-that-names-none", "inhibitor"}


DRY = """\
would stop the following units: a.service, b.service
would NOT stop the following changed units: c.service
would activate the configuration...
would restart systemd
would reload the following units: d.service
would restart the following units: e.service, -.mount
would start the following units: a.service, dev-disk-by\\x2dlabel-x.swap
"""


def test_a_dry_activation_of_either_edition() -> None:
    """What user units or the dry run of the script would do is not ours."""
    more = "would stop swap device: /dev/sda2\nwould start the following user units: x.service\nwould create user bob\n"
    assert messages.would(more + DRY) == {
        "stop": ["a.service", "b.service"],
        "reload": ["d.service"],
        "restart": ["e.service", "-.mount"],
        "start": ["a.service", "dev-disk-by\\x2dlabel-x.swap"],
    }
    assert messages.would("would activate the configuration...\n") == {
        "stop": [],
        "reload": [],
        "restart": [],
        "start": [],
    }


BUILD = "error: builder for '/nix/store/x-a.drv' failed with exit code 1;\n       last 2 log lines:\n"
NG = "Command '['nix-build', '<nixpkgs/nixos>', '--attr', 'config.system.build.toplevel']' returned non-zero exit status 1.\n"


@pytest.mark.parametrize("end", ["", NG, f"error: {NG}"], ids=["bash", "ng", "ng-newest"])
def test_a_builder_may_speak_like_nixos_rebuild(end: str) -> None:
    log = "Command '['cc', 'a.c']' returned non-zero exit status 1.\n"
    text = log + BUILD + f"       > {log}       > make: no rule\n" + end
    assert messages.is_build_failure(text)
    shown = messages.build_error(text)
    assert shown.startswith("builder for") and shown.endswith("> make: no rule") and "nix-build" not in shown
