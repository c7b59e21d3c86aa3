# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import base64
import json
import pathlib
import time
import typing as t

import jwt
import pytest
import requests
from ansible_collections.pantheros.nixci.plugins.module_utils._attic.cache import CacheResource, DesiredCache
from ansible_collections.pantheros.nixci.plugins.module_utils._attic.client import AtticClient
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lab.attic.server import create_app
from lab.clouds._control import Control

SECRET = b"s" * 32
CLAIM = "https://jwt.attic.rs/v1"
ALL = ("r", "w", "d", "cc", "cr", "cq", "cd")


def token(caches: dict[str, tuple[str, ...]], secret: bytes = SECRET, **claims: t.Any) -> str:
    namespace = {"caches": {pattern: dict.fromkeys(rights, 1) for pattern, rights in caches.items()}}
    body = {"exp": int(time.time()) + 600, "sub": "test", **claims, CLAIM: namespace}
    return jwt.encode(body, secret, algorithm="HS256")


ROOT = token({"*": ALL})


def own_keypair() -> tuple[str, str]:
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes_raw()
    secret, public_half = (base64.b64encode(raw).decode() for raw in (key.private_bytes_raw() + public, public))
    return f"own-1:{secret}", f"own-1:{public_half}"


class Attic:
    """The module against a double on loopback, whose answers get lost and beside which others work."""

    def __init__(self, app: t.Any, serve: t.Callable[[t.Any], str], module: t.Callable[..., t.Any]) -> None:
        self.app = app
        self.lost: list[str] = []
        self.before: dict[str, t.Callable[[], t.Any]] = {}
        self.url = serve(self.answer)
        self.module = module

    def answer(self, environ: dict[str, t.Any], start_response: t.Any) -> t.Any:
        method = environ["REQUEST_METHOD"]
        if environ["PATH_INFO"].startswith("/_lab/"):
            return self.app(environ, start_response)
        if hook := self.before.pop(method, None):
            hook()
        if method not in self.lost:
            return self.app(environ, start_response)
        self.lost.remove(method)
        b"".join(self.app(environ, lambda *_: None))
        start_response("502 Bad Gateway", [])
        return [b""]

    def cache(self, check: bool = False, **params: t.Any) -> t.Any:
        options = {"url": self.url, "token": ROOT, "name": "ci-cache", "retries": 0, **params}
        requests.delete(f"{self.url}/_lab/requests", timeout=5)
        return self.module("attic_cache", options, check=check)

    def methods(self) -> list[str]:
        """The requests of the last run."""
        return [entry["method"] for entry in requests.get(f"{self.url}/_lab/requests", timeout=5).json()]

    def fail(self, **fault: t.Any) -> None:
        requests.post(f"{self.url}/_lab/faults", json=fault, timeout=5)

    def lose(self, method: str) -> None:
        """The next such request works, but its answer does not arrive."""
        self.lost.append(method)

    def create_elsewhere(self, **settings: t.Any) -> None:
        AtticClient(self.url, ROOT).create("ci-cache", {**AtticClient.DEFAULTS, **settings})


Start = t.Callable[..., Attic]


@pytest.fixture
def start(serve: t.Callable[[t.Any], str], module: t.Callable[..., t.Any], tmp_path: pathlib.Path) -> Start:
    def call(**options: t.Any) -> Attic:
        return Attic(Control(create_app(data_dir=tmp_path, token_secret_hs256=SECRET, **options)), serve, module)

    return call


@pytest.fixture
def attic(start: Start) -> Attic:
    return start()


# ---- from creation to destruction ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"is_public": True},
        {"retention_period": "30d"},
        {"retention_period": 0, "priority": -1, "store_dir": "/gnu/store", "upstream_cache_key_names": []},
    ],
)
def test_check_create_again(attic: Attic, options: dict[str, t.Any]) -> None:
    predicted = attic.cache(check=True, **options)
    assert attic.methods() == ["GET"]
    done = attic.cache(**options)
    assert attic.methods() == ["GET", "POST", *(["PATCH"] if "retention_period" in options else []), "GET"]
    assert (predicted["changed"], predicted["diff"]) == (done["changed"], done["diff"])
    assert done["changed"] is True
    assert predicted["cache"].keys() == done["cache"].keys()
    assert done["cache"]["public_key"].startswith("ci-cache:")
    assert done["cache"]["substituter_endpoint"] == f"{attic.url}/ci-cache"
    again = attic.cache(**options)
    assert attic.methods() == ["GET"]
    assert (again["changed"], again["cache"]) == (False, done["cache"])


