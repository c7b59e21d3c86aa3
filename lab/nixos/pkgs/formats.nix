# pkgs.formats: the type of a settings option, and the file made from its value.
{ lib, pkgs }:
let
  inherit (lib) types;
  valueOf =
    description: orNull:
    let
      value =
        orNull (
          types.oneOf [
            types.bool
            types.int
            types.float
            types.str
            types.path
            (types.attrsOf value)
            (types.listOf value)
          ]
        )
        // {
          inherit description;
        };
    in
    value;

  key = name: if builtins.match "[A-Za-z0-9_-]+" name != null then name else builtins.toJSON name;
  scalar =
    v:
    if builtins.isAttrs v && !(v ? outPath) then
      "{ ${lib.concatStringsSep ", " (lib.mapAttrsToList (n: x: "${key n} = ${scalar x}") v)} }"
    else if builtins.isList v then
      "[${lib.concatMapStringsSep ", " scalar v}]"
    else if builtins.isPath v then
      builtins.toJSON "${v}"
    else
      builtins.toJSON v;
  # plain keys first, then one [table] per nested set
  toTOML =
    prefix: set:
    let
      isTable = v: builtins.isAttrs v && !(v ? outPath);
      tables = lib.filterAttrs (_: isTable) set;
    in
    lib.concatLines (
      lib.mapAttrsToList (n: v: "${key n} = ${scalar v}") (lib.filterAttrs (_: v: !isTable v) set)
    )
    + lib.concatStrings (
      lib.mapAttrsToList (
        n: v:
        let
          path = prefix ++ [ (key n) ];
        in
        "\n[${lib.concatStringsSep "." path}]\n${toTOML path v}"
      ) tables
    );
in
{
  json = _: {
    type = valueOf "JSON value" types.nullOr;
    generate = name: value: pkgs.writeText name (builtins.toJSON value + "\n");
  };
  toml = _: {
    type = valueOf "TOML value" lib.id;
    generate = name: value: pkgs.writeText name (toTOML [ ] value);
  };
}
