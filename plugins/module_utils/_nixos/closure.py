# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a closure gets into a Nix store. Private: may change without notice."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import subprocess
import time
import typing as t
from collections.abc import Iterator

from .._core.errors import NixciError, UnavailableError
from . import messages
from .command import Runner, missing_program

# A cache that does not answer costs seconds, and one that was asked before the push is asked again.
CACHE_OPTIONS = {
    "connect-timeout": "5",
    "stalled-download-timeout": "30",
    "download-attempts": "2",
    "narinfo-cache-negative-ttl": "0",
    "require-sigs": "true",
}
# Paths per command line.
BATCH = 1000

_COPIED = re.compile(r"^copying path '(/nix/store/[^']+)' from '([^']+)'", re.M)
_UNPACKED = re.compile(r"([\d.]+) ([KMG])iB unpacked")
_CONSEQUENCE = re.compile(
    r"error: (?:build of|some substitutes for the outputs of|path) .* (?:failed|is required|does not exist.*)$"
)
_FACTOR = {"K": 2**10, "M": 2**20, "G": 2**30}


class Store:
    """The Nix store of the machine that this runs on."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        if runner.find("nix-store") is None:
            raise missing_program("nix-store")

    def missing(self, paths: list[str]) -> list[str]:
        """Those that the store does not have."""
        found = []
        for batch in _batches(paths):
            done = self.runner.run("nix-store", "--check-validity", "--print-invalid", *batch)
            if done.rc != 0:
                raise NixciError(f"Nix cannot read its store: {messages.tail(done.err)}", reason="store")
            found += done.out.split()
        return found

    def closure(self, path: str) -> dict[str, int]:
        """Every path that this one needs, with the bytes of its NAR; empty if the store does not have it."""
        done = self.runner.run("nix-store", "--query", "--requisites", path)
        if done.rc != 0:
            return {}
        paths = done.out.split()
        sizes = self.sizes(paths)
        return {one: sizes[position] for position, one in enumerate(paths)} if len(sizes) == len(paths) else {}

    def sizes(self, paths: list[str]) -> list[int]:
        sizes: list[int] = []
        for batch in _batches(paths):
            done = self.runner.run("nix-store", "--query", "--size", *batch)
            sizes += map(int, done.out.split()) if done.rc == 0 else []
        return sizes

    def fetch(self, path: str, substituters: list[str], keys: list[str], root: str) -> tuple[int, str | None]:
        """Take a path from the substituters, with its signatures checked: the bytes that came, and why it did not work."""
        try:
            done = self.runner.run("nix-store", "--realise", path, *_options(substituters, keys), "--add-root", root)
        except UnavailableError as exc:
            return 0, str(exc)
        came = [copied for copied, _from in _COPIED.findall(done.err)]
        absent = set(self.missing(came)) if came else set()
        number = sum(self.sizes([one for one in came if one not in absent]))
        return number, None if done.rc == 0 else _reason(done.err)

    def would_fetch(self, path: str, substituters: list[str], keys: list[str]) -> int:
        """About how many bytes would come."""
        done = self.runner.run("nix-store", "--realise", "--dry-run", path, *_options(substituters, keys))
        found = _UNPACKED.search(done.err)
        return round(float(found[1]) * _FACTOR[found[2]]) if found else 0

    def write(self, paths: list[str], archive: str) -> None:
        """Export paths into a file that only the user of this process can read."""
        descriptor = os.open(archive, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file, gzip.GzipFile(fileobj=file, mode="wb", compresslevel=1) as packed:
            process = self._open("nix-store", "--export", *paths, stdout=subprocess.PIPE)
            with process:
                shutil.copyfileobj(t.cast(t.IO[bytes], process.stdout), packed, 2**20)
                error = process.stderr.read().decode(errors="replace") if process.stderr else ""
            self._refuse(process.returncode, "exported", error)

    def read(self, archive: str) -> None:
        """Import paths from such a file."""
        with gzip.open(archive, "rb") as packed, self._open("nix-store", "--import", stdin=subprocess.PIPE) as process:
            taken = t.cast(t.IO[bytes], process.stdin)
            try:
                shutil.copyfileobj(packed, taken, 2**20)
                taken.close()
            except BrokenPipeError:
                pass  # its error says why
            error = process.stderr.read().decode(errors="replace") if process.stderr else ""
            process.wait()
            self._refuse(process.returncode, "imported", error)

    def _open(
        self, *argv: str, stdin: int = subprocess.DEVNULL, stdout: int = subprocess.DEVNULL
    ) -> subprocess.Popen[bytes]:
        program, limit = self.runner.required(argv[0]), self.runner.required("timeout")
        command = [limit, "--kill-after=10", str(max(1, round(self.runner.left()))), program, *argv[1:]]
        # run_command would keep the whole archive in memory.
        return subprocess.Popen(  # pylint: disable=ansible-bad-function
            command, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE
        )

    def _refuse(self, rc: int, verb: str, error: str) -> None:
        if rc == 124:
            raise UnavailableError(
                f"The closure was not {verb} within {self.runner.timeout:g} s; raise timeout.", reason="timeout"
            )
        if rc != 0:
            raise NixciError(f"The closure cannot be {verb}: {messages.tail(error)}", reason="store")


def keep(path: str, root: str) -> None:
    os.makedirs(os.path.dirname(root), exist_ok=True)
    new = f"{root}.{time.monotonic_ns()}"
    os.symlink(path, new)
    os.replace(new, root)


def _options(substituters: list[str], keys: list[str]) -> list[str]:
    options = dict(CACHE_OPTIONS)
    if substituters:
        options["substituters"] = " ".join(substituters)
    if keys:
        options["trusted-public-keys"] = " ".join(keys)
    return [word for name, value in options.items() for word in ("--option", name, value)]


def _reason(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if re.match(r"(?:error|warning):", line) and "add-root" not in line]
    # That the path was not built either follows from the cause, which stands before it.
    causes = [line for line in telling if not _CONSEQUENCE.match(line)]
    return messages.tail((causes or telling or lines or ["no reason given"])[-1])


def _batches(paths: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(paths), BATCH):
        yield paths[start : start + BATCH]
