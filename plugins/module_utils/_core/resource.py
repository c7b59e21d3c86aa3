# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one lifecycle of all modules: read, plan, apply. Private: may change without notice."""

from __future__ import annotations

import typing as t

from .change import Change
from .errors import NixciError

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

Params = dict[str, t.Any]
Result = dict[str, t.Any]

# Somebody else may write between our reading and our writing, but not for ever.
ATTEMPTS = 3


class Plan(t.Protocol):
    """What a resource intends to do; a service adds the steps that its `apply` needs."""

    @property
    def change(self) -> Change: ...


Found = t.TypeVar("Found")
P = t.TypeVar("P", bound=Plan)


class Resource(t.Protocol[Found, P]):
    """What a module manages."""

    def read(self, params: Params) -> Found:
        """What exists now."""

    def plan(self, params: Params, found: Found) -> P:
        """What to change. Pure, and it raises whatever must also be refused in check mode, missing rights included."""

    def predict(self, plan: P) -> Result:
        """The return values if the plan is carried out, or if there is nothing to do."""

    def apply(self, plan: P) -> Result:
        """Carry out the plan; the return values as the service has them now."""


def converge(resource: Resource[Found, P], params: Params, check_mode: bool, attempts: int = ATTEMPTS) -> Result:
    """Bring about the desired state and return what exit_json takes.

    After a conflict or a lost answer the state is read and planned again: what exists then decides what is left to do.
    """
    first = plan = resource.plan(params, resource.read(params))
    if check_mode or not plan.change:
        return plan.change.result(**resource.predict(plan))
    for attempt in range(1, attempts + 1):
        try:
            values = resource.apply(plan)
            break
        except NixciError as exc:
            if not exc.plan_again or attempt == attempts:
                raise
            try:
                found = resource.read(params)
            except NixciError:
                raise exc from None  # the first failure says more than that the service is still away
            plan = resource.plan(params, found)
            if not plan.change:
                values = resource.predict(plan)
                break
    return Change(first.change.before, plan.change.after).result(**values)


def finish(module: AnsibleModule, produce: t.Callable[[], Result]) -> None:
    """The end of every main(): the result, or the error in one sentence."""
    try:
        result = produce()
    except NixciError as exc:
        module.fail_json(msg=str(exc), **exc.details)
    module.exit_json(**{"changed": False, **result})


def run(module: AnsibleModule, resource: t.Callable[[], Resource[Found, P]]) -> None:
    """Manage a resource with the options of a module. It is made here, because making it may fail as well."""
    finish(module, lambda: converge(resource(), module.params, module.check_mode))
