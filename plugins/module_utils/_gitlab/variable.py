# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""GitLab's rules for CI/CD variables, so that nothing is sent that it would refuse. Private: may change without notice.

The rules are those of GitLab's models Ci::HasVariable, Ci::Maskable and Ci::HasEnvironmentScope. No message tells a value.
"""

from __future__ import annotations

import re
import typing as t

from .._core.errors import InvalidError

MASKABLE_LENGTH = 8
MAX_DESCRIPTION = 255
# Ruby's \s knows ASCII white space only.
BLANK = re.compile(r"\s", re.ASCII)
PREDEFINED = re.compile(r"(CI|GITLAB|FF|RUNNER)_[A-Z0-9_]+")


def check_options(params: dict[str, t.Any]) -> None:
    """What can be refused without knowing what GitLab has."""
    key, value = params["key"], params["value"]
    if not is_key(key):
        raise InvalidError(f"The key '{key}' is not made of 1 to 255 letters (a-z, A-Z), digits and underscores.")
    check_scope(key, params["environment_scope"])
    if len(params["description"] or "") > MAX_DESCRIPTION:
        raise InvalidError(f"The description of {key} is longer than {MAX_DESCRIPTION} characters.")
    if params["hidden"] and params["masked"] is False:
        raise InvalidError(f"The variable {key} cannot be hidden without being masked; leave masked out.")
    if params["state"] == "present":
        if "\0" in value:
            raise InvalidError(f"The value of {key} holds a NUL character, which no environment variable can.")
        if "PRIVATE KEY-----" in value and "\r" in value:
            raise InvalidError(
                f"The private key in {key} has the line ends of Windows, which OpenSSH refuses; convert it to LF."
            )
        if params["masked"] or params["hidden"]:
            check_maskable(key, content(params, "env_var", masked=True), params["raw"])


def check_scope(key: str, scope: str) -> None:
    # GitLab takes an empty filter for none at all, and would then change or remove the variable of another scope.
    if not scope or scope != scope.strip():
        raise InvalidError(
            f"The environment scope of {key} is empty or begins or ends with a blank; '*' means every environment."
        )
    if not re.fullmatch(r"[a-zA-Z0-9_/${}. *-]+", scope):
        raise InvalidError(
            f"The environment scope '{scope}' of {key} is not made of letters, digits, blanks and _ / $ {{ }} . * -."
        )


def check_maskable(key: str, value: str, raw: bool) -> None:
    wrong = ""
    if len(value) < MASKABLE_LENGTH:
        wrong = f"has {len(value)} characters and a masked value needs at least {MASKABLE_LENGTH}"
    elif BLANK.search(value):
        wrong = "holds white space or line breaks, which GitLab cannot mask"
    elif not raw and not re.fullmatch(r"[a-zA-Z0-9_+=/@:.~-]+", value):
        wrong = "holds characters that GitLab masks with raw: true only"
    elif value == key or PREDEFINED.fullmatch(value):
        wrong = "is itself the name of a variable, and such a value must not be masked"
    if wrong:
        raise InvalidError(f"The value of {key} {wrong}; nothing was changed.")


def is_key(text: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9_]{1,255}", text) is not None


def content(params: dict[str, t.Any], variable_type: str, *, masked: bool) -> str:
    """The value as it is written. Tools such as OpenSSH refuse a file whose last line does not end."""
    value = params["value"]
    wanted = params["final_newline"]
    if wanted is None:
        wanted = variable_type == "file" and not masked
    return value + "\n" if wanted and value and not value.endswith("\n") else value
