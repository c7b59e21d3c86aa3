# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A cache of items for the tasks of one Ansible run. Private: may change without notice.

Each task is templated in a forked worker, so only files outlive it. The directory is private to the user, the content is
encrypted with a key that only the holder of the credential can derive, and an entry is bound to the process of the run.
Any write to 1Password invalidates all earlier entries, of whatever run.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import multiprocessing
import os
import pathlib
import stat
import tempfile
import time
import typing as t
from collections.abc import Iterator

from .._core.deps import optional, require
from .._core.errors import InvalidError, NixciError

with optional("cryptography"):
    from cryptography.fernet import Fernet, InvalidToken
    from cryptography.hazmat.primitives import hashes, hmac
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

MAX_SECONDS = 900
LOCK, WRITTEN, ENTRY = "lock", "written", ".item"


class Cache:
    """Values by key, for the current run and credential."""

    def __init__(self, credential: str, seconds: int, run: str) -> None:
        require("cryptography", "cache_seconds", "install it with pip install cryptography, or set cache_seconds to 0")
        if not 0 < seconds <= MAX_SECONDS:
            raise InvalidError(f"cache_seconds must be between 0 and {MAX_SECONDS}, not {seconds}.")
        self.seconds = seconds
        self.run = run
        self.fernet = Fernet(base64.urlsafe_b64encode(derive(credential, b"content")))
        self.naming_key = derive(credential, b"names")
        self.directory = directory()
        self._remove_old()

    def load(self, *key: str) -> t.Any:
        """What was stored, or None."""
        path = self._path(key)
        try:
            started, value = json.loads(self.fernet.decrypt(path.read_bytes()))
        except (FileNotFoundError, InvalidToken, ValueError):
            return None
        oldest = max(time.time_ns() - self.seconds * 10**9, written(self.directory))
        if started <= oldest:
            path.unlink(missing_ok=True)
            return None
        return value

    def store(self, value: t.Any, started: int, *key: str) -> None:
        """Cache a value; `started` is time.time_ns() from before the request."""
        content = self.fernet.encrypt(json.dumps([started, value]).encode())
        with self._explained():
            handle, name = tempfile.mkstemp(dir=self.directory, suffix=ENTRY)  # mode 0600
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            with contextlib.suppress(FileNotFoundError):  # forget() has removed it
                os.replace(name, self._path(key))

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """One worker at a time sends a request; the others then find its result. A dead worker holds no lock."""
        with self._explained():
            handle = os.open(self.directory / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as exc:
            raise NixciError(
                f"Cannot write the 1Password cache in {self.directory}: {exc.strerror}; "
                "free some space there, or set cache_seconds to 0."
            ) from None

    def _path(self, key: tuple[str, ...]) -> pathlib.Path:
        name = hmac.HMAC(self.naming_key, hashes.SHA256())
        name.update(json.dumps([self.run, *key]).encode())
        return self.directory / (name.finalize().hex() + ENTRY)

    def _remove_old(self) -> None:
        """Including entries of earlier runs and other credentials."""
        oldest = time.time() - self.seconds
        for path in self.directory.glob(f"*{ENTRY}"):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < oldest:
                    path.unlink()


def forget() -> None:
    """Invalidate, after a write, everything requested before this moment, for every run and credential."""
    try:
        path = directory()
    except NixciError:
        return  # nobody can have cached anything there
    marker, now = path / WRITTEN, time.time_ns()
    marker.touch(mode=0o600)
    os.utime(marker, ns=(now, now))  # the clock of the file system is too coarse
    for entry in path.glob(f"*{ENTRY}"):
        entry.unlink(missing_ok=True)


def written(path: pathlib.Path) -> int:
    """When this user last wrote to 1Password, in nanoseconds."""
    try:
        return (path / WRITTEN).stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def directory() -> pathlib.Path:
    """A directory private to this user, created if it is missing; anything else in its place is refused."""
    parent = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    path = pathlib.Path(parent, f"nixci-onepassword-{os.geteuid()}")
    try:
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
        found = path.lstat()
    except OSError as exc:
        raise NixciError(f"Cannot use {path} for the 1Password cache: {exc.strerror}.") from None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise NixciError(
            f"{path} must be a directory of the current user with mode 0700; remove it, or set cache_seconds to 0."
        )
    return path


def current_run() -> str | None:
    """An identifier of this run of Ansible; None where there is none (only Linux has /proc)."""
    parent = multiprocessing.parent_process()  # the controller process, when this is one of its workers
    pid = parent.pid if parent else os.getpid()
    try:
        status = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The name, in parentheses, may contain spaces; the start time is the 22nd member of the line.
    return f"{pid}-{status.rpartition(')')[2].split()[19]}"


def derive(credential: str, purpose: bytes) -> bytes:
    info = b"pantheros.nixci 1Password cache: " + purpose
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=info).derive(credential.encode())
