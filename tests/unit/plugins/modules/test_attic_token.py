# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import base64
import json
import pathlib
import tomllib
import typing as t

import jwt
import pytest
from ansible_collections.pantheros.nixci.plugins.module_utils._attic.token import CLAIM
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
        options = {
            "signing_key": KEY,
            "algorithm": "HS256",
            "subject": "ci",
            "validity": "90d",
            "renew_before": "30d",
            "permissions": [{"caches": "ci-cache", "pull": True, "push": True}],
        }
        return module("attic_token", {**options, **params}, check=check)

    return call


def foreign(claims: dict[str, t.Any]) -> str:
    """A token of our key that was minted by something else."""
    return jwt.encode(claims, SECRET, algorithm="HS256")


@pytest.mark.parametrize("end", ["\n", "\r\n", " \n"])
def test_what_files_end_with_belongs_to_no_value(mint: Mint, tmp_path: pathlib.Path, end: str) -> None:
    given = {
        "signing_key": f"{KEY}{end}",
        "url": f"https://cache.example.org/{end}",
        "netrc_path": str(tmp_path / "netrc"),
    }
    first = mint(**given)
    assert not first["failed"], first
    jwt.decode(first["token"], SECRET, algorithms=["HS256"], options={"verify_exp": False, "verify_nbf": False})
    again = mint(**given, current=f"{first['token']}{end}")
    assert (again["changed"], again["token"]) == (False, first["token"])
    # A file that an editor of another system has saved is outdated, and nothing in it gets lost.
    (tmp_path / "netrc").write_text(first["netrc"].replace("\n", "\r\n"), newline="")
    assert not mint(**given, current=first["token"])["failed"]
    assert (tmp_path / "netrc").read_bytes().decode() == first["netrc"]


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
    assert predicted["token"] is None
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


@pytest.mark.parametrize("placeholder", ["-", "_", "e", "none", "ci", "0"])
def test_a_placeholder_for_the_current_token_hides_nothing(mint: Mint, placeholder: str) -> None:
    result = mint(current=placeholder)
    expected = mint()
    assert {**result, "reason": None, "invocation": None} == {**expected, "reason": None, "invocation": None}
    if "invocation" in result:  # until ansible-core 2.20
        assert result["invocation"]["module_args"]["current"] is None


def test_a_signing_key_given_as_the_current_token_stays_hidden(mint: Mint) -> None:
    assert KEY not in json.dumps(mint(current=KEY))


def test_a_replaced_token_appears_nowhere(mint: Mint, tmp_path: pathlib.Path) -> None:
    files = {"url": "https://cache.example.org", "config_path": str(tmp_path / "a"), "netrc_path": str(tmp_path / "b")}
    old = mint(**files)["token"]
    for options in ({"subject": "b"}, {"signing_key": base64.b64encode(b"x" * 32).decode()}, {"validity": "1h",
                 "renew_before": "1m", "permissions": [{"caches": "other"}]}):  # fmt: skip
        for check in (True, False):
            result = mint(check=check, current=f"{old}\n", **{**files, **options})
            assert result["changed"] is True
            assert old not in json.dumps(result)
            assert old.rpartition(".")[2] not in json.dumps(result)


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
    ("options", "reason"),
    [
        ({"subject": "root"}, "its subject is 'ci', not 'root'"),
        ({"issuer": "nixci"}, "its issuer is empty, not 'nixci'"),
        ({"audiences": ["b", "a"]}, "its audiences are empty, not a, b"),
        ({"permissions": [{"caches": "ci-cache", "pull": True}]}, "on 'ci-cache' it should not have push"),
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
            "its subject is 'ci', not 'b'; it has no entry for 'ci-*'; it has an undesired entry for 'ci-cache'",
        ),
        ({"signing_key": base64.b64encode(b"x" * 32).decode()}, "it was signed with another key"),
    ],
)
def test_a_token_that_differs_from_the_desired_one_is_replaced(
    mint: Mint, options: dict[str, t.Any], reason: str
) -> None:
    token = mint()["token"]
    result = mint(current=token, **options)
    assert (result["changed"], result["reason"]) == (True, reason)
    assert mint(current=result["token"], **options)["kept"] is True


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
    assert swapped["reason"] == "its patterns are in the order ci-*, *, not *, ci-*"
    assert list(swapped["claims"][CLAIM]["caches"]) == ["*", "ci-*"]


