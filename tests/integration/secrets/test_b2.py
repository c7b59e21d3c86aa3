# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever happens to buckets and keys, no secret of B2 shows up anywhere: not a given one, not a new one."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import re
import typing as t
from collections.abc import Callable

import pytest
import requests
from flask import Flask, request

from lab.clouds.b2 import B2Double
from lab.clouds.onepassword import OnePasswordDouble
from lab.clouds.s3 import S3Double
from tests.support.b2 import ATTIC, wrap
from tests.support.collection import run_module as module
from tests.support.playbook import find
from tests.support.secrets import Case, assert_no_secret_in_exceptions, play_cases
from tests.support.serving import serving

MASTER, WRONG, LOW, STORED = (f"K003canary{name}CANARYcanaryCANARY" for name in ("M", "W", "L", "S"))
TOKEN, READER = "connect-canary-writer", "connect-canary-reader"
# Every secret that the double makes; urlsafe base64.
MADE = re.compile(r"K003[\w-]{27}")
SECRETS = [MASTER, WRONG, LOW, STORED, TOKEN, READER, MADE]


class Environment:
    """A double that works, one that repeats what it is sent in each error, one that answers with a web page."""

    def __init__(self, serve: Callable[[t.Any], str]) -> None:
        self.b2 = B2Double(master_key=MASTER)
        self.b2.s3_url = serve(S3Double(self.b2).app)
        self.url = serve(self.b2.app)
        self.vault = OnePasswordDouble(
            vaults={"V": {}}, tokens={TOKEN: {"vaults": {"V": "write"}}, READER: {"vaults": {"V": "read"}}}
        )
        self.vault_url = serve(self.vault.app)
        self.echo, self.page = serve(self._echo()), serve(self._page())
        self.b2.add_key("low", ["listBuckets", "readFiles"], id="003low", secret=LOW)
        self.b2.add_key("stored", ATTIC, id="003stored", secret=STORED)
        self.verifier = self.b2.add_key("verifier", ATTIC, id="003verifier").secret
        self.account = {"key_id": self.b2.account_id, "key": MASTER, "realm": self.url, "retries": 0}

    def _echo(self) -> Flask:
        app = Flask("echo")

        @app.route("/<path:path>", methods=["GET", "POST", "PUT"])
        def repeat(path: str) -> t.Any:
            text = f"{request.headers.get('Authorization')} {MASTER} {request.get_data(as_text=True)}"
            return {"status": 400, "code": MASTER, "message": text}, 400

        return app

    def _page(self) -> Flask:
        app = Flask("page")

        @app.route("/<path:path>", methods=["GET", "POST", "PUT"])
        def page(path: str) -> t.Any:
            return f"<html>{request.headers.get('Authorization')} {MASTER}</html>"

        return app

    def into(self, token: str = TOKEN, **options: t.Any) -> dict[str, t.Any]:
        return {"onepassword": {"vault": "V", "title": "B2", "connect_host": self.vault_url, "connect_token": token}}

    def bucket(self, name: str, error: str | None = None, /, **options: t.Any) -> Case:
        base = {**self.account, "region": self.b2.region, "name": "works-bucket"}
        return Case(name, "b2_bucket", {**base, **options}, error)

    def key(self, name: str, error: str | None = None, /, **options: t.Any) -> Case:
        rights = {"bucket": "works-bucket", "capabilities": ATTIC}
        return Case(name, "b2_application_key", {**self.account, "name": "attic", **rights, **options}, error)

    def fails(self, folder: pathlib.Path) -> list[Case]:
        low = {"key_id": "003low", "key": LOW}
        mine = folder / "mine"
        mine.write_text("# mine\n")
        return [
            self.bucket("a wrong key", "does not know this key id", key=WRONG),
            self.key("the wrong key for keys", "does not know this key id", key=WRONG),
            self.bucket("a missing right", "lacks the capability writeBuckets", **low, name="new-bucket"),
            self.key("a missing right for keys", "lacks the capability listKeys", **low),
            self.bucket("refused input", "cannot be the name", name="short"),
            self.key("refused capabilities", "not a valid capability", capabilities=["fly"]),
            self.key("a wrong type", "valid_duration_seconds", valid_duration_seconds="soon"),
            self.bucket("an answer with the key", "cannot log in", realm=self.echo),
            self.bucket("a page", "not one of B2's native API", realm=self.page),
            self.bucket("nobody listens", "cannot be reached", realm="http://127.0.0.1:9"),
            self.bucket("a wrong key to verify", "SignatureDoesNotMatch", verify_with={**low, "key": WRONG}),
            self.bucket("a poor key to verify", "lacks the capability writeFiles", verify_with=low),
            self.key("a file of somebody else", "name another file", file=str(mine)),
            self.key("a vault that is not ours", "1Password", **self.into(token=WRONG)),
            self.key("a vault to read only", "was deleted again", **self.into(token=READER)),
        ]

    def works(self, folder: pathlib.Path) -> list[Case]:
        stored = {"file": str(folder / "b2.env")}
        vaulted = {**self.into(), "name": "vaulted"}
        expiring = {"valid_duration_seconds": 1000, "renew_before": 999, "recreate": True}
        returned = self.key("a key whose secret is returned", name="returned")
        verifier = {"key_id": "003verifier", "key": self.verifier}
        return [
            self.bucket("a bucket that works", verify_with=verifier),
            self.key("a key in a file", **stored),
            self.key("a key that stays in the file", **stored),
            self.key("a key that is rotated", **stored, rotate=True),
            self.key("a key in 1Password", **vaulted),
            self.key("a key that stays in 1Password", **vaulted),
            self.key("a key that is renewed", **vaulted, **expiring),
            dataclasses.replace(returned, no_log=True),
            Case("keys that go", "b2_application_key", {**self.account, "name": "returned", "state": "absent"}),
        ]

    def broken(self) -> list[Case]:
        needs = self.bucket("a library that fails", "needs the Python library b2sdk")
        crash = self.bucket("a library that crashes", "", verify_with={"key_id": "003low", "key": LOW})
        boto3 = "def client(*args, **kwargs):\n    kwargs['none']\n"
        return [
            dataclasses.replace(needs, broken_library=("b2sdk", "")),
            dataclasses.replace(crash, broken_library=("boto3", boto3)),
        ]


