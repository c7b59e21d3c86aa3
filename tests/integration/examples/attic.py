# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import base64
import pathlib
import re
import time

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from lab.attic.server import create_app
from tests.integration.examples.environment import Environment, Serve

RIGHTS = ("r", "w", "d", "cc", "cr", "cq", "cd")
# Any token of Attic; the examples mint some.
TOKEN = re.compile(r"eyJhbGciOi[\w-]+\.[\w-]+\.[\w-]+")


def key_pair() -> tuple[str, str]:
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes_raw()
    return base64.b64encode(key.private_bytes_raw() + public).decode(), base64.b64encode(public).decode()


def environment(serve: Serve, folder: pathlib.Path) -> Environment:
    """One server whose key is used as an HS256 secret, and as RS256 where an example does not ask a server."""
    secret = b"canary-CANARY-canary-CANARY-0123"
    claims = {"exp": int(time.time()) + 600, "https://jwt.attic.rs/v1": {"caches": {"*": dict.fromkeys(RIGHTS, 1)}}}
    (old, old_public), (new, _) = key_pair(), key_pair()
    url = serve(create_app(data_dir=folder, token_secret_hs256=secret))
    pem = rsa.generate_private_key(65537, 2048).private_bytes(
        Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()
    )
    home = folder / "alice"
    home.mkdir()
    return Environment(
        endpoint={"attic_cache": {"url": url}, "attic_token": {"url": url}},
        variables={
            "attic_root_token": jwt.encode(claims, secret, algorithm="HS256"),
            "attic_signing_key": base64.b64encode(secret).decode(),
            "attic_rsa_key": base64.b64encode(pem).decode(),
            "release_keypair": f"release-1:{old}",
            "release_public_key": f"release-1:{old_public}",
            "release_new_keypair": f"release-2:{new}",
            "stored_ci_token": "",
            "alice_home": str(home),
        },
        secrets=[TOKEN, base64.b64encode(secret).decode(), base64.b64encode(pem).decode(), old, new],
        files=[home / ".config/attic/config.toml", home / ".config/nix/netrc"],
    )
