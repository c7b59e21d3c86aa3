# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the playbooks need on the controller. Private: may change without notice."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import typing as t

import yaml
from ansible.release import __version__ as ansible_version

from ...module_utils._core.deps import optional
from . import specs

# ansible-core brings it, but ansible-test imports this file without.
with optional("packaging"):
    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet
    from packaging.version import InvalidVersion, Version

# Library in requirements.txt to the roles that need it; those that are not here are needed by all.
NEEDED_BY = {
    "b2sdk": {"b2"},
    "boto3": {"b2"},
    "python-gitlab": {"gitlab"},
    "PyJWT": {"caches"},
    "cryptography": {"attic", "caches"},
}
UNVERSIONED = "unknown"
COLLECTIONS_NEEDED_BY = {"community.crypto": {"attic"}}

# Runs with another interpreter, too, which may be older and have nothing installed.
INSTALLED = """
import json, sys
try:
    from importlib.metadata import PackageNotFoundError, version
except ImportError:
    sys.exit(1)
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = version(name)
    except PackageNotFoundError:
        pass
print(json.dumps(found))
"""


@dataclasses.dataclass
class Lacking:
    """What the controller lacks, and the roles that cannot run without it."""

    problems: list[str] = dataclasses.field(default_factory=list)
    libraries: list[str] = dataclasses.field(default_factory=list)
    roles: set[str] = dataclasses.field(default_factory=set)


def lacking(roles: t.Collection[str], interpreter: str, collections: t.Sequence[str]) -> Lacking:
    """`interpreter` runs the modules on the controller; `collections` are the folders with collections."""
    found = Lacking(_ansible())
    _libraries(found, roles, interpreter)
    _collections(found, roles, collections)
    return found


def interpreter(configured: str | None, fallbacks: t.Sequence[str], implicit: bool) -> str:
    """The Python that runs modules on localhost: this one, unless the inventory defines localhost without it."""
    if configured and not configured.startswith("auto"):
        return configured
    if implicit:
        return sys.executable
    return next((found for name in fallbacks if (found := shutil.which(name))), sys.executable)


def _ansible() -> list[str]:
    wanted = yaml.safe_load((specs.ROOT / "meta/runtime.yml").read_text())["requires_ansible"]
    if SpecifierSet(wanted).contains(ansible_version, prereleases=True):
        return []
    return [f"ansible-core {ansible_version} is too old; install ansible-core{wanted}."]


def _libraries(lacking: Lacking, roles: t.Collection[str], interpreter: str) -> None:
    needed = {
        requirement: NEEDED_BY.get(requirement.name, set(roles)).intersection(roles)
        for requirement in _requirements((specs.ROOT / "requirements.txt").read_text())
        if requirement.name != "ansible-core"
    }
    wanted = [requirement for requirement, users in needed.items() if users]
    if not wanted:
        return
    found = _installed(interpreter, [requirement.name for requirement in wanted])
    if found is None:
        lacking.roles.update(roles)
        lacking.problems.append(
            f"{interpreter} does not run, but is the ansible_python_interpreter of localhost; correct it in the inventory."
        )
        return
    missing = [requirement for requirement in wanted if not _recent(requirement, found.get(requirement.name))]
    if not missing:
        return
    lacking.libraries += [requirement.name for requirement in missing]
    lacking.roles.update(*(needed[requirement] for requirement in missing))
    remedy = f"{interpreter} -m pip install {' '.join(shlex.quote(str(requirement)) for requirement in missing)}"
    if interpreter != sys.executable:
        remedy += ", or set ansible_python_interpreter of localhost to '{{ ansible_playbook_python }}'"
    names = [f"{one.name} (too old: {found[one.name]})" if one.name in found else one.name for one in missing]
    libraries = "the libraries" if len(missing) > 1 else "the library"
    lacking.problems.append(f"The controller's Python lacks {libraries} {', '.join(names)}; install with: {remedy}")


def _requirements(text: str) -> list[Requirement]:
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return [Requirement(line) for line in lines if line]


def _installed(interpreter: str, names: list[str]) -> dict[str, str] | None:
    if interpreter == sys.executable:
        found = {}
        for name in names:
            try:
                found[name] = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                continue
        return found
    try:
        done = subprocess.run(
            [interpreter, "-c", INSTALLED, *names], capture_output=True, text=True, timeout=60, check=True
        )
        return dict(json.loads(done.stdout))
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def _recent(requirement: Requirement, version: str | None) -> bool:
    """Newer than tried is no reason to refuse."""
    if version is None:
        return False
    least = [one.version for one in requirement.specifier if one.operator == ">="]
    try:
        return all(Version(version) >= Version(one) for one in least)
    except InvalidVersion:
        return True


def _collections(lacking: Lacking, roles: t.Collection[str], folders: t.Sequence[str]) -> None:
    remedy = f"ansible-galaxy collection install --upgrade -r {specs.ROOT / 'requirements.yml'}"
    for entry in yaml.safe_load((specs.ROOT / "requirements.yml").read_text())["collections"]:
        users = COLLECTIONS_NEEDED_BY.get(entry["name"], set(roles)).intersection(roles)
        found = _collection_version(entry["name"], folders) if users else UNVERSIONED
        if found is None:
            lacking.problems.append(f"The collection {entry['name']} is not installed; install it with: {remedy}")
        elif found != UNVERSIONED and not SpecifierSet(entry["version"]).contains(found, prereleases=True):
            lacking.problems.append(
                f"The collection {entry['name']} has the version {found}, not {entry['version']}; update it with: {remedy}"
            )


def _collection_version(name: str, folders: t.Sequence[str]) -> str | None:
    """The first one on the path, as Ansible takes it; a checkout may have no version."""
    for folder in folders:
        place = pathlib.Path(os.path.expanduser(folder), "ansible_collections", *name.split("."))
        if not place.is_dir():
            continue
        try:
            return str(json.loads((place / "MANIFEST.json").read_text())["collection_info"]["version"])
        except (OSError, ValueError, KeyError):
            pass
        try:
            version = re.search(r"^version:\s*['\"]?([\w.+-]+)", (place / "galaxy.yml").read_text(), re.MULTILINE)
        except OSError:
            version = None
        return version[1] if version else UNVERSIONED
    return None
