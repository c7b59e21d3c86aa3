# SPDX-License-Identifier: GPL-3.0-or-later
"""Our modules and community.general's newest ones, against the same doubles with a latency of 100 ms.

Both run with the same ansible-core, the same settings and the same playbook.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import typing as t
import zipfile
from collections.abc import Iterator

from lab.clouds.cloudflare import CloudflareDouble
from lab.clouds.onepassword import OnePasswordDouble, service_account_token
from tests.support.paths import ROOT

from .latency import at_real_address, delayed, listening
from .report import row, title

BIN = pathlib.Path(sys.executable).parent
ZONE, TOKEN, VAULT = "example.org", "benchmark-token-0123456789abcdef01234567", "vault"
RECORDS = 50
ITEMS = {f"item{item}": {f"field{field}": f"secret {item}.{field}" for field in range(5)} for item in range(4)}
TASKS, HOSTS = 4, 5
Tasks = list[dict[str, t.Any]]


@dataclasses.dataclass(frozen=True)
class Measured:
    seconds: float
    requests: int
    started: str
    """The number of processes and threads, from the kernel's numbering."""
    output: str

    def __str__(self) -> str:
        return f"{self.seconds:6.1f} s   {self.requests:5} requests   {self.started:>6} processes and threads"


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        version = community_general(folder / "collections")
        dns(folder, version)
        secrets(folder, version)


