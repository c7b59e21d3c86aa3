# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a binary cache did not deliver, from what Nix 2.26 printed."""

from __future__ import annotations

import pytest
from ansible_collections.pantheros.nixci.plugins.module_utils._nixos import closure

PATH = "/nix/store/h4pby43dfn76psnavqlzjr39xm2b647r-nixos-system-web-26.05.lab"
NOT_SIGNED = (
    f"warning: ignoring substitute for '{PATH}' from 'http://172.17.0.1:33669', as it's not signed by any of the keys in "
    "'trusted-public-keys'"
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{NOT_SIGNED}\nerror: build of '{PATH}' failed\n", NOT_SIGNED),
        (f"don't know how to build these paths:\n  {PATH}\nerror: build of '{PATH}' failed\n", f"error: build of '{PATH}' failed"),
        ("warning: you did not specify '--add-root'; the result might be removed\nkilled\n", "killed"),
        ("", "no reason given"),
    ],
)  # fmt: skip
def test_the_cause_and_not_what_follows_from_it(text: str, expected: str) -> None:
    assert closure._reason(text) == expected
