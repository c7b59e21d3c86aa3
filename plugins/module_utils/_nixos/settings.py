# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Our files in the configuration of a host as a resource. Private: may change without notice."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import re
import typing as t
from collections.abc import Iterable

from .._core.change import Change
from .._core.errors import InvalidError, NixciError
from .._core.file import File
from .host import CURRENT_SYSTEM, UNFINISHED
from .staging import Repository

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

# The running system's list of the files that it was built from; nix/modules/nixos.nix writes it.
MANIFEST = "/etc/nixci/manifest.json"
# Folder below nixci/ -> the names in it that are ours. Other names stay, but a rebuild depends on them as well.
OURS = {"modules": re.compile(r"[\w-]+\.(?:nix|json)"), "settings": re.compile(r"[\w-]+\.json")}
# Time limit for git, which only looks at and into its index.
GIT_TIMEOUT = 60

Params = dict[str, t.Any]
Result = dict[str, t.Any]
Texts = dict[str, str]


@dataclasses.dataclass(frozen=True)
class Host:
    """Path below nixci/ to hash of all files and to text of ours, and what the running system was built from.

    `untracked` are files of ours that the git repository of a flake does not know.
    """

    hashes: dict[str, str]
    ours: Texts
    untracked: list[str]
    built_from: dict[str, str] | None
    unfinished: bool
    system: str


@dataclasses.dataclass(frozen=True)
class Files:
    """The files that a host shall have."""

    change: Change
    write: Texts
    remove: list[str]
    ours: list[str]
    result: Result


class Settings:
    """The modules of the collection and one settings file per role."""

    def __init__(self, module: AnsibleModule, config_dir: str, repository: Repository | None = None) -> None:
        self.module = module
        self.config_dir = config_dir
        self.folder = os.path.join(config_dir, "nixci")
        self.repository = repository

    def read(self, params: Params) -> Host:
        hashes, ours = {}, {}
        self._refuse_link("")
        for folder, pattern in OURS.items():
            self._refuse_link(folder)
            for path in self._files(folder):
                if pattern.fullmatch(os.path.basename(path)):
                    self._refuse_link(path)
                    content = _read(os.path.join(self.folder, path))
                    ours[path] = content.decode(errors="replace")
                elif os.path.islink(os.path.join(self.folder, path)):
                    continue
                else:
                    content = _read(os.path.join(self.folder, path))
                hashes[path] = hashlib.sha256(content).hexdigest()
        # What a flake does not see is in no system.
        for path in self._untracked(hashes.keys() - ours.keys()):
            del hashes[path]
        untracked = self._untracked(_desired(params))
        return Host(hashes, ours, untracked, _manifest(), os.path.exists(UNFINISHED), os.path.realpath(CURRENT_SYSTEM))

    def plan(self, params: Params, found: Host) -> Files:
        desired, absent = _desired(params), _absent(params)
        remove = sorted(found.ours.keys() & absent)
        write = {path: text for path, text in desired.items() if found.hashes.get(path) != _hash(text)}
        files = {path: hashed for path, hashed in found.hashes.items() if path not in remove}
        files.update((path, _hash(text)) for path, text in desired.items())
        result = {
            "files": dict(sorted(files.items())),
            "built_from": found.built_from,
            "rebuild": files != found.built_from or found.unfinished,
            "removed": remove,
            "store_path": found.system,
        }
        before, after = (
            _shown(found.ours),
            _shown({**{p: x for p, x in found.ours.items() if p not in remove}, **desired}),
        )
        # A run that was interrupted between writing the files and showing them to git.
        before.update({f"{path} in git": "missing" for path in found.untracked})
        ours = sorted((found.ours.keys() | desired.keys()) - set(remove))
        return Files(Change(before, after), write, remove, ours, result)

    def predict(self, plan: Files) -> Result:
        return plan.result

    def apply(self, plan: Files) -> Result:
        """Each file changes in one step, so an interrupted run leaves old and new files, but no part of one."""
        try:
            for folder in OURS:
                os.makedirs(os.path.join(self.folder, folder), mode=0o755, exist_ok=True)
            for path, text in plan.write.items():
                File(self.module, os.path.join(self.folder, path), "0644").write(text)
            for path in plan.remove:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(os.path.join(self.folder, path))
        except OSError as exc:
            raise NixciError(f"{exc.filename or self.folder} cannot be changed: {exc.strerror}.") from None
        if self.repository:
            self.repository.track(self.config_dir, [f"nixci/{path}" for path in self._untracked(plan.ours)])
        return plan.result

    def _untracked(self, paths: Iterable[str]) -> list[str]:
        if self.repository is None:
            return []
        found = self.repository.untracked(self.config_dir, [f"nixci/{path}" for path in sorted(paths)])
        return [path.removeprefix("nixci/") for path in found]

    def _refuse_link(self, path: str) -> None:
        """What a link points to is somebody else's, and a copy of the folder would share it."""
        place = os.path.join(self.folder, path).rstrip("/")
        if os.path.islink(place):
            raise InvalidError(
                f"{place} is a symbolic link; replace it by what it points to, because this module writes there."
            )

    def _files(self, folder: str) -> list[str]:
        try:
            with os.scandir(os.path.join(self.folder, folder)) as entries:
                return sorted(f"{folder}/{entry.name}" for entry in entries if entry.is_symlink() or entry.is_file())
        except FileNotFoundError:
            return []
        except OSError as exc:
            raise NixciError(f"{exc.filename} cannot be read: {exc.strerror}.") from None


def _desired(params: Params) -> Texts:
    texts = {f"modules/{name}": text for name, text in params["modules"].items()}
    for role, settings in params["settings"].items():
        texts[f"settings/{role}.json"] = json.dumps({role: settings}, indent=4, sort_keys=True) + "\n"
    for path in texts:
        folder, name = path.split("/", 1)
        if not OURS[folder].fullmatch(name):
            raise InvalidError(f"'{name}' is not the name of a file below {folder}.")
    return texts


def _absent(params: Params) -> set[str]:
    if both := sorted(set(params["absent"]) & params["settings"].keys()):
        raise InvalidError(
            f"The settings of {', '.join(both)} are given and to be removed at the same time; decide on one of the two."
        )
    for role in params["absent"]:
        if not OURS["settings"].fullmatch(f"{role}.json"):
            raise InvalidError(f"'{role}' is not the name of a role.")
    return {f"settings/{role}.json" for role in params["absent"]}


def _shown(texts: Texts) -> dict[str, t.Any]:
    """For the diff: settings as they are, modules as their hash."""
    return {
        path: _parsed(text) if path.startswith("settings/") else f"sha256:{_hash(text)}"
        for path, text in sorted(texts.items())
    }


def _parsed(text: str) -> t.Any:
    # Another spelling of the same settings is another file, and the manifest sees it.
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if text == json.dumps(value, indent=4, sort_keys=True) + "\n" else text


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as exc:
        raise NixciError(f"{path} cannot be read: {exc.strerror}.") from None


def _manifest() -> dict[str, str] | None:
    try:
        with open(MANIFEST, encoding="utf-8") as file:
            return dict(json.load(file)["files"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise NixciError(f"{MANIFEST} cannot be read: {exc}.") from None