def community_general(folder: pathlib.Path) -> str:
    """Extracts it from the newest `ansible` package, which requires a newer Python than these parts of it need."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    pip += ["--dest", str(folder), "--only-binary=:all:", "--python-version=3.13", "ansible"]
    subprocess.run(pip, check=True)
    part = "ansible_collections/community/general/"
    with zipfile.ZipFile(next(folder.glob("ansible-*.whl"))) as archive:
        archive.extractall(folder, [name for name in archive.namelist() if name.startswith(part)])
    return json.loads((folder / part / "MANIFEST.json").read_text())["collection_info"]["version"]


# ---- DNS ----------------------------------------------------------------------------------------------------------


def dns(folder: pathlib.Path, version: str) -> None:
    title(f"{RECORDS} DNS records: pantheros.nixci.cloudflare_record and community.general {version}")
    hosts = {f"host{number}": f"203.0.113.{number}" for number in range(RECORDS)}
    changed = {**hosts, "host7": "203.0.113.200"}
    for name, tasks in (("community.general", their_dns), ("pantheros.nixci", our_dns)):
        double = CloudflareDouble([ZONE], {TOKEN: {ZONE: {"zone:read", "dns:read", "dns:edit"}}})
        with at_real_address(delayed(double.app), "api.cloudflare.com", folder) as environment:
            for what, wanted in (("create", hosts), ("no-op", hosts), ("one change", changed)):
                measured = play(folder, tasks(wanted), environment, double.app.requests)
                stored = {one["name"].removesuffix(f".{ZONE}"): one["content"] for one in double.all_records(ZONE)}
                assert stored == wanted, f"{name} failed: {measured.output}"
                row(f"{what}, {name}", str(measured))


def their_dns(hosts: dict[str, str]) -> Tasks:
    module = {"api_token": TOKEN, "zone": ZONE, "type": "A", "solo": True}
    module |= {"record": "{{ item.key }}", "value": "{{ item.value }}"}
    loop = [{"key": name, "value": address} for name, address in hosts.items()]
    return [{"community.general.cloudflare_dns": module, "loop": loop}]


def our_dns(hosts: dict[str, str]) -> Tasks:
    records = [{"name": name, "type": "A", "content": [address]} for name, address in hosts.items()]
    return [{"pantheros.nixci.cloudflare_record": {"token": TOKEN, "zone": ZONE, "records": records}}]


# ---- secrets ------------------------------------------------------------------------------------------------------


def secrets(folder: pathlib.Path, version: str) -> None:
    references = sum(map(len, ITEMS.values()))
    title(
        f"{references} secret references from {len(ITEMS)} items in {TASKS} tasks on {HOSTS} hosts, through op: "
        f"lookup pantheros.nixci.onepassword and community.general {version}"
    )
    for name, lookups in (("community.general", their_lookup), ("pantheros.nixci", our_lookup)):
        double = OnePasswordDouble(vaults={VAULT: ITEMS})
        with listening(delayed(double.app)) as port, state(folder) as (environment, calls):
            token = service_account_token(f"http://127.0.0.1:{port}")
            double.service_accounts[token] = {"vaults": {VAULT: "read"}}
            environment["OP_SERVICE_ACCOUNT_TOKEN"] = token
            expected = [value for fields in ITEMS.values() for value in fields.values()]
            condition = (
                "[" + ", ".join(lookups(item, field) for item in ITEMS for field in ITEMS[item]) + "] == expected"
            )
            # Our option keeps items for a run; theirs has none.
            variables = {"expected": expected, "nixci_onepassword_cache_seconds": 600}
            task = {"ansible.builtin.assert": {"that": condition}, "vars": variables, "no_log": True}
            measured = play(folder, [task] * TASKS, environment, double.app.requests, hosts=HOSTS)
            row(f"read, {name}", f"{measured}   {len(calls())} runs of op")


def their_lookup(item: str, field: str) -> str:
    token = "service_account_token=lookup('ansible.builtin.env', 'OP_SERVICE_ACCOUNT_TOKEN')"
    return f"lookup('community.general.onepassword', '{item}', field='{field}', vault='{VAULT}', {token})"


def our_lookup(item: str, field: str) -> str:
    return f"lookup('pantheros.nixci.onepassword', 'op://{VAULT}/{item}/{field}')"


@contextlib.contextmanager
def state(folder: pathlib.Path) -> Iterator[tuple[dict[str, str], t.Callable[[], list[str]]]]:
    """A folder with the stand-in for `op` and its journal.

    community.general gives `op` an empty pipe as standard input. The stand-in takes that for a broken template, as the
    real one is reported to do. Here it must not fail a read.
    """
    home = folder / "state"
    home.mkdir()
    op = home / "op"
    op.write_text(f'#!/bin/sh\nexec {sys.executable} {ROOT / "lab/op/op"} "$@" </dev/null\n')
    op.chmod(0o755)
    environment = {"PATH": f"{home}:{os.environ['PATH']}", "XDG_STATE_HOME": str(home)}
    try:
        yield environment, lambda: (home / "lab-op.jsonl").read_text().splitlines()
    finally:
        shutil.rmtree(home)


# ---- a run --------------------------------------------------------------------------------------------------------


def play(
    folder: pathlib.Path, tasks: Tasks, environment: dict[str, str], journal: list[t.Any], hosts: int = 1
) -> Measured:
    names = [f"target{number}" for number in range(hosts)]
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    (folder / "inventory.json").write_text(json.dumps({"all": {"hosts": dict.fromkeys(names, local)}}))
    (folder / "play.yml").write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
    command = [str(BIN / "ansible-playbook"), "-i", str(folder / "inventory.json"), str(folder / "play.yml")]
    # A process namespace numbers from 1, so the last number is how many there were.
    counted = folder / "counted"
    script = f'"$@"; code=$?; cat /proc/sys/kernel/ns_last_pid >{counted}; exit $code'
    namespace = ["unshare", "--pid", "--fork", "--mount-proc", "sh", "-c", script, "sh"]
    journal.clear()
    counted.unlink(missing_ok=True)
    start = time.monotonic()
    done = subprocess.run(
        [*(namespace if os.geteuid() == 0 else []), *command],
        cwd=folder,
        env={
            **{key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "OP_"))},
            "ANSIBLE_COLLECTIONS_PATH": f"{ROOT / '.collections'}:{folder / 'collections'}",
            "ANSIBLE_PIPELINING": "1",
            "ANSIBLE_FORKS": "10",
            **environment,
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    seconds = time.monotonic() - start
    if done.returncode:
        failed = [line for line in done.stdout.splitlines() if "fatal:" in line or "failed:" in line]
        sys.exit("\n".join(["the benchmark's own playbook failed:", *failed, done.stderr[-2000:]]))
    started = counted.read_text().strip() if counted.exists() else "(root only)"
    return Measured(seconds, len(journal), started, done.stdout)


if __name__ == "__main__":
    main()