def test_a_new_cache_gets_the_client_s_defaults(attic: Attic) -> None:
    cache = attic.cache()["cache"]
    assert {field: cache[field] for field in cache if not field.endswith(("_key", "_endpoint", "_conf"))} == {
        "name": "ci-cache",
        "is_public": False,
        "priority": 41,
        "store_dir": "/nix/store",
        "upstream_cache_key_names": ["cache.nixos.org-1"],
        "retention_period": "global",
    }


def test_only_what_differs_is_changed_and_the_rest_stays(attic: Attic) -> None:
    created = attic.cache(priority=30, retention_period="30d")["cache"]
    predicted = attic.cache(check=True, is_public=True)
    done = attic.cache(is_public=True)
    assert attic.methods() == ["GET", "PATCH"]
    assert (predicted["diff"], predicted["cache"]) == (done["diff"], done["cache"])
    assert done["cache"] == {**created, "is_public": True}
    assert attic.cache()["cache"] == done["cache"]


@pytest.mark.parametrize(("text", "seconds"), [("2592000", 2_592_000), ("1M", 2_630_016), ("0", 0)])
def test_retention_is_set_and_taken_back(attic: Attic, text: str, seconds: int) -> None:
    attic.cache()
    assert attic.cache(retention_period=text)["cache"]["retention_period"] == seconds
    assert attic.cache(retention_period=seconds)["changed"] is False
    assert attic.cache(retention_period="global")["cache"]["retention_period"] == "global"
    assert attic.cache(retention_period="global")["changed"] is False


def test_a_failure_between_the_two_requests_is_made_up_for(attic: Attic) -> None:
    attic.fail(status=500, method="PATCH")
    done = attic.cache(retention_period="30d")
    assert attic.methods() == ["GET", "POST", "PATCH", "GET", "PATCH"]
    assert (done["changed"], done["diff"]["before"]) == (True, {})
    assert attic.cache()["cache"] == done["cache"]
    assert done["cache"]["retention_period"] == 2_592_000


def test_the_next_run_makes_up_for_an_interruption_between_the_two_requests(attic: Attic) -> None:
    attic.fail(status=500, method="PATCH", times=3)
    assert "PATCH /_api/v1/cache-config/ci-cache answered 500" in attic.cache(retention_period="30d")["msg"]
    assert attic.methods() == ["GET", "POST", "PATCH", "GET", "PATCH", "GET", "PATCH"]
    assert attic.cache(check=True)["cache"]["retention_period"] == "global"
    done = attic.cache(retention_period="30d")
    assert attic.methods() == ["GET", "PATCH"]
    assert done["cache"]["retention_period"] == 2_592_000


def test_absent_destroys_once(attic: Attic) -> None:
    first = attic.cache()["cache"]["public_key"]
    predicted = attic.cache(check=True, state="absent")
    assert attic.methods() == ["GET"]
    done = attic.cache(state="absent")
    assert (predicted["changed"], predicted["diff"], done["cache"]) == (True, done["diff"], None)
    again = attic.cache(state="absent")
    assert (again["changed"], attic.methods()) == (False, ["GET"])
    assert attic.cache()["cache"]["public_key"] != first


def test_a_cache_that_vanishes_meanwhile_is_absent(attic: Attic) -> None:
    attic.cache()
    attic.fail(status=404, method="DELETE", body={"code": 404, "error": "NoSuchCache", "message": "gone"})
    assert attic.cache(state="absent")["changed"] is True


def test_a_soft_deleted_name_is_explained_and_not_tried_again(start: Start) -> None:
    attic = start(soft_delete=True)
    attic.cache()
    attic.cache(state="absent")
    result = attic.cache()
    assert attic.methods() == ["GET", "POST", "GET"]
    assert result["failed"] is True
    assert result["error"] == "CacheAlreadyExists"
    assert "soft-deleted cache holds the name" in result["msg"]
    assert "choose another name" in result["msg"]


def test_what_nobody_knows_yet_is_null_in_check_mode(attic: Attic) -> None:
    predicted = attic.cache(check=True)["cache"]
    assert [predicted[key] for key in ("public_key", "substituter_endpoint", "api_endpoint", "nix_conf")] == [None] * 4
    done = attic.cache()["cache"]
    assert done["nix_conf"] == [
        f"extra-substituters = {attic.url}/ci-cache",
        f"extra-trusted-public-keys = {done['public_key']}",
    ]
    replaced = attic.cache(check=True, replace_public_key=done["public_key"])
    assert (replaced["cache"]["public_key"], replaced["cache"]["nix_conf"]) == (None, None)
    assert replaced["diff"]["before"]["public_key"] == done["public_key"]
    assert replaced["diff"]["after"]["public_key"] == "another one"


