# SPDX-License-Identifier: GPL-3.0-or-later
"""ssh_host_key with OpenSSH's own ssh-keygen; a program that prints what a host would offer takes the place of ssh-keyscan."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys
import typing as t

import pytest

from tests.support.check_mode import assert_check_mode_contract
from tests.support.collection import run_module

pytestmark = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="OpenSSH's ssh-keygen is not installed")

HOST = "203.0.113.10"
SCAN = """#!{python}
import pathlib, sys
here = pathlib.Path(__file__).parent
port, host = sys.argv[sys.argv.index("-p") + 1], sys.argv[-1]
name = host if port == "22" else f"[{{host}}]:{{port}}"
print(f"# {{host}}:{{port}} SSH-2.0-OpenSSH_9.9")
for key in (here / "offered").read_text().splitlines():
    print(name, *key.split()[:2])
"""


class Server:
    def __init__(self, folder: pathlib.Path) -> None:
        self.folder, self.known_hosts = folder, folder / "known hosts"
        scan = folder / "ssh-keyscan"
        scan.write_text(SCAN.format(python=sys.executable))
        scan.chmod(0o755)
        self.keys = {kind: self.generate(kind) for kind in ("rsa", "ed25519")}
        self.offer(*self.keys.values())

    def generate(self, kind: str, name: str = "") -> str:
        path = self.folder / f"key_{kind}{name}"
        size = ["-b", "2048"] if kind == "rsa" else []
        subprocess.run(["ssh-keygen", "-q", "-t", kind, *size, "-N", "", "-C", "", "-f", path], check=True)
        return path.with_suffix(".pub").read_text().strip()

    def fingerprint(self, key: str) -> str:
        """As OpenSSH computes it."""
        done = subprocess.run(["ssh-keygen", "-lf", "-"], input=key, capture_output=True, text=True, check=True)
        return done.stdout.split()[1]

    def offer(self, *keys: str) -> None:
        (self.folder / "offered").write_text("".join(f"{key}\n" for key in keys))

    def run(self, *, check: bool = False, **options: t.Any) -> t.Any:
        return run_module("ssh_host_key", {"host": HOST, "known_hosts": str(self.known_hosts), **options}, check=check)

    def pinned(self) -> str | None:
        return self.known_hosts.read_text() if self.known_hosts.exists() else None


@pytest.fixture
def server(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    server = Server(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return server


def test_without_a_confirmed_fingerprint_nothing_is_pinned(server: Server) -> None:
    runs = assert_check_mode_contract(server.run, server.pinned)
    assert not runs.actual["changed"] and not runs.actual["pinned"] and server.pinned() is None
    assert runs.actual["fingerprint"] == server.fingerprint(server.keys["ed25519"])
    assert [key["type"] for key in runs.actual["offered"]] == ["ssh-ed25519", "ssh-rsa"]


@pytest.mark.parametrize("port", [22, 2222])
@pytest.mark.parametrize("kind", ["ed25519", "rsa"])
def test_the_confirmed_key_is_pinned_once(server: Server, kind: str, port: int) -> None:
    fingerprint = server.fingerprint(server.keys[kind])
    server.known_hosts.write_text("other.example.org ssh-ed25519 AAAA")  # without a newline at its end

    def run(*, check: bool = False) -> t.Any:
        return server.run(check=check, fingerprint=fingerprint, port=port)

    runs = assert_check_mode_contract(run, server.pinned)
    assert runs.actual["changed"] and runs.actual["pinned"] and runs.actual["fingerprint"] == fingerprint
    found = subprocess.run(
        ["ssh-keygen", "-F", HOST if port == 22 else f"[{HOST}]:{port}", "-f", server.known_hosts],
        capture_output=True,
        text=True,
        check=True,
    )
    assert server.keys[kind].split()[1] in found.stdout
    assert (server.pinned() or "").startswith("other.example.org ssh-ed25519 AAAA\n")
    assert not server.run(port=port)["changed"], "a pinned host needs no fingerprint"


def test_a_fingerprint_of_another_key_is_refused(server: Server) -> None:
    other = server.fingerprint(server.generate("ed25519", "other"))
    runs = assert_check_mode_contract(lambda check=False: server.run(check=check, fingerprint=other), server.pinned)
    assert runs.actual["reason"] == "other_key" and server.fingerprint(server.keys["ed25519"]) in runs.actual["msg"]
    assert server.pinned() is None


@pytest.mark.parametrize("keep_rsa", [True, False])
def test_a_changed_key_is_refused_whatever_fingerprint_is_given(server: Server, keep_rsa: bool) -> None:
    before = server.fingerprint(server.keys["ed25519"])
    server.run(fingerprint=before)
    pinned = server.pinned()
    changed = server.generate("ed25519", "changed")
    server.offer(changed, *([server.keys["rsa"]] if keep_rsa else []))
    for fingerprint in (None, server.fingerprint(changed)):
        refused = server.run(fingerprint=fingerprint)
        assert refused["failed"] and refused["reason"] == "changed_key"
        assert before in refused["msg"] and server.fingerprint(changed) in refused["msg"]
        assert server.pinned() == pinned


def test_a_pinned_host_that_drops_its_key_for_one_of_another_type_is_refused(server: Server) -> None:
    server.run(fingerprint=server.fingerprint(server.keys["ed25519"]))
    server.offer(server.keys["rsa"])
    assert server.run()["reason"] == "changed_key"


def test_what_openssh_understands_is_understood(server: Server) -> None:
    """Hashed names, authorities and revoked keys."""
    key = server.keys["ed25519"]
    server.known_hosts.write_text(f"{HOST} {key}\n")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", server.known_hosts], check=True, capture_output=True)
    assert HOST not in (server.pinned() or "") and server.run()["pinned"]
    server.known_hosts.write_text(f"@cert-authority {HOST} {server.generate('ed25519', 'ca')}\n")
    assert server.run()["pinned"]
    server.known_hosts.write_text(f"@revoked * {key}\n")
    refused = server.run(fingerprint=server.fingerprint(key))
    assert refused["failed"] and "revoked" in refused["msg"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fingerprint": "MD5:16:27:ac:a5"}, "must be like SHA256:"),
        ({"host": "-oProxyCommand=id"}, "neither a host name nor an address"),
        ({"port": 0}, "port must be"),
        ({"timeout": 0}, "timeout must be"),
    ],
)
def test_wrong_input_is_refused(server: Server, options: dict[str, t.Any], message: str) -> None:
    refused = server.run(**options)
    assert refused["failed"] and message in refused["msg"] and server.pinned() is None


def test_a_host_that_does_not_answer(server: Server) -> None:
    server.offer()
    refused = server.run(fingerprint="SHA256:" + 43 * "A")
    assert refused["failed"] and refused["reason"] == "unreachable" and f"{HOST} port 22" in refused["msg"]
