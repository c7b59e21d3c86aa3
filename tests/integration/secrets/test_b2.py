# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever happens to buckets and keys, no secret of B2 is seen anywhere: not a given one, not a new one."""

from __future__ import annotations

import contextlib
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
from tests.support.playbook import find, play
from tests.support.serving import serving

BUCKET, KEY = "pantheros.nixci.b2_bucket", "pantheros.nixci.b2_application_key"
MASTER, WRONG, LOW, STORED = (f"K003canary{name}CANARYcanaryCANARY" for name in ("M", "W", "L", "S"))
TOKEN, READER = "connect-canary-writer", "connect-canary-reader"
# Every secret that the double makes; urlsafe base64.
MADE = re.compile(r"K003[\w-]{27}")
SECRETS = [MASTER, WRONG, LOW, STORED, TOKEN, READER, MADE]
VERIFY = {"key_id": "003low", "key": LOW}
RIGHTS = {"name": "attic", "bucket": "works", "capabilities": ATTIC}


class Worlds:
    """The double that works, one that repeats what it is sent in each error, one that answers with a web page."""

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

    def fails(self, folder: pathlib.Path) -> dict[str, tuple[str, dict[str, t.Any], str]]:
        """name → module, options, the words that must be told."""
        low = {"key_id": "003low", "key": LOW}
        mine = folder / "mine"
        mine.write_text("# mine\n")
        return {
            "a wrong key": (BUCKET, {"key": WRONG}, "does not know this key id"),
            "the wrong key for keys": (KEY, {**RIGHTS, "key": WRONG}, "does not know this key id"),
            "a missing right": (BUCKET, {**low, "name": "new-bucket"}, "lacks the capability writeBuckets"),
            "a missing right for keys": (KEY, {**RIGHTS, **low}, "lacks the capability listKeys"),
            "refused input": (BUCKET, {"name": "short"}, "cannot be the name"),
            "refused capabilities": (KEY, {**RIGHTS, "capabilities": ["fly"]}, "not a valid capability"),
            "a wrong type": (KEY, {**RIGHTS, "valid_duration_seconds": "soon"}, "valid_duration_seconds"),
            "an answer with the key": (BUCKET, {"realm": self.echo}, "cannot log in"),
            "a page": (BUCKET, {"realm": self.page}, "not one of B2's native API"),
            "nobody listens": (BUCKET, {"realm": "http://127.0.0.1:9"}, "cannot be reached"),
            "a wrong key to verify": (BUCKET, {"verify_with": {**VERIFY, "key": WRONG}}, "SignatureDoesNotMatch"),
            "a poor key to verify": (BUCKET, {"verify_with": VERIFY}, "lacks the capability writeFiles"),
            "a file of somebody else": (KEY, {**RIGHTS, "file": str(mine)}, "name another file"),
            "a vault that is not ours": (KEY, {**RIGHTS, **self.into(token=WRONG)}, "1Password"),
            "a vault to read only": (KEY, {**RIGHTS, **self.into(token=READER)}, "was deleted again"),
            "a library that fails": (BUCKET, {}, "needs the Python library b2sdk"),
            "a library that crashes": (BUCKET, {"verify_with": VERIFY}, ""),
        }


@pytest.fixture(scope="module")
def worlds() -> t.Iterator[Worlds]:
    with contextlib.ExitStack() as stack:
        yield Worlds(lambda app: stack.enter_context(serving(app)))


def test_nothing_is_seen_in_a_playbook(worlds: Worlds, tmp_path: pathlib.Path) -> None:
    for library, content in {"b2sdk": "", "boto3": "def client(*args, **kwargs):\n    kwargs['none']\n"}.items():
        (tmp_path / "broken" / library / library).mkdir(parents=True)
        (tmp_path / "broken" / library / library / "__init__.py").write_text(content)
    stored = tmp_path / "b2.env"
    verify = {"verify_with": {"key_id": "003works", "key": worlds.b2.add_key("w", ATTIC, id="003works").secret}}
    expiring = {"valid_duration_seconds": 1000, "renew_before": 999}
    works: dict[str, tuple[str, dict[str, t.Any]]] = {
        "a bucket": (BUCKET, {}),
        "a bucket that works": (BUCKET, verify),
        "a key in a file": (KEY, {**RIGHTS, "file": str(stored)}),
        "a key that stays in the file": (KEY, {**RIGHTS, "file": str(stored)}),
        "a key that is rotated": (KEY, {**RIGHTS, "file": str(stored), "rotate": True}),
        "a key in 1Password": (KEY, {**RIGHTS, **worlds.into(), "name": "vaulted"}),
        "a key that stays in 1Password": (KEY, {**RIGHTS, **worlds.into(), "name": "vaulted"}),
        "a key that is renewed": (KEY, {**RIGHTS, **worlds.into(), "name": "vaulted", **expiring, "recreate": True}),
        "a key whose secret is returned": (KEY, {**RIGHTS, "name": "returned"}),
        "keys that go": (KEY, {"name": "returned", "state": "absent"}),
    }
    fails = worlds.fails(tmp_path)
    variables: dict[str, t.Any] = {}
    tasks: list[dict[str, t.Any]] = []
    reasons: list[str] = []
    first = {name: works.pop(name) for name in ["a bucket"]}
    for name, (module, options, *_) in {**first, **fails, **works}.items():
        given, told = f"given{len(tasks)}", f"told{len(tasks)}"
        variables[given] = {"key_id": worlds.b2.account_id, "key": MASTER, "realm": worlds.url, "retries": 0}
        variables[given] |= {"region": worlds.b2.region, "name": "works-bucket", **options}
        if variables[given].get("bucket"):
            variables[given]["bucket"] = "works-bucket"
        task: dict[str, t.Any] = {"name": name, "register": told}
        task[module] = {option: f"{{{{ {given}.{option} }}}}" for option in variables[given]}
        if name in fails:
            task["ignore_errors"] = True
            reasons += [f"{told} is failed", f'{told}.msg is search("{fails[name][2]}")']
        if "library" in name:
            library = "b2sdk" if "fails" in name else "boto3"
            task["environment"] = {"PYTHONPATH": str(tmp_path / "broken" / library)}
        if "returned" in name:
            task["no_log"] = True
        tasks.append(task)
    tasks.append({"ansible.builtin.assert": {"that": reasons}})
    played = play(tasks, variables, tmp_path / "play", secrets=SECRETS)
    assert played.returncode == 0, played.output[-6000:]
    assert played.leaks == []
    assert MADE.search(stored.read_text())


