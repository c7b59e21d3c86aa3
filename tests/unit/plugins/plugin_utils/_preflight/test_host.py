# SPDX-License-Identifier: GPL-3.0-or-later
"""What the answers of a host mean. host.sh itself runs here and, as NixOS has it, in tests/integration."""

from __future__ import annotations

import os
import pathlib
import subprocess
import typing as t

import pytest
from ansible_collections.pantheros.nixci.plugins.plugin_utils._preflight import host, specs
from ansible_collections.pantheros.nixci.plugins.plugin_utils._preflight.host import Report

SUPPORTED = specs.supported()
SOUND = """
uid=0
user=root
name=web
nixos=yes
release=25.11.20260101.abcdef
os=nixos 25.11
python=/run/current-system/sw/bin/python3
opnix=0.11.0
configuration=flake.nix
imported=/etc/nixos/configuration.nix
named=/etc/nixos/configuration.nix
root=ext2/ext3
complete=yes
"""


def found(*changes: str, without: t.Collection[str] = ()) -> list[str]:
    replaced = {line.partition("=")[0] for line in changes} | set(without)
    lines = [line for line in SOUND.strip().splitlines() if line.partition("=")[0] not in replaced]
    return list(host.problems("web", Report.parse("\n".join([*lines, *changes])), "/etc/nixos", SUPPORTED))


def test_a_sound_host_has_no_problem() -> None:
    assert found() == []


@pytest.mark.parametrize(
    ("changes", "without", "says"),
    [
        ([], ["complete"], "could not be inspected"),
        ([], ["nixos"], "does not run NixOS"),
        (["uid=1000", "user=deploy"], [], "reached as deploy, who is not root"),
        (["os=nixos 23.11", "release=23.11.1"], [], f"runs NixOS 23.11; upgrade it to {SUPPORTED['nixos']['minimum']}"),
        (["os=debian 12", "release=23.05.4"], [], "runs NixOS 23.05"),
        (["opnix=0.8.0"], [], f"runs OpNix 0.8.0; take {SUPPORTED['opnix']['minimum']}"),
        ([], ["python"], "has no Python"),
        (
            [],
            ["configuration", "imported", "named"],
            "neither configuration.nix nor flake.nix in /etc/nixos, so it is deployed from elsewhere",
        ),
        ([], ["imported"], "imports = [ ./nixci/hosts/web ];"),
        (["volatile=/var/lib/postgresql", "root=tmpfs"], [], "loses /var/lib/postgresql at a reboot"),
        (["calendar=dialy"], [], "'dialy' is not a calendar expression"),
    ],
)
def test_each_fault_is_one_sentence(changes: list[str], without: list[str], says: str) -> None:
    (problem,) = found(*changes, without=without)
    assert says in problem and "web" in problem


@pytest.mark.parametrize(
    ("answers", "says"),
    [
        ("uid=0\narchitecture=x86_64\nmemory=1500000", None),
        ("uid=0\narchitecture=x86_64\nmemory=1004800", "has 981 MB of memory, and nixos-anywhere needs 1500"),
        (
            "uid=0\narchitecture=i686\nmemory=4000000",
            "is a i686, and nixos-anywhere has installers for x86_64 and aarch64 only",
        ),
        ("uid=0\narchitecture=aarch64\nlacks=cpio\nlacks=tar", "lacks cpio and tar"),
        ("uid=1000\nuser=me\narchitecture=aarch64", "reached as me, who is not root"),
    ],
)
def test_what_keeps_nixos_anywhere_from_a_host(answers: str, says: str | None) -> None:
    problems = list(host.install_problems("web", Report.parse(answers)))
    assert len(problems) == (says is not None)
    assert says is None or says in problems[0]


