# SPDX-License-Identifier: GPL-3.0-or-later
"""The printed example of a safe activation, without roles, on a host that has none of the modules of this collection."""

from __future__ import annotations

import typing as t

import yaml
from ansible_collections.pantheros.nixci.plugins.modules import nixos_rebuild

from .controller import Controller
from .host import Host
from .image import Prepared
from .outcome import OK, UNREACHABLE, Outcome

FIRST = "Activate /etc/nixos for two minutes"
PLAIN = """
{{
  networking.hostName = "web";
  services.openssh.enable = {sshd};
  users.users.root.openssh.authorizedKeys.keys = [ "{key}" ];
  systemd.services.app = {{
    wantedBy = [ "multi-user.target" ];
    environment.SYSTEM = "{name}";
    script = "exec sleep infinity";
  }};
}}
"""


def example() -> list[dict[str, t.Any]]:
    tasks = yaml.safe_load(nixos_rebuild.EXAMPLES)
    [begin] = [number for number, task in enumerate(tasks) if task["name"] == FIRST]
    return tasks[begin : begin + 3]


def test_the_example_confirms_and_goes_back(host: Host, controller: Controller, prepared: Prepared) -> None:
    key = prepared.key.with_suffix(".pub").read_text().strip()
    confirmed = ("confirmed", "good", "plain")
    host.put("/etc/nixos/configuration.nix", PLAIN.format(name="plain", key=key, sshd="true"))
    run = controller.tasks(host, *example())
    assert run.code == OK, run.output
    host.names[host.current()] = "plain"
    Outcome(running="plain", records=[confirmed], code=OK).check(host, run)
    assert host.sh("test -e /etc/nixci/manifest.json").returncode != 0

    host.put("/etc/nixos/configuration.nix", PLAIN.format(name="silent", key=key, sshd="false"))
    run = controller.tasks(host, *example())
    assert run.code == UNREACHABLE, run.output
    silent = host.current()
    host.names[silent] = "silent"
    host.expire()
    Outcome(
        running="plain",
        records=[confirmed, ("reverted", "plain", "silent")],
        reason="not confirmed",
        remembered=["silent"],
        code=UNREACHABLE,
    ).check(host, run, controller)
