# Secrets on the host, through OpNix: settings hold references, OpNix fetches the values. The token file and the folder of
# the secrets belong to the host; what it says wins, and the rest follows.
{
  config,
  lib,
  options,
  ...
}:
let
  t = import ./types.nix { inherit lib; };
  cfg = config.nixci.opnix;
  supported = (lib.importJSON ./supported.json).opnix;
  imported = options.services ? onepassword-secrets;
  # OpNix has declarative secrets since 0.7.
  usable = imported && options.services.onepassword-secrets ? secrets;
  # Its module has no version; the program that its unit runs has one in the name of its store path.
  found = lib.findFirst lib.isList null (
    builtins.split "-opnix-([0-9][0-9.]*)/bin/opnix" (
      builtins.unsafeDiscardStringContext config.systemd.services.opnix-secrets.script
    )
  );
  version = if !usable then "0.6 or older" else if found == null then null else lib.head found;
  tooOld = !usable || version != null && lib.versionOlder version supported.minimum;

  secret = t.submodule {
    reference = t.option t.secretReference "Where the value is in 1Password.";
    path = t.optionOr null (t.nullOr t.path) "File to write; null means OpNix's folder.";
    owner = t.optionOr "root" t.user "Owner of the file; must exist when OpNix runs.";
    group = t.optionOr "root" t.user "Group of the file; must exist when OpNix runs.";
    mode = t.optionOr "0400" t.fileMode "Mode of the file.";
    services = t.optionOr [ ] (t.listOf t.service) "Services restarted when the value changes.";
    version = t.optionOr 0 t.ints.unsigned "Version of the item; a new one makes the host fetch the value anew.";
  };
in
{
  options.nixci.opnix = t.role {
    tokenFile = t.optionOr null (t.nullOr t.path) "File with the service account's token; null means the host's or OpNix's own.";
    secrets = t.optionOr { } (t.bySecretName secret) "Secrets by name.";
  };

  config = lib.mkIf (cfg != null) (
    {
      assertions = [
        {
          assertion = imported;
          message = "nixci: settings/opnix.json needs the OpNix module, which this configuration does not import. Add inputs.opnix.nixosModules.default (github:brizzbuzz/opnix) to its modules.";
        }
        {
          assertion = !imported || !tooOld;
          message = "nixci: this configuration's OpNix (its program is version ${toString version}) is too old for settings/opnix.json, which needs ${supported.minimum} or newer: ${supported.reason}. Take the release v${supported.newest} of github:brizzbuzz/opnix, for instance with inputs.opnix.url = \"github:brizzbuzz/opnix/v${supported.newest}\" and 'nix flake update opnix'.";
        }
      ];
    }
    // lib.optionalAttrs usable {
      services.onepassword-secrets = {
        enable = true;
        tokenFile = lib.mkIf (cfg.tokenFile != null) (lib.mkDefault cfg.tokenFile);
        secrets = lib.mapAttrs (_name: secret: removeAttrs secret [ "version" ]) cfg.secrets;
      };
      # OpNix fetches when its unit starts, and only then.
      systemd.services.opnix-secrets.restartTriggers = [
        (builtins.toJSON (lib.mapAttrs (_name: secret: secret.version) cfg.secrets))
      ];
    }
  );
}
