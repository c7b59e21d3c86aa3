# SPDX-License-Identifier: GPL-3.0-or-later
"""What the contract suite cannot cover: the SDK's own sign-in, its error messages, and the number of its requests."""

from __future__ import annotations

import asyncio
import typing as t

import pytest
from ansible_collections.pantheros.nixci.plugins.module_utils._core import errors as _errors
from ansible_collections.pantheros.nixci.plugins.module_utils._onepassword import write
from ansible_collections.pantheros.nixci.plugins.module_utils._onepassword.desired import DesiredField
from ansible_collections.pantheros.nixci.plugins.module_utils._onepassword.item import (
    Item,
    ItemNotFoundError,
    VaultNotFoundError,
)
from ansible_collections.pantheros.nixci.plugins.module_utils._onepassword.sdk import SdkBackend
from ansible_collections.pantheros.nixci.plugins.module_utils._onepassword.sdk_item import changed_item, to_document
from onepassword import types as sdk
from onepassword.errors import RateLimitExceededException

from lab.clouds.onepassword import OnePasswordDouble
from tests.support.onepassword_sdk import CONFLICT, StandIn, sdk_token, to_sdk

SECRET = "canary-secret-key"


@pytest.fixture
def refusing(serve: t.Callable[[t.Any], str]) -> tuple[dict[str, t.Any], str]:
    """A server that refuses every sign-in with the status of `answer` and records the paths."""
    answer: dict[str, t.Any] = {"status": "401 Unauthorized", "paths": []}

    def app(environ: dict[str, t.Any], start: t.Callable[..., t.Any]) -> list[bytes]:
        answer["paths"].append(environ["PATH_INFO"])
        start(answer["status"], [("Content-Length", "2")])
        return [b"{}"]

    return answer, serve(app)


@pytest.mark.parametrize(
    ("status", "kind", "message"),
    [
        ("401 Unauthorized", _errors.AuthenticationError, "does not accept the token"),
        ("403 Forbidden", _errors.ForbiddenError, "may not do this"),
        ("429 Too Many Requests", _errors.UnavailableError, "rate limit"),
        ("500 Internal Server Error", _errors.UnavailableError, "internal error"),
    ],
)
def test_a_refused_sign_in_of_the_real_sdk(
    refusing: tuple[dict[str, t.Any], str], status: str, kind: type[Exception], message: str
) -> None:
    answer, url = refusing
    answer["status"] = status
    source = SdkBackend(sdk_token(url))
    with pytest.raises(kind, match=message) as caught:
        source.fetch("V", "x")
    source.close()
    assert type(caught.value) is kind
    assert answer["paths"] == ["/api/v3/auth/start"]
    assert "ops_" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ("", _errors.AuthenticationError),
        ("x", _errors.AuthenticationError),
        ("ops_canary", _errors.AuthenticationError),
        (sdk_token("http://127.0.0.1:9"), _errors.UnavailableError),
    ],
)
def test_a_bad_token_and_an_unreachable_service_of_the_real_sdk(given: str, kind: type[Exception]) -> None:
    source = SdkBackend(given)
    with pytest.raises(kind) as caught:
        source.fetch("V", "x")
    source.close()
    assert "canary" not in str(caught.value)


class ValidationLike(Exception):
    """Like those of pydantic: of another type than Exception, and it quotes its input."""


@pytest.mark.parametrize(
    ("exc", "kind", "message"),
    [
        (RateLimitExceededException("slow down, rate limit exceeded"), _errors.UnavailableError, "rate limit"),
        (Exception("authentication error: rate limit exceeded"), _errors.UnavailableError, "rate limit"),
        (Exception("you don't have the right permissions to access this resource"), _errors.ForbiddenError, "read"),
        (Exception("itemStatusIncorrectItemVersion"), _errors.ConflictError, "changed in the meantime"),
        (Exception(CONFLICT), _errors.ConflictError, "changed in the meantime; run again"),
        (Exception("resource not found"), ItemNotFoundError, "deleted in the meantime"),
        (Exception(f"nobody knows {sdk_token('x')} otpauth://totp/{SECRET}"), _errors.NixciError, "nobody knows"),
        (ValidationLike(f"input_value='{SECRET}'"), _errors.NixciError, "failed for the vaults: ValidationLike"),
    ],
)
def test_the_message_of_the_sdk_decides_the_kind_of_error(exc: Exception, kind: type[Exception], message: str) -> None:
    async def authenticate(_token: str) -> None:
        raise exc

    source = SdkBackend("ops_x", authenticate=authenticate)
    with pytest.raises(kind, match=message) as caught:
        source.fetch("V", "x")
    assert type(caught.value) is kind
    assert SECRET not in str(caught.value)
    assert sdk_token("x") not in str(caught.value)


