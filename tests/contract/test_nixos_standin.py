# SPDX-License-Identifier: GPL-3.0-or-later
"""The NixOS stand-in behaves like NixOS: generations, exit codes, lock, messages, idempotence."""

from __future__ import annotations

import json

import pytest

from lab.shell import run
from tests.support.nixos_host import Host

SLEEPER = """
  systemd.services.sleeper = {
    wantedBy = [ "multi-user.target" ];
    serviceConfig.ExecStart = "/bin/sleep %s";
  };
"""


@pytest.fixture(scope="module")
def baseline(nixos: Host) -> str:
    return nixos.switch(SLEEPER % "infinity").stdout.strip()


@pytest.fixture(autouse=True)
def clean(nixos: Host, baseline: str) -> None:
    """Each test starts with the sleeper as the only unit."""
    if nixos.profile() != baseline or nixos.current() != baseline:
        assert nixos.rebuild("switch", "--store-path", baseline).returncode == 0


def main_pid(nixos: Host, unit: str = "sleeper") -> str:
    return nixos.out(f"systemctl show --property=MainPID --value {unit}")


def test_switch_prints_the_path_and_makes_a_generation(nixos: Host) -> None:
    before = nixos.generations()
    done = nixos.switch(SLEEPER % "1h")
    assert done.stdout.strip() == nixos.current() == nixos.profile()
    assert done.stdout.startswith("/nix/store/")
    [newest, *others] = nixos.generations()
    assert newest["current"] and not any(other["current"] for other in others)
    assert newest["generation"] == before[0]["generation"] + 1
    assert set(newest) == {
        "generation", "date", "nixosVersion", "kernelVersion", "configurationRevision", "specialisations", "current",
    }  # fmt: skip


def test_again_changes_nothing(nixos: Host) -> None:
    pid, generations = main_pid(nixos), nixos.generations()
    done = nixos.switch(SLEEPER % "infinity")
    assert main_pid(nixos) == pid
    assert nixos.generations() == generations
    assert "the following" not in done.stderr


def test_changed_unit_is_restarted_and_dry_activate_says_so_first(nixos: Host) -> None:
    pid, system = main_pid(nixos), nixos.current()
    nixos.configure(SLEEPER % "2h")
    dry = nixos.rebuild("dry-activate")
    assert dry.returncode == 0
    assert "would stop the following units: sleeper.service\n" in dry.stderr
    assert "would activate the configuration...\n" in dry.stderr
    assert "would start the following units: sleeper.service\n" in dry.stderr
    assert (main_pid(nixos), nixos.current(), nixos.profile()) == (pid, system, system)
    done = nixos.rebuild("switch")
    assert "stopping the following units: sleeper.service\n" in done.stderr
    assert "starting the following units: sleeper.service\n" in done.stderr
    assert main_pid(nixos) != pid


@pytest.mark.parametrize(
    ("option", "message", "restarted"),
    [
        ("restartIfChanged = false;", "NOT restarting the following changed units: sleeper.service", False),
        ("reloadIfChanged = true;", "reloading the following units: sleeper.service", False),
        ("stopIfChanged = false;", "restarting the following units: sleeper.service", True),
        ('description = "another";', "", False),
    ],
)
def test_ways_to_treat_a_changed_unit(nixos: Host, option: str, message: str, restarted: bool) -> None:
    unit = SLEEPER + 'systemd.services.sleeper = { serviceConfig.ExecReload = "/bin/true"; %s };'
    environment = "" if "description" in option else 'environment.X = "1";'
    nixos.switch(unit % ("infinity", ""))
    pid = main_pid(nixos)
    done = nixos.switch(unit % ("infinity", f"{option} {environment}"))
    assert message in done.stderr
    assert (main_pid(nixos) != pid) == restarted


