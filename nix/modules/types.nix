# Types shared by the roles. A string from the settings may end up in a Caddyfile, a unit or a
# shell script, so each type names the characters it allows: no quotes, `$`, `%`, braces or
# newlines, except where a comment says why. patterns.json has them.
{ lib }:
let
  inherit (lib) types;
  # Data, since the preflight checks the same values before anything is created.
  patterns = builtins.fromJSON (builtins.readFile ./patterns.json);
  matching =
    name: types.strMatching patterns.${name}.pattern // { inherit (patterns.${name}) description; };

  # An attribute set whose names are checked like values. Not `addCheck': nixpkgs drops that when
  # the elements are submodules.
  named =
    pattern: what: elem:
    lib.mkOptionType {
      name = "attrsOf";
      description = "attribute set with ${what} as names";
      check =
        set:
        lib.isAttrs set && lib.all (name: builtins.match pattern name != null) (lib.attrNames set);
      merge = loc: defs: (types.attrsOf elem).merge loc defs;
      nestedTypes.elemType = elem;
    };
in
{
  inherit (types)
    bool
    enum
    ints
    listOf
    nonEmptyListOf
    nullOr
    ;

  # A role: off while no settings file mentions it.
  role =
    options:
    lib.mkOption {
      type = types.nullOr (types.submodule { inherit options; });
      default = null;
      description = "Settings of this role; null leaves it out.";
    };
  group =
    description: options:
    lib.mkOption {
      inherit description;
      type = types.submodule { inherit options; };
      default = { };
    };
  option =
    type: description:
    lib.mkOption { inherit type description; };
  optionOr =
    default: type: description:
    lib.mkOption { inherit type default description; };

  # A value that any definition in the host's own configuration replaces, also one with mkDefault.
  hostDecides = lib.mkOverride 1100;
  # A value that replaces NixOS' defaults, and that a plain definition in the host's own configuration replaces.
  overDefaults = lib.mkOverride 900;

  submodule = options: types.submodule { inherit options; };
  byDomain = named patterns.domain.pattern "domain names in lower case";
  byCache = named patterns.cacheName.pattern "names of caches";
  bySecretName = named patterns.secretName.pattern "camelCase words (as OpNix demands)";

  domain = matching "domain";
  upstream = matching "upstream";
  listen = matching "listen";
  url = matching "url";
  httpHost = matching "httpHost";
  folderUrl = matching "folderUrl";
  claim = matching "claim";
  memory = matching "memory";
  publicKey = matching "publicKey";
  email = matching "email";

  path = matching "path";
  fileMode = matching "fileMode";
  user = matching "user";
  service = matching "service";
  sshKey = matching "sshKey";
  calendar = matching "calendar";
  duration = matching "duration";
  version = matching "version";

  databaseName = matching "databaseName";
  # PostgreSQL with a user (newer servers would else try `anonymous') and never with a password: this
  # URL ends up in the world-readable store. `%' is URL encoding, and only TOML reads it.
  databaseUrl = matching "databaseUrl";
  bucketName = matching "bucketName";
  region = matching "region";
  # Titles in 1Password may hold blanks.
  secretReference = matching "secretReference";
}
