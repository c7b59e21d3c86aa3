# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in boots what its boot loader says, and refuses what needs a reboot."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.nixos_host import Host

MARK = 'environment.etc.mark.text = "%s";'
UNIT = 'systemd.services.only-%s = { wantedBy = [ "multi-user.target" ]; script = "sleep infinity"; };'
ENTRY = "/boot/loader/entries/nixos-generation-%d.conf"


@pytest.fixture(scope="module")
def baseline(nixos: Host) -> str:
    return nixos.switch(MARK % "base").stdout.strip()


@pytest.fixture(autouse=True)
def clean(nixos: Host, baseline: str) -> Iterator[None]:
    """Each test leaves the same system, running and by default."""
    yield
    if not nixos.current() == nixos.profile() == nixos.boots() == baseline:
        done = nixos.sh(f"NIXOS_NO_CHECK=1 nixos-rebuild switch --store-path {baseline}")
        assert done.returncode == 0, done.stderr


def build(nixos: Host, body: str) -> str:
    nixos.configure(body)
    done = nixos.rebuild("build")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def activate(nixos: Host, system: str, action: str, environment: str = "") -> tuple[int, str]:
    done = nixos.sh(f"{environment} {system}/bin/switch-to-configuration {action} 2>&1")
    return done.returncode, done.stdout


def test_switch_writes_an_entry_per_generation_and_the_default(nixos: Host) -> None:
    system = nixos.switch(MARK % "switched").stdout.strip()
    newest, *others = nixos.generations()
    entry = nixos.out(f"cat {ENTRY % newest['generation']}")
    assert f"options init={system}/init" in entry.splitlines()
    assert f"version Generation {newest['generation']} NixOS {newest['nixosVersion']}" in entry
    assert f"default nixos-generation-{newest['generation']}.conf" in nixos.out("cat /boot/loader/loader.conf")
    assert nixos.boots() == system
    for other in others:
        nixos.out(f"test -f {ENTRY % other['generation']}")


def test_an_entry_goes_with_its_generation(nixos: Host) -> None:
    nixos.switch(MARK % "going")
    going = nixos.generations()[0]["generation"]
    nixos.switch(MARK % "staying")
    nixos.out(f"nix-env -p /nix/var/nix/profiles/system --delete-generations {going}")
    nixos.out(f"test -f {ENTRY % going}")
    nixos.out("/run/current-system/bin/switch-to-configuration boot")
    assert nixos.sh(f"test -e {ENTRY % going}").returncode == 1


def test_test_touches_neither_profile_nor_boot_loader_and_a_reboot_takes_it_back(nixos: Host, baseline: str) -> None:
    tested = build(nixos, MARK % "tested" + UNIT % "tested")
    assert activate(nixos, tested, "test")[0] == 0
    assert (nixos.current(), nixos.profile(), nixos.boots()) == (tested, baseline, baseline)
    assert nixos.out("systemctl is-active only-tested") == "active"
    nixos.kill()
    nixos.start()
    assert (nixos.current(), nixos.booted(), nixos.out("cat /etc/mark")) == (baseline, baseline, "base")
    assert nixos.sh("systemctl status only-tested").returncode == 4  # it was never loaded


def test_a_boot_follows_the_boot_loader_and_not_the_profile(nixos: Host, baseline: str) -> None:
    other = build(nixos, MARK % "other")
    nixos.out(f"nix-env -p /nix/var/nix/profiles/system --set {other}")
    assert (nixos.profile(), nixos.boots()) == (other, baseline)
    nixos.restart()
    assert (nixos.current(), nixos.booted(), nixos.profile()) == (baseline, baseline, other)


def test_boot_waits_for_the_boot(nixos: Host, baseline: str) -> None:
    nixos.configure(MARK % "next" + UNIT % "next")
    system = nixos.rebuild("boot").stdout.strip()
    assert (nixos.current(), nixos.profile(), nixos.boots()) == (baseline, system, system)
    before = nixos.out("cat /proc/sys/kernel/random/boot_id")
    nixos.sh("systemctl reboot")
    nixos.wait_for_boot(before)
    assert nixos.current() == nixos.booted() == system
    assert nixos.out("systemctl is-active only-next") == "active"


def test_the_boot_loader_does_not_know_a_system_that_is_no_generation(nixos: Host, baseline: str) -> None:
    assert activate(nixos, build(nixos, MARK % "stray"), "boot")[0] == 0
    assert nixos.boots() == baseline