def test_removed_unit_is_stopped(nixos: Host) -> None:
    done = nixos.switch("")
    assert "stopping the following units: sleeper.service" in done.stderr
    assert nixos.sh("systemctl status sleeper").returncode == 4  # no such unit
    assert nixos.sh("test -L /etc/systemd/system/sleeper.service").returncode == 1


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("services.nonsense.enable = true;", "The option `services' does not exist|The option `services.nonsense' does not exist"),
        ("networking.firewall.allowedTCPPorts = [ 99999 ];", "is not of type `16 bit unsigned integer; between 0 and 65535 (both inclusive)'"),
        ('networking.hostName = lib.mkMerge [ "a" "b" ];', "The option `networking.hostName' has conflicting definition values:"),
        ("users.users.x.isSystemUser = true;", "users.users.x.group is unset."),
        ('environment.etc.x.source = pkgs.runCommand "x" { } "false";', "builder for '/nix/store/"),
        ("}", "syntax error"),
    ],
)  # fmt: skip
def test_a_failed_build_changes_nothing(nixos: Host, body: str, message: str) -> None:
    before = (nixos.current(), nixos.profile(), nixos.generations())
    nixos.configure(body)
    done = nixos.rebuild("switch")
    assert done.returncode == 1
    assert any(text in done.stderr for text in message.split("|"))
    assert done.stdout == ""
    assert (nixos.current(), nixos.profile(), nixos.generations()) == before


def test_messages_name_the_file(nixos: Host) -> None:
    nixos.configure("services.nonsense.enable = true;")
    assert "- In `/etc/nixos/configuration.nix'" in nixos.rebuild("build").stderr


def test_failed_unit_is_status_4_and_the_generation_stays(nixos: Host) -> None:
    before = nixos.profile()
    bad = 'systemd.services.bad = { script = "echo oh no; exit 3"; serviceConfig.Type = "oneshot"; };'
    needs = 'systemd.services.sleeper = { requires = [ "bad.service" ]; after = [ "bad.service" ]; };'
    nixos.configure(SLEEPER % "infinity" + bad + needs)
    done = nixos.rebuild("switch")
    assert done.returncode == 1
    # What another unit keeps from starting has not failed itself.
    assert "\nFailed to start sleeper.service\n" in done.stderr
    assert "warning: the following units failed: bad.service\n" in done.stderr
    assert "oh no" in done.stderr
    assert "returned non-zero exit status 4" in done.stderr
    assert nixos.profile() == nixos.current() != before

    back = nixos.rebuild("switch", "--rollback")
    assert back.returncode == 0, back.stderr
    assert nixos.profile() == nixos.current() == before == back.stdout.strip()
    assert main_pid(nixos) != "0"


def test_failed_activation_script_is_status_2(nixos: Host) -> None:
    nixos.configure('system.activationScripts.broken = "exit 1";')
    done = nixos.rebuild("switch")
    assert done.returncode == 1
    assert "Activation script snippet 'broken' failed (1)\n" in done.stdout
    assert "\nFailed to run activate script\n" in done.stderr
    assert "returned non-zero exit status 2" in done.stderr


def test_failed_check_is_status_1_before_anything_is_activated(nixos: Host) -> None:
    before, pid = nixos.current(), main_pid(nixos)
    nixos.configure('system.preSwitchChecks.never = "exit 1";')
    done = nixos.rebuild("switch")
    assert "Pre-switch check 'never' failed" in done.stderr
    assert "returned non-zero exit status 1" in done.stderr
    assert (nixos.current(), main_pid(nixos)) == (before, pid)
    assert nixos.profile() != before  # the profile is set first


def test_another_init_interface_needs_a_reboot(nixos: Host) -> None:
    before, pid = nixos.current(), main_pid(nixos)
    nixos.configure('system.initInterfaceVersion = "systemd 3";')
    for action in ("dry-activate", "test", "switch"):
        done = nixos.rebuild(action)
        assert done.returncode == 1 and "returned non-zero exit status 100" in done.stderr
        assert "won't take effect until you reboot the system." in done.stderr
    assert (nixos.current(), main_pid(nixos)) == (before, pid)
    assert nixos.rebuild("boot").returncode == 0


def test_the_bash_edition_tells_no_status(nixos: Host) -> None:
    nixos.configure('systemd.services.bad = { wantedBy = [ "multi-user.target" ]; script = "exit 3"; };')
    done = nixos.sh("nixos-rebuild-bash switch")
    assert done.returncode == 1 and "the following units failed: bad.service" in done.stderr
    assert done.stderr.endswith("warning: error(s) occurred while switching to the new configuration\n")
    [newest, *_] = json.loads(nixos.out("nixos-rebuild-bash list-generations --json"))
    assert (newest["kernelVersion"], newest["specialisations"], newest["date"][-1]) == ("Unknown", ["*"], "Z")


