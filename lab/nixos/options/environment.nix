{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  entries = lib.filter (entry: entry.enable) (lib.attrValues config.environment.etc);
in
{
  options.environment = {
    systemPackages = mkOption {
      type = types.listOf types.package;
      default = [ ];
    };
    variables = mkOption {
      type = types.attrsOf types.str;
      default = { };
    };
    etc = mkOption {
      default = { };
      type = types.attrsOf (
        types.submodule (
          { name, config, options, ... }:
          {
            options = {
              enable = mkOption {
                type = types.bool;
                default = true;
              };
              target = mkOption {
                type = types.str;
                default = name;
              };
              text = mkOption {
                type = types.nullOr types.lines;
                default = null;
              };
              source = mkOption { type = types.path; };
              mode = mkOption {
                type = types.str;
                default = "symlink";
                description = "`symlink`, or the mode of a copy.";
              };
              uid = mkOption {
                type = types.int;
                default = 0;
              };
              gid = mkOption {
                type = types.int;
                default = 0;
              };
              user = mkOption {
                type = types.str;
                default = "+${toString config.uid}";
              };
              group = mkOption {
                type = types.str;
                default = "+${toString config.gid}";
              };
            };
            config.source = lib.mkIf (config.text != null) (
              lib.mkOverride options.text.highestPrio (
                pkgs.writeText "etc-${builtins.baseNameOf name}" config.text
              )
            );
          }
        )
      );
    };
  };

  config.system.build = {
    etc = pkgs.linkFarm "etc" (
      map (entry: {
        name = "etc/${entry.target}";
        path = entry.source;
      }) entries
    );
    path = pkgs.symlinkJoin {
      name = "system-path";
      paths = config.environment.systemPackages;
    };
  };
  # entries that become separate files, with owner and mode
  config.system.activation.copies = map (entry: {
    inherit (entry)
      target
      mode
      user
      group
      ;
  }) (lib.filter (entry: entry.mode != "symlink") entries);
  config.environment.systemPackages = [
    pkgs.bash
    pkgs.coreutils
    pkgs.nix
    pkgs.nixos-rebuild
    pkgs.systemd
  ];
}
