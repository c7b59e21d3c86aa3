# Who deploys, and how they log in. Ansible becomes root for each of its tasks, so the user may run anything with sudo: what
# is taken away is every way in but their keys.
{ config, lib, ... }:
let
  t = import ./types.nix { inherit lib; };
  cfg = config.nixci.bootstrap;
  inherit (cfg) user;
  other = user != "root";
in
{
  options.nixci.bootstrap = t.role {
    user = t.optionOr "deploy" t.user "User that deploys.";
    keys = t.option (t.nonEmptyListOf t.sshKey) "Public keys with which the user logs in.";
    harden = t.optionOr true t.bool "Whether to take away logins with passwords.";
    rootLogin = t.optionOr "keys" (t.enum [
      "keys"
      "no"
    ]) "How root may log in over SSH, if `harden': with keys, or not at all.";
  };

  config = lib.mkIf (cfg != null) {
    assertions = [
      {
        assertion = other || cfg.rootLogin == "keys";
        message = "nixci: settings/bootstrap.json says that root deploys and that root cannot log in; set bootstrap_root_login to keys, or bootstrap_user to another user.";
      }
    ];

    services.openssh = {
      enable = t.overDefaults true;
      settings = lib.mkIf cfg.harden {
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
    # Closures that were built elsewhere arrive over SSH as this user. Whoever may become root has this right already.
    nix.settings.trusted-users = lib.mkIf other [
      "root"
      user
    ];
  };
}
