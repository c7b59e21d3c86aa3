# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The confirmation of a deployment as a resource. Private: may change without notice."""

from __future__ import annotations

import dataclasses
import signal
import typing as t

from ansible.module_utils.basic import AnsibleModule

from .._core.change import Change
from .._core.errors import NixciError
from . import activation, confirmation
from . import deployment as state
from .deployment import Deployment, Record
from .host import NixosHost

Params = dict[str, t.Any]
Result = dict[str, t.Any]

# What a record says of a deployment that is as it shall be.
DONE = {"confirmed": ("confirmed", "tested"), "reverted": ("reverted",)}


@dataclasses.dataclass(frozen=True)
class Found:
    """The waiting deployment, or what became of it."""

    pending: Deployment | None
    record: Record | None
    running: str | None
    profile: str | None


@dataclasses.dataclass(frozen=True)
class Decision:
    """What is done about the waiting deployment."""

    found: Found
    change: Change


class Confirmation:
    """The waiting deployment."""

    def __init__(self, module: AnsibleModule, host: NixosHost) -> None:
        self.module = module
        self.host = host

    def read(self, params: Params) -> Found:
        if self.module.check_mode:
            pending = state.read()
        else:
            confirmation.recover(self.host, params["keep_generations"])
            with state.lock(self.host.runner):  # what is under way ends first
                pending = state.read()
        now = self.host.state()
        return Found(pending, state.last_record(params["id"] or None), now["system"], now["profile"])

    def plan(self, params: Params, found: Found) -> Decision:
        wanted, pending = params["state"], found.pending
        if pending is None or (params["id"] and pending.id != params["id"]):
            _refuse_finished(params, found)
            return Decision(found, Change({"state": wanted}, {"state": wanted}))
        if wanted == "confirmed":
            _refuse_unready(pending, found)
        return Decision(found, Change({"state": "pending"}, {"state": wanted}))

    def predict(self, plan: Decision) -> Result:
        pending = plan.found.pending
        return {
            "deployment": pending.returned(pending=False) if pending else None,
            "record": plan.found.record,
            "generation": self.host.generation(),
        }

    def apply(self, plan: Decision) -> Result:
        # Once begun, it does not depend on the connection.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        pending = t.cast(Deployment, plan.found.pending)
        params = self.module.params
        record = {key: value for key, value in params["record"].items() if value is not None}
        if params["state"] == "confirmed":
            confirmation.confirm(self.host, pending.id, record, params["keep_generations"])
        else:
            self._take_back(pending.id, record, params["reason"])
        return {**self.predict(plan), "record": state.last_record(pending.id)}

    def _take_back(self, name: str, record: Record, reason: str) -> None:
        with state.lock(self.host.runner):
            found = state.read()
            if found and found.id == name and found.phase != "confirmed":
                found.members.update(record)
                found.write()
        activation.take_back(self.host, name, reason)
        last = state.last_record(name)
        if last is None or last.get("result") != "reverted":
            raise confirmation.gone(name)


def _refuse_finished(params: Params, found: Found) -> None:
    """Nothing to do if it is as it shall be; otherwise what happened to it is the error."""
    record, wanted = found.record, params["state"]
    if record is None:
        other = found.pending
        if params["id"] and other:
            raise NixciError(
                f"Not the deployment {params['id']} waits for its confirmation, but {other.id} of {other.system}, by {other.who} since "
                f"{state.rfc3339(other.started)}.",
                reason="another_deployment",
            )
        if params["id"]:
            raise confirmation.gone(params["id"])
        return
    if wanted == "reverted" and not params["id"]:
        return
    if record.get("result") not in DONE[wanted]:
        raise confirmation.gone(params["id"])
    if wanted == "confirmed" and record.get("action") != "boot" and record.get("to") != found.running:
        raise NixciError(
            f"The deployment {record.get('id')} was confirmed at {record.get('time')}, but since then the host was switched from "
            f"{record.get('to')} to {found.running}.",
            reason="not_running",
            record=record,
        )


def _refuse_unready(pending: Deployment, found: Found) -> None:
    if pending.phase == "armed":
        raise NixciError(
            f"The deployment {pending.id} of {pending.system} is still being activated, by {pending.who} since "
            f"{state.rfc3339(pending.started)}; confirm it when that has finished.",
            reason="activating",
        )
    if pending.action != "boot" and found.running != pending.system:
        raise NixciError(
            f"The deployment {pending.id} cannot be confirmed: its system {pending.system} does not run any more, but {found.running}. "
            f"Switch to it again, or take the deployment back (state: reverted).",
            reason="not_running",
        )
