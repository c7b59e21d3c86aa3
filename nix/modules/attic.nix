# The cache server. Works with services.atticd of nixpkgs and of Attic's own flake.
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
  postgresql = import ./postgresql-host.nix { inherit config lib; };
  cfg = config.nixci.attic;
  available = options.services ? atticd;
  atticd = config.services.atticd;
  user = config.services.atticd.user or "atticd";

  # Only Attic's own module has `configFile'; the other renders the same settings internally.
  configFile =
    atticd.configFile or ((pkgs.formats.toml { }).generate "server.toml" atticd.settings);

  environmentFile =
    if cfg.environmentFile != null then
      cfg.environmentFile
    else
      config.services.onepassword-secrets.secretPaths.atticEnvironment
        or "/var/lib/opnix/secrets/atticEnvironment";

  # Units that do not exist here are ignored. The target is younger than the service: where it
  # exists, the service alone is up before the database is there.
  dependencies = [
    "network-online.target"
    "opnix-secrets.service"
    "postgresql.service"
    "postgresql.target"
  ];

  environment = lib.mapAttrs (_: lib.mkDefault) {
    # The checksums that AWS' library adds by itself are refused by other S3 services.
    AWS_REQUEST_CHECKSUM_CALCULATION = "when_required";
    AWS_RESPONSE_CHECKSUM_VALIDATION = "when_required";
    # Without these it asks an address that only Amazon's machines have, and waits for the answer.
    AWS_EC2_METADATA_DISABLED = "true";
    AWS_REGION = cfg.storage.region;
    # Else neither warnings nor what was collected is logged; `info' alone logs every SQL statement.
    RUST_LOG = "attic_server=info";
  };

  # Other names under which Caddy sends requests here.
  proxied = lib.optionals (config.nixci.caddy != null) (
    lib.attrNames (lib.filterAttrs (_: site: site.upstream == cfg.listen) config.nixci.caddy.sites)
  );

  # Stronger than what the service's own module says, weaker than a user's mkForce.
  instead = lib.mkOverride 90;

  # What only works if it is as the role wants it. Weaker than a user's definitions, so that these
  # show up in one message below instead of one by one in the module system's.
  required = [
    (require "enable" true "")
    (require "mode" "monolithic" "")
    (require "environmentFile" environmentFile "attic_environment_file")
    (require "settings.listen" cfg.listen "attic_listen")
    # Without it and allowed-hosts the server believes whatever Host header it gets.
    (require "settings.api-endpoint" "https://${cfg.domain}/" "attic_domain")
    (require "settings.database.url" cfg.databaseUrl "")
    (require "settings.storage" ({ type = "s3"; } // cfg.storage) "attic_storage")
    (require "settings.chunking" {
      nar-size-threshold = cfg.chunking.narSizeThreshold;
      min-size = cfg.chunking.minSize;
      avg-size = cfg.chunking.avgSize;
      max-size = cfg.chunking.maxSize;
    } "attic_chunking")
    (require "settings.compression" { inherit (cfg.compression) type level; } "attic_compression")
    # atticd-gc.timer decides
    (require "settings.garbage-collection.interval" "0s" "attic_gc_on_calendar")
    (require "settings.garbage-collection.default-retention-period" cfg.defaultRetentionPeriod
      "attic_default_retention"
    )
  ];
  require = name: value: variable: {
    inherit name value variable;
    path = lib.splitString "." name;
  };
  definitions = lib.foldl' lib.recursiveUpdate { } (
    map (r: lib.setAttrByPath r.path (lib.mkOverride 900 r.value)) required
  );

  # What differs all the same, and what would take effect in the place of ours.
  differs = r: lib.attrByPath r.path null atticd != r.value;
  foreign = name: {
    inherit name;
    variable = "";
    path = lib.splitString "." name;
  };
  conflicts =
    lib.filter differs required
    ++ lib.optional (!lib.elem cfg.domain (atticd.settings.allowed-hosts or [ ])) (
      foreign "settings.allowed-hosts" // { variable = "attic_domain"; }
    )
    # Another key, issuer or audience: the tokens that the role caches mints would be refused.
    ++ lib.optional (atticd.settings ? jwt) (foreign "settings.jwt")
    ++ lib.optional ((options.services.atticd.configFile.highestPrio or 9999) < 1500) (foreign "configFile");
  # The files in which a user defines one of them; not those that only have weaker definitions.
  definedIn =
    r:
    let
      defines =
        path: value:
        if value._type or "" == "override" then
          value.priority < 900
        else if value ? _type then
          true # mkIf and mkMerge, whose contents are not looked into
        else
          path == [ ] || (lib.isAttrs value && value ? ${lib.head path} && defines (lib.tail path) value.${lib.head path});
    in
    map (def: def.file) (
      lib.filter (def: defines (lib.tail r.path) def.value && def.file != toString ./attic.nix)
        options.services.atticd.${lib.head r.path}.definitionsWithLocations
    );
  conflictingFiles = lib.unique (lib.concatMap definedIn conflicts);
  variables = lib.filter (v: v != "") (map (c: c.variable) conflicts);

  # Over the socket PostgreSQL knows its users by their names in the system.
  overSocket = lib.hasInfix "host=/" cfg.databaseUrl && config.services.postgresql.enable;
  login = builtins.match "postgresql://([^@]+)@[^/]+/([^?]+).*" cfg.databaseUrl;

  collect = pkgs.writeShellScript "atticd-gc" ''
    # The server counts chunks that it cannot delete as a warning and ends with success.
    failed=0
    while IFS= read -r line; do
      printf '%s\n' "$line"
      case $line in *"Deletion failed"*) failed=$((failed + 1)) ;; esac
    done < <(exec ${lib.getExe' atticd.package "atticd"} -f ${configFile} --mode garbage-collector-once 2>&1)
    wait "$!" || exit
    if [ "$failed" -gt 0 ]; then
      echo "The storage did not delete $failed chunks; the next collection tries them again. See 'Deletion failed' above." >&2
      exit 1
    fi
  '';

  bytes = default: t.optionOr default t.ints.unsigned "Size in bytes.";
in
{
  options.nixci.attic = t.role {
    domain = t.option t.domain "Name under which clients reach the cache.";
    listen = t.optionOr "127.0.0.1:8080" t.listen "Address of the server.";
    databaseUrl = t.optionOr (postgresql.url user user) t.databaseUrl "Database; the default is PostgreSQL's local socket.";
    environmentFile = t.optionOr null (t.nullOr t.path) "File with the signing key and the S3 credentials, read by systemd; null means OpNix's secret atticEnvironment.";
    storage = lib.mkOption {
      description = "S3 bucket with the chunks.";
      type = t.submodule {
        endpoint = t.option t.url "URL of the S3 service.";
        region = t.option t.region "Region of the bucket.";
        bucket = t.option t.bucketName "Name of the bucket.";
      };
    };
    chunking = t.group "How NARs are cut; changing this loses deduplication against older chunks." {
      narSizeThreshold = bytes 65536;
      minSize = bytes 16384;
      avgSize = bytes 65536;
      maxSize = bytes 262144;
    };
    compression = t.group "Compression of new chunks." {
      type = t.optionOr "zstd" (t.enum [
        "none"
        "brotli"
        "zstd"
        "xz"
      ]) "Algorithm.";
      level = t.optionOr 8 (t.ints.between 1 22) "Level, as the algorithm counts.";
    };
    defaultRetentionPeriod = t.optionOr "0s" t.duration "For caches without their own; 0s keeps all.";
    garbageCollection = t.group "When the collector runs." {
      onCalendar = t.optionOr "daily" t.calendar "Schedule.";
      persistent = t.optionOr true t.bool "Catch up after the host was off.";
      randomizedDelay = t.optionOr "1h" t.duration "Random delay after the scheduled time.";
    };
  };

  config = lib.mkIf (cfg != null) (
    {
      assertions = [
        {
          assertion = available;
          message = "nixci: settings/attic.json needs services.atticd. NixOS has it since 24.11; on older releases import inputs.attic.nixosModules.atticd (github:zhaofengli/attic).";
        }
        {
          assertion = !lib.hasPrefix builtins.storeDir environmentFile;
          message = "nixci.attic.environmentFile is in the Nix store, which everybody can read. Use a path outside.";
        }
        {
          assertion =
            cfg.chunking.minSize <= cfg.chunking.avgSize && cfg.chunking.avgSize <= cfg.chunking.maxSize;
          message = "nixci.attic.chunking: minSize <= avgSize <= maxSize does not hold.";
        }
      ]
      ++ lib.optionals available [
        {
          assertion = conflicts == [ ];
          message =
            "nixci: ${
              if conflictingFiles == [ ] then "this configuration" else lib.concatStringsSep " and " conflictingFiles
            } and the role attic (${theirs.show options.nixci.attic.files}) define services.atticd differently: "
            + "${lib.concatMapStringsSep ", " (c: c.name) conflicts}. Remove these definitions"
            + lib.optionalString (
              variables != [ ]
            ) " and set ${lib.concatStringsSep ", " variables} in the inventory where the role's values do not fit"
            + ", or leave the role attic out and keep your own server.";
        }
        {
          assertion = overSocket -> lib.head login == user;
          message = "nixci: services.atticd.user is ${user}, but the server logs in to PostgreSQL as ${lib.head login} over its socket, which only the system's user ${lib.head login} may do. Let nixci.attic.databaseUrl name ${user}, or remove services.atticd.user.";
        }
        {
          assertion =
            overSocket && config.nixci.postgresql != null
            -> lib.elem (lib.last login) (
                config.nixci.postgresql.databases ++ config.services.postgresql.ensureDatabases
              );
          message = "nixci: the Attic server uses the database ${lib.last login}, which the role postgresql does not make. Set postgresql_databases and backup_databases to [${lib.last login}].";
        }
      ];
    }
    // lib.optionalAttrs available {
      services.atticd = lib.recursiveUpdate definitions {
        settings.allowed-hosts = lib.unique ([ cfg.domain ] ++ proxied);
      };

      systemd.services.atticd = {
        inherit environment;
        after = dependencies;
        # A stop of PostgreSQL stops the server, because the service's own module requires it; so its
        # start has to start the server.
        wantedBy = lib.optionals config.services.postgresql.enable [
          "postgresql.service"
          "postgresql.target"
        ];
        startLimitIntervalSec = lib.mkDefault 0; # what it waits for may take longer than a few attempts
        serviceConfig = {
          Restart = instead "always";
          RestartSec = instead 2;
          # The server finishes running uploads when it is stopped.
          TimeoutStopSec = lib.mkDefault 300;
        }
        // lib.optionalAttrs overSocket {
          ExecStartPre = [
            # "-": a server with leaks is better than none
            "-${lib.getExe' config.services.postgresql.package "psql"} --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --file=${pkgs.writeText "attic-recovery.sql" (import ./attic-recovery.nix)} ${cfg.databaseUrl}"
          ];
        };
      };

      systemd.services.atticd-gc = {
        description = "Garbage collection of the Attic cache";
        after = dependencies;
        wants = [ "network-online.target" ];
        inherit environment;
        restartIfChanged = false; # a rebuild must neither interrupt a run nor wait for it
        # The server's own user, secrets and sandbox.
        serviceConfig =
          removeAttrs config.systemd.services.atticd.serviceConfig [
            "ExecStartPre"
            "Restart"
            "RestartSec"
            "TimeoutStopSec"
          ]
          // {
            Type = "oneshot";
            ExecStart = collect;
          };
      };

      systemd.timers.atticd-gc = {
        description = "Garbage collection of the Attic cache";
        wantedBy = [ "timers.target" ];
        timerConfig = {
          OnCalendar = cfg.garbageCollection.onCalendar;
          Persistent = cfg.garbageCollection.persistent;
          RandomizedDelaySec = cfg.garbageCollection.randomizedDelay;
        };
      };

      # Also brings atticadm.
      environment.systemPackages = [
        atticd.package
        pkgs.attic-client
      ];
    }
  );
}
