# Dumps of databases, each kept under its date for some days. They have units and a folder of their own: NixOS'
# services.postgresqlBackup may be the host's, and one database in its list ends its dump of all databases.
{
  config,
  lib,
  modulesPath,
  options,
  pkgs,
  ...
}:
let
  t = import ./types.nix { inherit lib; };
  theirs = import ./theirs.nix { inherit lib modulesPath; };
  host = import ./postgresql-host.nix { inherit config lib; };
  cfg = config.nixci.backup;
  postgresql = config.services.postgresql;
  settings = theirs.show options.nixci.backup.files;

  refused = lib.filter (
    database:
    host.refuses {
      system = "postgres";
      user = "postgres";
      inherit database;
    }
  ) cfg.databases;

  perDatabase =
    f: lib.listToAttrs (map (name: lib.nameValuePair "nixci-backup-${name}" (f name)) cfg.databases);

  # A folder that exists keeps its owner and mode.
  folder = pkgs.writeShellScript "nixci-backup-folder" ''
    [ -d ${cfg.location} ] || install -d -m 0700 -o postgres -g postgres ${cfg.location}
  '';

  # Old dumps go after a successful one only, so a broken backup never removes good ones. The second name is that
  # of former versions, which used NixOS' folder. Names and paths are safe by type.
  dump = name: ''
    umask 0077
    cd ${cfg.location}
    pg_dump --no-password --format=custom --file=.${name}.partial ${name}
    pg_restore --list .${name}.partial >/dev/null
    sync .${name}.partial
    mv .${name}.partial "${name}-$(date --utc +%Y%m%dT%H%M%SZ).dump"
    sync .
    for folder in ${toString (lib.unique [ cfg.location "/var/backup/postgresql" ])}; do
      [ ! -d "$folder" ] || find "$folder" -maxdepth 1 -type f -mmin +${toString (cfg.keepDays * 24 * 60)} \
        \( -name '${name}-????????T??????Z.dump' -o -name '${name}-????????T??????Z.sql.zstd' \) -delete
    done
  '';
in
{
  options.nixci.backup = t.role {
    databases = t.optionOr [ "atticd" ] (t.nonEmptyListOf t.databaseName) "Databases to dump.";
    startAt = t.optionOr "*-*-* 02:30:00" t.calendar "When.";
    location = t.optionOr "/var/backup/nixci" t.path "Folder of the dumps; created for the user postgres only.";
    keepDays = t.optionOr 30 t.ints.positive "Days that a dump stays.";
  };

  config = lib.mkIf (cfg != null) {
    assertions = [
      {
        assertion = postgresql.enable;
        message = "nixci: ${settings} dumps databases of this host, but services.postgresql.enable is false (${theirs.where [ options.services.postgresql.enable ]}). Enable PostgreSQL, or remove the role backup from the playbook.";
      }
      {
        assertion = postgresql.enable -> refused == [ ];
        message = "nixci: pg_hba.conf of ${
          theirs.where [
            options.services.postgresql.authentication
            options.services.postgresql.identMap
          ]
        } does not let the user postgres into ${lib.concatStringsSep ", " refused}, so the dumps of ${settings} would fail. Add `local all postgres peer' to services.postgresql.authentication there, before the rules that refuse it.";
      }
    ];

    # Former versions turned NixOS' own dumps on, so a list was enough.
    warnings =
      let
        option = options.services.postgresqlBackup;
      in
      lib.optional
        (
          !config.services.postgresqlBackup.enable
          && lib.concatLists (theirs.values option.databases) != [ ]
        )
        "nixci: ${
          theirs.where [ option.databases ]
        } lists services.postgresqlBackup.databases, but nothing turns that on; earlier versions of nixci did. Set services.postgresqlBackup.enable there to keep these dumps.";

    systemd.services = perDatabase (name: {
      description = "Dump of the PostgreSQL database ${name}";
      wants = [ "postgresql.service" ];
      after = [
        "postgresql.service"
        "postgresql.target"
        "nixci-postgresql.service"
      ];
      unitConfig.RequiresMountsFor = cfg.location;
      path = [ postgresql.package ];
      inherit (host) environment;
      script = dump name;
      restartIfChanged = false; # a rebuild must neither interrupt a dump nor wait for it
      serviceConfig = {
        Type = "oneshot";
        User = "postgres";
        Group = "postgres";
        ExecStartPre = [ "+${folder}" ]; # as root
      };
    });

    systemd.timers = perDatabase (name: {
      description = "Dump of the PostgreSQL database ${name}";
      wantedBy = [ "timers.target" ];
      timerConfig = {
        OnCalendar = cfg.startAt;
        Persistent = true;
      };
    });
  };
}
