# The settings on this host: role name -> path of its JSON file.
{ lib }:
let
  folder = ../settings;
  names = lib.optionals (builtins.pathExists folder) (
    lib.filter (lib.hasSuffix ".json") (lib.attrNames (builtins.readDir folder))
  );
in
lib.listToAttrs (
  map (name: lib.nameValuePair (lib.removeSuffix ".json" name) (folder + "/${name}")) names
)
