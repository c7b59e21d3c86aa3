# SPDX-License-Identifier: GPL-3.0-or-later
"""The lifecycle of all modules, on a resource that others change and whose answers get lost."""

from __future__ import annotations

import dataclasses
import typing as t

import pytest
from ansible_collections.pantheros.nixci.plugins.module_utils._core.change import Change
from ansible_collections.pantheros.nixci.plugins.module_utils._core.errors import (
    ConflictError,
    InvalidError,
    NixciError,
    UnavailableError,
)
from ansible_collections.pantheros.nixci.plugins.module_utils._core.resource import ATTEMPTS, converge

Params = dict[str, t.Any]


@dataclasses.dataclass(frozen=True)
class Plan:
    change: Change


class Lamp:
    """`failures` are raised by one attempt to apply after the other; `reaches` are the attempts that work nevertheless."""

    def __init__(self, on: bool, *failures: NixciError, reaches: t.Collection[int] = ()) -> None:
        self.on, self.failures, self.reaches = on, list(failures), reaches
        self.log: list[str] = []
        self.away = False

    def read(self, params: Params) -> bool:
        self.log.append("read")
        if self.away:
            raise UnavailableError("nobody answers")
        return self.on

    def plan(self, params: Params, found: bool) -> Plan:
        if params["on"] is None:
            raise InvalidError("say whether it shall be on")
        return Plan(Change({"on": found}, {"on": params["on"]}))

    def predict(self, plan: Plan) -> dict[str, t.Any]:
        return {"lamp": plan.change.after, "applied": False}

    def apply(self, plan: Plan) -> dict[str, t.Any]:
        self.log.append("apply")
        attempt = self.log.count("apply")
        failure = self.failures.pop(0) if self.failures else None
        if failure is None or attempt in self.reaches:
            self.on = t.cast(dict[str, t.Any], plan.change.after)["on"]
        if failure:
            raise failure
        return {"lamp": plan.change.after, "applied": True}


def turned_on(applied: bool) -> dict[str, t.Any]:
    diff = {"before": {"on": False}, "after": {"on": True}}
    return {"changed": True, "diff": diff, "lamp": {"on": True}, "applied": applied}


def test_a_difference_is_applied() -> None:
    lamp = Lamp(False)
    assert converge(lamp, {"on": True}, False) == turned_on(applied=True)
    assert lamp.log == ["read", "apply"]


def test_without_a_difference_nothing_is_applied() -> None:
    lamp = Lamp(True)
    assert not converge(lamp, {"on": True}, False)["changed"]
    assert lamp.log == ["read"]


def test_check_mode_predicts_and_applies_nothing() -> None:
    lamp = Lamp(False)
    assert converge(lamp, {"on": True}, True) == turned_on(applied=False)
    assert lamp.log == ["read"] and not lamp.on


@pytest.mark.parametrize("check_mode", [True, False])
def test_a_refused_plan_changes_nothing(check_mode: bool) -> None:
    lamp = Lamp(False)
    with pytest.raises(InvalidError):
        converge(lamp, {"on": None}, check_mode)
    assert lamp.log == ["read"]


def test_a_lost_answer_is_recognised_by_what_exists_then() -> None:
    lamp = Lamp(False, UnavailableError("no answer"), reaches={1})
    assert converge(lamp, {"on": True}, False) == turned_on(applied=False)
    assert lamp.log == ["read", "apply", "read"]


def test_after_a_conflict_it_is_planned_again() -> None:
    lamp = Lamp(False, ConflictError("changed meanwhile"))
    assert converge(lamp, {"on": True}, False) == turned_on(applied=True)
    assert lamp.log == ["read", "apply", "read", "apply"]


def test_conflicts_without_end_are_reported() -> None:
    lamp = Lamp(False, *[ConflictError(f"conflict {number}") for number in range(ATTEMPTS + 1)])
    with pytest.raises(ConflictError, match=f"conflict {ATTEMPTS - 1}"):
        converge(lamp, {"on": True}, False)
    assert lamp.log.count("apply") == ATTEMPTS


def test_a_refusal_is_not_tried_again() -> None:
    lamp = Lamp(False, InvalidError("broken"))
    with pytest.raises(InvalidError, match="broken"):
        converge(lamp, {"on": True}, False)
    assert lamp.log == ["read", "apply"]


def test_an_error_may_rule_out_another_plan() -> None:
    final = ConflictError("taken for ever")
    final.plan_again = False
    lamp = Lamp(False, final)
    with pytest.raises(ConflictError, match="taken for ever"):
        converge(lamp, {"on": True}, False)
    assert lamp.log == ["read", "apply"]


def test_the_first_failure_is_reported_when_the_service_stays_away() -> None:
    lamp = Lamp(False, UnavailableError("cut off in the middle"))
    apply = lamp.apply

    def cut(plan: Plan) -> dict[str, t.Any]:
        lamp.away = True
        return apply(plan)

    lamp.apply = cut  # type: ignore[method-assign]
    with pytest.raises(UnavailableError, match="cut off in the middle"):
        converge(lamp, {"on": True}, False)
