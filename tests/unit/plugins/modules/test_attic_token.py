# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import base64
import json
import typing as t

import jwt
import pytest
from ansible_collections.pantheros.nixci.plugins.module_utils._attic_token import CLAIM
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

NOW = 1_795_000_000
DAY = 86_400
SECRET = b"s" * 32
KEY = base64.b64encode(SECRET).decode()

Mint = t.Callable[..., dict[str, t.Any]]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> t.Callable[[int], None]:
    def at(seconds: int) -> None:
        monkeypatch.setattr("time.time", lambda: float(seconds))

    at(NOW)
    return at


@pytest.fixture
def mint(module: t.Callable[..., dict[str, t.Any]], clock: t.Callable[[int], None]) -> Mint:
    def call(check: bool = False, **params: t.Any) -> dict[str, t.Any]:
        wish = {
            "signing_key": KEY,
            "algorithm": "HS256",
            "subject": "ci",
            "validity": "90d",
            "renew_before": "30d",
            "permissions": [{"caches": "ci-cache", "pull": True, "push": True}],
        }
        return module("attic_token", {**wish, **params}, check=check)

    return call


def foreign(claims: dict[str, t.Any]) -> str:
    """A token of our key that was minted by something else."""
    return jwt.encode(claims, SECRET, algorithm="HS256")


def test_a_new_token_has_the_server_s_layout(mint: Mint) -> None:
    result = mint(issuer="nixci", audiences=["b", "a"])
    header, body = (base64.urlsafe_b64decode(part + "==") for part in result["token"].split(".")[:2])
    assert header == b'{"alg":"HS256","typ":"JWT"}'
    assert body.decode() == (
        f'{{"exp":{NOW + 90 * DAY},"nbf":{NOW - 60},"iss":"nixci","sub":"ci","aud":["b","a"],'
        f'"{CLAIM}":{{"caches":{{"ci-cache":{{"r":1,"w":1}}}}}}}}'
    )
    assert result["claims"] == json.loads(body)
    assert (result["changed"], result["kept"], result["reason"]) == (True, False, "there is no token yet")


def test_rs256_is_signed_with_the_private_key(mint: Mint) -> None:
    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    result = mint(algorithm="RS256", signing_key=base64.b64encode(pem).decode())
    claims = jwt.decode(
        result["token"], key.public_key(), algorithms=["RS256"], options={"verify_exp": False, "verify_nbf": False}
    )
    assert claims == result["claims"]


def test_check_run_again(mint: Mint) -> None:
    predicted = mint(check=True)
    assert "token" not in predicted
    done = mint()
    assert {key: predicted[key] for key in ("changed", "diff", "kept", "reason")} == {
        key: done[key] for key in ("changed", "diff", "kept", "reason")
    }
    again = mint(current=done["token"])
    assert again["changed"] is False
    assert again["diff"]["before"] == again["diff"]["after"]
    assert (again["token"], again["claims"], again["kept"], again["reason"]) == (
        done["token"], done["claims"], True, None,
    )  # fmt: skip


def test_tokens_appear_in_their_return_value_only(mint: Mint) -> None:
    old = mint()["token"]
    kept = mint(current=old + "\n")
    assert kept.pop("token") == old
    replaced = mint(current=old, subject="other")
    new = replaced.pop("token")
    for result in (kept, replaced):
        text = json.dumps(result)
        assert old not in text
        assert new not in text
        assert KEY not in text


def test_a_token_is_kept_until_its_last_days(mint: Mint, clock: t.Callable[[int], None]) -> None:
    token = mint()["token"]
    clock(NOW + 60 * DAY)
    assert mint(current=token)["kept"] is True
    clock(NOW + 60 * DAY + 1)
    renewed = mint(current=token)
    assert renewed["kept"] is False
    assert "which is less than 30d from now" in renewed["reason"]
    assert renewed["claims"]["exp"] == NOW + 150 * DAY + 1
    clock(NOW + 91 * DAY)
    assert "it expired on" in mint(current=token)["reason"]


def test_the_default_renewal_is_in_the_last_third(mint: Mint, clock: t.Callable[[int], None]) -> None:
    token = mint(renew_before=None)["token"]
    clock(NOW + 60 * DAY)
    assert mint(current=token, renew_before=None)["kept"] is True
    clock(NOW + 61 * DAY)
    assert mint(current=token, renew_before=None)["kept"] is False


