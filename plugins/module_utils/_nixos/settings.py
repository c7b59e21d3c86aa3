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

from .._core.change import Change
from .._core.errors import InvalidError, NixciError
from .._core.file import File
from .host import UNFINISHED

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

# The running system's list of the files that it was built from; nix/modules/nixos.nix writes it.
MANIFEST = "/etc/nixci/manifest.json"
# Folder below nixci/ -> the names in it that are ours. Other names stay, but a rebuild depends on them as well.
OURS = {"modules": re.compile(r"[\w-]+\.(nix|json)"), "settings": re.compile(r"[\w-]+\.json")}

# What stands for the text of a private file in the diff.
HIDDEN = "not shown"
HIDDEN_OLD = "not shown, another one"

Params = dict[str, t.Any]
Result = dict[str, t.Any]
Texts = dict[str, str]


@dataclasses.dataclass(frozen=True)
class Host:
    """Path below nixci/ to hash of all files and to text of ours, and what the running system was built from.

    `private` are the texts of the private files that exist.
    """

    hashes: dict[str, str]
    ours: Texts
    private: Texts
    built_from: dict[str, str] | None
    unfinished: bool


@dataclasses.dataclass(frozen=True)
class Files:
    """The files that a host shall have."""

    change: Change
    write: Texts
    private: Texts
    remove: list[str]
    result: Result


class Settings:
    """The modules of the collection and one settings file per role."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.folder = os.path.join(module.params["config_dir"], "nixci")

    def read(self, params: Params) -> Host:
        hashes, ours = {}, {}
        for folder, pattern in OURS.items():
            for path in self._files(folder):
                content = _read(os.path.join(self.folder, path))
                hashes[path] = hashlib.sha256(content).hexdigest()
                if pattern.fullmatch(os.path.basename(path)):
                    ours[path] = content.decode(errors="replace")
        private = {}
        for path in params["private_files"]:
            if os.path.exists(path):
                private[path] = _read(path).decode(errors="replace")
        return Host(hashes, ours, private, _manifest(), os.path.exists(UNFINISHED))

    def plan(self, params: Params, found: Host) -> Files:
        desired = _desired(params)
        remove = sorted(found.ours.keys() - desired.keys())
        write = {path: text for path, text in desired.items() if found.hashes.get(path) != _hash(text)}
        files = {path: hashed for path, hashed in found.hashes.items() if path not in remove}
        files.update((path, _hash(text)) for path, text in desired.items())
        result = {
            "files": dict(sorted(files.items())),
            "built_from": found.built_from,
            "rebuild": files != found.built_from or found.unfinished,
        }
        private = {path: text for path, text in params["private_files"].items() if found.private.get(path) != text}
        before = {
            **_shown(found.ours),
            **dict.fromkeys(found.private, HIDDEN),
            **dict.fromkeys(private.keys() & found.private.keys(), HIDDEN_OLD),
        }
        after = {**_shown(desired), **dict.fromkeys(params["private_files"], HIDDEN)}
        return Files(Change(before, after), write, private, remove, result)

    def predict(self, plan: Files) -> Result:
        return plan.result

    def apply(self, plan: Files) -> Result:
        try:
            for folder in OURS:
                os.makedirs(os.path.join(self.folder, folder), mode=0o755, exist_ok=True)
            for path, text in plan.write.items():
                File(self.module, os.path.join(self.folder, path), "0644").write(text)
            for path, text in plan.private.items():
                File(self.module, path).write(text)
            for path in plan.remove:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(os.path.join(self.folder, path))
        except OSError as exc:
            raise NixciError(f"{exc.filename or self.folder} cannot be changed: {exc.strerror}.") from None
        return plan.result

    def _files(self, folder: str) -> list[str]:
        try:
            with os.scandir(os.path.join(self.folder, folder)) as entries:
                return sorted(f"{folder}/{entry.name}" for entry in entries if entry.is_file(follow_symlinks=False))
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
