# SPDX-License-Identifier: GPL-3.0-or-later
"""The client double against the server double; `nix` and `nix-store` are stand-ins that know a few paths."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import pathlib
import stat
import subprocess
import sys
import time
import typing as t

import jwt
import pytest
import requests

from lab.attic.server import create_app
from lab.clouds._control import Control
from tests.support.paths import ROOT

CLIENT = ROOT / "lab" / "attic" / "bin" / "attic"
SECRET = b"a shared secret of the lab, 32 by"
NIX = f"""#!{sys.executable}
import json, os, sys
known = json.load(open(os.environ["KNOWN_PATHS"]))
if os.path.basename(sys.argv[0]) == "nix-store":
    assert sys.argv[1] == "--dump"
    sys.stdout.buffer.write(known[sys.argv[2]]["nar"].encode())
    sys.exit(known[sys.argv[2]].get("dump_exit", 0))
roots = [argument for argument in sys.argv if argument.startswith("/nix/store/")]
wanted = dict.fromkeys(roots)
if "--recursive" in sys.argv:
    wanted.update(dict.fromkeys(reference for root in roots if root in known
                                for reference in known[root]["references"]))
if not all(root in known for root in wanted):
    sys.exit("error: path is not valid")
print(json.dumps({{path: known[path] for path in wanted}}))
"""


def store_path(letter: str, size: int = 100, **more: t.Any) -> tuple[str, dict[str, t.Any]]:
    nar = letter * size
    digest = hashlib.sha256(nar.encode()).digest()
    info = {"narHash": f"sha256-{base64.b64encode(digest).decode()}", "narSize": size, "references": [],
            "signatures": [], "ca": None, "deriver": None, "nar": nar}  # fmt: skip
    return f"/nix/store/{letter * 32}-{letter}", {**info, **more}


DEP, DEP_INFO = store_path("d")
TOP, TOP_INFO = store_path("p", references=[DEP, f"/nix/store/{'p' * 32}-p"])
UPSTREAM, UPSTREAM_INFO = store_path("q", signatures=["cache.nixos.org-1:AAAA"])
BROKEN, BROKEN_INFO = store_path("b", narSize=99)
CUT, CUT_INFO = store_path("c", nar="c" * 50, dump_exit=1)
BIG, BIG_INFO = store_path("f", 300_000, ca="x" * 5000)  # an announcement too long for a header


class Lab:
    def __init__(self, url: str, folder: pathlib.Path, control: Control) -> None:
        self.url = url
        self.folder = folder
        self.control = control
        self.token = self.mint({"*": {"r": 1, "w": 1, "cc": 1, "cr": 1}})
        known = {
            DEP: DEP_INFO,
            TOP: TOP_INFO,
            UPSTREAM: UPSTREAM_INFO,
            BROKEN: BROKEN_INFO,
            CUT: CUT_INFO,
            BIG: BIG_INFO,
        }
        (folder / "known.json").write_text(json.dumps(known))
        for name in ("nix", "nix-store"):
            (folder / name).write_text(NIX)
            (folder / name).chmod(0o755)
        body = {"keypair": "Generate", "is_public": False, "store_dir": "/nix/store", "priority": 41,
                "upstream_cache_key_names": ["cache.nixos.org-1"]}  # fmt: skip
        self.ask("POST", "/_api/v1/cache-config/ci", json=body)

    def mint(self, caches: dict[str, t.Any]) -> str:
        claims = {"exp": int(time.time()) + 600, "https://jwt.attic.rs/v1": {"caches": caches}}
        return jwt.encode(claims, SECRET, algorithm="HS256")

    def ask(self, method: str, path: str, **more: t.Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.token}"}
        return requests.request(method, self.url + path, headers=headers, timeout=10, **more)

    def attic(self, *arguments: str, code: int = 0, stdin: str = "") -> str:
        """What it said on stderr; it never says anything on stdout."""
        environment = {
            "PATH": f"{self.folder}:{os.environ['PATH']}",
            "XDG_CONFIG_HOME": str(self.folder),
            "KNOWN_PATHS": str(self.folder / "known.json"),
        }
        command = [sys.executable, str(CLIENT), *arguments]
        run = subprocess.run(command, env=environment, input=stdin, capture_output=True, text=True, check=False)
        assert (run.returncode, run.stdout) == (code, ""), run.stderr
        assert "Traceback" not in run.stderr
        return run.stderr

    def login(self) -> None:
        self.attic("login", "lab", self.url + "/", self.token)

    def stored(self, path: str) -> bool:
        return self.ask("GET", f"/ci/{path[11:43]}.narinfo").status_code == 200


@pytest.fixture
def lab(serve: t.Callable[[t.Any], str], tmp_path: pathlib.Path) -> Lab:
    control = Control(create_app(data_dir=tmp_path, token_secret_hs256=SECRET))
    return Lab(serve(control), tmp_path, control)


def test_login_writes_a_private_file_and_asks_nobody(lab: Lab) -> None:
    lab.control.requests.clear()
    lab.login()
    path = lab.folder / "attic" / "config.toml"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    lab.attic("login", "other", "http://127.0.0.1:1/")
    lab.attic("login", "lab", lab.url + "/")  # a new address keeps the token
    assert path.read_text().startswith('default-server = "lab"\n')
    assert f'token = "{lab.token}"' in path.read_text()
    lab.attic("login", "other", "http://127.0.0.1:1/", "--set-default")
    assert path.read_text().startswith('default-server = "other"\n')
    assert lab.control.requests == []


def test_cache_info(lab: Lab) -> None:
    lab.login()
    said = lab.attic("cache", "info", "lab:ci")
    assert "          Public Key: ci:" in said
    assert f"Binary Cache Endpoint: {lab.url}/ci\n" in said
    assert "NoSuchCache" in lab.attic("cache", "info", "other", code=1)


def test_push_takes_the_closure_and_skips_what_is_there(lab: Lab) -> None:
    lab.login()
    said = lab.attic("push", "ci", TOP)
    assert 'Pushing 2 paths to "ci" on "lab" (0 already cached, 0 in upstream)' in said
    assert lab.stored(TOP) and lab.stored(DEP)
    assert "All done! (2 already cached, 0 in upstream)" in lab.attic("push", "ci", TOP)
    narinfo = lab.ask("GET", f"/ci/{TOP[11:43]}.narinfo").text
    assert f"References: {DEP[11:]} {TOP[11:]}\n" in narinfo


def test_push_without_closure_and_from_stdin(lab: Lab) -> None:
    lab.login()
    lab.attic("push", "lab:ci", "--stdin", "--no-closure", "-j", "1", stdin=f"{TOP}\n\n{BIG}\n")
    assert lab.stored(TOP) and lab.stored(BIG) and not lab.stored(DEP)
    assert "No paths can be specified" in lab.attic("push", "ci", TOP, "--stdin", code=1)
    assert "Nothing specified" in lab.attic("push", "ci")


def test_push_leaves_out_what_upstream_has(lab: Lab) -> None:
    lab.login()
    assert "(0 already cached, 1 in upstream)" in lab.attic("push", "ci", UPSTREAM)
    assert not lab.stored(UPSTREAM)
    lab.attic("push", "ci", UPSTREAM, "--ignore-upstream-cache-filter")
    assert lab.stored(UPSTREAM)


@pytest.mark.parametrize("bad", [BROKEN, CUT])
def test_one_bad_path_fails_the_push_after_the_rest_is_done(lab: Lab, bad: str) -> None:
    lab.login()
    said = lab.attic("push", "ci", bad, TOP, "--no-closure", code=1)
    assert f"❌ {bad[11:]}" in said
    assert lab.stored(TOP) and not lab.stored(bad)


def test_token_file_and_refusals(lab: Lab) -> None:
    config = lab.folder / "attic" / "config.toml"
    config.parent.mkdir()
    secret = lab.folder / "token"
    config.write_text(f'default-server = "x"\n[servers.x]\nendpoint = "{lab.url}/"\ntoken-file = "{secret}"\n')
    assert "No such file" in lab.attic("push", "ci", TOP, code=1)
    secret.write_text(lab.mint({"ci": {"r": 1}}) + "\n")
    assert "AccessError" in lab.attic("push", "ci", TOP, code=1)
    secret.write_text("stale")
    assert "Unauthorized" in lab.attic("push", "ci", TOP, code=1)
    secret.write_text(lab.token + "\n")
    lab.attic("push", "ci", TOP)


def test_what_cannot_be_resolved(lab: Lab) -> None:
    assert "No servers are available" in lab.attic("push", "ci", TOP, code=1)
    lab.login()
    assert 'Server "other" does not exist' in lab.attic("push", "other:ci", TOP, code=1)
    assert "not valid" in lab.attic("push", "ci", f"/nix/store/{'0' * 32}-no", code=1)
    lab.attic("login", "away", "http://127.0.0.1:1/")
    assert "error sending request" in lab.attic("push", "away:ci", TOP, code=1)