def test_a_failed_retention_says_what_there_is_now(attic: Attic) -> None:
    attic.fail(status=403, method="PATCH", body={"code": 403, "error": "AccessError", "message": "No."})
    result = attic.cache(retention_period="30d")
    assert "The cache has been created, but follows the server's retention; run again to set it." in result["msg"]


def test_an_answer_with_a_strange_retention_is_explained(attic: Attic) -> None:
    attic.fail(status=200, body={"public_key": "a:b", "retention_period": 5})
    assert "answers, but not as Attic does" in attic.cache()["msg"]


@pytest.mark.parametrize(
    ("substituter", "api", "words"),
    [
        ("https://c.example.org/ci-cache", "https://c.example.org/", []),
        ("http://c.example.org/ci-cache", "http://c.example.org/", ["addresses without https"]),
        ("https://c.example.orgci-cache", "https://c.example.org", ["end api-endpoint and substituter-endpoint"]),
        (None, None, []),
    ],
)
def test_addresses_that_clients_could_not_use_are_remarked(
    substituter: str | None, api: str | None, words: list[str]
) -> None:
    cache = {"substituter_endpoint": substituter, "api_endpoint": api}
    desired = DesiredCache("ci-cache", True, {}, keypair=None, own_key=None, replaceable=None)
    resource = CacheResource(AtticClient("https://c.example.org", ROOT), desired)
    found = resource.warnings({"diff": {"before": {}, "after": {}}, "cache": cache})
    assert len(found) == len(words)
    assert all(word in warning for word, warning in zip(words, found, strict=True))


# ---- lost answers and conflicts ----------------------------------------------------------------------------------


SECRET_PAIR, PUBLIC_KEY = own_keypair()


@pytest.mark.parametrize(
    ("options", "requests"),
    [
        ({}, ["GET", "POST", "GET"]),
        ({"is_public": True, "priority": 30}, ["GET", "POST", "GET"]),
        ({"retention_period": "30d"}, ["GET", "POST", "GET", "PATCH"]),
        ({"keypair": SECRET_PAIR}, ["GET", "POST", "GET"]),
        ({"keypair": SECRET_PAIR, "retention_period": 0}, ["GET", "POST", "GET", "PATCH"]),
        ({"replace_public_key": PUBLIC_KEY}, ["GET", "POST", "GET"]),
    ],
)
def test_a_creation_whose_answer_was_lost_is_recognised(
    attic: Attic, options: dict[str, t.Any], requests: list[str]
) -> None:
    predicted = attic.cache(check=True, **options)
    attic.lose("POST")
    done = attic.cache(**options)
    assert attic.methods() == requests
    assert (done["changed"], done["diff"]) == (True, predicted["diff"])
    assert predicted["cache"]["public_key"] == (PUBLIC_KEY if "keypair" in options else None)
    again = attic.cache(**options)
    assert (again["changed"], again["cache"]) == (False, done["cache"])
    assert done["cache"]["nix_conf"], "what the server knows must be read again"


def test_a_creation_that_never_arrived_is_repeated(attic: Attic) -> None:
    attic.fail(status=503, method="POST")
    assert attic.cache()["changed"] is True
    assert attic.methods() == ["GET", "POST", "GET", "POST", "GET"]


@pytest.mark.parametrize("own", [True, False])
def test_a_key_is_replaced_once_although_the_answer_was_lost(attic: Attic, own: bool) -> None:
    old = attic.cache()["cache"]["public_key"]
    options = {"replace_public_key": old, "priority": 1, **({"keypair": SECRET_PAIR} if own else {})}
    attic.lose("PATCH")
    done = attic.cache(**options)
    assert attic.methods() == ["GET", "PATCH", "GET"]
    key = done["cache"]["public_key"]
    assert key != old and (key == PUBLIC_KEY) == own
    assert (done["changed"], done["diff"]["before"]["public_key"]) == (True, old)
    assert f"Clients that trust only {old} refuse the cache" in done.warnings[0]
    again = attic.cache(**options)
    assert (again["changed"], again["cache"], again.warnings) == (False, done["cache"], [])


