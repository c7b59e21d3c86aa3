# SPDX-License-Identifier: GPL-3.0-or-later
"""A host of the fault suite: it starts from the prepared image, and its activations stop where a test wants it."""

from __future__ import annotations

import contextlib
import json
import pathlib
import subprocess
import time
import typing as t
from collections.abc import Iterator

from lab.shell import run
from tests.support import nixos_host

HERE = pathlib.Path(__file__).resolve().parent
STATE = (HERE / "state.py").read_text()
# Long, because the machine may be slow; whatever is waited for ends the waiting.
PATIENCE = 300.0


class Host(nixos_host.Host):
    def __init__(self, image: str, systems: dict[str, str], name: str = "web") -> None:
        super().__init__(image, "--hostname=web", "--memory=1g", "--pids-limit=1000")
        self.name = name
        self.systems = systems
        self.names = {path: name for name, path in systems.items()}

    # ---- what happens to it ---------------------------------------------------------------------------------------

    def use_cache(self, url: str, public_key: str) -> None:
        """As its configuration would; the next activation writes another one."""
        self.out(
            'conf=$(cat /etc/nix/nix.conf) && rm /etc/nix/nix.conf && echo "$conf" | grep -v ^substituters >/etc/nix/nix.conf'
            f" && echo 'substituters = {url}' >>/etc/nix/nix.conf && echo 'trusted-public-keys = {public_key}' >>/etc/nix/nix.conf"
        )

    def shrink(self, folder: str, free: str) -> None:
        """Move a folder to a small disk of its own that has so much space left."""
        self.out(
            f"mkdir -p {folder} && cp -a {folder} /tmp/moved && used=$(du -s --block-size=4096 /tmp/moved | cut -f1)"
            f" && mount -t tmpfs -o size=$((used * 4096 + $(numfmt --from=iec {free}))) tmpfs {folder}"
            f" && cp -a /tmp/moved/. {folder} && rm -rf /tmp/moved"
        )

    def fill(self, folder: str) -> None:
        self.sh(f"cat /dev/zero > {folder}/fill")
        assert self.out(f"df --output=avail {folder} | tail -n1").strip() == "0"

    def hold(self, step: str) -> None:
        """Stop the next activation at a step: dry-activate, test, boot, or activation-SYSTEM."""
        self.out(f"mkdir -p /run/faults && touch /run/faults/hold-{step}")

    def wait_at(self, step: str) -> None:
        self.wait_until(
            f"step {step} of the activation", lambda: self.sh(f"test -e /run/faults/at-{step}").returncode == 0
        )

    def go_on(self, step: str) -> None:
        self.out(f"rm /run/faults/hold-{step}")

    @contextlib.contextmanager
    def locked(self, path: str) -> Iterator[None]:
        script = f"mkdir -p {pathlib.Path(path).parent} && exec 9>{path} && flock 9 && echo locked && exec cat"
        argv = ["docker", "exec", "--interactive", self.id, "sh", "-c", script]
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
            assert holder.stdin and holder.stdout
            assert holder.stdout.readline() == "locked\n"
            yield
            holder.stdin.close()

    def users(self, path: str) -> list[str]:
        """The names of the programs that have a file open, such as those that wait for a lock."""
        return self.sh(
            f"for p in $(find /proc/[0-9]*/fd -lname {path} 2>/dev/null | cut -d/ -f3); do cat /proc/$p/comm; done"
        ).stdout.split()

    def set_clock(self, seconds: int) -> None:
        """Move the time of day that Python's programs see.

        The real clock is the one of this machine, and no container has one of its own. So the journal and systemd keep
        the old time, and what is compared with them is off by the same difference as after a real jump.
        """
        self.put("/run/faults/clock", str(seconds))

    def expire(self) -> None:
        """The time for a confirmation is over: what the timer does then."""
        self.out("systemctl start --no-block nixci-revert.service")

    # ---- what it says ---------------------------------------------------------------------------------------------

    def wait_until(self, what: str, ready: t.Callable[[], t.Any], seconds: float = PATIENCE) -> None:
        deadline = time.monotonic() + seconds
        while not ready():
            assert time.monotonic() < deadline, f"{what} did not come within {seconds:g} s:\n{self.log()}"
            time.sleep(nixos_host.INTERVAL)

    def state(self) -> dict[str, t.Any]:
        """See state.py; store paths are replaced by the names of the systems."""
        text = run("docker", "exec", "--interactive", self.id, "python3", "-", input=STATE)
        for path, name in self.names.items():
            text = text.replace(path, name).replace(path.rpartition("/")[2], name)
        return t.cast(dict[str, t.Any], json.loads(text))

    def log(self) -> str:
        """For the message of a failed test."""
        return self.sh(
            "journalctl --no-pager --lines=80 --output=short-precise; "
            "tail -n 100 /var/lib/nixci/deployment /var/log/nixci/* /var/lib/nixci/failed/*"
        ).stdout
