# The boot loader, and what a running system cannot replace.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
in
{
  options = {
    boot.loader.systemd-boot.extraInstallCommands = mkOption {
      type = types.lines;
      default = "";
      description = "Run after the boot loader was written; if they fail, so does its installation.";
    };
    services.dbus.implementation = mkOption {
      type = types.enum [
        "dbus"
        "broker"
      ];
      default = "broker";
      description = "Changes nothing but the switch inhibitor: the host always runs Debian's D-Bus.";
    };
    system.switch.inhibitors = mkOption {
      type = types.attrsOf types.str;
      default = { };
    };
  };

  config.system = {
    build.installBootLoader = lib.mkDefault (
      pkgs.writeShellScript "install-systemd-boot.sh" ''
        set -e
        /usr/bin/python3 ${../activate/boot_loader.py} "$1"
        ${config.boot.loader.systemd-boot.extraInstallCommands}
      ''
    );
    activation.installBootLoader = "${config.system.build.installBootLoader}";
    switch.inhibitors.dbus-implementation = config.services.dbus.implementation;
    build.inhibitSwitch = pkgs.writeText "switch-inhibitors" (builtins.toJSON config.system.switch.inhibitors);
    preSwitchChecks.switchInhibitors = ''/usr/bin/python3 ${../activate/switch_inhibitors.py} "$1" "$2"'';
  };
}
