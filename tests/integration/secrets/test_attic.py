# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever goes wrong with Attic's modules, no token, signing key or key pair shows up anywhere."""

from __future__ import annotations

import base64
import pathlib
import re
import time
import typing as t

import jwt
import pytest
import requests
from ansible_collections.pantheros.nixci.plugins.module_utils._attic.client import AtticClient
from ansible_collections.pantheros.nixci.plugins.module_utils._attic.keys import SigningKey, public_half
from ansible_collections.pantheros.nixci.plugins.module_utils._attic.token import CLAIM
from ansible_collections.pantheros.nixci.plugins.module_utils._attic.verify import verify
from ansible_collections.pantheros.nixci.plugins.module_utils._core.errors import NixciError
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lab.attic.server import create_app
from lab.clouds._control import Control
from tests.support.playbook import find, play

SECRET, FOREIGN = b"canary-CANARY-canary-CANARY-0123", b"other--CANARY-canary-CANARY-0123"
KEY, FOREIGN_KEY = (base64.b64encode(secret).decode() for secret in (SECRET, FOREIGN))
RIGHTS = ("r", "w", "d", "cc", "cr", "cq", "cd")
# Every token of Attic, also those that are minted in the run.
ANY_TOKEN = re.compile(r"eyJhbGciOi[\w-]+\.[\w-]+\.[\w-]+")


def token(secret: bytes = SECRET, rights: t.Iterable[str] = RIGHTS, **claims: t.Any) -> str:
    body = {"exp": int(time.time()) + 600, **claims, CLAIM: {"caches": {"*": dict.fromkeys(rights, 1)}}}
    return jwt.encode(body, secret, algorithm="HS256")


def pair() -> str:
    key = Ed25519PrivateKey.generate()
    return f"own-1:{base64.b64encode(key.private_bytes_raw() + key.public_key().public_bytes_raw()).decode()}"


PAIR, OTHER_PAIR = pair(), pair()
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


def cache(**params: t.Any) -> dict[str, t.Any]:
    wish = {"url": "{{ url }}", "token": "{{ good }}", "name": "c", "retries": 0, **params}
    return {"pantheros.nixci.attic_cache": wish, "ignore_errors": True}


def minted(**params: t.Any) -> dict[str, t.Any]:
    wish = {"signing_key": "{{ key }}", "algorithm": "HS256", "subject": "ci", "validity": "1h", "retries": 0}
    permissions = [{"caches": "c", "pull": True}]
    return {"pantheros.nixci.attic_token": {**wish, "permissions": permissions, **params}, "ignore_errors": True}


def fault(**answer: t.Any) -> dict[str, t.Any]:
    return {"ansible.builtin.uri": {"url": "{{ url }}/_lab/faults", "method": "POST", "body_format": "json",
                                    "body": answer, "status_code": 204}}  # fmt: skip


def test_nothing_leaks_from_a_play(serve: t.Callable[[t.Any], str], tmp_path: pathlib.Path) -> None:
    (tmp_path / "data").mkdir()
    url = serve(Control(create_app(data_dir=tmp_path / "data", token_secret_hs256=SECRET)))
    taken = tmp_path / "taken.toml"
    taken.write_text('[servers.other]\nendpoint = "https://other.example.org/"\ntoken = "opaque-canary-token"\n')
    crash = tmp_path / "crash"
    crash.mkdir()
    (crash / "jwt.py").write_text("raise RuntimeError('a broken library')\n")
    failing = [
        *(cache(token=bad) for bad in ("{{ foreign }}", "{{ expired }}", "{{ weak }}", "{{ opaque }}")),
        cache(priority=1, token="{{ reader }}"),
        cache(keypair="{{ misfit }}"),
        cache(keypair="{{ other_pair }}"),
        cache(keypair="{{ pair }}x"),
        cache(replace_public_key="broken"),
        cache(replace_public_key="{{ pair }}"),
        cache(url="http://127.0.0.1:9"),
        cache(url="{{ url }}/c"),
        {**cache(), "environment": {"PYTHONPATH": str(crash)}},
        cache(name="a/b"),
        *(task for answer in ANSWERS[:3] for task in (fault(**answer), cache())),
        minted(signing_key="{{ key }}\n"),
        minted(signing_key="{{ key }}", algorithm="RS256"),
        minted(validity="soon"),
        minted(current="{{ good }}", config_path=str(taken), url="{{ url }}"),
        minted(signing_key="{{ foreign_key }}", url="{{ url }}", verify=True),
        minted(url="http://127.0.0.1:9", verify=True),
        {**minted(), "environment": {"PYTHONPATH": str(crash)}},
        *(task for answer in ANSWERS[:3] for task in (fault(**answer), minted(url="{{ url }}", verify=True))),
    ]
    files = {"config_path": str(tmp_path / "config.toml"), "netrc_path": str(tmp_path / "netrc"), "url": "{{ url }}"}
    working = [
        cache(keypair="{{ pair }}"),
        cache(keypair="{{ other_pair }}", replace_public_key=public_half(PAIR), is_public=True),
        cache(token="{{ expired }}"),
        {**minted(**files, verify=True), "no_log": True, "register": "made"},
        {**minted(**files, current="{{ made.token }}", subject="b"), "no_log": True},
        cache(state="absent"),
    ]
    counted = {"ansible.builtin.assert": {"that": "made is changed"}}
    played = play(
        [working[0], *failing, *working[1:], counted],
        {
            "url": url,
            "good": token(),
            "reader": token(rights=("r",)),
            "weak": token(rights=("w",)),
            "foreign": token(FOREIGN),
            "expired": token(exp=1000),
            "opaque": "opaque-canary-token",
            "key": KEY,
            "foreign_key": FOREIGN_KEY,
            "pair": PAIR,
            "other_pair": OTHER_PAIR,
            "misfit": MISFIT,
        },
        tmp_path / "play",
        secrets=SECRETS,
    )
    asked = sum("ansible.builtin.uri" not in task for task in failing)
    assert played.returncode == 0, played.output[-3000:]
    assert f"ignored={asked} " in played.output, played.output[-1000:]
    assert played.leaks == []


@pytest.mark.parametrize("answer", [*ANSWERS, None], ids=str)
def test_no_exception_holds_a_secret(serve: t.Callable[[t.Any], str], tmp_path: pathlib.Path, answer: t.Any) -> None:
    url = serve(Control(create_app(data_dir=tmp_path, token_secret_hs256=SECRET))) if answer else "http://127.0.0.1:9"
    claims = {"sub": "ci", CLAIM: {"caches": {}}}
    attempts: list[t.Callable[[], t.Any]] = [
        lambda: AtticClient(url, token(), retries=0).get_cache("c"),
        lambda: verify(url, SigningKey("HS256", KEY), claims, retries=0),
        lambda: AtticClient(url, token() + " x"),
        lambda: AtticClient(url, token(FOREIGN), retries=0).get_cache("c"),
        lambda: SigningKey("RS256", KEY),
        lambda: SigningKey("HS256", KEY + "x"),
        lambda: public_half(MISFIT),
        lambda: public_half(PAIR + "x"),
    ]
    for attempt in attempts:
        if answer:
            requests.post(f"{url}/_lab/faults", json=answer, timeout=5)
        with pytest.raises(NixciError) as caught:
            attempt()
        exc: BaseException | None = caught.value
        while exc is not None:
            assert find(SECRETS, f"{exc!r} {getattr(exc, 'details', '')}") == []
            exc = None if exc.__suppress_context__ else exc.__context__
