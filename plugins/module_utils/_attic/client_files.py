# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the attic client, Nix and curl read to find a token. Private: may change without notice.

Nothing but the standard library, because attic_roundtrip needs it on the host.
"""

from __future__ import annotations

import json
from urllib.parse import urlsplit

from .._core.errors import InvalidError
from .token import NAME


def host_of(url: str) -> str:
    host = find_host(url)
    if not host or any(c.isspace() or c == '"' for c in url):
        raise InvalidError(f"url: {url!r} is not the address of a server; it must look like https://cache.example.org.")
    return host


def find_host(url: str) -> str | None:
    """The host of a server's address, None if it is no such address."""
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("https", "http") and parts.port != 0  # ValueError if the port is not a number
    except ValueError:
        return None
    return parts.hostname if valid else None


def client_config(server: str, url: str, *, option: str = "token", value: str) -> str:
    """The attic client's $XDG_CONFIG_HOME/attic/config.toml (client/src/config.rs in its source).

    `option` is token or token-file.
    """
    if not NAME.fullmatch(server):
        raise InvalidError(
            f"server_name: '{server}' is not a name that the attic client accepts; use at most 50 letters, digits, "
            "'-', '_' and '+', and begin with a letter or a digit."
        )
    host_of(url)
    # The client resolves paths against the endpoint, so without the slash the last part of the address would get lost.
    endpoint = url.rstrip("/") + "/"
    return (
        f"default-server = {toml_string(server)}\n\n"
        f"[servers.{toml_string(server)}]\n"
        f"endpoint = {toml_string(endpoint)}\n"
        f"{option} = {toml_string(value)}\n"
    )


def toml_string(text: str) -> str:
    """A basic string of TOML. JSON escapes the same characters, except that TOML forbids a plain DEL as well.

    Characters beyond ASCII stay as they are, because TOML does not accept JSON's surrogate pairs.
    """
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def netrc(url: str, token: str) -> str:
    """For Nix and curl. The server ignores the login, but some readers of netrc want one."""
    return f"machine {host_of(url)}\nlogin attic\npassword {token}\n"
