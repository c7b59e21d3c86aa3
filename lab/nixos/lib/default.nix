# A small stand-in for nixpkgs' `lib`: what NixOS-style modules use, with the same names, results and
# error texts. Used only where <nixpkgs> cannot be found.
let
  parts = builtins.mapAttrs (_: file: import file lib) {
    attrsets = ./attrsets.nix;
    filesystem = ./filesystem.nix;
    generators = ./generators.nix;
    lists = ./lists.nix;
    meta = ./meta.nix;
    modules = ./modules.nix;
    options = ./options.nix;
    strings = ./strings.nix;
    trivial = ./trivial.nix;
    types = ./types.nix;
  };
  lib =
    parts
    // parts.trivial
    // parts.attrsets
    // parts.lists
    // parts.strings
    // parts.options
    // parts.modules
    // parts.meta
    // {
      inherit (parts.types) mkOptionType;
    };
in
lib
