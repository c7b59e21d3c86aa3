# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs Galaxy's importer on the artefact. Galaxy accepts one with warnings; here a warning is a failure."""

from __future__ import annotations

import importlib.metadata
import os
import pathlib
import subprocess
import sys
import tempfile
import venv

from tests.sanity.artefact import build

# An environment of its own, as the importer and nox need different versions of a library.
PLACE = pathlib.Path(sys.prefix) / "galaxy-importer"
NEEDED = ["galaxy-importer>=0.4.44,<0.5", f"ansible-core=={importlib.metadata.version('ansible-core')}"]


def main() -> int:
    problem = install()
    if problem:
        print(f"not run: the importer cannot be installed ({problem})")
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        # ansible-lint has run with a stricter profile and ansible-test with all its tests, each by its own line in scripts/lint.
        env = {
            **os.environ,
            "PATH": f"{PLACE / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "GALAXY_IMPORTER_RUN_ANSIBLE_LINT": "false",
        }
        command = [str(PLACE / "bin/python"), "-m", "galaxy_importer.main", str(build(folder))]
        run = subprocess.run(command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        findings = [line for line in run.stdout.splitlines() if line.startswith(("WARNING", "ERROR", "CRITICAL"))]
        imported = (folder / "importer_result.json").exists()
    if findings or run.returncode or not imported:
        print("\n".join(findings) or run.stdout)
        return 1
    return 0


def install() -> str:
    """Makes the environment once; returns what went wrong, in a line."""
    complete = PLACE / "complete"
    if complete.exists() and complete.read_text() == "\n".join(NEEDED):
        return ""
    venv.create(PLACE, clear=True, with_pip=True, symlinks=True)
    command = [str(PLACE / "bin/pip"), "install", "--quiet", "--disable-pip-version-check", *NEEDED]
    run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if run.returncode:
        return run.stdout.strip().splitlines()[-1]
    complete.write_text("\n".join(NEEDED))
    return ""


if __name__ == "__main__":
    sys.exit(main())
