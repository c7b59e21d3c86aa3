# What all hosts of the fleet have in common.
{ ... }:
{
  services.openssh = {
    enable = true;
    settings.PasswordAuthentication = false;
  };
  users.users.root.openssh.authorizedKeys.keyFiles = [ ../keys/deploy.pub ];

  system.stateVersion = "25.11";
}