def test_a_switch_tells_of_files_that_go_and_restarts_what_comes_before_sysinit(nixos: Host) -> None:
    nixos.switch('environment.etc.gone.text = "x";')
    done = nixos.switch("")
    assert "removing obsolete symlink ‘/etc/gone’...\n" in done.stderr
    assert "restarting sysinit-reactivation.target\n" in done.stderr


def test_new_units_are_started_by_their_target_and_not_listed_before(nixos: Host) -> None:
    nixos.configure(
        SLEEPER % "infinity" + 'systemd.services.more = { wantedBy = [ "multi-user.target" ]; script = "sleep 1h"; };'
    )
    dry = nixos.rebuild("dry-activate")
    assert dry.returncode == 0 and "more.service" not in dry.stderr
    done = nixos.rebuild("switch")
    assert "the following new units were started: more.service\n" in done.stderr
    assert "\n[Install]\nWantedBy=multi-user.target\n" in nixos.out("cat /etc/systemd/system/more.service") + "\n"


def test_what_a_change_does_not_restart_and_what_cannot_be_reloaded(nixos: Host) -> None:
    """As the programs in Perl and in Rust do: a path and a socket keep what they had, and nothing is restarted instead of reloaded."""
    units = (
        SLEEPER % "infinity"
        + """
      systemd.services.x.script = "true";
      systemd.paths.x = { wantedBy = [ "multi-user.target" ]; pathConfig.PathExists = "/no/%(n)s"; };
      systemd.sockets.x = { wantedBy = [ "sockets.target" ]; socketConfig.ListenStream = "/run/x%(n)s"; };
      systemd.timers.x = { wantedBy = [ "timers.target" ]; timerConfig.OnBootSec = "%(n)sh"; };
      systemd.targets.x = { wantedBy = [ "multi-user.target" ]; after = [ "x%(n)s.target" ]; };
      systemd.services.sleeper.reloadTriggers = [ "%(n)s" ];
    """
    )
    nixos.configure(units % {"n": 1000})
    assert "x.path, x.socket, x.target, x.timer\n" in nixos.rebuild("test").stderr
    pid = main_pid(nixos)
    nixos.configure(units % {"n": 2000})
    done = nixos.rebuild("test")
    said = [line for line in done.stderr.splitlines() if "following units" in line or line.startswith("Failed")]
    assert said == [
        "reloading the following units: sleeper.service",
        "Failed to reload sleeper.service: Job type reload is not applicable for unit sleeper.service.",
        "restarting the following units: x.timer",
    ]
    assert "returned non-zero exit status 4" in done.stderr and main_pid(nixos) == pid
    nixos.out("systemctl stop sleeper")  # the way back would try to reload it, too


def test_the_host_name_is_a_file_of_the_system(nixos: Host) -> None:
    nixos.configure('networking.hostName = "web";')
    assert nixos.out(f"cat {nixos.rebuild('build').stdout.strip()}/etc/hostname") == "web"


def test_second_switch_is_refused(nixos: Host) -> None:
    locked = nixos.sh(
        f"flock /run/nixos/switch-to-configuration.lock {nixos.current()}/bin/switch-to-configuration test"
    )
    assert locked.returncode == 11
    assert "Could not acquire lock" in locked.stderr
    program = f"{nixos.current()}/bin/switch-to-configuration"
    nobody = nixos.sh(f"setpriv --reuid=65534 --regid=65534 --clear-groups {program} test")
    assert (nobody.returncode, nobody.stderr) == (1, "Error: switch-to-configuration must be run as the root user\n")
    assert nixos.sh(program).returncode == 1
    nixos.sh("systemd-run --unit=nixos-rebuild-switch-to-configuration --quiet sleep 1h")
    twice = nixos.rebuild("test")
    nixos.sh("systemctl stop nixos-rebuild-switch-to-configuration")
    assert twice.returncode == 1
    assert "already loaded" in twice.stderr


def test_an_interrupted_switch_is_finished_by_the_next(nixos: Host) -> None:
    pid = main_pid(nixos)
    nixos.put("/run/nixos/restart-list", "sleeper.service\n")
    assert "restarting the following units: sleeper.service" in nixos.switch(SLEEPER % "infinity").stderr
    assert main_pid(nixos) != pid
    assert nixos.sh("test -e /run/nixos/restart-list").returncode == 1


