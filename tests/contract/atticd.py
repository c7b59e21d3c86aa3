# SPDX-License-Identifier: GPL-3.0-or-later
"""One configured atticd, the double or the real one where LAB_ATTICD names it, and what its tests ask of it."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import itertools
import json
import os
import pathlib
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import typing as t
from collections.abc import Iterator

import jwt
import pytest
import requests
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from tests.support.paths import ROOT

COMMANDS = {
    "double": [sys.executable, str(ROOT / "lab" / "attic" / "bin" / "atticd")],
    "real": [os.environ.get("LAB_ATTICD", "")],
}
SECRET = b"a shared secret of the lab, 32 by"
ALL = {right: 1 for right in ("r", "w", "d", "cc", "cr", "cq", "cd")}
NEW_CACHE = {
    "keypair": "Generate",
    "is_public": False,
    "store_dir": "/nix/store",
    "priority": 41,
    "upstream_cache_key_names": ["cache.nixos.org-1"],
}
NAMESPACE = "https://jwt.attic.rs/v1"
ALPHABET = "0123456789abcdfghijklmnpqrsvwxyz"
TOML: dict[str, dict[str, t.Any]] = {
    "database": {},
    "storage": {"type": "local"},
    "chunking": {"nar-size-threshold": 65536, "min-size": 16384, "avg-size": 65536, "max-size": 262144},
    "garbage-collection": {"interval": "0s"},
}
counter = itertools.count()


# -- the server under test -------------------------------------------------------------------------------------


def to_toml(settings: dict[str, t.Any]) -> str:
    """Enough of TOML: tables come after plain values, and JSON writes the values."""
    flat = "".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items() if not isinstance(value, dict))
    tables = "".join(
        f"[{key}]\n{to_toml({k: v for k, v in value.items() if not isinstance(v, dict)})}"
        + "".join(f"[{key}.{k}]\n{to_toml(v)}" for k, v in value.items() if isinstance(v, dict))
        for key, value in settings.items()
        if isinstance(value, dict)
    )
    return flat + tables


def mint(caches: dict[str, t.Any], key: t.Any = SECRET, algorithm: str = "HS256", **claims: t.Any) -> str:
    now = int(time.time())
    # Some are made before the first test, and must last until the last one on a slow machine.
    payload = {"exp": now + 6 * 3600, "nbf": now - 60, "sub": "tester", NAMESPACE: {"caches": caches}, **claims}
    payload = {name: value for name, value in payload.items() if value is not None}
    return jwt.encode(payload, key, algorithm=algorithm)


ROOT_TOKEN = mint({"*": ALL})


class Atticd:
    """One configured server: its file, its process, its database."""

    def __init__(self, command: list[str], folder: pathlib.Path, **changes: t.Any) -> None:
        self.command = command
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        settings = {**TOML, "listen": f"127.0.0.1:{self.port}"}
        settings["database"] = {"url": f"sqlite://{folder}/server.db?mode=rwc"}
        settings["storage"] = {"type": "local", "path": f"{folder}/storage"}
        settings.update(changes)
        (folder / "server.toml").write_text(to_toml({k: v for k, v in settings.items() if v is not None}))
        self.environment = {
            "PATH": os.environ["PATH"],
            "ATTIC_SERVER_TOKEN_HS256_SECRET_BASE64": base64.b64encode(SECRET).decode(),
        }
        self.process: subprocess.Popen[bytes] | None = None

    def run(self, mode: str, **environment: str | None) -> subprocess.CompletedProcess[str]:
        env = {k: v for k, v in {**self.environment, **environment}.items() if v is not None}
        return subprocess.run(
            [*self.command, "-f", str(self.folder / "server.toml"), "--mode", mode],
            env=env, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def start(self, mode: str = "monolithic") -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*self.command, "-f", str(self.folder / "server.toml"), "--mode", mode],
                env=self.environment, stdout=log, stderr=log,
            )  # fmt: skip
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            assert self.process.poll() is None, (self.folder / "log").read_text()
            time.sleep(0.05)
        raise AssertionError((self.folder / "log").read_text())

    def stop(self) -> int:
        process, self.process = self.process, None
        if process is None:
            return 0
        process.send_signal(signal.SIGTERM)
        return process.wait(20)

    def sql(self, statement: str, *args: t.Any) -> list[t.Any]:
        with contextlib.closing(sqlite3.connect(self.folder / "server.db", timeout=30)) as connection:
            rows = connection.execute(statement, args).fetchall()
            connection.commit()
            return rows

    def ask(self, method: str, path: str, token: str | None = ROOT_TOKEN, **more: t.Any) -> requests.Response:
        headers = {**({"Authorization": f"Bearer {token}"} if token else {}), **more.pop("headers", {})}
        return requests.request(method, self.url + path, headers=headers, timeout=20, allow_redirects=False, **more)

    def config(self, cache: str) -> dict[str, t.Any]:
        answer = self.ask("GET", f"/_api/v1/cache-config/{cache}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def patch(self, cache: str, token: str | None = ROOT_TOKEN, **body: t.Any) -> requests.Response:
        return self.ask("PATCH", f"/_api/v1/cache-config/{cache}", token, json=body)

    def create(self, **changes: t.Any) -> str:
        """A new cache; its name."""
        name = f"cache-{next(counter)}"
        answer = self.ask("POST", f"/_api/v1/cache-config/{name}", json={**NEW_CACHE, **changes})
        assert (answer.status_code, answer.content) == (200, b"")
        return name

    def missing(self, cache: str, *hashes: str, token: str | None = ROOT_TOKEN) -> requests.Response:
        return self.ask(
            "POST", "/_api/v1/get-missing-paths", token, json={"cache": cache, "store_path_hashes": list(hashes)}
        )

    def push(
        self, cache: str, path: Path, token: str | None = ROOT_TOKEN, *, preamble: bool = False, **changes: t.Any
    ) -> requests.Response:
        info = json.dumps({**path.info(cache), **changes}).encode()
        headers = {"X-Attic-Nar-Info-Preamble-Size": str(len(info))} if preamble else {"X-Attic-Nar-Info": info}
        body = (info if preamble else b"") + path.nar
        # A generator makes it a chunked transfer, which is how the client sends it.
        pieces = (body[at : at + 70000] for at in range(0, len(body), 70000))
        return self.ask("PUT", "/_api/v1/upload-path", token, headers=headers, data=pieces)

    def narinfo(self, cache: str, path: Path, token: str | None = ROOT_TOKEN) -> requests.Response:
        return self.ask("GET", f"/{cache}/{path.hash}.narinfo", token)

    def nar(self, cache: str, path: Path, token: str | None = ROOT_TOKEN) -> requests.Response:
        return self.ask("GET", f"/{cache}/nar/{path.hash}.nar", token)


def command_of(kind: str) -> list[str]:
    """How to start the double or the real one; skips the test that has no real one."""
    if kind == "real" and not os.environ.get("LAB_ATTICD"):
        pytest.skip("LAB_ATTICD does not name a real atticd")
    return COMMANDS[kind]


@contextlib.contextmanager
def running(command: list[str], folder: pathlib.Path, **changes: t.Any) -> Iterator[Atticd]:
    server = Atticd(command, folder, **changes)
    try:
        server.start()
        yield server
    finally:
        server.stop()


class Path:
    """A store path that never existed, with a NAR that the server does not look into."""

    def __init__(self, size: int = 5000) -> None:
        number = next(counter)
        digest = hashlib.sha256(f"{os.getpid()} {number}".encode()).digest()
        self.hash = "".join(ALPHABET[byte & 31] for byte in digest)
        self.path = f"/nix/store/{self.hash}-thing-{number}"
        self.references = [f"{self.hash}-thing-{number}", f"{'0' * 32}-other"]
        self.nar = hashlib.shake_256(digest).digest(size // 2) + b"\0" * (size - size // 2)
        self.nar_hash = hashlib.sha256(self.nar).hexdigest()

    def info(self, cache: str) -> dict[str, t.Any]:
        return {
            "cache": cache,
            "store_path_hash": self.hash,
            "store_path": self.path,
            "references": self.references,
            "system": None,
            "deriver": None,
            "sigs": [],
            "ca": None,
            "nar_hash": f"sha256:{self.nar_hash}",
            "nar_size": len(self.nar),
        }


# -- what it answers -----------------------------------------------------------------------------------------------


def fields(narinfo: requests.Response) -> dict[str, str]:
    assert narinfo.status_code == 200, narinfo.text
    return dict(line.split(": ", 1) for line in narinfo.text.splitlines())


def nix32(digest: bytes) -> str:
    number = int.from_bytes(digest, "little")
    return "".join(ALPHABET[number >> shift & 31] for shift in range(255, -5, -5))


def assert_signed(narinfo: dict[str, str], path: Path, public_key: str) -> None:
    name, _, encoded = public_key.partition(":")
    signer, _, signature = narinfo["Sig"].partition(":")
    assert signer == name
    references = ",".join(f"/nix/store/{reference}" for reference in path.references)
    nar_hash = nix32(bytes.fromhex(path.nar_hash))
    message = f"1;{path.path};sha256:{nar_hash};{len(path.nar)};{references}"
    Ed25519PublicKey.from_public_bytes(base64.b64decode(encoded)).verify(base64.b64decode(signature), message.encode())
