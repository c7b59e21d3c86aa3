# For a configuration that takes the modules as an input instead of a copy of them in its own repository:
#
#     inputs.nixci.url = "gitlab:pantheros/nixci/v0.1.0";
#     modules = [ (inputs.nixci.nixosModules.default ./nixci/hosts/web/settings) ];
#
# It has no inputs, because the modules need nothing but NixOS: one entry in the user's lock file, and no second nixpkgs.
# The test in virtual machines, which needs nixpkgs, is a flake of its own: nix/tests.
{
  description = "NixOS modules of the Ansible collection pantheros.nixci";

  outputs = _: {
    # A function of the folder with the host's settings. As a functor, because `nix flake check' of old releases accepts
    # no function there whose argument is not that of a module.
    nixosModules.default.__functor = _self: import ./nix/modules/with-settings.nix;
  };
}
