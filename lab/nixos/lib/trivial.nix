lib: {
  inherit (builtins)
    add
    addErrorContext
    bitAnd
    deepSeq
    elem
    filter
    fromJSON
    fromTOML
    functionArgs
    genList
    hashString
    head
    isAttrs
    isBool
    isFloat
    isFunction
    isInt
    isList
    isPath
    isString
    length
    lessThan
    pathExists
    readFile
    seq
    tail
    toJSON
    trace
    tryEval
    typeOf
    unsafeGetAttrPos
    ;
  id = x: x;
  const = x: _: x;
  flip =
    f: a: b:
    f b a;
  pipe = builtins.foldl' (value: f: f value);
  min = a: b: if a < b then a else b;
  max = a: b: if a > b then a else b;
  importJSON = path: builtins.fromJSON (builtins.readFile path);
  importTOML = path: builtins.fromTOML (builtins.readFile path);
  boolToString = b: if b then "true" else "false";
  boolToYesNo = b: if b then "yes" else "no";
  mapNullable = f: value: if value == null then null else f value;
  warn = message: value: builtins.trace "evaluation warning: ${message}" value;
  warnIf = condition: message: if condition then lib.warn message else lib.id;
  throwIf = condition: message: if condition then throw message else lib.id;
  throwIfNot = condition: message: if condition then lib.id else throw message;
  showWarnings = warnings: value: builtins.foldl' (rest: message: lib.warn message rest) value warnings;
  toFunction = value: if builtins.isFunction value then value else _: value;
}
