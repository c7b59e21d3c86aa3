# Whether pg_hba.conf admits a local connection: true, false, or null where the text alone does not decide.
{ lib }:
let
  words = line: lib.filter (word: word != "") (lib.splitString " " (lib.replaceStrings [ "\t" ] [ " " ] line));
  uncommented = line: lib.head (lib.splitString "#" line);
  records =
    text: lib.filter (list: list != [ ]) (map (line: words (uncommented line)) (lib.splitString "\n" text));
  unquoted = lib.replaceStrings [ "\"" ] [ "" ];

  # Whether the first column that decides says yes; a group, a file or a regular expression may.
  anyOf = answers: if lib.elem true answers then true else if lib.elem null answers then null else false;
  open = item: lib.any (prefix: lib.hasPrefix prefix item) [ "+" "@" "/" ];
  matches =
    names: column:
    anyOf (
      map (
        item:
        if lib.elem item names then
          true
        else if open item || lib.elem item [ "samerole" "samegroup" ] then
          null
        else
          false
      ) (map unquoted (lib.splitString "," column))
    );

  mapped =
    identMap: who: map:
    anyOf (
      lib.concatMap (
        record:
        if lib.length record != 3 then
          lib.optional (lib.hasPrefix "include" (lib.head record)) null
        else if unquoted (lib.head record) != map then
          [ ]
        else
          let
            system = unquoted (lib.elemAt record 1);
            role = unquoted (lib.elemAt record 2);
          in
          if open system || open role then
            [ null ]
          else
            [ (system == who.system && (role == "all" || role == who.user)) ]
      ) (records identMap)
    );

  # The verdict of the record that matches.
  verdict =
    identMap: who: method: settings:
    let
      names = lib.filter (lib.hasPrefix "map=") settings;
    in
    if method == "trust" then
      true
    else if method == "peer" || method == "ident" then
      if names == [ ] then
        who.system == who.user
      else
        mapped identMap who (unquoted (lib.removePrefix "map=" (lib.head names)))
    else
      # The services have no password.
      if lib.elem method [ "reject" "md5" "scram-sha-256" "password" ] then false else null;

  decide =
    identMap: who: list:
    if list == [ ] then
      false
    else
      let
        record = lib.head list;
        kind = lib.head record;
        complete = lib.length record >= 4;
        names = [ "all" who.database ] ++ lib.optional (who.database == who.user) "sameuser";
        database = matches names (lib.elemAt record 1);
        user = matches [ "all" who.user ] (lib.elemAt record 2);
      in
      if lib.hasPrefix "include" kind || (kind == "local" && !complete) then
        null
      else if kind != "local" || database == false || user == false then
        decide identMap who (lib.tail list)
      else if database == null || user == null then
        null
      else
        verdict identMap who (lib.elemAt record 3) (lib.drop 4 record);
in
{
  # `who`: { system, user, database }
  admits =
    { authentication, identMap, ... }:
    who:
    decide identMap who (records (lib.replaceStrings [ "\\\n" ] [ " " ] authentication));
}
