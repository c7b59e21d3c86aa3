# Secrets on the host, through OpNix: settings hold references, OpNix fetches the values.
{
  config,
  lib,
  options,
  ...
}:
let
  t = import ./types.nix { inherit lib; };
  cfg = config.nixci.opnix;
  imported = options.services ? onepassword-secrets;

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
    tokenFile = t.optionOr "/etc/opnix-token" t.path "File with the service account's token.";
    secrets = t.optionOr { } (t.bySecretName secret) "Secrets by name.";
  };

  config = lib.mkIf (cfg != null) (
    {
      assertions = [
        {
          assertion = imported;
          message = "nixci: settings/opnix.json needs the OpNix module, which this configuration does not import. Add inputs.opnix.nixosModules.default (github:brizzbuzz/opnix) to its modules.";
        }
      ];
    }
    // lib.optionalAttrs imported {
      services.onepassword-secrets = {
        enable = true;
        inherit (cfg) tokenFile;
        secrets = lib.mapAttrs (_name: secret: removeAttrs secret [ "version" ]) cfg.secrets;
      };
      # OpNix fetches when its unit starts, and only then.
      systemd.services.opnix-secrets.restartTriggers = [
        (builtins.toJSON (lib.mapAttrs (_name: secret: secret.version) cfg.secrets))
      ];
    }
  );
}