@pytest.fixture
def environment() -> t.Iterator[Environment]:
    with contextlib.ExitStack() as stack:
        made = Environment(lambda app: stack.enter_context(serving(app)))
        assert not module("b2_bucket", made.bucket("a bucket").options)["failed"]
        yield made


def test_no_secret_in_a_play(environment: Environment, tmp_path: pathlib.Path) -> None:
    cases = [
        environment.bucket("another bucket", name="new-works-bucket"),
        *environment.fails(tmp_path),
        *environment.broken(),
        *environment.works(tmp_path),
    ]
    play_cases(cases, tmp_path / "play", secrets=SECRETS)
    assert MADE.search((tmp_path / "b2.env").read_text())


def test_no_secret_in_an_exception(environment: Environment, tmp_path: pathlib.Path) -> None:
    for case in environment.fails(tmp_path):
        assert_no_secret_in_exceptions(case, SECRETS)


@pytest.mark.parametrize("kind", ["text/html", "application/xml"])
@pytest.mark.parametrize("status", [200, 400, 500])
def test_an_answer_that_is_not_s3_is_not_repeated(status: int, kind: str) -> None:
    from ansible_collections.pantheros.nixci.plugins.module_utils._b2.s3 import round_trip
    from ansible_collections.pantheros.nixci.plugins.module_utils._core.errors import NixciError

    app = Flask("strange")

    @app.route("/<path:path>", methods=["GET", "PUT", "DELETE"])
    def strange(path: str) -> t.Any:
        body = f"<Error><Code>{LOW}</Code><Message>{LOW}</Message>"
        return body, status, {"Content-Type": kind}

    with serving(app) as url, pytest.raises(NixciError) as caught:
        round_trip({"name": "b", "s3_endpoint": url, "region": "eu"}, "003low", LOW, "", timeout=5, retries=0)
    assert find(SECRETS, f"{caught.value} {caught.value.details!r}") == [], caught.value


def test_an_error_of_the_store_that_repeats_the_new_secret_is_masked(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ansible_collections.pantheros.nixci.plugins.module_utils._b2 import store
    from ansible_collections.pantheros.nixci.plugins.module_utils._core.errors import UnavailableError

    made: list[str] = []

    def repeat(_store: t.Any, pair: t.Any) -> None:
        made.append(pair.secret)
        raise UnavailableError(f"no {pair.secret}, thanks.")

    monkeypatch.setattr(store.OnePasswordStore, "write", repeat)
    params = {
        "key_id": environment.b2.account_id,
        "key": MASTER,
        "realm": environment.url,
        "name": "x",
        "capabilities": ATTIC,
    }
    failed = module("b2_application_key", {**params, **environment.into(), "recreate": True})
    assert failed["msg"].startswith("no ***, thanks. The new key (")
    assert made and made[0] not in str(failed)


def test_the_secret_in_a_lost_answer_is_not_repeated(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    """B2 made the key and something in between answers with what it said."""

    def mangle(real: t.Any, *arguments: t.Any) -> t.Any:
        return {"applicationKey": real(*arguments)["applicationKey"], "keyName": None}

    wrap(monkeypatch, "b2_create_key", mangle)
    params = {
        "key_id": environment.b2.account_id,
        "key": MASTER,
        "realm": environment.url,
        "name": "y",
        "capabilities": ATTIC,
    }
    failed = module("b2_application_key", params)
    assert "not one of B2's native API" in failed["msg"] and "whose secret nobody has" in failed["msg"]
    assert find(SECRETS, str({**failed, "invocation": None})) == []


def test_the_double_repeats_what_it_is_sent(environment: Environment) -> None:
    answer = requests.post(f"{environment.echo}/b2api/v4/x", json={"key": LOW}, timeout=5).text
    assert len(find(SECRETS, answer)) >= 2
