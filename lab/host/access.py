# SPDX-License-Identifier: GPL-3.0-or-later
"""Files in a container of the host's image, and access to it by SSH: one deploy key, and host keys pinned beforehand."""

from __future__ import annotations

import pathlib
import shutil

from ..names import NETWORK
from ..shell import run

KEY = "id_ed25519"
KNOWN_HOSTS = "known_hosts"


def put(container: str, path: str, content: str, mode: str = "644") -> None:
    """Write a file. Its content goes through standard input, not through an argument list."""
    run("docker", "exec", "--interactive", container, "install", "-D", f"-m{mode}", "/dev/stdin", path, input=content)


def make_key(folder: pathlib.Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True)
    _generate(folder / KEY)
    (folder / KNOWN_HOSTS).touch()


def public_key(folder: pathlib.Path) -> str:
    return (folder / f"{KEY}.pub").read_text().strip()


def pin_host_key(container: str, address: str, folder: pathlib.Path) -> None:
    """Generate the host's key here, so that it is known before the first connection."""
    host_key = folder / container
    _generate(host_key)
    public = pathlib.Path(f"{host_key}.pub").read_text()
    with (folder / KNOWN_HOSTS).open("a") as file:
        file.write(f"{address} {public}")
    put(container, "/etc/ssh/ssh_host_ed25519_key", host_key.read_text(), "600")
    put(container, "/etc/ssh/ssh_host_ed25519_key.pub", public)
    host_key.unlink()
    pathlib.Path(f"{host_key}.pub").unlink()


def _generate(file: pathlib.Path) -> None:
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", NETWORK, "-f", str(file))
