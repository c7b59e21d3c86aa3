# SPDX-License-Identifier: GPL-3.0-or-later
"""A host of the fault suite: a container that starts from the prepared image, and what the tests do to it and read from it."""

from __future__ import annotations

import contextlib
import json
import pathlib
import subprocess
import time
import typing as t
from collections.abc import Iterator

from lab.host.container import SYSTEMD
from lab.shell import attempt, run

HERE = pathlib.Path(__file__).resolve().parent
STATE = (HERE / "state.py").read_text()
# Long, because the machine may be slow; whatever is waited for ends the waiting.
PATIENCE = 120.0


class Host:
    def __init__(self, image: str, label: str, systems: dict[str, str], name: str = "web") -> None:
        self.name = name
        self.systems = systems
        self.names = {path: name for name, path in systems.items()}
        self.id = run("docker", "run", "--detach", *SYSTEMD, f"--label={label}", "--hostname=web", "--memory=1g", "--pids-limit=1000",
                      image).strip()  # fmt: skip
        self.wait_for_boot()

    # ---- what happens to it ---------------------------------------------------------------------------------------

    def wait_for_boot(self) -> None:
        self.wait("systemd", lambda: self.sh("systemctl is-system-running").stdout.strip() in ("running", "degraded"))
        self.wait("sshd", lambda: self.sh("systemctl is-active sshd").returncode == 0)

    def kill(self) -> None:
        """The power goes."""
        run("docker", "kill", self.id)

    def boot(self) -> None:
        run("docker", "start", self.id)
        self.wait_for_boot()

    def cut(self) -> None:
        """The network loses every packet, also those of open connections."""
        self.out("iptables -I INPUT -i eth0 -j DROP && iptables -I OUTPUT -o eth0 -j DROP")

    def mend(self) -> None:
        self.out("iptables -D INPUT -i eth0 -j DROP && iptables -D OUTPUT -o eth0 -j DROP")

    def shrink(self, folder: str, free: str) -> None:
        """Move a folder to a small disk of its own that has so much space left."""
        self.out(
            f"mkdir -p {folder} && cp -a {folder} /tmp/moved && used=$(du -s --block-size=4096 /tmp/moved | cut -f1) && free=$(numfmt --from=iec {free})"
            f" && mount -t tmpfs -o size=$((used * 4096 + free)) tmpfs {folder} && cp -a /tmp/moved/. {folder} && rm -rf /tmp/moved"
        )

    def fill(self, folder: str) -> None:
        self.sh(f"cat /dev/zero > {folder}/fill")
        assert self.out(f"df --output=avail {folder} | tail -n1").strip() == "0"

    def hold(self, step: str) -> None:
        """Stop the next activation at a step: dry-activate, test, boot, or activation-SYSTEM."""
        self.out(f"mkdir -p /run/faults && touch /run/faults/hold-{step}")

    def wait_at(self, step: str) -> None:
        self.wait(
            f"the activation at its step {step}", lambda: self.sh(f"test -e /run/faults/at-{step}").returncode == 0
        )

    def go_on(self, step: str) -> None:
        self.out(f"rm /run/faults/hold-{step}")

    @contextlib.contextmanager
    def locked(self, path: str) -> Iterator[t.Callable[[int], None]]:
        """Holds a lock; what it yields waits until so many others wait for it."""
        script = f"mkdir -p {pathlib.Path(path).parent} && exec flock {path} sh -c 'echo locked; cat'"
        argv = ["docker", "exec", "--interactive", self.id, "sh", "-c", script]
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
            assert holder.stdin and holder.stdout
            assert holder.stdout.readline() == "locked\n"
            count = "grep -c -- '-> FLOCK' /proc/locks"
            yield lambda number: self.wait(f"{number} waiting for {path}", lambda: int(self.sh(count).stdout) >= number)
            holder.stdin.close()

    def set_clock(self, seconds: int) -> None:
        """Move the time of day that Python's programs see.

        The real clock is the one of this machine, and no container has one of its own. So the journal and systemd keep
        the old time, and what is compared with them is off by the same difference as after a real jump.
        """
        self.put("/run/faults/clock", str(seconds))

    def expire(self) -> None:
        """The time for a confirmation is over: what the timer does then."""
        self.out("systemctl start --no-block nixci-revert.service")

    def remove(self) -> None:
        attempt("docker", "rm", "--force", "--volumes", self.id)

    # ---- what it says ---------------------------------------------------------------------------------------------

    @property
    def address(self) -> str:
        """Another one after each start."""
        form = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        return run("docker", "inspect", "--format", form, self.id).strip()

    def sh(self, script: str) -> t.Any:
        return attempt("docker", "exec", self.id, "bash", "-c", script)

    def out(self, script: str) -> str:
        return run("docker", "exec", self.id, "bash", "-c", script).strip()

    def put(self, path: str, text: str) -> None:
        run("docker", "exec", "--interactive", self.id, "install", "-D", "-m644", "/dev/stdin", path, input=text)

    def wait(self, what: str, ready: t.Callable[[], t.Any], seconds: float = PATIENCE) -> None:
        deadline = time.monotonic() + seconds
        while not ready():
            assert time.monotonic() < deadline, f"{what} did not come within {seconds:g} s:\n{self.log()}"
            time.sleep(0.1)

    def state(self) -> dict[str, t.Any]:
        """See state.py; store paths are replaced by the names of the systems."""
        text = run("docker", "exec", "--interactive", self.id, "python3", "-", input=STATE)
        for path, name in self.names.items():
            text = text.replace(path, name).replace(path.rpartition("/")[2], name)
        return t.cast(dict[str, t.Any], json.loads(text))

    def log(self) -> str:
        """For the message of a failed test."""
        return t.cast(str, self.sh(
            "journalctl --no-pager --lines=60 --output=short-precise; cat /var/lib/nixci/deployment /var/log/nixci/*"
        ).stdout)  # fmt: skip
