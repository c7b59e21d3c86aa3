# SPDX-License-Identifier: GPL-3.0-or-later
"""A cache survives the loss of its database, and of its host: dumps, restic off the host, and nix/modules/restore.sh.

The B2 double admits the host's key and hides what it deletes. With the Attic double always, with the real atticd where
LAB_ATTICD names it.
"""

from __future__ import annotations

import base64
import concurrent.futures
import contextlib
import json
import os
import pathlib
import re
import subprocess
import sys
import time
import typing as t
from collections.abc import Iterator

import pytest
import requests
import yaml

from lab.clouds.b2 import B2Double
from lab.clouds.s3 import S3Double
from lab.shell import run
from tests.contract.atticd import NEW_CACHE, ROOT_TOKEN, SECRET, Path, command_of
from tests.support.lab_image import lab_image
from tests.support.nixos_host import Host
from tests.support.paths import ROOT
from tests.support.serving import serving

CONFIGURATION = 'imports = [ ./nixci/modules ]; networking.hostName = "{name}"; networking.firewall.enable = false;'
CAPABILITIES = yaml.safe_load((ROOT / "roles/backup/vars/main.yml").read_text())["_backup_offsite_capabilities"]
PASSWORD = "restic-canary-password"
SW = "PATH=/run/current-system/sw/bin:$PATH"
PLAYBOOK = pathlib.Path(sys.executable).with_name("ansible-playbook")


class Cloud:
    """Two buckets, each with a key of its own: that of the cache may delete, that of the backups may not."""

    def __init__(self, stack: contextlib.ExitStack, address: str) -> None:
        self.b2 = B2Double()
        self.endpoint = self.b2.s3_url = stack.enter_context(serving(S3Double(self.b2).app, address=address))
        self.url = stack.enter_context(serving(self.b2.app, address=address))
        self.cache = self._bucket("cache-nars", ["listBuckets", "listFiles", "readFiles", "writeFiles", "deleteFiles"])
        self.backup = self._bucket("cache-backup", CAPABILITIES)

    def _bucket(self, name: str, capabilities: list[str]) -> t.Any:
        auth = (self.b2.account_id, self.b2.keys[self.b2.account_id].secret)
        token = requests.get(f"{self.url}/b2api/v4/b2_authorize_account", auth=auth, timeout=5).json()
        made = requests.post(
            f"{self.url}/b2api/v4/b2_create_bucket",
            json={"accountId": self.b2.account_id, "bucketName": name, "bucketType": "allPrivate"},
            headers={"Authorization": token["authorizationToken"]},
            timeout=5,
        )
        bucket = made.json()["bucketId"]
        return self.b2.add_key(name, capabilities, bucket_ids=[bucket]), bucket

    def versions(self) -> list[t.Any]:
        return self.b2.files.versions(self.backup[1], "", "", (b"", 0), 10000).items


