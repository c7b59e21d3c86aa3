# SPDX-License-Identifier: GPL-3.0-or-later
"""The sessions of antsibull-nox.toml, and the checks of ours that it has no session for."""

# /// script
# dependencies = ["nox>=2025.02.09", "antsibull-nox>=1.10,<2"]
# ///

from __future__ import annotations

import antsibull_nox
import nox

antsibull_nox.load_antsibull_nox_toml()


@nox.session
def typing(session: nox.Session) -> None:
    """Check the types of the plugins with mypy --strict."""
    session.install("-r", "requirements-dev.txt")
    session.run("mypy")


@nox.session
def changelog(session: nox.Session) -> None:
    """Check the changelog fragments and changelog.yaml."""
    session.install("antsibull-changelog")
    session.run("antsibull-changelog", "lint")
    session.run("antsibull-changelog", "lint-changelog-yaml", "--strict", "changelogs/changelog.yaml")


if __name__ == "__main__":
    nox.main()
