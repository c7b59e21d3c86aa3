# postgresql.target = postgresql.service + postgresql-setup.service (databases, roles), as in newer NixOS.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.services.postgresql;
  show =
    v:
    if builtins.isBool v then
      lib.boolToYesNo v
    else if builtins.isString v then
      "'${lib.replaceStrings [ "'" ] [ "''" ] v}'"
    else
      toString v;
  file = name: text: pkgs.writeText name (text + "\n");
  configFile = file "postgresql.conf" (
    lib.concatStringsSep "\n" (
      lib.mapAttrsToList (name: v: "${name} = ${show v}") (lib.filterAttrs (_: v: v != null) cfg.settings)
    )
  );
  clauses =
    user:
    lib.concatLists (
      lib.mapAttrsToList (clause: on: lib.optional (on != null) (if on then clause else "no${clause}")) user.ensureClauses
    );
in
{
  options.services.postgresql = {
    enable = lib.mkEnableOption "PostgreSQL Server";
    package = lib.mkPackageOption pkgs "postgresql" { };
    enableTCPIP = mkOption {
      type = types.bool;
      default = false;
    };
    dataDir = mkOption {
      type = types.path;
      default = "/var/lib/postgresql/${cfg.package.psqlSchema}";
    };
    authentication = mkOption {
      type = types.lines;
      default = "";
    };
    identMap = mkOption {
      type = types.lines;
      default = "";
    };
    initialScript = mkOption {
      type = types.nullOr types.path;
      default = null;
    };
    settings = mkOption {
      default = { };
      type = types.submodule {
        freeformType = types.attrsOf (
          types.nullOr (
            types.oneOf [
              types.bool
              types.float
              types.int
              types.str
            ]
          )
        );
        options.port = mkOption {
          type = types.port;
          default = 5432;
        };
      };
    };
    ensureDatabases = mkOption {
      type = types.listOf types.str;
      default = [ ];
    };
    ensureUsers = mkOption {
      default = [ ];
      type = types.listOf (
        types.submodule {
          options = {
            name = mkOption { type = types.str; };
            ensureDBOwnership = mkOption {
              type = types.bool;
              default = false;
            };
            ensureClauses =
              lib.genAttrs
                [
                  "superuser"
                  "createrole"
                  "createdb"
                  "login"
                  "replication"
                ]
                (
                  _:
                  mkOption {
                    type = types.nullOr types.bool;
                    default = null;
                  }
                );
          };
        }
      );
    };
  };

  config = lib.mkIf cfg.enable {
    assertions = map (user: {
      assertion = user.ensureDBOwnership -> lib.elem user.name cfg.ensureDatabases;
      message = "For each database user defined with `services.postgresql.ensureUsers` and\n`ensureDBOwnership = true;`, a database with the same name must be defined\nin `services.postgresql.ensureDatabases`.\n\nOffender: ${user.name} has not been found among databases.";
    }) cfg.ensureUsers;

    services.postgresql = {
      # NixOS keeps the version that a host was installed with, until it no longer has it.
      package = lib.mkDefault (
        if lib.versionAtLeast config.system.stateVersion "22.05" then
          pkgs.postgresql
        else
          throw "postgresql_11 was removed, please upgrade your postgresql version."
      );
      authentication = lib.mkAfter ''
        local all postgres         peer map=postgres
        local all all              peer
        host  all all 127.0.0.1/32 md5
        host  all all ::1/128      md5
      '';
      identMap = lib.mkAfter "postgres postgres postgres";
      settings = {
        hba_file = "${file "pg_hba.conf" cfg.authentication}";
        ident_file = "${file "pg_ident.conf" cfg.identMap}";
        listen_addresses = lib.mkDefault (if cfg.enableTCPIP then "*" else "localhost");
        log_destination = "stderr";
        jit = lib.mkDefault "off";
        unix_socket_directories = lib.mkDefault "/run/postgresql";
      };
    };

    users.users.postgres = {
      isSystemUser = true;
      group = "postgres";
      home = "/var/lib/postgresql";
      shell = "/bin/bash";
    };
    users.groups.postgres = { };
    environment.systemPackages = [ cfg.package ];

    systemd.targets.postgresql = {
      description = "PostgreSQL";
      wantedBy = [ "multi-user.target" ];
      requires = [
        "postgresql.service"
        "postgresql-setup.service"
      ];
      after = [
        "postgresql.service"
        "postgresql-setup.service"
      ];
    };
    systemd.services.postgresql = {
      description = "PostgreSQL Server";
      after = [ "network.target" ];
      path = [ cfg.package ];
      environment.PGDATA = cfg.dataDir;
      preStart = ''
        if ! test -e ${cfg.dataDir}/PG_VERSION; then
          rm -f ${cfg.dataDir}/*.conf
          initdb -U postgres --encoding=UTF8 --locale=C.UTF-8 --auth-local=peer
          touch ${cfg.dataDir}/.first_startup
        fi
        ln -sfn ${configFile} ${cfg.dataDir}/postgresql.conf
      '';
      startLimitBurst = 5;
      startLimitIntervalSec = 605;
      serviceConfig = {
        Type = "notify";
        ExecStart = "${lib.getExe' cfg.package "postgres"}";
        ExecReload = "/bin/kill -HUP $MAINPID";
        User = "postgres";
        Group = "postgres";
        RuntimeDirectory = "postgresql";
        StateDirectory = "postgresql postgresql/${cfg.package.psqlSchema}";
        StateDirectoryMode = "0750";
        KillSignal = "SIGINT";
        KillMode = "mixed";
        TimeoutSec = 120;
        Restart = "always";
        RestartSec = 5;
        ProtectSystem = "strict";
        ProtectHome = true;
        PrivateTmp = true;
        NoNewPrivileges = true;
        UMask = "0027";
      };
    };
    systemd.services.postgresql-setup = {
      description = "PostgreSQL databases and roles";
      requires = [ "postgresql.service" ];
      after = [ "postgresql.service" ];
      path = [ cfg.package ];
      environment.PGPORT = toString cfg.settings.port;
      serviceConfig = {
        Type = "oneshot";
        RemainAfterExit = true;
        User = "postgres";
        Group = "postgres";
      };
      script = ''
        query() { psql --no-psqlrc -h /run/postgresql -d postgres -v ON_ERROR_STOP=1 -tAc "$1"; }
        while ! query "" 2>/dev/null; do sleep 0.1; done
        ${lib.optionalString (cfg.initialScript != null) ''
          if test -e ${cfg.dataDir}/.first_startup; then psql -h /run/postgresql -d postgres -f ${cfg.initialScript}; fi
        ''}
        rm -f ${cfg.dataDir}/.first_startup
        ${lib.concatMapStrings (name: ''
          query "SELECT 1 FROM pg_database WHERE datname = '${name}'" | grep -q 1 || query 'CREATE DATABASE "${name}"'
        '') cfg.ensureDatabases}
        ${lib.concatMapStrings (user: ''
          query "SELECT 1 FROM pg_roles WHERE rolname = '${user.name}'" | grep -q 1 || query 'CREATE USER "${user.name}"'
          ${lib.optionalString (clauses user != [ ]) "query 'ALTER ROLE \"${user.name}\" ${toString (clauses user)}'"}
          ${lib.optionalString user.ensureDBOwnership "query 'ALTER DATABASE \"${user.name}\" OWNER TO \"${user.name}\"'"}
        '') cfg.ensureUsers}
      '';
    };
  };
}
