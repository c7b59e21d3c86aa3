# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts that are already somebody's: with our modules, nothing of theirs vanishes or changes, or the rebuild is refused.

A refusal is one sentence per conflict that names both files, all of them at once, before anything is built.
"""

from __future__ import annotations

import dataclasses
import re
import typing as t

import pytest

from .conftest import on_nixos

OTHER_OPTIONS = "/checkout/tests/nix/other_options.nix"

STATE = """{
  inherit (config) warnings;
  units = lib.mapAttrs (_: unit: unit.text) config.systemd.units;
  sites = lib.mapAttrs (_: site: { inherit (site) hostName serverAliases listenAddresses extraConfig logFormat; }) config.services.caddy.virtualHosts;
  caddy = { inherit (config.services.caddy) extraConfig globalConfig; };
  ports = { inherit (config.networking.firewall) allowedTCPPorts allowedUDPPorts allowedTCPPortRanges allowedUDPPortRanges; };
  firewall = {
    inherit (config.networking.firewall) enable extraCommands interfaces trustedInterfaces;
    rules = config.networking.firewall.extraInputRules or "";
    nftables = config.networking.nftables.ruleset or "";
  };
  hba = if config.services.postgresql.enable then { inherit (config.services.postgresql) authentication identMap; } else { };
  postgresql = if config.services.postgresql.enable then {
    inherit (config.services.postgresql) ensureDatabases dataDir; port = config.services.postgresql.settings.port;
    users = map (user: user.name) config.services.postgresql.ensureUsers;
  } else { };
  dumps = if config.services.postgresqlBackup.enable then {
    inherit (config.services.postgresqlBackup) backupAll databases location compression startAt;
  } else { };
  users = lib.mapAttrs (_: user: {
    inherit (user) uid group extraGroups home isNormalUser isSystemUser; shell = toString user.shell; keys = user.openssh.authorizedKeys.keys;
  }) config.users.users;
  groups = lib.mapAttrs (_: group: group.members) config.users.groups;
  secrets = lib.mapAttrs (_: secret: { inherit (secret) reference path owner mode; }) config.services.onepassword-secrets.secrets;
  etc = lib.attrNames config.environment.etc;
  nix = {
    inherit (config.nix.settings) substituters trusted-users trusted-public-keys;
  }
  // lib.filterAttrs (name: _: lib.elem name [ "connect-timeout" "netrc-file" ]) config.nix.settings;
}"""
FAILED = "map (a: a.message) (lib.filter (a: !a.assertion) config.assertions)"

# What may differ in a unit: which store path a file has, and what makes NixOS restart or reload it.
STORE_PATH = re.compile(r"/nix/store/[a-z0-9]{32}-")
TRIGGERS = re.compile(r"^X-(Restart|Reload)-Triggers=.*\n", re.MULTILINE)


def comparable(text: str) -> str:
    return TRIGGERS.sub("", STORE_PATH.sub("", text))


@dataclasses.dataclass
class Case:
    """A host. `refused` are parts of the sentences; without any, everything stays, apart from the `changed` units."""

    own: str
    refused: tuple[str, ...] = ()
    warned: str = ""
    changed: tuple[str, ...] = ()
    settings: dict[str, dict[str, t.Any]] = dataclasses.field(default_factory=dict)


SITE = "cache.hbohlen.systems"
CACHES = {
    "substituters": [
        {"url": f"https://{SITE}/public-cache", "key": "public-cache:x8mGHmcDROzZg2lGcLEfrOSYXqf0E5rJvHYkBrbmPsk="}
    ]
}
FOR_TAILNET = {"caddy": {"sites": {SITE: {"tailnet": True}}}}
TWICE = f"serve https://{SITE}"

CASES: dict[str, Case] = {
    # Dumps of their own
    "dump of everything": Case("""
      services.postgresql = { enable = true; ensureDatabases = [ "crm" ]; };
      services.postgresqlBackup.enable = true;
    """),
    "dump of everything, explicitly": Case("""
      services.postgresql.enable = true;
      services.postgresqlBackup = { enable = true; backupAll = true; startAt = "hourly"; };
    """),
    "dump of some": Case("""
      services.postgresql = { enable = true; ensureDatabases = [ "crm" "wiki" ]; };
      services.postgresqlBackup = { enable = true; databases = [ "crm" "wiki" ]; startAt = "Mon 05:00"; location = "/data/pg"; compression = "none"; };
    """),
    "dump of the same database": Case("""
      services.postgresql.enable = true;
      services.postgresqlBackup = { enable = true; databases = [ "atticd" ]; location = "/var/backup/nixci"; };
    """),
    "forced compression": Case("""
      services.postgresql.enable = true;
      services.postgresqlBackup = { enable = true; databases = [ "crm" ]; compression = lib.mkForce "none"; };
    """),
    "forced folder": Case("""
      services.postgresql.enable = true;
      services.postgresqlBackup = { enable = true; location = lib.mkForce "/mnt/nas"; compression = "zstd"; compressionLevel = 12; };
    """),
    "a list that earlier versions turned on": Case(
        'services.postgresqlBackup.databases = [ "crm" ];', warned="Set services.postgresqlBackup.enable there"
    ),
    # Caddy
    "own contact": Case('services.caddy = { enable = true; email = "root@example.net"; };'),
    "own contact by default": Case('services.caddy.email = lib.mkDefault "root@example.net";'),
    "own contact as text": Case(
        'services.caddy = { enable = true; globalConfig = "email root@example.net\\ngrace_period 5s"; };'
    ),
    "own authority": Case('services.caddy = { enable = true; acmeCA = "https://ca.example.net/directory"; };'),
    "other sites": Case("""
      networking.firewall.allowedTCPPorts = [ 80 443 ];
      services.caddy = { enable = true; virtualHosts."blog.example.net" = { serverAliases = [ "www.example.net" ]; extraConfig = "respond hello"; };
        extraConfig = "(common) {\\n  encode zstd\\n}\\nshop.example.net {\\n  import common\\n  respond shop\\n}\\n"; };
    """),
    "a wildcard and a plugin": Case(
        """
      services.caddy = { enable = true; globalConfig = "acme_dns hetzner {env.TOKEN}"; virtualHosts."*.hbohlen.systems".extraConfig = "abort"; };
      systemd.services.caddy.serviceConfig.EnvironmentFile = "/run/secrets/caddy.env";
    """,
        warned="so that *.hbohlen.systems in",
    ),
    "no admin interface": Case(
        'services.caddy = { enable = true; globalConfig = "grace_period 5s\\nadmin off"; };', changed=("caddy.service",)
    ),
    "no admin interface, and a forced reload": Case(
        'services.caddy = { enable = true; enableReload = true; globalConfig = "admin off"; };',
        ("Set that to false",),
    ),
    "another admin interface": Case('services.caddy = { enable = true; globalConfig = "admin localhost:2999"; };'),
    "options of Caddy's servers, and a log": Case("""services.caddy = { enable = true; logFormat = lib.mkForce "level INFO";
      globalConfig = "servers {\\n  protocols h1 h2\\n}"; virtualHosts."shop.example.net, *.shop.example.net" = { extraConfig = "respond shop";
        logFormat = "output file /srv/shop.log"; }; extraConfig = "*:8443 {\\n  respond other\\n}"; };
      networking.firewall.allowedTCPPorts = [ 80 443 ]; """),
    "errors of the same site": Case(
        f"""services.caddy.virtualHosts."{SITE}" = {{ logFormat = "output discard";
          extraConfig = "handle_errors {{\\n  respond sorry\\n}}"; }};""",
        warned="an error for Nix",
    ),
    "a site for the tailnet": Case(
        """services.caddy = { enable = true; globalConfig = "acme_dns cloudflare {env.TOKEN}"; };
      networking.firewall.interfaces.eth1.allowedTCPPorts = [ 443 ];""",
        settings=FOR_TAILNET,
    ),
    "Caddy is restarted": Case("services.caddy = { enable = true; enableReload = false; };"),
    "Caddy is off": Case("services.caddy.enable = false;", ("needs Caddy, which",)),
    "a configuration in JSON": Case("services.caddy.settings.apps = { };", ("makes NixOS ignore all virtual hosts",)),
    "a configuration in a file": Case(
        'services.caddy.configFile = "/etc/my/Caddyfile";', ("makes NixOS ignore all virtual hosts",)
    ),
    "the same site": Case(
        f'services.caddy = {{ enable = true; virtualHosts."{SITE}".extraConfig = "reverse_proxy localhost:3000"; }};',
        (TWICE,),
    ),
    "the same site with more headers": Case(
        f"""services.caddy.virtualHosts."{SITE}" = {{ serverAliases = [ "nix.example.net" ]; listenAddresses = [ "192.0.2.7" ];
          extraConfig = "header X-Host one\\nrespond /health ok\\nhandle /docs/* {{\\n  respond docs\\n}}"; }};"""
    ),
    "the same site with its scheme": Case(
        f'services.caddy.virtualHosts."https://{SITE}:443".extraConfig = "respond other";', (TWICE,)
    ),
    "the same site in a list": Case(
        f'services.caddy.virtualHosts."a.example.net, {SITE}".extraConfig = "respond other";', (TWICE,)
    ),
    "the same site under another name": Case(
        f'services.caddy.virtualHosts.nix = {{ hostName = "{SITE}"; extraConfig = "respond other"; }};', (TWICE,)
    ),
    "the same name as an alias": Case(
        'services.caddy.virtualHosts."a.example.net" = { serverAliases = [ "https://Cache.Hbohlen.Systems" ]; extraConfig = "respond a"; };',
        (TWICE,),
    ),
    "the same name without TLS": Case(
        f'services.caddy.virtualHosts."http://{SITE}".extraConfig = "redir https://{{host}}{{uri}}";',
        warned="so that http://",
    ),
    "the same site as text": Case(
        f'services.caddy.extraConfig = "b.example.net,\\n{SITE} {{\\n  respond b\\n}}";', (TWICE,)
    ),
    "a snippet of that name": Case(
        f'services.caddy.extraConfig = "({SITE}) {{\\n  encode gzip\\n}}\\n# {SITE} {{\\nc.example.net {{\\n  reverse_proxy {SITE}\\n}}";',
        warned="so that c.example.net in",
    ),
    "a site without TLS, open already": Case(
        """networking.firewall.allowedTCPPorts = [ 80 ]; services.caddy.virtualHosts."http://d.example.net".extraConfig = "respond d";"""
    ),
    "sites for one interface": Case(
        """
      services.caddy = { enable = true; virtualHosts."intern.example.net".extraConfig = "respond secret"; };
      networking.firewall.interfaces.wg0.allowedTCPPorts = [ 443 ];
    """,
        ("admits them on wg0 only",),
    ),
    "sites for one interface, and the role may not": Case(
        """
      services.caddy = { enable = true; virtualHosts."intern.example.net".extraConfig = "respond secret"; };
      networking.firewall.interfaces.wg0.allowedTCPPorts = [ 80 443 ];
    """,
        settings={"caddy": {"openFirewall": False}},
    ),
    "sites for one interface, and the role may": Case(
        "networking.firewall.interfaces.wg0.allowedTCPPorts = [ 80 443 ];", settings={"caddy": {"openFirewall": True}}
    ),
    # Other servers on the same ports
    "nginx": Case(
        'services.nginx = { enable = true; virtualHosts."n.example.net" = { }; };',
        ("both nginx (", "would listen on port 80,"),
    ),
    "nginx with certificates": Case(
        """services.nginx = { enable = true; virtualHosts."n.example.net" = { enableACME = true; forceSSL = true; }; };
      security.acme = { acceptTerms = true; defaults.email = "n@example.net"; };""",
        ("would listen on the ports 80 and 443",),
    ),
    "nginx by a list": Case(
        """services.nginx = { enable = true; virtualHosts.n.listen = [ { addr = "192.0.2.1"; port = 443; } ]; };""",
        ("both nginx (", "would listen on port 443,"),
    ),
    "nginx by text": Case(
        'services.nginx = { enable = true; appendHttpConfig = "server {\\n  listen [::]:443 default_server;\\n}"; };',
        ("both nginx (", "would listen on port 443,"),
    ),
    "nginx on a socket, and for HTTP/3": Case(
        """services.nginx = { enable = true; virtualHosts.n.listen = [ { addr = "unix:/run/nginx/n.sock"; } ];
      appendHttpConfig = "server {\\n  listen 8000;\\n  listen 443 quic;\\n  listen unix:/run/nginx/m.sock;\\n}"; };"""
    ),
    "nginx elsewhere": Case(
        """services.nginx = { enable = true; defaultHTTPListenPort = 8000; virtualHosts.n = { }; };"""
    ),
    "nginx in front, Caddy behind it": Case(
        """services.nginx = { enable = true; virtualHosts.n = { }; };
      services.caddy.globalConfig = "http_port 8081\\nhttps_port 8443"; """
    ),
    "Apache": Case(
        """services.httpd = { enable = true; adminAddr = "a@example.net"; virtualHosts.a.onlySSL = true; };""",
        ("both httpd (", "would listen on port 443,"),
    ),
    "HAProxy": Case(
        """services.haproxy = { enable = true; config = "frontend web\\n  bind *:80,*:443 v4v6\\n  mode tcp\\n"; };""",
        ("both haproxy (", "would listen on the ports 80 and 443,"),
    ),
    "Traefik": Case(
        """services.traefik = { enable = true; staticConfigOptions.entryPoints.web.address = ":80"; };""",
        ("both traefik (", "would listen on port 80,"),
    ),
    "lighttpd": Case("services.lighttpd.enable = true;", ("both lighttpd (", "would listen on port 80,")),
    "SSH on 443": Case(
        "services.openssh = { enable = true; ports = [ 22 443 ]; };", ("both openssh (", "would listen on port 443,")
    ),
    "a socket": Case(
        """systemd.sockets.web = { wantedBy = [ "sockets.target" ]; socketConfig.ListenStream = "[::]:80"; };
      systemd.services.web.serviceConfig.ExecStart = "/bin/web";""",
        ("both web.socket (", "would listen on port 80,"),
    ),
    "a container on 443": Case(
        """virtualisation.oci-containers.containers.web = { image = "web"; ports = [ "443:8443/tcp" "[::1]:9000:9000" ]; };""",
        ("both the container web (", "would listen on port 443,"),
    ),
    "a container on Attic's port": Case(
        """virtualisation.oci-containers.containers.app = { image = "app"; ports = [ "127.0.0.1:8080:80" ]; };""",
        ("both the container app (", "would listen on port 8080,", "Set attic_listen"),
    ),
    "a container on Attic's port of another address": Case(
        """virtualisation.oci-containers.containers.app = { image = "app"; ports = [ "127.0.0.2:8080:80" "8080:53/udp" ]; };"""
    ),
    "Jenkins": Case("services.jenkins.enable = true;", ("both jenkins (", "would listen on port 8080,")),
    "Caddy on Attic's port": Case(
        """services.caddy.virtualHosts.":8080".extraConfig = "respond mine";""",
        ("both caddy (", "would listen on port 8080,"),
    ),
    # PostgreSQL
    "another port": Case("services.postgresql = { enable = true; settings.port = 5439; };"),
    "another folder of sockets": Case(
        """services.postgresql = { enable = true; dataDir = "/data/pg"; settings.unix_socket_directories = "/tmp, /data/run"; };"""
    ),
    "sockets where no service sees them": Case(
        """services.postgresql = { enable = true; settings.unix_socket_directories = "/tmp"; };""",
        ("names no folder outside /tmp",),
    ),
    "PostgreSQL is off": Case(
        "services.postgresql.enable = lib.mkForce false;", ("needs PostgreSQL, which", "dumps databases of this host")
    ),
    "the version of an old host": Case('system.stateVersion = "19.09";', ("has no longer the version",)),
    "an own user of that name": Case(
        """services.postgresql = { enable = true; ensureDatabases = [ "atticd" ];
      ensureUsers = [ { name = "atticd"; ensureDBOwnership = true; } { name = "crm"; } ]; };"""
    ),
    "passwords for everybody": Case(
        """services.postgresql = { enable = true; authentication = "local all postgres peer\\nlocal all all scram-sha-256\\n"; };""",
        ("refuses the login of atticd",),
    ),
    "passwords also for dumps": Case(
        """services.postgresql = { enable = true; authentication = "local all all md5 # all of them\\n"; };""",
        ("refuses the user postgres", "refuses the login of atticd", "does not let the user postgres into atticd"),
    ),
    "a forced list of users": Case(
        """services.postgresql = { enable = true; identMap = "site crm crm\\nsite postgres postgres";
      authentication = lib.mkForce "local all all peer map=site\\n"; };""",
        ("refuses the login of atticd",),
    ),
    "everybody in their own database only": Case(
        """services.postgresql = { enable = true; authentication = lib.mkForce "local sameuser all peer\\n"; };""",
        ("does not let the user postgres into atticd",),
    ),
    "forced rules that admit us": Case(
        """services.postgresql = { enable = true; identMap = "m root postgres\\nm postgres postgres\\nm /^(.*)$ \\\\1";
      authentication = lib.mkForce ''
        local "crm" all reject
        host all all 0.0.0.0/0 reject
        local all /^att peer map=m
        local all all peer map=m
      ''; };"""
    ),
    "other rules": Case(
        """services.postgresql = { enable = true; enableTCPIP = true;
      authentication = "host crm crm 192.0.2.0/24 scram-sha-256\\nlocal crm crm md5\\nlocal replication all reject\\n"; };"""
    ),
    # Firewall, Nix, users
    "own input rules": Case(
        """networking.nftables.enable = true; networking.firewall.extraInputRules = "ip saddr 198.51.100.7 accept";"""
    ),
    "own commands": Case(
        """networking.firewall = { extraCommands = "iptables -A INPUT -s 198.51.100.7 -j ACCEPT"; allowedTCPPorts = [ 25 ];
      allowedUDPPortRanges = [ { from = 60000; to = 61000; } ]; };"""
    ),
    "no firewall": Case("networking.firewall.enable = false;"),
    "own ruleset": Case(
        """networking.firewall.enable = false;
      networking.nftables = { enable = true; ruleset = "table inet t { chain input { type filter hook input priority 0; policy drop; } }"; };""",
        warned="Admit 80/tcp, 443/tcp and 443/udp there",
    ),
    "Nix is off": Case("nix.enable = false;", warned="nixos-rebuild cannot work on this host"),
    "no switch": Case("system.switch.enable = false;", warned="nixos-rebuild cannot activate it"),
    "own substituters": Case(
        """nix.settings = { substituters = lib.mkForce [ "https://m.example.net" ]; trusted-users = [ "alice" ]; };"""
    ),
    "own substituters beside the caches": Case(
        """nix.settings = { substituters = [ "https://m.example.net" ]; trusted-public-keys = [ "m:AAAA" ]; connect-timeout = 60;
      netrc-file = "/run/secrets/netrc"; };""",
        settings={"substituter": CACHES},
    ),
    "forced substituters and the caches": Case(
        """nix.settings.substituters = lib.mkForce [ "https://m.example.net" ];""",
        warned="forces nix.settings.substituters",
        settings={"substituter": CACHES},
    ),
    "an own netrc and private caches": Case(
        """nix.settings.netrc-file = "/run/secrets/netrc";""",
        ("Nix reads one netrc file, and",),
        settings={"substituter": {**CACHES, "netrcFile": "/run/nixci/netrc"}},
    ),
    "own accounts": Case(
        """users.mutableUsers = false; users.users.root.openssh.authorizedKeys.keys = [ "ssh-ed25519 AAAA root" ];
      users.users.atticd = { isSystemUser = true; group = "atticd"; }; users.groups.atticd = { };"""
    ),
    "networkd": Case(
        """networking.useNetworkd = true; networking.useDHCP = false; systemd.network.enable = true;
      systemd.network.networks."20-lan" = { matchConfig.Name = "en*"; networkConfig.DHCP = "yes"; };"""
    ),
    "automatic updates": Case(
        """system.autoUpgrade = { enable = true; dates = "05:10"; flake = "github:me/hosts"; };"""
    ),
    "own secrets": Case(
        """services.onepassword-secrets = { enable = true; secrets.smtp = { reference = "op://vault/smtp/password"; mode = "0440"; }; };""",
        changed=("opnix-secrets.service", "opnix-secrets-restart.service"),
    ),
    # All at once
    "many conflicts": Case(
        f"""services.nginx = {{ enable = true; virtualHosts.n.forceSSL = true; }};
      services.caddy = {{ enable = true; enableReload = true; globalConfig = "admin off"; virtualHosts."{SITE}".extraConfig = "abort"; }};
      services.postgresql = {{ enable = true; authentication = lib.mkForce "local all postgres peer\\n"; }};""",
        ("both nginx (", "Set that to false", TWICE, "refuses the login of atticd"),
    ),
}


def kept(before: t.Any, after: t.Any, path: str = "") -> list[str]:
    """What of `before` is missing or different in `after`; lists and texts may have more."""
    if isinstance(before, dict):
        return [
            text
            for key, value in before.items()
            for text in (kept(value, after[key], f"{path}.{key}") if key in after else [f"{path}.{key} is gone"])
        ]
    if isinstance(before, list):
        return [f"{path} lacks {value}" for value in before if value not in after]
    if isinstance(before, str) and path.startswith((".caddy", ".sites")):
        now = after.split("\n")
        # What had no block may get one: a log stays where it is, and is rotated.
        lost = [line for line in before.split("\n") if line not in now and f"{line} {{" not in now]
        return [f"{path} lacks {line!r}" for line in lost]
    return [] if before == after else [f"{path} was {before!r} and is {after!r}"]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_nothing_of_theirs_is_harmed(host: t.Any, case: Case) -> None:
    imports = [] if host.evaluator is on_nixos else [OTHER_OPTIONS]
    own = f"{{ lib, ... }}: {{ {case.own} }}"
    for role, changes in case.settings.items():
        host.settings(role, **changes)
    host.configure(own, *imports)
    joined = host.value(
        f"let failed = {FAILED}; in {{ inherit failed; state = if failed == [ ] then {STATE} else null; }}"
    )
    for part in case.refused:
        assert any(part in sentence for sentence in joined["failed"]), joined["failed"]
    for sentence in joined["failed"]:
        assert sentence.startswith("nixci: "), sentence
        assert str(host.nix_folder / "own.nix") in sentence, sentence
        assert str(host.nix_folder / "nixci/settings") in sentence, sentence
        assert case.refused, sentence
    if case.refused:
        return

    after = joined["state"]
    said = [text for text in after.pop("warnings") if text.startswith("nixci: ")]
    assert [case.warned in text for text in said] == ([True] if case.warned else []), said
    for text in said:
        assert str(host.nix_folder / "own.nix") in text
    host.configure(own, *imports, alone=True)
    before = host.value(STATE)
    before.pop("warnings")
    for state in (before, after):
        state["units"] = {name: comparable(text) for name, text in state["units"].items()}
    for unit in case.changed:
        before["units"].pop(unit)
    assert kept(before, after) == []
    # Here, more would be a change as well, but for what a site of the tailnet needs.
    if "tailscale0" not in before["firewall"]["interfaces"]:
        after["firewall"]["interfaces"].pop("tailscale0", None)
    for part in ("hba", "dumps", "firewall"):
        assert before[part] in ({}, after[part])
