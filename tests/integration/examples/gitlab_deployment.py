# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pathlib

from lab.clouds.gitlab import GitLabDouble, Token
from tests.integration.examples.environment import Environment, Serve

PROJECT, REVISION = "panther/nixos", "5f0c3ab9b9e2d1c4a7f8e6d5c4b3a29180706050"


def environment(serve: Serve, _folder: pathlib.Path) -> Environment:
    token, job = "glpat-canaryCANARYcanary00", "glcbt-canaryCANARYcanary01"
    developer = {PROJECT: "developer"}
    double = GitLabDouble([PROJECT], {token: Token("nixci", developer), job: Token("pan", developer, job=True)})
    for ref in ("main", "v1.0.0"):
        double.deployed[PROJECT].repository.push(ref, REVISION)
    return Environment(
        endpoint={"gitlab_deployment": {"url": serve(double.app)}},
        variables={"gitlab_token": token, "job_token": job, "revision": REVISION},
        secrets=[token, job],
    )