def test_a_leftover_configuration_is_told_from_a_missing_import() -> None:
    (missing,) = found(without=["imported"])
    assert "elsewhere" not in missing
    (leftover,) = found(without=["imported", "named"])
    assert "deployed from elsewhere" in leftover and "'web'" in leftover
    (unnamed,) = found("name=nixos", without=["imported", "named"])
    assert "elsewhere" not in unnamed


@pytest.mark.parametrize("line", ["computed=/etc/nixos/flake.nix", "manifest=yes"])
def test_an_import_that_cannot_be_seen_in_the_text_is_no_false_alarm(line: str) -> None:
    assert found(line, without=["imported", "named"]) == []


def test_a_label_of_its_own_is_no_old_release() -> None:
    assert found("os=debian 13", "release=my-label") == []


def test_several_faults_are_listed_together() -> None:
    assert len(found("opnix=0.8.0", "os=nixos 23.11", "volatile=/etc/nixos", without=["imported"])) == 4


def test_a_folder_for_persistent_files_is_a_warning() -> None:
    report = Report.parse(f"{SOUND}persistence=/persist\non_root=/var/lib/postgresql")
    (warning,) = host.warnings("web", report)
    assert "/persist" in warning and "/var/lib/postgresql" in warning
    assert list(host.problems("web", report, "/etc/nixos", SUPPORTED)) == []


# -- host.sh, on this machine


def run(config: pathlib.Path, *rest: str, path: pathlib.Path | None = None) -> Report:
    command = ["sh", str(host.SCRIPT), str(config), "", "", *rest]
    environment = {**os.environ, **({"PATH": f"{path}:{os.environ['PATH']}"} if path else {})}
    return Report.parse(subprocess.run(command, capture_output=True, text=True, env=environment, check=True).stdout)


@pytest.mark.parametrize(
    ("text", "imported"),
    [
        ("imports = [ ./nixci/hosts/web ];", True),
        ("imports = [ /etc/nixos/nixci/modules/default.nix ];", True),
        ("# imports = [ ./nixci/hosts/web ];", False),
        ('services.caddy.virtualHosts."notes.nixci.test" = { };', False),
    ],
)
def test_the_import_is_found_in_any_file_of_the_host(tmp_path: pathlib.Path, text: str, imported: bool) -> None:
    (tmp_path / "nixci/modules").mkdir(parents=True)
    (tmp_path / "nixci/modules/default.nix").write_text("# ./nixci/modules")
    (tmp_path / "configuration.nix").write_text("{ imports = [ ./hosts/web.nix ]; }")
    (tmp_path / "hosts").mkdir()
    (tmp_path / "hosts/web.nix").write_text(f"{{\n  {text}\n}}\n")
    report = run(tmp_path)
    assert report["configuration"] == "configuration.nix" and report["complete"]
    assert bool(report["imported"]) is imported


def test_a_folder_that_does_not_exist_has_no_configuration(tmp_path: pathlib.Path) -> None:
    report = run(tmp_path / "none")
    assert report["complete"] and not report["configuration"]


def test_a_path_in_memory_is_volatile(tmp_path: pathlib.Path) -> None:
    place = "/dev/shm/not/yet"  # noqa: S108 - nothing is written there
    assert run(tmp_path, place).all("volatile") == [place]


def test_the_version_of_opnix_is_that_of_the_package_in_its_unit(tmp_path: pathlib.Path) -> None:
    """The unit runs a script in the store, and only that one names the package."""
    unit = "{ path=/nix/store/aaaa-unit-script-opnix-secrets-start/bin/opnix-secrets-start ; argv[]=x }"
    (tmp_path / "systemctl").write_text(f"#!/bin/sh\necho '{unit}'\n")
    (tmp_path / "head").write_text("#!/bin/sh\necho '/nix/store/bbbb-opnix-0.8.0/bin/opnix secret'\n")
    for name in ("systemctl", "head"):
        (tmp_path / name).chmod(0o755)
    # `head` stands for reading the script, which this machine does not have.
    assert "0.8.0" in run(tmp_path, path=tmp_path)["opnix"]