def test_exact_names_may_come_in_any_order(mint: Mint) -> None:
    one, two = {"caches": "a", "pull": True}, {"caches": "b", "push": True}
    assert mint(permissions=[two, one], current=mint(permissions=[one, two])["token"])["kept"] is True


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"signing_key": "%%%"}, "signing_key: this is not base64"),
        ({"validity": "soon"}, "validity: 'soon' is not a duration"),
        ({"renew_before": "90d"}, "renew_before (90d) must be shorter than validity (90d)"),
        ({"validity": "0"}, "must be shorter than validity (0s)"),
        (
            {"validity": "80y", "renew_before": "1d"},
            "which is the last time that Attic knows",
        ),
        ({"config_path": "x"}, "missing parameter(s) required by 'config_path': url"),
        ({"verify": True}, "verify is True but all of the following are missing: url"),
        ({"url": "cache.example.org"}, "url: 'cache.example.org' is not the address of a server"),
        ({"url": "https://a", "server_name": "a.b"}, "server_name: 'a.b' is not a name"),
        ({"url": "http://[::1"}, "url: 'http://[::1' is not the address of a server"),
        ({"url": "http://[::1", "verify": True}, "url: 'http://[::1' is not the address of a server"),
        ({"url": "https://a:b"}, "url: 'https://a:b' is not the address of a server"),
        ({"permissions": [{"caches": "a b"}]}, "permissions: 'a b' is not a pattern"),
        ({"permissions": []}, "permissions: the list is empty"),
        ({"audiences": [""]}, "audiences: an entry is empty"),
        ({"audiences": ["a", " "]}, "audiences: an entry is empty"),
        ({"subject": ""}, "subject: it is empty"),
        ({"subject": " "}, "subject: it is empty"),
    ],
)
def test_wrong_input_fails_with_one_sentence(mint: Mint, options: dict[str, t.Any], message: str) -> None:
    for check in (True, False):
        result = mint(check=check, **options)
        assert result["failed"] is True
        assert message in result["msg"]


def test_permissions_that_do_not_mean_what_they_seem_are_remarked(mint: Mint) -> None:
    wide, narrow = {"caches": "*", "pull": True}, {"caches": "ci-*", "push": True}
    [never, loses] = mint(permissions=[wide, narrow]).warnings
    assert "'ci-*' never applies, because '*' precedes it" in never
    assert "'ci-*' does not grant pull, and '*' does not add it" in loses
    assert mint(permissions=[{**narrow, "pull": True}, wide]).warnings == []
    [weak] = mint(signing_key="YQ==").warnings
    assert "8 bits is too short for HS256" in weak


@pytest.mark.parametrize("check", [True, False])
def test_a_server_that_is_away_is_asked_once(
    mint: Mint, serve: t.Callable[[t.Any], str], tmp_path: pathlib.Path, check: bool
) -> None:
    """The HTTP client repeats requests as often as the task allows; nothing that is planned again would help."""
    asked = []

    def away(environ: dict[str, t.Any], start_response: t.Any) -> list[bytes]:
        asked.append(environ["PATH_INFO"])
        start_response("503 Service Unavailable", [])
        return [b""]

    path = tmp_path / "netrc"
    result = mint(check=check, url=serve(away), verify=True, retries=0, netrc_path=str(path))
    assert result["failed"] and "503" in result["msg"]
    assert len(asked) == 1
    assert not path.exists()


# ---- what clients read -------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: pathlib.Path) -> dict[str, str]:
    return {
        "url": "https://cache.example.org:8443/sub",
        "config_path": str(tmp_path / "attic" / "config.toml"),
        "netrc_path": str(tmp_path / "netrc"),
    }


def test_the_client_s_files_are_returned_and_written(mint: Mint, files: dict[str, str]) -> None:
    predicted = mint(check=True, **files)
    assert (predicted["client_config"], predicted["netrc"]) == (None, None)
    assert not pathlib.Path(files["netrc_path"]).exists()
    done = mint(**files)
    assert tomllib.loads(done["client_config"]) == {
        "default-server": "attic",
        "servers": {"attic": {"endpoint": "https://cache.example.org:8443/sub/", "token": done["token"]}},
    }
    assert done["netrc"] == f"machine cache.example.org\nlogin attic\npassword {done['token']}\n"
    for option, kind in (("config_path", "client_config"), ("netrc_path", "netrc")):
        path = pathlib.Path(files[option])
        assert (path.read_text(), path.stat().st_mode & 0o777) == (done[kind], 0o600)
    assert mint(current=done["token"], **files)["changed"] is False


