# A user's server before the collection is used: their own site, their own database.
{ ... }:
{
  imports = [ ./common.nix ];

  networking.hostName = "hetzner-vps";

  services.caddy = {
    enable = true;
    virtualHosts."http://notes.nixci.test".extraConfig = ''
      respond "the user's own site"
    '';
  };

  services.postgresql = {
    enable = true;
    ensureDatabases = [ "notes" ];
    ensureUsers = [
      {
        name = "notes";
        ensureDBOwnership = true;
      }
    ];
  };

  networking.firewall.allowedTCPPorts = [ 80 ];
}
