# SPDX-License-Identifier: GPL-3.0-or-later
"""What a role documents is what it does: names and values of its defaults stand in its argument specification."""

from __future__ import annotations

import json
import pathlib
import typing as t

import pytest
import yaml

from tests.support.paths import ROOT

ROLES = sorted((ROOT / "roles").iterdir())


def load(path: pathlib.Path) -> t.Any:
    return yaml.safe_load(path.read_text()) if path.exists() else {}


@pytest.fixture(params=ROLES, ids=lambda role: role.name)
def role(request: pytest.FixtureRequest) -> pathlib.Path:
    return request.param


def test_every_default_is_documented_with_its_value(role: pathlib.Path) -> None:
    documented: dict[str, t.Any] = {}
    for entry in load(role / "meta/argument_specs.yml")["argument_specs"].values():
        documented |= entry["options"]
    defaults = load(role / "defaults/main.yml")
    assert documented.keys() == defaults.keys()
    for name, option in documented.items():
        if "default" in option:
            assert option["default"] == defaults[name], name
        elif defaults[name] is not None:
            # Ansible evaluates the defaults of a specification even where they are overridden, and the documentation
            # takes no expression for a dict. Such a default is described.
            assert "{{" in json.dumps(defaults[name]), name
            assert "By default" in " ".join(option["description"]), name


def test_every_entry_point_has_its_tasks(role: pathlib.Path) -> None:
    for name, entry in load(role / "meta/argument_specs.yml")["argument_specs"].items():
        assert (role / "tasks" / f"{name}.yml").exists(), name
        assert entry["short_description"]
        assert entry["description"]


def test_the_role_is_verified(role: pathlib.Path) -> None:
    """By tasks of its own, or by what its part of the system lists in the manifest."""
    listed = f"cfg.{role.name} != null" in (ROOT / "nix/modules/checks.nix").read_text()
    assert (role / "tasks/verify.yml").exists() or listed


def test_the_role_takes_values_of_other_hosts_as_parameters_only(role: pathlib.Path) -> None:
    text = "".join(path.read_text() for path in role.rglob("*.yml"))
    assert "hostvars" not in text.replace("hostvars[inventory_hostname]", "")


def test_variables_carry_the_name_of_the_role(role: pathlib.Path) -> None:
    assert all(name.startswith(f"{role.name}_") for name in load(role / "defaults/main.yml"))
    assert all(name.startswith((f"_{role.name}_", f"__{role.name}_")) for name in load(role / "vars/main.yml"))
