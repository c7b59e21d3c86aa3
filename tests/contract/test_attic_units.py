# SPDX-License-Identifier: GPL-3.0-or-later
"""atticd under systemd as nix/modules/attic.nix runs it: it comes back, it loses nothing, its collector says what it left.

With the Attic double always, with the real atticd where LAB_ATTICD names it.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
import pathlib
import threading
import time
import typing as t
from collections.abc import Iterator

import boto3
import pytest
import requests
from moto.server import ThreadedMotoServer

from lab.shell import run
from tests.contract.atticd import NEW_CACHE, ROOT_TOKEN, SECRET, Path, command_of
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

    def ask(self, method: str, path: str, **more: t.Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {ROOT_TOKEN}", "Host": "cache.test", **more.pop("headers", {})}
        return requests.request(method, self.url + path, headers=headers, timeout=60, **more)

    def answers(self) -> bool:
        with contextlib.suppress(requests.ConnectionError):
            return self.ask("GET", "/").status_code == 200
        return False

    def comes_back(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self.answers():
            assert time.monotonic() < end, self.host.sh("systemctl status atticd; journalctl -u atticd -n 30").stdout
            time.sleep(0.1)

    def held(self) -> dict[str, int]:
        """Rows that only an upload may have."""
        sql = """SELECT json_build_object('chunks', (SELECT count(*) FROM chunk WHERE holders_count > 0 OR state = 'P'),
                                          'nars', (SELECT count(*) FROM nar WHERE holders_count > 0 OR state = 'P'))"""
        return json.loads(self.host.out(f'runuser -u postgres -- psql -d atticd -Atc "{sql}"'))

    def journal(self, unit: str) -> str:
        self.host.out("journalctl --sync")
        return self.host.out(f"journalctl --unit={unit} --output=cat --no-pager")


@pytest.fixture(scope="module", params=["double", "real"])
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    command = command_of(request.param)
    host = Host(lab_image())
    network = json.loads(run("docker", "inspect", "--format={{json .NetworkSettings.Networks.bridge}}", host.id))
    s3 = ThreadedMotoServer(network["Gateway"], 0)
    try:
        host.wait()
        s3.start()
        endpoint = f"http://{network['Gateway']}:{s3.get_host_and_port()[1]}"
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
        }
        for role, values in settings.items():
            host.put(f"/etc/nixos/nixci/settings/{role}.json", json.dumps({role: values}))
        host.put("/etc/atticd.env", ENVIRONMENT)
        host.switch(CONFIGURATION)
        machine = Machine(host, f"http://{network['IPAddress']}:8080", client)
        machine.comes_back(30)
        assert machine.ask("POST", "/_api/v1/cache-config/ci", json=NEW_CACHE).status_code == 200
        yield machine
    finally:
        host.remove()
        s3.stop()


class Upload:
    """A push whose second half is sent when it is told to."""

    def __init__(self, machine: Machine) -> None:
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
    machine.comes_back(10)


def test_it_comes_back_however_often_it_dies(machine: Machine) -> None:
    for _ in range(6):
        machine.host.out("systemctl kill --signal=KILL atticd")
        time.sleep(0.2)
        machine.comes_back(10)


def test_a_restart_waits_for_the_upload(machine: Machine) -> None:
    upload = Upload(machine)
    threading.Timer(2, upload.rest.set).start()
    machine.host.out("systemctl restart atticd")
    assert upload.finish() == 200
    machine.comes_back(10)
    assert machine.held() == {"chunks": 0, "nars": 0}
    assert machine.ask("GET", f"/ci/{upload.path.hash}.narinfo").status_code == 200


def test_what_a_killed_server_held_is_released(machine: Machine) -> None:
    upload = Upload(machine)
    machine.host.out("systemctl kill --signal=KILL atticd")
    upload.finish()
    machine.comes_back(15)
    assert machine.held() == {"chunks": 0, "nars": 0}
    assert "Interrupted uploads: released" in machine.journal("atticd")


def test_a_collection_without_its_bucket_fails_and_the_next_one_makes_up_for_it(machine: Machine) -> None:
    machine.host.out("systemctl start atticd-gc")
    path = Path()
    headers = {"X-Attic-Nar-Info": json.dumps(path.info("ci"))}
    assert machine.ask("PUT", "/_api/v1/upload-path", headers=headers, data=path.nar).status_code == 200
    time.sleep(0.5)
    machine.host.out("runuser -u postgres -- psql -d atticd -c 'DELETE FROM object'")
    objects = {
        entry["Key"]: machine.s3.get_object(Bucket="nars", Key=entry["Key"])["Body"].read()
        for entry in machine.s3.list_objects_v2(Bucket="nars")["Contents"]
    }
    machine.s3.delete_objects(Bucket="nars", Delete={"Objects": [{"Key": key} for key in objects]})
    machine.s3.delete_bucket(Bucket="nars")
    assert machine.host.sh("systemctl start atticd-gc").returncode != 0
    said = machine.journal("atticd-gc")
    assert "Deletion failed" in said and "the next collection tries them again" in said
    machine.s3.create_bucket(Bucket="nars")
    machine.host.out("systemctl start atticd-gc")
    assert machine.host.out("runuser -u postgres -- psql -d atticd -Atc 'SELECT count(*) FROM chunk'") == "0"


def test_no_statements_are_logged(machine: Machine) -> None:
    machine.host.out("systemctl start atticd-gc")
    for unit in ("atticd", "atticd-gc"):
        said = machine.journal(unit)
        assert "SELECT" not in said and "sqlx" not in said
    assert "orphan NARs" in machine.journal("atticd-gc")
