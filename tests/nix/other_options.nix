# Options of NixOS that the lab's stand-in lacks, declared only: a host of the tests may set them, and nothing follows.
{ lib, ... }:
let
  inherit (lib) types;
  option =
    type: default:
    lib.mkOption { inherit type default; };
  flag = option types.bool false;
  text = option types.lines "";
  strings = option (types.listOf types.str) [ ];
  anything = option (types.attrsOf types.unspecified) { };
  hosts = options: lib.mkOption {
    type = types.attrsOf (types.submodule { inherit options; });
    default = { };
  };
  tls = {
    onlySSL = flag;
    addSSL = flag;
    forceSSL = flag;
    enableACME = flag;
    listen = option (types.listOf types.unspecified) [ ];
  };
in
{
  options = {
    services = {
      nginx = {
        enable = flag;
        defaultHTTPListenPort = option types.port 80;
        defaultSSLListenPort = option types.port 443;
        defaultListenAddresses = option (types.listOf types.str) [
          "0.0.0.0"
          "[::0]"
        ];
        appendHttpConfig = text;
        virtualHosts = hosts (tls // { listenAddresses = strings; });
      };
      httpd = {
        enable = flag;
        adminAddr = option (types.nullOr types.str) null;
        virtualHosts = hosts (tls // { listenAddresses = option (types.listOf types.str) [ "*" ]; });
      };
      haproxy = {
        enable = flag;
        config = option (types.nullOr types.lines) null;
      };
      traefik = {
        enable = flag;
        staticConfigOptions = anything;
      };
      lighttpd = {
        enable = flag;
        port = option types.port 80;
      };
      jenkins = {
        enable = flag;
        port = option types.port 8080;
        listenAddress = option types.str "0.0.0.0";
      };
    };
    security.acme = {
      acceptTerms = flag;
      defaults = anything;
    };
    virtualisation = {
      podman = anything;
      oci-containers.containers = hosts {
        image = lib.mkOption { type = types.str; };
        ports = strings;
      };
    };
    networking = {
      useNetworkd = flag;
      useDHCP = option types.bool true;
      firewall.extraInputRules = text;
      nftables = {
        enable = flag;
        ruleset = text;
        rulesetFile = option (types.nullOr types.path) null;
      };
    };
    systemd.network = anything;
    system = {
      autoUpgrade = anything;
      switch.enable = option types.bool true;
    };
  };
}
