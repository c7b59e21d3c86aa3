# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs that people use with B2 work with the doubles, with keys that our module made.

They come from Debian, in the lab's image, and reach the doubles on this machine through the container's host network.
"""

from __future__ import annotations

import pathlib
import ssl
import subprocess
import typing as t
from collections.abc import Callable, Iterator

import pytest
import trustme

from lab.shell import attempt, run
from tests.support.b2 import REGION, KeyEnvironment
from tests.support.containers import mark
from tests.support.lab_image import lab_image
from tests.support.serving import serving


class Program:
    """A container in which a command is run."""

    def __init__(self, folder: pathlib.Path) -> None:
        mount = f"--volume={folder}:/work"
        self.id = run(
            "docker", "run", "--detach", mark(), "--rm", "--network=host", mount, lab_image(), "sleep", "600"
        ).strip()

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        given = [f"--env={name}={value}" for name, value in environment.items()]
        return attempt("docker", "exec", *given, self.id, "timeout", "120", *command)


@pytest.fixture
def program(tmp_path: pathlib.Path) -> Iterator[Program]:
    made = Program(tmp_path)
    yield made
    attempt("docker", "rm", "--force", made.id)


@pytest.fixture
def key(serve: Callable[[t.Any], str], module: t.Any) -> Iterator[KeyEnvironment]:
    yield KeyEnvironment(serve, module)


@pytest.fixture
def s3_url(key: KeyEnvironment, tmp_path: pathlib.Path) -> Iterator[str]:
    """The S3 double with TLS, as B2 has it: clients send other headers without."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with serving(key.s3.app, context) as url:
        yield url


def test_restic_backs_up_prunes_checks_and_restores(
    key: KeyEnvironment, s3_url: str, program: Program, tmp_path: pathlib.Path
) -> None:
    made = key.run(name_prefix="restic/")
    credentials = {
        "AWS_ACCESS_KEY_ID": made["application_key"]["id"],
        "AWS_SECRET_ACCESS_KEY": made["secret"],
        "AWS_DEFAULT_REGION": REGION,
        "RESTIC_REPOSITORY": f"s3:{s3_url}/nix-cache/restic",
        "RESTIC_PASSWORD": "a password",
    }
    common = ("restic", "--cacert=/work/ca.pem", "--no-cache", "-o", "s3.bucket-lookup=path")

    def restic(*command: str, **changed: str) -> subprocess.CompletedProcess[str]:
        return program.run(*common, *command, **{**credentials, **changed})

    def works(*command: str) -> str:
        done = restic(*command)
        assert done.returncode == 0, done.stderr
        return done.stdout

    data = tmp_path / "data"
    data.mkdir()
    (data / "dump.sql").write_bytes(b"first" * 100_000)
    (data / "old").write_text("of the first backup alone " * 10_000)
    works("init")
    works("backup", "/work/data")
    (data / "old").unlink()
    (data / "dump.sql").write_bytes(bytes(range(256)) * 30_000)
    works("backup", "/work/data")
    assert "1 snapshots" in works("forget", "--keep-last=1", "--prune")
    works("check", "--read-data")
    works("restore", "latest", "--target=/work/restored")
    restored = tmp_path / "restored/work/data"
    assert [each.name for each in restored.iterdir()] == ["dump.sql"]
    assert (restored / "dump.sql").read_bytes() == (data / "dump.sql").read_bytes()
    # What restic deletes is only hidden, as on B2, and the key may not leave its prefix.
    listed = key.b2.files.versions(key.bucket_id, "", "", (b"", 0), 1000).items
    assert {each.action for each in listed} == {"upload", "hide"}
    assert all(each.name.startswith("restic/") for each in listed)
    assert restic("cat", "config", AWS_SECRET_ACCESS_KEY="K003wrong").returncode != 0
    assert restic("init", RESTIC_REPOSITORY=f"s3:{s3_url}/nix-cache/elsewhere").returncode != 0


def test_rclone_copies_checks_and_deletes_through_the_native_api(
    key: KeyEnvironment, program: Program, tmp_path: pathlib.Path
) -> None:
    """It logs in through version 1 of the API, which refuses keys that version 4 made for a bucket."""
    made = key.run()

    def rclone(*command: str, account: str, secret: str) -> subprocess.CompletedProcess[str]:
        access = {"TYPE": "b2", "ACCOUNT": account, "KEY": secret, "ENDPOINT": key.url}
        variables = {f"RCLONE_CONFIG_B2_{name}": value for name, value in access.items()}
        return program.run("rclone", "--config=", "--retries=1", *command, **variables)

    def works(*command: str) -> str:
        done = rclone(*command, account=made["application_key"]["id"], secret=made["secret"])
        assert done.returncode == 0, done.stderr
        return done.stdout

    data = tmp_path / "data"
    (data / "folder").mkdir(parents=True)
    (data / "folder/ümlaut+1").write_bytes(bytes(range(256)) * 1000)
    (data / "b").write_text("b")
    works("copy", "/work/data", "B2:nix-cache/backup")
    works("check", "--download", "/work/data", "B2:nix-cache/backup")
    assert sorted(works("lsf", "--recursive", "B2:nix-cache/backup").split()) == ["b", "folder/", "folder/ümlaut+1"]
    works("deletefile", "B2:nix-cache/backup/b")
    assert works("lsf", "B2:nix-cache/backup").split() == ["folder/"]
    works("purge", "B2:nix-cache/backup")
    works("cleanup", "B2:nix-cache")
    assert key.b2.is_empty("nix-cache")

    newer = key.seed("newer", multi_bucket=True)
    refused = rclone("lsf", "B2:nix-cache", account=newer.id, secret=newer.secret)
    assert "This request is not currently supported on API version number 1" in refused.stderr
