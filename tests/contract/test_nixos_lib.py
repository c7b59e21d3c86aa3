# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's `lib` and nixpkgs' own give the same system and the same messages."""

from __future__ import annotations

import os
import pathlib
import re

import pytest

from tests.support.nixos_host import Host

EVERYTHING = """
{ config, lib, pkgs, ... }:
{
  options.mine = lib.mkOption { type = with lib.types; attrsOf (submodule { options.n = lib.mkOption { type = int; default = 1; }; }); };
  config = lib.mkMerge [
    { mine.a = { }; mine.b.n = lib.mkForce 3; networking.hostName = lib.mkDefault "vps"; }
    (lib.mkIf (config.mine.b.n == 3) { environment.etc.mine.text = builtins.toJSON config.mine; })
    {
      services.openssh = { enable = true; settings.PermitRootLogin = "no"; extraConfig = lib.mkBefore "Banner none\\n"; };
      services.caddy = { enable = true; email = "a@b.test"; virtualHosts."a.test" = { serverAliases = [ "b.test" ]; extraConfig = "respond x"; }; };
      services.postgresql = { enable = true; ensureDatabases = [ "atticd" ]; ensureUsers = [ { name = "atticd"; ensureDBOwnership = true; } ]; };
      services.postgresqlBackup = { enable = true; databases = [ "atticd" ]; };
      services.atticd = { enable = true; environmentFile = "/run/env"; settings.listen = "127.0.0.1:8080"; };
      services.onepassword-secrets = { enable = true; secrets.attic = { reference = "op://a/b/c"; services = [ "atticd" ]; }; };
      networking.firewall.allowedTCPPorts = lib.mkAfter [ 80 ];
      nix.settings.extra-substituters = [ "https://a.test" ];
      users.users.alice = { isNormalUser = true; openssh.authorizedKeys.keys = [ "ssh-ed25519 AAAA a" ]; };
    }
  ];
}
"""
WRONG = [
    "services.nonsense.enable = true;",
    "networking.firewall.allowedTCPPorts = [ 99999 ];",
    'networking.hostName = lib.mkMerge [ "a" "b" ];',
    'services.openssh = { enable = true; settings.PermitRootLogin = "maybe"; };',
    "services.caddy = { enable = true; virtualHosts.x.nope = 1; };",
    "systemd.services.x.environment.A = true;",
    "environment.etc.x = { };",
    "environment = 3;",
    "services.postgresqlBackup = { enable = true; compressionLevel = 25; };",
    "services.atticd.enable = true;",
    "options = { }; foo = 1;",
]


@pytest.fixture(scope="module")
def search_path(nixos: Host) -> str:
    given = os.environ.get("NIXPKGS_LIB")
    if not given:
        pytest.skip("NIXPKGS_LIB does not name a folder with nixpkgs' lib")
    nixos.out("mkdir -p /root/nixpkgs")
    nixos.copy(pathlib.Path(given), "/root/nixpkgs/lib")
    return "-I nixpkgs=/root/nixpkgs"


def evaluate(nixos: Host, body: str, *flags: str) -> tuple[int, str]:
    nixos.put("/root/c.nix", body)
    done = nixos.sh(
        f"nix-instantiate {' '.join(flags)} /usr/lib/nixos-standin/eval.nix --arg configuration /root/c.nix -A system"
    )
    return done.returncode, done.stdout or done.stderr


def message(text: str) -> str:
    """The error itself: without the trace, and without the suggestion that the newest lib adds."""
    return re.sub(r"\n\s*Did you mean .*", "", text[text.rindex("error:") :]).strip()


def test_same_system(nixos: Host, search_path: str) -> None:
    ours, theirs = evaluate(nixos, EVERYTHING), evaluate(nixos, EVERYTHING, search_path)
    assert ours == theirs
    assert ours[0] == 0, ours[1]
    assert ours[1].strip().endswith(".drv")


@pytest.mark.parametrize("body", WRONG)
def test_same_message(nixos: Host, search_path: str, body: str) -> None:
    whole = f"{{ config, lib, pkgs, ... }}: {{ {body} }}"
    (status, ours), (_, theirs) = evaluate(nixos, whole), evaluate(nixos, whole, search_path)
    assert status == 1
    assert message(ours) == message(theirs)