def test_a_hanging_service_times_out() -> None:
    async def authenticate(_token: str) -> None:
        await asyncio.sleep(60)

    with pytest.raises(_errors.UnavailableError, match="did not answer within 0.1 s"):
        SdkBackend("ops_x", timeout=0.1, authenticate=authenticate).fetch("V", "x")


def test_the_client_signs_in_once_at_the_first_request_and_lists_once() -> None:
    double = OnePasswordDouble(
        vaults={"V": {"x": {"a": "1"}, "y": {}}}, service_accounts={"t": {"vaults": {"V": "read"}}}
    )
    stand_in = StandIn(double)
    source = SdkBackend("t", authenticate=stand_in.authenticate)
    assert stand_in.log == []
    for vault, name in (("V", "x"), ("v", "Y"), (double.vault_id("V"), next(iter(double.items[double.vault_id("V")])))):
        source.fetch(vault, name)
    with pytest.raises(ItemNotFoundError):
        source.fetch("V", "z")
    with pytest.raises(VaultNotFoundError):
        source.fetch("a" * 26, "x")
    source.close()
    assert stand_in.log == ["sign in", "list vaults", "list items", "get item", "get item", "get item"]


def test_an_archived_item_is_missing() -> None:
    double = OnePasswordDouble(vaults={"V": {"x": {}}}, service_accounts={"t": {"vaults": {"V": "write"}}})
    source = SdkBackend("t", authenticate=StandIn(double).authenticate)
    source.delete(source.fetch("V", "x"), archive=True)
    with pytest.raises(ItemNotFoundError):
        source.fetch("V", "x")


def test_a_missing_library_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(_errors.NixciError, match="-m pip install onepassword-sdk'.*'op' or a Connect server") as caught:
        SdkBackend("ops_x")
    assert "\n" not in str(caught.value)


# The two forms of an item

DOCUMENT = {
    "id": "i",
    "title": "T",
    "category": "API_CREDENTIAL",
    "vault": {"id": "v"},
    "version": 3,
    "tags": ["t"],
    "sections": [{"id": "s", "label": "S"}],
    "fields": [
        {"id": "k", "label": "private key", "type": "SSHKEY", "value": "pem"},
        {"id": "m", "label": "month", "type": "MONTH_YEAR", "value": "202601", "section": {"id": "s"}},
        {"id": "notesPlain", "label": "notesPlain", "type": "STRING", "purpose": "NOTES", "value": "text\n"},
    ],
    "files": [{"id": "f", "name": "n", "size": 1, "section": {"id": "s"}}],
}


def test_an_item_of_the_sdk_has_the_form_of_connect() -> None:
    document = to_document(to_sdk(DOCUMENT))
    derived = [field for field in document["fields"] if field.pop("derived", False)]
    assert [(field["label"], field["value"]) for field in derived] == [
        ("public key", "ssh-ed25519 AAAA"),
        ("fingerprint", "SHA256:x"),
        ("key type", "ed25519"),
    ]
    document["fields"] = [field for field in document["fields"] if field not in derived]
    assert {key: document[key] for key in DOCUMENT} == DOCUMENT


def test_the_file_of_a_document_is_found() -> None:
    document = {**DOCUMENT, "category": "DOCUMENT", "files": [{"id": "f", "name": "n", "size": 1}]}
    assert to_document(to_sdk(document))["files"] == [{"id": "f", "name": "n", "size": 1}]


