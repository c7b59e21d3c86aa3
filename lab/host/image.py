# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts' images: Debian packages below (slow, changes rarely), our stand-ins above (fast, changes often)."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess
import tempfile

from .. import state
from ..machine import install, update_lists
from ..names import IMAGE_LABEL, LABEL, ROOT
from ..shell import LabError, attempt, run, say

HERE = pathlib.Path(__file__).resolve().parent
LAB = ROOT / "lab"
SUITE = "trixie"
DOUBLE = "double"  # as the value of LAB_ATTICD or LAB_ATTIC: not a real program, even if there is one on the PATH
PROGRAMS = {"atticd": "attic-server ", "attic": "attic-client "}  # how each begins to tell its version
CONTEXT = ("Dockerfile", "init", "acme.Caddyfile")
SMALL_CONTEXT = ("small.Dockerfile", "init")
# The lab needs no manuals. In a hook, because --dpkgopt would filter the essential packages too, which costs more time
# than it saves.
TRIM = r"""--essential-hook=printf 'path-exclude=/usr/share/%s/*\n' doc info i18n locale man >"$1/etc/dpkg/dpkg.cfg.d/trim" """
UNSAFE = "--dpkgopt=force-unsafe-io"  # an image that was interrupted by a power cut is not tagged
# In namespaces of its own, so that it ends with all its children and mounts when this process is killed.
CONTAINED = ["setpriv", "--pdeathsig=KILL", "unshare", "--pid", "--mount", "--fork", "--kill-child", "--mount-proc"]
WORKSHOP = pathlib.Path("/var/lib/nixci-lab")  # must be reachable for apt's own user, which .lab/ is not


def packages() -> list[str]:
    return [*_listed("packages.txt"), *server_packages()]


def server_packages() -> list[str]:
    """What the small host lacks."""
    return _listed("packages-server.txt")


def _listed(name: str) -> list[str]:
    return [line for line in (HERE / name).read_text().splitlines() if line and not line.startswith("#")]


def attic_programs() -> dict[str, pathlib.Path | None]:
    """The real server and client if the user has them; None means the double."""
    found: dict[str, pathlib.Path | None] = {}
    for name in ("atticd", "attic"):
        given = os.environ.get(variable(name))
        path = None if given == DOUBLE else given or shutil.which(name)
        if path and not (os.path.isfile(path) and os.access(path, os.X_OK)):
            raise LabError(f"{variable(name)}={given} is not a program; name the file of {name} itself.")
        found[name] = pathlib.Path(path).resolve() if path else None
    return found


def variable(name: str) -> str:
    """The environment variable that names one of these programs."""
    return f"LAB_{name.upper()}"


def check_kept(used: dict[str, str]) -> None:
    """Refuse to replace a real program of the running lab by the double because nobody names it any more."""
    for name, path in attic_programs().items():
        if path is None and name in used and os.environ.get(variable(name)) != DOUBLE:
            raise LabError(
                f"The lab runs the real {used[name]}; set {variable(name)}={used[name]} to keep it, or {variable(name)}={DOUBLE} "
                "to replace it by the double."
            )


def base_tag() -> str:
    return f"{LABEL}/base:{state.digest(SUITE, TRIM, UNSAFE, *packages())}"


def host_tag() -> str:
    real = [path for path in attic_programs().values() if path]
    parts = [LAB / "nixos", LAB / "attic", LAB / "op", *(HERE / name for name in CONTEXT), *real]
    return f"{LABEL}/host:{state.digest(base_tag(), *parts)}"


def small_tag() -> str:
    parts = [LAB / "nixos", LAB / "op", *(HERE / name for name in SMALL_CONTEXT)]
    return f"{LABEL}/small:{state.digest(base_tag(), *server_packages(), *parts)}"


def exists(tag: str) -> bool:
    return attempt("docker", "image", "inspect", tag).returncode == 0


def ensure() -> str:
    """The tag of the server's image, which is built if needed. Only complete images get a tag."""
    if not exists(host_tag()):
        _ensure_base()
        _build_host()
    return host_tag()


def ensure_small() -> str:
    """The tag of the small host's image, which is built if needed."""
    if not exists(small_tag()):
        _ensure_base()
        _build_small()
    return small_tag()


def _ensure_base() -> None:
    if not exists(base_tag()):
        _build_base()


def _build_base() -> None:
    install("mmdebstrap", "debian-archive-keyring", "ca-certificates")
    say(f"Building the base image from {len(packages())} Debian packages and what they need (about a minute)")
    remove()  # any that exist were built from an older base
    WORKSHOP.mkdir(mode=0o755)
    with (state.DIR / "mmdebstrap.log").open("w+") as log:
        make = subprocess.Popen(
            [
                *CONTAINED,
                "mmdebstrap",
                "--variant=minbase",
                f"--include={','.join(packages())}",
                TRIM,
                UNSAFE,
                *(f"--aptopt={line}" for line in _proxy()),
                SUITE,
                "-",
                _mirror(),
            ],
            stdout=subprocess.PIPE,
            stderr=log,
            env={**os.environ, "TMPDIR": str(WORKSHOP)},
        )
        taken = attempt("docker", "import", f"--change=LABEL {IMAGE_LABEL}=base", "-", stdin=make.stdout)
        if make.wait() != 0:
            log.seek(0)
            errors = [line.strip() for line in log if line.startswith(("E:", "Err:"))] or ["see .lab/mmdebstrap.log"]
            raise LabError(f"The base image could not be built: {' | '.join(errors[:3])}")
    if taken.returncode != 0:
        raise LabError(f"The container engine did not take the base image: {taken.stderr.strip()}")
    shutil.rmtree(WORKSHOP)
    run("docker", "tag", taken.stdout.strip(), base_tag())


