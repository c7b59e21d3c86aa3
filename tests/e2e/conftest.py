# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab with site.yml run on it, and ways to inspect the result."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import pathlib
import re
import subprocess
import sys
import typing as t

import pytest
import requests
import testinfra

from lab import names, state
from tests.support.paths import ROOT

BIN = pathlib.Path(sys.executable).parent
CA = ROOT / ".lab/ca/root.crt"
# The checkout of the fleet's flake, and the files of the cache server in it.
FLEET = ROOT / ".lab/fleet"
OURS = FLEET / "nixci/hosts" / names.HOST_NAME


def git(*args: str) -> str:
    return subprocess.run(["git", "-C", str(FLEET), *args], capture_output=True, text=True, check=True).stdout


@dataclasses.dataclass(frozen=True)
class PlaybookRun:
    rc: int
    out: str

    @property
    def changed(self) -> int:
        return sum(int(number) for number in re.findall(r"changed=(\d+)", self.out))

    @property
    def tasks(self) -> list[str]:
        """The names of the tasks that ran or were skipped."""
        return re.findall(r"^TASK \[(.*)\] \*+$", self.out, re.M)

    @property
    def problem(self) -> str:
        """The text of all failures, in one line so that the terminal's width plays no part."""
        return " ".join(self.out.split())


def play(
    *args: str,
    playbook: str = "playbooks/site.yml",
    cwd: pathlib.Path = ROOT,
    env: dict[str, str] | None = None,
    **extra: t.Any,
) -> PlaybookRun:
    """ansible-playbook as a user runs it; keyword arguments are extra variables."""
    command = [str(BIN / "ansible-playbook"), playbook, *args]
    if extra:
        command += ["--extra-vars", json.dumps(extra)]
    merged = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "ANSIBLE_NOCOLOR": "1", **(env or {})}
    done = subprocess.run(command, cwd=cwd, env=merged, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    return PlaybookRun(done.returncode, done.stdout + done.stderr)


@pytest.fixture(scope="session")
def lab() -> None:
    done = subprocess.run([sys.executable, "-m", "lab", "up"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def demo(lab: None) -> PlaybookRun:
    """site.yml has run on the lab; its output is from the first run unless the lab was in use already."""
    run = play("-vv", "--diff")
    assert run.rc == 0, run.out
    return run


@pytest.fixture(scope="session")
def host(lab: None) -> t.Any:
    return testinfra.get_host(f"docker://{names.HOST_CONTAINER}")


class Vault:
    """The 1Password double, read the way its users read it."""

    def __init__(self) -> None:
        self.session = requests.Session()
        self.session.headers["Authorization"] = f"Bearer {state.secret('connect-token')}"
        self.url = f"{names.URLS['onepassword']}/v1/vaults"
        self.id = self.get("", filter=f'name eq "{names.VAULT}"')[0]["id"]

    def get(self, path: str, **params: str) -> t.Any:
        answer = self.session.get(self.url + path, params=params, timeout=10)
        answer.raise_for_status()
        return answer.json()

    def item(self, title: str) -> dict[str, str]:
        (found,) = self.get(f"/{self.id}/items", filter=f'title eq "{title}"')
        fields = self.get(f"/{self.id}/items/{found['id']}")["fields"]
        return {field["label"]: field.get("value", "") for field in fields}


@pytest.fixture(scope="session")
def vault(demo: PlaybookRun) -> Vault:
    return Vault()


@pytest.fixture(scope="session")
def cache(vault: Vault) -> t.Callable[..., requests.Response]:
    """A request to the cache over HTTPS, anonymous or with a token of 1Password's item Attic."""

    @functools.cache
    def token(label: str) -> str:
        return vault.item("Attic")[label]

    def ask(path: str, label: str | None = None, method: str = "GET", **kwargs: t.Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {token(label)}"} if label else {}
        url = f"https://{names.DOMAIN}{path}"
        return requests.request(method, url, headers=headers, verify=str(CA), timeout=20, **kwargs)

    return ask
