# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The token with which a host's OpNix reads 1Password, as a resource. Private: may change without notice."""

from __future__ import annotations

import dataclasses
import os
import re
import stat
import typing as t

from .._core.change import Change
from .._core.errors import InvalidError, NixciError
from .._core.file import File
from .command import Runner
from .host import CURRENT_SYSTEM, journal
from .opnix import UNIT, Opnix, Reader, last_start

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

DEFAULT_PATH = "/etc/opnix-token"
# What activates secrets of its own puts them here; it is empty after a reboot.
VOLATILE = "/run/"
_TOKEN = re.compile(r"ops_[\w=.-]+", re.A)

# What stands for a token in the diff.
HIDDEN = "not shown"
HIDDEN_OLD = "not shown, another one"

Params = dict[str, t.Any]
Result = dict[str, t.Any]


@dataclasses.dataclass(frozen=True)
class Host:
    """The token file now, and what the token that the host is to have cannot read."""

    path: str
    token: str
    mode: str
    references: int
    unreadable: dict[str, str]
    overdue: bool | None


@dataclasses.dataclass(frozen=True)
class TokenPlan:
    change: Change
    found: Host
    token: str
    result: Result


class OpnixToken:
    """A token file that is replaced only if it may be, and only by a token that can do all that OpNix has to do."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.runner = Runner(module, module.params["timeout"])

    def read(self, params: Params) -> Host:
        running, desired = Opnix(CURRENT_SYSTEM), Opnix(params["system"] or CURRENT_SYSTEM)
        if params["system"] and not desired.fetches:
            raise InvalidError(
                f"The system {params['system']} has no {UNIT} that fetches secrets, so it does not use OpNix; "
                "import OpNix' NixOS module and declare a secret."
            )
        path = params["path"] or desired.token_file or DEFAULT_PATH
        old, token = self._token(path), checked(params["token"])
        secrets = desired.secrets() if params["system"] else []
        # What the host's token was able to read is not asked for in every run.
        tested = bool(secrets) and (token not in ("", old) or not set(secrets) <= set(running.secrets()))
        unreadable: dict[str, str] = {}
        if tested and (token or old) and not _refused(params, old, token):
            unreadable = Reader(self.runner).unreadable(desired, secrets, token or old)
        mode = f"0{stat.S_IMODE(os.stat(path).st_mode):03o}" if os.path.exists(path) else "0600"
        return Host(path, old, mode, len(secrets) if tested else 0, unreadable, _overdue(self.runner, path))

    def plan(self, params: Params, found: Host) -> TokenPlan:
        old, token = found.token, checked(params["token"])
        volatile = os.path.realpath(found.path).startswith(VOLATILE)
        if _refused(params, old, token):
            raise InvalidError(
                f"{found.path} on this host holds another token than the given one, and services of this host may need "
                "what only that one can read; nothing was changed. Leave the token empty to keep the host's, or set "
                "replace (opnix_replace_token in the role) to true, which keeps the old token beside the new one.",
                reason="other_token",
            )
        if not token and not old and not volatile:
            raise InvalidError(
                f"This host has no OpNix token in {found.path}, and without one it fetches no secrets and its services "
                "do not start; set token (opnix_token in the role) to the token of a 1Password service account.",
                reason="no_token",
            )
        if token and token != old and volatile:
            raise InvalidError(
                f"{found.path} does not survive a reboot, so the token is not written there; whatever puts it there has "
                "to have the new one, and the token (opnix_token in the role) has to be empty."
            )
        if found.unreadable:
            listed = ", ".join(f"{reference} ({reason})" for reference, reason in found.unreadable.items())
            raise InvalidError(
                f"With {'the given' if token else 'its'} token, this host cannot read {len(found.unreadable)} of the "
                f"{found.references} references in its configuration, and OpNix then fetches none of them: {listed}. "
                "Give the service account access to them, or correct the references; nothing was changed.",
                reason="unreadable",
                unreadable=sorted(found.unreadable),
            )
        replaced = bool(token and old and token != old)
        write = bool(token and token != old)
        shown = {"path": found.path, "token": HIDDEN}
        before = {**shown, "token": HIDDEN_OLD if replaced else HIDDEN} if old else None
        result = {
            "token_file": found.path,
            "previous": previous(found.path) if replaced else None,
            "references": found.references,
            "refresh": found.overdue is not None and (write or found.overdue),
        }
        return TokenPlan(Change(before, shown if token or old else None), found, token, result)

    def predict(self, plan: TokenPlan) -> Result:
        return plan.result

    def apply(self, plan: TokenPlan) -> Result:
        if plan.result["previous"]:
            File(self.module, plan.result["previous"], "0600").write(plan.found.token + "\n")
        File(self.module, plan.found.path, plan.found.mode).write(plan.token + "\n")
        return plan.result

    def _token(self, path: str) -> str:
        """Empty without a file, and for an empty file, which OpNix refuses."""
        try:
            return (File(self.module, path).read(errors="replace") or "").strip()
        except OSError as exc:
            raise NixciError(f"{path} cannot be read: {exc.strerror}.") from None


def refresh(module: AnsibleModule) -> Result:
    """Fetch all secrets with the token on the host, unless OpNix has done so since it was written."""
    runner = Runner(module, module.params["timeout"])
    path = module.params["path"] or Opnix(CURRENT_SYSTEM).token_file or DEFAULT_PATH
    overdue = _overdue(runner, path)
    if overdue is None:
        raise InvalidError(f"This host has no {UNIT}; activate a system with OpNix first.")
    if overdue and not module.check_mode:
        # The unit may start twice an hour only, and this resets the count.
        runner.run("systemctl", "reset-failed", "--", UNIT)
        outcome = runner.run("systemctl", "restart", "--", UNIT)
        if outcome.rc != 0:
            raise NixciError(f"OpNix could not fetch the secrets; {UNIT}:\n{journal(runner, UNIT)}")
    return {"changed": overdue}


def _overdue(runner: Runner, path: str) -> bool | None:
    """Whether OpNix' unit failed or has not started since the token was written; None if the host has no such unit.

    The time of the file decides, so an interrupted run loses nothing. OpNix changes the group and the mode of the file,
    which leave that time alone.
    """
    if runner.find("systemctl") is None:
        return None
    state, started = last_start(runner)
    if not state:
        return None
    return state == "failed" or (os.path.exists(path) and os.stat(path).st_mtime >= started)


def checked(token: str | None) -> str:
    """Without the blanks and the newline of a file or a variable. Raises InvalidError."""
    token = (token or "").strip()
    if token and not _TOKEN.fullmatch(token):
        raise InvalidError(
            "The token is not one of a 1Password service account, which begins with 'ops_' and has no blanks; a token of "
            "a Connect server is of no use to OpNix."
        )
    return token


def previous(path: str) -> str:
    return f"{path}.previous"


def _refused(params: Params, old: str, token: str) -> bool:
    return bool(token and old and token != old and not params["replace"])
