# SPDX-License-Identifier: GPL-3.0-or-later
"""The image that each case starts from: the lab's host with every system of systems.nix built, and `good` running as generation 1.

It is built once per test run and removed with it.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import pathlib
import shutil
import tempfile

from lab import runs
from lab.shell import run
from tests.support import containers
from tests.support.lab_image import lab_image
from tests.support.nixos_host import Host
from tests.support.paths import ROOT

HERE = pathlib.Path(__file__).resolve().parent
REPOSITORY = "nixci.faults"
CONFIG = "/etc/nixos"
SETTINGS = '{"nixos": {"collectionVersion": "0.0.0"}}'
ROOTS = "/nix/var/nix/gcroots/faults"
PYTHON = "/usr/lib/python3/dist-packages"
CACHE_KEY = "cache.nixci.test-1"
REMOTE = "remote"
EXPORT = "/var/export"


@dataclasses.dataclass(frozen=True)
class Prepared:
    image: str
    key: pathlib.Path
    cache: pathlib.Path
    """The binary cache that has the closure of `remote`, signed with the public key."""
    host_key: str
    public_key: str
    systems: dict[str, str]


def begin() -> None:
    """Of a whole test run; its workers inherit the name."""
    runs.begin()
    containers.remove_left()
    for folder in _folder("").parent.glob(f"{_folder('').name}*"):
        if not runs.goes_on(folder.name.removeprefix(_folder("").name)):
            shutil.rmtree(folder, ignore_errors=True)


def end() -> None:
    if runs.is_first():
        containers.remove(runs.begin())
    shutil.rmtree(_folder(runs.begin()), ignore_errors=True)


def prepare() -> Prepared:
    """Also used by several processes at once: the first one builds it."""
    name = runs.begin()
    folder = _folder(name)
    folder.mkdir(mode=0o700, exist_ok=True)
    made = folder / "prepared.json"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            made.write_text(json.dumps(_build(name, folder)))
    return Prepared(f"{REPOSITORY}:{name}", folder / "key", folder / "cache", **json.loads(made.read_text()))


def _folder(name: str) -> pathlib.Path:
    return pathlib.Path(tempfile.gettempdir()) / f"nixci-faults-{name}"


def _build(name: str, folder: pathlib.Path) -> dict[str, object]:
    for left in folder.glob("key*"):  # of an attempt that failed
        left.unlink()
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "deployer", "-f", str(folder / "key"))
    host = Host(lab_image(), "--hostname=web", "--memory=2g")
    try:
        host.wait()
        host.out(f"mkdir -p {CONFIG}/nixci/hosts/web/settings {ROOTS}")
        host.out(f"echo '{SETTINGS}' >{CONFIG}/nixci/hosts/web/settings/nixos.json")
        host.copy(ROOT / "nix/modules", f"{CONFIG}/nixci/")
        host.copy(ROOT / "nix/host.nix", f"{CONFIG}/nixci/hosts/web/default.nix")
        host.copy(HERE / "systems.nix", f"{CONFIG}/systems.nix")
        key = (folder / "key.pub").read_text().strip()
        host.out(f"cd {CONFIG} && nix-build --out-link {ROOTS}/system systems.nix --argstr key '{key}' >/dev/null")
        systems = json.loads(host.out(
            f"cd {CONFIG} && nix-instantiate --eval --strict --json --argstr key '{key}' "
            "-E '{key}: builtins.mapAttrs (_: s: builtins.unsafeDiscardStringContext s.outPath) (import ./systems.nix {inherit key;})'"
        ))  # fmt: skip
        remote = systems[REMOTE]
        host.out(
            f"mkdir {EXPORT} && cd {EXPORT} && nix-store --generate-binary-cache-key {CACHE_KEY} secret public"
            f" && nix copy --to 'file://{EXPORT}/cache?compression=none&secret-key={EXPORT}/secret' {remote}"
            f" && find {ROOTS} -lname {remote} -delete && nix-collect-garbage >/dev/null 2>&1 && ! test -e {remote}"
        )
        run("docker", "cp", "--quiet", f"{host.id}:{EXPORT}/cache", str(folder / "cache"))
        host.out(
            f"nix-env -p /nix/var/nix/profiles/system --set {systems['good']} && {systems['good']}/bin/switch-to-configuration switch"
        )
        host.copy(HERE / "clock.py", f"{PYTHON}/faults_clock.py")
        host.out(f"echo 'import faults_clock' >{PYTHON}/faults_clock.pth")
        public_key = host.out(f"cat {EXPORT}/public")
        host_key = " ".join(host.out("cat /etc/ssh/ssh_host_ed25519_key.pub").split()[:2])
        run("docker", "stop", host.id)
        run("docker", "commit", f"--change=LABEL {containers.LABEL}={name}", host.id, f"{REPOSITORY}:{name}")
    finally:
        host.remove()
    return {"systems": systems, "host_key": host_key, "public_key": public_key}
