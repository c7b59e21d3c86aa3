#!/usr/bin/python
# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: attic_roundtrip
short_description: Verify that an Attic cache works, from push to substitution
version_added: 0.1.0
description:
  - Adds a small file to the local Nix store, pushes it with the C(attic) client, and lets Nix fetch it into an empty store,
    over the network and with its signature checked against the cache's own key.
  - Only this verifies database, bucket, proxy, certificate, token and key together, because Attic first accesses its bucket
    when a path is pushed.
  - The file has new contents on each run, because a path that the cache knows already would not be pushed again, and a cache
    that accepts nothing any more would go unnoticed.
  - Removes the file from the local store, whether the run succeeds or not. What an interrupted run leaves there goes with Nix'
    own garbage collection.
  - Attic cannot delete a single path. The cache keeps one path of about 300 bytes for each run, until the retention period of
    the cache is over; a cache that keeps everything for ever keeps these too.
extends_documentation_fragment:
  - pantheros.nixci._attributes
  - pantheros.nixci._attributes.actiongroup_attic
attributes:
  check_mode:
    details: Does nothing in check mode.
  diff_mode:
    support: none
    details: Changes nothing worth showing.
options:
  url:
    description: The URL of the server.
    type: str
    required: true
  cache:
    description: The name of the cache.
    type: str
    required: true
  public_key:
    description: The key that the cache signs with, as M(pantheros.nixci.attic_cache) returns it.
    type: str
    required: true
  token:
    description: A token with the rights to pull and push.
    type: str
    required: true
  timeout:
    description: The time limit in seconds for all steps together, from 1 to 3600.
    type: int
    default: 120
requirements:
  - Nix and the C(attic) client on the machine that runs the task, and nothing but Python's standard library
author:
  - The pantheros.nixci contributors (@pantheros)
"""

EXAMPLES = r"""
- name: Verify that CI can use its cache
  pantheros.nixci.attic_roundtrip:
    url: https://cache.example.org
    cache: ci-cache
    public_key: ci-cache:QQ0yXG5H3eYbXRQfOPkbVyF0hH1wV2pSqWdPRrPvBpo=
    token: "{{ lookup('pantheros.nixci.onepassword', 'op://pantherOS/Attic/ci-token') }}"
  no_log: true
"""

RETURN = r"""
path:
  description: The store path that was pushed and fetched, and then removed from the local store.
  type: str
  returned: except in check mode
  sample: /nix/store/00000000000000000000000000000000-nixci-roundtrip
seconds:
  description: How many seconds the push and the fetch took.
  type: dict
  returned: except in check mode
  sample: {"push": 0.4, "fetch": 0.3}
"""

import os
import secrets
import shutil
import tempfile
import time
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._attic.client_files import client_config, netrc
from ..module_utils._attic.texts import strip_blanks
from ..module_utils._core.errors import InvalidError, NixciError
from ..module_utils._core.redact import redact_log
from ..module_utils._core.resource import Result, finish
from ..module_utils._nixos.command import Outcome, Runner

NAME = "nixci-roundtrip"
SERVER = "it"
REMOVAL_TIMEOUT = 30
NIX = ["--extra-experimental-features", "nix-command"]


class Roundtrip:
    """Works in a private directory, so that nobody else can read the token."""

    def __init__(self, runner: Runner, params: dict[str, t.Any], folder: str) -> None:
        self.runner, self.params, self.folder = runner, params, folder
        self.store = os.path.join(folder, "store")

    def write(self, name: str, content: str) -> str:
        path = os.path.join(self.folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(content)
        return path

    def add(self) -> str:
        source = self.write(NAME, f"Pushed to verify {self.params['cache']}: {secrets.token_hex(16)}\n")
        return self.must(self.runner.run("nix-store", "--add", source), "adding a file to the Nix store").out.strip()

    def push(self, path: str) -> None:
        token = self.write("token", self.params["token"])
        config = client_config(SERVER, self.params["url"], option="token-file", value=token)
        self.write("config/attic/config.toml", config)
        os.environ["XDG_CONFIG_HOME"] = os.path.join(self.folder, "config")
        cache = f"{SERVER}:{self.params['cache']}"
        pushed = self.runner.run("attic", "push", "--ignore-upstream-cache-filter", cache, path)
        self.must(pushed, f"pushing to {self.params['cache']}")

    def fetch(self, path: str) -> None:
        access = self.write("netrc", netrc(self.params["url"], self.params["token"]))
        options = ["--option", "netrc-file", access, "--option", "trusted-public-keys", self.params["public_key"]]
        # Nix remembers what a cache had; an empty cache directory makes it ask again.
        os.environ["XDG_CACHE_HOME"] = os.path.join(self.folder, "cache")
        source = f"{self.params['url'].rstrip('/')}/{self.params['cache']}"
        fetched = self.runner.run("nix", *NIX, "copy", *options, "--from", source, "--to", self.store, path)
        self.must(fetched, f"fetching from {self.params['cache']}")
        with open(self.store + path, encoding="utf-8") as ours, open(path, encoding="utf-8") as theirs:
            if ours.read() != theirs.read():
                raise NixciError(f"{self.params['cache']} returned other contents than were pushed.")

    def must(self, outcome: Outcome, step: str) -> Outcome:
        if outcome.rc != 0:
            said = redact_log(outcome.err or outcome.out, [self.params["token"]]).strip()[-800:]
            raise NixciError(f"The cache does not work: {step} through {self.params['url']} failed:\n{said}")
        return outcome

    def remove(self, path: str) -> None:
        """Only a warning if it fails, because Nix' garbage collection removes the file as well."""
        try:
            removed = Runner(self.runner.module, REMOVAL_TIMEOUT).run("nix-store", "--delete", path)
            reason = removed.err.strip()[-300:] if removed.rc != 0 else None
        except NixciError as exc:
            reason = str(exc)
        if reason is not None:
            self.runner.module.warn(
                f"{path} stays in the Nix store until the next garbage collection, because 'nix-store --delete' failed: {reason}"
            )


def go(trip: Roundtrip) -> Result:
    path = trip.add()
    times = [time.monotonic()]
    try:
        for step in (trip.push, trip.fetch):
            step(path)
            times.append(time.monotonic())
    finally:
        trip.remove(path)
    push, fetch = (round(end - start, 2) for start, end in zip(times, times[1:], strict=False))
    return {"path": path, "seconds": {"push": push, "fetch": fetch}}


def verify(module: AnsibleModule) -> Result:
    if module.check_mode:
        return {"skipped": True, "msg": "Nothing is pushed in check mode."}
    if not 1 <= module.params["timeout"] <= 3600:
        raise InvalidError("timeout must be from 1 to 3600 seconds.")
    strip_blanks(module, "url", "token", "public_key")
    folder = tempfile.mkdtemp(dir=module.tmpdir)
    try:
        return go(Roundtrip(Runner(module, module.params["timeout"]), module.params, folder))
    finally:
        # Directories in a store that Nix made are not writable.
        module.run_command(["chmod", "-R", "u+w", folder])
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str", "required": True},
            "cache": {"type": "str", "required": True},
            "public_key": {"type": "str", "required": True, "no_log": False},
            "token": {"type": "str", "required": True, "no_log": True},
            "timeout": {"type": "int", "default": 120},
        },
        supports_check_mode=True,
    )
    finish(module, lambda: verify(module))


if __name__ == "__main__":
    main()
