# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prometheus' text format, and the file that its textfile collector reads. Private: may change without notice.

The format: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import stat
import typing as t

from .change import Change, State
from .errors import ForbiddenError, InvalidError, NotFoundError
from .file import replace

MODE = 0o644  # the collector runs as a user of its own


@dataclasses.dataclass(frozen=True)
class Gauge:
    name: str
    help: str
    samples: list[tuple[dict[str, str], float | None]]
    """Labels and value; a value of None is not known and left out."""


def exposition(gauges: t.Iterable[Gauge]) -> str:
    lines = []
    for gauge in gauges:
        samples = [(labels, value) for labels, value in gauge.samples if value is not None]
        if samples:
            lines += [f"# HELP {gauge.name} {_escape(gauge.help)}", f"# TYPE {gauge.name} gauge"]
            lines += [f"{gauge.name}{_labels(labels)} {value}" for labels, value in samples]
    return "".join(f"{line}\n" for line in lines)


def _labels(labels: dict[str, str]) -> str:
    pairs = [f'{name}="{_escape(value, quote=True)}"' for name, value in labels.items()]
    return f"{{{','.join(pairs)}}}" if pairs else ""


def _escape(text: str, quote: bool = False) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quote else text


class Textfile:
    """One file below the collector's directory. It is refused at once where it could not be written in the end."""

    def __init__(self, path: str) -> None:
        self.path = pathlib.Path(path)
        folder = self.path.parent
        if not self.path.is_absolute() or self.path.suffix != ".prom":
            raise InvalidError(f"textfile: '{path}' must be an absolute path that ends in .prom; others are not read.")
        # Not pathlib's own questions, which fail for a folder that this user cannot look into.
        if os.path.exists(self.path) and not os.path.isfile(self.path):
            raise InvalidError(f"textfile: '{path}' is not a file; give the name of a file.")
        if not os.path.isdir(folder):
            raise NotFoundError(
                f"textfile: there is no directory '{folder}' that this user can see; give the one that the collector reads."
            )
        if not os.access(folder, os.W_OK | os.X_OK):
            raise ForbiddenError(f"textfile: '{folder}' cannot be written; run the task as a user who may.")

    def plan(self, text: str) -> Change:
        return Change(self._read(), _state(text, MODE))

    def write(self, text: str) -> None:
        """The collector reads the old figures or the new ones, never half a file."""
        try:
            replace(self.path, text, MODE)
        except OSError as exc:
            raise ForbiddenError(f"textfile: '{self.path}' cannot be written ({exc.strerror}).") from None

    def _read(self) -> State:
        try:
            text = self.path.read_text(encoding="utf-8", errors="replace")
            return _state(text, stat.S_IMODE(self.path.stat().st_mode))
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise ForbiddenError(f"textfile: '{self.path}' cannot be read ({exc.strerror}).") from None


def _state(text: str, mode: int) -> dict[str, t.Any]:
    """Line by line, because a diff of it is read by people."""
    return {"mode": f"{mode:04o}", "content": text.split("\n")}
