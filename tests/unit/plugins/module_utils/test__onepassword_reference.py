# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.pantheros.nixci.plugins.module_utils._errors import InvalidError
from ansible_collections.pantheros.nixci.plugins.module_utils._onepassword_reference import Reference, parse


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("op://v/i/f", Reference("v", "i", None, "f")),
        ("op://v/i/s/f", Reference("v", "i", "s", "f")),
        ("op://My vault/B2.key_1-a/one-time password", Reference("My vault", "B2.key_1-a", None, "one-time password")),
        ("op://v/i/f?attribute=otp", Reference("v", "i", None, "f", "otp")),
        ("op://v/i/f?attr=totp", Reference("v", "i", None, "f", "otp")),
        ("op://v/i/f?attribute=type", Reference("v", "i", None, "f", "type")),
    ],
)
def test_references_are_taken_apart(text: str, expected: Reference) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize("text", ["op://v/i/f", "op://v/i/s/f", "op://v/i/f?attribute=otp"])
def test_a_reference_is_written_as_it_was_read(text: str) -> None:
    assert str(parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "hunter2-canary",
        "OP://canary/i/f",
        " op://canary/i/f",
        "op://canary/i",
        "op://canary/i/s/f/x",
        "op:///canary/f",
        "op://canary//f",
        "op://canary/i/",
        "op:// canary/i/f",
        "op://canary/i/f%20x",
        "op://canary/i/ümlaut",
        "op://canary/i/f\n",
        "op://canary/i/f#x",
        "op://canary/i/f?",
        "op://canary/i/f?attribute=canary",
        "op://canary/i/f?other=otp",
        "op://canary/i/f?attribute=otp&attribute=otp",
        {"canary": 1},
        None,
    ],
)
def test_what_is_no_reference_is_refused_and_never_shown(text: object) -> None:
    with pytest.raises(InvalidError, match="Term 7 is not a secret reference") as caught:
        parse(text, 7)
    assert "canary" not in str(caught.value)
