# SPDX-License-Identifier: GPL-3.0-or-later
"""One vault for the examples of the lookup and of onepassword_item; the environment leads both to the double."""

from __future__ import annotations

import pathlib

from lab.clouds.onepassword import OnePasswordDouble
from tests.examples.world import Serve, World

TOKEN = "canary-connect-token"
ITEMS = {
    "Attic": {"ci-token": "canary-ci-token", "root-token": "canary-root-token"},
    "Backblaze-B2": {"application-key-id": "0051234", "application-key": "canary-old-b2-key"},
}


def world(serve: Serve, folder: pathlib.Path) -> World:
    double = OnePasswordDouble(vaults={"pantherOS": ITEMS}, tokens={TOKEN: {"vaults": {"pantherOS": "write"}}})
    secrets = [TOKEN, "canary-new-b2-key", *(value for fields in ITEMS.values() for value in fields.values())]
    return World(
        endpoint={},
        variables={
            "folder": str(folder),
            "key": {"application_key": {"id": "0059999"}, "secret": "canary-new-b2-key"},
        },
        secrets=[secret for secret in secrets if "canary" in secret],
        environment={"OP_CONNECT_HOST": serve(double.app), "OP_CONNECT_TOKEN": TOKEN},
        files=[folder / "netrc"],
    )
