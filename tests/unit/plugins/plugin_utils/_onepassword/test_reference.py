# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import hypothesis
import pytest
from ansible_collections.pantheros.nixci.plugins.module_utils._core.errors import InvalidError
from ansible_collections.pantheros.nixci.plugins.plugin_utils._onepassword.reference import Reference, parse
from hypothesis import strategies as st
from onepassword.client import Secrets


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("op://v/i/f", Reference("v", "i", None, "f")),
        ("op://v/i/s/f", Reference("v", "i", "s", "f")),
        ("op://My vault/B2.key_1-a/one-time password", Reference("My vault", "B2.key_1-a", None, "one-time password")),
        ("op://v/i/f?attribute=otp", Reference("v", "i", None, "f", "otp")),
        ("op://v/i/f?attr=totp", Reference("v", "i", None, "f", "otp")),
        ("op://v/i/f?attribute=type", Reference("v", "i", None, "f", "type")),
        ("op://v/i/s/key?ssh-format=openssh", Reference("v", "i", "s", "key", "openssh")),
        ("op://v/i/a.pem?attribute=size", Reference("v", "i", None, "a.pem", "size")),
        ("op://v/i/trailing ", Reference("v", "i", None, "trailing ")),
    ],
)
def test_references_are_taken_apart(text: str, expected: Reference) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize(
    "text", ["op://v/i/f", "op://v/i/s/f", "op://v/i/f?attribute=otp", "op://v/i/f?ssh-format=openssh"]
)
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
        "op://canary/./f",
        "op://canary/../f",
        "op://canary/i/s/",
        "op:// canary/i/f",
        "op://canary/i/f%20x",
        "op://canary/i/ümlaut",
        "op://canary/i/f\n",
        "op://canary/i/f#x",
        "op://canary/i/f?",
        "op://canary/i/f?attribute=canary",
        "op://canary/i/f?other=otp",
        "op://canary/i/f?Attribute=otp",
        "op://canary/i/f?attribute=OTP",
        "op://canary/i/f?ssh-format=canary",
        "op://canary/i/f?attribute=openssh",
        "op://canary/i/f?attribute=otp?",
        "op://canary/i/f?attribute=otp&ssh-format=openssh",
        "op://canary/i/f?attribute=otp&attribute=otp",
        {"canary": 1},
        None,
    ],
)
def test_what_is_no_reference_is_refused_and_never_shown(text: object) -> None:
    with pytest.raises(InvalidError, match="Term 7 is not a secret reference") as caught:
        parse(text, 7)
    assert "canary" not in str(caught.value)


# Against the parser of 1Password's SDK, which needs no account

good = st.text(st.sampled_from("aZ09-_. "), min_size=1, max_size=4)
parts = st.one_of(good, good, st.text(st.sampled_from("aZ09-_. /%?#@:'ä\n\u2028="), max_size=4))
queries = st.sampled_from(
    ["", "?", "?attribute=otp", "?attribute=totp", "?ssh-format=openssh", "?attr=otp", "?attribute=type", "?a=b", "?x"]
)
references = st.one_of(
    st.builds(lambda path, query: "op://" + "/".join(path) + query, st.lists(parts, min_size=2, max_size=5), queries),
    st.text(max_size=20),
    st.text(max_size=20).map("op://v/i/".__add__),
)


def accepted_by_the_sdk(reference: str) -> bool:
    try:
        Secrets.validate_secret_reference(reference)
    except Exception:
        return False
    return True


def accepted_here(reference: str) -> bool:
    try:
        parse(reference)
    except InvalidError:
        return False
    return True


@hypothesis.settings(max_examples=600, deadline=None, derandomize=True)
@hypothesis.given(references)
def test_what_the_sdk_refuses_is_refused_here_too(reference: str) -> None:
    if accepted_here(reference):
        path, _mark, query = reference.partition("?")
        known_to_op_alone = query and query not in ("attribute=otp", "attribute=totp", "ssh-format=openssh")
        assert accepted_by_the_sdk(path if known_to_op_alone else reference)


@pytest.mark.parametrize(
    "reference",
    ["op:///i/f", "op://v//f", "op://v/i/", "op://v/i//f", "op://v/i/s/", "op://./i/f", "op://v/../f", "op:// v/i/f"],
)
def test_what_the_sdk_accepts_without_any_meaning_is_refused(reference: str) -> None:
    assert accepted_by_the_sdk(reference)
    assert not accepted_here(reference)


@pytest.mark.parametrize(
    "query", ["attr=otp", "attribute=type", "attribute=id", "attribute=purpose", "attribute=value"]
)
def test_what_op_knows_and_the_sdk_does_not_is_accepted(query: str) -> None:
    assert not accepted_by_the_sdk(f"op://v/i/f?{query}")
    assert accepted_here(f"op://v/i/f?{query}")
