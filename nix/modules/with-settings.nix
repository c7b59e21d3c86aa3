# The folder with a host's settings -> a module. Without settings, it does nothing: <folder>/<role>.json turns the role of
# that name on. A configuration names one such folder, by ./default.nix, by ../host.nix or by the flake's nixosModules.default.
settings:
if builtins.isAttrs settings && !(settings ? outPath) then
  throw "nixci: nixosModules.default is a function of the folder with the host's settings; write (inputs.nixci.nixosModules.default ./nixci/hosts/web/settings) in the list of modules, with parentheses and your own folder."
else
  {
    # The same folder twice is one module.
    key = "nixci ${toString settings}";
    imports = [
      (import ./settings.nix settings)
      ./checks.nix
      ./deployment.nix
      ./nixos.nix
      ./bootstrap.nix
      ./opnix.nix
      ./postgresql.nix
      ./attic.nix
      ./caddy.nix
      ./backup.nix
      ./substituter.nix
      ./ports.nix
    ];
  }
