# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prometheus' text format, and the file that its textfile collector reads. Private: may change without notice.

The format: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import dataclasses
import os
import typing as t

from .change import Change
from .errors import ForbiddenError, InvalidError, NotFoundError
from .file import File

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

MODE = "0644"  # the collector runs as a user of its own


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
    """A file in the collector's directory. It is refused at once where it could not be written in the end."""

    def __init__(self, module: AnsibleModule, path: str) -> None:
        self.path = path
        folder = os.path.dirname(path)
        if not os.path.isabs(path) or not path.endswith(".prom"):
            raise InvalidError(f"textfile: '{path}' must be an absolute path that ends in .prom; others are not read.")
        if os.path.exists(path) and not os.path.isfile(path):
            raise InvalidError(f"textfile: '{path}' is not a file; give the name of a file.")
        if not os.path.isdir(folder):
            raise NotFoundError(
                f"textfile: there is no directory '{folder}' that this user can see; give the one that the collector reads."
            )
        if not os.access(folder, os.W_OK | os.X_OK):
            raise ForbiddenError(f"textfile: '{folder}' cannot be written; run the task as a user who may.")
        self._file = File(module, path, MODE)

    def read(self) -> Existing:
        try:
            # Whatever the file holds is replaced.
            return Existing(self._file.read(errors="replace"), self._file.attributes())
        except OSError as exc:
            raise ForbiddenError(f"textfile: '{self.path}' cannot be read ({exc.strerror}).") from None

    def plan(self, existing: Existing, text: str) -> Change:
        """Line by line, because people read a diff of it."""
        states = [
            attributes and {**attributes, "content": (content or "").split("\n")}
            for attributes, content in (
                (existing.attributes.before, existing.text),
                (existing.attributes.after, text),
            )
        ]
        return Change(*states)

    def write(self, text: str) -> None:
        """The collector reads the old figures or the new ones, never half a file. Raises NixciError."""
        self._file.write(text)


@dataclasses.dataclass(frozen=True)
class Existing:
    """A textfile as it was found, if there is one."""

    text: str | None
    attributes: Change
