_: rec {
  listFilesRecursive =
    dir:
    let
      entries = builtins.readDir dir;
      visit = name: if entries.${name} == "directory" then listFilesRecursive (dir + "/${name}") else [ (dir + "/${name}") ];
    in
    builtins.concatMap visit (builtins.attrNames entries);
}