def test_a_cache_whose_destruction_was_not_confirmed_is_absent(attic: Attic) -> None:
    attic.cache()
    attic.lose("DELETE")
    done = attic.cache(state="absent")
    assert attic.methods() == ["GET", "DELETE", "GET"]
    assert (done["changed"], done["cache"]) == (True, None)


def test_the_lost_answer_is_reported_when_the_server_stays_away(attic: Attic) -> None:
    attic.lose("POST")
    attic.before["POST"] = lambda: attic.fail(status=502, method="GET")
    result = attic.cache()
    assert "POST /_api/v1/cache-config/ci-cache answered 502" in result["msg"]
    assert attic.methods() == ["GET", "POST", "GET"]
    assert attic.cache()["changed"] is False


def test_a_cache_that_somebody_else_creates_meanwhile_is_configured_as_desired(attic: Attic) -> None:
    attic.before["POST"] = lambda: attic.create_elsewhere(priority=7)
    done = attic.cache(priority=30)
    assert attic.methods() == ["GET", "POST", "POST", "GET", "GET", "PATCH"]
    assert (done["changed"], done["cache"]["priority"]) == (True, 30)
    assert attic.cache(priority=30)["cache"] == done["cache"]


def test_the_key_of_a_cache_that_somebody_else_creates_meanwhile_is_left_alone(attic: Attic) -> None:
    attic.before["POST"] = lambda: attic.create_elsewhere()
    result = attic.cache(keypair=SECRET_PAIR)
    assert "not with the keypair, whose public key is" in result["msg"]
    assert "PATCH" not in attic.methods()


def test_rights_are_required_for_the_second_plan_as_well(attic: Attic) -> None:
    attic.before["POST"] = lambda: attic.create_elsewhere(priority=7)
    result = attic.cache(token=token({"ci-cache": ("r", "cc")}), priority=30)
    assert "cannot be changed, and nothing has been: the token lacks the right configure_cache on" in result["msg"]
    assert "PATCH" not in attic.methods()


# ---- refusals ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize(
    ("caches", "options", "lacking"),
    [
        ({"ci-*": ("r",)}, {"name": "ci-new"}, "the right create_cache"),
        ({"ci-*": ("cc",)}, {"name": "ci-new"}, "the right pull on this cache, without which it cannot be compared"),
        ({"ci-*": ("cc", "r")}, {"name": "ci-new", "retention_period": "1d"},
         "the rights configure_cache, configure_cache_retention"),
        ({"ci-*": ("r",)}, {"priority": 1}, "the right configure_cache "),
        ({"ci-*": ("r", "cr")}, {"retention_period": "1d"}, "the right configure_cache_retention "),
        ({"ci-*": ("r", "cr")}, {"state": "absent"}, "the right destroy_cache "),
        ({"*": ("r",), "ci-*": ("r", "cr")}, {"priority": 1}, "the right configure_cache "),
    ],
)  # fmt: skip
def test_a_missing_right_is_named_before_anything_is_changed(
    attic: Attic, caches: dict[str, tuple[str, ...]], options: dict[str, t.Any], lacking: str, check: bool
) -> None:
    attic.cache()
    result = attic.cache(check=check, token=token(caches), **options)
    assert attic.methods() == ["GET"]
    assert result["failed"] is True
    assert lacking in result["msg"]
    assert "nothing has been" in result["msg"]


def test_making_a_cache_private_needs_the_right_to_read_it_afterwards(attic: Attic) -> None:
    attic.cache(is_public=True)
    blind, seeing = token({"ci-*": ("cr",)}), token({"ci-*": ("r", "cr")})
    assert attic.cache(token=blind, priority=1)["changed"] is True
    for check in (True, False):
        result = attic.cache(check=check, token=blind, is_public=False)
        assert attic.methods() == ["GET"]
        assert "the right pull on this cache" in result["msg"]
    assert attic.cache(token=seeing, is_public=False)["changed"] is True
    assert attic.cache(token=seeing, is_public=False)["changed"] is False


def test_an_empty_key_pair_replaces_no_key(attic: Attic) -> None:
    key = attic.cache()["cache"]["public_key"]
    for check in (True, False):
        assert "keypair: it is empty" in attic.cache(check=check, keypair="", replace_public_key=key)["msg"]
    assert attic.cache()["cache"]["public_key"] == key