def test_a_boot_loader_that_cannot_be_installed_is_status_1_and_nothing_is_activated(
    nixos: Host, baseline: str
) -> None:
    body = """boot.loader.systemd-boot.extraInstallCommands = "echo '/boot: No space left on device' >&2; exit 1";"""
    system = build(nixos, MARK % "unbootable" + body)
    for action in ("boot", "switch"):
        status, text = activate(nixos, system, action)
        assert status == 1
        assert text.endswith("/boot: No space left on device\nFailed to install bootloader\n")
    assert (nixos.current(), nixos.boots()) == (baseline, baseline)
    assert activate(nixos, system, "test")[0] == 0  # which has nothing to do with it

    done = nixos.rebuild("switch")
    assert done.returncode == 1 and "returned non-zero exit status 1" in done.stderr


def test_a_full_boot_partition_fails_as_well(nixos: Host, baseline: str) -> None:
    system = build(nixos, MARK % "no-space")
    nixos.out("mount -t tmpfs -o size=4k tmpfs /boot && head -c 4096 /dev/zero > /boot/full")
    try:
        status, text = activate(nixos, system, "boot")
    finally:
        nixos.out("umount /boot")
    assert status == 1 and "No space left on device" in text and text.endswith("Failed to install bootloader\n")
    assert nixos.boots() == baseline


def test_a_changed_inhibitor_refuses_switch_and_test(nixos: Host, baseline: str) -> None:
    system = build(nixos, 'services.dbus.implementation = "dbus";')
    assert nixos.out(f"cat {system}/switch-inhibitors") == '{"dbus-implementation":"dbus"}'
    for action in ("test", "switch", "check"):
        status, text = activate(nixos, system, action)
        assert status == 1
        assert text.startswith(
            "Checking switch inhibitors...\nThere are changes to critical components of the system:\n\n"
            "dbus-implementation : broker -> dbus\n\nSwitching into this system is not recommended.\n"
            "You probably want to run 'nixos-rebuild boot' and reboot your system instead.\n"
        )
        assert text.endswith("\nPre-switch check 'switchInhibitors' failed\nPre-switch checks failed\n")
    assert (nixos.current(), nixos.boots()) == (baseline, baseline)
    status, text = activate(nixos, system, "dry-activate")
    assert status == 0 and text.startswith("Not checking switch inhibitors (action = dry-activate)\n")

    # forced, and the way back is refused in turn
    status, text = activate(nixos, system, "test", "NIXOS_NO_CHECK=1 NIXOS_NO_SYNC=1")
    assert status == 0 and "inhibitors" not in text
    assert nixos.current() == system
    assert activate(nixos, baseline, "test")[0] == 1


def test_boot_does_not_ask_the_inhibitors(nixos: Host) -> None:
    nixos.configure('services.dbus.implementation = "dbus";')
    done = nixos.rebuild("boot")
    assert done.returncode == 0
    assert "Not checking switch inhibitors (action = boot)\n" in done.stderr


def test_an_inhibitor_that_is_new_or_gone_does_not_count(nixos: Host, baseline: str) -> None:
    more = build(nixos, 'system.switch.inhibitors.kernel = "linux-6.12";')
    for system in (more, baseline):
        status, text = activate(nixos, system, "test")
        assert status == 0 and text.startswith("Checking switch inhibitors... done\n")


def test_another_init_interface_is_installed_but_not_activated(nixos: Host, baseline: str) -> None:
    nixos.configure('system.initInterfaceVersion = "systemd 3";')
    done = nixos.rebuild("switch")
    assert "returned non-zero exit status 100" in done.stderr
    assert nixos.current() == baseline
    assert nixos.boots() == nixos.profile() != baseline
    nixos.restart()
    assert nixos.current() == nixos.profile()
    assert nixos.rebuild("boot", "--store-path", baseline).returncode == 0  # the way back needs a boot as well
    nixos.restart()


def test_a_start_of_the_container_is_a_boot(nixos: Host) -> None:
    read = "cat /proc/sys/kernel/random/boot_id"
    before = nixos.out(read)
    assert nixos.out("journalctl --list-boots -o json | tail -c 200").count(before.replace("-", "")) == 1
    nixos.restart()
    assert nixos.out(read) != before
