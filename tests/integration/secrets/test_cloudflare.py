# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever happens to a DNS record, the token is seen nowhere."""

from __future__ import annotations

import importlib
import json
import pathlib
import typing as t
from collections.abc import Callable, Iterator

import pytest
import requests

from lab.clouds.cloudflare import ROOT, CloudflareDouble
from tests.support.playbook import find, play
from tests.support.serving import serving

TOKEN, WRONG, READER, ZONE_ONLY = (f"canary{letter}{'0123456789' * 4}" for letter in "twrz")
SHORT, BROKEN = "canaryshort", "canary0 blank\ncanary1 line"
SECRETS = [TOKEN, WRONG, READER, ZONE_ONLY, SHORT, "canary0 blank", "canary1 line"]
ZONES = [f"{name}.example" for name in ("works", "echo", "page", "broken", "strange", "odd", "lost")]
RIGHTS = {
    TOKEN: dict.fromkeys(ZONES, {"zone:read", "dns:edit"}),
    READER: dict.fromkeys(ZONES, {"zone:read", "dns:read"}),
    ZONE_ONLY: dict.fromkeys(ZONES, {"zone:read"}),
}
ECHO = {"success": False, "errors": [{"code": 9000, "message": f"bad: Bearer {TOKEN}"}], "messages": [], "result": None}
FAULTS: dict[str, dict[str, t.Any]] = {
    "echo": {"status": 400, "body": ECHO},
    "page": {"status": 502, "body": f"<html>{TOKEN}</html>"},
    "broken": {"status": 500, "body": {"success": False, "message": TOKEN}},
    "strange": {"status": 200, "body": {"success": True, "result": [{"name": TOKEN}]}},
    "odd": {"status": 400, "body": {"success": False, "errors": [TOKEN, {"code": TOKEN}]}},
    "lost": {"status": 200, "body": f"<html>{TOKEN}</html>"},
}

# What fails, and the words that must be told.
FAILS: dict[str, tuple[dict[str, t.Any], str]] = {
    "a wrong token": ({"token": WRONG}, "wrong, expired or revoked"),
    "a malformed token": ({"token": SHORT}, "without 'Bearer'"),
    "a token of two lines": ({"token": BROKEN}, "holds blanks, line breaks"),
    "no right to write": ({"token": READER}, "Zone / DNS / Edit"),
    "no right to read records": ({"token": ZONE_ONLY}, "Zone / DNS / Read"),
    "no such zone": ({"zone": "none.example"}, "sees no zone"),
    "wrong content": ({"content": ["nonsense"]}, "not an IPv4 address"),
    "a refused record": ({"tags": ["a:b"]}, "leave tags out"),
    "an answer with the token": ({"zone": "echo.example"}, "the token"),
    "a page": ({"zone": "page.example"}, "502"),
    "a broken service": ({"zone": "broken.example"}, "500"),
    "a strange service": ({"zone": "strange.example"}, "check that url is right"),
    "odd errors": ({"zone": "odd.example"}, "answered 400"),
    "another service": ({"zone": "lost.example"}, "not JSON"),
    "nobody listens": ({"url": "http://127.0.0.1:9"}, "cannot reach"),
    "no URL": ({"url": "api.cloudflare.com"}, "is not a URL"),
    "a library that fails": ({}, "no attribute"),
}
WORKS: dict[str, dict[str, t.Any]] = {
    "it is created": {},
    "it is kept": {},
    "it is changed": {"content": ["203.0.113.2", "203.0.113.3"]},
    "it is removed": {"state": "absent", "content": ["203.0.113.2", "203.0.113.3"]},
}


def options(address: str, **more: t.Any) -> dict[str, t.Any]:
    base = {"url": address + ROOT, "token": TOKEN, "zone": "works.example", "name": "cache", "type": "A"}
    return {**base, "content": ["203.0.113.1"], "retries": 0, **more}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    double = CloudflareDouble(ZONES, RIGHTS)
    with serving(double.app) as address:
        for name, fault in FAULTS.items():
            path = f"{double.zone_id(f'{name}.example')}/dns_records"
            requests.post(f"{address}/_lab/faults", json={"times": 99, "path": path, **fault}, timeout=5)
        yield address


def test_nothing_is_seen_in_a_playbook(url: str, tmp_path: pathlib.Path) -> None:
    broken = tmp_path / "broken"
    (broken / "requests").mkdir(parents=True)
    (broken / "requests/__init__.py").write_text("")
    variables: dict[str, t.Any] = {}
    tasks: list[dict[str, t.Any]] = []
    reasons: list[str] = []
    for name, more in {**{name: more for name, (more, _words) in FAILS.items()}, **WORKS}.items():
        given, told = f"given{len(tasks)}", f"told{len(tasks)}"
        variables[given] = options(url, **more)
        task: dict[str, t.Any] = {"name": name, "register": told}
        task["pantheros.nixci.cloudflare_record"] = {
            option: f"{{{{ {given}.{option} }}}}" for option in variables[given]
        }
        if name in FAILS:
            task["ignore_errors"] = True
            reasons += [f"{told} is failed", f"{told}.msg is search({json.dumps(FAILS[name][1])})"]
        if name == "a library that fails":
            task["environment"] = {"PYTHONPATH": str(broken)}
            reasons[-1] = f"{told} is failed"
        tasks.append(task)
    tasks.append({"ansible.builtin.assert": {"that": reasons}})
    played = play(tasks, variables, tmp_path / "play", secrets=SECRETS)
    assert played.returncode == 0, played.output[-4000:]
    assert played.leaks == []


@pytest.mark.parametrize("name", [name for name in FAILS if name != "a library that fails"])
def test_no_message_holds_a_secret(
    name: str, url: str, module: Callable[..., t.Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the exception itself: Ansible's own masking of the result is not relied on."""
    ours = importlib.import_module("ansible_collections.pantheros.nixci.plugins.modules.cloudflare_record")
    caught: list[Exception] = []
    run = ours.run

    def watched(*args: t.Any) -> t.Any:
        try:
            return run(*args)
        except ours.NixciError as exc:
            caught.append(exc)
            raise

    monkeypatch.setattr(ours, "run", watched)
    more, words = FAILS[name]
    result = module("cloudflare_record", options(url, **more))
    assert result["failed"]
    assert words in result["msg"]
    for exc in caught:
        assert find(SECRETS, f"{exc} {getattr(exc, 'details', {})!r} {exc.__cause__!r}") == []
    assert caught or name in ("a token of two lines", "no URL"), "refused before the first call"
