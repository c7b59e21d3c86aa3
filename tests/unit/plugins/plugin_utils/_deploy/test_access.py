# SPDX-License-Identifier: GPL-3.0-or-later
"""What the controller's own OpenSSH says about a connection: its host key, its port and its keys."""

from __future__ import annotations

import pathlib
import subprocess
import typing as t

import pytest
from ansible_collections.pantheros.nixci.plugins.plugin_utils._deploy import access, host_key


class Connection:
    """The options of Ansible's ssh connection."""

    transport = "ssh"

    def __init__(self, **options: t.Any) -> None:
        self.options = {"host_key_checking": True, "ssh_args": "-C -o ControlMaster=auto", **options}

    def get_option(self, name: str) -> t.Any:
        return self.options.get(name)


@pytest.fixture
def key(tmp_path: pathlib.Path) -> pathlib.Path:
    file = tmp_path / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(file)], check=True)
    return file


@pytest.fixture
def known(tmp_path: pathlib.Path, key: pathlib.Path) -> pathlib.Path:
    file = tmp_path / "known hosts"
    file.write_text(
        f"192.0.2.1 {key.with_suffix('.pub').read_text()}[192.0.2.1]:2222 {key.with_suffix('.pub').read_text()}"
    )
    return file


def pinned(known: pathlib.Path, **options: t.Any) -> list[str]:
    arguments = f"-o UserKnownHostsFile='\"{known}\"' -o GlobalKnownHostsFile=none {options.pop('extra', '')}"
    ssh = access.Ssh.of(Connection(ssh_common_args=arguments, **{"host": "192.0.2.1", **options}))
    assert ssh is not None
    return list(host_key.problems("web", ssh))


def test_a_pinned_key_is_found_by_address_and_port(known: pathlib.Path) -> None:
    assert pinned(known) == []
    assert pinned(known, port=2222) == []


@pytest.mark.parametrize(
    ("options", "name"), [({"host": "192.0.2.2"}, "192.0.2.2"), ({"port": 2200}, "[192.0.2.1]:2200")]
)
def test_one_of_another_host_or_port_is_not(known: pathlib.Path, options: dict[str, t.Any], name: str) -> None:
    (problem,) = pinned(known, **options)
    assert f"SSH host key of {name} is not in {known}" in problem and "ssh-keyscan" in problem


def test_turning_the_check_off_does_not_help(known: pathlib.Path) -> None:
    assert pinned(known, host="192.0.2.2", host_key_checking=False)


def test_an_alias_is_what_counts(known: pathlib.Path) -> None:
    assert pinned(known, host="192.0.2.9", extra="-o HostKeyAlias=192.0.2.1") == []


def test_a_missing_file_is_named(tmp_path: pathlib.Path) -> None:
    assert str(tmp_path / "none") in pinned(tmp_path / "none", port=None)[0]


def test_other_connections_have_no_host_key() -> None:
    connection = Connection(host="web")
    connection.transport = "local"  # type: ignore[misc]
    assert access.Ssh.of(connection) is None


def test_how_the_controller_gets_in(key: pathlib.Path) -> None:
    options = {"host": "192.0.2.1", "port": 2222, "remote_user": "deploy", "private_key_file": str(key)}
    ssh = access.Ssh.of(Connection(**options))
    assert ssh is not None
    public = key.with_suffix(".pub").read_text().strip()
    expected = {"user": "deploy", "port": 2222, "keys": [public], "sudo": True}
    assert access.of(ssh, become=True) == expected
    key.with_suffix(".pub").unlink()
    found = access.of(ssh, become=True)
    assert found["keys"][0].split()[:2] == public.split()[:2]


def test_a_key_with_a_passphrase_is_not_asked_for(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "locked"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", str(file)], check=True)
    file.with_suffix(".pub").unlink()
    ssh = access.Ssh.of(Connection(host="192.0.2.1", private_key_file=str(file)))
    assert ssh is not None and access.keys(ssh) == []


def test_silence_is_bounded_unless_the_user_said_how() -> None:
    assert "ServerAliveInterval=5" in access.bounded(Connection(ssh_args="-C"))
    assert access.bounded(Connection(ssh_args="-C", ssh_common_args="-o ServerAliveInterval=20")) == "-C"
