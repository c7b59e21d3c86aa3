# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether units run and keep running. Private: may change without notice."""

from __future__ import annotations

import dataclasses
import time
import typing as t

from .._core.errors import NixciError
from .command import Outcome, Runner

# Longer than a server needs to find out that its database is missing.
SETTLED = 2.0
PROPERTIES = (
    "--property=LoadState,ActiveState,SubState,Type,Result,ConditionResult,NRestarts,"
    "ActiveEnterTimestampMonotonic,ExecMainStartTimestampMonotonic,StateChangeTimestampMonotonic"
)
FAILED = ("systemctl", "list-units", "--failed", "--plain", "--no-legend", "--no-pager", "--all")
# A unit that waits for its automatic restart has no job until its pause is over.
MOVING = ("systemctl", "list-units", "--state=activating,deactivating,reloading", *FAILED[3:6])
JOBS = ("systemctl", "list-jobs", "--no-legend", "--no-pager")


class Unit:
    """What systemd says of a unit at one moment."""

    def __init__(self, name: str, shown: dict[str, str], now: float) -> None:
        self.name, self.shown, self.now = name, shown, now
        self.load, self.active = shown.get("LoadState", "loaded"), shown.get("ActiveState", "")
        self.sub = shown.get("SubState", "")

    @property
    def exists(self) -> bool:
        return self.load == "loaded"

    @property
    def state(self) -> str:
        if not self.exists:
            return self.load
        restarts = self._number("NRestarts")
        more = f", restarted {restarts} times" if restarts else ""
        if self.active != "active" and self.shown.get("ConditionResult") == "no":
            more += ", its condition was not met"
        return f"{self.active} ({self.sub}{more})"

    @property
    def failed(self) -> bool:
        return self.active == "failed"

    @property
    def crashed(self) -> bool:
        """Whether it has failed, or waits for its restart because it did."""
        return self.failed or ("auto-restart" in self.sub and self.shown.get("Result", "success") != "success")

    @property
    def done(self) -> bool:
        """A task that ends, such as one that a timer starts, is not active afterwards."""
        return (
            self.shown.get("Type") == "oneshot"
            and self.active == "inactive"
            and self.shown.get("Result", "success") == "success"
            and self._number("ExecMainStartTimestampMonotonic") > 0
        )

    @property
    def undecided(self) -> bool:
        """Whether it starts, ends or waits for its restart. A task that ends may take as long as it likes."""
        task = self.shown.get("Type") == "oneshot" and self.sub == "start"
        return "auto-restart" in self.sub or (self.active in ("activating", "deactivating") and not task)

    def missing(self, steady: float) -> float:
        """Seconds until it has been active for long enough. Only what has processes may end by itself."""
        if self.sub != "running":
            return 0.0
        entered = max(self._number("ActiveEnterTimestampMonotonic"), self._number("ExecMainStartTimestampMonotonic"))
        return max(0.0, steady - (self.now - entered / 1e6))

    @property
    def unchanged_for(self) -> float:
        return self.now - self._number("StateChangeTimestampMonotonic") / 1e6

    def _number(self, name: str) -> int:
        value = self.shown.get(name) or ""
        return int(value) if value.isdecimal() else 0


@dataclasses.dataclass
class Seen:
    """The units of one moment."""

    units: dict[str, Unit] = dataclasses.field(default_factory=dict)
    absent: list[str] = dataclasses.field(default_factory=list)
    """Units that must run and do not exist."""
    down: list[str] = dataclasses.field(default_factory=list)
    """Those that decide and are not active, or that wait for their restart."""
    settling: float = 0.0
    """Seconds until all others have been active for long enough."""
    young: list[str] = dataclasses.field(default_factory=list)
    others: list[str] = dataclasses.field(default_factory=list)
    """Failed units that do not decide."""

    @property
    def passed(self) -> bool:
        return not self.absent and not self.down and not self.settling


class UnitWatch:
    """Which units decide: those that must run, and those that a change touched and that have not been failed before."""

    def __init__(
        self, runner: Runner, required: list[str], changed: list[str] | None, ignored: list[str], steady: float
    ) -> None:
        self.runner, self.steady = runner, steady
        self.ignored = set(ignored)
        self.required = list(dict.fromkeys(required))
        # A template never runs, and systemd knows nothing of it.
        self.changed = [name for name in dict.fromkeys(changed or []) if name not in self.required and "@." not in name]
        self.all_failed = changed is not None

    def look(self) -> Seen:
        """Raises NixciError if systemd does not answer."""
        seen = Seen()
        names = [*self.required, *self.changed]
        seen.units = self._show(names) if names else {}
        for name, unit in seen.units.items():
            # What only changed need not run: the change may have stopped it, or it waits for a timer or a socket.
            must_run = name in self.required
            down = not (unit.active == "active" or unit.done) if must_run else unit.failed or unit.undecided
            if not unit.exists:
                seen.absent += [name] if must_run else []
            elif down and name in self.ignored:
                seen.others.append(name)
            elif down:
                seen.down.append(name)
            elif missing := unit.missing(self.steady):
                seen.young.append(name)
                seen.settling = max(seen.settling, missing)
        if self.all_failed:
            more = [name for name in self._listed(FAILED) if name not in seen.units]
            seen.units.update(self._show(more) if more else {})
            seen.others += more
        return seen

    def hopeless(self, seen: Seen) -> bool:
        """Whether a unit has failed for good: systemd does not restart it, and nothing starts that might do so."""
        final = [name for name in seen.down if seen.units[name].failed and seen.units[name].unchanged_for >= SETTLED]
        return bool(final) and not self._listed(MOVING) and not self._listed(JOBS)

    def show(self, names: list[str], properties: str) -> dict[str, dict[str, str]]:
        """The properties of units. Raises NixciError if systemd does not give them."""
        outcome = self.runner.run("systemctl", "show", properties, "--", *names)
        blocks = outcome.out.strip().split("\n\n") if outcome.out.strip() else []
        if outcome.rc != 0 or len(blocks) != len(names):
            raise NixciError(f"systemd cannot be asked for {', '.join(names)}: {_reason(outcome)}.")
        pairs = [dict(line.partition("=")[::2] for line in block.splitlines()) for block in blocks]
        return dict(zip(names, pairs))  # noqa: B905 - the lengths are equal, and hosts may have Python 3.9

    def _show(self, names: list[str]) -> dict[str, Unit]:
        shown = self.show(names, PROPERTIES)
        now = time.clock_gettime(time.CLOCK_MONOTONIC)
        return {name: Unit(name, properties, now) for name, properties in shown.items()}

    def _listed(self, command: t.Sequence[str]) -> list[str]:
        outcome = self.runner.run(*command)
        if outcome.rc != 0:
            raise NixciError(f"systemd cannot list units: {_reason(outcome)}.")
        return [line.split()[0] for line in outcome.out.splitlines() if line.strip()]


def _reason(outcome: Outcome) -> str:
    return (outcome.err.strip().splitlines() or ["no answer"])[0].rstrip(".")
