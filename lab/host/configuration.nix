# A user's machine before the collection is used: their own site, their own database, SSH.
# `up` builds generation 1 without the line that imports the collection's modules, then adds it.
{ ... }:
{
  imports = [ ./nixci/modules ]; # pantheros.nixci

  networking.hostName = "hetzner-vps";
  services.openssh.enable = true;

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

  system.stateVersion = "25.11";
}
