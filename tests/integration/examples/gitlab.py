# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pathlib

from lab.clouds.gitlab import GitLabDouble, Token
from tests.integration.examples.environment import Environment, Serve

PROJECT, GROUP = "panther/nixos", "panther"
ARMOR = "-----{} OPENSSH PRIVATE KEY-----"


def environment(serve: Serve, _folder: pathlib.Path) -> Environment:
    token, value, report = "glpat-canaryCANARYcanary00", "attic.canary-token.0123456789", "canary$report$0123456789"
    line = "canaryKEYcanaryKEYcanaryKEYcanary"
    double = GitLabDouble([PROJECT], {token: Token("nixci", {PROJECT: "maintainer", GROUP: "owner"})}, [GROUP])
    return Environment(
        endpoint={"gitlab_variable": {"url": serve(double.app)}},
        variables={
            "gitlab_token": token,
            "attic_ci_token": value,
            "deploy_ssh_key": "\n".join([ARMOR.format("BEGIN"), line, ARMOR.format("END")]),
            "report_token": report,
            "report_token_made": {"changed": True},
        },
        secrets=[token, value, report, line],
    )
