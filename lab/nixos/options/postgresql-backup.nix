{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.services.postgresqlBackup;
  suffix = { none = ""; gzip = ".gz"; zstd = ".zstd"; }.${cfg.compression};
  compress =
    {
      none = "cat";
      gzip = "${lib.getExe pkgs.gzip} -c -${toString cfg.compressionLevel} --rsyncable";
      zstd = "${lib.getExe pkgs.zstd} -c -${toString cfg.compressionLevel} --rsyncable";
    }
    .${cfg.compression};
  service = name: dump: {
    description = "Backup of ${name} database(s)";
    requires = [ "postgresql.target" ];
    path = [ config.services.postgresql.package ];
    startAt = cfg.startAt;
    script = ''
      set -e -o pipefail
      umask 0077
      if [ -e ${cfg.location}/${name}.sql${suffix} ]; then
        rm -f ${cfg.location}/${name}.prev.sql*
        mv ${cfg.location}/${name}.sql${suffix} ${cfg.location}/${name}.prev.sql${suffix}
      fi
      ${dump} | ${compress} > ${cfg.location}/${name}.in-progress.sql${suffix}
      mv ${cfg.location}/${name}.in-progress.sql${suffix} ${cfg.location}/${name}.sql${suffix}
    '';
    serviceConfig = {
      Type = "oneshot";
      User = "postgres";
    };
  };
in
{
  options.services.postgresqlBackup = {
    enable = lib.mkEnableOption "PostgreSQL dumps";
    startAt = mkOption {
      type = types.either (types.listOf types.str) types.str;
      default = "*-*-* 01:15:00";
    };
    backupAll = mkOption {
      type = types.bool;
      default = cfg.databases == [ ];
    };
    databases = mkOption {
      type = types.listOf types.str;
      default = [ ];
    };
    location = mkOption {
      type = types.path;
      default = "/var/backup/postgresql";
    };
    pgdumpOptions = mkOption {
      type = types.separatedString " ";
      default = "-C";
    };
    compression = mkOption {
      type = types.enum [
        "none"
        "gzip"
        "zstd"
      ];
      default = "gzip";
    };
    compressionLevel = mkOption {
      type = types.ints.between 1 19;
      default = 6;
    };
  };

  config = lib.mkIf cfg.enable {
    assertions = [
      {
        assertion = cfg.backupAll -> cfg.databases == [ ];
        message = "config.services.postgresqlBackup.backupAll cannot be used together with config.services.postgresqlBackup.databases";
      }
      {
        assertion = cfg.compression == "zstd" || cfg.compressionLevel <= 9;
        message = "config.services.postgresqlBackup.compressionLevel must be set between 1 and 9 for none and gzip";
      }
    ];
    systemd.tmpfiles.rules = [ "d '${cfg.location}' 0700 postgres - - -" ];
    systemd.services =
      if cfg.backupAll then
        { postgresqlBackup = service "all" "pg_dumpall"; }
      else
        lib.listToAttrs (
          map (
            name: lib.nameValuePair "postgresqlBackup-${name}" (service name "pg_dump ${cfg.pgdumpOptions} ${name}")
          ) cfg.databases
        );
  };
}
