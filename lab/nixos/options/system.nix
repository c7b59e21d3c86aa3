# The system: a store path with everything that activation needs.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.system;
  failed = map (a: a.message) (lib.filter (a: !a.assertion) config.assertions);
  checked =
    system:
    if failed != [ ] then
      throw "\nFailed assertions:\n${lib.concatMapStringsSep "\n" (message: "- ${message}") failed}"
    else
      lib.showWarnings config.warnings system;
in
{
  options.system = {
    stateVersion = mkOption {
      type = types.str;
      default = "26.05";
    };
    configurationRevision = mkOption {
      type = types.nullOr types.str;
      default = null;
    };
    nixos.release = mkOption {
      type = types.str;
      default = "26.05";
      internal = true;
    };
    nixos.version = mkOption {
      type = types.str;
      default = "${cfg.nixos.release}.lab";
      internal = true;
    };
    checks = mkOption {
      type = types.listOf types.package;
      default = [ ];
      description = "Packages that must build with the system.";
    };
    build = mkOption {
      type = types.lazyAttrsOf types.unspecified;
      default = { };
    };
    activation = mkOption {
      type = types.lazyAttrsOf types.unspecified;
      default = { };
      internal = true;
      description = "What switch-to-configuration reads besides the files. Only in the lab.";
    };
    activationScripts = mkOption {
      type = types.attrsOf (
        types.coercedTo types.str (text: { inherit text; }) (
          types.submodule {
            options = {
              text = mkOption { type = types.lines; };
              deps = mkOption {
                type = types.listOf types.str;
                default = [ ];
                description = "Accepted, but scripts run in the order of their names, after /etc and the users.";
              };
            };
          }
        )
      );
      default = { };
    };
    initInterfaceVersion = mkOption {
      type = types.str;
      default = "systemd 2";
      internal = true;
      description = "On NixOS, of the systemd package: a system with another one cannot be activated without a reboot.";
    };
    preSwitchChecks = mkOption {
      type = types.attrsOf types.str;
      default = { };
    };
  };

  config.system.activation = {
    scripts = lib.mapAttrs (
      name: script: "${pkgs.writeShellScript "activation-${name}" "set -e\n${script.text}"}"
    ) cfg.activationScripts;
    checks = lib.mapAttrs (name: text: "${pkgs.writeShellScript "check-${name}" "set -e\n${text}"}") cfg.preSwitchChecks;
  };
  config.system.build.toplevel = checked (
    pkgs.runCommand "nixos-system-${config.networking.hostName}-${cfg.nixos.version}"
      {
        inherit (cfg.build) etc path;
        inherit (cfg) checks;
        inherit (cfg.nixos) version;
        inhibitors = cfg.build.inhibitSwitch;
        activation = builtins.toJSON cfg.activation;
        passAsFile = [ "activation" ];
        revision = toString cfg.configurationRevision;
        initInterface = cfg.initInterfaceVersion;
        program = ../activate;
      }
      ''
        mkdir -p "$out/bin" "$out/lib"
        ln -s "$etc/etc" "$out/etc"
        ln -s "$path" "$out/sw"
        ln -s "$inhibitors" "$out/switch-inhibitors"
        cp -r "$program" "$out/lib/activate"
        install -m 0555 "$program/switch-to-configuration" "$out/bin/switch-to-configuration"
        cp "$activationPath" "$out/activation.json"
        printf %s "$version" > "$out/nixos-version"
        printf %s "$initInterface" > "$out/init-interface-version"
        printf %s "$revision" > "$out/configuration-revision"
      ''
  );
}
