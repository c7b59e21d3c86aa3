# SPDX-License-Identifier: GPL-3.0-or-later
"""The contract of check mode as a property: what it predicts happens, and a second run changes nothing."""

from __future__ import annotations

import dataclasses
import typing as t

Result = dict[str, t.Any]


class Run(t.Protocol):
    def __call__(self, *, check: bool = False) -> Result: ...


@dataclasses.dataclass(frozen=True)
class CheckModeRuns:
    predicted: Result
    actual: Result
    repeated: Result | None  # None when the desired state was refused


def assert_check_mode_contract(
    run: Run, state: t.Callable[[], t.Any], *, unknown: t.Collection[str] = (), once: t.Collection[str] = ()
) -> CheckModeRuns:
    """Run in check mode, run, run again.

    `state` returns what the service stores, without times. `unknown` are the paths of results that cannot be known
    before the run ("record.id", "records.*.id"): check mode may return None there only. `once` are results
    that only the changing run returns, such as a secret.
    """
    before = state()
    predicted = run(check=True)
    assert state() == before, "check mode has changed something"
    actual = run()
    assert predicted["failed"] == actual["failed"], (predicted, actual)
    if actual["failed"]:
        assert predicted["msg"] == actual["msg"]
        assert state() == before, "a refused task has changed something"
        return CheckModeRuns(predicted, actual, None)

    assert predicted["changed"] == actual["changed"], (predicted, actual)
    assert predicted.get("diff") == actual.get("diff"), (predicted, actual)
    assert (state() != before) <= actual["changed"], "changed: false, but the stored state is different"
    _same(_facts(predicted), _facts(actual), "", frozenset(unknown) | frozenset(once))

    settled = state()
    repeated = run()
    assert not repeated["failed"], repeated
    assert not repeated["changed"], repeated
    assert state() == settled
    if "diff" in repeated:
        assert repeated["diff"]["before"] == repeated["diff"]["after"] == actual["diff"]["after"]
    _same(_without(once, _facts(repeated)), _without(once, _facts(actual)), "", frozenset())
    return CheckModeRuns(predicted, actual, repeated)


def _facts(result: Result) -> Result:
    return {key: value for key, value in result.items() if key not in ("diff", "changed", "invocation", "warnings")}


def _without(keys: t.Collection[str], result: Result) -> Result:
    return {key: value for key, value in result.items() if key not in keys}


def _same(predicted: t.Any, actual: t.Any, path: str, unknown: frozenset[str]) -> None:
    if predicted is None and path in unknown:
        return
    if isinstance(predicted, dict) and isinstance(actual, dict):
        assert predicted.keys() == actual.keys(), path
        for key in actual:
            _same(predicted[key], actual[key], f"{path}.{key}".lstrip("."), unknown)
    elif isinstance(predicted, list) and isinstance(actual, list):
        assert len(predicted) == len(actual), path
        for one, other in zip(predicted, actual, strict=True):
            _same(one, other, f"{path}.*", unknown)
    else:
        assert predicted == actual, path
