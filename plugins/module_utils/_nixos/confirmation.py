# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Making a deployment permanent, and finishing what was interrupted. Private: may change without notice.

The confirmation holds the lock from beginning to end, as the revert does: whoever comes first decides, the other one finds
nothing to do. Its steps, and what remains if it is killed before the next one:

    phase confirming   Nothing has changed. The timer takes the deployment back, or a repeated confirmation completes it.
    the profile        The revert sets it back. After a restart the old system runs, and the profile is set back.
    the boot loader    The revert sets both back. After a restart the new system runs, which was verified: confirmed.
    phase confirmed    Permanent. The rest (record, pins, timer, files) is done by the next run; the revert does nothing.
"""

from __future__ import annotations

import contextlib
import os
import time

from .._core.errors import NixciError
from . import activation, messages
from . import deployment as state
from . import host as hosts
from .command import Runner
from .deployment import Deployment, Record
from .host import NixosHost

# Boot loaders write slowly; the time for the activation may be over.
BOOT_LIMIT = 600


def confirm(host: NixosHost, name: str, record: Record | None = None, keep: int = 5) -> Record:
    """Make the deployment permanent; what was recorded. If the boot loader refuses, it is taken back."""
    try:
        with state.lock(host.runner):
            return _confirm(host, mine(name), record or {}, keep)
    except NixciError as exc:
        found = state.read()
        if (
            exc.details.get("reason") not in ("profile", "boot_loader", "not_written")
            or found is None
            or found.phase == "confirmed"
        ):
            raise
        raise reverted(host, name, exc) from None


def _confirm(host: NixosHost, deployment: Deployment, record: Record, keep: int) -> Record:
    deployment.members.update(record)
    if deployment.action != "test":
        deployment.write(phase="confirming", permanent=True)
        make_permanent(host, deployment)
    deployment.write(phase="confirmed")
    return finish(host, deployment, keep)


def make_permanent(host: NixosHost, deployment: Deployment) -> None:
    """Profile and boot loader. Repeating it changes nothing."""
    runner = Runner(host.runner.module, BOOT_LIMIT)
    done = runner.run("nix-env", "--profile", hosts.PROFILE, "--set", deployment.system)
    if done.rc != 0:
        raise NixciError(f"The system profile cannot be set: {messages.tail(done.err)}", reason="profile")
    program = os.path.join(deployment.system, "bin/switch-to-configuration")
    env = {"NIXOS_INSTALL_BOOTLOADER": "0", **({"NIXOS_NO_CHECK": "1"} if deployment.no_check else {})}
    while True:
        outcome = runner.run(program, "boot", env=env)
        text = outcome.out + outcome.err
        if outcome.rc == 0:
            return
        if not hosts.refused_by_lock(outcome) or runner.left() < 1:
            break
        time.sleep(1)
    if messages.CHECK_FAILED.search(text):
        what = "The new system's own checks refuse to make it the one that boots"
    else:
        what = "The boot loader could not be installed"
    raise NixciError(f"{what}:\n{messages.tail(text)}", reason="boot_loader")


def finish(host: NixosHost, deployment: Deployment, keep: int) -> Record:
    """What remains once it is permanent."""
    state.forget(deployment.system)
    last = state.last_record()
    if last is None or last.get("id") != deployment.id:
        tested = deployment.action == "test"
        last = _record(deployment, "tested" if tested else "confirmed", "", None if tested else host.generation())
    if deployment.action != "test" and (generation := host.generation()):
        state.keep(f"confirmed-{generation}", deployment.system)
        state.prune(keep, {*map(os.path.realpath, (hosts.CURRENT_SYSTEM, hosts.BOOTED_SYSTEM, hosts.PROFILE))})
    activation.disarm(host.runner)
    cleanup()
    return last


def record_interrupted(deployment: Deployment) -> None:
    """The run that would have confirmed it was killed; the next one goes on from the system before."""
    _record(deployment, "interrupted", "its run ended before the confirmation, and another one went on", None)


def _record(deployment: Deployment, result: str, reason: str, generation: int | None) -> Record:
    record = {
        "time": state.rfc3339(time.time()),
        "result": result,
        "reason": reason,
        "to_generation": generation,
        **deployment.members,
    }
    state.append(record)
    return record


def cleanup() -> None:
    """The pending file goes last: it is what leads here again."""
    state.release("pending", "previous", "built")
    for path in (hosts.UNFINISHED, state.PENDING):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def cancel(host: NixosHost, name: str) -> None:
    """Nothing was activated, so there is nothing to take back and nothing to record."""
    with state.lock(host.runner):
        found = state.read()
        if found and found.id == name:
            activation.disarm(host.runner)
            cleanup()


def mine(name: str) -> Deployment:
    """The deployment as it is now; raises if somebody has finished it."""
    found = state.read()
    if found is None or found.id != name or found.phase == "reverting":
        raise gone(name)
    return found


def gone(name: str | None) -> NixciError:
    """What became of a deployment that is not pending any more."""
    record = state.last_record(name)
    if record is None:
        return NixciError(
            f"There is no deployment {name} on this host."
            if name
            else "No deployment waits for its confirmation on this host.",
            reason="not_pending",
        )
    known, when, why = record.get("id"), record.get("time"), record.get("reason")
    return NixciError(
        f"The deployment {known} of {record.get('to')} was {record.get('result')} at {when}{f': {why}' if why else ''}.",
        reason=record.get("result") if record.get("result") in ("reverted", "interrupted") else "not_pending",
        record=record,
    )


def reverted(host: NixosHost, name: str, cause: NixciError) -> NixciError:
    """Take the deployment back; the error that says why. The original reason is its `cause`."""
    details = {**cause.details, "cause": cause.details.get("reason")}
    text = str(cause)
    try:
        activation.take_back(host, name, text)
    except NixciError as exc:
        return NixciError(f"{text}\n{exc}", **{**details, "reason": "revert_failed"})
    return NixciError(f"{text}\nThe host went back to {host.state()['system']}.", **{**details, "reason": "reverted"})


def recover(host: NixosHost, keep: int = 5) -> None:
    """Finish what a killed run or a restart of the host left behind."""
    found = state.read()
    if found is None:
        return
    if found.phase == "confirmed":
        with state.lock(host.runner):
            found = state.read()
            if found and found.phase == "confirmed":
                finish(host, found, keep)
    elif found.interrupted():
        activation.after_boot(host)
    elif found.phase == "reverting":
        with state.lock(host.runner):  # unless it is under way
            found = state.read()
        if found and found.phase == "reverting":
            activation.take_back(host, found.id, found.reason)


def unconfirmed(host: NixosHost, found: Deployment) -> NixciError:
    """Why nothing else is deployed meanwhile."""
    boots = found.action == "boot" and host.state()["system"] != found.system
    until = (
        "It boots next, and was not booted yet."
        if boots
        else f"The host goes back to {found.previous} unless it is confirmed within {found.confirm_timeout} s."
    )
    return NixciError(
        f"The deployment {found.id} of {found.system}, by {found.who} since {state.rfc3339(found.started)}, is not confirmed yet; "
        f"nothing was activated. {until} Confirm it, or take it back with nixos_confirm (state: reverted).",
        reason="unconfirmed",
        deployment=found.returned(pending=True),
    )


def deployed_by(who: str | None) -> str:
    for name in (who, os.environ.get("SUDO_USER"), os.environ.get("USER")):
        if name:
            return " ".join(name.split())
    return "root"
