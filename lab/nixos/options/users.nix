{ config, lib, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.users;
  optional =
    type:
    mkOption {
      type = types.nullOr type;
      default = null;
    };
  user =
    { name, config, ... }:
    {
      options = {
        name = mkOption {
          type = types.str;
          default = name;
        };
        description = mkOption {
          type = types.str;
          default = "";
        };
        isNormalUser = mkOption {
          type = types.bool;
          default = false;
        };
        isSystemUser = mkOption {
          type = types.bool;
          default = false;
        };
        uid = optional types.int;
        group = mkOption {
          type = types.str;
          default = "";
        };
        extraGroups = mkOption {
          type = types.listOf types.str;
          default = [ ];
        };
        home = mkOption {
          type = types.str;
          default = "/var/empty";
        };
        createHome = mkOption {
          type = types.bool;
          default = false;
        };
        shell = mkOption {
          type = types.either types.str types.package;
          default = "/usr/sbin/nologin";
          apply = toString;
        };
        hashedPassword = optional types.str;
        openssh.authorizedKeys.keys = mkOption {
          type = types.listOf types.singleLineStr;
          default = [ ];
        };
        openssh.authorizedKeys.keyFiles = mkOption {
          type = types.listOf types.path;
          default = [ ];
        };
      };
      config = lib.mkIf config.isNormalUser {
        group = lib.mkDefault "users";
        home = lib.mkDefault "/home/${config.name}";
        createHome = lib.mkDefault true;
        shell = lib.mkDefault "/bin/bash";
      };
    };
  group =
    { name, ... }:
    {
      options = {
        name = mkOption {
          type = types.str;
          default = name;
        };
        gid = optional types.int;
        members = mkOption {
          type = types.listOf types.str;
          default = [ ];
        };
      };
    };
in
{
  options.users = {
    mutableUsers = mkOption {
      type = types.bool;
      default = true;
    };
    users = mkOption {
      type = types.attrsOf (types.submodule user);
      default = { };
    };
    groups = mkOption {
      type = types.attrsOf (types.submodule group);
      default = { };
    };
  };

  config = {
    users.users.root = {
      isSystemUser = true;
      uid = 0;
      group = "root";
      home = "/root";
      shell = lib.mkDefault "/bin/bash";
    };
    users.groups.root.gid = 0;
    users.groups.users.gid = 100;
    users.groups.wheel = { };
    assertions = lib.concatLists (
      lib.mapAttrsToList (name: user: [
        {
          assertion = (user.isNormalUser || user.isSystemUser) && !(user.isNormalUser && user.isSystemUser);
          message = "Exactly one of users.users.${name}.isSystemUser and users.users.${name}.isNormalUser must be set.";
        }
        {
          assertion = user.group != "";
          message = "users.users.${name}.group is unset. This used to default to\nnogroup, but this is unsafe. For example you can create a group\nfor this user with:\nusers.users.${name}.group = \"${name}\";\nusers.groups.${name} = {};";
        }
      ]) cfg.users
    );
    system.activation.users = lib.mapAttrsToList (_: user: {
      inherit (user)
        name
        description
        uid
        group
        extraGroups
        home
        createHome
        shell
        hashedPassword
        ;
      system = user.isSystemUser;
    }) cfg.users;
    system.activation.groups = lib.mapAttrsToList (_: group: {
      inherit (group) name gid members;
    }) cfg.groups;
    environment.etc = lib.mapAttrs' (
      _name: user:
      lib.nameValuePair "ssh/authorized_keys.d/${user.name}" {
        text = lib.concatLines (user.openssh.authorizedKeys.keys ++ map builtins.readFile user.openssh.authorizedKeys.keyFiles);
        mode = "0444";
      }
    ) (lib.filterAttrs (_: user: user.openssh.authorizedKeys.keys ++ user.openssh.authorizedKeys.keyFiles != [ ]) cfg.users);
  };
}
