{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.networking.firewall;
  ports = mkOption {
    type = types.listOf types.port;
    default = [ ];
    apply = list: lib.sort builtins.lessThan (lib.unique list);
  };
  ranges = mkOption {
    type = types.listOf (types.attrsOf types.port);
    default = [ ];
  };
  accept =
    interface: protocol: port:
    "iptables -w -A nixos-fw ${lib.optionalString (interface != null) "-i ${lib.escapeShellArg interface} "}-p ${protocol} --dport ${toString port} -j nixos-fw-accept";
  span = range: "${toString range.from}:${toString range.to}";
  acceptAll =
    interface: set:
    map (accept interface "tcp") (set.allowedTCPPorts ++ map span set.allowedTCPPortRanges)
    ++ map (accept interface "udp") (set.allowedUDPPorts ++ map span set.allowedUDPPortRanges);
  stop = ''
    iptables -w -D INPUT -j nixos-fw 2>/dev/null || true
    for chain in nixos-fw nixos-fw-accept nixos-fw-refuse; do
      iptables -w -F "$chain" 2>/dev/null || true
      iptables -w -X "$chain" 2>/dev/null || true
    done
  '';
in
{
  options.networking = {
    hostName = mkOption {
      type = types.strMatching "^$|^[[:alnum:]]([[:alnum:]_-]{0,61}[[:alnum:]])?$";
      default = "nixos";
    };
    firewall = {
      enable = mkOption {
        type = types.bool;
        default = true;
      };
      allowPing = mkOption {
        type = types.bool;
        default = true;
      };
      trustedInterfaces = mkOption {
        type = types.listOf types.str;
        default = [ ];
      };
      allowedTCPPorts = ports;
      allowedUDPPorts = ports;
      allowedTCPPortRanges = ranges;
      allowedUDPPortRanges = ranges;
      interfaces = mkOption {
        default = { };
        type = types.attrsOf (
          types.submodule {
            options = {
              allowedTCPPorts = ports;
              allowedUDPPorts = ports;
              allowedTCPPortRanges = ranges;
              allowedUDPPortRanges = ranges;
            };
          }
        );
      };
      extraCommands = mkOption {
        type = types.lines;
        default = "";
      };
    };
  };

  config.networking.firewall.trustedInterfaces = [ "lo" ];
  config.system.activation.hostName = config.networking.hostName;
  config.environment.etc.hostname = lib.mkIf (config.networking.hostName != "") {
    text = config.networking.hostName + "\n";
  };
  config.systemd.services.firewall = lib.mkIf cfg.enable {
    description = "Firewall";
    wantedBy = [ "sysinit.target" ];
    wants = [ "network-pre.target" ];
    before = [ "network-pre.target" ];
    unitConfig.DefaultDependencies = false;
    path = [ pkgs.iptables ];
    reloadIfChanged = true;
    serviceConfig = {
      Type = "oneshot";
      RemainAfterExit = true;
      ExecStart = "${config.system.build.firewall}/bin/firewall start";
      ExecReload = "${config.system.build.firewall}/bin/firewall start";
      ExecStop = "${config.system.build.firewall}/bin/firewall stop";
    };
  };
  config.system.build.firewall = pkgs.writeShellScriptBin "firewall" ''
    set -e
    ${stop}
    [ "$1" = start ] || exit 0
    iptables -w -N nixos-fw-accept
    iptables -w -A nixos-fw-accept -j ACCEPT
    iptables -w -N nixos-fw-refuse
    iptables -w -A nixos-fw-refuse -j DROP
    iptables -w -N nixos-fw
    ${lib.concatMapStringsSep "\n" (
      interface: "iptables -w -A nixos-fw -i ${lib.escapeShellArg interface} -j nixos-fw-accept"
    ) cfg.trustedInterfaces}
    iptables -w -A nixos-fw -m conntrack --ctstate ESTABLISHED,RELATED -j nixos-fw-accept
    ${lib.concatStringsSep "\n" (
      acceptAll null cfg ++ lib.concatLists (lib.mapAttrsToList acceptAll cfg.interfaces)
    )}
    ${lib.optionalString cfg.allowPing "iptables -w -A nixos-fw -p icmp --icmp-type echo-request -j nixos-fw-accept"}
    ${cfg.extraCommands}
    iptables -w -A nixos-fw -j nixos-fw-refuse
    iptables -w -A INPUT -j nixos-fw
  '';
}
