{
  description = "The hosts of a small fleet";

  # A real fleet says github:NixOS/nixpkgs/nixos-unstable; the lab has no network.
  inputs.nixpkgs.url = "path:./nixpkgs";

  outputs =
    { self, nixpkgs }:
    let
      system = "x86_64-linux";
      revision.system.configurationRevision = self.rev or self.dirtyRev or null;
    in
    {
      nixosConfigurations = {
        hetzner-vps = nixpkgs.lib.nixosSystem {
          inherit system;
          modules = [
            revision
            ./hosts/hetzner-vps.nix
            ./nixci/hosts/hetzner-vps
          ];
        };
        ovh-vps = nixpkgs.lib.nixosSystem {
          inherit system;
          modules = [
            revision
            ./hosts/ovh-vps.nix
            ./nixci/hosts/ovh-vps
          ];
        };
        # Laptops, which no machine of the lab plays. They have to evaluate and build like the others.
        yoga = nixpkgs.lib.nixosSystem {
          inherit system;
          modules = [
            revision
            ./hosts/yoga.nix
          ];
        };
        zephyrus = nixpkgs.lib.nixosSystem {
          inherit system;
          modules = [
            revision
            ./hosts/zephyrus.nix
          ];
        };
      };
    };
}
