# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pathlib

from lab.clouds.gitlab import GitLabDouble, Token
from tests.examples.world import Serve, World

PROJECT = "panther/nixos"


def world(serve: Serve, _folder: pathlib.Path) -> World:
    token, value = "glpat-canaryCANARYcanary00", "attic.canary-token.0123456789"
    double = GitLabDouble([PROJECT], {token: Token("nixci", {PROJECT: "maintainer"})})
    return World(
        endpoint={"gitlab_variable": {"url": serve(double.app)}},
        variables={"gitlab_token": token, "attic_ci_token": value},
        secrets=[token, value],
    )
