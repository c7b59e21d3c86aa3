# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files in which clients look for a token of an Attic server. Private: may change without notice."""

from __future__ import annotations

import dataclasses
import json
import os
import stat
import tomllib
import typing as t
from urllib.parse import urlsplit

from .._core.errors import ConflictError, InvalidError, NixciError
from .._core.file import replace
from .token import NAME

UP_TO_DATE = "up to date"
SHARED = ("default", "macdef")  # words of a netrc that belong to no machine


def host_of(url: str) -> str:
    host = _host(url)
    if not host or any(c.isspace() or c == '"' for c in url):
        raise InvalidError(f"url: {url!r} is not the address of a server; it must look like https://cache.example.org.")
    return host


def _host(url: str) -> str | None:
    """The host of a server's address, None if it is no such address."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # ValueError if it is not a number
    except ValueError:
        return None
    return parts.hostname if parts.scheme in ("https", "http") else None


def client_config(server: str, url: str, token: str) -> str:
    """What the attic client reads from $XDG_CONFIG_HOME/attic/config.toml (client/src/config.rs of its source)."""
    if not NAME.fullmatch(server):
        raise InvalidError(
            f"server_name: '{server}' is not a name that the attic client takes; use at most 50 letters, digits, "
            "'-', '_' and '+', and begin with a letter or a digit."
        )
    host_of(url)
    # The client resolves paths against the endpoint, so without the slash a part of the address would get lost.
    endpoint = url.rstrip("/") + "/"
    # JSON's strings are strings of TOML too, as long as they hold no control characters.
    name, endpoint, token = (json.dumps(text) for text in (server, endpoint, token))
    return f"default-server = {name}\n\n[servers.{name}]\nendpoint = {endpoint}\ntoken = {token}\n"


def netrc(url: str, token: str) -> str:
    """For Nix and curl. The server does not look at the login, but some readers of netrc want one."""
    return f"machine {host_of(url)}\nlogin attic\npassword {token}\n"


def texts(params: dict[str, t.Any], token: str) -> dict[str, str]:
    """The token in the form of each client's configuration, by the name of the return value; needs a URL."""
    url = params["url"]
    if url is None:
        return {}
    return {"client_config": client_config(params["server_name"], url, token), "netrc": netrc(url, token)}


def token_files(params: dict[str, t.Any], contents: dict[str, str]) -> list[TokenFile]:
    """The files that the user asked for."""
    asked = [params[option] for option in ("config_path", "netrc_path") if params[option]]
    if len({os.path.realpath(path) for path in asked}) < len(asked):
        raise InvalidError(f"config_path and netrc_path: both are the file {asked[0]}; name two files.")
    kinds: list[tuple[str, str, t.Callable[[str], list[str]]]] = [
        (
            "config_path",
            "client_config",
            lambda text: other_servers(text, params["server_name"], host_of(params["url"])),
        ),
        ("netrc_path", "netrc", lambda text: other_machines(text, host_of(params["url"]))),
    ]
    return [
        TokenFile(option, params[option], contents[kind], strangers)
        for option, kind, strangers in kinds
        if params[option]
    ]


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
        there = _host(str(entry.get("endpoint"))) if isinstance(entry, dict) else None
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
class TokenFile:
    """A file that holds nothing but one token, readable by its owner alone."""

    option: str
    path: str
    content: str = dataclasses.field(repr=False)
    strangers: t.Callable[[str], list[str]]
    """What else a text holds that would get lost if the file were replaced."""

    def state(self) -> str:
        """What is wrong with the file now, in words without a secret."""
        try:
            status = os.stat(self.path)
            if not stat.S_ISREG(status.st_mode):
                raise ConflictError(f"{self.option}: {self.path} is not a file; name another path.")
            with open(self.path, encoding="utf-8") as file:
                text = file.read()
        except FileNotFoundError:
            self._require_folder()
            return "missing"
        except (OSError, UnicodeDecodeError) as exc:
            raise self._failure("read", exc) from None
        if text != self.content:
            self._refuse_strangers(text)
        mode = stat.S_IMODE(status.st_mode)
        faults = ["outdated"] * (text != self.content) + [f"mode {mode:04o}"] * (mode != 0o600)
        return ", ".join(faults) or UP_TO_DATE

    def write(self) -> None:
        """At once or not at all, and never readable by others in between."""
        try:
            os.makedirs(os.path.dirname(os.path.realpath(self.path)), mode=0o700, exist_ok=True)
            replace(self.path, self.content)
        except OSError as exc:
            raise self._failure("write", exc) from None

    def _require_folder(self) -> None:
        """So that check mode foresees it: the nearest folder that exists must let us in."""
        folder = os.path.dirname(os.path.realpath(self.path))
        while not os.path.lexists(folder):
            folder = os.path.dirname(folder)
        if not os.path.isdir(folder):
            raise self._failure("write", NotADirectoryError(0, f"{folder} is not a folder"))
        if not os.access(folder, os.W_OK | os.X_OK):
            raise self._failure("write", PermissionError(0, f"no right to write to {folder}"))

    def _refuse_strangers(self, text: str) -> None:
        try:
            found = self.strangers(text)
        except ValueError:
            found = ["something else"]
        if found:
            raise ConflictError(
                f"{self.option}: {self.path} holds more than this token ({', '.join(found)}), which would get lost; "
                "name a file of its own, or remove this one if nobody needs it."
            )

    def _failure(self, verb: str, exc: OSError | UnicodeDecodeError) -> NixciError:
        words = exc.strerror if isinstance(exc, OSError) else "it is not text"
        return NixciError(f"{self.option}: cannot {verb} {self.path} ({words}); check the path and its owner.")
