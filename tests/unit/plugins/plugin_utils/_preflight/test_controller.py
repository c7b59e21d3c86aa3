# SPDX-License-Identifier: GPL-3.0-or-later
"""What the controller lacks is named with the command that installs it, and only for the roles that need it."""

from __future__ import annotations

import importlib.metadata
import json
import pathlib
import sys

import pytest
from ansible_collections.pantheros.nixci.plugins.plugin_utils._preflight import controller, specs

COLLECTIONS: list[str] = []


def installed(monkeypatch: pytest.MonkeyPatch, **versions: str | None) -> None:
    real = importlib.metadata.version

    def version(name: str) -> str:
        if name in versions:
            if versions[name] is None:
                raise importlib.metadata.PackageNotFoundError(name)
            return str(versions[name])
        return real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)


def test_a_complete_controller_lacks_nothing() -> None:
    roles = sorted(set(specs.roles()) - {"attic"})
    assert controller.lacking(roles, sys.executable, COLLECTIONS) == controller.Lacking()


def test_a_missing_library_concerns_the_roles_that_need_it(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, b2sdk=None, PyJWT="1.7.1")
    lacking = controller.lacking(["b2", "caches", "dns"], sys.executable, COLLECTIONS)
    (problem,) = lacking.problems
    assert "libraries b2sdk, PyJWT (too old: 1.7.1)" in problem
    assert f"{sys.executable} -m pip install" in problem and "b2sdk" in problem.partition("pip install")[2]
    assert lacking.roles == {"b2", "caches"}
    assert controller.lacking(["dns"], sys.executable, COLLECTIONS).problems == []


def test_a_library_that_is_newer_than_tried_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, boto3="99.0")
    assert controller.lacking(["b2"], sys.executable, COLLECTIONS).problems == []


def test_an_old_ansible_core_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controller, "ansible_version", "2.18.3")
    (problem,) = controller.lacking([], sys.executable, COLLECTIONS).problems
    assert "2.18.3 is too old" in problem and "2.19" in problem


@pytest.mark.parametrize(
    ("manifest", "says"), [(None, "is not installed"), ("2.26.0", "has the version 2.26.0"), ("3.1.0", None)]
)
def test_a_collection_is_found_as_ansible_finds_it(
    tmp_path: pathlib.Path, manifest: str | None, says: str | None
) -> None:
    if manifest:
        place = tmp_path / "ansible_collections/community/crypto"
        place.mkdir(parents=True)
        (place / "MANIFEST.json").write_text(json.dumps({"collection_info": {"version": manifest}}))
    problems = controller.lacking(["attic"], sys.executable, [str(tmp_path)]).problems
    assert len(problems) == (says is not None)
    assert says is None or (says in problems[0] and "requirements.yml" in problems[0])


def test_the_interpreter_is_the_one_that_runs_the_modules_of_localhost() -> None:
    assert controller.interpreter(None, ["sh"], implicit=True) == sys.executable
    assert controller.interpreter("/opt/python3", ["sh"], implicit=False) == "/opt/python3"
    assert pathlib.Path(controller.interpreter("auto_silent", ["nothing-like-it", "sh"], implicit=False)).name == "sh"
