# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes that the lab makes to the machine, and how it undoes them."""

from __future__ import annotations

import pathlib
import socket

import pytest

from lab import machine, names, state
from lab.shell import LabError

APT = """#!/bin/sh
echo "apt-get $*" >> {calls}
case "$*" in
  *install*--simulate*) echo "Inst docker.io (20.10 Debian:12 [amd64])"; echo "Inst runc (1.1 Debian:12 [amd64])"
                        echo "Inst libc6 [2.35] (2.36 Debian:12 [amd64])" ;;
  *purge*--simulate*) echo "Purg docker.io [20.10]"; echo "Purg runc [1.1]"; cat {others} ;;
esac
"""


@pytest.fixture
def apt(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """A fake package manager; returns the log of its calls."""
    calls = tmp_path / "calls"
    (tmp_path / "others").touch()
    for name, text in (
        ("apt-get", APT.format(calls=calls, others=tmp_path / "others")),
        ("dpkg", "#!/bin/sh\n"),
        ("dpkg-query", '#!/bin/sh\ncase "$*" in *curl) printf "install ok installed" ;; esac\n'),
    ):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setitem(machine.APT, "PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(state, "MACHINE", tmp_path / "machine.json")
    return calls


def test_present_packages_are_not_touched(apt: pathlib.Path) -> None:
    machine.install("curl")
    assert not apt.exists() and not state.MACHINE.exists()


def test_installed_packages_are_recorded_and_purged(apt: pathlib.Path) -> None:
    machine.install("curl", "docker.io")
    assert state.read(state.MACHINE)["packages"] == ["docker.io", "runc"]  # libc6 was only upgraded
    machine.uninstall()
    assert apt.read_text().splitlines()[-1].endswith("purge --yes docker.io runc")


def test_packages_that_others_need_now_are_kept(apt: pathlib.Path) -> None:
    machine.install("docker.io")
    (apt.parent / "others").write_text("Remv users-own-tool [1.0]\n")
    machine.uninstall()
    assert apt.read_text().splitlines()[-1].endswith("--simulate")


def test_the_hosts_line_is_added_once_and_removed_again(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = "127.0.0.1 localhost\n10.0.0.1 mine # nixci-lab is not mine\n"
    hosts = tmp_path / "hosts"
    hosts.write_text(before)
    monkeypatch.setattr(machine, "HOSTS", hosts)
    machine.add_hosts_line()
    machine.add_hosts_line()
    assert hosts.read_text() == before + "10.213.87.10 cache.nixci.test # nixci-lab\n"
    hosts.write_text(hosts.read_text() + "10.0.0.2 later\n")
    machine.remove_hosts_line()
    assert hosts.read_text() == before + "10.0.0.2 later\n"


def test_a_port_in_use_is_named_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as other:
        other.bind(("", 0))
        other.listen()
        port = other.getsockname()[1]
        monkeypatch.setattr(machine, "PORTS", {**dict.fromkeys(names.PORTS, 0), "gitlab": port})
        monkeypatch.setattr(machine, "SUBNET", "198.51.100.0/24")
        with pytest.raises(LabError, match=rf"Port {port} is taken; the lab's gitlab double needs it"):
            machine.check_network()


def test_a_network_in_use_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    (tmp_path / "ip").write_text('#!/bin/sh\necho \'[{"dst":"default"},{"dst":"10.213.0.0/16","dev":"vpn0"}]\'\n')
    (tmp_path / "ip").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(LabError, match="10.213.87.0/24 is in use here \\(device vpn0\\)"):
        machine.check_network()


def test_without_root_the_error_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.os, "geteuid", lambda: 1000)
    with pytest.raises(LabError, match="needs root"):
        machine.check_platform()
