# SPDX-License-Identifier: GPL-3.0-or-later
"""A cache survives the loss of its database, and of its host: dumps, restic off the host, and nix/modules/restore.sh.

The B2 double admits the host's key and hides what it deletes. With the Attic double always, with the real atticd where
LAB_ATTICD names it.
"""

from __future__ import annotations

import base64
import concurrent.futures
import contextlib
import hashlib
import json
import os
import pathlib
import re
import ssl
import subprocess
import sys
import time
import typing as t
from collections.abc import Iterator

import pytest
import requests
import trustme
import yaml
import zstandard

from lab.clouds.b2 import B2Double
from lab.clouds.s3 import S3Double
from tests.contract.atticd import NEW_CACHE, ROOT_TOKEN, SECRET, Path, command_of
from tests.support.containers import gateway
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
        app = S3Double(self.b2).app
        self.endpoint = self.b2.s3_url = stack.enter_context(serving(app, address=address))
        # restic sends other headers without TLS, which B2 refuses.
        self.authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert(address).configure_cert(context)
        self.backup_endpoint = stack.enter_context(serving(app, context, address))
        self.url = stack.enter_context(serving(self.b2.app, address=address))
        self.cache = self._bucket("cache-nars", ["listBuckets", "listFiles", "readFiles", "writeFiles", "deleteFiles"])
        self.backup = self._bucket("cache-backup", CAPABILITIES)

    def _bucket(self, name: str, capabilities: list[str]) -> t.Any:
        auth = (self.b2.account_id, self.b2.keys[self.b2.account_id].secret)
        token = requests.get(f"{self.url}/b2api/v4/b2_authorize_account", auth=auth, timeout=30).json()
        made = requests.post(
            f"{self.url}/b2api/v4/b2_create_bucket",
            json={"accountId": self.b2.account_id, "bucketName": name, "bucketType": "allPrivate"},
            headers={"Authorization": token["authorizationToken"]},
            timeout=30,
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
            "backup": {
                "offsite": {
                    **storage,
                    "endpoint": self.cloud.backup_endpoint,
                    "bucket": "cache-backup",
                    "environmentFile": "/etc/backup.env",
                }
            },
        }
        for role, values in settings.items():
            host.put(f"/etc/nixos/nixci/settings/{role}.json", json.dumps({role: values}))
        secret = base64.b64encode(SECRET).decode()
        keys = "AWS_ACCESS_KEY_ID={}\nAWS_SECRET_ACCESS_KEY={}\n"
        token = f"ATTIC_SERVER_TOKEN_HS256_SECRET_BASE64={secret}\n"
        host.put("/etc/atticd.env", token + keys.format(cache.id, cache.secret))
        host.put("/etc/backup.env", f"RESTIC_PASSWORD={PASSWORD}\n" + keys.format(backup.id, backup.secret))
        host.out("chmod 400 /etc/*.env")
        host.put("/etc/authority.pem", self.cloud.authority.cert_pem.bytes().decode())
        host.out("cat /etc/authority.pem >>/etc/ssl/certs/ca-certificates.crt")
        host.switch(CONFIGURATION.format(name=self.name))
        self.url = f"http://{host.address}:8080"
        self.comes_back()

    def ask(self, method: str, path: str, **more: t.Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {ROOT_TOKEN}", "Host": "cache.test", **more.pop("headers", {})}
        return requests.request(method, self.url + path, headers=headers, timeout=60, **more)

    def comes_back(self) -> None:
        end = time.monotonic() + 180
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
        answer = self.ask("GET", f"/{path.split('/')[1]}/{url}", allow_redirects=False)
        if answer.is_redirect:  # without our headers
            answer = requests.get(answer.headers["Location"], timeout=60)
        assert answer.status_code == 200, answer.text
        return zstandard.ZstdDecompressor().stream_reader(answer.content, read_across_frames=True).read()

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

    def play(self, name: str, folder: pathlib.Path, *flags: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """A playbook of the operator's, through docker instead of SSH."""
        inventory = folder / "inventory.yml"
        connection = {"ansible_connection": "community.docker.docker", "ansible_host": self.host.id}
        python = {"ansible_python_interpreter": "/usr/bin/python3"}
        groups = {"cache_servers": {"hosts": {self.name: {**connection, **python}}}}
        inventory.write_text(yaml.safe_dump(groups))
        extra = [f"--extra-vars={key}={value}" for key, value in variables.items()]
        return subprocess.run(
            [str(PLAYBOOK), "-vvv", "--diff", "-i", str(inventory), f"playbooks/operate/{name}.yml", *flags, *extra],
            cwd=ROOT, env={**os.environ, "ANSIBLE_LOCALHOST_WARNING": "false"},
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip


@pytest.fixture(scope="module", params=["double", "real"])
def machines(request: pytest.FixtureRequest) -> Iterator[tuple[Machine, Machine]]:
    """A server, and a new one that has never seen it; they share the buckets only."""
    [atticd] = command_of(request.param)[-1:]
    with contextlib.ExitStack() as stack:
        cloud = Cloud(stack, gateway())
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
    sampled = "while :; do cat /proc/[0-9]*/cmdline 2>/dev/null; sleep 0.05; done >/root/arguments & sampler=$!"
    old.host.out(f"{sampled}; {SW} nixci-backup now; kill $sampler")
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


def test_the_password_and_the_key_are_nowhere_but_in_their_file(old: Machine, known: dict[str, str]) -> None:
    assert known and "restic" in old.host.out("tr '\\0' ' ' </root/arguments")
    places = "/root/arguments /etc/nixos /nix/store/*nixci* /nix/store/*unit* /run/systemd /var/cache/nixci-backup /var/lib/nixci*"
    for secret in (PASSWORD, old.cloud.backup[0].secret):
        assert old.host.sh(f"journalctl --no-pager | grep -F {secret}; grep -rlsF {secret} {places}").stdout == ""


def test_the_lost_database_comes_back_from_a_dump(old: Machine, known: dict[str, str]) -> None:
    old.lose_database()
    assert set(old.answers(*known).values()) == {"404"}
    assert "atticd is what it was in the dump." in old.restores()
    assert old.answers(*known) == known
    assert old.databases() & {"atticd_restore"} == set() and len(old.databases()) == 4


def test_a_database_that_is_not_empty_needs_its_name_and_is_kept(old: Machine, known: dict[str, str]) -> None:
    extra = {"X-Attic-Nar-Info": json.dumps((path := Path()).info("ci"))}
    assert old.ask("PUT", "/_api/v1/upload-path", headers=extra, data=path.nar).status_code == 200
    for word in ("", "--replace other"):
        assert "The database atticd is not empty, so nothing was changed." in old.refuses(word)
    assert old.ask("GET", f"/ci/{path.hash}.narinfo").status_code == 200

    before = old.databases()
    said = old.restores("--replace atticd")
    [kept] = old.databases() - before
    assert kept.startswith("atticd_before_") and f"is kept as {kept}" in said
    assert old.answers(*known) == known and old.ask("GET", f"/ci/{path.hash}.narinfo").status_code == 404
    paths = old.host.out(f"runuser -u postgres -- pg_dump --data-only --table=object {kept}")
    assert path.hash in paths
    old.host.out(f"runuser -u postgres -- dropdb {kept}")


def test_a_dump_that_cannot_be_restored_changes_nothing(old: Machine, known: dict[str, str]) -> None:
    old.host.out("cd /var/backup/nixci; head -c 3000 atticd-*.dump >/root/short.dump")
    assert "The dump could not be restored; atticd is as it was." in old.refuses(
        "--from /root/short.dump --replace atticd"
    )
    for source, said in {
        "offsite:0123abcd": "has no snapshot 0123abcd of atticd made by old",
        "offsite --host elsewhere": "has no snapshot latest of atticd made by elsewhere",
        "atticd-20200101T000000Z.dump": "There is no file /var/backup/nixci/atticd-20200101T000000Z.dump",
    }.items():
        assert said in old.refuses(f"--from {source} --replace atticd")
    assert old.answers(*known) == known


def test_a_restore_that_is_killed_leaves_a_server_that_runs(old: Machine, known: dict[str, str]) -> None:
    """While atticd stops, which takes its time here."""
    slow = "/run/systemd/system/atticd.service.d/slow.conf"
    old.host.put(slow, "[Service]\nExecStop=/bin/sleep 3\n")
    old.host.out("systemctl daemon-reload")
    restore = subprocess.Popen(
        ["docker", "exec", old.host.id, "bash", "-c", f"{SW} nixci-restore atticd --replace atticd"]
    )
    end = time.monotonic() + 180
    while old.host.sh("test -e /run/nixci-restore.stopped").returncode != 0:
        assert time.monotonic() < end and restore.poll() is None
        time.sleep(0.1)
    old.host.out("systemctl kill --signal=KILL nixci-restore")
    assert restore.wait(30) != 0
    old.host.out(f"until systemctl is-active --quiet atticd; do sleep 0.1; done; rm {slow}; systemctl daemon-reload")
    assert old.host.sh("test -e /run/nixci-restore.stopped").returncode != 0
    old.comes_back()
    assert old.answers(*known) == known
    assert "atticd is what it was in the dump." in old.restores("--replace atticd")
    assert old.answers(*known) == known and "atticd_restore" not in old.databases()


def test_a_new_host_gets_everything_by_the_playbook(
    machines: tuple[Machine, Machine], known: dict[str, str], tmp_path: pathlib.Path
) -> None:
    """It has the settings and secrets of the old one, and nothing else."""
    old, new = machines
    assert set(new.answers(*known).values()) == {"404"}
    played = new.play("restore", tmp_path, restore_from="offsite", restore_host="old")
    assert played.returncode == 0, played.stdout[-3000:]
    new.comes_back()
    assert new.answers(*known) == known
    for question, narinfo in known.items():
        if question.endswith(".narinfo"):
            assert f"NarHash: sha256:{hashlib.sha256(new.nar(narinfo, question)).hexdigest()}\n" in narinfo
    shown = new.play("backup", tmp_path, "--check").stdout
    assert re.search(" old +atticd ", shown) and not re.search(" new +atticd ", shown)
    backed_up = new.play("backup", tmp_path)
    assert backed_up.returncode == 0, backed_up.stdout[-3000:]
    shown = backed_up.stdout
    assert new.host.out("cat /var/lib/nixci-backup/atticd.offsite") in shown and re.search(" new +atticd ", shown)

    again = new.play("restore", tmp_path, restore_from="offsite", restore_host="old")
    assert again.returncode != 0 and "restore_replace=atticd" in again.stdout
    secrets = (PASSWORD, new.cloud.backup[0].secret)
    journal = new.host.out("journalctl --no-pager")
    assert not any(secret in text for secret in secrets for text in (played.stdout, again.stdout, journal))


def test_what_an_intruder_hides_can_be_read_as_of_before(old: Machine, known: dict[str, str]) -> None:
    """docs/backup.md. The key of the host cannot delete; the administrator's key reads an earlier state."""
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 1))
    time.sleep(2)
    uploads = {each.id for each in old.cloud.versions() if each.action == "upload"}
    everything = old.host.sh(
        f"{SW} nixci-backup restic forget --unsafe-allow-remove-all --tag atticd --host old --host new --prune"
    )
    assert everything.returncode == 0, everything.stderr
    assert "no snapshot" in old.refuses("--from offsite --replace atticd")
    assert uploads <= {each.id for each in old.cloud.versions() if each.action == "upload"}

    admin = old.cloud.b2.add_key("admin", ["listBuckets", "listFiles", "readFiles"])
    access = {"TYPE": "b2", "ACCOUNT": admin.id, "KEY": admin.secret, "ENDPOINT": old.cloud.url}
    variables = " ".join(f"RCLONE_CONFIG_B2_{name}={value}" for name, value in access.items())
    old.host.out(f"{variables} rclone copy --b2-version-at {moment} B2:cache-backup /srv/restored")
    restic = f"RESTIC_PASSWORD={PASSWORD} restic --no-cache --no-lock --repo /srv/restored"
    old.host.out(f"{restic} restore latest --host old --target /srv/dumps")
    dump = old.host.out("find /srv/dumps -name 'atticd-*.dump'")
    old.lose_database()
    old.restores(f"--from {dump}")
    assert old.answers(*known) == known
