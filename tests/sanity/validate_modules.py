# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the module validator of ansible-test: does each module's documentation say what its argument spec does?

`ansible-test sanity` itself fetches its tools from a place that is often out of reach, so its validator is called
directly; it is the same program with the same rules.
"""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import ansible_test
import yaml

from tests.support.paths import ROOT

VALIDATOR = pathlib.Path(ansible_test.__file__).parent / "_util/controller/sanity/validate-modules"
COLLECTION = pathlib.Path("ansible_collections/pantheros/nixci")


def main() -> int:
    tree = ROOT / ".collections"
    version = yaml.safe_load((ROOT / "galaxy.yml").read_text())["version"]
    modules = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "plugins/modules").glob("*.py"))
    command = [sys.executable, str(VALIDATOR / "validate.py"), "--format", "plain", "--arg-spec"]
    command += ["--collection", str(COLLECTION), "--collection-version", version, *modules]
    paths = os.pathsep.join([str(tree), str(VALIDATOR)])
    return subprocess.run(command, cwd=tree / COLLECTION, env={**os.environ, "PYTHONPATH": paths}).returncode


if __name__ == "__main__":
    sys.exit(main())
