# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A copy of a configuration that a build sees in the place of the original. Private: may change without notice.

The build runs in a mount namespace of its own, where the copy is mounted over the original. So every path means what it
means on the host, symbolic links and absolute paths included, and nobody else ever sees the copy.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
import typing as t
from collections.abc import Iterator

from .._core.errors import InvalidError, NixciError
from . import locking
from .command import Outcome, Runner

# Only root may enter it, because a configuration may hold files that only root may read.
FOLDER = "/var/lib/nixci/staging"
# Held by whatever builds or activates; the kernel releases it, however the holder ends. Its text only says who that is.
LOCK = "/run/nixci/lock"

_MOUNT = 'while [ "$1" != -- ]; do "$MOUNT" --bind "$1" "$2" || exit 125; shift 2; done; shift; exec "$@"'
_NO_NAMESPACE = 125


@contextlib.contextmanager
def exclusive(runner: Runner, who: str) -> Iterator[None]:
    """One build or activation at a time. A run that lost its controller continues here, so the next one waits for it."""
    os.makedirs(os.path.dirname(LOCK), exist_ok=True)
    with open(LOCK, "a+", encoding="utf-8") as file:
        locking.acquire(file.fileno(), runner, lambda: _held(file, runner))
        file.truncate(0)
        file.write(f"{who} since {time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())}\n")
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def _held(file: t.TextIO, runner: Runner) -> str:
    file.seek(0)
    holder = file.read().strip()
    return (
        f"Another run{f' ({holder})' if holder else ''} was still building or activating on this host after {runner.timeout:g} s; "
        "run again when it is finished."
    )


class Copy:
    """The folders that were copied, and how a command sees them."""

    def __init__(self, runner: Runner, config_dir: str, flake: str | None, folder: str) -> None:
        self.runner = runner
        self.folder = folder
        real = os.path.realpath(config_dir)
        repository = self.repository = Repository.of_flake(runner, real, flake)
        self._copies: list[tuple[str, str]] = []
        for number, root in enumerate(repository.roots() if repository else [real]):
            copy = os.path.join(folder, str(number))
            done = runner.run("cp", "--archive", "--reflink=auto", "--no-target-directory", "--", root, copy)
            if done.rc != 0:
                raise NixciError(f"{root} cannot be copied to {folder}: {done.err.strip().splitlines()[-1:]}.")
            self._copies.append((copy, root))
        copy, root = self._copies[0]
        self.config_dir = os.path.normpath(os.path.join(copy, os.path.relpath(real, root)))

    def command(self, *argv: str) -> list[str]:
        """The command that runs another one with the copies in the place of the originals."""
        mount = self.runner.find("mount") or "mount"
        mounts = [path for pair in self._copies for path in pair]
        shell = self.runner.find("sh") or "/bin/sh"
        script = f"MOUNT={mount}; {_MOUNT}"
        program = self.runner.find(argv[0]) or argv[0]
        return [
            "unshare",
            "--mount",
            "--propagation=private",
            shell,
            "-c",
            script,
            "sh",
            *mounts,
            "--",
            program,
            *argv[1:],
        ]

    @staticmethod
    def refused(rc: int, err: str) -> bool:
        """Whether the namespace could not be made, so that the command did not run."""
        return rc == _NO_NAMESPACE or err.startswith("unshare: ")


@contextlib.contextmanager
def copied(runner: Runner, config_dir: str, flake: str | None) -> Iterator[Copy]:
    """A private copy, removed afterwards; of a run that was killed, the next one removes it. The caller holds the lock."""
    if not os.path.isdir(config_dir):
        raise InvalidError(
            f"{config_dir} does not exist on this host, so its configuration is elsewhere; set nixos_config_dir to the folder "
            "that this host is built from.",
            reason="no_configuration",
        )
    clear()
    os.makedirs(FOLDER, mode=0o700)
    folder = tempfile.mkdtemp(dir=FOLDER)
    try:
        yield Copy(runner, config_dir, flake, folder)
    finally:
        clear()


def clear() -> None:
    """Remove every copy. Files of a repository may be read-only, which does not hinder root."""
    shutil.rmtree(FOLDER, ignore_errors=True)


