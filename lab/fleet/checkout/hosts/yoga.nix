# A laptop.
{ ... }:
{
  imports = [ ./common.nix ];

  networking.hostName = "yoga";

  users.users.alice = {
    isNormalUser = true;
    extraGroups = [ "wheel" ];
  };
}
