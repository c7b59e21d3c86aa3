# SPDX-License-Identifier: GPL-3.0-or-later
"""A host of the fleet, with Nix configured by the role substituter, builds whatever its cache does."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import subprocess
from collections.abc import Iterator

import pytest

from tests.faults import cache
from tests.support.lab_image import small_image
from tests.support.nixos_host import Host

from .conftest import ROOT

CONFIGURATION = "imports = [ ./nixci/modules ];"
NAME = "fleet-cache"
# Shorter than the defaults, so that the test is.
CLIENT = {"connect-timeout": 2, "stalled-download-timeout": 2, "http-connections": 10}
EXPRESSION = 'derivation { name = "broken-%s"; system = builtins.currentSystem; builder = "/bin/sh"; args = [ "-c" "echo %s > $out" ]; }'
CASES = ("works", "down", "502", "stalled", "wrong-signature", "strict")


@dataclasses.dataclass
class Fleet:
    host: Host
    folder: pathlib.Path
    paths: dict[str, str]

    def build(self, case: str, url: str, *options: str) -> subprocess.CompletedProcess[str]:
        """As a rebuild does: the settings are those of nix.conf, and the address is the one of the test's server."""
        expression = EXPRESSION % (case, case)
        return self.host.sh(
            f"timeout 120 nix-build --no-out-link --option substituters '{url}?priority=50' {' '.join(options)} -E '{expression}'"
        )


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A host, and a cache that has everything that the cases build."""
    folder = tmp_path_factory.mktemp("cache")
    host = Host(small_image(), "--memory=1g")
    try:
        host.wait()
        host.out(f"nix-store --generate-binary-cache-key {NAME} /root/key /root/key.pub")
        key = host.out("cat /root/key.pub")
        paths = {case: host.out(f"nix-build --no-out-link -E '{EXPRESSION % (case, case)}'") for case in CASES}
        host.out(
            "nix --extra-experimental-features nix-command copy --to 'file:///srv/cache?secret-key=/root/key' "
            + " ".join(paths.values())
        )
        host.out(f"nix-store --delete {' '.join(paths.values())}")
        subprocess.run(["docker", "cp", "--quiet", f"{host.id}:/srv/cache/.", str(folder)], check=True, timeout=60)
        host.out("rm -r /srv/cache && mkdir -p /etc/nixos/nixci")
        host.copy(ROOT / "nix/modules", "/etc/nixos/nixci/modules")
        settings = {"substituters": [{"url": "http://192.0.2.1:9", "key": key, "priority": 50}], "client": CLIENT}
        host.put("/etc/nixos/nixci/settings/substituter.json", json.dumps({"substituter": settings}))
        host.switch(CONFIGURATION)
        yield Fleet(host, folder, paths)
    finally:
        host.remove()


def test_a_cache_that_works_is_used(fleet: Fleet) -> None:
    with cache.serve(fleet.folder) as url:
        done = fleet.build("works", url)
    assert done.stdout.strip() == fleet.paths["works"], done.stderr
    assert "copying path" in done.stderr and "building '" not in done.stderr


@pytest.mark.parametrize("fault", ["down", "502", "stalled", "wrong signature"])
def test_a_cache_that_does_not_costs_a_build_and_no_failure(fleet: Fleet, fault: cache.Fault | str) -> None:
    case = fault.replace(" ", "-")
    with cache.serve(fleet.folder, "" if fault == "down" else fault) as url:  # type: ignore[arg-type]
        done = fleet.build(case, "http://192.0.2.1:9" if fault == "down" else url)
    assert done.stdout.strip() == fleet.paths[case], done.stderr
    assert "building '" in done.stderr and "copying path" not in done.stderr


def test_it_is_the_fallback_that_saves_the_build(fleet: Fleet) -> None:
    with cache.serve(fleet.folder, "502") as url:
        done = fleet.build("strict", url, "--option fallback false")
    assert done.returncode != 0 and "502" in done.stderr


def test_one_deployment_takes_the_cache_out(fleet: Fleet) -> None:
    """What substituter_enabled makes of the settings: R.1."""
    host = fleet.host
    assert "http://192.0.2.1:9?priority=50" in host.out("cat /etc/nix/nix.conf")
    host.put("/etc/nixos/nixci/settings/substituter.json", json.dumps({"substituter": None}))
    host.switch(CONFIGURATION)
    conf = host.out("cat /etc/nix/nix.conf")
    assert "192.0.2.1" not in conf and NAME not in conf and "connect-timeout" not in conf
    done = host.sh(f"nix-build --no-out-link -E '{EXPRESSION % ('strict', 'strict')}'")
    assert done.stdout.strip() == fleet.paths["strict"] and "unable to download" not in done.stderr, done.stderr
