# Who deploys, and how they log in. Ansible becomes root for each of its tasks, so the user may run anything with sudo: what
# is taken away is every way in but a key.
{
  config,
  lib,
  modulesPath,
  options,
  ...
}:
let
  t = import ./types.nix { inherit lib; };
  theirs = import ./theirs.nix { inherit lib modulesPath; };
  cfg = config.nixci.bootstrap;
  inherit (cfg) user;
  other = user != "root";
  ssh = config.services.openssh.settings;
  settings = theirs.show options.nixci.bootstrap.files;
  # What the host's own configuration sets wins, and is then refused if it opens what shall be closed.
  closed = name: wanted: {
    assertion = ssh.${name} == wanted;
    message = "nixci: ${settings} wants services.openssh.settings.${name} to be ${builtins.toJSON wanted}, but ${
      theirs.where [ options.services.openssh.settings ]
    } sets it to ${builtins.toJSON ssh.${name}}; remove that line.";
  };
in
{
  options.nixci.bootstrap = t.role {
    user = t.optionOr "deploy" t.user "User that deploys.";
    keys = t.option (t.nonEmptyListOf t.sshKey) "Public keys with which the user logs in.";
    rootLogin = t.optionOr "keys" (t.enum [
      "keys"
      "no"
    ]) "How root may log in over SSH: with keys, or not at all.";
  };

  config = lib.mkIf (cfg != null) {
    assertions = [
      {
        assertion = other || cfg.rootLogin == "keys";
        message = "nixci: ${settings} says that root deploys and that root may not log in; set bootstrap_root_login to keys, or bootstrap_user to another user.";
      }
      (closed "PasswordAuthentication" false)
      (closed "KbdInteractiveAuthentication" false)
    ]
    ++ lib.optional (cfg.rootLogin == "no") (closed "PermitRootLogin" "no");

    services.openssh = {
      enable = t.overDefaults true;
      settings = {
        PasswordAuthentication = t.overDefaults false;
        KbdInteractiveAuthentication = t.overDefaults false;
        PermitRootLogin = t.overDefaults (if cfg.rootLogin == "no" then "no" else "prohibit-password");
      };
    };

    # Without a password: nobody can log in with one, and sudo must not ask for it.
    users.users.${user} = {
      openssh.authorizedKeys.keys = cfg.keys;
      isNormalUser = lib.mkIf other (lib.mkDefault true);
      description = lib.mkIf other (lib.mkDefault "deploys with Ansible");
      # Where NixOS demands that: sudo for this group only, or somebody in it who can log in.
      extraGroups = lib.mkIf (other && (config.security.sudo.execWheelOnly or false || !config.users.mutableUsers)) [
        "wheel"
      ];
    };
    security.sudo = lib.mkIf other {
      enable = t.overDefaults true;
      extraRules = [
        {
          users = [ user ];
          commands = [
            {
              command = "ALL";
              options = [ "NOPASSWD" ];
            }
          ];
        }
      ];
    };
  };
}
