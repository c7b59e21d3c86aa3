{ config, lib, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.security.sudo;
  list =
    type:
    mkOption {
      type = types.listOf type;
      default = [ ];
    };
  rule = types.submodule {
    options = {
      users = list types.str;
      groups = list types.str;
      commands = list (
        types.either types.str (
          types.submodule {
            options = {
              command = mkOption { type = types.str; };
              options = list types.str;
            };
          }
        )
      );
    };
  };
  command =
    one:
    if builtins.isString one then
      one
    else
      lib.concatMapStrings (option: "${option}: ") one.options + one.command;
  lines =
    rule:
    lib.optionalString (rule.commands != [ ]) (
      lib.concatMapStrings (
        who: "${who} ALL=(ALL:ALL) ${lib.concatStringsSep ", " (map command rule.commands)}\n"
      ) (rule.users ++ map (group: "%${group}") rule.groups)
    );
in
{
  options.security.sudo = {
    enable = mkOption {
      type = types.bool;
      default = true;
    };
    wheelNeedsPassword = mkOption {
      type = types.bool;
      default = true;
    };
    execWheelOnly = mkOption {
      type = types.bool;
      default = false;
    };
    extraRules = list rule;
    extraConfig = mkOption {
      type = types.lines;
      default = "";
    };
  };

  config = lib.mkIf cfg.enable {
    users.groups.wheel = { };
    security.sudo.extraRules = lib.mkBefore [
      {
        users = [ "root" ];
        commands = [
          {
            command = "ALL";
            options = [ "SETENV" ];
          }
        ];
      }
      {
        groups = [ "wheel" ];
        commands = [
          {
            command = "ALL";
            options = [ "SETENV" ] ++ lib.optional (!cfg.wheelNeedsPassword) "NOPASSWD";
          }
        ];
      }
    ];
    environment.etc.sudoers = {
      text = lib.concatMapStrings lines cfg.extraRules + cfg.extraConfig;
      mode = "0440";
    };
  };
}
