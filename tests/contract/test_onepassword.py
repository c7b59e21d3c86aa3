# SPDX-License-Identifier: GPL-3.0-or-later
"""One suite for all back ends: Connect, `op` and the SDK with doubles, and with real services if they are given.

Real services: OP_TEST_VAULT (a name), OP_CONNECT_TEST_HOST and OP_CONNECT_TEST_TOKEN for a Connect server,
OP_SERVICE_ACCOUNT_TEST_TOKEN for `op` and for the SDK. Both credentials must be allowed to read and write the vault.
"""

from __future__ import annotations

import dataclasses
import os
import typing as t
import uuid
from collections.abc import Iterator

import pytest
from ansible_collections.pantheros.nixci.plugins.module_utils._core.errors import (
    AuthenticationError,
    ConflictError,
    ForbiddenError,
)
from ansible_collections.pantheros.nixci.plugins.module_utils._onepassword.backend import Backend
from ansible_collections.pantheros.nixci.plugins.module_utils._onepassword.cli import OpBackend
from ansible_collections.pantheros.nixci.plugins.module_utils._onepassword.connect import ConnectBackend
from ansible_collections.pantheros.nixci.plugins.module_utils._onepassword.desired import DesiredField
from ansible_collections.pantheros.nixci.plugins.module_utils._onepassword.item import (
    AmbiguousError,
    Item,
    ItemNotFoundError,
    VaultNotFoundError,
)
from ansible_collections.pantheros.nixci.plugins.module_utils._onepassword.sdk import SdkBackend
from ansible_collections.pantheros.nixci.plugins.plugin_utils._onepassword.reference import parse
from ansible_collections.pantheros.nixci.plugins.plugin_utils._onepassword.value import value_of

from lab.clouds.onepassword import OnePasswordDouble, service_account_token
from tests.support.onepassword_sdk import StandIn
from tests.support.paths import ROOT

OP = ROOT / "lab" / "op"
OTP = "otpauth://totp/x?secret=JBSWY3DPEHPK3PXP"


@dataclasses.dataclass
class Service:
    vault: str
    source: Backend
    read_only: Backend | None = None
    unknown: Backend | None = None
    double: OnePasswordDouble | None = None
    made: list[Item] = dataclasses.field(default_factory=list)

    def create(self, *fields: DesiredField, title: str = "", tags: list[str] | None = None) -> Item:
        title = title or f"nixci-{uuid.uuid4().hex[:12]}"
        empty = Item({"title": title, "category": "API_CREDENTIAL", "fields": []})
        item = self.source.create(self.vault, empty.changed(list(fields), tags, False).document)
        self.made.append(item)
        return item

    def attach(self, item: Item, name: str, content: bytes, section_id: str | None = None) -> Item:
        """The item with a file; in a real vault only a person can attach one."""
        if self.double is None:
            pytest.skip("no back end attaches files to items")
        self.double.attach(self.vault, item.id, name, content, section_id)
        return self.source.fetch(self.vault, item.id)

    def given(self, other: Backend | None) -> Backend:
        return other or pytest.skip("a real server gives one credential only")


def real(kind: str) -> tuple[str, Backend]:
    """The vault and the back end that the environment gives."""
    account = ("OP_TEST_VAULT", "OP_SERVICE_ACCOUNT_TEST_TOKEN")
    names = ("OP_TEST_VAULT", "OP_CONNECT_TEST_HOST", "OP_CONNECT_TEST_TOKEN") if kind == "Connect" else account
    vault, *credential = (os.environ.get(name, "") for name in names)
    if not vault or not all(credential):
        pytest.skip(f"no real 1Password given: {', '.join(names)}")
    kinds: dict[str, t.Callable[..., Backend]] = {"Connect": ConnectBackend, "op": OpBackend, "SDK": SdkBackend}
    return vault, kinds[kind](*credential)


