lib: rec {
  inherit (builtins)
    all
    any
    concatLists
    concatMap
    elem
    elemAt
    filter
    foldl'
    genList
    groupBy
    head
    isList
    length
    map
    partition
    sort
    tail
    ;
  singleton = x: [ x ];
  optional = condition: x: if condition then [ x ] else [ ];
  optionals = condition: list: if condition then list else [ ];
  toList = x: if builtins.isList x then x else [ x ];
  range = first: last: if first > last then [ ] else genList (n: first + n) (last - first + 1);
  count = pred: list: length (filter pred list);
  imap0 = f: list: genList (n: f n (elemAt list n)) (length list);
  imap1 = f: list: genList (n: f (n + 1) (elemAt list n)) (length list);
  last = list: elemAt list (length list - 1);
  init = list: take (length list - 1) list;
  take = n: list: genList (elemAt list) (lib.min n (length list));
  drop = n: list: genList (i: elemAt list (i + n)) (lib.max 0 (length list - n));
  reverseList = list: genList (n: elemAt list (length list - n - 1)) (length list);
  unique = foldl' (seen: x: if elem x seen then seen else seen ++ [ x ]) [ ];
  allUnique = list: length (unique list) == length list;
  subtractLists = remove: filter (x: !(elem x remove));
  intersectLists = keep: filter (x: elem x keep);
  remove = x: filter (y: y != x);
  flatten = x: if builtins.isList x then concatMap flatten x else [ x ];
  foldr =
    f: start: list:
    if list == [ ] then start else f (head list) (foldr f start (tail list));
  findFirst =
    pred: default: list:
    let
      found = filter pred list;
    in
    if found == [ ] then default else head found;
  zipListsWith =
    f: a: b:
    genList (n: f (elemAt a n) (elemAt b n)) (lib.min (length a) (length b));
  listToAttrs = builtins.listToAttrs;
}
