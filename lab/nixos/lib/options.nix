lib:
let
  inherit (builtins)
    all
    concatStringsSep
    filter
    foldl'
    head
    isAttrs
    isBool
    isFunction
    isList
    isString
    length
    match
    tail
    tryEval
    ;
in
rec {
  isOption = value: isAttrs value && value._type or "" == "option";
  mkOption = attrs: { _type = "option"; } // attrs;
  mkEnableOption =
    name:
    mkOption {
      default = false;
      example = true;
      description = "Whether to enable ${name}.";
      type = lib.types.bool;
    };
  mkPackageOption =
    pkgs: name:
    {
      nullable ? false,
      default ? name,
      ...
    }:
    mkOption {
      type = (if nullable then lib.types.nullOr else lib.id) lib.types.package;
      description = "The ${lib.concatStringsSep "." (lib.toList name)} package to use.";
      default =
        if default == null then
          null
        else
          let
            path = lib.toList default;
          in
          lib.attrByPath path (throw "${concatStringsSep "." path} cannot be found in pkgs") pkgs;
    };
  literalExpression = text: {
    _type = "literalExpression";
    inherit text;
  };
  literalMD = literalExpression;
  mdDoc = lib.id;

  quoteName =
    name: if match "[a-zA-Z_][a-zA-Z0-9_'-]*" name != null then name else builtins.toJSON name;
  showOption =
    loc: concatStringsSep "." (map (part: if match "<.*>|[*]" part != null then part else quoteName part) loc);
  showFiles = files: lib.concatMapStringsSep " and " (file: "`${file}'") files;

  # One line per definition: the first lines of long values, and nothing for values that fail.
  showDefs = lib.concatMapStrings (
    def:
    let
      pretty = tryEval (lib.generators.toPretty { } def.value);
      lines = lib.splitString "\n" pretty.value;
      text = concatStringsSep "\n    " (lib.take 5 lines ++ lib.optional (length lines > 5) "...");
    in
    "\n- In `${def.file}'"
    + (
      if !pretty.success then
        ""
      else if length lines > 1 then
        ":\n    ${text}"
      else
        ": ${text}"
    )
  );

  getValues = map (def: def.value);
  getFiles = map (def: def.file);

  # How several definitions become one value.
  hint = "Use `lib.mkForce value` or `lib.mkDefault value` to change the priority on any of these definitions.";
  mergeOneOption = mergeUniqueOption { message = ""; };
  mergeUniqueOption =
    { message, ... }:
    loc: defs:
    if length defs == 1 then
      (head defs).value
    else
      throw "The option `${showOption loc}' is defined multiple times while it's expected to be unique.\n${message}\nDefinition values:${showDefs defs}\n${hint}";
  mergeEqualOption =
    loc: defs:
    (foldl' (
      first: def:
      if def.value != first.value then
        throw "The option `${showOption loc}' has conflicting definition values:${
          showDefs [
            first
            def
          ]
        }\n${hint}"
      else
        first
    ) (head defs) (tail defs)).value;
  mergeDefaultOption =
    loc: defs:
    let
      values = getValues defs;
    in
    if length values == 1 then
      head values
    else if all isFunction values then
      x: mergeDefaultOption loc (map (def: def // { value = def.value x; }) defs)
    else if all isList values then
      builtins.concatLists values
    else if all isAttrs values then
      foldl' (a: b: a // b) { } values
    else if all isBool values then
      builtins.elem true values
    else if all isString values then
      lib.concatStrings values
    else if filter (v: v != head values) values == [ ] then
      head values
    else
      throw "Cannot merge definitions of `${showOption loc}'. Definition values:${showDefs defs}";
}
