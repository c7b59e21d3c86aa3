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
  shown = theirs.show options.nixci.attic.files;
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

  # The fields that each kind of storage has, and no others.
  storageFields = {
    s3 = [
      "endpoint"
      "region"
      "bucket"
    ];
    local = [ "path" ];
  };
  s3 = cfg.storage.type == "s3";
  storage = lib.filterAttrs (_: value: value != null) (
    lib.genAttrs ([ "type" ] ++ storageFields.${cfg.storage.type}) (field: cfg.storage.${field})
  );
  givenFields = lib.filter (field: cfg.storage.${field} != null) (lib.concatLists (lib.attrValues storageFields));
  # systemd gives the server this folder; its user exists only while it runs, so no other one can belong to it.
  stateFolder = "/var/lib/atticd/";

  # Levels that each algorithm knows.
  levels = {
    brotli = 11;
    zstd = 22;
    xz = 9;
  };

  jwt =
    lib.optionalAttrs (cfg.tokenIssuer != null) { token-bound-issuer = cfg.tokenIssuer; }
    // lib.optionalAttrs (cfg.tokenAudiences != [ ]) { token-bound-audiences = cfg.tokenAudiences; };

  # Units that do not exist here are ignored. The target is younger than the service: where it
  # exists, the service alone is up before the database is there.
  dependencies = [
    "network-online.target"
    "opnix-secrets.service"
    "postgresql.service"
    "postgresql.target"
  ];

  environment = lib.mapAttrs (_: lib.mkDefault) (s3Environment // {
    # Else neither warnings nor what was collected is logged; `info' alone logs every SQL statement.
    RUST_LOG = "attic_server=info";
  });
  s3Environment = lib.optionalAttrs s3 {
    # The checksums that AWS' library adds by itself are refused by other S3 services.
    AWS_REQUEST_CHECKSUM_CALCULATION = "when_required";
    AWS_RESPONSE_CHECKSUM_VALIDATION = "when_required";
    # Without these it asks an address that only Amazon's machines have, and waits for the answer.
    AWS_EC2_METADATA_DISABLED = "true";
    AWS_REGION = cfg.storage.region;
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
    (require "settings.database.url" cfg.databaseUrl "attic_database_url")
    (require "settings.storage" storage "attic_storage")
    (require "settings.chunking" {
      nar-size-threshold =
        if cfg.chunking.narSizeThreshold != null then
          cfg.chunking.narSizeThreshold
        else if cfg.profile == "direct" then
          0
        else
          65536;
      min-size = cfg.chunking.minSize;
      avg-size = cfg.chunking.avgSize;
      max-size = cfg.chunking.maxSize;
    } "attic_chunking")
    (require "settings.compression" (
      { inherit (cfg.compression) type; }
      // lib.optionalAttrs (cfg.compression.level != null) { inherit (cfg.compression) level; }
    ) "attic_compression")
    # atticd-gc.timer decides
    (require "settings.garbage-collection.interval" "0s" "attic_gc_on_calendar")
    (require "settings.garbage-collection.default-retention-period" cfg.defaultRetentionPeriod
      "attic_default_retention"
    )
    # Another issuer or audience: the tokens that the role caches mints would be refused.
    (requireIf (jwt != { }) "settings.jwt" jwt "attic_token_issuer")
  ];
  require = requireIf true;
  requireIf = wanted: name: value: variable: {
    inherit
      wanted
      name
      value
      variable
      ;
    path = lib.splitString "." name;
  };
  # What works otherwise, too: a plain definition of the user's wins.
  offered = [
    (require "settings.require-proof-of-possession" cfg.requireProofOfPossession "")
    (require "settings.soft-delete-caches" cfg.softDeleteCaches "")
    (require "settings.max-nar-info-size" cfg.maxNarInfoSize "")
    (require "settings.database.heartbeat" cfg.databaseHeartbeat "")
    (requireIf (cfg.substituterEndpoint != null) "settings.substituter-endpoint" cfg.substituterEndpoint "")
  ];
  definitions = lib.foldl' lib.recursiveUpdate { } (
    map (r: lib.setAttrByPath r.path (lib.mkIf r.wanted (lib.mkOverride 900 r.value))) (required ++ offered)
  );

  allowedHosts = lib.unique ([ cfg.domain ] ++ cfg.allowedHosts ++ proxied);

  # What differs all the same, and what would take effect in the place of ours.
  differs = r: r.wanted && lib.attrByPath r.path null atticd != r.value;
  foreign = name: {
    inherit name;
    variable = "";
    path = lib.splitString "." name;
  };
  conflicts =
    lib.filter differs required
    ++ lib.optional (lib.subtractLists (atticd.settings.allowed-hosts or [ ]) allowedHosts != [ ]) (
      foreign "settings.allowed-hosts" // { variable = "attic_allowed_hosts"; }
    )
    # Also another key: as for issuers and audiences.
    ++ lib.optional (jwt == { } && atticd.settings ? jwt) (foreign "settings.jwt")
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
    # And it removes a limited number of them at once.
    deleted=${toString chunksPerCollection}
    while [ "$deleted" -ge ${toString chunksPerCollection} ]; do
      failed=0
      deleted=0
      while IFS= read -r line; do
        printf '%s\n' "$line"
        case $line in
          *"Deletion failed"*) failed=$((failed + 1)) ;;
          *"Deleted "[0-9]*" orphan chunks"*)
            deleted=''${line##*Deleted }
            deleted=''${deleted%% *}
            ;;
        esac
      done < <(exec ${lib.getExe' atticd.package "atticd"} -f ${configFile} --mode garbage-collector-once 2>&1)
      wait "$!" || exit
      if [ "$failed" -gt 0 ]; then
        echo "The storage did not delete $failed chunks; the next collection tries them again. See 'Deletion failed' above." >&2
        exit 1
      fi
    done
  '';
  # As in the server's gc.rs.
  chunksPerCollection = if sqlite then 500 else 65535;
  sqlite = lib.hasPrefix "sqlite:" cfg.databaseUrl;

  bytes = default: t.optionOr default t.ints.unsigned "Size in bytes.";
in
{
  options.nixci.attic = t.role {
    domain = t.option t.domain "Name under which clients reach the cache.";
    allowedHosts = t.optionOr [ ] (t.listOf t.httpHost) "Other values of the Host header that the server answers to, with the port if that is not 443.";
    substituterEndpoint = t.optionOr null (t.nullOr t.folderUrl) "URL under which Nix fetches, for instance that of a CDN; null means the domain's.";
    listen = t.optionOr "127.0.0.1:8080" t.listen "Address of the server.";
    databaseUrl = t.optionOr (postgresql.url user user) t.databaseUrl "Database; the default is PostgreSQL's local socket. A password is PGPASSWORD in the environment file.";
    databaseHeartbeat = t.optionOr false t.bool "Ask the database for something every minute, for networks that drop idle connections.";
    environmentFile = t.optionOr null (t.nullOr t.path) "File with the signing key and the S3 credentials, read by systemd; null means OpNix's secret atticEnvironment.";
    tokenIssuer = t.optionOr null (t.nullOr t.claim) "Tokens must have this issuer.";
    tokenAudiences = t.optionOr [ ] (t.listOf t.claim) "Tokens must have one of these audiences.";
    requireProofOfPossession = t.optionOr true t.bool "Whoever pushes a NAR that the server has must send it all the same; else a known hash gives access to it.";
    softDeleteCaches = t.optionOr false t.bool "Keep the rows of a destroyed cache; its name cannot be used again.";
    maxNarInfoSize = t.optionOr 1048576 t.ints.positive "Limit in bytes of what describes an upload.";
    storage = lib.mkOption {
      description = "Where the chunks are: an S3 bucket, or a folder of the host.";
      type = t.submodule {
        type = t.optionOr "s3" (t.enum [
          "s3"
          "local"
        ]) "Kind of storage.";
        endpoint = t.optionOr null (t.nullOr t.url) "URL of the S3 service.";
        region = t.optionOr null (t.nullOr t.region) "Region of the bucket.";
        bucket = t.optionOr null (t.nullOr t.bucketName) "Name of the bucket.";
        path = t.optionOr null (t.nullOr t.path) "Folder of a local storage, in ${stateFolder}.";
      };
    };
    profile = t.optionOr "dedup" (t.enum [
      "dedup"
      "direct"
    ]) "dedup cuts NARs into chunks, each of which is stored once; direct stores each NAR as one file, which clients fetch from the bucket.";
    chunking = t.group "How NARs are cut; changing this loses deduplication against older chunks." {
      narSizeThreshold = t.optionOr null (t.nullOr t.ints.unsigned) "Smaller NARs are not cut, 0 cuts none, null means what the profile says.";
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
      level = t.optionOr (if cfg.compression.type == "zstd" then 8 else null) (t.nullOr (t.ints.between 0 22)) "Level, as the algorithm counts; null means the server's own.";
    };
    memoryHigh = t.optionOr "60%" t.memory "Above this, systemd slows the server and the collector down and takes memory back.";
    memoryMax = t.optionOr "75%" t.memory "At this, systemd ends them; the server starts again.";
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
        {
          assertion = givenFields == storageFields.${cfg.storage.type};
          message = "nixci.attic.storage: a storage of the type ${cfg.storage.type} has ${lib.concatStringsSep ", " storageFields.${cfg.storage.type}} and nothing else, but ${shown} sets ${
            if givenFields == [ ] then "none of it" else lib.concatStringsSep ", " givenFields
          }. Correct attic_storage in the inventory.";
        }
        {
          assertion =
            s3 || cfg.storage.path == null || lib.hasPrefix stateFolder cfg.storage.path || config.users.users ? ${user};
          message = "nixci.attic.storage: ${toString cfg.storage.path} in ${shown} cannot belong to the server, whose user exists only while it runs. Use a folder in ${stateFolder}; for another disk, mount that at /var/lib/private/atticd. Or define the user ${user} in users.users.";
        }
        {
          assertion = !lib.hasInfix "sslmode=verify-ca" cfg.databaseUrl;
          message = "nixci.attic.databaseUrl in ${shown}: the server ends in a panic with sslmode=verify-ca. Use sslmode=verify-full in attic_database_url.";
        }
        {
          assertion = cfg.compression.level == null || cfg.compression.level <= levels.${cfg.compression.type} or 0;
          message = "nixci.attic.compression: ${cfg.compression.type} has no level ${toString cfg.compression.level}; ${
            if levels ? ${cfg.compression.type} then
              "the highest is ${toString levels.${cfg.compression.type}}"
            else
              "it has none"
          }. Correct attic_compression in the inventory.";
        }
      ]
      ++ lib.optionals available [
        {
          assertion = conflicts == [ ];
          message =
            "nixci: ${
              if conflictingFiles == [ ] then "this configuration" else lib.concatStringsSep " and " conflictingFiles
            } and the role attic (${shown}) define services.atticd differently: "
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
      services.atticd = lib.recursiveUpdate definitions { settings.allowed-hosts = allowedHosts; };

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
          # The collector has the same.
          MemoryHigh = lib.mkDefault cfg.memoryHigh;
          MemoryMax = lib.mkDefault cfg.memoryMax;
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

      # The Python of attic_stats_info, whatever other Python the host has.
      environment.etc = lib.optionalAttrs (!sqlite) {
        "nixci/python3".source = "${pkgs.python3.withPackages (p: [ p.psycopg2 ])}/bin/python3";
      };

      # Also brings atticadm.
      environment.systemPackages = [
        atticd.package
        pkgs.attic-client
      ];
    }
  );
}