def test_a_file_that_others_can_read_is_a_change_although_the_token_is_kept(mint: Mint, files: dict[str, str]) -> None:
    token = mint(**files)["token"]
    pathlib.Path(files["netrc_path"]).chmod(0o644)
    done = mint(current=token, **files)
    assert (done["changed"], done["kept"]) == (True, True)
    assert done["diff"]["before"]["files"][files["netrc_path"]] == {"content": "up to date", "mode": "0644"}
    assert pathlib.Path(files["netrc_path"]).stat().st_mode & 0o777 == 0o600


def test_the_task_may_open_the_files_to_others(mint: Mint, files: dict[str, str]) -> None:
    predicted = mint(check=True, mode="0640", **files)
    done = mint(mode="0640", **files)
    assert predicted["diff"] == done["diff"]
    for option in ("config_path", "netrc_path"):
        assert done["diff"]["after"]["files"][files[option]] == {"content": "up to date", "mode": "0640"}
        assert pathlib.Path(files[option]).stat().st_mode & 0o777 == 0o640
    assert mint(current=done["token"], mode="0640", **files)["changed"] is False
    assert mint(current=done["token"], **files)["diff"]["after"]["files"][files["netrc_path"]]["mode"] == "0600"


@pytest.mark.parametrize("check", [True, False])
def test_the_servers_of_others_are_not_lost(mint: Mint, files: dict[str, str], check: bool) -> None:
    path = pathlib.Path(files["config_path"])
    path.parent.mkdir()
    path.write_text('[servers.prod]\nendpoint = "https://prod.example.org/"\ntoken = "canary"\n')
    result = mint(check=check, **files)
    assert result["failed"] is True
    assert "holds more than this token (prod), which would get lost" in result["msg"]
    assert "canary" not in json.dumps(result)
    assert not pathlib.Path(files["netrc_path"]).exists()


FOREIGN = {
    "server.toml": 'listen = "[::]:1"\n[jwt.signing]\ntoken-hs256-secret-base64 = "canary"\n',
    "remarks.toml": "# all that is left of canary's settings\n",
    "id_rsa": "-----BEGIN OPENSSH PRIVATE KEY-----\ncanary\n-----END OPENSSH PRIVATE KEY-----\n",
    "nix.conf": "substituters = https://cache.nixos.org\naccess-tokens = canary\n",
    "notes": "machine cache.example.org\nlogin me\npassword canary\n# and this is why\n",
    "elsewhere.toml": 'default-server = "attic"\n[servers.attic]\nendpoint = "https://b.example.org/"\ntoken = "canary"\n',
    "nowhere.toml": '[servers.attic]\nendpoint = "http://[::1"\ntoken = "canary"\n',
}


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize("option", ["config_path", "netrc_path"])
@pytest.mark.parametrize("name", FOREIGN)
def test_the_file_of_another_program_or_host_is_not_lost(
    mint: Mint, tmp_path: pathlib.Path, name: str, option: str, check: bool
) -> None:
    path = tmp_path / name
    path.write_text(FOREIGN[name])
    result = mint(check=check, url="https://cache.example.org", **{option: str(path)})
    assert result["failed"] is True
    assert f"{option}: {path} holds more than this token (" in result["msg"]
    assert "canary" not in json.dumps(result)
    assert path.read_text() == FOREIGN[name]


def test_the_other_host_is_named(mint: Mint, tmp_path: pathlib.Path) -> None:
    path = str(tmp_path / "config.toml")
    mint(url="https://a.example.org", config_path=path)
    assert "(attic at a.example.org), which would" in mint(url="https://b.example.org", config_path=path)["msg"]
    assert mint(url="https://A.example.org:8443/sub", config_path=path)["changed"] is True


@pytest.mark.parametrize("check", [True, False])
def test_one_file_cannot_be_both(mint: Mint, tmp_path: pathlib.Path, check: bool) -> None:
    (tmp_path / "link").symlink_to("same")
    for other in ("same", "x/../same", "link"):
        paths = {"config_path": str(tmp_path / "same"), "netrc_path": str(tmp_path / other)}
        result = mint(check=check, url="https://cache.example.org", **paths)
        assert f"config_path and netrc_path: both are the file {tmp_path / 'same'}; name two files." in result["msg"]
        assert not (tmp_path / "same").exists()
