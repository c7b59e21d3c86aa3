# SPDX-License-Identifier: GPL-3.0-or-later
"""up, down, status.

A lab is complete or it is rebuilt: the doubles keep their state in memory, so a host without them is useless. Packages
and images take time, so they are kept, and created only if they are missing. `lab.json` is written last and removed first,
so an `up` or `down` that was killed at any point can be run again.
"""

from __future__ import annotations

import shutil
import typing as t

from . import doubles, engine, fleet, machine, state
from .host import access, container, image
from .names import (
    ACME_CONTAINER,
    ACME_DIRECTORY,
    B2_REGION,
    DOMAIN,
    GITLAB_PROJECT,
    HOST_NAME,
    PORTS,
    ROOT,
    URLS,
    VAULT,
    ZONE,
)
from .shell import say


def up() -> None:
    machine.check_platform()
    with state.locked():
        image.check_kept(state.read(state.LAB).get("programs", {}))
        if up_to_date() and not state.abandoned():
            say("The lab is up")
            return
        machine.install("openssh-client", "git")
        engine.ensure()
        server, small = image.ensure(), image.ensure_small()
        dismantle()
        state.note_run()
        machine.check_network()
        doubles.make_credentials()
        container.create_network()
        doubles.start()
        container.start_acme(server)
        access.make_key(container.SSH)
        fleet.create(access.public_key(container.SSH))
        container.start_hosts({container.SERVER: server, container.SMALL: small})
        fleet.add_import()
        machine.add_hosts_line()
        state.write(state.LAB, describe())
        uses = describe()["uses"]
        hosts = ", ".join(f"{host.name} at {host.address}" for host in container.MACHINES)
        say(f"The lab is up: {hosts}; atticd is {uses['attic']}, attic is {uses['attic_client']}")


def down() -> None:
    machine.check_platform()
    if not state.DIR.exists() and not engine.works():
        say("There is no lab")
        return
    with state.locked():
        if engine.works():
            say("Removing containers, network and images")
            dismantle()
            image.remove()
        doubles.stop()
        machine.remove_hosts_line()
        engine.stop()
        machine.uninstall()
        engine.forget()
        shutil.rmtree(state.DIR)
    say("The lab is gone")


def dismantle() -> None:
    """Remove everything that runs; keep images and packages."""
    state.LAB.unlink(missing_ok=True)
    doubles.stop()
    container.remove()
    machine.remove_hosts_line()
    shutil.rmtree(state.SECRETS, ignore_errors=True)
    shutil.rmtree(fleet.FLEET, ignore_errors=True)


def up_to_date() -> bool:
    """Whether the lab is complete, and built from the current files."""
    return state.read(state.LAB).get("fingerprint") == fingerprint() and complete()


def complete() -> bool:
    return (
        state.LAB.exists()
        and doubles.alive()
        and (fleet.FLEET / "flake.nix").exists()
        and container.running() == {ACME_CONTAINER, *(host.container for host in container.MACHINES)}
        and all(host.answers() for host in container.MACHINES)
        and machine.HOSTS_LINE in machine.HOSTS.read_text()
    )


def fingerprint() -> str:
    real = [path for path in image.attic_programs().values() if path]
    return state.digest(ROOT / "lab", *real)


def describe() -> dict[str, t.Any]:
    """What the inventory and the tests need to know. No secrets, only their location."""
    real = image.attic_programs()
    hosts = {
        host.name: {
            "name": host.name,
            "address": host.address,
            "user": "root",
            "private_key": str(container.SSH / access.KEY),
            "known_hosts": str(container.SSH / access.KNOWN_HOSTS),
            "container": host.container,
        }
        for host in container.MACHINES
    }
    return {
        "fingerprint": fingerprint(),
        "domain": DOMAIN,
        "zone": ZONE,
        "cache_url": f"https://{DOMAIN}/",
        "host": hosts[HOST_NAME],
        "hosts": hosts,
        "fleet": str(fleet.FLEET),
        "acme": {"directory": ACME_DIRECTORY, "ca": str(container.CA)},
        "b2": {"url": URLS["b2"], "s3_url": URLS["s3"], "region": B2_REGION},
        "cloudflare": {"url": f"{URLS['cloudflare']}/client/v4"},
        "onepassword": {"url": URLS["onepassword"], "vault": VAULT},
        "gitlab": {"url": URLS["gitlab"], "project": GITLAB_PROJECT},
        "secrets": str(state.SECRETS),
        "uses": {
            **dict.fromkeys(PORTS, "double"),
            "nixos": "stand-in",
            "attic": "real" if real["atticd"] else "double",
            "attic_client": "real" if real["attic"] else "double",
        },
        "programs": {name: str(path) for name, path in real.items() if path},
    }


def status() -> dict[str, t.Any]:
    lab = state.read(state.LAB)
    running = sorted(container.running()) if engine.works() else []
    return {
        "up": bool(running) and complete(),
        "containers": running,
        "doubles": doubles.alive(),
        "uses": lab.get("uses", {}),
        "cache_url": lab.get("cache_url"),
    }
