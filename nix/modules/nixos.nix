# The proof of import: after a rebuild, /etc/nixci/manifest.json says which of our files the
# running system was made from. The base role compares that with the files on the host.
{ config, lib, ... }:
let
  t = import ./types.nix { inherit lib; };
  cfg = config.nixci.nixos;

  hashes =
    folder: name:
    lib.mapAttrs' (
      file: _type: lib.nameValuePair "${name}/${file}" (builtins.hashFile "sha256" (folder + "/${file}"))
    ) (lib.filterAttrs (_file: type: type == "regular") (builtins.readDir folder));
in
{
  options.nixci.nixos = t.role {
    collectionVersion = t.option t.version "Version of the collection that wrote the settings.";
  };

  config = lib.mkIf (cfg != null) {
    environment.etc."nixci/manifest.json".text = builtins.toJSON {
      version = cfg.collectionVersion;
      inherit (config.nixci) checks;
      files =
        hashes ./. "modules"
        // lib.optionalAttrs (builtins.pathExists ../settings) (hashes ../settings "settings");
    };
  };
}
