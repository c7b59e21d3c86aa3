# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""1Password for modules and the lookup: options, choice of the back end. Private: may change without notice."""

from __future__ import annotations

import typing as t

from ._errors import InvalidError
from ._http import http_argument_spec
from ._onepassword_connect import ConnectBackend
from ._onepassword_item import Item, Json
from ._onepassword_op import OpBackend


class Backend(t.Protocol):
    """What Connect and `op` have in common. A vault and an item are given by name or ID; all calls block, bounded."""

    credential: str
    can_archive: bool
    vault_ids: dict[str, str]

    def fetch(self, vault: str, name: str) -> Item: ...

    def create(self, vault: str, document: Json) -> Item: ...

    def replace(self, item: Item) -> Item: ...

    def delete(self, item: Item, archive: bool = False) -> None: ...


def onepassword_argument_spec() -> dict[str, t.Any]:
    """See doc_fragments/_onepassword.py. The variables of the environment are read on the controller."""
    from ansible.module_utils.basic import env_fallback

    return {
        "connect_host": {"type": "str", "fallback": (env_fallback, ["OP_CONNECT_HOST"])},
        "connect_token": {"type": "str", "no_log": True, "fallback": (env_fallback, ["OP_CONNECT_TOKEN"])},
        "service_account_token": {
            "type": "str",
            "no_log": True,
            "fallback": (env_fallback, ["OP_SERVICE_ACCOUNT_TOKEN"]),
        },
        **http_argument_spec(),
    }


def backend(option: t.Callable[[str], t.Any]) -> Backend:
    """The back end that the options ask for; Connect wins over a service account, as in `op` itself."""
    host, token, account = option("connect_host"), option("connect_token"), option("service_account_token")
    if host and token:
        return ConnectBackend(
            host, token, timeout=option("timeout"), retries=option("retries"), ca_path=option("ca_path")
        )
    if host or token:
        missing, variable = ("connect_token", "OP_CONNECT_TOKEN") if host else ("connect_host", "OP_CONNECT_HOST")
        raise InvalidError(f"A 1Password Connect server needs {missing} ({variable}) too.")
    if account:
        return OpBackend(account, timeout=option("timeout"))
    raise InvalidError(
        "No credential for 1Password: set connect_host and connect_token (OP_CONNECT_HOST, OP_CONNECT_TOKEN), "
        "or service_account_token (OP_SERVICE_ACCOUNT_TOKEN)."
    )
