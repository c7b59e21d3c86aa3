# What a fleet's flake takes for nixpkgs in the lab: its lib with nixosSystem, and its packages.
{
  description = "The lab's stand-in for nixpkgs";

  outputs =
    _:
    let
      lib = import ./lib.nix;
      systems = [
        "x86_64-linux"
        "aarch64-linux"
      ];
    in
    {
      lib = lib // {
        nixosSystem =
          {
            modules,
            specialArgs ? { },
            system ? null,
          }:
          import ./eval.nix { inherit modules specialArgs system; };
      };
      legacyPackages = lib.genAttrs systems (system: import ./pkgs { inherit lib system; });
    };
}
