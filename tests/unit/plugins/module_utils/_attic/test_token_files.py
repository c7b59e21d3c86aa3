# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import netrc as netrc_reader
import os
import pathlib
import tomllib
import typing as t

import pytest
from ansible_collections.pantheros.nixci.plugins.module_utils._attic.token_files import (
    UP_TO_DATE,
    TokenFile,
    client_config,
    netrc,
    other_machines,
    other_servers,
)
from ansible_collections.pantheros.nixci.plugins.module_utils._core.errors import (
    ConflictError,
    InvalidError,
    NixciError,
)

TOKEN = "eyJh.canary-TOKEN_0123.sig"


@pytest.mark.parametrize("server", ["attic", "a+b_c-D9", "1"])
@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("https://cache.example.org", "https://cache.example.org/"),
        ("http://[::1]:8080//", "http://[::1]:8080/"),
        ("https://example.org/attic?x=\\", "https://example.org/attic?x=\\/"),
    ],
)
def test_the_client_s_configuration_is_toml_of_its_form(server: str, url: str, endpoint: str) -> None:
    assert tomllib.loads(client_config(server, url, TOKEN)) == {
        "default-server": server,
        "servers": {server: {"endpoint": endpoint, "token": TOKEN}},
    }


def test_a_netrc_names_the_host_without_its_port(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "netrc"
    path.write_text(netrc("https://Cache.example.org:8443/sub", TOKEN))
    assert netrc_reader.netrc(str(path)).hosts == {"cache.example.org": ("attic", "", TOKEN)}
    assert netrc("http://[::1]:8080", TOKEN).startswith("machine ::1\n")


@pytest.mark.parametrize("server", ["", "_a", "a.b", 'a"b', "a" * 51])
def test_a_name_that_the_client_refuses_is_refused(server: str) -> None:
    with pytest.raises(InvalidError, match="server_name: .* is not a name that the attic client takes"):
        client_config(server, "https://cache.example.org", TOKEN)


@pytest.mark.parametrize(
    "url",
    [
        "cache.example.org",
        "https://",
        "ftp://a",
        'https://a/"',
        "https://a/\nb",
        "https://a b",
        "http://[::1",
        "https://a:b",
    ],
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(InvalidError, match="url: .* is not the address of a server"):
        netrc(url, TOKEN)


def test_strangers_are_found() -> None:
    ours = '[servers.a]\nendpoint = "https://A.example.org:1/x"\n'
    for text, found in [
        ("", []),
        (ours, []),
        (f'{ours}[servers.b]\nendpoint = "x"', ["b"]),
        (ours.replace("https://A", "https://b"), ["a at b.example.org"]),
        ('[servers.a]\ntoken = "x"', ["a at no address"]),
        ("servers.a = 5", ["a at no address"]),
    ]:
        assert other_servers(text, "a", "a.example.org") == found
    assert other_machines("", "a") == []
    assert other_machines("machine a login x password machine", "a") == []
    assert other_machines("machine a password machine login machine", "a") == []
    assert other_machines("machine a password x\nmachine b password y\ndefault login z", "a") == ["b", "default"]


@pytest.mark.parametrize("text", ["servers = 5", "listen = 1\n[servers]", "# remarks", "{"])
def test_what_is_no_configuration_of_the_client_is_told(text: str) -> None:
    with pytest.raises(ValueError):
        other_servers(text, "a", "a.example.org")


@pytest.mark.parametrize("text", ["login x password y", "password y", "x", "machine a password x # why", "{}"])
def test_what_is_no_netrc_is_told(text: str) -> None:
    with pytest.raises(ValueError):
        other_machines(text, "a")


# ---- the file ----------------------------------------------------------------------------------------------------


def file(path: pathlib.Path, content: str = "new", strangers: t.Callable[[str], list[str]] = lambda _: []) -> TokenFile:
    return TokenFile("config_path", str(path), content, strangers)


def test_a_file_is_made_with_its_folders_for_the_owner_only(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "config" / "attic" / "config.toml"
    wanted = file(path)
    assert wanted.state() == "missing"
    assert list(tmp_path.iterdir()) == []
    before = os.umask(0)
    try:
        wanted.write()
    finally:
        os.umask(before)
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("new", 0o600)
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert list(path.parent.iterdir()) == [path]
    assert wanted.state() == UP_TO_DATE


@pytest.mark.parametrize(
    ("text", "mode", "state"),
    [("old", 0o600, "outdated"), ("new", 0o644, "mode 0644"), ("old", 0o640, "outdated, mode 0640")],
)
def test_a_file_is_corrected(tmp_path: pathlib.Path, text: str, mode: int, state: str) -> None:
    path, link = tmp_path / "file", tmp_path / "link"
    path.write_text(text)
    path.chmod(mode)
    link.symlink_to(path)
    assert file(link).state() == state
    file(link).write()
    assert link.is_symlink()
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("new", 0o600)


def test_what_others_put_into_the_file_is_not_lost(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "file"
    path.write_text("theirs")
    with pytest.raises(
        ConflictError, match=r"config_path: .*/file holds more than this token \(b, c\), which would get"
    ):
        file(path, strangers=lambda _: ["b", "c"]).state()
    with pytest.raises(ConflictError, match="something else"):
        file(path, strangers=lambda text: tomllib.loads(text)["servers"]).state()
    assert path.read_text() == "theirs"


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path: pathlib.Path) -> None:
    (tmp_path / "plain").write_text("")
    (tmp_path / "binary").write_bytes(b"\xff")
    for path, words in [
        (tmp_path, "is not a file"),
        (tmp_path / "plain" / "config.toml", "Not a directory"),
        (tmp_path / "plain" / "deep" / "config.toml", "Not a directory"),
        (tmp_path / "binary", "it is not text"),
    ]:
        with pytest.raises(NixciError) as caught:
            file(path).state()
        assert str(caught.value).startswith("config_path: ")
        assert words in str(caught.value)


def test_a_failed_write_leaves_nothing_behind(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: t.Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(NixciError, match=r"config_path: cannot write .* \(No space left on device\); check"):
        file(tmp_path / "file").write()
    assert list(tmp_path.iterdir()) == []


def test_a_token_does_not_show_in_the_representation() -> None:
    assert "canary" not in repr(file(pathlib.Path("x"), "canary"))
