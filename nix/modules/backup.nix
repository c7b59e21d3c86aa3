# Dumps of databases, each kept under its date for some days, and copied off the host if `offsite' says where. They have units
# and a folder of their own: NixOS' services.postgresqlBackup and services.restic.backups may be the host's, and one database
# in the former's list ends its dump of all databases.
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

  inherit (cfg) offsite;
  environmentFile =
    if offsite.environmentFile != null then
      offsite.environmentFile
    else
      config.services.onepassword-secrets.secretPaths.backupEnvironment
        or "/var/lib/opnix/secrets/backupEnvironment";
  attic = builtins.match "postgresql://[^@]+@localhost[^/]*/([^?]+).*" (
    if config.nixci.attic == null then "" else config.services.atticd.settings.database.url or ""
  );

  # What both programs know of this host. Names and paths are safe by type.
  surroundings = {
    PATH = lib.makeBinPath (
      [
        postgresql.package
        pkgs.coreutils
        pkgs.diffutils
        pkgs.findutils
        pkgs.gnugrep
        pkgs.gnused
        pkgs.systemd
        pkgs.util-linux
      ]
      ++ lib.optional (offsite != null) pkgs.restic
    );
    NIXCI_DATABASES = toString cfg.databases;
    NIXCI_FOLDER = cfg.location;
    NIXCI_KEEP_DAYS = toString cfg.keepDays;
    NIXCI_HOST = config.networking.hostName;
    NIXCI_ATTIC = if attic == null then "" else lib.head attic;
    NIXCI_OFFSITE = lib.optionalString (offsite != null) environmentFile;
  }
  // host.environment
  // lib.optionalAttrs (offsite != null) {
    RESTIC_REPOSITORY = "s3:${offsite.endpoint}/${offsite.bucket}";
    RESTIC_CACHE_DIR = "/var/cache/nixci-backup";
    AWS_DEFAULT_REGION = offsite.region;
  };
  program =
    name: file: more:
    pkgs.writeShellScriptBin name (
      lib.concatStrings (
        lib.mapAttrsToList (key: value: "export ${key}=${lib.escapeShellArg value}\n") (surroundings // more)
      )
      + builtins.readFile file
    );
  backup = program "nixci-backup" ./backup.sh { };
  restore = program "nixci-restore" ./restore.sh { PATH = "${backup}/bin:${surroundings.PATH}"; };
in
{
  options.nixci.backup = t.role {
    databases = t.optionOr [ "atticd" ] (t.nonEmptyListOf t.databaseName) "Databases to dump.";
    startAt = t.optionOr "*-*-* 02:30:00" t.calendar "When.";
    location = t.optionOr "/var/backup/nixci" t.path "Folder of the dumps; created for the user postgres only.";
    keepDays = t.optionOr 30 t.ints.positive "Days that a dump stays, on the host and off it.";
    offsite = t.optionOr null (t.nullOr (
      t.submodule {
        endpoint = t.option t.url "URL of the S3 service.";
        region = t.option t.region "Region of the bucket.";
        bucket = t.option t.bucketName "Bucket with restic's repository, and nothing else.";
        startAt = t.optionOr "*-*-* 03:30:00" t.calendar "When.";
        environmentFile = t.optionOr null (t.nullOr t.path) "File with RESTIC_PASSWORD and the S3 credentials; null means OpNix's secret backupEnvironment.";
      }
    )) "Where copies of the dumps go, encrypted by restic; null means nowhere.";
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
      {
        assertion = offsite != null -> !lib.hasPrefix builtins.storeDir environmentFile;
        message = "nixci.backup.offsite.environmentFile is in the Nix store, which everybody can read. Use a path outside.";
      }
    ];

    environment.systemPackages = [
      backup
      restore
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

    systemd.services =
      perDatabase (name: {
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
      })
      // lib.optionalAttrs (offsite != null) {
        nixci-offsite = {
          description = "Copy of the newest database dumps off the host";
          wants = [ "network-online.target" ];
          after = [
            "network-online.target"
            "opnix-secrets.service"
          ]
          ++ map (name: "nixci-backup-${name}.service") cfg.databases;
          unitConfig.RequiresMountsFor = cfg.location;
          restartIfChanged = false;
          # Root, which may read the dumps of postgres and keeps restic's password from it, without root's other rights.
          serviceConfig = {
            Type = "oneshot";
            ExecStart = "${backup}/bin/nixci-backup offsite";
            TimeoutStartSec = "2h";
            StateDirectory = "nixci-backup";
            CacheDirectory = "nixci-backup";
            CacheDirectoryMode = "0700";
            UMask = "0022";
            CapabilityBoundingSet = [ "CAP_DAC_READ_SEARCH" ];
            NoNewPrivileges = true;
            PrivateTmp = true;
            ProtectHome = true;
            ProtectSystem = "strict";
          };
        };
      };

    systemd.timers =
      perDatabase (name: {
        description = "Dump of the PostgreSQL database ${name}";
        wantedBy = [ "timers.target" ];
        timerConfig = {
          OnCalendar = cfg.startAt;
          Persistent = true;
        };
      })
      // lib.optionalAttrs (offsite != null) {
        nixci-offsite = {
          description = "Copy of the newest database dumps off the host";
          wantedBy = [ "timers.target" ];
          timerConfig = {
            OnCalendar = offsite.startAt;
            Persistent = true;
            RandomizedDelaySec = "15min";
          };
        };
      };
  };
}
