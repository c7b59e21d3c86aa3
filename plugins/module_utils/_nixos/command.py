# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands with a fixed locale and bounded time. Private: may change without notice."""

from __future__ import annotations

import dataclasses
import time
import typing as t

from .._core.errors import NixciError, UnavailableError

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

# Where NixOS keeps its programs, for connections whose PATH lacks them; the last one is for Nix on other systems.
PROGRAM_DIRS = ["/run/current-system/sw/bin", "/run/wrappers/bin", "/nix/var/nix/profiles/default/bin"]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a finished command left behind."""

    rc: int
    out: str
    err: str


class Runner:
    """Runs argument lists without a shell, all of them together within one time limit."""

    def __init__(self, module: AnsibleModule, timeout: float) -> None:
        self.module = module
        self.timeout = timeout
        self.deadline = time.monotonic() + timeout

    def left(self) -> float:
        """Seconds until the time is up."""
        return self.deadline - time.monotonic()

    def find(self, program: str) -> str | None:
        path: str | None = self.module.get_bin_path(program, opt_dirs=PROGRAM_DIRS)
        return path

    def required(self, program: str) -> str:
        """The path of a program that another one shall run. Raises NixciError if this host does not have it."""
        path = self.find(program)
        if path is None:
            raise missing_program(program)
        return path

    def run(self, *argv: str, cwd: str | None = None, env: dict[str, str] | None = None) -> Outcome:
        """The outcome for any exit code; raises if the program is missing or the time is up."""
        program = self.find(argv[0])
        limit = self.find("timeout")
        if program is None or limit is None:
            missing = "timeout" if program else argv[0]
            raise missing_program(missing)
        # coreutils' timeout ends the whole process group, which killing one process does not
        left = max(1, round(self.left()))
        command = [limit, "--kill-after=10", str(left), program, *argv[1:]]
        try:
            rc, out, err = self.module.run_command(
                command,
                cwd=cwd,
                environ_update={"LC_ALL": "C", "LANGUAGE": "C", **(env or {})},
                expand_user_and_vars=False,
                handle_exceptions=False,
            )
        except OSError as exc:
            raise NixciError(f"Cannot run {argv[0]}: {exc.strerror}.", reason="missing_program") from None
        if rc in (124, 137) and time.monotonic() >= self.deadline - 1:
            raise UnavailableError(
                f"'{' '.join(argv[:2])}' was not finished within {self.timeout:g} s and was stopped; "
                "find out what it waits for, or raise timeout.",
                reason="timeout",
            )
        return Outcome(rc, out, err)


def missing_program(name: str) -> NixciError:
    return NixciError(f"The program '{name}' was not found on this host.", reason="missing_program")
