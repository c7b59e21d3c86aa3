# SPDX-License-Identifier: GPL-3.0-or-later
"""playbooks/bootstrap.yml on a rescue system: the command line of nixos-anywhere, and what it takes to run it.

A stand-in for nixos-anywhere takes the real one's options and calls ssh as it does, with the check of host keys turned off first.
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
from collections.abc import Iterator

import pytest

from tests.integration.bootstrap_host import NAME, OWN, Newcomer, Server
from tests.support.paths import ROOT

STANDIN = ROOT / "tests/support/nixos-anywhere"
PINNED = ROOT / "roles/bootstrap/files/pinned-ssh.bash"
# The rescue system's sshd ends, and the installed system starts its own.
INSTALL = "systemd-run --quiet sh -c 'kill $(cat /run/sshd.pid); nixos-rebuild switch'"


# The installed configuration stands for that of the flake, which has our files already.
IF_THERE = "imports = if builtins.pathExists ./nixci/hosts/web then [ ./nixci/hosts/web ] else [ ];"


@pytest.fixture
def rescue() -> Iterator[Server]:
    """A Debian with SSH, which has never run NixOS."""
    server = Server()
    try:
        server.wait()
        server.out(
            "mkdir -p /run/sshd && ssh-keygen -A && /usr/sbin/sshd -p 22 -p 2222 -o PermitRootLogin=yes && touch /usr/bin/cpio && chmod +x /usr/bin/cpio"
        )
        yield server
    finally:
        server.remove()


@pytest.fixture
def controller(rescue: Server, tmp_path: pathlib.Path) -> Newcomer:
    controller = Newcomer(
        rescue, tmp_path, bootstrap_flake="/home/you/fleet flake", bootstrap_host_key_fingerprint=rescue.fingerprint()
    )
    rescue.put("/root/.ssh/authorized_keys", controller.key.with_suffix(".pub").read_text())
    controller.log = tmp_path / "argv"
    controller.env |= {
        "PATH": f"{STANDIN}:{os.environ['PATH']}",
        "NIXOS_ANYWHERE_LOG": str(controller.log),
        "NIXOS_ANYWHERE_INSTALL": INSTALL,
    }
    return controller


def test_nothing_is_wiped_unless_the_host_is_named_twice(rescue: Server, controller: Newcomer) -> None:
    shown = controller.play()
    assert shown.rc != 0 and "runs Debian GNU/Linux" in shown.text, shown.out
    assert f"BASH_ENV={PINNED}" in shown.text.replace(
        str(ROOT / ".collections/ansible_collections/pantheros/nixci"), str(ROOT)
    )
    assert (
        f"nixos-anywhere --flake '/home/you/fleet flake#{NAME}' --target-host root@{rescue.address} --build-on local"
        in shown.text
    )
    assert "-e bootstrap_install=true -e bootstrap_install_confirm=web" in shown.text
    rescue.out("rm /usr/bin/cpio")
    refused = controller.play(
        bootstrap_install=True, bootstrap_install_confirm="web2", bootstrap_flake="", bootstrap_extra_files="/nowhere"
    )
    assert refused.rc != 0 and "Nothing was installed on web." in refused.text
    for says in (
        'bootstrap_install_confirm is "web2"; set it to "web" if the disks of this host may be wiped.',
        "No flake is named",
        "bootstrap_extra_files is /nowhere, which is no folder on the controller.",
        "Host web lacks cpio, which nixos-anywhere needs",
    ):
        assert says in refused.text, refused.out
    assert not controller.log.exists()


def test_it_installs_and_goes_on(rescue: Server, controller: Newcomer) -> None:
    key = controller.key.with_suffix(".pub").read_text().strip()
    rescue.configure(f'{IF_THERE}{OWN}users.users.root.openssh.authorizedKeys.keys = [ "{key}" ];')
    values = {"bootstrap_install": True, "bootstrap_install_confirm": NAME, "deploy_build_on": "host"}
    preview = controller.play("--check", **values)
    assert not controller.log.exists(), preview.out
    installed = controller.play(**values)
    assert installed.rc == 0, installed.out
    assert controller.log.read_text().splitlines() == [
        "--flake",
        f"/home/you/fleet flake#{NAME}",
        "--target-host",
        f"root@{rescue.address}",
        "--build-on",
        "remote",
        "-i",
        str(controller.key),
        "--copy-host-keys",
    ]
    assert controller.ssh("deploy", "sudo -n id -un").stdout.strip() == "root"
    controller.log.unlink()
    assert controller.play(**values).unchanged
    assert not controller.log.exists(), "a host that runs NixOS is never wiped"


def test_the_flake_has_the_settings_before_it_is_installed(rescue: Server, controller: Newcomer) -> None:
    fleet = controller.folder / "fleet"
    fleet.mkdir()
    (fleet / "flake.nix").write_text("{ outputs = _: { nixosConfigurations.web = import ./nixci/hosts/web; }; }")
    for command in (["init", "--quiet"], ["add", "flake.nix"]):
        subprocess.run(["git", "-C", fleet, *command], check=True)
    controller.env["NIXOS_ANYWHERE_INSTALL"] = "false"
    failed = controller.play(
        bootstrap_install=True, bootstrap_install_confirm=NAME, nixci_flake_dir=str(fleet), bootstrap_flake=str(fleet)
    )
    assert failed.rc != 0 and controller.log.exists(), failed.out
    settings = json.loads((fleet / "nixci/hosts/web/settings/bootstrap.json").read_text())
    assert settings["bootstrap"]["user"] == "deploy"


def install(rescue: Server, controller: Newcomer, key: str, *, port: int = 22, pinned: bool = True) -> tuple[str, bool]:
    """What nixos-anywhere printed, and whether it reached the disks. `key` is pinned for the port."""
    known_hosts = controller.folder / "known hosts"
    name = rescue.address if port == 22 else f"[{rescue.address}]:{port}"
    known_hosts.write_text(f"{name} {key}\n")
    target = ["--flake", ".#web", "--target-host", f"root@{rescue.address}", "-i", str(controller.key), "-p", str(port)]
    env = {**controller.env, "NIXOS_ANYWHERE_INSTALL": "touch /root/wiped"}
    env |= {"NIXCI_KNOWN_HOSTS": str(known_hosts), "NIXCI_HOST_KEY_ALIAS": name}
    options: tuple[str, ...] = ()
    if pinned:
        env["BASH_ENV"] = str(PINNED)
    else:
        options = ("--ssh-option", "StrictHostKeyChecking=yes", "--ssh-option", f"UserKnownHostsFile={known_hosts}")
    process = subprocess.Popen(
        ["nixos-anywhere", *target, *options], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    output = ""
    for line in process.stdout or []:
        output += line
        if "Host key verification failed" in line or "### Done!" in line:
            break
    process.kill()
    process.wait()
    return output, rescue.sh("ls /root/wiped").returncode == 0


def test_another_host_key_ends_the_installation(rescue: Server, controller: Newcomer) -> None:
    """Without our ssh, the same command does not notice."""
    other = Newcomer.generate(controller.folder / "other")
    output, wiped = install(rescue, controller, other)
    assert "Host key verification failed" in output and not wiped, output
    output, wiped = install(rescue, controller, other, pinned=False)
    assert "### Done!" in output and wiped, output


def test_the_key_of_another_port_is_that_of_the_installer_too(rescue: Server, controller: Newcomer) -> None:
    key = rescue.out("cat /etc/ssh/ssh_host_ed25519_key.pub")
    output, wiped = install(rescue, controller, key, port=2222)
    assert "### Done!" in output and wiped, output
