# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever happens to a lookup, no secret shows up anywhere."""

from __future__ import annotations

import os
import pathlib
import typing as t

from lab.clouds.onepassword import OnePasswordDouble, service_account_token
from tests.support.onepassword_sdk import sdk_token
from tests.support.paths import ROOT
from tests.support.secrets import Case, play_cases

SEED = "JBSWY3DPEHPK3PXP"
Wsgi = t.Callable[[dict[str, t.Any], t.Callable[..., t.Any]], list[bytes]]


def answering(status: str, kind: str, body: bytes) -> Wsgi:
    def app(environ: dict[str, t.Any], start: t.Callable[..., t.Any]) -> list[bytes]:
        start(status, [("Content-Type", kind), ("Location", "http://127.0.0.1:9/canary-location")])
        return [body]

    return app


def test_no_secret_in_a_play(serve: t.Callable[[t.Any], str], tmp_path: pathlib.Path) -> None:
    double = OnePasswordDouble(
        vaults={"V": {"Item": {"a": "canary-value"}, "Twice": {"a": "canary-1"}}, "Other": {"Item": {"a": "canary-o"}}},
        tokens={"canary-connect": {"vaults": {"V": "read"}}, "canary-writer": {"vaults": {"V": "write-only"}}},
    )
    double.add_item("V", "Twice", {"a": "canary-2"})
    fields = [
        {"label": "code", "type": "OTP", "value": f"otpauth://totp/x?secret={SEED}"},
        {"label": "key", "type": "SSHKEY", "value": "canary-key"},
    ]
    login = double.add_item("V", "Login", more_fields=fields)
    double.attach("V", login, "binary", b"\xff\xfecanary-file")
    url = serve(double.app)
    account, stranger = service_account_token(url, "canary-account"), service_account_token(url, "canary-stranger")
    double.service_accounts[account] = {"vaults": {"V": "read"}}
    garbage, unreachable = "ops_canary-garbage", sdk_token("http://127.0.0.1:9")

    def connect(app: Wsgi | None = None, token: str = "canary-connect", **more: t.Any) -> dict[str, t.Any]:
        return {"connect_host": serve(app) if app else url, "connect_token": token, "retries": 0, **more}

    def by_account(token: str = account, backend: str = "op", **more: t.Any) -> dict[str, t.Any]:
        return {"backend": backend, "service_account_token": token, **more}

    item = "op://V/Item/a"
    failures: list[tuple[str, dict[str, t.Any], str]] = [
        ("canary-pasted-password", connect(), "Term 1 is not a secret reference: it does not start with op://"),
        ("op://V/Item/canary%20", connect(), "Term 1 is not a secret reference: part 3"),
        ("op://V/Item/missing", connect(), "'op://V/Item/missing': item 'Item'"),
        ("op://V/Nothing/a", connect(), "Vault 'V' has no item 'Nothing'"),
        ("op://Other/Item/a", connect(), "shows no vault 'Other'"),
        ("op://V/Twice/a", connect(), "Item 'Twice' in vault 'V' is ambiguous: use the ID of one of"),
        ("op://V/Item/a?attribute=otp", connect(), "the field is not a one-time password"),
        ("op://V/Login/key?ssh-format=openssh", connect(), "not hold a private key that can be converted"),
        ("op://V/Login/binary", connect(), "read it with base64=true"),
        (item, connect(token="canary-wrong"), "does not accept the token; check connect_token"),
        (item, connect(token="canary-writer"), "may not read here"),
        (item, {**connect(), "connect_host": "http://127.0.0.1:9"}, "cannot reach http://127.0.0.1:9"),
        (item, {**connect(), "connect_host": "no-url.example"}, "'no-url.example' is not a URL"),
        (item, connect(cache_seconds=9999), "cache_seconds must be between"),
        (item, connect(answering("200 OK", "text/html", b"<html>canary-page")), "something that is not JSON"),
        (item, connect(answering("500 .", "text/html", b"<pre>canary-trace")), "answered 500"),
        (item, connect(answering("200 OK", "application/json", b'{"x": "canary-json"}')), "that is not a listing"),
        (item, connect(answering("302 Found", "text/html", b"")), "answered 302"),
        ("op://V/Item/nowhere", by_account(), "'op://V/Item/nowhere': item 'Item'"),
        ("op://V/None/a", by_account(), "Vault 'V' has no item 'None'"),
        ("op://Other/Item/a", by_account(), "sees no vault 'Other'"),
        ("op://V/Twice/b", by_account(), "is ambiguous: use the ID of one of"),
        (item, by_account(stranger), "does not accept the token of the service account"),
        (item, by_account(garbage), "does not accept the token of the service account"),
        (item, by_account(garbage, "sdk"), "does not accept the token of the service account"),
        (item, by_account(unreachable, "sdk"), "1Password cannot be reached"),
        (item, {"backend": "connect", "service_account_token": account}, "and connect_token (OP_CONNECT_TOKEN)"),
        (item, connect(backend="op"), "backend=op needs service_account_token"),
    ]
    kept = {"cache_seconds": 60}
    successes: list[tuple[str, dict[str, t.Any]]] = [
        (item, connect(**kept)),
        ("op://V/Login/code?attribute=otp", connect(**kept)),
        ("op://V/Login/code", by_account(**kept)),
        ("op://V/Login/binary", by_account(base64=True, **kept)),
    ]
    cases = [
        Case(error, "onepassword", options, error, no_log=True, term=term) for term, options, error in failures
    ] + [Case("it is found", "onepassword", options, no_log=True, term=term) for term, options in successes]
    play_cases(
        cases,
        tmp_path,
        secrets=["canary", SEED, account, stranger, unreachable],
        environment={"PATH": f"{ROOT / 'lab' / 'op'}{os.pathsep}{os.environ['PATH']}"},
    )
