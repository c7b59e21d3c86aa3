{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.services.openssh;
  show =
    v:
    if builtins.isBool v then
      lib.boolToYesNo v
    else if builtins.isList v then
      lib.concatStringsSep " " (map toString v)
    else
      toString v;
  nullable =
    type: default:
    mkOption {
      type = types.nullOr type;
      inherit default;
    };
  listen =
    { addr, port, ... }: "ListenAddress ${addr}${lib.optionalString (port != null) ":${toString port}"}\n";
  keys = [
    "/etc/ssh/ssh_host_ed25519_key"
    "/etc/ssh/ssh_host_rsa_key"
  ];
in
{
  options.services.openssh = {
    enable = lib.mkEnableOption "the OpenSSH secure shell daemon";
    ports = mkOption {
      type = types.listOf types.port;
      default = [ 22 ];
    };
    openFirewall = mkOption {
      type = types.bool;
      default = true;
    };
    listenAddresses = mkOption {
      default = [ ];
      type = types.listOf (
        types.submodule {
          options = {
            addr = nullable types.str null;
            port = nullable types.int null;
          };
        }
      );
    };
    authorizedKeysFiles = mkOption {
      type = types.listOf types.str;
      default = [ ];
    };
    authorizedKeysInHomedir = mkOption {
      type = types.bool;
      default = true;
    };
    extraConfig = mkOption {
      type = types.lines;
      default = "";
    };
    settings = mkOption {
      default = { };
      type = types.submodule {
        freeformType = types.attrsOf (
          types.nullOr (
            types.oneOf [
              types.bool
              types.int
              types.str
              (types.listOf types.str)
            ]
          )
        );
        options = {
          PermitRootLogin = nullable (types.enum [
            "yes"
            "without-password"
            "prohibit-password"
            "forced-commands-only"
            "no"
          ]) "prohibit-password";
          PasswordAuthentication = nullable types.bool true;
          KbdInteractiveAuthentication = nullable types.bool true;
          UsePAM = nullable types.bool true;
          AllowUsers = nullable (types.listOf types.str) null;
          DenyUsers = nullable (types.listOf types.str) null;
          AllowGroups = nullable (types.listOf types.str) null;
          DenyGroups = nullable (types.listOf types.str) null;
        };
      };
    };
  };

  config = lib.mkIf cfg.enable {
    services.openssh.authorizedKeysFiles = lib.optional cfg.authorizedKeysInHomedir "%h/.ssh/authorized_keys" ++ [
      "/etc/ssh/authorized_keys.d/%u"
    ];
    assertions = map (listen: {
      assertion = listen.addr != null;
      message = "addr must be specified in each listenAddresses entry";
    }) cfg.listenAddresses;
    networking.firewall.allowedTCPPorts = lib.mkIf cfg.openFirewall cfg.ports;
    environment.etc."ssh/sshd_config".text =
      lib.concatMapStrings (port: "Port ${toString port}\n") cfg.ports
      + lib.concatMapStrings listen cfg.listenAddresses
      + lib.concatMapStrings (key: "HostKey ${key}\n") keys
      + "AuthorizedKeysFile ${toString cfg.authorizedKeysFiles}\n"
      # sessions find the system's programs first, as on NixOS
      + "SetEnv PATH=/run/current-system/sw/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"
      + "Subsystem sftp /usr/lib/openssh/sftp-server\n"
      + lib.concatLines (
        lib.mapAttrsToList (name: value: "${name} ${show value}") (lib.filterAttrs (_: value: value != null) cfg.settings)
      )
      + cfg.extraConfig;
    systemd.services.sshd = {
      description = "SSH Daemon";
      wantedBy = [ "multi-user.target" ];
      after = [ "network.target" ];
      stopIfChanged = false;
      restartTriggers = [ config.environment.etc."ssh/sshd_config".source ];
      path = [ pkgs.openssh ];
      preStart = lib.concatMapStrings (key: ''
        [ -s ${key} ] || ssh-keygen -q -t ${if lib.hasInfix "rsa" key then "rsa" else "ed25519"} -f ${key} -N ""
      '') keys;
      # sshd re-executes itself by its path, which must be Debian's own
      serviceConfig = {
        Type = "notify";
        ExecStart = "/usr/sbin/sshd -D -f /etc/ssh/sshd_config";
        ExecReload = "/bin/kill -HUP $MAINPID";
        KillMode = "process";
        Restart = "always";
        RuntimeDirectory = "sshd";
        RuntimeDirectoryMode = "0755";
        RuntimeDirectoryPreserve = true;
      };
    };
  };
}
