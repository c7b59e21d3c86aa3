# Each settings file is a module of its own, so that the module system's messages about an
# unknown key, a wrong type or a conflict name the JSON file.
{ lib, ... }:
let
  read =
    file:
    builtins.addErrorContext "while reading ${toString file}" (
      builtins.fromJSON (builtins.readFile file)
    );
in
{
  imports = lib.mapAttrsToList (_role: file: {
    _file = toString file;
    config.nixci = read file;
  }) (import ./settings-files.nix { inherit lib; });
}
