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
from .deployment import PENDING
from .host import CURRENT_SYSTEM, UNFINISHED
from .staging import Repository

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

# The running system's list of the files that it was built from; nix/modules/nixos.nix writes it.
MANIFEST = "/etc/nixci/manifest.json"
# Folder below nixci/ -> the names in it that are ours. Other names stay, but a rebuild depends on them as well.
OURS = {"modules": re.compile(r"[\w-]+\.(?:nix|json|sh|py)"), "settings": re.compile(r"[\w-]+\.json")}
# The name of a folder, of an attribute of a flake, and never the way out of nixci/hosts.
HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
# What a configuration imports of a host of a fleet. It imports all the rest, so the manifest does not list it.
HOST_MODULE = "host.nix"
# Time limit for git, which only looks at and into its index.
GIT_TIMEOUT = 60

Params = dict[str, t.Any]
Result = dict[str, t.Any]
Texts = dict[str, str]


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where our files are: an installation on its own host may have one settings folder, a fleet has one for each host."""

    host: str | None = None

    @classmethod
    def of(cls, config_dir: str, host: str | None, *, fleet: bool) -> Layout:
        if host is not None and not HOST.fullmatch(host):
            raise InvalidError(f"'{host}' is not the name of a configuration (nixos_configuration).")
        old = not fleet and os.path.isdir(os.path.join(config_dir, "nixci/settings"))
        return cls(None if old else host)

    @property
    def imported(self) -> str:
        """What the configuration imports, below its folder."""
        return f"nixci/hosts/{self.host}" if self.host else "nixci/modules"

    def place(self, path: str) -> str:
        """Where a file of the manifest is, below the folder of the configuration."""
        if path == HOST_MODULE:
            return f"{self.imported}/default.nix"
        if self.host and (path == "settings" or path.startswith("settings/")):
            return f"{self.imported}/{path}"
        return f"nixci/{path}".rstrip("/")


@dataclasses.dataclass(frozen=True)
class Host:
    """Path in the manifest to hash of all files and to text of ours, and what the running system was built from.

    `untracked` are files of ours that the git repository of a flake does not know, `uncommitted` those to be committed.
    """

    hashes: dict[str, str]
    ours: Texts
    untracked: list[str]
    uncommitted: list[str]
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

    def __init__(
        self,
        module: AnsibleModule,
        config_dir: str,
        layout: Layout,
        checkout: Repository | None = None,
        commit: bool = False,
    ) -> None:
        self.module = module
        self.config_dir = config_dir
        self.layout = layout
        self.repository = checkout
        self.commit = commit

    def read(self, params: Params) -> Host:
        hashes, ours = {}, {}
        desired = self._desired(params)
        for folder in ("", "modules", "settings"):
            self._refuse_link(folder)
        for folder, pattern in OURS.items():
            for path in self._files(folder):
                if pattern.fullmatch(os.path.basename(path)):
                    self._refuse_link(path)
                    content = _read(self._place(path))
                    ours[path] = content.decode(errors="replace")
                elif os.path.islink(self._place(path)):
                    continue
                else:
                    content = _read(self._place(path))
                hashes[path] = hashlib.sha256(content).hexdigest()
        # What a flake does not see is in no system.
        # On the host, a build shows git whatever has a name of ours; in a checkout, only what this run writes.
        visible = desired if params.get("system") else ours
        for path in self._untracked(hashes.keys() - visible.keys()):
            del hashes[path]
        if self.layout.host and os.path.lexists(self._place(HOST_MODULE)):
            self._refuse_link(HOST_MODULE)
            ours[HOST_MODULE] = _read(self._place(HOST_MODULE)).decode(errors="replace")
        uncommitted = []
        if self.commit and self.repository:
            self.repository.refuse_commit()
            uncommitted = self.repository.uncommitted(
                self.config_dir, [self.layout.place(path) for path in sorted(ours)]
            )
        running = params.get("system") or running_system()
        return Host(
            hashes,
            ours,
            self._untracked(desired),
            uncommitted,
            running["built_from"],
            bool(running["unfinished"]),
            running["store_path"],
        )

    def plan(self, params: Params, found: Host) -> Files:
        desired, absent = self._desired(params), _absent(params)
        remove = sorted(found.ours.keys() & absent)
        write = {path: text for path, text in desired.items() if found.ours.get(path) != text}
        files = {path: hashed for path, hashed in found.hashes.items() if path not in remove}
        files.update((path, _hash(text)) for path, text in desired.items() if path != HOST_MODULE)
        result = {
            "files": dict(sorted(files.items())),
            "built_from": found.built_from,
            "rebuild": files != found.built_from or found.unfinished,
            "removed": remove,
            "imported": f"./{self.layout.imported}",
            "store_path": found.system,
        }
        before, after = (
            _shown(found.ours),
            _shown({**{p: x for p, x in found.ours.items() if p not in remove}, **desired}),
        )
        # A run that was interrupted between writing the files and showing them to git.
        before.update({f"{path} in git": "missing" for path in found.untracked})
        before.update({f"{path} in git": "not committed" for path in found.uncommitted})
        ours = sorted((found.ours.keys() | desired.keys()) - set(remove))
        return Files(Change(before, after), write, remove, ours, result)

    def predict(self, plan: Files) -> Result:
        return plan.result

    def apply(self, plan: Files) -> Result:
        """Each file changes in one step, so an interrupted run leaves old and new files, but no part of one."""
        try:
            for folder in OURS:
                os.makedirs(self._place(folder), mode=0o755, exist_ok=True)
            for path, text in plan.write.items():
                File(self.module, self._place(path), "0644").write(text)
            for path in plan.remove:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self._place(path))
        except OSError as exc:
            raise NixciError(
                f"{exc.filename or os.path.join(self.config_dir, 'nixci')} cannot be changed: {exc.strerror}."
            ) from None
        if self.repository:
            self.repository.track(self.config_dir, self._untracked(plan.ours, placed=True))
            if self.commit:
                places = [self.layout.place(path) for path in (*plan.ours, *plan.remove)]
                whose = f" for {self.layout.host}" if self.layout.host else ""
                self.repository.commit(
                    self.config_dir, places, f"Update the modules and settings of pantheros.nixci{whose}"
                )
        return plan.result

    def _desired(self, params: Params) -> Texts:
        texts = _desired(params)
        if self.layout.host and params.get("host_module"):
            texts[HOST_MODULE] = params["host_module"]
        return texts

    def _place(self, path: str) -> str:
        return os.path.join(self.config_dir, self.layout.place(path))

    def _untracked(self, paths: Iterable[str], *, placed: bool = False) -> list[str]:
        if self.repository is None:
            return []
        places = {self.layout.place(path): path for path in sorted(paths)}
        found = self.repository.untracked(self.config_dir, list(places))
        return found if placed else [places[place] for place in found]

    def _refuse_link(self, path: str) -> None:
        """What a link points to is somebody else's, and a copy of the folder would share it."""
        place = self._place(path)
        if os.path.islink(place):
            raise InvalidError(
                f"{place} is a symbolic link; replace it by what it points to, because this module writes there."
            )

    def _files(self, folder: str) -> list[str]:
        try:
            with os.scandir(self._place(folder)) as entries:
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


def running_system() -> dict[str, t.Any]:
    """What the host that this runs on was built from."""
    system = os.path.realpath(CURRENT_SYSTEM)
    return {
        "store_path": system,
        "built_from": _manifest(),
        "unfinished": os.path.exists(UNFINISHED) or os.path.exists(PENDING),
    }


def _manifest() -> dict[str, str] | None:
    try:
        with open(MANIFEST, encoding="utf-8") as file:
            return dict(json.load(file)["files"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise NixciError(f"{MANIFEST} cannot be read: {exc}.") from None
