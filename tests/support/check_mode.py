# SPDX-License-Identifier: GPL-3.0-or-later
"""The promise of check mode as a property: what it foretells happens, and a second run changes nothing."""

from __future__ import annotations

import dataclasses
import typing as t

Result = dict[str, t.Any]


class Run(t.Protocol):
    def __call__(self, *, check: bool = False) -> Result: ...


@dataclasses.dataclass(frozen=True)
class Agreement:
    foretold: Result
    done: Result
    again: Result | None  # None when the wish was refused


def agree(
    run: Run, state: t.Callable[[], t.Any], *, unknown: t.Collection[str] = (), once: t.Collection[str] = ()
) -> Agreement:
    """Check, run, run again.

    `state` shows what the service holds, without times. `unknown` are the paths of results that nobody can know before
    the run ("record.id", "records.*.id"): check mode may say None there and nothing else. `once` are results that only
    the changing run hands out, such as a secret.
    """
    before = state()
    foretold = run(check=True)
    assert state() == before, "check mode has changed something"
    done = run()
    assert foretold["failed"] == done["failed"], (foretold, done)
    if done["failed"]:
        assert foretold["msg"] == done["msg"]
        assert state() == before, "a refused wish has changed something"
        return Agreement(foretold, done, None)

    assert foretold["changed"] == done["changed"], (foretold, done)
    assert foretold.get("diff") == done.get("diff"), (foretold, done)
    assert (state() != before) <= done["changed"], "changed: false, but the service holds something else"
    _same(_facts(foretold), _facts(done), "", frozenset(unknown) | frozenset(once))

    settled = state()
    again = run()
    assert not again["failed"], again
    assert not again["changed"], again
    assert state() == settled
    if "diff" in again:
        assert again["diff"]["before"] == again["diff"]["after"] == done["diff"]["after"]
    _same(_without(once, _facts(again)), _without(once, _facts(done)), "", frozenset())
    return Agreement(foretold, done, again)


def _facts(result: Result) -> Result:
    return {key: value for key, value in result.items() if key not in ("diff", "changed", "invocation", "warnings")}


def _without(keys: t.Collection[str], result: Result) -> Result:
    return {key: value for key, value in result.items() if key not in keys}


def _same(foretold: t.Any, done: t.Any, path: str, unknown: frozenset[str]) -> None:
    if foretold is None and path in unknown:
        return
    if isinstance(foretold, dict) and isinstance(done, dict):
        assert foretold.keys() == done.keys(), path
        for key in done:
            _same(foretold[key], done[key], f"{path}.{key}".lstrip("."), unknown)
    elif isinstance(foretold, list) and isinstance(done, list):
        assert len(foretold) == len(done), path
        for one, other in zip(foretold, done, strict=True):
            _same(one, other, f"{path}.*", unknown)
    else:
        assert foretold == done, path
