# Evaluates a NixOS configuration to its system, as <nixpkgs/nixos> does on a real host.
{ configuration }:
let
  nixpkgsLib = builtins.tryEval <nixpkgs/lib>;
  lib = import (if nixpkgsLib.success then nixpkgsLib.value else ./lib);
  pkgs = import ./pkgs { inherit lib; };
  evaluated = lib.evalModules {
    modules = [
      configuration
      {
        _file = "the lab";
        _module.args = { inherit pkgs; };
      }
    ]
    ++ map (name: ./options + "/${name}") (builtins.attrNames (builtins.readDir ./options));
    specialArgs.modulesPath = toString ./options;
  };
in
{
  inherit (evaluated) config options;
  inherit lib pkgs;
  system = evaluated.config.system.build.toplevel;
}
