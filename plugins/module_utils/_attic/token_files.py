# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files in which clients look for a token of an Attic server. Private: may change without notice."""

from __future__ import annotations

import dataclasses
import os
import tomllib
import typing as t

from .._core.change import Change, State
from .._core.errors import ConflictError, InvalidError, NixciError
from .._core.file import File
from .client_files import client_config, find_host, host_of, netrc

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

UP_TO_DATE = "up to date"
SHARED = ("default", "macdef")  # words of a netrc that belong to no machine


def texts(params: dict[str, t.Any], token: str) -> dict[str, str]:
    """The token in the form of each client's configuration, by the name of the return value; needs a URL."""
    url = params["url"]
    if url is None:
        return {}
    return {"client_config": client_config(params["server_name"], url, value=token), "netrc": netrc(url, token)}


def token_files(module: AnsibleModule) -> list[TokenFile]:
    """The files that the task asks for."""
    params = module.params
    paths = [params[option] for option in ("config_path", "netrc_path") if params[option]]
    if len({os.path.realpath(path) for path in paths}) < len(paths):
        raise InvalidError(f"config_path and netrc_path: both are the file {paths[0]}; name two files.")
    if not paths:
        return []
    host = host_of(params["url"])
    kinds: dict[str, tuple[str, Find]] = {
        "config_path": ("client_config", lambda text: other_servers(text, params["server_name"], host)),
        "netrc_path": ("netrc", lambda text: other_machines(text, host)),
    }
    return [TokenFile(module, option, *kind) for option, kind in kinds.items() if params[option]]


Find = t.Callable[[str], list[str]]


def other_servers(text: str, server: str, host: str) -> list[str]:
    """The servers in a client configuration besides ours; ValueError if it is none."""
    config = tomllib.loads(text)
    servers = config.get("servers", {})
    only_remarks = not config and text.strip()
    if not config.keys() <= {"default-server", "servers"} or not isinstance(servers, dict) or only_remarks:
        raise ValueError("another program's file")
    found = [name for name in servers if name != server]
    if server in servers:
        entry = servers[server]
        there = find_host(str(entry.get("endpoint"))) if isinstance(entry, dict) else None
        if there != host:
            found.append(f"{server} at {there or 'no address'}")
    return found


def other_machines(text: str, host: str) -> list[str]:
    """The entries of a netrc besides ours; ValueError if it is none."""
    words = text.split()
    if words and words[0] not in ("machine", *SHARED):
        raise ValueError("another program's file")
    found, rest = [], iter(words)
    for word in rest:
        if word in SHARED:
            found.append(word)
        elif word not in ("machine", "login", "account", "password"):
            raise ValueError("another program's file")
        elif (value := next(rest, "")) != host and word == "machine":
            found.append(value)
    return found


@dataclasses.dataclass(frozen=True)
class Existing:
    """What was found where a token file belongs."""

    text: str | None = dataclasses.field(repr=False)
    attributes: Change
    obstacle: str | None
    """Why the file cannot be written."""


class TokenFile:
    """A file that holds nothing but one token, readable by its owner alone unless the task sets another mode."""

    def __init__(self, module: AnsibleModule, option: str, kind: str, others: Find) -> None:
        """`kind` is the return value with the same text; `others` finds what would get lost if it were replaced."""
        self.option = option
        self.kind = kind
        self.path: str = module.params[option]
        self._others = others
        self._file = File(module, self.path)

    def read(self) -> Existing:
        if os.path.exists(self._file.path) and not os.path.isfile(self._file.path):
            raise ConflictError(f"{self.option}: {self.path} is not a file; name another path.")
        try:
            text = self._file.read()
        except (OSError, UnicodeDecodeError) as exc:
            reason = exc.strerror if isinstance(exc, OSError) else "it is not text"
            raise NixciError(self._failure("read", reason)) from None
        return Existing(text, self._file.attributes(), self._obstacle())

    def plan(self, existing: Existing, content: str | None) -> Change:
        """`content` is None for a new token, which is not minted yet and differs from any other.

        Raises what forbids a change. The states do not show the token.
        """
        before = _state(existing.attributes.before, "outdated" if existing.text != content else UP_TO_DATE)
        change = Change(before or {"content": "missing"}, _state(existing.attributes.after, UP_TO_DATE))
        if existing.text is not None and existing.text != content:
            self._refuse_loss(existing.text)
        if "content" in change.fields and existing.obstacle:
            raise NixciError(self._failure("write", existing.obstacle))
        return change

    def apply(self, change: Change, content: str) -> None:
        if "content" in change.fields:
            try:
                os.makedirs(os.path.dirname(self._file.path), mode=0o700, exist_ok=True)
            except OSError as exc:
                raise NixciError(self._failure("write", exc.strerror)) from None
            self._file.write(content)
        elif change:
            self._file.set_attributes()

    def _obstacle(self) -> str | None:
        """The nearest existing directory must let us in."""
        folder = os.path.dirname(self._file.path)
        while not os.path.lexists(folder):
            folder = os.path.dirname(folder)
        if not os.path.isdir(folder):
            return f"{folder} is not a directory"
        if not os.access(folder, os.W_OK | os.X_OK):
            return f"no right to write to {folder}"
        return None

    def _refuse_loss(self, text: str) -> None:
        try:
            found = self._others(text)
        except ValueError:
            found = ["something else"]
        if found:
            raise ConflictError(
                f"{self.option}: {self.path} holds more than this token ({', '.join(found)}), which would get lost; "
                "name a file of its own, or remove this one if nobody needs it."
            )

    def _failure(self, verb: str, reason: str | None) -> str:
        return f"{self.option}: cannot {verb} {self.path} ({reason}); check the path and its owner."


def _state(attributes: State, content: str) -> State:
    return attributes and {"content": content, **attributes}
