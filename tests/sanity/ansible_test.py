# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs `ansible-test sanity` on the artefact, unpacked to where Ansible looks for collections.

ansible-test installs each test's own tools into environments of its own. It would fetch the script that puts pip there
from a server of its project; Python brings pip along, so no more than the package index is needed.
"""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys
import tempfile
import typing as t

import ansible_test

from tests.sanity.artefact import TOOLS, build, unpack

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
# The tools stay as long as the virtual environment that holds ansible-test.
HOME = pathlib.Path(sys.prefix) / "ansible-test"
PIP_SCRIPT = "import ensurepip\n\nensurepip.bootstrap(default_pip=True)\n"


def main() -> int:
    bring_pip()
    with tempfile.TemporaryDirectory() as name:
        tree = unpack(build(pathlib.Path(name)), pathlib.Path(name))
        ready = sanity(tree, "--prime-venvs", stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if ready.returncode:
            print(
                f"not all of ansible-test runs: its tools cannot be installed ({ready.stdout.strip().splitlines()[-1]})"
            )
        skipped = [f"--skip-test={name}" for name in tests_with_tools()] if ready.returncode else []
        run = sanity(tree, *skipped, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if run.returncode:
        print(run.stdout)
    return run.returncode


def bring_pip() -> None:
    """Puts the script where ansible-test keeps the one that it has fetched."""
    source = (pathlib.Path(ansible_test.__file__).parent / "_internal/python_requirements.py").read_text()
    for version in re.findall(r"\bpip='([\d.]+)'", source):
        script = HOME / f".ansible/test/cache/get_pip_{version.replace('.', '_')}.py"
        script.parent.mkdir(parents=True, exist_ok=True)
        script.write_text(PIP_SCRIPT)


def tests_with_tools() -> list[str]:
    folder = pathlib.Path(ansible_test.__file__).parent / "_data/requirements"
    return sorted({path.name.split(".")[1] for path in folder.glob("sanity.*.txt")})


def sanity(tree: pathlib.Path, *options: str, **arguments: t.Any) -> subprocess.CompletedProcess[str]:
    command = [str(TOOLS / "ansible-test"), "sanity", "--local", "--python", VERSION, "--color", "no", *options]
    env = {**os.environ, "HOME": str(HOME), "PATH": f"{TOOLS}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(command, cwd=tree, env=env, stdin=subprocess.DEVNULL, text=True, **arguments)


if __name__ == "__main__":
    sys.exit(main())
