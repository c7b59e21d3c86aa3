# SPDX-License-Identifier: GPL-3.0-or-later
"""A real Nix is fed by the cache: push, lose, substitute; a second store; a wrong key."""

from __future__ import annotations

import secrets
import shlex
import typing as t

import pytest

from lab import names

CACHE = f"https://{names.DOMAIN}/ci-cache"
EXPRESSION = """
derivation {
  name = "e2e-%s"; system = builtins.currentSystem; builder = "/bin/sh";
  # Large enough to be cut into chunks.
  args = [ "-c" "i=0; while [ $i -lt 20000 ]; do echo $i %s; i=$((i+1)); done > $out" ];
}
"""


class Nix:
    """Nix on the host, with the CI token for the cache as a developer would have it."""

    def __init__(self, host: t.Any, token: str, public_key: str) -> None:
        self.host, self.public_key = host, public_key
        self.home = host.check_output("mktemp -d")
        self.put("netrc", f"machine {names.DOMAIN}\npassword {token}\n")
        self.put("token", token)
        server = f'[servers.lab]\nendpoint = "https://{names.DOMAIN}/"\ntoken-file = "{self.home}/token"\n'
        self.put("attic/config.toml", f'default-server = "lab"\n{server}')

    def put(self, name: str, text: str) -> None:
        file = shlex.quote(f"{self.home}/{name}")
        self.host.run_expect([0], f"umask 077; mkdir -p $(dirname {file}); printf %s {shlex.quote(text)} > {file}")

    def run(self, command: str, key: str | None = None) -> t.Any:
        config = f"netrc-file = {self.home}/netrc\ntrusted-public-keys = {key or self.public_key}\n"
        config += "experimental-features = nix-command\nnarinfo-cache-negative-ttl = 0\n"
        place = f"XDG_CONFIG_HOME={self.home} XDG_CACHE_HOME={self.home}/cache-{secrets.token_hex(4)}"
        return self.host.run(f"env {place} NIX_CONFIG={shlex.quote(config)} {command}")


@pytest.fixture(scope="module")
def nix(host: t.Any, vault: t.Any, cache: t.Any) -> Nix:
    config = cache("/_api/v1/cache-config/ci-cache", "ci-token").json()
    return Nix(host, vault.item("Attic")["ci-token"], config["public_key"])


@pytest.fixture(scope="module")
def pushed(nix: Nix) -> str:
    """A path built by Nix, in the cache and no longer in the store."""
    name = secrets.token_hex(4)
    built = nix.run(f"nix-build --no-out-link -E {shlex.quote(EXPRESSION % (name, name))}")
    path = built.stdout.strip()
    assert path.startswith("/nix/store/"), built.stderr
    done = nix.run(f"attic push ci-cache {path}")
    assert done.rc == 0, done.stderr
    gone = nix.run(f"nix-store --delete {path}")
    assert gone.rc == 0, gone.stderr
    return path


def test_a_wrong_public_key_makes_nix_refuse(nix: Nix, pushed: str) -> None:
    other = "ci-cache:" + nix.host.check_output("head -c 32 /dev/urandom | base64")
    refused = nix.run(f"nix copy --from {CACHE} {pushed}", key=other)
    assert refused.rc != 0
    assert "signature" in refused.stderr


def test_without_the_token_nix_gets_nothing(nix: Nix, pushed: str) -> None:
    refused = nix.run(f"nix copy --option netrc-file /dev/null --from {CACHE} {pushed}")
    assert refused.rc != 0


def test_the_path_comes_back_over_https_with_its_signature_checked(nix: Nix, pushed: str) -> None:
    back = nix.run(f"nix-store --realise {pushed} --option substituters {CACHE}")
    assert back.rc == 0, back.stderr
    assert "copying path" in back.stderr and names.DOMAIN in back.stderr
    assert nix.host.file(pushed).content_string.startswith("0 ")
    assert nix.run(f"nix store verify {pushed}").rc == 0


def test_a_second_empty_store_gets_it_too(nix: Nix, pushed: str) -> None:
    store = f"{nix.home}/second"
    done = nix.run(f"nix copy --from {CACHE} --to {store} {pushed}")
    assert done.rc == 0, done.stderr
    assert nix.host.file(store + pushed).exists
