# SPDX-License-Identifier: GPL-3.0-or-later
"""nixos_generation_info with a store, a profile and a record in a folder of the test."""

from __future__ import annotations

import json
import os
import pathlib
import typing as t

import pytest
from ansible_collections.pantheros.nixci.plugins.module_utils._nixos import deployment, generations

from tests.support.paths import ROOT

DIFFERENCE = ROOT / "tests/unit/plugins/module_utils/_nixos/data/closures/nix-2.26.txt"
Result = dict[str, t.Any]


class Host:
    def __init__(self, folder: pathlib.Path, module: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.module = folder, module
        for name in ("store", "profiles", "pins", "failed", "bin"):
            (folder / name).mkdir()
        monkeypatch.setattr(generations, "PROFILES", str(folder / "profiles"))
        monkeypatch.setattr(generations, "STORE", str(folder / "store"))
        places = {
            "ROOTS": "pins",
            "PENDING": "deployment",
            "FAILED": "failed",
            "RECORD": "deployments.jsonl",
        }
        for constant, name in places.items():
            monkeypatch.setattr(deployment, constant, str(folder / name))
        systems = {name: str(folder / name) for name in ("running", "booted")}
        monkeypatch.setattr(generations, "SYSTEMS", {**systems, "profile": str(folder / "profiles/system")})
        monkeypatch.setenv("PATH", f"{folder}/bin:/usr/bin:/bin")

    def program(self, path: str, script: str) -> None:
        place = self.folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(f"#!/bin/sh\n{script}\n")
        place.chmod(0o755)

    def system(self, name: str, revision: str | None = None) -> str:
        path = self.folder / "store" / name
        (path / "etc/nixci").mkdir(parents=True)
        (path / "nixos-version").write_text("25.11.20261120\n")
        (path / "etc/nixci/manifest.json").write_text(json.dumps({"version": "1", "revision": revision}))
        return str(path)

    def link(self, name: str, target: str) -> None:
        place = self.folder / name
        place.unlink(missing_ok=True)
        place.symlink_to(target)

    def generation(self, number: int, path: str) -> None:
        self.link(f"profiles/system-{number}-link", path)
        self.link("profiles/system", f"system-{number}-link")

    def read(self, **params: t.Any) -> Result:
        return self.module("nixos_generation_info", params, check=True)


@pytest.fixture
def host(tmp_path: pathlib.Path, module: t.Any, monkeypatch: pytest.MonkeyPatch) -> Host:
    host = Host(tmp_path, module, monkeypatch)
    paths = [host.system(f"system-{letter}", f"revision-{letter}") for letter in "abc"]
    for number, path in enumerate(paths, 9):
        host.generation(number, path)
    host.link("running", paths[1])
    host.link("booted", paths[0])
    return host


def flags(result: Result, flag: str) -> list[int]:
    return [one["generation"] for one in result["generations"] if one[flag]]


def test_generations_are_listed_with_what_runs_what_was_booted_and_what_boots(host: Host) -> None:
    os.utime(host.folder / "profiles/system-10-link", (1_795_653_000, 1_795_653_000), follow_symlinks=False)
    result = host.read()
    assert not result["failed"], result
    assert [one["generation"] for one in result["generations"]] == [11, 10, 9]
    assert (flags(result, "profile"), flags(result, "running"), flags(result, "booted")) == ([11], [10], [9])
    second = result["generations"][1]
    assert second["date"] == "2026-11-26T00:30:00Z" and second["revision"] == "revision-b"
    assert second["nixos_version"] == "25.11.20261120" and second["path"].endswith("/store/system-b")
    assert result["systems"]["running"]["path"] == second["path"]
    assert result["pending"] is None and result["records"] == [] and "closures" not in result


def test_a_system_under_test_is_no_generation(host: Host) -> None:
    host.link("running", host.system("system-under-test", "revision-t"))
    result = host.read()
    assert flags(result, "running") == []
    assert result["systems"]["running"]["revision"] == "revision-t"


def test_confirmed_generations_are_those_of_the_pins_and_of_the_record(host: Host) -> None:
    a, b = (str(host.folder / "store" / f"system-{letter}") for letter in "ab")
    host.link("pins/confirmed-9", a)
    host.link("pins/confirmed-11", a)  # its number was used again
    lines = [
        {"result": "confirmed", "to_generation": 10, "to": b},
        {"result": "reverted", "to_generation": 11, "to": str(host.folder / "store/system-c")},
    ]
    (host.folder / "deployments.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert flags(host.read(), "confirmed") == [10, 9]


def test_the_last_records_are_returned_without_a_line_that_was_cut_off(host: Host) -> None:
    lines = [json.dumps({"id": str(number), "result": "confirmed"}) for number in range(12)]
    (host.folder / "deployments.jsonl").write_text("\n".join([*lines[:6], '{"id": "cut', *lines[6:], "[1]", ""]))
    assert [one["id"] for one in host.read()["records"]] == [str(number) for number in range(2, 12)]
    assert [one["id"] for one in host.read(records=2)["records"]] == ["10", "11"]
    assert host.read(records=0)["records"] == []
    assert "must not be negative" in host.read(records=-1)["msg"]


def test_the_pending_deployment_and_the_systems_given_up(host: Host) -> None:
    fields = {
        "previous": "/nix/store/a",
        "action": "test",
        "phase": "activated",
        "boot_id": "1-2",
        "who": "me = panther",
    }
    written = deployment.Deployment(
        "5f0c3a", "/nix/store/b", previous_generation=41, started=1_795_653_000, confirm_timeout=120, **fields
    )
    written.write()
    for name, text in (
        ("abc-web", "atticd.service failed.\n2026-11-26T02:30:00Z\nunconfirmed 1\n"),
        ("abc-db", "Old.\n"),
    ):
        (host.folder / "failed" / name).write_text(text)
    result = host.read()
    assert result["pending"] == {
        "id": "5f0c3a",
        "system": "/nix/store/b",
        "previous": "/nix/store/a",
        "action": "test",
        "confirm_timeout": 120,
        "boot_id": "1-2",
        "who": "me = panther",
        "started": "2026-11-26T00:30:00Z",
        "pending": True,
        "phase": "activated",
        "previous_generation": 41,
        "permanent": False,
    }
    store = f"{host.folder}/store"
    assert result["failed_systems"] == {
        f"{store}/abc-db": "Old.",
        f"{store}/abc-web": "atticd.service failed. (2026-11-26T02:30:00Z)",
    }


def test_a_system_without_our_manifest_is_asked_for_its_revision(host: Host) -> None:
    path = host.system("system-d")
    host.generation(12, path)
    assert host.read()["generations"][0]["revision"] is None
    host.program("store/system-d/sw/bin/nixos-version", '[ "$1" = --configuration-revision ] && echo 4c2fcb0')
    assert host.read()["generations"][0]["revision"] == "4c2fcb0"
    host.program("store/system-d/sw/bin/nixos-version", "echo no revision >&2; exit 1")
    assert host.read()["generations"][0]["revision"] is None


def test_a_generation_whose_system_was_removed_by_force_is_listed(host: Host) -> None:
    host.link("profiles/system-9-link", "/nonexistent")
    oldest = host.read()["generations"][-1]
    assert (oldest["generation"], oldest["path"], oldest["nixos_version"]) == (9, None, None)


@pytest.mark.parametrize("pair", [["9", "11"], ["booted", "profile"], ["PATH", "11"]])
def test_two_systems_are_compared(host: Host, pair: list[str]) -> None:
    a, c = (str(host.folder / "store" / f"system-{letter}") for letter in "ac")
    host.program(
        "bin/nix",
        f'case "$*" in *diff-closures*"{a} {c}") cat {DIFFERENCE} ;; *) echo "$5 1000"; echo "$6  2500" ;; esac',
    )
    found = host.read(compare=[a if name == "PATH" else name for name in pair])["closures"]
    assert (found["before"], found["after"]) == (a, c)
    assert (found["size_before"], found["size_after"]) == (1000, 2500)
    assert [one["name"] for one in found["upgraded"]] == ["firefox", "linux", "nixos-system-web"]


@pytest.mark.parametrize(
    ("pair", "expected"),
    [
        (["9", "12"], "has no system '12'; its generations are 11, 10, 9"),
        (["9", "newest"], "'newest' is neither the number of a generation"),
        (["9", "/nix/store/absent"], "has no system '/nix/store/absent'"),
        (["9"], "takes exactly two systems"),
    ],
)
def test_systems_that_cannot_be_compared(host: Host, pair: list[str], expected: str) -> None:
    assert expected in host.read(compare=pair)["msg"]


def test_a_host_without_nix_cannot_compare(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ansible_collections.pantheros.nixci.plugins.module_utils._nixos.command.PROGRAM_DIRS", [])
    monkeypatch.setenv("PATH", str(host.folder / "bin"))
    assert "'nix' was not found on this host" in host.read(compare=["9", "10"])["msg"]


def test_what_nix_refuses_is_shown(host: Host) -> None:
    host.program("bin/nix", "echo error: path is not valid >&2; exit 1")
    assert "error: path is not valid" in host.read(compare=["9", "10"])["msg"]


def test_another_system_is_refused(host: Host) -> None:
    (host.folder / "running").unlink()
    assert "This host is not NixOS" in host.read()["msg"]


def test_files_of_root_need_root(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str, **_more: t.Any) -> t.NoReturn:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(deployment, "open", refuse, raising=False)
    assert "run this task as root (become: true)" in host.read()["msg"]