class Repository:
    """The git repository of a flake, to which files that git does not know are invisible."""

    def __init__(self, runner: Runner, top: str, git_dir: str) -> None:
        self.runner = runner
        self.top = top
        self.git_dir = git_dir

    @classmethod
    def of_flake(cls, runner: Runner, folder: str, flake: str | None) -> Repository | None:
        """None if the configuration is no flake, or in no repository."""
        top = os.path.realpath(folder)
        while not os.path.lexists(os.path.join(top, ".git")):
            if top == os.path.dirname(top):
                return None
            top = os.path.dirname(top)
        if not flake and not any(os.path.exists(os.path.join(place, "flake.nix")) for place in (folder, top)):
            return None
        git_dir = os.path.join(top, ".git")
        if os.path.isfile(git_dir):  # of a worktree or a submodule
            with open(git_dir, encoding="utf-8") as file:
                git_dir = os.path.join(top, file.read().strip().removeprefix("gitdir: "))
        return cls(runner, top, os.path.realpath(git_dir))

    def roots(self) -> list[str]:
        """Everything that must be copied: the index of a worktree lies outside of it, and is written."""
        inside = os.path.commonpath([self.top, self.git_dir]) == self.top
        return [self.top] if inside else [self.top, self.git_dir]

    def untracked(self, folder: str, paths: list[str]) -> list[str]:
        """Those of the existing files below a folder that a flake would not see."""
        paths = [path for path in paths if os.path.exists(os.path.join(folder, path))]
        known = set(self._git(folder, "ls-files", "-z", "--", *paths).split("\0")) if paths else set()
        return [path for path in paths if path not in known]

    def track(self, folder: str, paths: list[str], *, wrap: Copy | None = None) -> None:
        """Make git know these files, and no others, without adding their content. Committing them is the user's."""
        if paths:
            self._git(folder, "add", "--intent-to-add", "--force", "--", *paths, wrap=wrap)

    def refuse_commit(self) -> None:
        """Raise if a commit would be lost."""
        if self.ask(self.top, "symbolic-ref", "--quiet", "HEAD").rc != 0:
            raise InvalidError(
                f"The checkout {self.top} is on no branch (detached HEAD), so a commit would be lost; check out a branch, or set "
                "nixci_commit: false.",
                reason="detached",
            )

    def uncommitted(self, folder: str, paths: list[str]) -> list[str]:
        """Those of the files whose text is not that of the last commit."""
        if not paths:
            return []
        status = ("status", "--porcelain=v1", "-z", "--untracked-files=all", "--no-renames", "--")
        inside = os.path.relpath(os.path.realpath(folder), self.top)
        lines = self._git(folder, *status, *paths).split("\0")
        return sorted(os.path.relpath(line[3:], inside) for line in lines if line)

    def commit(self, folder: str, paths: list[str], message: str) -> None:
        """Commit these files and nothing else, whatever else is staged."""
        changed = self.uncommitted(folder, paths)
        if not changed:
            return
        done = self.ask(folder, "commit", "--quiet", "--only", f"--message={message}", "--", *changed)
        if done.rc != 0:
            text = (done.err.strip() or done.out.strip()).splitlines() or ["no reason given"]
            why = text[-1].rstrip(".")
            if "tell me who you are" in done.err or "auto-detect email" in done.err or "empty ident" in done.err:
                why = "it has no user.name and user.email; set them with 'git config'"
            raise NixciError(
                f"git refuses the commit in {self.top}: {why}. The files are in place; commit them by hand, or set nixci_commit: false.",
                reason="commit",
            )

    def _git(self, folder: str, *args: str, wrap: Copy | None = None) -> str:
        done = self.ask(folder, *args, wrap=wrap)
        if done.rc != 0:
            raise NixciError(
                f"git cannot work in {self.top}: {(done.err.strip().splitlines() or ['no reason given'])[-1]}"
            )
        return done.out

    def ask(self, folder: str, *args: str, wrap: Copy | None = None) -> Outcome:
        """What git says, whatever its exit status."""
        argv = ["git", "-c", "safe.directory=*", "-C", folder, *args]
        owner = os.stat(self.git_dir)
        if wrap:
            argv = wrap.command(*argv)
        elif owner.st_uid != os.geteuid():  # whose files must stay writable for their owner
            program = self.runner.find("git") or "git"
            identity = [f"--reuid={owner.st_uid}", f"--regid={owner.st_gid}", "--clear-groups"]
            argv = ["setpriv", *identity, "--", program, *argv[1:]]
        return self.runner.run(*argv)