def test_test_keeps_the_profile_and_boot_waits_for_the_boot(nixos: Host) -> None:
    before = nixos.profile()
    nixos.configure(SLEEPER % "3h")
    assert nixos.rebuild("test").returncode == 0
    assert nixos.profile() == before != nixos.current()

    running = nixos.current()
    nixos.configure(SLEEPER % "4h")
    assert nixos.rebuild("boot").returncode == 0
    assert nixos.current() == running
    run("docker", "restart", nixos.id)
    nixos.wait()
    assert nixos.current() == nixos.profile() == nixos.out("readlink /run/booted-system") != running
    assert nixos.out("systemctl show --property=ExecStart sleeper").count("4h") == 1
    assert nixos.out("systemctl is-active sleeper firewall") == "active\nactive"


def test_etc_restores_the_files_that_it_replaced(nixos: Host) -> None:
    nixos.put("/etc/mine", "Debian's\n")
    nixos.switch('environment.etc.mine.text = "NixOS"; environment.etc."a/b" = { text = "copy"; mode = "0440"; };')
    assert nixos.out("cat /etc/mine") == "NixOS"
    assert nixos.out("readlink /etc/mine") == "/etc/static/mine"
    assert nixos.out("stat -c '%F %a' /etc/a/b") == "regular file 440"
    nixos.switch("")
    assert nixos.out("cat /etc/mine") == "Debian's"
    assert nixos.sh("test -e /etc/a/b").returncode == 1


def test_users_and_firewall(nixos: Host) -> None:
    nixos.switch("""
      users.users.alice = { isNormalUser = true; extraGroups = [ "team" ]; };
      users.groups.team = { };
      networking.firewall.allowedTCPPorts = [ 443 22 443 ];
      networking.firewall.allowedUDPPorts = [ 443 ];
    """)
    uid = nixos.out("id -u alice")
    assert "team" in nixos.out("id -nG alice").split()
    rules = nixos.out("iptables -S nixos-fw").splitlines()
    assert [line for line in rules if "--dport" in line] == [
        "-A nixos-fw -p tcp -m tcp --dport 22 -j nixos-fw-accept",
        "-A nixos-fw -p tcp -m tcp --dport 443 -j nixos-fw-accept",
        "-A nixos-fw -p udp -m udp --dport 443 -j nixos-fw-accept",
    ]
    assert rules[-1] == "-A nixos-fw -j nixos-fw-refuse"
    nixos.switch("networking.firewall.enable = false;")
    assert nixos.sh("id alice").returncode == 1
    assert nixos.sh("iptables -S nixos-fw").returncode == 1
    nixos.switch("users.users.alice.isNormalUser = true;")
    assert nixos.out("id -u alice") == uid


def test_services(nixos: Host) -> None:
    body = """
      services.postgresql = { enable = true; ensureDatabases = [ "app" ];
        ensureUsers = [ { name = "app"; ensureDBOwnership = true; } ]; };
      services.postgresqlBackup = { enable = true; databases = [ "app" ]; compression = "zstd"; };
      services.caddy = { enable = true; virtualHosts."http://a.test".extraConfig = "respond \\"%s\\""; };
      systemd.services.app = { after = [ "postgresql.target" ]; requires = [ "postgresql.target" ];
        wantedBy = [ "multi-user.target" ]; path = [ config.services.postgresql.package ];
        serviceConfig = { DynamicUser = true; User = "app"; Type = "oneshot"; RemainAfterExit = true; };
        script = "psql -h /run/postgresql app -c 'create table if not exists t ()'"; };
    """
    nixos.switch(body % "one")
    ask = "curl -s -H 'Host: a.test' http://127.0.0.1/"
    assert nixos.out(ask) == "one"
    nixos.out("systemctl start postgresqlBackup-app")
    assert "CREATE TABLE public.t" in nixos.out("zstd -dc /var/backup/postgresql/app.sql.zstd")
    assert nixos.out("stat -c '%U %a' /var/backup/postgresql") == "postgres 700"
    assert "OnCalendar=*-*-* 01:15:00" in nixos.out(
        "systemctl show --property=TimersCalendar postgresqlBackup-app.timer"
    )

    caddy, postgres = main_pid(nixos, "caddy"), main_pid(nixos, "postgresql")
    done = nixos.switch(body % "two")
    assert "reloading the following units: caddy.service" in done.stderr
    assert nixos.out(ask) == "two"
    assert (main_pid(nixos, "caddy"), main_pid(nixos, "postgresql")) == (caddy, postgres)