def test_a_key_pair_given_as_the_public_key_is_not_printed(attic: Attic) -> None:
    raw = Ed25519PrivateKey.generate()
    public = raw.public_key().public_bytes_raw()
    for secret in (raw.private_bytes_raw() + public, raw.private_bytes_raw() + bytes(32)):
        pair = f"own-1:{base64.b64encode(secret).decode()}"
        for given in (pair, f"{pair}\n", f"{pair}x"):
            result = attic.cache(replace_public_key=given)
            assert result["failed"] is True
            assert pair[6:] not in json.dumps(result)


@pytest.mark.parametrize("end", ["\n", "\r\n", " \n"])
def test_what_files_end_with_belongs_to_no_value(attic: Attic, end: str) -> None:
    pair, public = own_keypair()
    given = {"url": f"{attic.url}{end}", "token": f"{ROOT}{end}"}
    first = attic.cache(**given)
    replaced = attic.cache(**given, keypair=f"{pair}{end}", replace_public_key=f"{first['cache']['public_key']}{end}")
    assert (first["failed"], replaced["failed"]) == (False, False), replaced
    assert replaced["cache"]["public_key"] == public
    assert attic.cache(**given, keypair=f"{pair}{end}")["changed"] is False
    refused = attic.cache(**given, keypair=f"{pair[:-4]}{end}")
    assert refused["failed"] and pair[6:-4] not in json.dumps(refused)


def test_a_public_key_is_shown_wherever_it_appears(attic: Attic) -> None:
    key = attic.cache()["cache"]["public_key"]
    replaced = attic.cache(check=True, replace_public_key=key)
    assert replaced["diff"]["before"]["public_key"] == key
    assert key in replaced.warnings[0]
    if "invocation" in replaced:  # until ansible-core 2.20
        assert replaced["invocation"]["module_args"]["replace_public_key"] == key
    other = f"other-1:{key.partition(':')[2]}"
    kept = attic.cache(replace_public_key=other)
    assert (kept["changed"], kept["cache"]["public_key"]) == (False, key)


def test_the_rights_that_are_needed_suffice(attic: Attic) -> None:
    assert attic.cache(token=token({"ci-cache": ("r", "cc")}))["changed"] is True
    assert attic.cache(token=token({"ci-cache": ("r", "cr")}), priority=1)["changed"] is True
    assert attic.cache(token=token({"ci-cache": ("r", "cr", "cq")}), retention_period="1d")["changed"] is True
    assert attic.cache(token=token({"ci-cache": ("r",)}))["changed"] is False
    assert attic.cache(token=token({"ci-cache": ("r", "cd")}), state="absent")["changed"] is True
    assert attic.cache(token=token({"ci-cache": ("cc",)}), is_public=True)["changed"] is True


@pytest.mark.parametrize(
    ("bad", "status", "message"),
    [
        (token({"ci-cache": ("w",)}), 403, "the token lacks the right pull on this cache, without which"),
        (token({"other": ("r",)}), 401, "the token lacks the right pull on this cache"),
        (token({"*": ALL}, exp=1000), 401, "it expired on 1970-01-01 00:16:40 UTC; mint a new one"),
        (token({"*": ALL}, nbf=int(time.time()) + 900), 401, "it is not valid before"),
        (token({"*": ALL}, secret=b"x" * 32), 401, "does not accept its signature, issuer or audience"),
        ("opaque", 401, "not one of Attic's, or it lacks the right pull"),
    ],
)
def test_a_refused_token_is_explained(attic: Attic, bad: str, status: int, message: str) -> None:
    attic.cache()
    result = attic.cache(token=bad)
    assert (result["failed"], result["status"]) == (True, status)
    assert message in result["msg"]
    assert bad not in str({**result, "invocation": None})


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (token({"*": ALL}, exp=1000), "it expired on"),
        (token({"*": ALL}, secret=b"x" * 32), "does not accept its signature"),
    ],
)
def test_on_a_public_cache_a_bad_token_shows_with_the_first_change(attic: Attic, bad: str, message: str) -> None:
    attic.cache(is_public=True)
    assert attic.cache(token=bad)["changed"] is False
    result = attic.cache(token=bad, priority=1)
    assert result["failed"] is True
    assert message in result["msg"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "a/b"}, "name: 'a/b' is not a valid name of a cache"),
        ({"name": "a" * 51}, "is not a valid name of a cache"),
        ({"name": "_a"}, "is not a valid name of a cache"),
        ({"retention_period": "Global"}, "retention_period: 'Global' is not a duration"),
        ({"retention_period": 2**31}, "retention_period: 2147483648 does not fit"),
        ({"priority": 2**31}, "priority: 2147483648 does not fit"),
        ({"store_dir": "nix/store"}, "store_dir: 'nix/store' is not the absolute path of a directory"),
        (
            {"upstream_cache_key_names": ["a-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY="]},
            "give the part before the colon",
        ),
        ({"upstream_cache_key_names": [""]}, "upstream_cache_key_names: '' is not the name of a key"),
        ({"retention_period": "Global"}, "Write global for the server's default."),
        ({"retention_period": 2**31}, "the limit is 2^31 - 1."),
        ({"keypair": ""}, "keypair: it is empty; give the key pair, or leave the option out"),
        ({"keypair": " \n"}, "keypair: it is empty"),
        ({"url": "http://[::1"}, "cannot reach http://[::1"),
        ({"keypair": "ci-cache:AAAA"}, "keypair: this is not a name, a colon and base64 of 64 bytes"),
        ({"replace_public_key": "ci-cache"}, "replace_public_key: this is not a name, a colon and base64 of 32 bytes"),
    ],
)
def test_wrong_input_is_found_before_any_request(attic: Attic, options: dict[str, t.Any], message: str) -> None:
    result = attic.cache(**options)
    assert attic.methods() == []
    assert result["failed"] is True
    assert message in result["msg"]