@pytest.fixture(params=["connect", "op", "sdk", "real Connect", "real op", "real SDK"])
def service(
    request: pytest.FixtureRequest, serve: t.Callable[[t.Any], str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Service]:
    if request.param.startswith("real "):
        given = Service(*real(request.param.removeprefix("real ")))
        yield given
        for item in given.made:
            given.source.delete(item)
        given.source.close()
        return
    double = OnePasswordDouble(vaults={"pantherOS": {}, "Private": {"Bank": {"pin": "1"}}}, lag=0.02)
    url = serve(double.app)
    scopes = {"rw": {"vaults": {"pantherOS": "write"}}, "ro": {"vaults": {"pantherOS": "read"}}}
    double.tokens.update(scopes)
    double.service_accounts.update({service_account_token(url, secret): scope for secret, scope in scopes.items()})
    monkeypatch.setenv("PATH", str(OP), prepend=os.pathsep)
    stand_in = StandIn(double)
    kinds: dict[str, t.Callable[[str], Backend]] = {
        "connect": lambda secret: ConnectBackend(url, secret, retries=0),
        "op": lambda secret: OpBackend(service_account_token(url, secret)),
        "sdk": lambda secret: SdkBackend(service_account_token(url, secret), authenticate=stand_in.authenticate),
    }
    sources = [kinds[request.param](secret) for secret in ("rw", "ro", "wrong")]
    yield Service("pantherOS", *sources, double=double)
    for source in sources:
        source.close()


def test_an_item_is_found_by_title_by_id_and_without_case(service: Service) -> None:
    item = service.create(DesiredField("token", "v"))
    assert service.source.fetch(service.vault, item.title).id == item.id
    assert service.source.fetch(service.vault, item.id).id == item.id
    assert service.source.fetch(service.vault, item.title.upper()).id == item.id
    assert service.source.fetch(item.vault_id, item.title).id == item.id
    assert service.source.fetch(service.vault.upper(), item.title).id == item.id


def test_values_come_back_as_they_were_written(service: Service) -> None:
    text = "A=1\nB='$x' \"y\" \\ ä {{ 1+1 }}\n"
    item = service.create(
        DesiredField("env", text), DesiredField("url", "https://example.com/", "URL"), tags=["b", "a"]
    )
    assert item.find("env") == {**(item.find("env") or {}), "value": text, "type": "CONCEALED"}
    assert item.find("URL", None) == {**(item.find("url") or {}), "type": "URL"}
    assert item.tags == ["a", "b"]
    assert item.version >= 1


def test_sections_are_created_and_found(service: Service) -> None:
    item = service.create(DesiredField("token", "1"), DesiredField("token", "2", section="Other one"))
    assert (item.find("token") or {})["value"] == "1"
    assert (item.find("token", "other ONE") or {})["value"] == "2"
    assert item.find("token", "none") is None
    assert sorted(item.values()) == ["Other one/token", "token"]


def test_replace_writes_one_field_and_keeps_the_others(service: Service) -> None:
    item = service.create(DesiredField("a", "1"), DesiredField("b", "2", section="s"))
    after = service.source.replace(item.changed([DesiredField("a", "9")], ["t"], False))
    assert {path: value for path, (_kind, value) in after.values().items()} == {"a": "9", "s/b": "2"}
    assert (after.id, after.tags) == (item.id, ["t"])
    assert after.version > item.version


def test_a_removed_field_is_gone(service: Service) -> None:
    item = service.create(DesiredField("a", "1"), DesiredField("b", "2"))
    after = service.source.replace(item.changed([DesiredField("a", "1")], None, True))
    assert sorted(after.values()) == ["a"]


def test_a_deleted_item_is_missing(service: Service) -> None:
    item = service.create(DesiredField("a", "1"))
    service.source.delete(item)
    service.made.clear()
    for name in (item.title, item.id):
        with pytest.raises(ItemNotFoundError, match=f"no item '{name}'"):
            service.source.fetch(service.vault, name)


def test_a_missing_vault_is_not_a_missing_item(service: Service) -> None:
    with pytest.raises(VaultNotFoundError, match="no vault 'nowhere'"):
        service.source.fetch("nowhere", "x")
    with pytest.raises(VaultNotFoundError):
        service.source.fetch("a" * 26, "x")


def test_an_ambiguous_title_lists_the_ids(service: Service) -> None:
    title = f"nixci-{uuid.uuid4().hex[:12]}"
    ids = [service.create(DesiredField("a", "1"), title=title).id for _ in range(2)]
    with pytest.raises(AmbiguousError) as caught:
        service.source.fetch(service.vault, title)
    assert caught.value.details["ids"] == sorted(ids)
    assert service.source.fetch(service.vault, ids[0]).id == ids[0]


TITLES = [
    'Rack 19" west',
    'two "quoted" words',
    "it's a 'single' one",
    "[brackets] (round) {curly} <angle>",
    "C:\\path\\",
    'ends with \\"',
    "two\nlines",
    "-dash",
    "--vault=x",
    "-",
    "Größe ✓ 日本",
    "a/b.example.com:8080/?x=1&y=#z",
    "../..",
    "*",
    "100% $HOME `id`",
    '"x" isn\'t a vault in this account',
    'x" (401) "y',
    "More than one item matches",
    "(409) Conflict",
]


@pytest.mark.parametrize("title", TITLES)
def test_an_unusual_title_is_missing_then_created_then_found(service: Service, title: str) -> None:
    title = f"{title}{uuid.uuid4().hex[:8]}" if service.double is None else title
    with pytest.raises(ItemNotFoundError):
        service.source.fetch(service.vault, title)
    item = service.create(DesiredField("a", "1"), title=title)
    assert service.source.fetch(service.vault, title).id == item.id
    after = service.source.replace(item.changed([DesiredField("a", "2")], None, False))
    assert (after.title, after.value("a")) == (title, "2")
    service.source.delete(after)
    service.made.remove(item)
    with pytest.raises(ItemNotFoundError):
        service.source.fetch(service.vault, title)


@pytest.mark.parametrize("name", ['Rack 19" west', "C:\\", "x\ny", "-v", "Größe", "x\" isn't an item", "(403)", "a/b"])
def test_an_unusual_name_of_a_missing_vault_is_understood(service: Service, name: str) -> None:
    with pytest.raises(VaultNotFoundError, match="no vault"):
        service.source.fetch(name, "x")


def test_an_unusual_name_of_a_vault_does_not_matter(service: Service) -> None:
    if service.double is None:
        pytest.skip("no back end creates vaults")
    name = 'Rack "19" (401) isn\'t a vault\\'
    service.double.add_vault(name)
    for scope in (*service.double.tokens.values(), *service.double.service_accounts.values()):
        scope["vaults"][name] = "write"
    for vault in (name, service.double.vault_id(name)):
        with pytest.raises(ItemNotFoundError):
            service.source.fetch(vault, "missing")


def test_two_titles_that_differ_in_case_are_two_items(service: Service) -> None:
    title = f"nixci-{uuid.uuid4().hex[:12]}"
    small, large = service.create(DesiredField("a", "1"), title=title), service.create(title=title.upper())
    assert service.source.fetch(service.vault, title).id == small.id
    assert service.source.fetch(service.vault, title.upper()).id == large.id


DATES = {
    "date": ("DATE", "2026-12-31", "2027-01-01"),
    "an old date": ("DATE", "1969-12-31", "1899-12-30"),
    "month_year": ("MONTH_YEAR", "202612", "203001"),
}


@pytest.mark.parametrize(("kind", "first", "second"), DATES.values(), ids=DATES)
def test_days_and_months_are_the_same_with_each_back_end(service: Service, kind: str, first: str, second: str) -> None:
    item = service.create(DesiredField("d", first, kind), DesiredField("other", "1"))
    assert item.values()["d"] == (kind, first)
    assert value(service, service.source.fetch(service.vault, item.title), "d") == first.encode()
    other = service.source.replace(item.changed([DesiredField("other", "2")], None, False))
    assert other.values()["d"] == (kind, first)
    changed = service.source.replace(other.changed([DesiredField("d", second)], None, False))
    assert changed.values()["d"] == (kind, second)


STORED = {
    # What the service has, and what everybody should see: midnight, noon and the last second of a day; and the month.
    "midnight": ("DATE", "1798675200", "2026-12-31"),
    "noon": ("DATE", "1798718460", "2026-12-31"),
    "the last second": ("DATE", "1798761599", "2026-12-31"),
    "before 1970": ("DATE", "-86400", "1969-12-31"),
    "a month": ("MONTH_YEAR", "202612", "202612"),
}


@pytest.mark.parametrize(("kind", "stored", "expected"), STORED.values(), ids=STORED)
def test_stored_days_and_months_are_read_and_left_alone(
    service: Service, kind: str, stored: str, expected: str
) -> None:
    if service.double is None:
        pytest.skip("no back end writes another time of a day")
    fields = [{"label": "d", "type": kind, "value": stored}]
    service.double.add_item(service.vault, "Card", {"other": "1"}, fields)
    item = service.source.fetch(service.vault, "Card")
    assert value(service, item, "d").decode() == expected
    service.source.replace(item.changed([DesiredField("other", "2")], None, False))
    kept = service.double.values(service.vault, "Card")["d"]
    # The SDK hides the time of a day.
    assert kept == stored or (kind == "DATE" and isinstance(service.source, SdkBackend))
    assert service.source.fetch(service.vault, "Card").value("d") == expected


def test_one_time_codes_are_current(service: Service) -> None:
    item = service.create(DesiredField("code", OTP, "OTP"))
    code = (item.find("code") or {})["totp"]
    assert len(code) == 6
    assert code.isdigit()


def value(service: Service, item: Item, reference: str) -> bytes:
    """The value of a reference in an item that has been fetched."""
    return value_of(parse(f"op://v/i/{reference}"), item, lambda file: service.source.read_file(item, file))


def test_files_come_back_to_the_byte(service: Service) -> None:
    item = service.create(DesiredField("a", "1", section="Keys"))
    [section] = item.document["sections"]
    binary, text = bytes(range(256)) + b"\r\n\n", b"line\n"
    service.attach(item, "ca.p12", binary)
    service.attach(item, "README", b"")
    item = service.attach(item, "ca.pem", text, section["id"])
    assert value(service, item, "ca.p12") == binary
    assert value(service, item, "CA.P12?attribute=content") == binary
    assert value(service, item, "keys/ca.pem") == value(service, item, "ca.pem") == text
    assert value(service, item, "README") == b""
    assert value(service, item, "ca.p12?attribute=size") == b"259"
    file_id = value(service, item, "ca.p12?attribute=id").decode()
    assert value(service, item, file_id) == binary


def test_a_file_needs_no_more_than_the_right_to_read(service: Service) -> None:
    item = service.attach(service.create(DesiredField("a", "1")), "f", b"1")
    [file] = item.document["files"]
    assert service.given(service.read_only).read_file(item, file) == b"1"


def test_every_attribute_is_the_same_with_each_back_end(service: Service) -> None:
    item = service.create(
        DesiredField("a", "1", "STRING"),
        DesiredField("mail", "a@example.com", "EMAIL"),
        DesiredField("code", OTP, "OTP"),
    )
    assert value(service, item, "a?attribute=type") == b"STRING"
    assert value(service, item, "mail?attribute=type") == b"EMAIL"
    assert value(service, item, "code?attribute=type") == b"OTP"
    assert value(service, item, "code") == OTP.encode()
    assert value(service, item, "code?attribute=otp").isdigit()
    assert value(service, item, "notesPlain?attribute=purpose") == b"NOTES"
    field_id = value(service, item, "a?attribute=id").decode()
    assert value(service, item, field_id) == b"1"


def test_a_concurrent_change_is_a_conflict_or_the_last_one_wins(service: Service) -> None:
    item = service.create(DesiredField("a", "1"))
    service.source.replace(item.changed([DesiredField("a", "2")], None, False))
    try:
        after = service.source.replace(item.changed([DesiredField("a", "3")], None, False))
    except ConflictError:
        after = service.source.fetch(service.vault, item.id)
        assert (after.find("a") or {})["value"] == "2"
    else:
        assert (after.find("a") or {})["value"] == "3"


def test_an_unknown_credential_is_named(service: Service) -> None:
    with pytest.raises(AuthenticationError, match="does not accept"):
        service.given(service.unknown).fetch(service.vault, "x")


def test_a_read_only_credential_cannot_write(service: Service) -> None:
    reader = service.given(service.read_only)
    item = service.create(DesiredField("a", "1"))
    assert reader.fetch(service.vault, item.title).id == item.id
    for attempt in (
        lambda: reader.create(service.vault, {"title": "x", "category": "API_CREDENTIAL", "fields": []}),
        lambda: reader.replace(item.changed([DesiredField("a", "2")], None, False)),
        lambda: reader.delete(item),
    ):
        with pytest.raises(ForbiddenError, match="right"):
            attempt()
    assert (service.source.fetch(service.vault, item.id).find("a") or {})["value"] == "1"


def test_another_vault_is_out_of_reach(service: Service) -> None:
    service.given(service.read_only)
    with pytest.raises(VaultNotFoundError):
        service.source.fetch("Private", "Bank")
