# What must hold on the host after an activation, from the evaluated configuration: whatever the host decides itself (ports,
# folders, names), its checks follow. The manifest carries them to pantheros.nixci.nixos_check, which documents them.
{ config, lib, ... }:
let
  t = import ./types.nix { inherit lib; };
  inherit (lib) types;
  cfg = config.nixci;
  atticd = config.services.atticd;
  opnix = config.services.onepassword-secrets;
  host = import ./postgresql-host.nix { inherit config lib; };
  dump = name: "nixci-backup-${name}";
in
{
  options.nixci.checks = {
    units = t.optionOr [ ] (types.listOf types.str) "Units that must be active.";
    databases = t.optionOr { } (types.attrsOf types.str) "PostgreSQL database to its owner.";
    postgresql = t.optionOr { } (types.attrsOf types.str) "Environment in which PostgreSQL's programs find this host's server.";
    files = t.optionOr { } (types.attrsOf types.str) "Path to mode.";
    logins = t.optionOr { } (types.attrsOf types.str) "Unit to the URL of the database that its user must be able to use.";
    dumps = t.optionOr { } (types.attrsOf (
      t.submodule {
        unit = t.option types.str "Unit that makes the dump.";
        folder = t.option types.str "Where it is.";
      }
    )) "Database to its dump.";
    urls = t.optionOr { } (types.attrsOf (
      t.submodule {
        headers = t.optionOr { } (types.attrsOf types.str) "Headers of the request.";
        status = t.optionOr null (types.nullOr types.int) "Status of the answer; null means any below 400.";
        contains = t.optionOr null (types.nullOr types.str) "Text in the answer.";
        unit = t.optionOr null (types.nullOr types.str) "Unit whose process must listen there.";
      }
    )) "What must answer, by URL.";
  };

  config.nixci.checks = lib.mkMerge [
    (lib.mkIf (cfg.postgresql != null) {
      databases = lib.genAttrs cfg.postgresql.databases (name: name);
    })

    (lib.mkIf (cfg.postgresql != null || cfg.backup != null) {
      postgresql = host.environment;
    })

    (lib.mkIf (cfg.backup != null) {
      units =
        map (name: "${dump name}.timer") cfg.backup.databases
        ++ lib.optional (cfg.backup.offsite != null) "nixci-offsite.timer";
      dumps = lib.genAttrs cfg.backup.databases (name: {
        unit = "${dump name}.service";
        folder = cfg.backup.location;
      });
    })

    (lib.mkIf (cfg.opnix != null) {
      units = [ "opnix-secrets.service" ];
      files = lib.mapAttrs' (
        name: _secret: lib.nameValuePair opnix.secretPaths.${name} opnix.secrets.${name}.mode
      ) cfg.opnix.secrets;
    })

    (lib.mkIf (cfg.attic != null) {
      units = [
        "atticd.service"
        "atticd-gc.timer"
      ];
      # Over a local socket only: elsewhere the login may need a password, which is in the environment file.
      logins = lib.optionalAttrs (lib.hasInfix "host=/" atticd.settings.database.url) {
        "atticd.service" = atticd.settings.database.url;
      };
      # The server asks its database for this cache, and then refuses whoever has no token.
      urls."http://${atticd.settings.listen}/_api/v1/cache-config/nixci-no-such-cache" = {
        headers.Host = cfg.attic.domain;
        status = 401;
        contains = "Unauthorized";
        unit = "atticd.service";
      };
    })

    (lib.mkIf (cfg.caddy != null) { units = [ "caddy.service" ]; })
  ];
}
