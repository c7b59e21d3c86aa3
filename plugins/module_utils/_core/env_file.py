# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of KEY=value lines that systemd (EnvironmentFile=) and a shell read alike. Private: may change without notice.

The rules are those of systemd.exec(5); the tests ask systemd and sh themselves.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
PLAIN = re.compile(r"[\w./+=:@%,-]*", re.ASCII)
# Within double quotes; any other character stands for itself, also in a shell.
SPECIAL = re.compile(r'(["\\`$])')
ESCAPED = re.compile(r'\\(["\\`$])')
# systemd drops or refuses such values, and a newline would need a way of writing that OpNix and others do not know.
FORBIDDEN = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
LINE = re.compile(r"""([A-Za-z_]\w*)=(?:'([^'\\]*)'|"((?:[^"\\]|\\["\\`$])*)"|((?:[^\s'"\\][^\\]*)?))""", re.ASCII)


def compose(variables: Mapping[str, str]) -> str:
    """One line for each variable, quoted only where it must be, without a newline at the end."""
    return "\n".join(f"{name}={_quoted(value)}" for name, value in variables.items())


def parse(text: str) -> dict[str, str] | None:
    """What systemd would read, or None for anything written in a way that `compose` and people do not commonly use."""
    variables = {}
    for line in re.split(r"[\r\n]", text):
        line = line.strip(" \t")
        if not line or line[0] in "#;":
            continue
        match = LINE.fullmatch(line)
        if match is None:
            return None
        name, single, double, plain = match.groups()
        variables[name] = single or plain or ESCAPED.sub(r"\1", double or "")
    return variables


def _quoted(value: str) -> str:
    return value if PLAIN.fullmatch(value) else '"' + SPECIAL.sub(r"\\\1", value) + '"'
