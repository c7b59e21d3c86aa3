# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the roles document of their variables, and the files that say more. Private: may change without notice."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import typing as t

ROOT = pathlib.Path(__file__).resolve().parents[3]
Option = dict[str, t.Any]


class Loader(t.Protocol):
    """The part of Ansible's DataLoader that is used here."""

    def load_from_file(
        self, file_name: str, cache: str = ..., unsafe: bool = ..., *, trusted_as_template: bool = ...
    ) -> t.Any: ...


@dataclasses.dataclass(frozen=True)
class Role:
    """A role's variables, from its own files."""

    name: str
    options: dict[str, Option]
    """The options of all entry points."""

    defaults: dict[str, t.Any]
    """Values that Ansible may template."""

    as_json: bool
    """Whether its values travel to NixOS as JSON, where 30 and "30" differ."""


def role(loader: Loader, name: str) -> Role:
    folder = ROOT / "roles" / name
    options: dict[str, Option] = {}
    for entry in _load(loader, folder / "meta/argument_specs.yml")["argument_specs"].values():
        options.update(entry["options"])
    defaults = _load(loader, folder / "defaults/main.yml", templates=True)
    return Role(name, options, defaults, f"_{name}_nixci_settings" in _load(loader, folder / "vars/main.yml"))


def roles() -> list[str]:
    return sorted(path.name for path in (ROOT / "roles").iterdir() if (path / "meta/argument_specs.yml").exists())


def playbooks(loader: Loader) -> dict[str, Option]:
    """The variables that several roles share."""
    return dict(_load(loader, ROOT / "playbooks/vars/arguments.yml")["nixci_arguments"])


def patterns() -> dict[str, dict[str, str]]:
    """Name of a type in nix/modules/types.nix to its pattern and description."""
    return dict(json.loads((ROOT / "nix/modules/patterns.json").read_text()))


def supported() -> dict[str, dict[str, str]]:
    """Product to its oldest and newest supported release."""
    return dict(json.loads((ROOT / "nix/modules/supported.json").read_text()))


def _load(loader: Loader, path: pathlib.Path, *, templates: bool = False) -> dict[str, t.Any]:
    if not path.exists():
        return {}
    # Unsafe means without a copy, which nobody else needs; making it takes longer than reading the file.
    return loader.load_from_file(str(path), "none", unsafe=True, trusted_as_template=templates) or {}
