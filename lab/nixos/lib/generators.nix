lib:
let
  inherit (builtins) isAttrs isFunction isList isString;
in
{
  toJSON = _: builtins.toJSON;

  # A value in Nix syntax, for error messages.
  toPretty =
    _:
    let
      go =
        indent: v:
        let
          next = indent + "  ";
          lines = parts: lib.concatMapStrings (part: "\n${next}${part}") parts + "\n${indent}";
        in
        if isString v then
          ''"${lib.escape [ "\"" "\\" "$" ] (builtins.replaceStrings [ "\n" ] [ "\\n" ] v)}"''
        else if v == null then
          "null"
        else if v == true then
          "true"
        else if v == false then
          "false"
        else if isList v then
          if v == [ ] then "[ ]" else "[${lines (map (go next) v)}]"
        else if isFunction v then
          "<function>"
        else if isAttrs v then
          if lib.isDerivation v then
            "<derivation ${v.name or "???"}>"
          else if v == { } then
            "{ }"
          else
            "{${lines (lib.mapAttrsToList (name: value: "${lib.options.quoteName name} = ${go next value};") v)}}"
        else
          toString v;
    in
    go "";

  mkValueStringDefault = _: v: if builtins.isBool v then lib.boolToString v else toString v;

  toKeyValue =
    {
      mkKeyValue ? name: value: "${name}=${lib.generators.mkValueStringDefault { } value}",
      ...
    }:
    set:
    lib.concatLines (lib.mapAttrsToList mkKeyValue set);
}
