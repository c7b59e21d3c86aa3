# HTTPS in front of local services, certificates by ACME.
{
  config,
  lib,
  options,
  ...
}:
let
  t = import ./types.nix { inherit lib; };
  cfg = config.nixci.caddy;
  caddy = config.services.caddy;

  # A NAR is one PUT of any size, and the server is silent until it is stored: hence no limit for
  # the body and patience for the answer.
  proxy = upstream: ''
    reverse_proxy ${upstream} {
      transport http {
        response_header_timeout 1h
        read_timeout 1h
        write_timeout 1h
      }
    }
  '';
in
{
  options.nixci.caddy = t.role {
    sites = t.optionOr { } (t.byDomain (
      t.submodule {
        upstream = t.optionOr "127.0.0.1:8080" t.upstream "Where the requests go.";
      }
    )) "Sites by domain name.";
    email = t.optionOr null (t.nullOr t.email) "Contact for the certificate authority.";
    acmeCa = t.optionOr null (t.nullOr t.url) "Directory of the ACME authority; null means Caddy's choice.";
    acmeCaRoot = t.optionOr null (t.nullOr t.path) "Root certificate (PEM) of a private ACME authority's own API.";
    openFirewall = t.optionOr true t.bool "Open 80/tcp, 443/tcp and 443/udp (HTTP/3).";
  };

  config = lib.mkIf (cfg != null) {
    assertions = [
      {
        # Caddy's module has two ways to leave out the virtual hosts without a word.
        assertion =
          caddy.settings or { } == { } && options.services.caddy.configFile.highestPrio or 1500 >= 1500;
        message = "nixci: settings/caddy.json adds virtual hosts, but services.caddy.settings or services.caddy.configFile is set in this configuration, which makes NixOS ignore all virtual hosts. Move those settings to services.caddy.virtualHosts, globalConfig or extraConfig.";
      }
    ];

    services.caddy = {
      enable = true;
      email = lib.mkIf (cfg.email != null) cfg.email;
      acmeCA = lib.mkIf (cfg.acmeCa != null) cfg.acmeCa;
      globalConfig = lib.mkIf (cfg.acmeCaRoot != null) "acme_ca_root ${cfg.acmeCaRoot}";
      virtualHosts = lib.mapAttrs (_domain: site: { extraConfig = proxy site.upstream; }) cfg.sites;
    };

    networking.firewall = lib.mkIf cfg.openFirewall {
      allowedTCPPorts = [
        80
        443
      ];
      allowedUDPPorts = [ 443 ];
    };
  };
}
