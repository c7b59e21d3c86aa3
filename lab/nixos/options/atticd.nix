# services.atticd as nixpkgs has it.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.services.atticd;
  format = pkgs.formats.toml { };
  checked = pkgs.runCommand "checked-attic-server.toml" { file = format.generate "server.toml" cfg.settings; } ''
    export ATTIC_SERVER_TOKEN_HS256_SECRET_BASE64=dGVzdA== ATTIC_SERVER_DATABASE_URL=sqlite://:memory:
    ${lib.getExe' cfg.package "atticd"} --mode check-config -f "$file" </dev/null
    cat "$file" > "$out"
  '';
  local = [
    "localhost"
    "127.0.0.1"
    "/run/postgresql"
  ];
  url = cfg.settings.database.url or "";
  localPostgresql =
    config.services.postgresql.enable && lib.hasPrefix "postgresql://" url && lib.any (part: lib.hasInfix part url) local;
  storage = cfg.settings.storage;
  ownStorage = storage.type or "" == "local" && !(lib.hasPrefix "/var/lib/atticd" storage.path);
in
{
  options.services.atticd = {
    enable = lib.mkEnableOption "the atticd, the Nix Binary Cache server";
    package = lib.mkPackageOption pkgs "attic-server" { };
    environmentFile = mkOption {
      type = types.nullOr types.path;
      default = null;
    };
    user = mkOption {
      type = types.str;
      default = "atticd";
    };
    group = mkOption {
      type = types.str;
      default = "atticd";
    };
    settings = mkOption {
      inherit (format) type;
      default = { };
    };
    mode = mkOption {
      type = types.enum [
        "monolithic"
        "api-server"
        "garbage-collector"
      ];
      default = "monolithic";
    };
  };

  config = lib.mkIf cfg.enable {
    assertions = [
      {
        assertion = cfg.environmentFile != null;
        message = "`services.atticd.environmentFile` is not set. It names a file with the signing key, ATTIC_SERVER_TOKEN_RS256_SECRET_BASE64=....";
      }
      {
        assertion = !lib.isStorePath cfg.environmentFile;
        message = "`services.atticd.environmentFile` points to a path in the Nix store. The Nix store is globally readable: use a quoted absolute path to a file outside.";
      }
    ];

    services.atticd.settings = {
      chunking = lib.mkDefault {
        nar-size-threshold = 65536;
        min-size = 16384;
        avg-size = 65536;
        max-size = 262144;
      };
      database.url = lib.mkDefault "sqlite:///var/lib/atticd/server.db?mode=rwc";
      storage = lib.mkDefault {
        type = "local";
        path = "/var/lib/atticd/storage";
      };
    };

    systemd.services.atticd = {
      wantedBy = [ "multi-user.target" ];
      wants = [ "network-online.target" ];
      requires = lib.optional localPostgresql "postgresql.target";
      after = [ "network-online.target" ] ++ lib.optional localPostgresql "postgresql.target";
      serviceConfig = {
        ExecStart = "${lib.getExe' cfg.package "atticd"} -f ${checked} --mode ${cfg.mode}";
        EnvironmentFile = cfg.environmentFile;
        StateDirectory = "atticd";
        DynamicUser = true;
        User = cfg.user;
        Group = cfg.group;
        Restart = "on-failure";
        RestartSec = 10;
        CapabilityBoundingSet = [ "" ];
        DeviceAllow = "";
        DevicePolicy = "closed";
        LockPersonality = true;
        MemoryDenyWriteExecute = true;
        NoNewPrivileges = true;
        PrivateDevices = true;
        PrivateTmp = true;
        PrivateUsers = true;
        ProcSubset = "pid";
        ProtectClock = true;
        ProtectControlGroups = true;
        ProtectHome = true;
        ProtectHostname = true;
        ProtectKernelLogs = true;
        ProtectKernelModules = true;
        ProtectKernelTunables = true;
        ProtectProc = "invisible";
        ProtectSystem = "strict";
        ReadWritePaths = lib.optional ownStorage storage.path;
        RemoveIPC = true;
        RestrictAddressFamilies = [
          "AF_INET"
          "AF_INET6"
          "AF_UNIX"
        ];
        RestrictNamespaces = true;
        RestrictRealtime = true;
        RestrictSUIDSGID = true;
        SystemCallArchitectures = "native";
        SystemCallFilter = [
          "@system-service"
          "~@resources"
          "~@privileged"
        ];
        UMask = "0077";
      };
    };

    environment.systemPackages = [
      (pkgs.writeShellScriptBin "atticd-atticadm" ''
        exec systemd-run --quiet --pipe --pty --wait --collect --service-type=exec \
          --property=EnvironmentFile=${cfg.environmentFile} --property=DynamicUser=yes \
          --property=User=${cfg.user} \
          --working-directory=/ -- ${lib.getExe' cfg.package "atticadm"} -f ${checked} "$@"
      '')
    ];
  };
}
