# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checkout of a fleet's flake, and copies of its tracked files. Private: may change without notice.

A copy is named to Nix as `path:`, with the revision and the time of the commit if it is that commit. It then gives the
same store paths as the git repository itself, wherever it is built.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import shutil
import tarfile
import typing as t
import urllib.parse
from collections.abc import Iterator

from .._core.errors import InvalidError, NixciError
from . import locking
from .command import Runner, missing_program
from .staging import Repository

DIRTY = "-dirty"
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
# A flake that asks Nix for its submodules (from Nix 2.27 on).
_SUBMODULES = re.compile(r"\bsubmodules\s*=\s*true\b")


@dataclasses.dataclass(frozen=True)
class Revision:
    """What a copy of the checkout is a copy of. All is empty outside of git, and before the first commit."""

    commit: str | None = None
    dirty: bool = False
    time: int | None = None
    count: int | None = None

    @property
    def name(self) -> str | None:
        return f"{self.commit}{DIRTY}" if self.commit and self.dirty else self.commit

    def query(self, folder: str) -> str:
        """The attributes of the flake reference of a copy, whose flake.nix is in `folder` of it."""
        values: dict[str, t.Any] = {"dir": folder or None, "lastModified": self.time}
        if not self.dirty:
            values.update(rev=self.commit, revCount=self.count)
        return urllib.parse.urlencode({key: value for key, value in values.items() if value is not None})


