# Types shared by the roles. A string from the settings may end up in a Caddyfile, a unit or a
# shell script, so each type names the characters it allows: no quotes, `$`, `%`, braces or
# newlines, except where a comment says why.
{ lib }:
let
  inherit (lib) types;
  matching = description: pattern: types.strMatching pattern // { inherit description; };

  label = "[a-z0-9]([a-z0-9-]*[a-z0-9])?";
  domainPattern = "${label}(\\.${label})+";
  hostPattern = "[A-Za-z0-9.-]+|\\[[0-9a-fA-F:]+]";
  addressPattern = "[0-9]{1,3}(\\.[0-9]{1,3}){3}|\\[[0-9a-fA-F:]+]";
  databasePattern = "[a-z_][a-z0-9_]{0,62}";
  parameter = "(host|port|sslmode|sslrootcert|application_name)=[A-Za-z0-9_/%.-]+";
  secretPattern = "[a-z][a-zA-Z0-9]*";

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
  byDomain = named domainPattern "domain names in lower case";
  bySecretName = named secretPattern "camelCase words (as OpNix demands)";

  domain = matching "domain name in lower case, such as cache.example.org" domainPattern;
  upstream = matching "HOST:PORT" "(${hostPattern}):[0-9]{1,5}";
  listen = matching "IP:PORT, IPv6 addresses in brackets" "(${addressPattern}):[0-9]{1,5}";
  url = matching "http or https URL" "https?://(${hostPattern})(:[0-9]{1,5})?(/[A-Za-z0-9._~/-]*)?";
  email = matching "e-mail address" "[A-Za-z0-9._+-]+@${domainPattern}";

  path = matching "absolute path without blanks or `..'" "(/\\.?[A-Za-z0-9_+@-][A-Za-z0-9._+@-]*)+";
  fileMode = matching "octal mode such as 0400, not writable for others" "0?[0-7]{2}[0145]";
  user = matching "user or group name" "[a-z_][a-z0-9_-]{0,31}";
  service = matching "service name without `.service'" "[A-Za-z0-9:_@-]+";
  calendar = matching "systemd calendar expression" "[A-Za-z0-9*:.,/_+~ -]+";
  duration = matching "duration such as 30 days or 0s" "[0-9]+ ?[a-z]+( [0-9]+ ?[a-z]+)*";
  version = matching "version such as 1.2.3" "[0-9]+\\.[0-9]+\\.[0-9]+([+-][A-Za-z0-9.+-]+)?";

  databaseName = matching "database name of lower-case letters, digits and _" databasePattern;
  # With a user (newer servers would else try `anonymous') and never with a password: this
  # URL ends up in the world-readable store. `%' is URL encoding, and only TOML reads it.
  databaseUrl = matching "postgresql:// URL with a user name and without password" "postgresql://${databasePattern}@[A-Za-z0-9.-]+(:[0-9]{1,5})?/${databasePattern}(\\?${parameter}(&${parameter})*)?";
  bucketName = matching "bucket name" "[A-Za-z0-9][A-Za-z0-9.-]{1,61}[A-Za-z0-9]";
  region = matching "region such as eu-central-003" "[a-z0-9-]+";
  # Titles in 1Password may hold blanks.
  secretReference = matching "reference such as op://vault/item/field" "op://[A-Za-z0-9_-][A-Za-z0-9_. -]*(/[A-Za-z0-9_-][A-Za-z0-9_. -]*){2,3}";
}