@pytest.mark.parametrize(
    ("wish", "reason"),
    [
        ({"subject": "root"}, "its subject is 'ci', not 'root'"),
        ({"issuer": "nixci"}, "its issuer is empty, not 'nixci'"),
        ({"audiences": ["b", "a"]}, "its audiences are empty, not a, b"),
        ({"permissions": [{"caches": "ci-cache", "pull": True}]}, "on 'ci-cache' it has push too much"),
        (
            {
                "permissions": [
                    {"caches": "ci-cache", "pull": True, "push": True, "destroy_cache": True, "create_cache": True}
                ]
            },
            "on 'ci-cache' it lacks create_cache, destroy_cache",
        ),
        (
            {"permissions": [{"caches": "ci-*", "pull": True}], "subject": "b"},
            "its subject is 'ci', not 'b'; it has no entry for 'ci-*'; its entry for 'ci-cache' is not wanted",
        ),
        ({"signing_key": base64.b64encode(b"x" * 32).decode()}, "it was signed with another key"),
    ],
)
def test_a_token_that_differs_from_the_wish_is_replaced(mint: Mint, wish: dict[str, t.Any], reason: str) -> None:
    token = mint()["token"]
    result = mint(current=token, **wish)
    assert (result["changed"], result["reason"]) == (True, reason)
    assert mint(current=result["token"], **wish)["kept"] is True


def test_a_longer_or_endless_life_is_no_reason_to_replace(mint: Mint) -> None:
    assert mint(current=mint(validity="2y")["token"])["kept"] is True
    endless = foreign({"sub": "ci", CLAIM: {"caches": {"ci-cache": {"r": 1, "w": 1, "d": 0}}}})
    kept = mint(current=endless)
    assert kept["kept"] is True
    assert kept["diff"]["before"]["expires"] == "never"


def test_a_token_that_the_server_ignores_is_replaced(mint: Mint) -> None:
    boolean = foreign({"sub": "ci", "exp": NOW + 90 * DAY, CLAIM: {"caches": {"ci-cache": {"r": True, "w": True}}}})
    assert "not the numbers 0 and 1" in mint(current=boolean)["reason"]
    assert mint(current="garbage")["reason"] == "it is not a token"
    early = foreign(
        {"sub": "ci", "nbf": NOW + 5, "exp": NOW + 90 * DAY, CLAIM: {"caches": {"ci-cache": {"r": 1, "w": 1}}}}
    )
    assert "not valid before" in mint(current=early)["reason"]


def test_the_order_of_patterns_is_kept_and_counts(mint: Mint) -> None:
    narrow, wide = {"caches": "ci-*", "push": True}, {"caches": "*", "pull": True}
    token = mint(permissions=[narrow, wide])["token"]
    assert list(mint(permissions=[narrow, wide])["claims"][CLAIM]["caches"]) == ["ci-*", "*"]
    swapped = mint(permissions=[wide, narrow], current=token)
    assert swapped["reason"] == "its patterns stand in the order ci-*, *, not *, ci-*"
    assert list(swapped["claims"][CLAIM]["caches"]) == ["*", "ci-*"]


def test_exact_names_may_come_in_any_order(mint: Mint) -> None:
    one, two = {"caches": "a", "pull": True}, {"caches": "b", "push": True}
    assert mint(permissions=[two, one], current=mint(permissions=[one, two])["token"])["kept"] is True


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ({"signing_key": "%%%"}, "signing_key: this is not base64"),
        ({"validity": "soon"}, "validity: 'soon' is not a duration"),
        ({"renew_before": "90d"}, "renew_before (90d) must be shorter than validity (90d)"),
        ({"validity": "0"}, "must be shorter than validity (0s)"),
        ({"permissions": [{"caches": "a b"}]}, "permissions: 'a b' is not a pattern"),
    ],
)
def test_wrong_input_fails_with_one_sentence(mint: Mint, wish: dict[str, t.Any], message: str) -> None:
    for check in (True, False):
        result = mint(check=check, **wish)
        assert result["failed"] is True
        assert message in result["msg"]
