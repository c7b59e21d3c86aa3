# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""1Password for modules and the lookup: options and choice of the back end. Private: may change without notice."""

from __future__ import annotations

import importlib.util
import shutil
import typing as t

from .._core.errors import InvalidError
from .._core.http import checked_token, http_argument_spec
from .cli import OpBackend
from .connect import ConnectBackend
from .errors import TOKEN
from .item import Item, Json
from .names import Names
from .sdk import SdkBackend

BACKENDS = ("auto", "connect", "op", "sdk")


class Backend(t.Protocol):
    """What the three back ends have in common.

    Vaults and items are given by name or ID. Every call blocks, for a bounded time.
    """

    credential: str
    can_archive: bool
    names: Names

    @property
    def warning(self) -> str | None: ...

    def fetch(self, vault: str, name: str) -> Item: ...

    def read_file(self, item: Item, file: Json) -> bytes: ...

    def create(self, vault: str, document: Json) -> Item: ...

    def replace(self, item: Item) -> Item: ...

    def delete(self, item: Item, archive: bool = False) -> None: ...

    def close(self) -> None: ...


def onepassword_argument_spec() -> dict[str, t.Any]:
    """See doc_fragments/_onepassword.py. Environment variables are read where the module runs."""
    from ansible.module_utils.basic import env_fallback

    return {
        "backend": {"type": "str", "choices": list(BACKENDS), "default": "auto"},
        "connect_host": {"type": "str", "fallback": (env_fallback, ["OP_CONNECT_HOST"])},
        "connect_token": {"type": "str", "no_log": True, "fallback": (env_fallback, ["OP_CONNECT_TOKEN"])},
        "service_account_token": {
            "type": "str",
            "no_log": True,
            "fallback": (env_fallback, ["OP_SERVICE_ACCOUNT_TOKEN"]),
        },
        **http_argument_spec(),
    }


def backend(option: t.Callable[[str], t.Any], warn: t.Callable[[str], t.Any] = lambda text: None) -> Backend:
    """The back end that the options select, with its own credential and no other."""
    source = _backend(lambda name: _stripped(option(name)), option("backend") or "auto")
    if source.warning:
        warn(source.warning)
    return source


def _backend(option: t.Callable[[str], t.Any], name: str) -> Backend:
    host, token, account = option("connect_host"), option("connect_token"), option("service_account_token")
    if name == "auto":
        name = _automatic(bool(host or token), bool(account))
    if name == "connect":
        if not (host and token):
            missing = [("connect_host", "OP_CONNECT_HOST")] * (not host)
            missing += [("connect_token", "OP_CONNECT_TOKEN")] * (not token)
            named = " and ".join(f"{name} ({variable})" for name, variable in missing)
            raise InvalidError(f"A 1Password Connect server needs {named}.")
        return ConnectBackend(
            host, token, timeout=option("timeout"), retries=option("retries"), ca_path=option("ca_path")
        )
    if not account:
        raise InvalidError(f"backend={name} needs service_account_token (OP_SERVICE_ACCOUNT_TOKEN).")
    account = checked_token(account, TOKEN)
    return (OpBackend if name == "op" else SdkBackend)(account, timeout=option("timeout"))


def _stripped(value: t.Any) -> t.Any:
    """Files and secret stores end a token or an address with a newline, which belongs to neither."""
    return value.strip() if isinstance(value, str) else value


def _automatic(connect: bool, account: bool) -> str:
    """Connect takes precedence over a service account, as in `op`; for the latter the back end that is installed."""
    if connect:
        return "connect"
    if account:
        return "sdk" if shutil.which("op") is None and importlib.util.find_spec("onepassword") else "op"
    raise InvalidError(
        "No credential for 1Password: set connect_host and connect_token (OP_CONNECT_HOST, OP_CONNECT_TOKEN), "
        "or service_account_token (OP_SERVICE_ACCOUNT_TOKEN)."
    )
