# A laptop.
{ ... }:
{
  imports = [ ./common.nix ];

  networking.hostName = "zephyrus";

  users.users.alice = {
    isNormalUser = true;
    extraGroups = [ "wheel" ];
  };
}
