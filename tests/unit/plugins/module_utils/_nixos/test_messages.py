# SPDX-License-Identifier: GPL-3.0-or-later
"""What Nix and NixOS print, recorded in data/, and what is told of it.

Evaluation and build: printed by Nix 2.8 and 2.26 with nixpkgs' own modules; 2.31 and activation: composed as the sources print.
"""

from __future__ import annotations

import pathlib

import pytest
from ansible_collections.pantheros.nixci.plugins.module_utils._nixos import host as hosts
from ansible_collections.pantheros.nixci.plugins.module_utils._nixos import messages
from ansible_collections.pantheros.nixci.plugins.module_utils._nixos.command import Outcome

DATA = pathlib.Path(__file__).parent / "data"
CONFIGURATION = "/etc/nixos/configuration.nix"
NEW, OLD = "nix-2.26", "nix-2.8"
# What each text must say, whatever stands around it; the first is the beginning.
EVALUATION = {
    "syntax": {
        NEW: ["syntax error, unexpected ';'", f"at {CONFIGURATION}:4:29"],
        OLD: ["syntax error, unexpected ';'", f"at {CONFIGURATION}:4:29"],
    },
    "package": {
        NEW: ["attribute 'htopp' missing", f"at {CONFIGURATION}:6:5", "while evaluating the option `environment.systemPackages'"],
        OLD: ["attribute 'htopp' missing", f"at {CONFIGURATION}:6:5"],
    },
    "undefined": {
        NEW: ["undefined variable 'pkgs'", f"at {CONFIGURATION}:4:34"],
        OLD: ["undefined variable 'pkgs'", f"at {CONFIGURATION}:4:34"],
    },
    "library": {
        NEW: [
            'expected a list but found a string: "a b"',
            "while evaluating the option `environment.etc.x.text'",
            f"while evaluating definitions from `{CONFIGURATION}'",
        ],
        OLD: ["value is a string while a list was expected", f"at {CONFIGURATION}:4:28"],
    },
    "libraryarg": {
        NEW: ["function 'writeTextFile' called without required argument 'name'", f"while evaluating definitions from `{CONFIGURATION}'"],
        OLD: ["'writeTextFile' at ", "called without required argument 'name'", f"at {CONFIGURATION}:4:30"],
    },
    "recursion": {
        NEW: ["infinite recursion encountered", "while evaluating the option `environment.etc.x.text'", f"definitions from `{CONFIGURATION}'"],
        OLD: ["infinite recursion encountered", "at /nixpkgs/lib/modules.nix:1147:7"],
    },
    "recursion2": {
        NEW: ["infinite recursion encountered", "you probably reference `config` in `imports`", f'in "{CONFIGURATION}"'],
        OLD: ["infinite recursion encountered", "at /nixpkgs/lib/modules.nix:"],
    },
    "throw": {
        NEW: ["the domain is missing,\nset it in x.nix", "while evaluating the option `environment.etc.x.text'"],
        OLD: ["the domain is missing,\nset it in x.nix"],
    },
    "option": {
        NEW: ["The option `services.nonsense' does not exist", f"- In `{CONFIGURATION}'"],
        OLD: ["The option `services.nonsense' does not exist", f"- In `{CONFIGURATION}'"],
    },
    "missingfile": {
        NEW: ["path '/etc/nixos/nixci/modules' does not exist"],
        OLD: ["getting status of '/etc/nixos/nixci/modules': No such file"],
    },
    "assertions": dict.fromkeys(
        (NEW, OLD),
        [
            "Failed assertions:",
            "- config.services.postgresqlBackup.compressionLevel must be set between",
            "- Exactly one of users.users.alice.isSystemUser",
            "- users.users.alice.group is unset.",
            "users.groups.alice = {};",
        ],
    ),
}  # fmt: skip


def read(name: str) -> str:
    return (DATA / f"{name}.txt").read_text()


@pytest.mark.parametrize(
    "end", ["", "Command 'nix-build <nixpkgs/nixos>' returned non-zero exit status 1.\n"], ids=["bash", "ng"]
)
@pytest.mark.parametrize("version", [NEW, OLD])
@pytest.mark.parametrize("kind", EVALUATION)
def test_an_evaluation_error_says_what_and_where(kind: str, version: str, end: str) -> None:
    text = read(f"evaluation/{version}-{kind}") + end
    assert not messages.is_build_failure(text)
    shown = messages.evaluation_error(text)
    first, *others = EVALUATION[kind][version]
    assert shown.startswith(first)
    assert not [one for one in others if one not in shown], shown
    for noise in ("error:", "stack trace", "--show-trace", "while calling", " | ", "exit status", "evaluation warning"):
        assert noise not in shown, shown


@pytest.mark.parametrize("name", ["nix-2.26-classic", "nix-2.26-flake", "nix-2.31"])
def test_a_failed_build_shows_the_builder_s_log_and_not_what_depended_on_it(name: str) -> None:
    text = read(f"build/{name}")
    assert messages.is_build_failure(text)
    shown = messages.build_error(text)
    assert "caddyfile.drv" in shown.splitlines()[0]
    assert shown.endswith("> checking the file\n> Error: unrecognized directive: respnd, at line 3")
    assert "etc.drv" not in shown and "building '" not in shown and "depend" not in shown


def test_a_long_log_is_cut_at_its_beginning() -> None:
    log = "".join(f"line {number}\n" for number in range(100))
    shown = messages.build_error(
        f"building '/nix/store/x.drv'...\n{log}error: builder for '/nix/store/x.drv' failed with exit code 1\n"
    )
    assert "(85 lines before these)" in shown and "> line 99" in shown and "line 84\n" not in shown


def test_a_message_may_hold_lines_that_look_like_errors() -> None:
    shown = messages.evaluation_error(
        "error:\n       Failed assertions:\n       - see the log:\n       error: it says\n"
    )
    assert shown == "Failed assertions:\n- see the log:\nerror: it says"


def test_units_and_users_that_failed() -> None:
    assert messages.failed_units(read("activation/perl-units")) == ["atticd.service", "other.service"]
    assert messages.failed_units(read("activation/rust-jobs")) == ["atticd.service"]
    users = read("activation/rust-user-units")
    assert (messages.failed_units(users), messages.failed_user_units(users)) == ([], ["dbus-broker.service"])
    assert (
        messages.users_not_activated(users) == messages.users_not_activated(read("activation/rust-user")) == ["alice"]
    )
    assert messages.failed_snippets(read("activation/snippet")) == ["copyKeys"]


@pytest.mark.parametrize(("name", "status"), [("lock-perl", 11), ("lock-rust", 11), ("lock-unit", 1)])
def test_a_lock_is_recognized(name: str, status: int) -> None:
    text = read(f"activation/{name}")
    assert hosts.refused_by_lock(Outcome(status, "", text))
    assert not hosts.refused_by_lock(Outcome(4, f"Nov 26 12:00:00 web app[7]: {text}", ""))


def test_what_activation_would_do() -> None:
    assert messages.would(read("activation/dry-activate")) == {
        "stop": ["atticd.service", "caddy.service"],
        "reload": ["dbus.service"],
        "restart": ["nix-daemon.service"],
        "start": ["atticd.service", "caddy.service"],
    }
