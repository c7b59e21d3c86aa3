# SPDX-License-Identifier: GPL-3.0-or-later
"""All doubles in one process, one port each, seeded as the services of somebody who has just made their accounts."""

from __future__ import annotations

import logging
import sys
import threading

from werkzeug.serving import make_server

from lab.clouds._gitlab_deployments import Checkout
from lab.clouds.b2 import B2Double
from lab.clouds.cloudflare import CloudflareDouble
from lab.clouds.gitlab import GitLabDouble, Token
from lab.clouds.onepassword import OnePasswordDouble
from lab.clouds.s3 import S3Double
from lab.names import B2_REGION, GATEWAY, GITLAB_PROJECT, HOST_NAME, PORTS, URLS, VAULT, ZONE
from lab.state import DIR, secret

# What the user's own credentials may do: what docs/credentials.md asks for and not more, so that a run on the lab
# proves the guide.
B2_RIGHTS = {
    "listBuckets",
    "writeBuckets",
    "readBucketEncryption",
    "writeBucketEncryption",
    "listKeys",
    "writeKeys",
    "deleteKeys",
}
CLOUDFLARE_RIGHTS = {"zone:read", "dns:read", "dns:edit"}
GITLAB_RIGHTS = Token("nixci", {GITLAB_PROJECT: "maintainer"}, scopes={"api"})
VAULT_RIGHTS = {"controller": "write", "host": "read"}


def doubles() -> dict[str, object]:
    b2 = B2Double(
        account_id=secret("b2-master-key-id"),
        master_key=secret("b2-master-key"),
        region=B2_REGION,
        s3_url=URLS["s3"],
        foreign_buckets=("somebody-elses-bucket",),
    )
    b2.add_key("nixci-admin", B2_RIGHTS, id=secret("b2-key-id"), secret=secret("b2-key"))
    cloudflare = CloudflareDouble([ZONE], {secret("cloudflare-token"): {ZONE: CLOUDFLARE_RIGHTS}})
    cloudflare.add_record(ZONE, name=f"www.{ZONE}", type="CNAME", content="elsewhere.example")
    onepassword = OnePasswordDouble(
        vaults={
            VAULT: {
                "Backblaze-B2-admin": {"key-id": secret("b2-key-id"), "key": secret("b2-key")},
                "Cloudflare": {"api-token": secret("cloudflare-token")},
                "GitLab": {"api-token": secret("gitlab-token")},
                "OpNix": {HOST_NAME: secret("host-service-account-token")},
            }
        },
        tokens={secret("connect-token"): {"vaults": {VAULT: VAULT_RIGHTS["controller"]}}},
        service_accounts={
            secret("controller-service-account-token"): {"vaults": {VAULT: VAULT_RIGHTS["controller"]}},
            secret("host-service-account-token"): {"vaults": {VAULT: VAULT_RIGHTS["host"]}},
        },
        lag=0.2,
    )
    gitlab = GitLabDouble([GITLAB_PROJECT], {secret("gitlab-token"): GITLAB_RIGHTS})
    gitlab.deployed[GITLAB_PROJECT].repository = Checkout(DIR / "fleet")
    return {
        "b2": b2.app,
        "s3": S3Double(b2).app,
        "cloudflare": cloudflare.app,
        "onepassword": onepassword.app,
        "gitlab": gitlab.app,
    }


def main() -> None:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # the journals of the doubles are better
    try:
        servers = [make_server(GATEWAY, PORTS[name], app, threaded=True) for name, app in doubles().items()]
    except OSError as exc:
        sys.exit(f"cannot listen on {GATEWAY}: {exc.strerror}")
    for server in servers[1:]:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    servers[0].serve_forever()


if __name__ == "__main__":
    main()
