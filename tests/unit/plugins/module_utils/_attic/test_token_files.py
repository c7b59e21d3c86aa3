# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import netrc as netrc_reader
import os
import pathlib
import tomllib
import typing as t

import hypothesis
import hypothesis.strategies as st
import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args
from ansible_collections.pantheros.nixci.plugins.module_utils._attic.client_files import (
    client_config,
    netrc,
    toml_string,
)
from ansible_collections.pantheros.nixci.plugins.module_utils._attic.token_files import (
    TokenFile,
    other_machines,
    other_servers,
)
from ansible_collections.pantheros.nixci.plugins.module_utils._core.change import Change
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
    assert tomllib.loads(client_config(server, url, value=TOKEN)) == {
        "default-server": server,
        "servers": {server: {"endpoint": endpoint, "token": TOKEN}},
    }


EVERY_KIND = [
    "plain",
    "caf\u00e9",
    "\U0001f600 beyond the basic plane",
    'a "quoted" one',
    "back\\slash\\u0041",
    *(f"a{chr(code)}b" for code in (*range(0x20), 0x7F, 0x80, 0x2028, 0xFFFF, 0x10FFFF)),
    "",
]


@pytest.mark.parametrize("text", EVERY_KIND, ids=ascii)
def test_every_text_survives_toml(text: str) -> None:
    assert tomllib.loads(f"key = {toml_string(text)}\n[{toml_string(text)}]\n") == {"key": text, text: {}}


@hypothesis.settings(derandomize=True, database=None)
@hypothesis.given(st.text())
def test_any_text_survives_toml(text: str) -> None:
    assert tomllib.loads(f"key = {toml_string(text)}")["key"] == text


@pytest.mark.parametrize("option", ["token", "token-file"])
@pytest.mark.parametrize("text", EVERY_KIND, ids=ascii)
def test_the_client_s_configuration_holds_any_token(option: str, text: str) -> None:
    config = tomllib.loads(client_config("a", "https://b\u00fccher.example/\U0001f600", option=option, value=text))
    assert config["servers"]["a"] == {"endpoint": "https://b\u00fccher.example/\U0001f600/", option: text}


def test_a_netrc_names_the_host_without_its_port(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "netrc"
    path.write_text(netrc("https://Cache.example.org:8443/sub", TOKEN))
    assert netrc_reader.netrc(str(path)).hosts == {"cache.example.org": ("attic", "", TOKEN)}
    assert netrc("http://[::1]:8080", TOKEN).startswith("machine ::1\n")


@pytest.mark.parametrize("server", ["", "_a", "a.b", 'a"b', "a" * 51])
def test_a_name_that_the_client_refuses_is_refused(server: str) -> None:
    with pytest.raises(InvalidError, match="server_name: .* is not a name that the attic client accepts"):
        client_config(server, "https://cache.example.org", value=TOKEN)


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
def test_what_is_not_the_address_of_a_server_is_refused(url: str) -> None:
    with pytest.raises(InvalidError, match="url: .* is not the address of a server"):
        netrc(url, TOKEN)


def test_the_entries_of_others_are_found() -> None:
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
def test_what_is_no_configuration_of_the_client_is_reported(text: str) -> None:
    with pytest.raises(ValueError):
        other_servers(text, "a", "a.example.org")


@pytest.mark.parametrize("text", ["login x password y", "password y", "x", "machine a password x # why", "{}"])
def test_what_is_no_netrc_is_reported(text: str) -> None:
    with pytest.raises(ValueError):
        other_machines(text, "a")


# ---- the file ----------------------------------------------------------------------------------------------------


def file(path: pathlib.Path, others: t.Callable[[str], list[str]] = lambda _: [], **options: t.Any) -> TokenFile:
    with patch_module_args({"config_path": str(path), **options}):
        spec = {"config_path": {"type": "path"}}
        module = AnsibleModule(argument_spec=spec, add_file_common_args=True, supports_check_mode=True)
    return TokenFile(module, "config_path", "client_config", others)


def change(wanted: TokenFile, content: str | None = "new") -> Change:
    return wanted.plan(wanted.read(), content)


def test_a_file_is_made_with_its_directories_for_the_owner_only(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "config" / "attic" / "config.toml"
    planned = change(file(path))
    assert planned == Change({"content": "missing"}, {"content": "up to date", "mode": "0600"})
    assert list(tmp_path.iterdir()) == []
    before = os.umask(0)
    try:
        file(path).apply(planned, "new")
    finally:
        os.umask(before)
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("new", 0o600)
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert list(path.parent.iterdir()) == [path]
    assert not change(file(path))


@pytest.mark.parametrize("text", ["old", "new"])
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644])
@pytest.mark.parametrize("wanted", [None, "0600", "0640", "u=rw,g=r,o="])
def test_a_file_is_corrected(tmp_path: pathlib.Path, text: str, mode: int, wanted: str | None) -> None:
    path, link = tmp_path / "file", tmp_path / "link"
    path.write_text(text)
    path.chmod(mode)
    link.symlink_to(path)
    final = 0o640 if wanted not in (None, "0600") else 0o600
    planned = change(file(link, mode=wanted))
    assert planned.before == {"content": "outdated" if text == "old" else "up to date", "mode": f"0{mode:03o}"}
    assert planned.after == {"content": "up to date", "mode": f"0{final:03o}"}
    file(link, mode=wanted).apply(planned, "new")
    assert link.is_symlink()
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("new", final)
    assert not change(file(link, mode=wanted))


def test_every_file_is_outdated_for_a_token_that_is_yet_to_be_minted(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_text("new")
    assert (change(file(tmp_path / "file"), None).before or {})["content"] == "outdated"


def test_what_others_put_into_the_file_is_not_lost(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "file"
    path.write_text("theirs")
    with pytest.raises(
        ConflictError, match=r"config_path: .*/file holds more than this token \(b, c\), which would get"
    ):
        change(file(path, lambda _: ["b", "c"]))
    with pytest.raises(ConflictError, match="something else"):
        change(file(path, lambda text: tomllib.loads(text)["servers"]))
    assert path.read_text() == "theirs"


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path: pathlib.Path) -> None:
    (tmp_path / "plain").write_text("")
    (tmp_path / "binary").write_bytes(b"\xff")
    for path, reason in [
        (tmp_path, "is not a file"),
        (tmp_path / "plain" / "config.toml", "Not a directory"),
        (tmp_path / "plain" / "deep" / "config.toml", "Not a directory"),
        (tmp_path / "binary", "it is not text"),
    ]:
        with pytest.raises(NixciError) as caught:
            change(file(path))
        assert str(caught.value).startswith("config_path: ")
        assert reason in str(caught.value)


@pytest.mark.parametrize("existing", ["old", None])
def test_a_directory_without_the_right_to_write_is_found_before_anything_is_done(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, existing: str | None
) -> None:
    path = tmp_path / "file"
    if existing:
        path.write_text(existing)
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    with pytest.raises(NixciError, match=f"cannot write {path} .no right to write to {tmp_path}.; check the path"):
        change(file(path))
    if existing:
        assert "content" not in change(file(path, mode="0640"), existing).fields


def test_a_failed_write_leaves_nothing_behind(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: t.Any) -> None:
        raise OSError(28, "No space left on device")

    planned = change(file(tmp_path / "file"))
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(NixciError, match=r"file cannot be written \(No space left on device\)"):
        file(tmp_path / "file").apply(planned, "new")
    assert list(tmp_path.iterdir()) == []


def test_a_token_does_not_show_in_the_representation(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_text("canary")
    assert "canary" not in repr(file(tmp_path / "file").read())
