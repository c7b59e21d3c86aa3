# Option types. Each is { name, description, check, merge, emptyValue }.
lib:
let
  inherit (builtins)
    all
    concatLists
    elem
    filter
    head
    isAttrs
    isBool
    isFloat
    isFunction
    isInt
    isList
    isString
    length
    mapAttrs
    match
    toJSON
    zipAttrsWith
    ;
  inherit (lib)
    getFiles
    getValues
    mergeDefinitions
    mergeEqualOption
    mergeOneOption
    showOption
    ;

  # A description inside another one: other kinds of phrase than those fitting there get parentheses.
  phrase =
    fitting: type: if elem type.descriptionClass ([ "noun" ] ++ fitting) then type.description else "(${type.description})";
  inner = phrase [ "composite" ];

  mkOptionType =
    {
      name,
      description ? name,
      check ? (_: true),
      merge ? lib.mergeDefaultOption,
      emptyValue ? { },
      getSubOptions ? (_: { }),
      nestedTypes ? { },
      descriptionClass ? null,
      ...
    }:
    {
      _type = "option-type";
      inherit
        name
        description
        check
        merge
        emptyValue
        getSubOptions
        nestedTypes
        descriptionClass
        ;
    };
  scalar =
    name: description: check:
    mkOptionType {
      inherit name description check;
      merge = mergeEqualOption;
      descriptionClass = "noun";
    };
  between = low: high: "${toString low} and ${toString high} (both inclusive)";
  intBetween =
    low: high:
    scalar "intBetween" "integer between ${between low high}" (x: isInt x && x >= low && x <= high)
    // {
      descriptionClass = "nonRestrictiveClause";
    };
  sized =
    bits: low: high: signed:
    scalar "${if signed then "s" else "unsignedI"}nt${toString bits}"
      "${toString bits} bit ${if signed then "" else "un"}signed integer; between ${between low high}"
      (x: isInt x && x >= low && x <= high)
    // {
      descriptionClass = "nonRestrictiveClause";
    };

  types = rec {
    inherit mkOptionType;
    raw = mkOptionType {
      name = "raw";
      description = "raw value";
      merge = mergeOneOption;
      descriptionClass = "noun";
    };
    unspecified = mkOptionType {
      name = "unspecified";
      description = "unspecified value";
      descriptionClass = "noun";
    };
    anything = mkOptionType {
      name = "anything";
      descriptionClass = "noun";
      merge =
        loc: defs:
        let
          values = getValues defs;
          plain = v: isAttrs v && !lib.isStringLike v;
        in
        if all plain values then
          (lazyAttrsOf anything).merge loc defs
        else if all isList values && length values > 1 then
          mergeEqualOption loc defs
        else if all isFunction values then
          x: anything.merge (loc ++ [ "<function body>" ]) (map (def: def // { value = def.value x; }) defs)
        else
          mergeEqualOption loc defs;
    };
    bool = scalar "bool" "boolean" isBool;
    int = scalar "int" "signed integer" isInt;
    ints = {
      between = intBetween;
      unsigned = scalar "unsignedInt" "unsigned integer, meaning >=0" (x: isInt x && x >= 0) // {
      descriptionClass = "nonRestrictiveClause";
    };
      positive = scalar "positiveInt" "positive integer, meaning >0" (x: isInt x && x > 0) // {
      descriptionClass = "nonRestrictiveClause";
    };
      u8 = sized 8 0 255 false;
      u16 = sized 16 0 65535 false;
      u32 = sized 32 0 4294967295 false;
      s8 = sized 8 (-128) 127 true;
      s16 = sized 16 (-32768) 32767 true;
      s32 = sized 32 (-2147483648) 2147483647 true;
    };
    port = ints.u16;
    float = scalar "float" "floating point number" isFloat;
    number = either int float;
    str = scalar "str" "string" isString;
    nonEmptyStr = scalar "nonEmptyStr" "non-empty string" (x: isString x && match "[ \t\n]*" x == null);
    singleLineStr =
      scalar "singleLineStr" "(optionally newline-terminated) single-line string" (
        x: isString x && match "[^\n\r]*\n?" x != null
      )
      // {
        merge = loc: defs: lib.removeSuffix "\n" (mergeEqualOption loc defs);
      };
    strMatching =
      pattern:
      scalar "strMatching ${toJSON pattern}" "string matching the pattern ${pattern}" (
        x: isString x && match pattern x != null
      );
    separatedString =
      sep:
      mkOptionType {
        name = "separatedString";
        description = if sep == "" then "Concatenated string" else "strings concatenated with ${toJSON sep}";
        check = isString;
        merge = _: defs: lib.concatStringsSep sep (getValues defs);
      };
    lines = separatedString "\n";
    commas = separatedString ",";
    envVar = separatedString ":";
    path =
      scalar "path" "absolute path" (x: lib.isStringLike x && builtins.substring 0 1 (toString x) == "/");
    package = mkOptionType {
      name = "package";
      check = x: lib.isDerivation x || lib.isStorePath x;
      merge = mergeOneOption;
      descriptionClass = "noun";
    };
    shellPackage = package;
    attrs = mkOptionType {
      name = "attrs";
      description = "attribute set";
      check = isAttrs;
      merge = _: defs: builtins.foldl' (a: b: a // b) { } (getValues defs);
      emptyValue.value = { };
      descriptionClass = "noun";
    };
    enum =
      values:
      scalar "enum" (
        if length values == 1 then
          "value ${lib.generators.toPretty { } (head values)} (singular enum)"
        else
          "one of ${lib.concatMapStringsSep ", " (lib.generators.toPretty { }) values}"
      ) (x: elem x values)
      // {
      descriptionClass = if length values == 1 then "noun" else "conjunction";
    };
    nullOr =
      type:
      mkOptionType {
        name = "nullOr";
        description = "null or ${phrase [ "conjunction" ] type}";
        descriptionClass = "conjunction";
        check = x: x == null || type.check x;
        merge =
          loc: defs:
          let
            nulls = filter (def: def.value == null) defs;
          in
          if length nulls == length defs then
            null
          else if nulls != [ ] then
            throw "The option `${showOption loc}` is defined both null and not null, in ${lib.showFiles (getFiles defs)}."
          else
            type.merge loc defs;
        emptyValue.value = null;
        inherit (type) getSubOptions;
        nestedTypes.elemType = type;
      };
    listOf =
      type:
      mkOptionType {
        name = "listOf";
        description = "list of ${inner type}";
        descriptionClass = "composite";
        check = isList;
        merge =
          loc: defs:
          map (x: x.value) (
            filter (x: x ? value) (
              concatLists (
                lib.imap1 (
                  n: def:
                  lib.imap1 (
                    m: value:
                    (mergeDefinitions (loc ++ [ "[definition ${toString n}-entry ${toString m}]" ]) type [
                      {
                        inherit (def) file;
                        inherit value;
                      }
                    ]).optionalValue
                  ) def.value
                ) defs
              )
            )
          );
        emptyValue.value = [ ];
        getSubOptions = prefix: type.getSubOptions (prefix ++ [ "*" ]);
        nestedTypes.elemType = type;
      };
    nonEmptyListOf =
      type:
      listOf type
      // {
        description = "non-empty list of ${inner type}";
        check = x: isList x && x != [ ];
        emptyValue = { };
      };
    attrsOf =
      type:
      mkOptionType {
        name = "attrsOf";
        description = "attribute set of ${inner type}";
        descriptionClass = "composite";
        check = isAttrs;
        merge =
          loc: defs:
          mapAttrs (_: x: x.value) (
            lib.filterAttrs (_: x: x ? value) (
              zipAttrsWith (name: values: (mergeDefinitions (loc ++ [ name ]) type values).optionalValue) (perName defs)
            )
          );
        emptyValue.value = { };
        getSubOptions = prefix: type.getSubOptions (prefix ++ [ "<name>" ]);
        nestedTypes.elemType = type;
      };
    lazyAttrsOf =
      type:
      attrsOf type
      // {
        name = "lazyAttrsOf";
        description = "lazy attribute set of ${inner type}";
        merge =
          loc: defs:
          zipAttrsWith (
            name: values:
            let
              merged = mergeDefinitions (loc ++ [ name ]) type values;
            in
            if merged.isDefined then merged.mergedValue else type.emptyValue.value or merged.mergedValue
          ) (perName defs);
      };
    either =
      a: b:
      mkOptionType {
        name = "either";
        description = "${phrase [ "conjunction" ] a} or ${phrase [ "conjunction" "composite" ] b}";
        descriptionClass = "conjunction";
        check = x: a.check x || b.check x;
        merge =
          loc: defs:
          let
            values = getValues defs;
          in
          if all a.check values then
            a.merge loc defs
          else if all b.check values then
            b.merge loc defs
          else
            mergeOneOption loc defs;
        nestedTypes = {
          left = a;
          right = b;
        };
      };
    oneOf =
      list:
      if list == [ ] then throw "types.oneOf needs to get at least one type in its argument" else lib.foldr either (lib.last list) (lib.init list);
    coercedTo =
      from: f: to:
      mkOptionType {
        name = "coercedTo";
        description = "${phrase [ ] to} or ${phrase [ ] from} convertible to it";
        check = x: (from.check x && to.check (f x)) || to.check x;
        merge =
          loc: defs: to.merge loc (map (def: def // { value = if from.check def.value then f def.value else def.value; }) defs);
        inherit (to) emptyValue getSubOptions;
      };
    addCheck = type: check: type // { check = x: type.check x && check x; };
    uniq = type: type // { merge = mergeOneOption; };
    unique = message: type: type // { merge = lib.mergeUniqueOption message; };
    functionTo =
      type:
      mkOptionType {
        name = "functionTo";
        description = "function that evaluates to a(n) ${inner type}";
        check = isFunction;
        merge =
          loc: defs: x:
          (mergeDefinitions (loc ++ [ "<function body>" ]) type (map (def: def // { value = def.value x; }) defs)).mergedValue;
      };
    deferredModule = mkOptionType {
      name = "deferredModule";
      description = "module";
      check = x: isAttrs x || isFunction x || builtins.isPath x;
      merge = loc: defs: {
        imports = map (def: lib.setDefaultModuleLocation "${def.file}, via option ${showOption loc}" def.value) defs;
      };
      descriptionClass = "noun";
    };
    submodule =
      modules:
      submoduleWith {
        modules = lib.toList modules;
        shorthandOnlyDefinesConfig = true;
      };
    submoduleWith =
      {
        modules,
        specialArgs ? { },
        shorthandOnlyDefinesConfig ? false,
        description ? null,
        ...
      }:
      let
        eval =
          prefix: extra:
          lib.evalModules {
            modules = [ { _module.args.name = lib.mkOptionDefault "‹name›"; } ] ++ modules ++ extra;
            inherit specialArgs prefix;
          };
      in
      mkOptionType {
        name = "submodule";
        description = if description == null then "submodule" else description;
        check = x: isAttrs x || isFunction x || builtins.isPath x;
        merge =
          loc: defs:
          (eval loc (
            [ { _module.args.name = lib.last loc; } ]
            ++ map (
              def:
              if isAttrs def.value && shorthandOnlyDefinesConfig then
                {
                  _file = def.file;
                  config = def.value;
                }
              else
                {
                  _file = def.file;
                  imports = [ def.value ];
                }
            ) defs
          )).config;
        emptyValue.value = { };
        getSubOptions = prefix: removeAttrs (eval prefix [ ]).options [ "_module" ];
        descriptionClass = "noun";
      };
  };

  perName = map (
    def:
    mapAttrs (_: value: {
      inherit (def) file;
      inherit value;
    }) def.value
  );
in
types
