# Nix takes what the caches have, beside whatever the host's own configuration names. A cache that is slow or broken must
# not stop a build: Nix gives up soon, and builds instead.
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
  cfg = config.nixci.substituter;
  inherit (config.nix) settings;
  shown = theirs.show options.nixci.substituter.files;

  url =
    cache: cache.url + lib.optionalString (cache.priority != null) "?priority=${toString cache.priority}";
  urls = map url cfg.substituters;
  keys = lib.unique (map (cache: cache.key) cfg.substituters);

  # Private caches need a file with their tokens, which OpNix writes, or the host's owner.
  secret = "substituterNetrc";
  netrcFile =
    if cfg.netrcFile != null then
      cfg.netrcFile
    else if config.nixci.opnix != null && config.nixci.opnix.secrets ? ${secret} then
      config.services.onepassword-secrets.secretPaths.${secret} or null
    else
      null;

  # The files that define this setting, or that force it.
  definedIn = name: theirs.whereIs name options.nix.settings;
  forcedIn =
    name:
    let
      forced = lib.filter (
        def: lib.isAttrs def.value && def.value.${name}._type or "" == "override"
      ) (theirs.definitions options.nix.settings);
    in
    if forced == [ ] then definedIn name else theirs.show (map (def: toString def.file) forced);
  ignored = name: ours: lib.subtractLists settings.${name} ours != [ ];
in
{
  options.nixci.substituter = t.role {
    substituters = t.option (t.nonEmptyListOf (
      t.submodule {
        url = t.option t.url "Address of the cache.";
        key = t.option t.publicKey "Public key that it signs with.";
        priority = t.optionOr null (t.nullOr t.ints.unsigned) "Nix asks the lowest first; null means what the cache says.";
      }
    )) "Caches that Nix fetches store paths from.";
    # Under the names of nix.conf.
    client = t.group "How Nix asks its caches, all of them; the host's own nix.settings win." {
      connect-timeout = t.optionOr 5 t.ints.positive "Seconds to wait for a connection.";
      stalled-download-timeout = t.optionOr 30 t.ints.positive "Seconds without a byte after which a download is given up.";
      download-attempts = t.optionOr 2 t.ints.positive "How often a download is tried.";
      http-connections = t.optionOr 50 t.ints.unsigned "Connections at the same time; 0 means any number.";
      # The default of 30 days is longer than a cache may keep a path.
      narinfo-cache-positive-ttl = t.optionOr (5 * 24 * 60 * 60) t.ints.unsigned "Seconds for which Nix believes that a cache has a path.";
      # The default is an hour, in which a host would not see what was pushed meanwhile.
      narinfo-cache-negative-ttl = t.optionOr 600 t.ints.unsigned "Seconds for which Nix believes that a cache lacks a path.";
      fallback = t.optionOr true t.bool "Build what a cache has and does not deliver.";
    };
    netrcFile = t.optionOr null (t.nullOr t.path) "File with the tokens of private caches; null means OpNix's secret ${secret}, if there is one.";
  };

  config = lib.mkIf (cfg != null) {
    assertions = [
      {
        assertion = netrcFile == null || !lib.hasPrefix builtins.storeDir netrcFile;
        message = "nixci: ${shown} names a file with tokens in the Nix store, which everybody can read. Use a path outside.";
      }
      {
        assertion = netrcFile == null || settings.netrc-file or null == netrcFile;
        message = "nixci: Nix reads one netrc file, and ${definedIn "netrc-file"} sets nix.settings.netrc-file to ${
          toString (settings.netrc-file or "")
        }, but the private caches of ${shown} need ${toString netrcFile}. Put the line of the caches into your file and set substituter_netrc_file to its path in the inventory, or remove that setting.";
      }
      {
        assertion = netrcFile == null || !config.environment.etc ? "nix/netrc" || netrcFile == "/etc/nix/netrc";
        message = "nixci: Nix reads one netrc file, and ${
          theirs.whereIs "nix/netrc" options.environment.etc
        } makes /etc/nix/netrc, but the private caches of ${shown} need ${toString netrcFile}. Put the line of the caches into your file and set substituter_netrc_file to its path in the inventory, or remove it.";
      }
    ];
    warnings =
      lib.optional (ignored "substituters" urls)
        "nixci: the caches of ${shown} are not used, because ${forcedIn "substituters"} forces nix.settings.substituters. Add them there, or use no lib.mkForce."
      ++ lib.optional (!ignored "substituters" urls && ignored "trusted-public-keys" keys)
        "nixci: Nix refuses what the caches of ${shown} have, because ${forcedIn "trusted-public-keys"} forces nix.settings.trusted-public-keys. Add ${lib.concatStringsSep " " keys} there, or use no lib.mkForce.";

    nix.settings = {
      substituters = urls;
      trusted-public-keys = keys;
      netrc-file = lib.mkIf (netrcFile != null) (t.hostDecides netrcFile);
    }
    // lib.mapAttrs (_: t.hostDecides) cfg.client;
  };
}
