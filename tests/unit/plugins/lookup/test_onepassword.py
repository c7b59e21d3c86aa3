# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import base64
import os
import pathlib
import subprocess
import sys
import typing as t

import pytest
import requests
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import lookup_loader
from ansible.template import Templar
from ansible_collections.pantheros.nixci.plugins.module_utils._core.errors import NixciError
from ansible_collections.pantheros.nixci.plugins.module_utils._onepassword.backend import (
    ConnectBackend,
    OpBackend,
    SdkBackend,
    backend,
)
from onepassword.client import Client

from lab.clouds.onepassword import OnePasswordDouble, service_account_token
from tests.support.onepassword_sdk import StandIn
from tests.support.paths import ROOT

ATTIC = {"ci-token": "canary-1", "root-token": "canary-2", "template": "{{ 1 + 1 }}", "lines": "a\nb\n"}


@pytest.fixture
def double() -> OnePasswordDouble:
    return OnePasswordDouble(
        vaults={"pantherOS": {"Attic": ATTIC, "B2": {"id": "k"}, "Twice": {}}, "Other": {}},
        tokens={"canary-token": {"vaults": {"pantherOS": "write"}}},
    )


@pytest.fixture
def url(double: OnePasswordDouble, serve: t.Callable[[t.Any], str], monkeypatch: pytest.MonkeyPatch) -> str:
    for name in ("OP_CONNECT_HOST", "OP_CONNECT_TOKEN", "OP_SERVICE_ACCOUNT_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    return serve(double.app)


@pytest.fixture
def lookup(url: str) -> t.Callable[..., list[t.Any]]:
    def run(*terms: t.Any, variables: dict[str, t.Any] | None = None, **options: t.Any) -> list[t.Any]:
        plugin = lookup_loader.get("pantheros.nixci.onepassword", loader=DataLoader(), templar=Templar(DataLoader()))
        connect = {"connect_host": url, "connect_token": "canary-token"}
        return plugin.run(list(terms), variables=variables or {}, **{**connect, **options})

    return run


def paths(double: OnePasswordDouble) -> list[str]:
    """The kind of object of each request."""
    names = {key: "item" for items in double.items.values() for key in items}
    return [
        names.get(entry["path"].rsplit("/", 1)[1], entry["path"].rsplit("/", 1)[1]) for entry in double.app.requests
    ]


def test_each_item_of_a_call_is_fetched_once(double: OnePasswordDouble, lookup: t.Callable[..., list[t.Any]]) -> None:
    assert lookup(
        "op://pantherOS/Attic/ci-token",
        "op://pantherOS/B2/id",
        "op://pantherOS/Attic/ROOT-TOKEN",
        "op://pantherOS/Attic/lines",
        "op://pantherOS/Attic/ci-token?attribute=type",
    ) == ["canary-1", "k", "canary-2", "a\nb\n", "CONCEALED"]
    assert paths(double) == ["vaults", "items", "item", "item"]


def test_ids_save_requests(double: OnePasswordDouble, lookup: t.Callable[..., list[t.Any]]) -> None:
    vault = double.vault_id("pantherOS")
    item = next(iter(double.items[vault]))
    assert lookup(f"op://{vault}/{item}/ci-token") == ["canary-1"]
    assert paths(double) == ["item"]


def test_the_default_replaces_only_a_missing_item_or_field(
    double: OnePasswordDouble, lookup: t.Callable[..., list[t.Any]]
) -> None:
    references = ["op://pantherOS/Attic/nothing", "op://pantherOS/Nothing/x", "op://pantherOS/Attic/one/ci-token"]
    assert lookup(*references, default="") == ["", "", ""]
    for reference in references:
        with pytest.raises(AnsibleError, match="no such field or file|no item 'Nothing'"):
            lookup(reference)
    with pytest.raises(AnsibleError, match="no vault 'Other'"):
        lookup("op://Other/Attic/x", default="")
    double.add_item("pantherOS", "Twice")
    with pytest.raises(AnsibleError, match="ambiguous: use the ID of one of"):
        lookup("op://pantherOS/Twice/x", default="")


def test_an_empty_field_is_an_empty_string(double: OnePasswordDouble, lookup: t.Callable[..., list[t.Any]]) -> None:
    assert lookup("op://pantherOS/Attic/notesPlain") == [""]


DATES = [
    {"label": "day", "type": "DATE", "value": "1798718460"},
    {"label": "midnight", "type": "DATE", "value": "1798675200"},
    {"label": "old", "type": "DATE", "value": "-1"},
    {"label": "empty", "type": "DATE"},
    {"label": "month", "type": "MONTH_YEAR", "value": "202612"},
    {"label": "phone", "type": "PHONE", "value": "+1 555"},
    {"label": "menu", "type": "MENU", "value": "one"},
    {"label": "address", "type": "ADDRESS", "value": "Main Street 1"},
    {"label": "mail", "type": "EMAIL", "value": "a@example.com"},
    {"label": "web", "type": "URL", "value": "https://example.com/"},
]
AS_EVERYBODY_READS_THEM = [
    *("2026-12-31", "2026-12-31", "1969-12-31", "", "202612"),
    *("+1 555", "one", "Main Street 1", "a@example.com", "https://example.com/"),
]


def test_every_type_reads_the_same_with_each_back_end(
    double: OnePasswordDouble, lookup: t.Callable[..., list[t.Any]], account: dict[str, t.Any]
) -> None:
    double.add_item("pantherOS", "Card", more_fields=DATES)
    references = [f"op://pantherOS/Card/{field['label']}" for field in DATES]
    assert lookup(*references) == AS_EVERYBODY_READS_THEM
    assert lookup(*references, **account) == AS_EVERYBODY_READS_THEM
    assert lookup(*[f"{reference}?attribute=type" for reference in references], **account) == [
        field["type"] for field in DATES
    ]


@pytest.mark.parametrize("end", ["\n", "\r\n", " ", "\t\n"])
def test_blanks_around_credentials_do_not_matter(
    double: OnePasswordDouble,
    url: str,
    lookup: t.Callable[..., list[t.Any]],
    account: dict[str, t.Any],
    monkeypatch: pytest.MonkeyPatch,
    end: str,
) -> None:
    reference = "op://pantherOS/B2/id"
    assert lookup(reference, connect_host=url + end, connect_token=f"canary-token{end}") == ["k"]
    if not end.strip("\r\n"):
        assert lookup(f"op://pantherOS{end}/B2{end}/id{end}", f"op://pantherOS{end}/B2/id?attribute=value{end}") == [
            "k",
            "k",
        ]
    ended = {**account, "service_account_token": account["service_account_token"] + end}
    assert lookup(reference, **ended) == ["k"]
    assert lookup(reference, **{**ended, "connect_host": end, "connect_token": end, "backend": "auto"}) == ["k"]
    monkeypatch.setenv("OP_CONNECT_HOST", f" {url}/v1/{end}")
    monkeypatch.setenv("OP_CONNECT_TOKEN", f"canary-token{end}")
    plugin = lookup_loader.get("pantheros.nixci.onepassword", loader=DataLoader(), templar=Templar(DataLoader()))
    assert plugin.run([reference], variables={}) == ["k"]
    variables = {"nixci_onepassword_connect_token": f"canary-token{end}", "nixci_onepassword_connect_host": url + end}
    assert plugin.run([reference], variables=variables) == ["k"]


@pytest.mark.parametrize("version", ["2.23.0", "2.29.0", "2.30.0"])
def test_an_older_op_will_do(
    lookup: t.Callable[..., list[t.Any]],
    account: dict[str, t.Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: pathlib.Path,
    version: str,
) -> None:
    older = tmp_path / "op"
    older.write_text(f'#!/bin/sh\nLAB_OP_VERSION={version} exec {ROOT}/lab/op/op "$@"\n')
    older.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert lookup("op://pantherOS/B2/id", "op://pantherOS/Attic/ci-token", **account) == ["k", "canary-1"]


def test_otp_returns_the_code(double: OnePasswordDouble, lookup: t.Callable[..., list[t.Any]]) -> None:
    uri = "otpauth://totp/x?secret=JBSWY3DPEHPK3PXP"
    double.add_item("pantherOS", "Login", more_fields=[{"label": "one-time password", "type": "OTP", "value": uri}])
    [code, seed] = lookup(
        "op://pantherOS/Login/one-time password?attribute=otp", "op://pantherOS/Login/one-time password"
    )
    assert (len(code), seed) == (6, uri)
    with pytest.raises(AnsibleError, match="not a one-time password"):
        lookup("op://pantherOS/Attic/ci-token?attribute=otp")


@pytest.mark.parametrize(
    ("terms", "options", "message"),
    [
        (["canary-password"], {}, "Term 1 is not a secret reference"),
        (["op://pantherOS/Attic/canary%20x"], {}, "Term 1 is not a secret reference: part 3"),
        (["op://pantherOS/Attic/x"], {}, "'op://pantherOS/Attic/x': item 'Attic' \\(.*\\) has no such field or file"),
        (["op://pantherOS/Attic/x"], {"connect_token": "canary-wrong"}, "does not accept the token"),
        (["op://pantherOS/Attic/x"], {"connect_token": ""}, "needs connect_token \\(OP_CONNECT_TOKEN\\)"),
        (["op://pantherOS/Attic/x"], {"connect_host": "", "connect_token": ""}, "No credential for 1Password"),
        (["op://pantherOS/Attic/x"], {"connect_host": "http://127.0.0.1:9", "retries": 0}, "cannot reach"),
        (["op://pantherOS/Attic/x"], {"cache_seconds": 9999}, "cache_seconds must be between"),
    ],
)
def test_errors_are_one_line_and_safe_to_print(
    lookup: t.Callable[..., list[t.Any]], terms: list[str], options: dict[str, t.Any], message: str
) -> None:
    with pytest.raises(AnsibleError, match=message) as caught:
        lookup(*terms, **options)
    assert "canary" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert "\n" not in str(caught.value)


def test_options_come_from_templated_variables_and_the_environment(
    url: str, lookup: t.Callable[..., list[t.Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OP_CONNECT_HOST", url)
    monkeypatch.setenv("OP_CONNECT_TOKEN", "canary-token")
    plugin = lookup_loader.get("pantheros.nixci.onepassword", loader=DataLoader(), templar=Templar(DataLoader()))
    assert plugin.run(["op://pantherOS/B2/id"], variables={}) == ["k"]
    with pytest.raises(AnsibleError, match="does not accept"):
        plugin.run(["op://pantherOS/B2/id"], variables={"nixci_onepassword_connect_token": "wrong"})


@pytest.fixture(params=["op", "sdk"])
def account(
    request: pytest.FixtureRequest, double: OnePasswordDouble, url: str, monkeypatch: pytest.MonkeyPatch
) -> dict[str, t.Any]:
    """Options for a service account that may read, for both of its back ends."""
    token = service_account_token(url)
    double.service_accounts[token] = {"vaults": {"pantherOS": "read"}}
    monkeypatch.setenv("PATH", str(ROOT / "lab" / "op"), prepend=os.pathsep)

    async def authenticate(auth: str, integration_name: str, integration_version: str) -> t.Any:
        return await StandIn(double).authenticate(auth)

    monkeypatch.setattr(Client, "authenticate", authenticate)
    credentials = {"connect_host": None, "connect_token": None, "service_account_token": token}
    return {**credentials, "backend": request.param}


def test_a_service_account_reads_like_connect(
    double: OnePasswordDouble, lookup: t.Callable[..., list[t.Any]], account: dict[str, t.Any]
) -> None:
    [item] = [key for key, item in double.items[double.vault_id("pantherOS")].items() if item["title"] == "Attic"]
    double.attach("pantherOS", item, "ca.pem", b"text\n")
    references = [
        *("op://pantherOS/Attic/lines", "op://pantherOS/Attic/template", "op://pantherOS/Nothing/x"),
        *("op://pantherOS/Attic/ca.pem", "op://pantherOS/Attic/ci-token?attribute=type"),
    ]
    expected = ["a\nb\n", "{{ 1 + 1 }}", "-", "text\n", "CONCEALED"]
    assert lookup(*references, default="-") == expected
    assert lookup(*references, default="-", **account) == expected


def test_files_are_text_or_base64(double: OnePasswordDouble, lookup: t.Callable[..., list[t.Any]]) -> None:
    item = double.add_item("pantherOS", "Files")
    binary = b"\x00\xff\n"
    double.attach("pantherOS", item, "binary", binary)
    double.attach("pantherOS", item, "text", "ä\r\n\n".encode())
    references = [f"op://pantherOS/Files/{name}" for name in ("text", "binary", "nothing")]
    assert lookup(references[0]) == ["ä\r\n\n"]
    text, encoded, missing = lookup(*references, base64=True, default="-")
    assert (base64.b64decode(text), base64.b64decode(encoded), missing) == ("ä\r\n\n".encode(), binary, "-")
    with pytest.raises(AnsibleError, match="'op://pantherOS/Files/binary': the file is not UTF-8 text") as caught:
        lookup(references[1], default="-")
    assert "xff" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": "connect", "connect_host": ""}, "needs connect_host \\(OP_CONNECT_HOST\\)"),
        ({"backend": "op"}, "backend=op needs service_account_token"),
        ({"backend": "sdk"}, "backend=sdk needs service_account_token"),
        ({"connect_token": "", "service_account_token": "ops_x"}, "needs connect_token \\(OP_CONNECT_TOKEN\\)"),
        ({"backend": "other"}, "other"),
    ],
)
def test_a_back_end_uses_its_own_credential_only(
    double: OnePasswordDouble, lookup: t.Callable[..., list[t.Any]], options: dict[str, t.Any], message: str
) -> None:
    with pytest.raises(AnsibleError, match=message):
        lookup("op://pantherOS/B2/id", **options)
    assert double.app.requests == []


def test_auto_prefers_connect_then_op_then_the_sdk(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    def chosen(**options: t.Any) -> type[t.Any]:
        return type(backend({"timeout": 1, "retries": 0, **options}.get))

    account = {"service_account_token": "ops_x"}
    monkeypatch.setenv("PATH", str(ROOT / "lab" / "op"))
    assert chosen(connect_host="https://x", connect_token="x", **account) is ConnectBackend
    assert chosen(**account) is OpBackend
    assert chosen(backend="sdk", connect_host="https://x", connect_token="x", **account) is SdkBackend
    monkeypatch.setenv("PATH", str(tmp_path))
    assert chosen(**account) is SdkBackend
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(NixciError, match="'op' is not on the PATH"):
        chosen(**account)


@pytest.mark.parametrize(
    ("host", "warned"),
    [
        *[("http://connect.example:8080", True), ("http://10.0.0.1", True), ("https://connect.example", False)],
        *[("http://127.0.0.1:8080", False), ("http://[::1]:8080", False), ("http://localhost:8080", False)],
        ("http://127.0.0.1.example.com", True),
    ],
)
def test_a_token_that_travels_without_tls_causes_a_warning(host: str, warned: bool) -> None:
    warnings: list[str] = []
    backend({"connect_host": host, "connect_token": "canary", "timeout": 1, "retries": 0}.get, warnings.append)
    assert [f"unencrypted to 1Password Connect at {host}" in warning for warning in warnings] == [True] * warned
    assert "canary" not in str(warnings)


def test_retries_are_bounded(url: str, lookup: t.Callable[..., list[t.Any]], double: OnePasswordDouble) -> None:
    requests.post(f"{url}/_lab/faults", json={"status": 503, "times": 1}, timeout=5)
    assert lookup("op://pantherOS/B2/id") == ["k"]
    requests.post(f"{url}/_lab/faults", json={"status": 200, "body": "<html>", "times": 9}, timeout=5)
    with pytest.raises(AnsibleError, match="not JSON"):
        lookup("op://pantherOS/B2/id", retries=0)


def test_the_sdk_is_not_loaded_with_the_lookup() -> None:
    """Its native threads would not survive the fork, and `import onepassword` must not find this lookup."""
    plugins = "ansible_collections.pantheros.nixci.plugins"
    code = f"import sys, {plugins}.lookup.onepassword, {plugins}.module_utils._onepassword.backend; print('onepassword' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", "import sys; sys.path[:0] = ['.', '.collections']; import tests.conftest; " + code],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.split() == ["False"]


def test_what_was_written_just_before_is_shown(
    double: OnePasswordDouble,
    lookup: t.Callable[..., list[t.Any]],
    url: str,
    module: t.Callable[..., dict[str, t.Any]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: pathlib.Path,
) -> None:
    """Connect's copy follows a moment after a write, and the lookup keeps what it fetched."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    double.lag = 0.3
    assert lookup("op://pantherOS/B2/id", cache_seconds=300) == ["k"]
    access = {"connect_host": url, "connect_token": "canary-token", "vault": "pantherOS", "title": "B2"}
    assert module("onepassword_item", {**access, "fields": [{"label": "id", "value": "other"}]})["changed"]
    assert lookup("op://pantherOS/B2/id", cache_seconds=300) == ["other"]
