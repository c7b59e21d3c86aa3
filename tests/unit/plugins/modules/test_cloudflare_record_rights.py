# SPDX-License-Identifier: GPL-3.0-or-later
"""The permissions that each operation needs: those of the table are sufficient, and a missing one is reported."""

from __future__ import annotations

import typing as t

import pytest

from tests.support.cloudflare import ZONE, CloudflareEnvironment, Run, cloudflare_fixture

READ_ZONE, READ, EDIT = "zone:read", "dns:read", "dns:edit"
CALLED = {READ_ZONE: "Zone / Zone / Read", READ: "Zone / DNS / Read", EDIT: "Zone / DNS / Edit"}
PRESENT: dict[str, t.Any] = {"content": ["203.0.113.1"]}
OTHER: dict[str, t.Any] = {"content": ["203.0.113.2"]}
BY_NAME, BY_ID = False, True

# operation, how the zone is given, what is needed
TABLE = [
    ("find nothing to change", PRESENT, False, BY_NAME, {READ_ZONE, READ}),
    ("find nothing to change", PRESENT, False, BY_ID, {READ}),
    ("predict a change", OTHER, True, BY_NAME, {READ_ZONE, READ}),
    ("predict a change", OTHER, True, BY_ID, {READ}),
    ("update", OTHER, False, BY_NAME, {READ_ZONE, EDIT}),
    ("update", OTHER, False, BY_ID, {EDIT}),
    ("create", {**OTHER, "exclusive": False}, False, BY_ID, {EDIT}),
    ("delete", {"state": "absent"}, False, BY_ID, {EDIT}),
    ("a batch", {"content": ["203.0.113.2", "203.0.113.3"]}, False, BY_ID, {EDIT}),
]


cloudflare = cloudflare_fixture()


def attempt(
    cloudflare: CloudflareEnvironment, params: dict[str, t.Any], check: bool, by_id: bool, rights: set[str]
) -> Run:
    token = "canary-minimal-" + "m" * 40
    cloudflare.double.tokens[token] = {ZONE: rights}
    zone = {"zone_id": cloudflare.double.zone_id(ZONE)} if by_id else {}
    return cloudflare.run(check=check, token=token, **zone, **params)


@pytest.mark.parametrize(("operation", "params", "check", "by_id", "needed"), TABLE)
def test_the_rights_are_sufficient(
    cloudflare: CloudflareEnvironment,
    operation: str,
    params: dict[str, t.Any],
    check: bool,
    by_id: bool,
    needed: set[str],
) -> None:
    cloudflare.add("A", "203.0.113.1")
    result = attempt(cloudflare, params, check, by_id, needed)
    assert not result["failed"], (operation, result)
    assert result["changed"] == (params != PRESENT)


@pytest.mark.parametrize(("operation", "params", "check", "by_id", "needed"), TABLE)
def test_a_missing_right_is_reported(
    cloudflare: CloudflareEnvironment,
    operation: str,
    params: dict[str, t.Any],
    check: bool,
    by_id: bool,
    needed: set[str],
) -> None:
    cloudflare.add("A", "203.0.113.1")
    before = cloudflare.records()
    for right in needed:
        result = attempt(cloudflare, params, check, by_id, needed - {right})
        assert result["failed"], (operation, right)
        # Without any right to the records, listing them fails first.
        expected = CALLED[READ] if right == EDIT else CALLED[right]
        assert expected in result["msg"]
        if right == EDIT:
            weaker = attempt(cloudflare, params, check, by_id, needed - {EDIT} | {READ})
            assert weaker["failed"], operation
            assert "the token is valid" in weaker["msg"]
            assert CALLED[EDIT] in weaker["msg"]
    assert cloudflare.records() == before


def test_an_unknown_zone_is_reported_like_a_missing_right(cloudflare: CloudflareEnvironment) -> None:
    result = cloudflare.assert_refused("Zone / Zone / Read", "zone_id", zone="example.net", content=["203.0.113.1"])
    assert "example.net" in result["msg"]