@pytest.mark.parametrize("bad", ["", "two words", "two\nlines", "\u20ac"])
def test_a_token_that_cannot_be_sent_is_refused(attic: Attic, bad: str) -> None:
    result = attic.cache(token=bad)
    assert "The Attic token is empty or holds blanks" in result["msg"]


def test_what_the_server_refuses_as_malformed_is_passed_on(attic: Attic) -> None:
    text = "Failed to deserialize the JSON body into the target type: priority: expected i32"
    attic.fail(status=422, body=text)
    result = attic.cache()
    assert result["status"] == 422
    assert result["msg"] == f"Attic: GET /_api/v1/cache-config/ci-cache answered 422: {text}."


def test_the_wrong_address_is_explained(start: Start) -> None:
    attic = start(allowed_hosts=["cache.example.org"])
    assert "use one of its allowed-hosts" in attic.cache()["msg"]
    assert "cannot reach http://127.0.0.1:9" in attic.cache(url="http://127.0.0.1:9")["msg"]
    assert "must start with https://" in attic.cache(url="cache.example.org")["msg"]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"status": 308, "headers": {"Location": "https://cache.example.org/"}}, "usually the one with https://"),
        ({"status": 502}, "the proxy answers, but atticd behind it does not"),
        ({"status": 502, "body": "<html>nginx</html>"}, "the proxy answers, but atticd behind it does not"),
        ({"status": 403, "body": "<html>forbidden</html>"}, "this answer is not Attic's"),
        ({"status": 404}, "this answer is not Attic's"),
        ({"status": 500, "body": {"code": 500, "error": "InternalServerError", "message": "Oh."}},
         "answered 500: Oh; read atticd's journal"),
        ({"status": 200, "body": {"hello": "world"}}, "answers, but not as Attic does"),
        ({"status": 200, "body": "<html>"}, "something that is not JSON"),
    ],
)  # fmt: skip
def test_answers_of_something_else_are_explained(attic: Attic, fault: dict[str, t.Any], message: str) -> None:
    attic.fail(**fault)
    result = attic.cache()
    assert result["failed"] is True
    assert message in result["msg"]
    assert "<html>" not in result["msg"]


def test_the_name_of_a_cache_in_the_url_is_explained(attic: Attic) -> None:
    assert "without the name of a cache" in attic.cache(url=f"{attic.url}/ci-cache")["msg"]


def test_a_passing_failure_is_repeated(attic: Attic) -> None:
    attic.fail(status=503, method="GET")
    assert attic.cache(retries=2)["changed"] is True
    assert attic.methods() == ["GET", "GET", "POST", "GET"]


def test_tokens_of_our_own_module_are_accepted(attic: Attic) -> None:
    minted = attic.module(
        "attic_token",
        {
            "signing_key": base64.b64encode(SECRET).decode(),
            "algorithm": "HS256",
            "subject": "ci",
            "validity": "1h",
            "permissions": [{"caches": "ci-*", "pull": True, "create_cache": True}],
        },
    )["token"]
    assert attic.cache(token=minted)["changed"] is True
    assert "configure_cache" in attic.cache(token=minted, priority=1)["msg"]