def test_types_and_categories_have_the_names_of_connect() -> None:
    item, types, categories = to_sdk(DOCUMENT), set(), set()
    for kind in sdk.ItemFieldType:
        item.fields[0].field_type, item.fields[0].details = kind, None
        types.add(to_document(item)["fields"][0]["type"])
    for category in sdk.ItemCategory:
        item.category = category
        categories.add(to_document(item)["category"])
    known = {"STRING", "CONCEALED", "OTP", "URL", "EMAIL", "DATE", "MONTH_YEAR", "PHONE", "MENU", "SSHKEY"}
    assert known | {"ADDRESS", "CREDIT_CARD_NUMBER", "CREDIT_CARD_TYPE", "REFERENCE", "UNSUPPORTED"} == types
    assert categories >= {"LOGIN", "API_CREDENTIAL", "SECURE_NOTE", "SSH_KEY", "WIRELESS_ROUTER", "EMAIL_ACCOUNT"}
    assert len(categories) == len(sdk.ItemCategory)


@pytest.mark.parametrize("conflicts", [1, 2, 4, 5])
@pytest.mark.parametrize("params", [{"title": "New"}, {"title": "Old"}, {"title": "Old", "state": "absent"}])
def test_a_conflict_in_the_vault_is_read_and_planned_again(
    monkeypatch: pytest.MonkeyPatch, conflicts: int, params: dict[str, str]
) -> None:
    monkeypatch.setattr(write, "PAUSE", 0)
    double = OnePasswordDouble(vaults={"V": {"Old": {}}}, service_accounts={"t": {"vaults": {"V": "write"}}})
    source = SdkBackend("t", authenticate=StandIn(double, conflicts).authenticate)
    fields = [] if "state" in params else [DesiredField("p", "abcdefghij")]
    if conflicts == 5:
        with pytest.raises(_errors.ConflictError, match="changed in the meantime; run again"):
            write.manage(source, {"vault": "V", **params}, fields, False)
        return
    assert write.manage(source, {"vault": "V", **params}, fields, False)["changed"]
    assert not write.manage(source, {"vault": "V", **params}, fields, False)["changed"]


def test_days_and_months_have_the_notation_of_the_sdk_there_and_of_connect_here() -> None:
    double = OnePasswordDouble(vaults={"V": {}}, service_accounts={"t": {"vaults": {"V": "write"}}})
    stored = [
        {"id": "m", "label": "expiry", "type": "MONTH_YEAR", "value": "202612"},
        {"id": "d", "label": "since", "type": "DATE", "value": "1798675200"},
    ]
    double.add_item("V", "Card", more_fields=stored)
    stand_in = StandIn(double)
    source = SdkBackend("t", authenticate=stand_in.authenticate)
    item = source.fetch("V", "Card")
    assert {path: value for path, (_kind, value) in item.values().items()} == {
        "expiry": "202612",
        "since": "2026-12-31",
    }
    after = source.replace(item.changed([DesiredField("expiry", "203001"), DesiredField("x", "1")], None, False))
    assert after.value("expiry") == "203001"
    assert double.values("V", "Card")["expiry"] == "203001"
    [given] = [field for field in to_sdk(double.items[double.vault_id("V")][item.id]).fields if field.id == "m"]
    assert given.value == "01/2030"


def test_an_odd_month_of_the_sdk_is_shown_and_sent_back_as_it_is() -> None:
    item = to_sdk({**DOCUMENT, "fields": [{"id": "m", "label": "m", "type": "MONTH_YEAR", "value": "soon"}]})
    document = to_document(item)
    assert document["fields"][0]["value"] == "soon"
    assert changed_item(item, document).fields[0].value == "soon"
    item.fields[0].value = "1/2026"
    document = to_document(item)
    assert document["fields"][0]["value"] == "202601"
    assert changed_item(item, document).fields[0].value == "1/2026"


def test_a_write_keeps_all_other_fields() -> None:
    double = OnePasswordDouble(vaults={"V": {}}, service_accounts={"t": {"vaults": {"V": "write"}}})
    double.add_item("V", "T", more_fields=DOCUMENT["fields"], sections=DOCUMENT["sections"])
    source = SdkBackend("t", authenticate=StandIn(double).authenticate)
    before = source.fetch("V", "T")
    after = source.replace(before.changed([DesiredField("new", "1", section="S")], None, False))
    [stored] = double.items[double.vault_id("V")].values()
    assert Item(stored).values() == {**Item(DOCUMENT).values(), "S/new": ("CONCEALED", "1")}
    assert after.values().items() >= before.values().items()
