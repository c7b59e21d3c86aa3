# services.onepassword-secrets: OpNix' module, with the subset of its options that declarative secrets need.
# On a real host it comes from the flake of OpNix; in the lab it is built in, and lab.opnixVersion chooses the release.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.services.onepassword-secrets;
  integration = cfg.systemdIntegration;
  group = "onepassword-secrets";
  option = type: default: mkOption { inherit type default; };
  secret = {
    options = {
      reference = mkOption { type = types.str; };
      kind = option (types.enum [
        "field"
        "file"
      ]) "field";
      path = option (types.nullOr types.str) null;
      owner = option types.str "root";
      group = option types.str "root";
      mode = option types.str "0600";
      symlinks = option (types.listOf types.str) [ ];
      variables = option (types.attrsOf types.str) { };
      services = option (types.listOf types.str) [ ];
    };
  };
  nameOf =
    name:
    if builtins.match "[a-z][a-zA-Z0-9]*" name != null then
      name
    else
      throw "Secret name '${name}' is invalid: it must be camelCase, start with a lower-case letter and hold letters and digits only";
  pathOf = name: secret: if secret.path != null then secret.path else "${cfg.outputDir}/${name}";
  declarative = pkgs.writeText "opnix-declarative-secrets.json" (
    builtins.toJSON {
      secrets = lib.mapAttrsToList (
        name: secret: secret // { path = if secret.path != null then secret.path else nameOf name; }
      ) cfg.secrets;
      systemdIntegration = {
        inherit (integration) enable restartOnChange changeDetection;
        errorHandling.maxRetries = 3;
      };
    }
  );
  files = map toString cfg.configFiles ++ lib.optional (cfg.secrets != { }) "${declarative}";
  opnix = pkgs.opnixOf config.lab.opnixVersion;
  fetch = file: ''
    ${opnix}/bin/opnix secret \
      -token-file ${cfg.tokenFile} \
      -config ${file} \
      -output ${cfg.outputDir}'';
  consumers = lib.unique (
    integration.services ++ lib.concatMap (secret: secret.services) (lib.attrValues cfg.secrets)
  );
  ownPaths = lib.filter (path: path != null) (map (secret: secret.path) (lib.attrValues cfg.secrets));
in
{
  options.lab.opnixVersion = mkOption {
    type = types.str;
    default = pkgs.opnix.version;
    internal = true;
    description = "Only in the lab.";
  };

  options.services.onepassword-secrets = {
    enable = lib.mkEnableOption "1Password secrets integration";
    tokenFile = option types.path "/etc/opnix-token";
    configFiles = option (types.listOf types.path) [ ];
    outputDir = option types.str "/var/lib/opnix/secrets";
    users = option (types.listOf types.str) [ ];
    secrets = option (types.attrsOf (types.submodule secret)) { };
    secretPaths = option (types.attrsOf types.str) { };
    systemdIntegration = {
      enable = option types.bool true;
      restartOnChange = option types.bool true;
      services = option (types.listOf types.str) [ ];
      changeDetection = {
        enable = option types.bool true;
        hashFile = option types.str "/var/lib/opnix/secret-hashes.json";
      };
    };
  };

  config = lib.mkIf cfg.enable {
    assertions = [
      {
        assertion = cfg.secrets != { } || cfg.configFiles != [ ];
        message = "OpNix: at least one of services.onepassword-secrets.secrets and configFiles must be set";
      }
      {
        assertion = lib.allUnique ownPaths;
        message = "OpNix: two secrets have the same path";
      }
    ]
    ++ lib.mapAttrsToList (name: secret: {
      assertion = builtins.match "0?[0-7]{3}" secret.mode != null;
      message = "OpNix: the mode ${secret.mode} of the secret ${name} is not octal, such as 0600";
    }) cfg.secrets;

    services.onepassword-secrets.secretPaths = lib.mapAttrs pathOf cfg.secrets;
    users.groups.${group}.members = cfg.users;
    environment.systemPackages = [ opnix ];

    systemd.services = {
      opnix-secrets = {
        description = "OpNix Secret Management";
        wantedBy = [ "multi-user.target" ];
        after = [
          "network-online.target"
          "nss-lookup.target"
        ];
        wants = [
          "network-online.target"
          "nss-lookup.target"
        ];
        unitConfig = {
          StartLimitIntervalSec = "1h";
          StartLimitBurst = 2;
        };
        serviceConfig = {
          Type = "oneshot";
          RemainAfterExit = true;
          Restart = "on-failure";
          RestartSec = "15min";
          RestartPreventExitStatus = "65 75";
          User = "root";
          Group = group;
        };
        script = ''
          install -d -m 0751 ${cfg.outputDir}
          if [ -f ${cfg.tokenFile} ]; then
            chown root:${group} ${cfg.tokenFile}
            chmod 640 ${cfg.tokenFile}
          fi
          if [ ! -f ${cfg.tokenFile} ]; then
            echo "WARNING: Token file ${cfg.tokenFile} does not exist!" >&2
            echo "INFO: Using existing secrets, skipping updates" >&2
            exit 0
          fi
          if [ ! -s ${cfg.tokenFile} ]; then
            echo "ERROR: Token file is empty!" >&2
            exit 1
          fi
          ${lib.concatMapStringsSep "\n" fetch files}
        '';
      };
    }
    // lib.optionalAttrs (integration.enable && integration.changeDetection.enable) {
      opnix-secrets-restart = {
        description = "Restart services when OpNix secrets change";
        serviceConfig = {
          Type = "oneshot";
          User = "root";
        };
        script = lib.concatMapStringsSep "\n" (file: "${fetch file} || true") files;
      };
    }
    // lib.optionalAttrs integration.enable (
      lib.genAttrs consumers (_: {
        after = [ "opnix-secrets.service" ];
        wants = [ "opnix-secrets.service" ];
      })
    );
    systemd.paths = lib.mkIf (integration.enable && integration.changeDetection.enable) {
      opnix-secrets-watcher = {
        description = "Watch for OpNix secret changes";
        wantedBy = [ "multi-user.target" ];
        pathConfig = {
          PathModified = cfg.outputDir;
          Unit = "opnix-secrets-restart.service";
        };
      };
    };
  };
}
