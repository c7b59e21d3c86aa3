# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever happens to caches and tokens, no token, signing key or key pair shows up anywhere."""

from __future__ import annotations

import base64
import dataclasses
import pathlib
import re
import time
import typing as t
from collections.abc import Iterator

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lab.attic.server import create_app
from lab.clouds._control import Control
from tests.support.collection import run_module
from tests.support.secrets import Case, assert_no_secret_in_exceptions, play_cases, raising
from tests.support.serving import serving

SECRET, FOREIGN = b"canary-CANARY-canary-CANARY-0123", b"other--CANARY-canary-CANARY-0123"
KEY, FOREIGN_KEY = (base64.b64encode(secret).decode() for secret in (SECRET, FOREIGN))
CLAIM = "https://jwt.attic.rs/v1"
RIGHTS = ("r", "w", "d", "cc", "cr", "cq", "cd")
# Every token of Attic, also those that are minted in the run.
ANY_TOKEN = re.compile(r"eyJhbGciOi[\w-]+\.[\w-]+\.[\w-]+")


def token(secret: bytes = SECRET, rights: t.Iterable[str] = RIGHTS, **claims: t.Any) -> str:
    body = {"exp": int(time.time()) + 600, **claims, CLAIM: {"caches": {"*": dict.fromkeys(rights, 1)}}}
    return jwt.encode(body, secret, algorithm="HS256")


def pair() -> tuple[str, str]:
    """A key pair and its public half."""
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes_raw()
    return tuple(f"own-1:{base64.b64encode(part).decode()}" for part in (key.private_bytes_raw() + public, public))


(PAIR, PUBLIC), (OTHER_PAIR, _) = pair(), pair()
MISFIT = f"own-1:{base64.b64encode(base64.b64decode(PAIR[6:])[:32] + bytes(32)).decode()}"
SECRETS = [ANY_TOKEN, KEY, FOREIGN_KEY, PAIR[6:], OTHER_PAIR[6:], MISFIT[6:50], "opaque-canary-token"]

ANSWERS: list[dict[str, t.Any]] = [
    {"status": 500, "body": {"code": 500, "error": "InternalServerError", "message": "Oh."}},
    {"status": 502, "body": "<html>nginx</html>"},
    {"status": 200, "body": "<html>hello</html>"},
    {"status": 200, "body": {"public_key": 5, "retention_period": []}},
    {"status": 429, "headers": {"Retry-After": "900"}},
    {"status": 302, "headers": {"Location": "https://elsewhere.example.org/"}},
]


def cache(name: str, error: str | None = None, /, **options: t.Any) -> Case:
    return Case(name, "attic_cache", options, error)


def minted(name: str, error: str | None = None, /, **options: t.Any) -> Case:
    return Case(name, "attic_token", options, error)


FAILS = [
    cache("a token of another server", "401", token=token(FOREIGN)),
    cache("an expired token", "expired", token=token(exp=1000)),
    cache("a token with another right", "pull", token=token(rights=("w",))),
    cache("a token that is none", "401", token="opaque-canary-token"),
    cache("a token to read", "configure_cache", priority=1, token=token(rights=("r",))),
    cache("a key pair whose halves do not match", "keypair", keypair=MISFIT),
    cache("another key pair", "keypair", keypair=OTHER_PAIR),
    cache("a damaged key pair", "keypair", keypair=f"{PAIR}x"),
    cache("a public key that is none", "replace_public_key", replace_public_key="broken"),
    cache("a key pair for a public key", "replace_public_key", replace_public_key=PAIR),
    cache("nobody listens", "cannot reach", url="http://127.0.0.1:9"),
    cache("another address", "404", url="{url}/c"),
    cache("a name that is none", "name", name="a/b"),
    minted("a signing key with a line break", "signing_key", signing_key=f"{KEY[:9]}\n{KEY[9:]}"),
    minted("a damaged signing key", "signing_key", signing_key=f"{KEY}x"),
    minted("a signing key of another kind", "RSA", algorithm="RS256"),
    minted("a validity that is none", "validity", validity="soon"),
    minted("a file of another server", "config_path", current=token(), config_path="{taken}", url="{url}"),
    minted("a signing key of another server", "does not accept", signing_key=FOREIGN_KEY, url="{url}", verify=True),
    minted("nobody verifies", "cannot reach", url="http://127.0.0.1:9", verify=True),
    *(cache(f"answer {number}", "", url=f"{{url}}/answer{number}") for number in range(len(ANSWERS))),
    *(
        minted(f"verification {number}", "", url=f"{{url}}/answer{number}", verify=True)
        for number in range(len(ANSWERS))
    ),
    Case("a broken library", "attic_cache", {}, "", broken_library=("jwt", "raise RuntimeError('a broken library')")),
    Case("a broken library to mint", "attic_token", {}, "", broken_library=("jwt", "raise RuntimeError('broken')")),
]
FILES = {"config_path": "{config}", "netrc_path": "{netrc}", "url": "{url}"}
CASES = [
    cache("it is created", keypair=PAIR),
    *FAILS,
    cache("it gets another key pair", keypair=OTHER_PAIR, replace_public_key=PUBLIC, is_public=True),
    dataclasses.replace(minted("a token is made", **FILES, verify=True), no_log=True),
    dataclasses.replace(minted("it is replaced", **FILES, current=token(), subject="b"), no_log=True),
    cache("it is removed", state="absent"),
]


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Case]]:
    folder = tmp_path_factory.mktemp("attic")
    (folder / "data").mkdir()
    taken = folder / "taken.toml"
    taken.write_text('[servers.other]\nendpoint = "https://other.example.org/"\ntoken = "opaque-canary-token"\n')
    double = Control(create_app(data_dir=folder / "data", token_secret_hs256=SECRET))
    double.faults = [{"times": 99, "path": f"^/answer{number}/", **answer} for number, answer in enumerate(ANSWERS)]
    with serving(double) as url:
        places = {"url": url, "taken": taken, "config": folder / "config.toml", "netrc": folder / "netrc"}
        bases: dict[str, dict[str, t.Any]] = {
            "attic_cache": {"url": url, "token": token(), "name": "c", "retries": 0},
            "attic_token": {
                "signing_key": KEY,
                "algorithm": "HS256",
                "subject": "ci",
                "validity": "1h",
                "retries": 0,
                "permissions": [{"caches": "c", "pull": True}],
            },
        }
        made = {}
        for case in CASES:
            options = {**bases[case.plugin], **case.options}
            for name, value in options.items():
                if isinstance(value, str) and value.startswith("{"):
                    options[name] = value.format(**places)
            made[case.name] = dataclasses.replace(case, options=options)
        yield made


def test_no_secret_in_a_play(cases: dict[str, Case], tmp_path: pathlib.Path) -> None:
    play_cases(list(cases.values()), tmp_path, secrets=SECRETS)


@pytest.mark.parametrize("name", [case.name for case in raising(CASES)])
def test_no_secret_in_an_exception(name: str, cases: dict[str, Case]) -> None:
    run_module("attic_cache", cases["it is created"].options)
    assert_no_secret_in_exceptions(cases[name], SECRETS)
