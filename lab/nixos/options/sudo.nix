# Who may become root. The host's sudo is Debian's; without the option it reads Debian's own rules, which know no wheel.
{ config, lib, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.security.sudo;
  names = mkOption {
    type = types.listOf (types.either types.str types.int);
    default = [ ];
  };
  user = name: if builtins.isInt name then "#${toString name}" else name;
  group = name: if builtins.isInt name then "%#${toString name}" else "%${name}";
  command =
    c:
    if builtins.isString c then
      c
    else
      lib.concatStringsSep ":" (c.options ++ [ c.command ]);
  line = rule: who: "${who}     ${rule.host}=(${rule.runAs})    ${lib.concatStringsSep ", " (map command rule.commands)}";
  lines = rule: map (line rule) (map user rule.users ++ map group rule.groups);
  everything = options: [
    {
      command = "ALL";
      options = options ++ [ "SETENV" ];
    }
  ];
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
      description = "Accepted; the host's sudo keeps Debian's mode.";
    };
    extraRules = mkOption {
      default = [ ];
      type = types.listOf (
        types.submodule {
          options = {
            users = names;
            groups = names;
            host = mkOption {
              type = types.str;
              default = "ALL";
            };
            runAs = mkOption {
              type = types.str;
              default = "ALL:ALL";
            };
            commands = mkOption {
              type = types.listOf (
                types.either types.str (
                  types.submodule {
                    options = {
                      command = mkOption { type = types.str; };
                      options = mkOption {
                        type = types.listOf (
                          types.enum [
                            "NOPASSWD"
                            "PASSWD"
                            "NOEXEC"
                            "EXEC"
                            "SETENV"
                            "NOSETENV"
                            "LOG_INPUT"
                            "NOLOG_INPUT"
                            "LOG_OUTPUT"
                            "NOLOG_OUTPUT"
                            "MAIL"
                            "NOMAIL"
                            "FOLLOW"
                            "NOFOLLOW"
                            "INTERCEPT"
                            "NOINTERCEPT"
                          ]
                        );
                        default = [ ];
                      };
                    };
                  }
                )
              );
            };
          };
        }
      );
    };
    extraConfig = mkOption {
      type = types.lines;
      default = "";
    };
    configFile = mkOption { type = types.lines; };
  };

  config = lib.mkIf cfg.enable {
    security.sudo = {
      extraConfig = "Defaults env_keep+=NIXOS_NO_CHECK";
      extraRules = lib.mkMerge [
        (lib.mkOrder 400 [
          {
            users = [ "root" ];
            commands = everything [ ];
          }
        ])
        (lib.mkOrder 600 [
          {
            groups = [ "wheel" ];
            commands = everything (lib.optional (!cfg.wheelNeedsPassword) "NOPASSWD");
          }
        ])
      ];
      configFile = ''
        # Don't edit this file. Set the NixOS options ‘security.sudo.configFile’
        # or ‘security.sudo.extraRules’ instead.
        Defaults secure_path="/run/current-system/sw/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        ${lib.concatLines (lib.concatMap lines (lib.filter (rule: rule.commands != [ ]) cfg.extraRules))}
        ${cfg.extraConfig}
      '';
    };
    environment.etc.sudoers = {
      text = cfg.configFile;
      mode = "0440";
    };
  };
}
