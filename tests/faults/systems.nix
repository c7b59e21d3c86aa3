# SPDX-License-Identifier: GPL-3.0-or-later
# The systems of the fault suite, as data: each differs from `good` in the one thing that its name says.
# `app` is a service of the user; `gate` stops an activation at one of its steps until the test lets it go on.
{ key }:
let
  evaluate = import /usr/lib/nixos-standin/eval.nix;

  gate = step: ''
    mkdir -p /run/faults
    if [ -e "/run/faults/hold-${step}" ]; then
      touch "/run/faults/at-${step}"
      while [ -e "/run/faults/hold-${step}" ]; do sleep 0.1; done
      rm "/run/faults/at-${step}"
    fi
  '';

  base = name: {
    imports = [ ./nixci/hosts/web ];
    networking.hostName = "web";
    services.openssh.enable = name != "sshd-off";
    system.stateVersion = "25.11";
    security.sudo.wheelNeedsPassword = false;
    users.users.root.openssh.authorizedKeys.keys = [ key ];
    # $2 is the action: dry-activate, test, boot or switch.
    system.preSwitchChecks.gate = gate "$2";
    system.activationScripts.gate = gate "activation-${name}";
    environment.etc."faults/name".text = name;
  };

  deployer = {
    users.users.deploy = {
      isNormalUser = true;
      extraGroups = [ "wheel" ];
      openssh.authorizedKeys.keys = [ key ];
    };
  };

  # A service that says in its environment which system started it.
  app = script: name: {
    systemd.services.app = {
      wantedBy = [ "multi-user.target" ];
      environment.SYSTEM = name;
      inherit script;
    };
  };
  works = app "exec sleep infinity";
  forever = app "until [ -e /run/faults/break ]; do sleep 0.1; done; exit 1";

  and = list: name: { imports = map (part: if builtins.isFunction part then part name else part) list; };
  sound = and [ works deployer ];
  inhibitor = {
    services.dbus.implementation = "dbus";
  };
  payload =
    { pkgs, ... }:
    {
      environment.etc."faults/payload".source = pkgs.runCommand "payload" { } "head -c 4M /dev/urandom > $out";
    };

  systems = {
    good = sound;
    good2 = sound;
    good3 = sound;

    # Fails before the activation is over.
    broken = and [ (app "exit 1") deployer ];
    # Fails after a while.
    ten-seconds = and [ (app "sleep 10; exit 1") deployer ];
    # Fails when the test says so.
    fragile = and [ forever deployer ];
    # Runs, but does not do its work.
    sick = and [ sound { environment.etc."faults/sick".text = ""; } ];
    # Its activation fills the disk that holds our state, and fails.
    full = and [ sound { system.activationScripts.fill = "cat /dev/zero > /var/lib/nixci/fill"; } ];

    # Has another D-Bus, which a running system cannot replace.
    inhibitor = and [ sound inhibitor ];
    inhibitor-broken = and [ (app "exit 1") deployer inhibitor ];

    # Its store paths are in the cache only.
    remote = and [ sound { imports = [ payload ]; } ];

    sshd-off = sound;
    port-closed = and [ sound { services.openssh.openFirewall = false; } ];
    user-removed = works;
  };
in
builtins.mapAttrs (name: system: (evaluate { configuration.imports = [ (base name) (system name) ]; }).system) systems
