# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One deployment, from the armed revert to the confirmation or the way back. Private: may change without notice."""

from __future__ import annotations

import os
import time
import typing as t
import uuid

from .._core.errors import NixciError
from . import activation, confirmation
from . import deployment as state
from . import host as hosts
from .activation import ACTIVATION_LIMIT, NOT_ACTIVATED, SELF_CONFIRMATION, Activation, Unit
from .deployment import Deployment
from .host import NixosHost

Returned = dict[str, t.Any]


class Rollout:
    """The caller holds the lock of the run, and has looked at the system."""

    def __init__(self, host: NixosHost, confirm_timeout: int, who: str, *, no_check: bool) -> None:
        self.host = host
        self.confirm_timeout = confirm_timeout
        self.who = who
        self.no_check = no_check
        self.failed: list[Unit] = []

    def run(
        self, system: str, action: str, units: dict[str, list[str]] | None, abandoned: Deployment | None
    ) -> Returned:
        """Activate the system; what is left pending, or confirmed already."""
        if abandoned and abandoned.phase == "confirming":
            confirmation.confirm(self.host, abandoned.id)
            if (abandoned.system, abandoned.action) == (system, action):
                return abandoned.returned(pending=False)
            abandoned = None
        found = self._new(system, action, abandoned)
        limit = max(1, min(ACTIVATION_LIMIT, int(self.host.runner.left())))
        self._arm(found, limit, abandoned)
        try:
            self._bring_about(found, limit, units)
        except NixciError as exc:
            raise self._failure(found, exc) from None
        if self.confirm_timeout:
            return found.returned(pending=True)
        confirmation.confirm(self.host, found.id)
        return found.returned(pending=False)

    def _new(self, system: str, action: str, abandoned: Deployment | None) -> Deployment:
        now = self.host.state()
        found = Deployment(
            id=uuid.uuid4().hex[:12],
            system=system,
            # What was never confirmed is nothing to go back to.
            previous=abandoned.previous if abandoned else now["system"],
            previous_generation=abandoned.previous_generation if abandoned else self.host.generation(),
            action=action,
            phase="armed",
            boot_id=state.boot_id(),
            started=int(time.time()),
            confirm_timeout=self.confirm_timeout,
            who=self.who,
            permanent=action == "boot",
            no_check=self.no_check,
        )
        found.members = {
            "id": found.id,
            "who": found.who,
            "controller": None,
            "host": self.host.name(),
            "action": action,
            "from": found.previous,
            "to": system,
            "from_generation": found.previous_generation,
            "revision": revision(system),
            "transport": None,
            "bytes": None,
            "durations": {},
            "pipeline": None,
        }
        return found

    def _arm(self, found: Deployment, limit: int, abandoned: Deployment | None) -> None:
        """The timer first: of what is not pending, it takes nothing back. An armed deployment always has its timer."""
        activation.write_script()
        with state.lock(self.host.runner):
            pending = state.read()
            if pending is not None and (abandoned is None or pending.id != abandoned.id):
                raise confirmation.unconfirmed(self.host, pending)
            state.keep("pending", found.system)
            state.keep("previous", found.previous)
            if found.action != "boot" and os.path.isdir(hosts.SYSTEMD):
                seconds = limit + (self.confirm_timeout or SELF_CONFIRMATION)
                activation.arm(self.host.runner, found.id, seconds)
            if abandoned:
                confirmation.record_interrupted(abandoned)
            found.write()

    def _bring_about(self, found: Deployment, limit: int, units: dict[str, list[str]] | None) -> None:
        if found.action == "boot":
            confirmation.make_permanent(self.host, found)
        else:
            self._activate(found, limit, units)
        with state.lock(self.host.runner):
            confirmation.mine(found.id).write(phase="activated", members=found.members)
        hosts.forget_unfinished()
        if found.action != "boot" and self.confirm_timeout and not activation.armed(self.host):
            activation.arm(self.host.runner, found.id, self.confirm_timeout)

    def _activate(self, found: Deployment, limit: int, units: dict[str, list[str]] | None) -> None:
        state.write_file(hosts.UNFINISHED, found.system)
        run = Activation(self.host, found, units)
        began = time.monotonic()
        error = run.run(limit)
        self.failed = run.failed
        found.members["durations"] = {"activate": round(time.monotonic() - began, 1)}
        if error is not None:
            raise error

    def _failure(self, found: Deployment, error: NixciError) -> NixciError:
        pending = state.read()
        if pending is None or pending.id != found.id:
            # It was taken back meanwhile, by the timer or by hand.
            return confirmation.gone(found.id)
        if error.details.get("reason") in NOT_ACTIVATED:
            confirmation.cancel(self.host, found.id)
            hosts.forget_unfinished()
            return error
        return confirmation.reverted(self.host, found.id, error)


def revision(system: str) -> str | None:
    """The commit that the system was built from, as its manifest or NixOS knows it."""
    return (
        hosts.manifest(system).get("revision")
        or (state.read_file(os.path.join(system, "configuration-revision")) or "").strip()
        or None
    )