class Machine:
    """A cache server with backups."""

    def __init__(self, cloud: Cloud, name: str, atticd: str, kind: str) -> None:
        self.cloud, self.name = cloud, name
        self.host = Host(lab_image())
        try:
            self.host.wait()
            if kind == "real":
                self.host.out("rm /usr/local/bin/atticd")
                self.host.copy(pathlib.Path(atticd), "/usr/local/bin/atticd")
            self._configure()
        except BaseException:
            self.host.remove()
            raise

    def _configure(self) -> None:
        host, storage = self.host, {"endpoint": self.cloud.endpoint, "region": self.cloud.b2.region}
        (cache, _), (backup, _) = self.cloud.cache, self.cloud.backup
        host.out("mkdir -p /etc/nixos/nixci")
        host.copy(ROOT / "nix/modules", "/etc/nixos/nixci/modules")
        settings: dict[str, dict[str, t.Any]] = {
            "nixos": {"collectionVersion": "1.2.3"},
            "attic": {
                "domain": "cache.test",
                "listen": "0.0.0.0:8080",
                "environmentFile": "/etc/atticd.env",
                "storage": {**storage, "bucket": "cache-nars"},
            },
            "postgresql": {"databases": ["atticd"]},
            "backup": {"offsite": {**storage, "bucket": "cache-backup", "environmentFile": "/etc/backup.env"}},
        }
        for role, values in settings.items():
            host.put(f"/etc/nixos/nixci/settings/{role}.json", json.dumps({role: values}))
        secret = base64.b64encode(SECRET).decode()
        keys = "AWS_ACCESS_KEY_ID={}\nAWS_SECRET_ACCESS_KEY={}\n"
        token = f"ATTIC_SERVER_TOKEN_HS256_SECRET_BASE64={secret}\n"
        host.put("/etc/atticd.env", token + keys.format(cache.id, cache.secret))
        host.put("/etc/backup.env", f"RESTIC_PASSWORD={PASSWORD}\n" + keys.format(backup.id, backup.secret))
        host.out("chmod 400 /etc/*.env")
        host.switch(CONFIGURATION.format(name=self.name))
        self.url = f"http://{host.address}:8080"
        self.comes_back()

    def ask(self, method: str, path: str, **more: t.Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {ROOT_TOKEN}", "Host": "cache.test", **more.pop("headers", {})}
        return requests.request(method, self.url + path, headers=headers, timeout=60, **more)

    def comes_back(self) -> None:
        end = time.monotonic() + 60
        while True:
            with contextlib.suppress(requests.ConnectionError):
                if self.ask("GET", "/").status_code == 200:
                    return
            assert time.monotonic() < end, self.host.sh("systemctl status atticd; journalctl -u atticd -n 30").stdout
            time.sleep(0.1)

    def fill(self) -> dict[str, str]:
        """What the caches answer to every question that a client of theirs may ask."""
        paths = [Path(90_000), Path(5_000), Path(200_000)]
        for cache in ("ci", "public"):
            assert self.ask("POST", f"/_api/v1/cache-config/{cache}", json=NEW_CACHE).status_code == 200
            for path in paths:
                info = {"X-Attic-Nar-Info": json.dumps(path.info(cache))}
                assert self.ask("PUT", "/_api/v1/upload-path", headers=info, data=path.nar).status_code == 200
        questions = [f"/{cache}/{path.hash}.narinfo" for cache in ("ci", "public") for path in paths]
        return self.answers(*questions, "/_api/v1/cache-config/ci", "/_api/v1/cache-config/public")

    def answers(self, *questions: str) -> dict[str, str]:
        got = {}
        for question in questions:
            answer = self.ask("GET", question)
            got[question] = answer.text if answer.status_code == 200 else str(answer.status_code)
        return got

    def nar(self, narinfo: str, path: str) -> bytes:
        """Through the redirect to the bucket, as Nix reads it."""
        url = re.findall("^URL: (.*)", narinfo, re.MULTILINE)[0]
        return self.ask("GET", f"/{path.split('/')[1]}/{url}").content

    def lose_database(self) -> None:
        self.host.out("systemctl stop atticd; runuser -u postgres -- dropdb --force atticd")
        self.host.out("systemctl restart nixci-postgresql; systemctl start atticd")
        self.comes_back()

    def databases(self) -> set[str]:
        return set(self.host.out("runuser -u postgres -- psql -Atc 'SELECT datname FROM pg_database'").split())

    def restores(self, *arguments: str) -> str:
        done = self.host.sh(f"{SW} nixci-restore atticd {' '.join(arguments)} 2>&1")
        assert done.returncode == 0, done.stdout
        self.comes_back()
        return done.stdout

    def refuses(self, *arguments: str) -> str:
        done = self.host.sh(f"{SW} nixci-restore atticd {' '.join(arguments)} 2>&1")
        assert done.returncode != 0, done.stdout
        self.comes_back()
        return done.stdout

    def play(self, name: str, folder: pathlib.Path, **variables: str) -> subprocess.CompletedProcess[str]:
        """A playbook of the operator's, through docker instead of SSH."""
        inventory = folder / "inventory.yml"
        connection = {"ansible_connection": "community.docker.docker", "ansible_host": self.host.id}
        python = {"ansible_python_interpreter": "/usr/bin/python3"}
        groups = {"cache_servers": {"hosts": {self.name: {**connection, **python}}}}
        inventory.write_text(yaml.safe_dump(groups))
        extra = [f"--extra-vars={key}={value}" for key, value in variables.items()]
        return subprocess.run(
            [str(PLAYBOOK), "-vvv", "--diff", "-i", str(inventory), f"playbooks/operate/{name}.yml", *extra],
            cwd=ROOT, env={**os.environ, "ANSIBLE_LOCALHOST_WARNING": "false"},
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip


@pytest.fixture(scope="module", params=["double", "real"])
def machines(request: pytest.FixtureRequest) -> Iterator[tuple[Machine, Machine]]:
    """A server, and a new one that has never seen it; they share the buckets only."""
    [atticd] = command_of(request.param)[-1:]
    network = json.loads(run("docker", "network", "inspect", "--format={{json .IPAM.Config}}", "bridge"))[0]
    with contextlib.ExitStack() as stack:
        cloud = Cloud(stack, network["Gateway"])
        with concurrent.futures.ThreadPoolExecutor() as threads:
            started = [threads.submit(Machine, cloud, name, atticd, request.param) for name in ("old", "new")]
        made = []
        for each in started:
            with contextlib.suppress(Exception):
                machine = each.result()
                stack.callback(machine.host.remove)
                made.append(machine)
        old, new = [each.result() for each in started]
        yield old, new


@pytest.fixture(scope="module")
def old(machines: tuple[Machine, Machine]) -> Machine:
    return machines[0]


@pytest.fixture(scope="module")
def known(old: Machine) -> dict[str, str]:
    """The questions to the old server and its answers, all of which are in its dump on and off the host."""
    answers = old.fill()
    assert all(answer.count("\n") or answer.startswith("{") for answer in answers.values()), answers
    old.host.out(f"{SW} nixci-backup now")
    return answers


def test_a_copy_off_the_host_can_be_read_and_is_encrypted(old: Machine, known: dict[str, str]) -> None:
    [dump] = old.host.out("ls /var/backup/nixci").split()
    assert old.host.out("cat /var/lib/nixci-backup/atticd.offsite") == dump
    shown = old.host.out(f"{SW} nixci-backup list")
    assert f"  {dump}  " in shown and f"/var/backup/nixci/{dump}" in shown
    assert old.host.out(f"head -c 5 /var/backup/nixci/{dump}") == "PGDMP"
    files = old.cloud.b2.files
    stored = b"".join(b"".join(files.read(each)) for each in old.cloud.versions() if each.action == "upload")
    assert len(stored) > 1000 and b"PGDMP" not in stored
    assert known


def test_the_lost_database_comes_back_from_a_dump(old: Machine, known: dict[str, str]) -> None:
    old.lose_database()
    assert set(old.answers(*known).values()) == {"404"}
    assert "atticd is what it was in the dump." in old.restores()
    assert old.answers(*known) == known
    assert old.databases() & {"atticd_restore"} == set() and len(old.databases()) == 4
