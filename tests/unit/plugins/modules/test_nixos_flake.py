# SPDX-License-Identifier: GPL-3.0-or-later
"""nixos_flake with programs that answer like Nix. What real Nix makes of it is in tests/contract/test_flake_builds.py."""

from __future__ import annotations

import json
import os
import pathlib
import typing as t

import pytest

SYSTEM = {
    "drv": "/nix/store/0-web.drv",
    "path": "/nix/store/0-web",
    "host": "web",
    "manifest": None,
}
PARAMS = {"modules": {"default.nix": "{ }\n"}, "settings": {"attic": {}}, "host_module": "{ }\n"}
Build = t.Callable[..., dict[str, t.Any]]


class Nix:
    """Programs with a given answer, which write down how they were called."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.calls = folder / "calls"
        self.answer("nix", json.dumps(SYSTEM))
        self.answer("nix-store", SYSTEM["path"] or "")

    def answer(self, program: str, out: str = "", err: str = "", rc: int = 0, *, valid: bool = True) -> None:
        (self.folder / f"{program}.out").write_text(out)
        (self.folder / f"{program}.err").write_text(err)
        script = f"""#!/bin/sh
[ "$1" != --check-validity ] || exit {int(not valid)}
echo "{program} $*" >>{self.calls}
cat {self.folder}/{program}.err >&2
cat {self.folder}/{program}.out
exit {rc}
"""
        (self.folder / program).write_text(script)
        (self.folder / program).chmod(0o755)


@pytest.fixture
def nix(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Nix:
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return Nix(folder)


@pytest.fixture
def build(tmp_path: pathlib.Path, nix: Nix, module: t.Any) -> Build:
    (tmp_path / "fleet").mkdir()
    (tmp_path / "fleet/flake.nix").write_text("{ outputs = _: { }; }\n")

    def run(**params: t.Any) -> dict[str, t.Any]:
        return module("nixos_flake", {"flake_dir": str(tmp_path / "fleet"), "name": "web", **params})

    return run


def test_what_was_evaluated_is_built_without_another_evaluation(build: Build, nix: Nix) -> None:
    built = build()
    assert (built["store_path"], built["revision"], built["manifest"]) == ("/nix/store/0-web", None, None)
    evaluated, realised = [line for line in nix.calls.read_text().splitlines() if line.startswith("nix")]
    assert " eval --json " in evaluated and realised == "nix-store --realise /nix/store/0-web.drv"


def test_it_is_evaluated_first_and_built_later(build: Build, module: t.Any, nix: Nix) -> None:
    manifest = {"files": {}, "access": {"ssh": {"enable": False}}}
    nix.answer("nix", json.dumps({**SYSTEM, "manifest": json.dumps(manifest)}))
    evaluated = build(evaluate=True)
    assert evaluated["store_path"] == SYSTEM["path"] and evaluated["manifest"] == manifest
    assert evaluated["derivation"] == SYSTEM["drv"] and "nix-store" not in nix.calls.read_text()
    nix.calls.unlink()
    built = module("nixos_flake", {"derivation": SYSTEM["drv"]})
    assert built["store_path"] == SYSTEM["path"]
    assert nix.calls.read_text() == f"nix-store --realise {SYSTEM['drv']}\n"
    nix.answer("nix-store", err="error: path is not valid", rc=1, valid=False)
    collected = module("nixos_flake", {"derivation": SYSTEM["drv"]})
    assert collected["reason"] == "collected" and "run again" in collected["msg"]


def test_nothing_of_another_host_or_without_our_files_is_built(build: Build, nix: Nix) -> None:
    assert build(host_name="db")["reason"] == "another_host"
    assert build(**PARAMS)["reason"] == "not_imported"
    manifest = json.dumps({"files": {"modules/default.nix": "0" * 64}})
    nix.answer("nix", json.dumps({**SYSTEM, "manifest": manifest}))
    result = build(**PARAMS)
    assert result["reason"] == "not_imported" and "modules/default.nix, settings/attic.json" in result["msg"]
    assert "nix-store" not in nix.calls.read_text()


@pytest.mark.parametrize(
    ("program", "error", "reason"),
    [
        ("nix", "error: attribute 'foo' missing", "evaluation"),
        ("nix", "error: flake 'path:/x' does not provide attribute 'a' or 'nixosConfigurations'", "no_attribute"),
        ("nix-store", "error: builder for '/nix/store/0-x.drv' failed with exit code 1", "build"),
        (
            "nix-store",
            "error: a 'aarch64-linux' with features {} is required to build '/nix/store/0-x.drv'",
            "platform",
        ),
        (
            "nix-store",
            "error: Cannot build '/nix/store/0-x.drv'.\nRequired system: 'aarch64-linux' with features {}\nCurrent system: 'i686-linux' with features {}",
            "platform",
        ),
    ],
)
def test_failures_have_a_reason(build: Build, nix: Nix, program: str, error: str, reason: str) -> None:
    nix.answer(program, err=f"{error}\n", rc=1)
    result = build()
    assert result["failed"] and result["reason"] == reason, result["msg"]
    if reason == "platform":
        assert "The system is for aarch64-linux" in result["msg"]


def test_another_name_is_suggested(build: Build, nix: Nix) -> None:
    nix.answer("nix", json.dumps({"names": ["webb", "db"]}))
    assert "did you mean webb?" in build()["msg"]
    nix.answer("nix", json.dumps({"names": []}))
    assert "it has none." in build()["msg"]


@pytest.mark.parametrize("params", [{"name": "../x"}, {"timeout": 0}, {"flake_dir": "/none"}])
def test_wrong_options_are_one_sentence(build: Build, params: dict[str, t.Any]) -> None:
    result = build(**params)
    assert result["failed"] and "\n" not in result["msg"]


def test_nothing_stays_in_the_folder_for_temporary_files(
    build: Build, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "tmp"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    build(**PARAMS)
    build()
    assert not list(place.iterdir())
    assert [path.name for path in (tmp_path / "fleet").iterdir()] == ["flake.nix"]