@pytest.mark.parametrize("name", ["an answer with the key", "a page", "a wrong key", "a wrong key to verify"])
def test_no_message_holds_a_secret(name: str, worlds: Worlds, tmp_path: pathlib.Path) -> None:
    """Of the exception itself: Ansible's own masking of the result is not relied on."""
    from ansible_collections.pantheros.nixci.plugins.module_utils._b2.client import B2Client
    from ansible_collections.pantheros.nixci.plugins.module_utils._b2.s3 import round_trip
    from ansible_collections.pantheros.nixci.plugins.module_utils._core.errors import NixciError

    _, options, words = worlds.fails(tmp_path)[name]
    params: dict[str, t.Any] = {"key_id": worlds.b2.account_id, "key": MASTER, "realm": worlds.url, "region": None}
    params |= {"timeout": 5, "retries": 0, **options}
    with pytest.raises(NixciError, match=words) as caught:
        client = B2Client(params)
        bucket = {"name": "works-bucket", "s3_endpoint": client.s3_endpoint, "region": worlds.b2.region}
        round_trip(bucket, "003low", params["verify_with"]["key"], "", timeout=5, retries=0)
    told = f"{caught.value} {caught.value.details!r} {caught.value.__cause__!r}"
    assert find(SECRETS, told) == [], told


@pytest.mark.parametrize("kind", ["text/html", "application/xml"])
@pytest.mark.parametrize("status", [200, 400, 500])
def test_something_else_than_s3_is_told_without_what_it_says(status: int, kind: str) -> None:
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


def test_store_that_repeats_the_new_secret_does_not_tell_it(
    worlds: Worlds, module: t.Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ansible_collections.pantheros.nixci.plugins.module_utils._b2 import store as _b2_key_store
    from ansible_collections.pantheros.nixci.plugins.module_utils._core.errors import UnavailableError

    made: list[str] = []

    def repeat(store: t.Any, pair: t.Any) -> None:
        made.append(pair.secret)
        raise UnavailableError(f"no {pair.secret}, thanks.")

    monkeypatch.setattr(_b2_key_store.OnePasswordStore, "write", repeat)
    params = {"key_id": worlds.b2.account_id, "key": MASTER, "realm": worlds.url, "name": "x", "capabilities": ATTIC}
    failed = module("b2_application_key", {**params, **worlds.into(), "recreate": True})
    assert failed["msg"].startswith("no ***, thanks. The new key (")
    assert made and made[0] not in str(failed)


def test_secret_in_a_lost_answer_is_not_told(worlds: Worlds, module: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """B2 made the key and something in between answers with what it said."""

    def mangle(real: t.Any, *arguments: t.Any) -> t.Any:
        return {"applicationKey": real(*arguments)["applicationKey"], "keyName": None}

    wrap(monkeypatch, "b2_create_key", mangle)
    params = {"key_id": worlds.b2.account_id, "key": MASTER, "realm": worlds.url, "name": "y", "capabilities": ATTIC}
    failed = module("b2_application_key", params)
    assert "not one of B2's native API" in failed["msg"] and "whose secret nobody has" in failed["msg"]
    assert find(SECRETS, str({**failed, "invocation": None})) == []


def test_the_canary_would_be_seen(worlds: Worlds) -> None:
    answer = requests.post(f"{worlds.echo}/b2api/v4/x", json={"key": LOW}, timeout=5).text
    assert len(find(SECRETS, answer)) >= 2