def _build_host() -> None:
    say("Building the server's image")
    with tempfile.TemporaryDirectory(dir=state.DIR, prefix="image-") as folder:
        context = pathlib.Path(folder)
        bin_ = _fill(context, ("nixos", "attic", "op"), CONTEXT)
        for double in (LAB / "attic" / "bin").iterdir():
            (bin_ / double.name).symlink_to(f"/usr/lib/attic-double/attic/bin/{double.name}")
        for name, real in attic_programs().items():
            if real:
                (bin_ / name).unlink()
                shutil.copy(real, bin_ / name)
        _docker_build(context, host_tag(), "host")
    for name, real in attic_programs().items():
        if real:
            _check_program(name, real)


def _build_small() -> None:
    say("Building the small host's image")
    with tempfile.TemporaryDirectory(dir=state.DIR, prefix="image-") as folder:
        context = pathlib.Path(folder)
        _fill(context, ("nixos", "op"), SMALL_CONTEXT)
        (context / "small.Dockerfile").rename(context / "Dockerfile")
        _docker_build(context, small_tag(), "small", f"--build-arg=SERVER={' '.join(server_packages())}")


def _fill(context: pathlib.Path, folders: tuple[str, ...], files: tuple[str, ...]) -> pathlib.Path:
    """Copy what the image consists of; return the folder of its programs."""
    for name in folders:
        shutil.copytree(LAB / name, context / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in files:
        shutil.copy(HERE / name, context)
    programs = context / "bin"
    programs.mkdir()
    (programs / "op").symlink_to("/usr/lib/op-double/op")
    return programs


def _docker_build(context: pathlib.Path, tag: str, kind: str, *options: str) -> None:
    run(
        "docker", "build", "--quiet", "--network=none", f"--build-arg=BASE={base_tag()}", *options,
        f"--label={IMAGE_LABEL}={kind}", "--force-rm", f"--tag={tag}", str(context), env={**os.environ, "DOCKER_BUILDKIT": "0"},
    )  # fmt: skip


def _check_program(name: str, path: pathlib.Path) -> None:
    """A program of another system, or another program, would only show when a host is deployed."""
    said = attempt(
        "docker", "run", "--rm", "--network=none", f"--entrypoint=/usr/local/bin/{name}", host_tag(), "--version"
    )
    if said.returncode == 0 and said.stdout.startswith(PROGRAMS[name]):
        return
    attempt("docker", "image", "rm", "--force", host_tag())
    reason = (said.stdout + said.stderr).strip().splitlines() or [f"exit code {said.returncode}"]
    raise LabError(
        f"{path} does not work as {name} in the lab's container, Debian {SUITE}: {reason[0]}. Build it for that, or set "
        f"{variable(name)}={DOUBLE} for the double."
    )


def remove() -> None:
    """Remove every image of a lab, including unfinished ones."""
    ours = f"--filter=label={IMAGE_LABEL}"
    # an interrupted build leaves a container, which inherits the image's label and has no other
    form = f'--format={{{{.ID}}}} {{{{.Label "{LABEL}"}}}}'
    for line in run("docker", "ps", "--all", ours, "--filter=status=exited", form).splitlines():
        if len(line.split()) == 1:
            run("docker", "rm", "--force", line.strip())
    for line in run("docker", "images", "--all", ours, "--format={{.Repository}} {{.ID}}").splitlines():
        repository, image = line.split()
        if repository.startswith((LABEL, "<none>")):
            attempt("docker", "image", "rm", "--force", image)
    shutil.rmtree(WORKSHOP, ignore_errors=True)


def _mirror() -> str:
    """The mirror that this machine itself uses."""
    if given := os.environ.get("LAB_MIRROR"):
        return given
    query = ("apt-get", "indextargets", "--format", "$(ORIGIN) $(LABEL) $(REPO_URI)", "Created-By: Packages")
    for fresh in (False, True):
        if fresh:
            update_lists()
        for line in run(*query).splitlines():
            if line.startswith("Debian Debian "):
                return line.split()[2]
    raise LabError("apt knows no Debian mirror on this machine; name one: LAB_MIRROR=<its address>.")


def _proxy() -> list[str]:
    """apt's settings for reaching the mirror on this machine."""
    lines = run("apt-config", "dump").splitlines()
    return [line for line in lines if re.match(r'Acquire::https?::(\S*::)?(Proxy|CAInfo)\S* ".+"', line, re.I)]
