# The cache server. Works with services.atticd of nixpkgs and of Attic's own flake.
{
  config,
  lib,
  options,
  pkgs,
  ...
}:
let
  t = import ./types.nix { inherit lib; };
  postgresql = import ./postgresql-host.nix { inherit config lib; };
  cfg = config.nixci.attic;
  available = options.services ? atticd;
  atticd = config.services.atticd;

  # Only Attic's own module has `configFile'; the other renders the same settings internally.
  configFile =
    atticd.configFile or ((pkgs.formats.toml { }).generate "server.toml" atticd.settings);

  # Units that do not exist here are ignored. The target is younger than the service: where it
  # exists, the service alone is up before the database is there.
  dependencies = [
    "network-online.target"
    "opnix-secrets.service"
    "postgresql.service"
    "postgresql.target"
  ];

  # The checksums that AWS' library adds by itself are refused by other S3 services.
  environment = {
    AWS_REQUEST_CHECKSUM_CALCULATION = "when_required";
    AWS_RESPONSE_CHECKSUM_VALIDATION = "when_required";
  };

  bytes = default: t.optionOr default t.ints.unsigned "Size in bytes.";
in
{
  options.nixci.attic = t.role {
    domain = t.option t.domain "Name under which clients reach the cache.";
    listen = t.optionOr "127.0.0.1:8080" t.listen "Address of the server.";
    databaseUrl = t.optionOr (postgresql.url "atticd" "atticd") t.databaseUrl "Database; the default is PostgreSQL's local socket.";
    environmentFile = t.optionOr "/var/lib/opnix/secrets/atticEnvironment" t.path "File with the signing key and the S3 credentials, read by systemd.";
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
          assertion = !lib.hasPrefix builtins.storeDir cfg.environmentFile;
          message = "nixci.attic.environmentFile is in the Nix store, which everybody can read. Use a path outside.";
        }
        {
          assertion =
            cfg.chunking.minSize <= cfg.chunking.avgSize && cfg.chunking.avgSize <= cfg.chunking.maxSize;
          message = "nixci.attic.chunking: minSize <= avgSize <= maxSize does not hold.";
        }
      ];
    }
    // lib.optionalAttrs available {
      services.atticd = {
        enable = true;
        mode = "monolithic";
        inherit (cfg) environmentFile;
        settings = {
          inherit (cfg) listen;
          # Without these two the server believes whatever Host header it gets.
          api-endpoint = "https://${cfg.domain}/";
          allowed-hosts = [ cfg.domain ];
          database.url = cfg.databaseUrl;
          storage = {
            type = "s3";
            inherit (cfg.storage) endpoint region bucket;
          };
          chunking = {
            nar-size-threshold = cfg.chunking.narSizeThreshold;
            min-size = cfg.chunking.minSize;
            avg-size = cfg.chunking.avgSize;
            max-size = cfg.chunking.maxSize;
          };
          compression = { inherit (cfg.compression) type level; };
          garbage-collection = {
            interval = "0s"; # atticd-gc.timer decides
            default-retention-period = cfg.defaultRetentionPeriod;
          };
        };
      };

      systemd.services.atticd = {
        inherit environment;
        after = dependencies;
      };

      systemd.services.atticd-gc = {
        description = "Garbage collection of the Attic cache";
        after = dependencies;
        wants = [ "network-online.target" ];
        environment = environment // {
          RUST_LOG = "info"; # else it does not say what it removed
        };
        restartIfChanged = false; # a rebuild must neither interrupt a run nor wait for it
        # The server's own user, secrets and sandbox.
        serviceConfig =
          removeAttrs config.systemd.services.atticd.serviceConfig [
            "Restart"
            "RestartSec"
          ]
          // {
            Type = "oneshot";
            ExecStart = "${lib.getExe' atticd.package "atticd"} -f ${configFile} --mode garbage-collector-once";
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
