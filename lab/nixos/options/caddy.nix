{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.services.caddy;
  format = pkgs.formats.json { };
  text =
    default:
    mkOption {
      type = types.lines;
      inherit default;
    };
  virtualHost =
    { name, ... }:
    {
      options = {
        hostName = mkOption {
          type = types.str;
          default = name;
        };
        serverAliases = mkOption {
          type = types.listOf types.str;
          default = [ ];
        };
        listenAddresses = mkOption {
          type = types.listOf types.str;
          default = [ ];
        };
        extraConfig = text "";
        logFormat = mkOption {
          type = types.nullOr types.lines;
          default = "output file ${cfg.logDir}/access-${lib.replaceStrings [ "/" " " ] [ "_" "_" ] name}.log";
        };
      };
    };
  site = host: ''
    ${host.hostName} ${lib.concatStringsSep " " host.serverAliases} {
      ${lib.optionalString (host.listenAddresses != [ ]) "bind ${toString host.listenAddresses}"}
      ${lib.optionalString (host.logFormat != null) "log {\n${host.logFormat}\n}"}
      ${host.extraConfig}
    }
  '';
  caddyfile = pkgs.writeText "Caddyfile" ''
    {
      ${cfg.globalConfig}
    }
    ${cfg.extraConfig}
    ${lib.concatMapStringsSep "\n" site (lib.attrValues cfg.virtualHosts)}
  '';
  formatted = pkgs.runCommand "Caddyfile-formatted" { inherit caddyfile; } ''
    mkdir -p "$out"
    HOME=$TMPDIR caddy fmt "$caddyfile" > "$out/Caddyfile"
  '';
in
{
  options.services.caddy = {
    enable = lib.mkEnableOption "Caddy web server";
    package = lib.mkPackageOption pkgs "caddy" { };
    user = mkOption {
      type = types.str;
      default = "caddy";
    };
    group = mkOption {
      type = types.str;
      default = "caddy";
    };
    dataDir = mkOption {
      type = types.path;
      default = "/var/lib/caddy";
    };
    logDir = mkOption {
      type = types.path;
      default = "/var/log/caddy";
    };
    logFormat = text "level ERROR";
    globalConfig = text "";
    extraConfig = text "";
    email = mkOption {
      type = types.nullOr types.str;
      default = null;
    };
    acmeCA = mkOption {
      type = types.nullOr types.str;
      default = null;
    };
    settings = mkOption {
      inherit (format) type;
      default = { };
    };
    configFile = mkOption {
      type = types.path;
      default =
        if cfg.settings != { } then format.generate "caddy.json" cfg.settings else "${formatted}/Caddyfile";
    };
    adapter = mkOption {
      type = types.nullOr types.str;
      default = if cfg.settings != { } then null else "caddyfile";
    };
    virtualHosts = mkOption {
      type = types.attrsOf (types.submodule virtualHost);
      default = { };
    };
    enableReload = mkOption {
      type = types.bool;
      default = true;
    };
    environmentFile = mkOption {
      type = types.nullOr types.path;
      default = null;
    };
    openFirewall = mkOption {
      type = types.bool;
      default = false;
    };
  };

  config = lib.mkIf cfg.enable {
    services.caddy = {
      globalConfig = ''
        ${lib.optionalString (cfg.email != null) "email ${cfg.email}"}
        ${lib.optionalString (cfg.acmeCA != null) "acme_ca ${cfg.acmeCA}"}
        log {
          ${cfg.logFormat}
        }
      '';
    };
    networking.firewall = lib.mkIf cfg.openFirewall {
      allowedTCPPorts = [
        80
        443
      ];
      allowedUDPPorts = [ 443 ];
    };
    users.users = lib.mkIf (cfg.user == "caddy") {
      caddy = {
        isSystemUser = true;
        group = cfg.group;
        home = cfg.dataDir;
      };
    };
    users.groups = lib.mkIf (cfg.group == "caddy") { caddy = { }; };
    environment.etc."caddy/caddy_config".source = cfg.configFile;
    environment.systemPackages = [ cfg.package ];

    systemd.services.caddy =
      let
        options = "--config /etc/caddy/caddy_config ${lib.optionalString (cfg.adapter != null) "--adapter ${cfg.adapter}"}";
        program = lib.getExe cfg.package;
      in
      {
        description = "Caddy";
        wants = [ "network-online.target" ];
        after = [
          "network.target"
          "network-online.target"
        ];
        wantedBy = [ "multi-user.target" ];
        startLimitIntervalSec = 14400;
        startLimitBurst = 10;
        restartTriggers = lib.optional (!cfg.enableReload) cfg.configFile;
        reloadTriggers = lib.optional cfg.enableReload cfg.configFile;
        serviceConfig = {
          Type = "notify";
          ExecStart = "${program} run ${options}";
          ExecReload = lib.optional cfg.enableReload "${program} reload ${options} --force";
          EnvironmentFile = lib.optional (cfg.environmentFile != null) cfg.environmentFile;
          User = cfg.user;
          Group = cfg.group;
          StateDirectory = lib.mkIf (cfg.dataDir == "/var/lib/caddy") "caddy";
          LogsDirectory = lib.mkIf (cfg.logDir == "/var/log/caddy") "caddy";
          ReadWritePaths = [ cfg.dataDir ];
          Restart = "on-failure";
          RestartPreventExitStatus = 1;
          RestartSec = "5s";
          AmbientCapabilities = "CAP_NET_BIND_SERVICE";
          CapabilityBoundingSet = "CAP_NET_BIND_SERVICE";
          NoNewPrivileges = true;
          PrivateDevices = true;
          ProtectHome = true;
          LimitNPROC = 512;
        };
        environment.HOME = cfg.dataDir;
      };
  };
}
