# SPDX-License-Identifier: GPL-3.0-or-later
"""An account with one bucket, the vault that a key is stored in, and a restricted key to verify with."""

from __future__ import annotations

import pathlib
import re

from lab.clouds.b2 import B2Double
from lab.clouds.onepassword import OnePasswordDouble
from lab.clouds.s3 import S3Double
from tests.integration.examples.environment import Environment, Serve

ATTIC = ["listBuckets", "listFiles", "readFiles", "writeFiles", "deleteFiles"]
MASTER, CACHE, TOKEN = "K003canaryMASTERcanaryMASTER", "K003canaryCACHEcanaryCACHE", "connect-canary-token"


def environment(serve: Serve, folder: pathlib.Path) -> Environment:
    b2 = B2Double(master_key=MASTER)
    b2.s3_url = serve(S3Double(b2).app)
    url = serve(b2.app)
    bucket = {"accountId": b2.account_id, "bucketName": "pantheros-nix-cache", "bucketType": "allPrivate"}
    b2.create_bucket(b2.keys[b2.account_id], bucket)
    key = b2.add_key("cache", ATTIC, secret=CACHE)
    vault = OnePasswordDouble(vaults={"pantherOS": {}}, tokens={TOKEN: {"vaults": {"pantherOS": "write"}}})
    place = {"realm": url, "region": b2.region}
    return Environment(
        endpoint={"b2_bucket": place, "b2_application_key": place},
        variables={
            "b2_admin_key_id": b2.account_id,
            "b2_admin_key": MASTER,
            "b2_cache_key_id": key.id,
            "b2_cache_key": CACHE,
            "b2_environment_file": str(folder / "b2.env"),
        },
        # The last is how every secret begins that the double makes.
        secrets=[MASTER, CACHE, TOKEN, re.compile(r"K003[\w-]{27}")],
        environment={"OP_CONNECT_HOST": serve(vault.app), "OP_CONNECT_TOKEN": TOKEN},
        files=[folder / "b2.env"],
    )
