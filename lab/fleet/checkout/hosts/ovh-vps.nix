# A small server with one service of the user's own.
{ pkgs, ... }:
{
  imports = [ ./common.nix ];

  networking.hostName = "ovh-vps";

  systemd.services.hello = {
    description = "The user's own service";
    wantedBy = [ "multi-user.target" ];
    path = [ pkgs.python3 ];
    serviceConfig.DynamicUser = true;
    script = "exec python3 -m http.server --bind 127.0.0.1 8000 --directory /etc/static";
  };
}
