# Each settings file is a module of its own, so that the module system's messages about an
# unknown key, a wrong type or a conflict name the JSON file.
folder:
{ lib, ... }:
let
  names = lib.optionals (builtins.pathExists folder) (
    lib.filter (lib.hasSuffix ".json") (lib.attrNames (builtins.readDir folder))
  );
  read =
    file:
    builtins.addErrorContext "while reading ${toString file}" (
      builtins.fromJSON (builtins.readFile file)
    );
in
{
  imports = map (
    name:
    let
      file = folder + "/${name}";
    in
    {
      _file = toString file;
      config.nixci = read file;
    }
  ) names;

  config.nixci.folders = [ folder ];
}
