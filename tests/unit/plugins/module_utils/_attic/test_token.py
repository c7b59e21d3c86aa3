# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import typing as t

import pytest
from ansible_collections.pantheros.nixci.plugins.module_utils._attic.token import (
    CLAIM,
    Grants,
    differences,
    grants,
    loses_pull,
    malformed,
    read_claims,
    rights_on,
    unreachable,
    untimely,
)
from ansible_collections.pantheros.nixci.plugins.module_utils._core.errors import InvalidError


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({}, "no permissions"),
        ({CLAIM: {}}, "no permissions"),
        ({CLAIM: {"caches": {"a/b": {"r": 1}}}}, "'a/b' are malformed"),
        ({CLAIM: {"caches": {"a": 1}}}, "'a' are malformed"),
        ({CLAIM: {"caches": {"a": {"r": True}}}}, "not the numbers"),
        ({CLAIM: {"caches": {"a": {"r": 2}}}}, "not the numbers"),
        ({CLAIM: {"caches": {"a": {"r": 1.0}}}}, "not the numbers"),
        ({CLAIM: {"caches": {}}, "exp": None}, "exp is not a number"),
        ({CLAIM: {"caches": {}}, "nbf": True}, "nbf is not a number"),
        ({CLAIM: {"caches": {}}, "aud": [1]}, "not text"),
        ({CLAIM: {"caches": {}}, "sub": 5}, "not text"),
        ({CLAIM: {"caches": {}}, "jti": 5}, "not text"),
        ({CLAIM: {"caches": {}}, "aud": None}, "not text"),
        ({CLAIM: {"caches": {"a": {"r": 1, "future": True}}}, "iss": None, "aud": "x"}, None),
    ],
)
def test_claims_that_the_server_ignores_are_recognised(claims: dict[str, t.Any], reason: str | None) -> None:
    found = malformed(claims)
    assert found is None if reason is None else reason in str(found)


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({}, None),
        ({"exp": 1100, "nbf": 1000}, None),
        ({"exp": 1099}, "less than 1m 40s from now"),
        ({"exp": 999}, "it expired on 1970-01-01 00:16:39 UTC"),
        ({"nbf": 1001}, "not valid before"),
        ({"iat": 1001}, "not valid before"),
        ({"exp": 1e300}, None),
        ({"nbf": 1e300}, "not valid before second 1e+300"),
    ],
)
def test_times_are_judged_without_any_tolerance(claims: dict[str, t.Any], reason: str | None) -> None:
    found = untimely(claims, 1000, renew_before=100)
    assert found is None if reason is None else reason in str(found)


def test_the_exact_name_wins_then_the_first_pattern_and_nothing_is_added_up() -> None:
    caches = {"*": {"r": 1}, "ci-*": {"w": 1}, "ci-x": {"cd": 1}, "closed": {}}
    assert rights_on(caches, "ci-x") == {"destroy_cache"}
    assert rights_on(caches, "ci-y") == {"pull"}
    assert rights_on(caches, "closed") == set()
    assert rights_on({"ci-*": {"w": 1}}, "prod") == set()
    assert rights_on({"*x*": {"r": 1}}, "x") == {"pull"}
    assert unreachable(caches) == [("ci-*", "*")]
    assert unreachable({"ci-*": {}, "*": {}, "ci-x": {}}) == []


def test_an_entry_that_lacks_pull_is_found_because_nothing_is_added_up() -> None:
    assert loses_pull({"ci-*": {"w": 1}, "*": {"r": 1}}) == [("ci-*", "*")]
    assert loses_pull({"*": {"r": 1}, "ci-cache": {"w": 1}}) == [("ci-cache", "*")]
    # An entry without any right closes the cache on purpose.
    assert loses_pull({"closed": {}, "ci-*": {"r": 1, "w": 1}, "*": {"r": 1}, "**": {}}) == []
    assert loses_pull({"ci-*": {"w": 1}, "other-*": {"r": 1}}) == []


@pytest.mark.parametrize(
    ("have", "want", "found"),
    [
        ({"a": {"r": 1}, "b": {}}, {"b": {"w": 0}, "a": {"r": 1}}, []),
        ({"*": {"r": 1}, "a": {"r": 1}}, {"a": {"r": 1}, "*": {"r": 1}}, []),
        ({"a*": {}, "b*": {}, "*": {}}, {"b*": {}, "a*": {}, "*": {}},
         ["its patterns are in the order a*, b*, *, not b*, a*, *"]),
        ({"a": {"r": 1}}, {"a": {"r": 1, "w": 1, "cc": 1}}, ["on 'a' it lacks push, create_cache"]),
        ({"a": {"r": 1, "cd": 1}}, {"a": {"w": 1}}, ["on 'a' it lacks push", "on 'a' it should not have pull, destroy_cache"]),
        ({"a": {"r": 1}}, {"b": {"r": 1}}, ["it has no entry for 'b'", "it has an undesired entry for 'a'"]),
    ],
)  # fmt: skip
def test_differences_are_named_one_by_one(have: Grants, want: Grants, found: list[str]) -> None:
    assert differences({CLAIM: {"caches": have}}, {CLAIM: {"caches": want}}) == found


def test_differences_beside_the_permissions() -> None:
    rest: dict[str, t.Any] = {CLAIM: {"caches": {}}}
    assert differences({"sub": None, **rest}, {"sub": "", **rest}) == []
    assert differences({"aud": "x", **rest}, {"aud": ["x"], **rest}) == []
    assert differences({"sub": "a", "iss": "i", "aud": ["b", "c"], **rest}, {"sub": "b", **rest}) == [
        "its subject is 'a', not 'b'",
        "its issuer is 'i', not empty",
        "its audiences are b, c, not empty",
    ]


def test_only_granted_rights_are_written_as_numbers_in_the_given_order() -> None:
    claim = grants([{"caches": "b*", "push": True, "pull": True}, {"caches": "a", "pull": False}])
    assert list(claim.items()) == [("b*", {"r": 1, "w": 1}), ("a", {})]
    assert list(claim["b*"]) == ["r", "w"]
    assert type(claim["b*"]["r"]) is int


@pytest.mark.parametrize("pattern", ["", "-a", "a b", "a/b", "a" * 51, "ä"])
def test_patterns_that_the_server_refuses_are_refused(pattern: str) -> None:
    with pytest.raises(InvalidError, match="is not a pattern"):
        grants([{"caches": pattern}])


def test_a_pattern_twice_is_refused() -> None:
    with pytest.raises(InvalidError, match="'a' is listed twice"):
        grants([{"caches": "a"}, {"caches": "a", "pull": True}])


def test_unreadable_tokens_are_no_claims() -> None:
    for text in ("", "opaque", "a.b", "a.W10.c", "a.\u00e4\u00f6.c"):
        assert read_claims(text) is None
