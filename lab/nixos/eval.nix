# Evaluates a NixOS configuration to its system, as <nixpkgs/nixos> and lib.nixosSystem do on a real host.
{
  configuration ? { },
  modules ? [ configuration ],
  specialArgs ? { },
  # null: the configuration says it, by nixpkgs.hostPlatform
  system ? builtins.currentSystem,
}:
let
  lib = import ./lib.nix;
  evaluated = lib.evalModules {
    modules =
      modules
      ++ lib.optional (system != null) {
        _file = "the lab";
        nixpkgs.hostPlatform = lib.mkDefault system;
      }
      ++ map (name: ./options + "/${name}") (builtins.attrNames (builtins.readDir ./options));
    specialArgs = {
      modulesPath = toString ./options;
    }
    // specialArgs;
  };
in
evaluated
// {
  inherit lib;
  pkgs = import ./pkgs {
    inherit lib;
    inherit (evaluated.config.nixpkgs.hostPlatform) system;
  };
  system = evaluated.config.system.build.toplevel;
}
