# Who can reach this system over SSH, for the manifest: a deployment reads it before the activation, and refuses a system
# that would lock it out. What sshd and the firewall read from elsewhere is not judged: Match blocks, included files,
# commands and rules of the firewall in text. Nothing here is secret.
{
  config,
  lib,
  modulesPath,
  options,
}:
let
  ssh = config.services.openssh;
  firewall = config.networking.firewall;

  # sshd does not distinguish upper and lower case, and takes the first value of most keywords: `settings' come first.
  settings = lib.mapAttrs' (name: lib.nameValuePair (lib.toLower name)) ssh.settings;
  # Each line of the text before the first Match block, as its keyword and values.
  global = lib.concatMap (
    line:
    let
      found = builtins.match "[[:space:]]*([A-Za-z]+)[[:space:]=]+([^#]*)(#.*)?" line;
    in
    lib.optional (found != null) {
      keyword = lib.toLower (lib.head found);
      values = words (lib.elemAt found 1);
    }
  ) (lib.splitString "\n" (lib.head (builtins.split "(^|\n)[[:space:]]*[Mm][Aa][Tt][Cc][Hh][[:space:]]" ssh.extraConfig)));
  inText =
    keyword: lib.concatMap (line: line.values) (lib.filter (line: line.keyword == keyword) global);
  words = value: lib.filter (word: word != "") (lib.concatMap (lib.splitString "\t") (lib.splitString " " value));

  one =
    keyword: default:
    let
      set = settings.${keyword} or null;
      value = if set != null then set else lib.head (inText keyword ++ [ default ]);
    in
    if lib.isBool value then (if value then "yes" else "no") else toString value;
  # These add up.
  several =
    keyword:
    let
      set = settings.${keyword} or null;
      all = (if set == null then [ ] else if lib.isList set then set else words set) ++ inText keyword;
    in
    if all == [ ] then null else all;

  tcp = ports: {
    tcpPorts = ports.allowedTCPPorts;
    tcpPortRanges = ports.allowedTCPPortRanges;
  };

  # Users that cannot log in over SSH are left out. One without keys may have them in its home, if sshd looks there.
  shell = user: if user.shell ? shellPath then "/run/current-system/sw${user.shell.shellPath}" else toString user.shell;
  mayLogIn =
    user:
    (user.enable or true)
    && (user.name == "root" || user.isNormalUser || keys user != [ ])
    && !lib.elem (baseNameOf (shell user)) [ "nologin" "false" "" ];
  keys =
    user:
    lib.filter (line: line != "" && !lib.hasPrefix "#" line) (
      user.openssh.authorizedKeys.keys
      ++ lib.concatMap (file: lib.splitString "\n" (builtins.readFile file)) (
        user.openssh.authorizedKeys.keyFiles or [ ]
      )
    );
  groups =
    user:
    lib.unique (
      [ user.group ]
      ++ user.extraGroups
      ++ lib.attrNames (lib.filterAttrs (_: group: lib.elem user.name group.members) config.users.groups)
    );

  sudo = if config.security.sudo-rs.enable or false then "sudo-rs" else "sudo";
  # More than the rules for root and wheel, which NixOS makes itself.
  rules =
    option:
    lib.any (def: !lib.hasPrefix "${toString modulesPath}/" (toString def.file)) (
      option.definitionsWithLocations or [ ]
    );
in
{
  ssh = {
    inherit (ssh) enable;
    ports = lib.unique (ssh.ports ++ map lib.toInt (inText "port"));
    listenAddresses = lib.unique (
      map (
        listen: listen.addr + lib.optionalString (listen.port or null != null) ":${toString listen.port}"
      ) (ssh.listenAddresses or [ ])
      ++ inText "listenaddress"
    );
    permitRootLogin = one "permitrootlogin" "prohibit-password";
    allowUsers = several "allowusers";
    allowGroups = several "allowgroups";
    denyUsers = several "denyusers";
    denyGroups = several "denygroups";
    pubkeyAuthentication = one "pubkeyauthentication" "yes" == "yes";
  };
  firewall = tcp firewall // {
    inherit (firewall) enable trustedInterfaces;
    interfaces = lib.mapAttrs (_: tcp) firewall.interfaces;
  };
  users = lib.listToAttrs (
    map (
      user:
      lib.nameValuePair user.name {
        keys = keys user;
        groups = groups user;
        wheel = lib.elem "wheel" (groups user);
        shell = shell user;
      }
    ) (lib.filter mayLogIn (lib.attrValues config.users.users))
  );
  sudo = {
    enable = config.security.${sudo}.enable or false;
    wheelNeedsPassword = config.security.${sudo}.wheelNeedsPassword or true;
    rules = rules (options.security.${sudo}.extraRules or { }) || rules (options.security.${sudo}.extraConfig or { });
  };
  authorizedKeysFiles = ssh.authorizedKeysFiles or [ ];
}
