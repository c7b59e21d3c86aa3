# SPDX-License-Identifier: GPL-3.0-or-later
"""The vendor's own client of Connect works with the double as it is; it sends back what only the server sets."""

from __future__ import annotations

import typing as t

import pytest
from onepasswordconnectsdk.client import new_client
from onepasswordconnectsdk.errors import FailedToRetrieveItemException
from onepasswordconnectsdk.models import Field, GeneratorRecipe, Item, ItemVault

from lab.clouds.onepassword import OnePasswordDouble


@pytest.fixture
def double() -> OnePasswordDouble:
    return OnePasswordDouble(vaults={"Infra": {"Old": {"a": "1"}}}, tokens={"t": {"vaults": {"Infra": "write"}}})


@pytest.fixture
def client(double: OnePasswordDouble, serve: t.Callable[[t.Any], str]) -> t.Any:
    return new_client(serve(double.app), "t")


def test_vaults_and_items_are_found_by_name(double: OnePasswordDouble, client: t.Any) -> None:
    vault = double.vault_id("Infra")
    assert [found.name for found in client.get_vaults()] == ["Infra"]
    assert client.get_vault_by_title("Infra").id == client.get_vault(vault).id == vault
    assert [summary.title for summary in client.get_items(vault)] == ["Old"]
    assert [summary.title for summary in client.get_items(vault, 'title eq "Old"')] == ["Old"]
    assert client.get_items(vault, 'title eq "New"') == []
    assert client.get_item("Old", "Infra").fields[0].value == "1"
    with pytest.raises(FailedToRetrieveItemException):
        client.get_item("New", "Infra")


def test_an_item_is_created_changed_and_deleted(double: OnePasswordDouble, client: t.Any) -> None:
    vault = double.vault_id("Infra")
    fields = [
        Field(id="username", label="username", purpose="USERNAME", value="ci"),
        Field(id="password", label="password", purpose="PASSWORD", type="CONCEALED", value="p"),
        Field(label="code", type="OTP", value="otpauth://totp/x?secret=JBSWY3DPEHPK3PXP"),
        Field(label="expires", type="DATE", value="1798718460"),
        Field(
            label="made", type="CONCEALED", generate=True, recipe=GeneratorRecipe(length=10, character_sets=["DIGITS"])
        ),
    ]
    new = Item(title="New", category="LOGIN", vault=ItemVault(id=vault), tags=["t"], fields=fields)
    created = client.create_item(vault, new)
    item = client.get_item(created.id, vault)
    made = {field.label: field.value for field in item.fields}
    assert (item.title, item.version, made["password"], made["expires"]) == ("New", 1, "p", "1798718460")
    assert len(made["made"]) == 10 and made["made"].isdigit()
    code = next(field for field in item.fields if field.label == "code")
    assert len(code.totp) == 6
    # The models send all they have received: version, times, codes.
    item.fields[1].value = "other"
    client.update_item(item.id, vault, item)
    changed = client.get_item(item.id, vault)
    assert (changed.version, changed.fields[1].value, changed.tags) == (2, "other", ["t"])
    client.delete_item(item.id, vault)
    with pytest.raises(FailedToRetrieveItemException):
        client.get_item(item.id, vault)
    assert [summary.title for summary in client.get_items(vault)] == ["Old"]


def test_files_are_listed_and_read(double: OnePasswordDouble, client: t.Any) -> None:
    vault = double.vault_id("Infra")
    [item] = double.items[vault]
    double.attach("Infra", item, "f.bin", b"\xff\n")
    [file] = client.get_files(item, vault)
    assert client.get_file(file.id, item, vault).name == "f.bin"
    assert client.get_file_content(file.id, item, vault) == b"\xff\n"
