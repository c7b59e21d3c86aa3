# SPDX-License-Identifier: GPL-3.0-or-later
"""host.sh on hosts that no test can make of this machine: without Python in PATH, with paths in memory."""

from __future__ import annotations

import subprocess

import pytest
from ansible_collections.pantheros.nixci.plugins.plugin_utils._preflight.host import SCRIPT, Report

from tests.support.lab_image import lab_image

HIDE = "for one in /usr/bin/python3* /usr/local/bin/python3*; do [ -e $one ] && mv $one /root/; done; true"
# A path like those of the Nix store, with a Python that works.
STORE = "/nix/store/0000-python3-3.12.1/bin"
IN_THE_STORE = f"mkdir -p {STORE} && cp /root/python3.[0-9]* {STORE}/python3"
BROKEN = "mkdir -p /nix/store/0000-python3-3.11.0/bin && printf '#!/bin/sh\\nexit 1\\n' > /nix/store/0000-python3-3.11.0/bin/python3"
# As Nix does: a link to what was fetched.
NIX_BUILD = (
    "printf '#!/bin/sh\\nmkdir -p /run/nixci/python/bin && cp /root/python3.[0-9]* /run/nixci/python/bin/python3\\n' "
    "> /usr/local/bin/nix-build && chmod +x /usr/local/bin/nix-build"
)


def inspect(*prepare: str, fetch: str = "", options: tuple[str, ...] = (), paths: tuple[str, ...] = ()) -> Report:
    script = f"{{ {'; '.join(prepare or ('true',))}; }} >&2; sh /host.sh /etc/nixos '' '{fetch}' {' '.join(paths)} --"
    command = ["docker", "run", "--rm", "--network=none", f"--volume={SCRIPT}:/host.sh:ro", *options, lab_image()]
    done = subprocess.run([*command, "sh", "-c", script], capture_output=True, text=True, timeout=300)
    report = Report.parse(done.stdout)
    assert report["complete"], done.stdout + done.stderr
    return report


def test_a_python_in_path_is_left_to_ansible() -> None:
    report = inspect()
    assert report["python"] and report["python_in_path"]


def test_a_python_in_the_store_is_found() -> None:
    report = inspect(HIDE, BROKEN, IN_THE_STORE)
    assert report["python"] == f"{STORE}/python3" and not report["python_in_path"]


@pytest.mark.parametrize(("fetch", "found"), [("fetch", "/run/nixci/python/bin/python3"), ("", "")])
def test_without_any_python_nix_fetches_one_if_it_may(fetch: str, found: str) -> None:
    assert inspect(HIDE, NIX_BUILD, fetch=fetch)["python"] == found


def test_a_host_that_can_fetch_none_has_none() -> None:
    assert inspect(HIDE, "rm -f $(command -v nix-build nix)", fetch="fetch")["python"] == ""


def test_paths_in_memory_are_told_from_those_on_disk() -> None:
    report = inspect("mkdir -p /persist", options=("--tmpfs=/var/lib",), paths=("/var/lib/postgresql/16", "/etc/nixos"))
    assert report.all("volatile") == ["/var/lib/postgresql/16"]
    assert report.all("on_root") == ["/etc/nixos"] and report["persistence"] == "/persist"


@pytest.mark.parametrize(("variant", "nixos"), [("", "yes"), ("VARIANT_ID=installer", "")])
def test_the_installer_is_no_system_to_deploy_to(variant: str, nixos: str) -> None:
    system = "mkdir -p /run/current-system/bin && ln -s /bin/true /run/current-system/bin/switch-to-configuration"
    assert inspect(system, f"printf 'ID=nixos\\n{variant}\\n' > /etc/os-release")["nixos"] == nixos
