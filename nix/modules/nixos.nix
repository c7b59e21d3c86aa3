# The proof of import: after a rebuild, /etc/nixci/manifest.json says which settings the running
# system was made from. The base role compares it with the files it wrote.
{ config, lib, ... }:
let
  t = import ./types.nix { inherit lib; };
  cfg = config.nixci.nixos;
in
{
  options.nixci.nixos = t.role {
    collectionVersion = t.option t.version "Version of the collection that wrote the settings.";
  };

  config = lib.mkIf (cfg != null) {
    environment.etc."nixci/manifest.json".text = builtins.toJSON {
      version = cfg.collectionVersion;
      settings = lib.mapAttrs (_role: builtins.hashFile "sha256") (
        import ./settings-files.nix { inherit lib; }
      );
    };
  };
}
