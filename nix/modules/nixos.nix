# The proof of import: after a rebuild, /etc/nixci/manifest.json says which of our files the
# running system was made from. The base role compares that with the files on the host.
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
  cfg = config.nixci.nixos;
  settings = theirs.show options.nixci.nixos.files;
  supported = (lib.importJSON ./supported.json).nixos;
  release = config.system.nixos.release;
  inherit (config.nixci) folders;

  hashes =
    folder: name:
    lib.optionalAttrs (builtins.pathExists folder) (
      lib.mapAttrs' (
        file: _type: lib.nameValuePair "${name}/${file}" (builtins.hashFile "sha256" (folder + "/${file}"))
      ) (lib.filterAttrs (_file: type: type == "regular") (builtins.readDir folder))
    );
in
{
  options.nixci = {
    nixos = t.role {
      collectionVersion = t.option t.version "Version of the collection that wrote the settings.";
    };
    folders = t.option (t.listOf lib.types.unspecified) "The folder with this host's settings." // {
      internal = true;
    };
  };

  config = lib.mkIf (cfg != null) {
    assertions = [
      {
        assertion = lib.length folders == 1;
        message = "nixci: this configuration takes the settings of ${lib.concatMapStringsSep " and " toString folders}, but a host has one such folder. Remove ./nixci/modules or ./nixci/hosts/<name>, whichever is not this host's, from its imports.";
      }
      {
        assertion = lib.versionAtLeast release supported.minimum;
        message = "nixci: this configuration is NixOS ${release}, but the modules of ${settings} need ${supported.minimum} or later: ${supported.reason}. Update nixpkgs.";
      }
    ];
    warnings =
      lib.optional (lib.versionOlder supported.newest release)
        "nixci: NixOS ${release} is newer than ${supported.newest}, the newest release that this version of the collection (${cfg.collectionVersion}) knows."
      ++ lib.optional (!config.nix.enable)
        "nixci: ${settings} is for hosts that rebuild themselves, but ${theirs.where [ options.nix.enable ]} sets nix.enable to false, so nixos-rebuild cannot work on this host."
      ++ lib.optional (!(config.system.switch.enable or true))
        "nixci: ${settings} is for hosts that switch to a new system, but ${
          theirs.where [ options.system.switch.enable ]
        } sets system.switch.enable to false, so nixos-rebuild cannot activate it.";

    environment.etc."nixci/manifest.json".text = builtins.toJSON {
      version = cfg.collectionVersion;
      inherit (config.nixci) checks;
      # Whose system this is, to be compared with the running one before it is activated.
      inherit (config.networking) hostName;
      # The commit of the user's flake, if that sets it.
      revision = config.system.configurationRevision;
      access = import ./access.nix {
        inherit
          config
          lib
          modulesPath
          options
          ;
      };
      files = hashes ./. "modules" // hashes (lib.head folders) "settings";
    };

    # Ansible needs one on the host. Any other Python of the host goes first.
    environment.systemPackages = [ (lib.meta.setPrio 100 pkgs.python3) ];
  };
}
