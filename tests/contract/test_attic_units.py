# SPDX-License-Identifier: GPL-3.0-or-later
"""atticd under systemd as nix/modules/attic.nix runs it: it comes back, it loses nothing, its collector says what it left.

With the Attic double always, with the real atticd where LAB_ATTICD names it.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
import os
import pathlib
import re
import subprocess
import sys
import threading
import time
import typing as t
from collections.abc import Iterator

import boto3
import pytest
import requests
from moto.server import ThreadedMotoServer

from tests.contract.atticd import NEW_CACHE, ROOT_TOKEN, SECRET, Path, command_of
from tests.support.containers import gateway
from tests.support.lab_image import lab_image
from tests.support.nixos_host import Host
from tests.support.paths import ROOT

SIZE = 12_000_000
CONFIGURATION = "imports = [ ./nixci/modules ]; networking.firewall.enable = false;"
ENVIRONMENT = f"""
ATTIC_SERVER_TOKEN_HS256_SECRET_BASE64={base64.b64encode(SECRET).decode()}
AWS_ACCESS_KEY_ID=id
AWS_SECRET_ACCESS_KEY=key
"""


@dataclasses.dataclass
class Machine:
    host: Host
    url: str
    s3: t.Any
    folder: pathlib.Path

    def ask(self, method: str, path: str, **more: t.Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {ROOT_TOKEN}", "Host": "cache.test", **more.pop("headers", {})}
        return requests.request(method, self.url + path, headers=headers, timeout=60, **more)

    def answers(self) -> bool:
        with contextlib.suppress(requests.ConnectionError):
            return self.ask("GET", "/").status_code == 200
        return False

    def comes_back(self) -> None:
        end = time.monotonic() + 120
        while not self.answers():
            assert time.monotonic() < end, self.host.sh("systemctl status atticd; journalctl -u atticd -n 30").stdout
            time.sleep(0.1)

    def held(self) -> dict[str, int]:
        """Rows that only an upload may have."""
        sql = """SELECT json_build_object('chunks', (SELECT count(*) FROM chunk WHERE holders_count > 0 OR state = 'P'),
                                          'nars', (SELECT count(*) FROM nar WHERE holders_count > 0 OR state = 'P'))"""
        return json.loads(self.host.out(f'runuser -u postgres -- psql -d atticd -Atc "{sql}"'))

    def push(self, size: int = 5000) -> Path:
        path = Path(size)
        headers = {"X-Attic-Nar-Info": json.dumps(path.info("ci"))}
        assert self.ask("PUT", "/_api/v1/upload-path", headers=headers, data=path.nar).status_code == 200
        return path

    def narinfo(self, path: Path) -> int:
        return self.ask("GET", f"/ci/{path.hash}.narinfo").status_code

    def operate(self, playbook: str, *args: str) -> tuple[int, str]:
        """ansible-playbook as a user runs it: the exit status, and the output without line breaks."""
        variables = {
            "ansible_connection": "community.docker.docker",
            "ansible_python_interpreter": "/usr/bin/python3",
            "nixci_cache_domain": "cache.test",
        }
        inventory = {"cache_servers": {"hosts": {self.host.id: variables}}}
        file = pathlib.Path(self.folder) / "inventory.json"
        file.write_text(json.dumps(inventory))
        program = str(pathlib.Path(sys.executable).with_name("ansible-playbook"))
        env = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
        done = subprocess.run(
            [program, f"--inventory={file}", f"playbooks/operate/{playbook}.yml", *args],
            cwd=ROOT, env=env, capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip
        return done.returncode, " ".join((done.stdout + done.stderr).split())

    def journal(self, unit: str) -> str:
        self.host.out("journalctl --sync")
        return self.host.out(f"journalctl --unit={unit} --output=cat --no-pager")


@pytest.fixture(scope="module", params=["double", "real"])
def machine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    command = command_of(request.param)
    host = Host(lab_image())
    s3 = ThreadedMotoServer(gateway(), 0)
    try:
        host.wait()
        s3.start()
        endpoint = f"http://{gateway()}:{s3.get_host_and_port()[1]}"
        client = boto3.client(
            "s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="id", aws_secret_access_key="key"
        )
        client.create_bucket(Bucket="nars")
        if request.param == "real":
            host.out("rm /usr/local/bin/atticd")
            host.copy(pathlib.Path(command[0]), "/usr/local/bin/atticd")
        host.out("mkdir -p /etc/nixos/nixci")
        host.copy(ROOT / "nix/modules", "/etc/nixos/nixci/modules")
        settings = {
            "attic": {
                "domain": "cache.test",
                "listen": "0.0.0.0:8080",
                "environmentFile": "/etc/atticd.env",
                "storage": {"endpoint": endpoint, "region": "us-east-1", "bucket": "nars"},
            },
            "postgresql": {"databases": ["atticd"]},
            "nixos": {"collectionVersion": "1.2.3"},
        }
        for role, values in settings.items():
            host.put(f"/etc/nixos/nixci/settings/{role}.json", json.dumps({role: values}))
        host.put("/etc/atticd.env", ENVIRONMENT)
        host.switch(CONFIGURATION)
        folder = tmp_path_factory.mktemp("controller")
        machine = Machine(host, f"http://{host.address}:8080", client, folder)
        machine.comes_back()
        assert machine.ask("POST", "/_api/v1/cache-config/ci", json=NEW_CACHE).status_code == 200
        yield machine
    finally:
        host.remove()
        s3.stop()


class Upload:
    """A push whose second half is sent when it is told to."""

    def __init__(self, machine: Machine) -> None:
        machine.comes_back()
        self.machine, self.path = machine, Path(SIZE)
        self.rest = threading.Event()
        self.status: int | None = None
        self.thread = threading.Thread(target=self._push)
        self.thread.start()
        for _ in range(200):
            if machine.held()["chunks"] > 20:
                return
            time.sleep(0.1)
        raise AssertionError("the upload has not begun")

    def _push(self) -> None:
        headers = {"X-Attic-Nar-Info": json.dumps(self.path.info("ci"))}
        with contextlib.suppress(requests.ConnectionError):
            self.status = self.machine.ask(
                "PUT", "/_api/v1/upload-path", headers=headers, data=self._body()
            ).status_code

    def _body(self) -> Iterator[bytes]:
        yield self.path.nar[: SIZE // 2]
        self.rest.wait(30)
        yield self.path.nar[SIZE // 2 :]

    def finish(self) -> int | None:
        self.rest.set()
        self.thread.join()
        return self.status


@pytest.mark.parametrize("unit", ["postgresql.service", "postgresql.target"])
def test_it_comes_back_with_postgresql(machine: Machine, unit: str) -> None:
    machine.host.out(f"systemctl stop {unit}")
    assert not machine.answers()
    machine.host.out(f"systemctl start {unit}")
    machine.comes_back()


def test_it_comes_back_however_often_it_dies(machine: Machine) -> None:
    for _ in range(6):
        machine.host.out("systemctl kill --signal=KILL atticd")
        time.sleep(0.2)
        machine.comes_back()


def test_a_restart_waits_for_the_upload(machine: Machine) -> None:
    upload = Upload(machine)
    threading.Timer(2, upload.rest.set).start()
    machine.host.out("systemctl restart atticd")
    assert upload.finish() == 200
    machine.comes_back()
    assert machine.held() == {"chunks": 0, "nars": 0}
    assert machine.ask("GET", f"/ci/{upload.path.hash}.narinfo").status_code == 200


def test_what_a_killed_server_held_is_released(machine: Machine) -> None:
    upload = Upload(machine)
    machine.host.out("systemctl kill --signal=KILL atticd")
    upload.finish()
    machine.comes_back()
    assert machine.held() == {"chunks": 0, "nars": 0}
    assert "Interrupted uploads: released" in machine.journal("atticd")


def test_a_collection_without_its_bucket_fails_and_the_next_one_makes_up_for_it(machine: Machine) -> None:
    machine.host.out("systemctl start atticd-gc")
    machine.push()
    time.sleep(0.5)
    machine.host.out("runuser -u postgres -- psql -d atticd -c 'DELETE FROM object'")
    objects = {
        entry["Key"]: machine.s3.get_object(Bucket="nars", Key=entry["Key"])["Body"].read()
        for entry in machine.s3.list_objects_v2(Bucket="nars")["Contents"]
    }
    machine.s3.delete_objects(Bucket="nars", Delete={"Objects": [{"Key": key} for key in objects]})
    machine.s3.delete_bucket(Bucket="nars")
    code, said = machine.operate("gc")
    assert code == 2, said
    assert "Deletion failed" in machine.journal("atticd-gc")
    assert "The garbage collection on" in said and "the next collection tries them again" in said
    machine.s3.create_bucket(Bucket="nars")
    machine.host.out("systemctl start atticd-gc")
    assert machine.host.out("runuser -u postgres -- psql -d atticd -Atc 'SELECT count(*) FROM chunk'") == "0"


def test_retention_removes_a_path_and_gc_yml_shows_what_that_frees(machine: Machine) -> None:
    machine.host.out("systemctl start atticd-gc")
    kept, expired = machine.push(), machine.push(1_000_000)
    retention = {"retention_period": {"Period": 3600}}
    assert machine.ask("PATCH", "/_api/v1/cache-config/ci", json=retention).status_code == 200
    sql = f"UPDATE object SET created_at = created_at - interval '2 hours' WHERE store_path_hash = '{expired.hash}'"  # noqa: S608
    machine.host.out(f'runuser -u postgres -- psql -d atticd -c "{sql}"')
    objects = len(machine.s3.list_objects_v2(Bucket="nars")["Contents"])

    code, said = machine.operate("gc", "--check")
    assert code == 0, said
    would = re.search(r"1 paths, 1 NARs and (\d+) chunks would go", said)
    assert would and "ci: 1 of 2 paths, unused for 0.04 days" in said, said
    assert machine.narinfo(expired) == 200

    code, said = machine.operate("gc")
    assert code == 0 and "changed=1 " in said, said
    assert "paths: 2 before, 1 now, 1 freed" in said, said
    chunks = int(would[1])
    assert re.search(rf"chunks: \d+ before, \d+ now, {chunks} freed", said), said
    assert re.search(r"bytes: \d+ before, \d+ now, [1-9]\d+ \(.*?\) freed", said), said
    # Seen from outside.
    assert (machine.narinfo(expired), machine.narinfo(kept)) == (404, 200)
    assert len(machine.s3.list_objects_v2(Bucket="nars")["Contents"]) == objects - chunks
    assert machine.ask("PATCH", "/_api/v1/cache-config/ci", json={"retention_period": "Global"}).status_code == 200


def test_the_kernel_bounds_the_memory(machine: Machine) -> None:
    shown = machine.host.out("systemctl show atticd atticd-gc --property=MemoryHigh,MemoryMax")
    total = int(machine.host.out("grep MemTotal /proc/meminfo").split()[1]) * 1024
    values = [int(value) for value in re.findall(r"Memory(?:High|Max)=(\d+)", shown)]
    assert len(values) == 4 and all(value <= total * 0.76 for value in values), shown


def test_no_statements_are_logged(machine: Machine) -> None:
    machine.host.out("systemctl start atticd-gc")
    for unit in ("atticd", "atticd-gc"):
        said = machine.journal(unit)
        assert "SELECT" not in said and "sqlx" not in said
    assert "orphan NARs" in machine.journal("atticd-gc")
