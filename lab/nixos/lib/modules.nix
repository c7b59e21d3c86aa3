# The module system: collect modules, merge their option declarations, merge the definitions of each option.
lib:
let
  inherit (builtins)
    addErrorContext
    attrNames
    concatLists
    concatMap
    filter
    foldl'
    functionArgs
    head
    isAttrs
    isBool
    isFunction
    length
    mapAttrs
    removeAttrs
    typeOf
    zipAttrsWith
    ;
  inherit (lib) isOption showDefs showOption;

  property = type: attrs: { _type = type; } // attrs;
  propertyOf = value: if isAttrs value then value._type or "" else "";

  # -- collecting ------------------------------------------------------------------------------------------
  moduleKeys = [
    "_class"
    "_file"
    "disabledModules"
    "freeformType"
    "imports"
    "key"
  ];

  # Bring a module into the shape { key, file, imports, disabled, options, config }.
  normalise =
    file: key: module:
    let
      explicit = module ? config || module ? options;
      stray = removeAttrs module (
        moduleKeys
        ++ [
          "config"
          "options"
          "meta"
        ]
      );
      config = if explicit then module.config or { } else removeAttrs module moduleKeys;
    in
    if explicit && stray != { } then
      throw "Module `${key}' has an unsupported attribute `${head (attrNames stray)}'. This is caused by introducing a top-level `config' or `options' attribute. Add configuration attributes immediately on the top level instead, or move all of them (namely: ${toString (attrNames stray)}) into the explicit `config' attribute."
    else
      {
        key = toString (module.key or key);
        file = toString (module._file or file);
        imports = module.imports or [ ];
        disabled = module.disabledModules or [ ];
        options = module.options or { };
        config =
          if module ? freeformType then
            mkMerge [
              config
              { _module.freeformType = module.freeformType; }
            ]
          else
            config;
      };

  load =
    args: config: file: key: module:
    let
      apply =
        name: m:
        if isFunction m || (isAttrs m && m ? __functor) then
          let
            fromConfig =
              arg: _:
              addErrorContext "while evaluating the module argument `${arg}' in \"${name}\":" (
                args.${arg} or config._module.args.${arg}
              );
          in
          m (args // mapAttrs fromConfig (if isAttrs m then m.__functionArgs or { } else functionArgs m))
        else
          m;
      checked =
        m:
        if isAttrs m && propertyOf m == "" then
          m
        else if isAttrs m then
          throw "Could not load a value as a module, because it is of type ${builtins.toJSON m._type}, in file ${file}."
        else
          throw "module ${file} (${key}) does not look like a module.";
    in
    if isFunction module || isAttrs module then
      normalise file key (checked (apply key module))
    else if builtins.isList module then
      throw "Module imports can't be nested lists. Perhaps you meant to remove one level of lists? Definitions: ${
        showDefs [
          {
            inherit file;
            value = module;
          }
        ]
      }"
    else
      normalise (toString module) (toString module) (checked (apply (toString module) (import module)));

  # Breadth first, each key once; imported modules end up before those that import them.
  collect =
    args: config: modules:
    let
      children =
        file: key:
        lib.imap1 (n: load args config file "${key}:anon-${toString n}");
      all = builtins.genericClosure {
        startSet = children "<unknown-file>" "" modules;
        operator = module: children module.file module.key module.imports;
      };
      disabled = concatMap (module: map (m: toString (m.key or m)) module.disabled) all;
    in
    lib.reverseList (filter (module: !builtins.elem module.key disabled) all);

  # -- properties ------------------------------------------------------------------------------------------
  mkMerge = contents: property "merge" { inherit contents; };

  # mkIf and friends around an attribute set become mkIf and friends around its values.
  pushDown =
    value:
    {
      merge = concatMap pushDown value.contents;
      "if" = map (mapAttrs (_: mkIf value.condition)) (pushDown value.content);
      override = map (mapAttrs (_: mkOverride value.priority)) (pushDown value.content);
    }
    .${propertyOf value} or [ value ];

  discharge =
    value:
    {
      merge = concatMap discharge value.contents;
      "if" =
        if !isBool value.condition then
          throw "‘mkIf’ called with a non-Boolean condition"
        else if value.condition then
          discharge value.content
        else
          [ ];
    }
    .${propertyOf value} or [ value ];

  mkIf = condition: content: property "if" { inherit condition content; };
  mkOverride = priority: content: property "override" { inherit priority content; };
  mkOrder = priority: content: property "order" { inherit priority content; };

  # -- merging ---------------------------------------------------------------------------------------------
  # declarations: [{file, options}], definitions: [{file, value}]
  # gives { options, unmatched }: the tree of evaluated options, and the definitions without an option.
  mergeTree =
    prefix: declarations: definitions:
    let
      byName = zipAttrsWith (_: values: values);
      declared = byName (map (d: mapAttrs (_: options: { inherit (d) file; inherit options; }) d.options) declarations);
      pushed =
        def:
        map (
          value:
          if isAttrs value && propertyOf value == "" then
            mapAttrs (_: value: { inherit (def) file; inherit value; }) value
          else
            throw "In module `${def.file}', you're trying to define a value of type `${typeOf value}'\nrather than an attribute set for the option\n`${showOption prefix}'!\n\nThis usually happens if `${showOption prefix}' has option\ndefinitions inside that are not matched. Please check how to properly define\nthis option by e.g. referring to `man 5 configuration.nix'!\n"
        ) (pushDown def.value);
      defined = byName (concatMap pushed definitions);

      merged = mapAttrs (
        name: decls:
        let
          loc = prefix ++ [ name ];
          defs = defined.${name} or [ ];
          options = filter (d: isOption d.options) decls;
        in
        if options == [ ] then
          mergeTree loc decls defs
        else if length decls == 1 then
          {
            options = evalOption loc (head decls) defs;
            unmatched = [ ];
          }
        else if length options == length decls then
          throw "The option `${showOption loc}' in `${(lib.last decls).file}' is already declared in ${
            lib.showFiles (map (d: d.file) (lib.init decls))
          }."
        else
          throw "The option `${showOption loc}' in module `${(head options).file}' would be a parent of the following options, but its type does not support nested options."
      ) declared;
    in
    {
      options = mapAttrs (_: m: m.options) merged;
      unmatched =
        concatLists (
          lib.mapAttrsToList (
            name: map (def: def // { prefix = [ name ]; })
          ) (removeAttrs defined (attrNames declared))
        )
        ++ concatLists (
          lib.mapAttrsToList (name: m: map (def: def // { prefix = [ name ] ++ def.prefix; }) m.unmatched) merged
        );
    };

  # One option: `declaration` is {file, options}.
  evalOption =
    loc: declaration: defs:
    let
      option = {
        type = lib.types.unspecified;
      }
      // declaration.options;
      withDefault =
        lib.optional (option ? default) {
          inherit (declaration) file;
          value = mkOptionDefault option.default;
        }
        ++ defs;
      merged =
        if option.readOnly or false && length withDefault > 1 then
          throw "The option `${showOption loc}' is read-only, but it's set multiple times. Definition values:${showDefs withDefault}"
        else
          mergeDefinitions loc option.type withDefault;
    in
    option
    // {
      inherit loc;
      inherit (merged) isDefined highestPrio;
      declarations = [ declaration.file ];
      value = addErrorContext "while evaluating the option `${showOption loc}':" (
        (option.apply or lib.id) merged.mergedValue
      );
      definitions = lib.getValues merged.defs;
      definitionsWithLocations = merged.defs;
      files = lib.getFiles merged.defs;
      __toString = _: showOption loc;
    };

  mergeDefinitions =
    loc: type: definitions:
    let
      flat = concatMap (
        def:
        map (value: { inherit (def) file; inherit value; }) (
          addErrorContext "while evaluating definitions from `${def.file}':" (discharge def.value)
        )
      ) definitions;
      priority = def: if propertyOf def.value == "override" then def.value.priority else defaultOverridePriority;
      highestPrio = foldl' (best: def: lib.min best (priority def)) 9999 flat;
      strip = type: def: if propertyOf def.value == type then def // { value = def.value.content; } else def;
      winning = map (strip "override") (filter (def: priority def == highestPrio) flat);
      order = def: if propertyOf def.value == "order" then def.value.priority else defaultOrderPriority;
      defs = map (strip "order") (builtins.sort (a: b: order a < order b) winning);
      wrong = filter (def: !type.check def.value) defs;
    in
    rec {
      inherit defs highestPrio;
      isDefined = defs != [ ];
      mergedValue =
        if isDefined then
          if wrong == [ ] then
            type.merge loc defs
          else
            throw "A definition for option `${showOption loc}' is not of type `${type.description}'. Definition values:${showDefs wrong}"
        else
          type.emptyValue.value
            or (throw "The option `${showOption loc}' was accessed but has no value defined. Try setting the option.");
      optionalValue = if isDefined then { value = mergedValue; } else { };
    };

  mkOptionDefault = mkOverride 1500;
  defaultOverridePriority = 100;
  defaultOrderPriority = 1000;

  valuesOf = mapAttrs (_: node: if isOption node then node.value else valuesOf node);

  evalModules =
    {
      modules,
      specialArgs ? { },
      prefix ? [ ],
      ...
    }:
    let
      own = {
        _file = "lib/modules.nix";
        key = "lib/modules.nix";
        options._module = {
          args = lib.mkOption {
            type = lib.types.lazyAttrsOf lib.types.raw;
            default = { };
            internal = true;
          };
          check = lib.mkOption {
            type = lib.types.bool;
            default = true;
            internal = true;
          };
          freeformType = lib.mkOption {
            type = lib.types.nullOr lib.types.raw;
            default = null;
            internal = true;
          };
        };
      };
      args = {
        inherit lib specialArgs;
        config = result;
        inherit (tree) options;
      }
      // specialArgs;
      all = collect args values (modules ++ [ own ]);
      tree = mergeTree prefix (map (m: { inherit (m) file options; }) all) (
        map (m: {
          inherit (m) file;
          value = m.config;
        }) all
      );
      values = valuesOf tree.options;
      freeform = values._module.freeformType;
      unmatched = map (def: {
        inherit (def) file;
        value = lib.setAttrByPath def.prefix def.value;
      }) tree.unmatched;
      first = head tree.unmatched;
      check =
        if tree.unmatched == [ ] || freeform != null || !values._module.check then
          null
        else
          throw "The option `${showOption (prefix ++ first.prefix)}' does not exist. Definition values:${showDefs [ first ]}";
      complete =
        if freeform == null || tree.unmatched == [ ] then
          values
        else
          lib.recursiveUpdate (mergeDefinitions prefix freeform unmatched).mergedValue values;
      result = builtins.seq check (removeAttrs complete [ "_module" ]);
    in
    {
      _type = "configuration";
      config = result;
      inherit (tree) options;
      extendModules = extra: evalModules {
        modules = modules ++ extra.modules or [ ];
        specialArgs = specialArgs // extra.specialArgs or { };
        inherit prefix;
      };
    };

  alias =
    {
      from,
      to,
      warn,
    }:
    { config, options, ... }:
    let
      old = lib.getAttrFromPath from options;
    in
    {
      options = lib.setAttrByPath from (
        lib.mkOption {
          description = "Alias of ${showOption to}.";
          apply = _: lib.getAttrFromPath to config;
        }
      );
      config = mkMerge (
        lib.optional (options ? warnings && warn) {
          warnings = lib.optional old.isDefined "The option `${showOption from}' defined in ${lib.showFiles old.files} has been renamed to `${showOption to}'.";
        }
        ++ [
          (lib.setAttrByPath to (
            mkIf old.isDefined (mkMerge (map (def: mkOverride old.highestPrio def.value) old.definitionsWithLocations))
          ))
        ]
      );
    };
in
{
  inherit
    evalModules
    mergeDefinitions
    mkIf
    mkMerge
    mkOptionDefault
    mkOrder
    mkOverride
    ;
  defaultPriority = defaultOverridePriority;
  inherit defaultOrderPriority;
  mkDefault = mkOverride 1000;
  mkForce = mkOverride 50;
  mkVMOverride = mkOverride 10;
  mkBefore = mkOrder 500;
  mkAfter = mkOrder 1500;
  mkAssert = assertion: message: mkIf (if assertion then true else throw "\nFailed assertion: ${message}");
  mkRenamedOptionModule = from: to: alias { inherit from to; warn = true; };
  mkAliasOptionModule = from: to: alias { inherit from to; warn = false; };
  mkRemovedOptionModule =
    loc: advice:
    { options, ... }:
    let
      option = lib.getAttrFromPath loc options;
    in
    {
      options = lib.setAttrByPath loc (
        lib.mkOption {
          visible = false;
          apply = _: throw "The option `${showOption loc}' can no longer be used since it's been removed. ${advice}";
        }
      );
      config.assertions = [
        {
          assertion = !option.isDefined;
          message = "The option definition `${showOption loc}' in ${lib.showFiles option.files} no longer has any effect; please remove it.\n${advice}";
        }
      ];
    };
  setDefaultModuleLocation = file: module: {
    _file = file;
    imports = [ module ];
  };
  importApply = path: args: lib.setDefaultModuleLocation path (import path args);
}