class Checkout:
    """A folder on the controller with flake.nix, in a git repository or not."""

    def __init__(self, runner: Runner, folder: str) -> None:
        self.runner = runner
        self.folder = os.path.realpath(folder)
        if not os.path.isdir(folder):
            raise InvalidError(
                f"{folder} is not a folder on the controller; set nixci_flake_dir to the folder of your checkout that has flake.nix.",
                reason="no_flake",
            )
        if not os.path.exists(os.path.join(folder, "flake.nix")):
            raise InvalidError(
                f"{folder} has no flake.nix; set nixci_flake_dir to the folder of your checkout that has one.",
                reason="no_flake",
            )
        self.repository = Repository.of_flake(runner, self.folder, "here")
        if self.repository and runner.find("git") is None:
            raise missing_program("git")
        self.top = self.repository.top if self.repository else self.folder
        inside = os.path.relpath(self.folder, self.top)
        self.inside = "" if inside == "." else inside

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Several hosts share one checkout; one at a time reads or writes it. The kernel releases the lock."""
        descriptor = os.open(self.repository.git_dir if self.repository else self.top, os.O_RDONLY)
        try:
            locking.acquire(
                descriptor,
                self.runner,
                lambda: (
                    f"Another run still held {self.top} after {self.runner.timeout:g} s; run again when it is finished."
                ),
            )
            yield
        finally:
            os.close(descriptor)

    def refuse_commit(self, wanted: bool) -> None:
        if wanted and self.repository is None:
            raise InvalidError(
                f"{self.folder} is not in a git repository, so nothing can be committed; set nixci_commit: false.",
                reason="no_git",
            )

    def revision(self) -> Revision:
        if self.repository is None:
            return Revision()
        head = self.repository.ask(self.top, "log", "-1", "--format=%H %ct", "HEAD")
        if head.rc != 0:  # before the first commit
            return Revision()
        commit, seconds = head.out.split()
        status = self.repository.ask(self.top, "status", "--porcelain=v1", "--untracked-files=no")
        count = None
        if not self._shallow():
            counted = self.repository.ask(self.top, "rev-list", "--count", "HEAD")
            count = int(counted.out) if counted.rc == 0 else None
        return Revision(commit, bool(status.out.strip()) or status.rc != 0, int(seconds), count)

    def refuse_stale(self, running: str | None, host: str, *, as_is: bool) -> None:
        """Raise unless this checkout has the revision that the running system was built from."""
        base = (running or "").removesuffix(DIRTY)
        if self.repository is None or not _COMMIT.fullmatch(base):
            return
        here = self.revision()
        remedy = "or, to go back all the same, add stale to deploy_force"
        if here.commit == base:
            if as_is and running != base and not here.dirty:
                raise InvalidError(
                    f"The system that {host} runs was built from {base[:12]} with changes that were not committed, which this checkout "
                    f"does not have; commit and push them where they are, {remedy}.",
                    reason="stale",
                )
            return
        known = self.repository.ask(self.top, "cat-file", "-e", f"{base}^{{commit}}").rc == 0
        if known and self.repository.ask(self.top, "merge-base", "--is-ancestor", base, "HEAD").rc == 0:
            return
        at = f"The checkout {self.folder} is at {(here.commit or 'no commit')[:12]}"
        if not known:
            fetch = "git fetch --unshallow" if self._shallow() else "git pull"
            raise InvalidError(
                f"{at} and does not know {base[:12]}, which the system that {host} runs was built from; run '{fetch}', {remedy}.",
                reason="stale",
            )
        behind = self.repository.ask(self.top, "merge-base", "--is-ancestor", "HEAD", base).rc == 0
        how = "is behind" if behind else "has diverged from"
        raise InvalidError(
            f"{at} and {how} {base[:12]}, which the system that {host} runs was built from; "
            f"{'run git pull' if behind else 'merge or rebase'}, {remedy}.",
            reason="stale",
        )

    def copy(self, target: str) -> str:
        """Copy what the flake consists of, and return the folder with flake.nix in the copy."""
        try:
            if self.repository is None:
                shutil.copytree(
                    self.top, target, symlinks=True, ignore=lambda _at, _names: [".git"], dirs_exist_ok=True
                )
            else:
                for path in self._tracked():
                    _copy(os.path.join(self.top, path), os.path.join(target, path))
        except (OSError, shutil.Error) as exc:
            raise NixciError(f"The files of {self.top} cannot be copied: {exc}.") from None
        folder = os.path.join(target, self.inside)
        if not os.path.exists(os.path.join(folder, "flake.nix")):
            raise InvalidError(
                f"{os.path.join(self.folder, 'flake.nix')} is not known to git, so it is in no flake; run 'git add' on it.",
                reason="no_flake",
            )
        return folder

    def _tracked(self) -> list[str]:
        with open(os.path.join(self.folder, "flake.nix"), encoding="utf-8", errors="replace") as file:
            recurse = ["--recurse-submodules"] if _SUBMODULES.search(file.read()) else []
        done = t.cast(Repository, self.repository).ask(self.top, "ls-files", "-z", "--cached", *recurse)
        if done.rc != 0:
            raise NixciError(f"git cannot list the files of {self.top}: {done.err.strip()}")
        return sorted({path for path in done.out.split("\0") if path})

    def _shallow(self) -> bool:
        repository = t.cast(Repository, self.repository)
        return repository.ask(self.top, "rev-parse", "--is-shallow-repository").out.strip() == "true"


def _copy(source: str, target: str) -> None:
    """A file, a link or the place of a submodule; git keeps nothing of the mode but whether a file is executable."""
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if os.path.islink(source):
        os.symlink(os.readlink(source), target)
    elif os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    elif os.path.exists(source):  # or removed, but not from git's index
        shutil.copyfile(source, target)
        os.chmod(target, 0o755 if os.access(source, os.X_OK) else 0o644)


def pack(folder: str, archive: str) -> None:
    """Only the user of this process can read the archive."""

    def anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = ""
        return entry

    descriptor = os.open(archive, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file, tarfile.open(fileobj=file, mode="w:gz", compresslevel=6) as tar:
        tar.add(folder, arcname=".", filter=anonymous)


def unpack(archive: str, folder: str) -> None:
    try:
        with tarfile.open(archive) as tar:
            if hasattr(tarfile, "tar_filter"):
                tar.extractall(folder, filter="tar")
            else:
                tar.extractall(folder)  # noqa: S202  # made by pack()
    except (OSError, tarfile.TarError) as exc:
        raise NixciError(f"{archive} cannot be unpacked: {exc}.") from None
