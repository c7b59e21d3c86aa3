# SPDX-License-Identifier: GPL-3.0-or-later
"""One vault for the examples of the lookup and of onepassword_item; the environment leads both to the double."""

from __future__ import annotations

import pathlib

from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from lab.clouds.onepassword import OnePasswordDouble
from tests.integration.examples.environment import Environment, Serve

OTP = "otpauth://totp/x?secret=JBSWY3DPEHPK3PXP"
TOKEN = "canary-connect-token"
ITEMS = {
    "Attic": {"ci-token": "canary-ci-token", "root-token": "canary-root-token"},
    "Backblaze-B2": {"application-key-id": "0051234", "application-key": "canary-old-b2-key"},
}


def environment(serve: Serve, folder: pathlib.Path) -> Environment:
    key = ed25519.Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    double = OnePasswordDouble(vaults={"pantherOS": ITEMS}, tokens={TOKEN: {"vaults": {"pantherOS": "write"}}})
    registry = [
        {"label": "password", "type": "CONCEALED", "value": "canary-registry", "section": {"id": "robots"}},
        {"label": "one-time password", "type": "OTP", "value": OTP},
    ]
    double.add_item("pantherOS", "Registry", more_fields=registry, sections=[{"id": "robots", "label": "robots"}])
    double.add_item("pantherOS", "Deploy key", more_fields=[{"label": "private key", "type": "SSHKEY", "value": pem}])
    attic = next(key for key, item in double.items[double.vault_id("pantherOS")].items() if item["title"] == "Attic")
    double.attach("pantherOS", attic, "recovery.p12", b"\x00\xffcanary-file\n")
    secrets = [
        TOKEN,
        OTP,
        pem.splitlines()[1],
        "canary-file",
        "canary-registry",
        "canary-new-b2-key",
        *(value for fields in ITEMS.values() for value in fields.values() if "canary" in value),
    ]
    return Environment(
        endpoint={},
        variables={
            "folder": str(folder),
            "key": {"application_key": {"id": "0059999"}, "secret": "canary-new-b2-key"},
        },
        secrets=secrets,
        environment={"OP_CONNECT_HOST": serve(double.app), "OP_CONNECT_TOKEN": TOKEN},
        files=[folder / name for name in ("netrc", "deploy-key", "recovery.p12")],
    )
