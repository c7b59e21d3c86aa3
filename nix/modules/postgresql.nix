# PostgreSQL with databases that each belong to a role of the same name. Local services log in
# over the socket by peer authentication, so there are no passwords.
{
  config,
  lib,
  modulesPath,
  options,
  ...
}:
let
  t = import ./types.nix { inherit lib; };
  theirs = import ./theirs.nix { inherit lib modulesPath; };
  host = import ./postgresql-host.nix { inherit config lib; };
  cfg = config.nixci.postgresql;
  postgresql = config.services.postgresql;
  option = options.services.postgresql;
  settings = theirs.show options.nixci.postgresql.files;

  # Each database is used by the service of the same name, which runs as the user of that name.
  shutOut = lib.filter (
    name:
    host.refuses {
      system = name;
      user = name;
      database = name;
    }
  ) cfg.databases;
  superuserRefused = host.refuses {
    system = "postgres";
    user = "postgres";
    database = "postgres";
  };
  rules = names: lib.concatMapStringsSep " and " (name: "`local ${name} ${name} peer'") names;
  hbaFiles = theirs.where [
    option.authentication
    option.identMap
  ];
  defaultPackage = builtins.tryEval postgresql.package.outPath;
  noVersion = "nixci: ${settings} needs PostgreSQL, and this NixOS has no longer the version that belongs to system.stateVersion ${config.system.stateVersion} (${theirs.where [ options.system.stateVersion ]}). Set services.postgresql.package to a version that it has, for example pkgs.postgresql_16.";
in
{
  options.nixci.postgresql = t.role {
    databases = t.optionOr [ "atticd" ] (t.listOf t.databaseName) "Databases and their owners.";
  };

  config = lib.mkIf (cfg != null) {
    assertions = [
      {
        assertion = postgresql.enable;
        message = "nixci: ${settings} needs PostgreSQL, which ${theirs.where [ option.enable ]} turns off. Remove services.postgresql.enable there, or remove the role postgresql and those that use it from the playbook.";
      }
    ]
    ++ lib.optionals postgresql.enable [
      {
        assertion = defaultPackage.success;
        message = noVersion;
      }
      {
        assertion = host.reachable;
        message = "nixci: the services of ${settings} cannot reach PostgreSQL, because services.postgresql.settings.unix_socket_directories in ${theirs.where [ option.settings ]} names no folder outside /tmp and /home. Add /run/postgresql to it.";
      }
      {
        assertion = !superuserRefused;
        message = "nixci: ${settings} has databases to create, but pg_hba.conf of ${hbaFiles} refuses the user postgres. Add `local all postgres peer' to services.postgresql.authentication there, before the rules that refuse it.";
      }
      {
        assertion = shutOut == [ ];
        message = "nixci: pg_hba.conf of ${hbaFiles} refuses the login of ${lib.concatStringsSep ", " shutOut}, which ${settings} needs. Add ${rules shutOut} to services.postgresql.authentication there, before the rules that refuse it.";
      }
    ];

    # What the configuration itself says about PostgreSQL stays as it is.
    services.postgresql = {
      enable = t.overDefaults true;
      # NixOS 24.05 has no such version any more. Its own words would come before the assertions.
      package = lib.mkIf (lib.versionOlder config.system.stateVersion "21.11") (
        lib.mkOverride 999 (throw noVersion)
      );
    };

    # Not `ensureDatabases': NixOS creates those while it starts PostgreSQL, so that a failure takes everybody's
    # databases down. And from template0, as template1 refuses to be copied after an upgrade of the C library.
    systemd.services.nixci-postgresql = {
      description = "PostgreSQL databases of nixci";
      # Started with PostgreSQL, also when that comes back after a stop.
      wantedBy = [
        "multi-user.target"
        "postgresql.service"
      ];
      partOf = [ "postgresql.service" ];
      after = [
        "postgresql.service"
        "postgresql.target"
      ];
      before = map (name: "${name}.service") (lib.unique (cfg.databases ++ [ "atticd" ]));
      path = [ postgresql.package ];
      inherit (host) environment;
      serviceConfig = {
        Type = "oneshot";
        RemainAfterExit = true;
        User = "postgres";
        Group = "postgres";
      };
      # The names are safe by type.
      script = ''
        query() { psql --no-psqlrc --no-password -qtA -v ON_ERROR_STOP=1 -d postgres -c "$1"; }
        failed=0
        for name in ${toString cfg.databases}; do
          role=$(query "SELECT 1 FROM pg_roles WHERE rolname = '$name'")
          [ "$role" ] || query "CREATE ROLE \"$name\" LOGIN"
          owner=$(query "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = '$name'")
          case $owner in
            "$name") ;;
            "") query "CREATE DATABASE \"$name\" OWNER \"$name\" TEMPLATE template0" ;;
            # as an administrator creates it, to restore a dump
            postgres) query "ALTER DATABASE \"$name\" OWNER TO \"$name\"" ;;
            *)
              echo "The database $name belongs to $owner and not to $name. Rename it, or run: ALTER DATABASE \"$name\" OWNER TO \"$name\"" >&2
              failed=1
              ;;
          esac
        done
        exit $failed
      '';
    };
  };
}
