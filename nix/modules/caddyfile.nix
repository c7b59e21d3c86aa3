# What can be told from the text of a Caddyfile. The text is not parsed in full: names from environment variables,
# imports and quoted braces are not followed.
{ lib }:
let
  trimmed =
    line:
    let
      found = builtins.match "[[:space:]]*(.*[^[:space:]])[[:space:]]*" line;
    in
    if found == null then "" else lib.head found;
  uncommented =
    line:
    let
      found = builtins.match "([^\"`]*)[[:space:]]#.*" line;
    in
    if lib.hasPrefix "#" line then
      ""
    else if found == null then
      line
    else
      trimmed (lib.head found);

  # The lines that are not inside a block of this text. An address list may go on after a comma.
  step =
    state: raw:
    let
      line = uncommented (trimmed raw);
      joined = if state.open == "" then line else "${state.open} ${line}";
      closes = lib.hasPrefix "}" line;
      opens = lib.hasSuffix "{" line;
    in
    if line == "" then
      state
    else if closes then
      state // { depth = state.depth - 1 + (if opens then 1 else 0); }
    else if state.depth == 0 && lib.hasSuffix "," line then
      state // { open = joined; }
    else
      {
        depth = state.depth + (if opens then 1 else 0);
        open = "";
        lines = state.lines ++ lib.optional (state.depth == 0) joined;
      };
  top =
    text:
    (lib.foldl' step {
      depth = 0;
      open = "";
      lines = [ ];
    } (lib.splitString "\n" text)).lines;

  addresses =
    text: lib.filter (word: word != "") (lib.splitString " " (lib.replaceStrings [ "," "\t" ] [ " " " " ] text));

  answering = "(abort|error|file_server|handle|php_fastcgi|redir|respond|reverse_proxy|route)";
in
rec {
  inherit addresses;

  # The value of a global option, or null.
  setting =
    name: text:
    let
      found = lib.concatMap (
        line:
        let
          m = builtins.match "${name}([[:space:]]+(.*))?" line;
        in
        lib.optional (m != null) (toString (lib.elemAt m 1))
      ) (top text);
    in
    if found == [ ] then null else lib.last found;

  # The ports and addresses of sites that name none.
  listens =
    caddy:
    let
      port =
        name: default:
        let
          value = setting name caddy.globalConfig;
        in
        if value != null && builtins.match "[0-9]{1,5}" value != null then lib.toInt value else default;
      bind = setting "default_bind" caddy.globalConfig;
    in
    {
      http = port "http_port" (caddy.httpPort or 80);
      https = port "https_port" (caddy.httpsPort or 443);
      addresses = if bind == null then [ "" ] else addresses bind;
    };

  # example.org for https://Example.org:443; other schemes and ports are other sites.
  normal = address: lib.removeSuffix ":443" (lib.removePrefix "https://" (lib.toLower address));

  # The addresses of the sites in this text; snippets and named routes have none.
  sites =
    text:
    lib.concatMap (
      line:
      lib.optionals (lib.hasSuffix "{" line && builtins.match "(&?\\(.*|\\{)" line == null) (
        addresses (lib.removeSuffix "{" line)
      )
    ) (top text);

  # Lines of a site that answer every request, so that another such line is never reached.
  answersAll =
    text: lib.filter (line: builtins.match "${answering}([[:space:]]+[^/@[:space:]].*)?" line != null) (top text);
}
