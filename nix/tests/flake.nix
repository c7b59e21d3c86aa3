# The tests in virtual machines, for a machine with KVM:
#
#     nix flake check ./nix/tests --override-input nixpkgs github:NixOS/nixpkgs/nixos-unstable
#
# A flake of its own, so that nobody who uses the modules locks a nixpkgs for the sake of these. It has no lock file: it is
# to be tested with the nixpkgs of the fleet, which the option above names.
{
  description = "NixOS tests of pantheros.nixci";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { nixpkgs, ... }:
    {
      checks = nixpkgs.lib.genAttrs [ "x86_64-linux" "aarch64-linux" ] (system: {
        deployment = import ./deployment.nix { pkgs = nixpkgs.legacyPackages.${system}; };
      });
    };
}
