# SPDX-License-Identifier: GPL-3.0-or-later
"""Creating a key and storing it is one step: no secret is lost, whatever fails in between."""

from __future__ import annotations

import os
import pathlib
import typing as t
from collections.abc import Callable

import pytest
import requests

from lab.clouds.onepassword import OnePasswordDouble
from tests.support.b2 import ATTIC, KeyEnvironment, lose, wrap
from tests.support.serving import serving

VAULT, TITLE, TOKEN = "pantherOS", "Backblaze-B2", "connect-canary-token"


class StoreEnvironment(KeyEnvironment):
    """What both kinds of stores have in common; `pair` is what the store holds now."""

    store: dict[str, t.Any]

    def run(self, check: bool = False, **params: t.Any) -> t.Any:
        return super().run(check, **{**(self.store if params.get("state") != "absent" else {}), **params})

    def pair(self) -> tuple[str, str] | None:
        raise NotImplementedError

    def keep(self, key_id: str, secret: str) -> None:
        raise NotImplementedError

    def break_writing(self) -> t.ContextManager[t.Any]:
        """Reading works, writing fails."""
        raise NotImplementedError

    def stored(self) -> str:
        """The id in the store, after a check that its secret is right."""
        pair = self.pair()
        assert pair and self.b2.keys[pair[0]].secret == pair[1]
        return pair[0]


class InFile(StoreEnvironment):
    def __init__(self, serve: t.Any, module: t.Any, folder: pathlib.Path) -> None:
        super().__init__(serve, module)
        self.folder = folder / "keys"
        self.folder.mkdir()
        self.path = self.folder / "b2.env"
        self.store = {"file": str(self.path)}

    def pair(self) -> tuple[str, str] | None:
        if not self.path.exists():
            return None
        first, second = self.path.read_text().splitlines()
        return first.removeprefix("AWS_ACCESS_KEY_ID="), second.removeprefix("AWS_SECRET_ACCESS_KEY=")

    def keep(self, key_id: str, secret: str) -> None:
        self.path.write_text(f"AWS_ACCESS_KEY_ID={key_id}\nAWS_SECRET_ACCESS_KEY={secret}\n")
        self.path.chmod(0o600)

    def break_writing(self) -> t.ContextManager[t.Any]:
        def full(*_: t.Any) -> None:
            raise OSError(28, "No space left on device")

        patch = pytest.MonkeyPatch()
        patch.setattr(os, "fsync", full)
        return t.cast(t.Any, _Undo(patch))


class InOnePassword(StoreEnvironment):
    def __init__(self, serve: t.Any, module: t.Any) -> None:
        super().__init__(serve, module)
        self.double = OnePasswordDouble(vaults={VAULT: {}}, tokens={TOKEN: {"vaults": {VAULT: "write"}}})
        self.host = serve(self.double.app)
        self.store = {
            "onepassword": {"vault": VAULT, "title": TITLE, "connect_host": self.host, "connect_token": TOKEN}
        }

    def pair(self) -> tuple[str, str] | None:
        if not self.double.items[self.double.vault_id(VAULT)]:
            return None
        values = self.double.values(VAULT, TITLE)
        return values["application-key-id"], values["application-key"]

    def keep(self, key_id: str, secret: str) -> None:
        self.double.items[self.double.vault_id(VAULT)].clear()
        fields = {"application-key-id": key_id, "application-key": secret, "note": "of the user"}
        self.double.add_item(VAULT, TITLE, fields)

    def break_writing(self) -> t.ContextManager[t.Any]:
        patch = pytest.MonkeyPatch()
        patch.setitem(self.double.tokens, TOKEN, {"vaults": {VAULT: "read"}})
        return t.cast(t.Any, _Undo(patch))


class _Undo:
    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.patch = patch

    def __enter__(self) -> None: ...

    def __exit__(self, *_: t.Any) -> None:
        self.patch.undo()


@pytest.fixture(params=["file", "onepassword"])
def env(
    request: pytest.FixtureRequest, serve: Callable[[t.Any], str], module: t.Any, tmp_path: pathlib.Path
) -> StoreEnvironment:
    return InFile(serve, module, tmp_path) if request.param == "file" else InOnePassword(serve, module)


@pytest.fixture
def file(serve: Callable[[t.Any], str], module: t.Any, tmp_path: pathlib.Path) -> InFile:
    return InFile(serve, module, tmp_path)


@pytest.fixture
def vault(serve: Callable[[t.Any], str], module: t.Any) -> InOnePassword:
    return InOnePassword(serve, module)


# The life of a stored key.


def test_check_run_again(env: StoreEnvironment) -> None:
    checked = env.run(check=True)
    assert (env.ids(), env.pair()) == ([], None)
    made = env.run()
    assert (made["changed"], made["created"], made["secret"], made["diff"]) == (True, True, None, checked["diff"])
    assert checked["application_key"] == {**made["application_key"], "id": None}
    assert env.ids() == [env.stored()] == [made["application_key"]["id"]]
    again = env.run()
    assert (again["changed"], again["created"], again["application_key"]) == (False, False, made["application_key"])
    assert env.b2.keys[env.stored()].secret not in str([checked, made, again])


def test_run_without_changes_sends_five_requests(env: StoreEnvironment) -> None:
    env.run()
    env.journal()
    env.run()
    login = "b2_authorize_account"
    assert env.journal() == [login, "b2_list_buckets", "b2_list_keys", "b2_list_keys", login]


def test_superseded_keys_are_deleted_when_the_new_one_is_stored(env: StoreEnvironment) -> None:
    old = env.seed().id
    checked, made, again = env.run(True, recreate=True), env.run(recreate=True), env.run()
    assert (checked["diff"], made["superseded"], env.ids()) == (made["diff"], [], [env.stored()])
    assert old not in env.ids() and not again["changed"]


@pytest.mark.parametrize("check", [True, False])
def test_key_that_may_be_stored_elsewhere_is_not_deleted(env: StoreEnvironment, check: bool) -> None:
    """A mistyped path or title finds nothing stored, and yet the key of this name is in use."""
    old = env.seed()
    refused = env.run(check)
    assert refused["failed"] and f"may be in use: {old.id}. Correct the place" in refused["msg"]
    assert (env.ids(), env.pair()) == ([old.id], None)
    kept = env.run(check, superseded="keep")
    assert kept["created"] and old.id in env.ids()
    assert f"may be in use: {old.id}. They are kept." in str(kept.warnings)


def test_superseded_keys_may_be_kept_until_their_users_have_the_new_one(env: StoreEnvironment) -> None:
    old = env.seed().id
    for _ in range(2):
        result = env.run(superseded="keep")
        assert (result["superseded"], env.ids()) == ([old], sorted([old, env.stored()]))
    assert not result["changed"]
    checked, last = env.run(True), env.run()
    assert (checked["diff"], last["changed"], last["created"]) == (last["diff"], True, False)
    assert env.ids() == [env.stored()]


def test_absent_leaves_the_store_alone(env: StoreEnvironment) -> None:
    env.run()
    pair = env.pair()
    assert env.absent(**env.store)["changed"]
    assert (env.ids(), env.pair()) == ([], pair)


# A key is replaced on request, or when its secret is lost.


@pytest.mark.parametrize("rotated", [{"rotate": True}, {"recreate": True, "capabilities": ["readFiles"]}])
def test_replaced_on_request(env: StoreEnvironment, rotated: dict[str, t.Any]) -> None:
    old = env.run()["application_key"]["id"]
    checked, made = env.run(True, **rotated), env.run(**rotated)
    assert (checked["diff"], made["created"]) == (made["diff"], True)
    assert env.ids() == [env.stored()] != [old]


def test_other_rights_alone_do_not_replace_a_key(env: StoreEnvironment) -> None:
    old = env.run()["application_key"]["id"]
    failed = env.run(capabilities=["readFiles"])
    assert "set recreate: true" in failed["msg"] and env.ids() == [old]


def test_key_that_is_gone_is_replaced(env: StoreEnvironment) -> None:
    env.keep("0030000000000000000000000", "K003-lost")
    assert env.run()["created"]
    assert env.ids() == [env.stored()]


def test_stored_secret_that_b2_refuses_is_lost(env: StoreEnvironment) -> None:
    old = env.seed()
    env.keep(old.id, "K003-canary-wrong")
    checked, made = env.run(True), env.run()
    assert (checked["diff"], made["created"]) == (made["diff"], True)
    assert env.ids() == [env.stored()] != [old.id]
    assert "refuses the secret of the key" in str(made.warnings) and "canary" not in str(made)


def test_refusal_that_is_not_about_the_secret_replaces_no_key(env: StoreEnvironment) -> None:
    env.run()
    pair = env.pair()
    seen = []

    def second_login_is_refused(app: t.Any) -> t.Any:
        def guarded(environ: t.Any, start: t.Any) -> t.Any:
            seen.append(environ["PATH_INFO"].endswith("b2_authorize_account"))
            if seen[-1] and sum(seen) == 2:
                body = b'{"status": 401, "code": "no_payment_history", "message": ""}'
                start("401 .", [("Content-Length", str(len(body))), ("Content-Type", "application/json")])
                return [body]
            return app(environ, start)

        return guarded

    with serving(second_login_is_refused(env.b2.app)) as url:
        failed = env.run(realm=url)
    assert "Backblaze wants a first payment" in failed["msg"] and env.pair() == pair


def test_secret_that_cannot_be_verified_does_not_count_as_lost(env: StoreEnvironment) -> None:
    env.run()
    pair = env.pair()
    seen = []

    def second_login_fails(app: t.Any) -> t.Any:
        def guarded(environ: t.Any, start: t.Any) -> t.Any:
            if environ["PATH_INFO"].endswith("b2_authorize_account"):
                seen.append(1)
                if len(seen) == 2:
                    start("503 .", [("Content-Length", "0")])
                    return [b""]
            return app(environ, start)

        return guarded

    with serving(second_login_fails(env.b2.app)) as url:
        failed = env.run(realm=url)
    assert "cannot try the stored key" in failed["msg"] and env.ids() == [pair[0]] and env.pair() == pair


def test_stored_key_of_another_name_is_not_overwritten(env: StoreEnvironment) -> None:
    other = env.seed("somebody-elses")
    env.keep(other.id, other.secret)
    for check in (True, False):
        failed = env.run(check)
        assert f"the stored key {other.id} is named 'somebody-elses', not 'attic'" in failed["msg"]
    assert env.stored() == other.id
    assert env.run(recreate=True)["created"]
    assert env.stored() != other.id and other.id in env.b2.keys


# Validity.


def test_expiring_key_is_renewed_in_time_and_only_on_request(env: StoreEnvironment) -> None:
    desired = {"valid_duration_seconds": 1000}
    made = env.run(**desired)["application_key"]
    assert made["expires"] and made["expires_at"].endswith("Z")
    assert not env.run(**desired)["changed"]
    env.b2.keys[made["id"]].expires -= 500
    assert not env.run(**desired)["changed"]
    assert not env.run(**desired, renew_before=400)["changed"]
    checked, renewed = env.run(True, **desired, renew_before=600), env.run(**desired, renew_before=600)
    assert (renewed["created"], renewed["diff"]) == (True, checked["diff"])
    assert env.ids() == [env.stored()] != [made["id"]]
    assert not env.run(**desired, renew_before=600)["changed"]


def test_expired_key_is_replaced(env: StoreEnvironment) -> None:
    desired = {"valid_duration_seconds": 1000}
    old = env.run(**desired)["application_key"]["id"]
    env.b2.keys[old].expires = 1
    assert env.run(**desired)["created"]
    assert env.stored() != old


# Before and after a creation.


def test_key_that_cannot_be_stored_is_deleted_again(env: StoreEnvironment) -> None:
    old = env.seed()
    env.keep(old.id, "K003-wrong")
    pair = env.pair()
    with env.break_writing():
        failed = env.run()
    assert failed["failed"] and "was deleted again; nothing else was changed." in failed["msg"], failed
    assert (env.ids(), env.pair()) == ([old.id], pair)
    assert env.run()["created"]


def test_key_that_cannot_be_deleted_again_is_named(env: StoreEnvironment, monkeypatch: pytest.MonkeyPatch) -> None:
    with env.break_writing():
        env.fault(status=500, path="b2_delete_key", body={"status": 500, "code": "internal_error", "message": "no"})
        failed = env.run()
    (orphan,) = env.ids()
    assert f"The new key ({orphan}) could not be deleted again: B2: cannot delete" in failed["msg"]
    assert f"may be in use: {orphan}" in env.run()["msg"]
    assert env.run(recreate=True)["created"]
    assert env.ids() == [env.stored()] != [orphan]


def test_next_run_recovers_from_a_crash_between_creating_and_storing(
    env: StoreEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_use = env.run()["application_key"]["id"]

    def crash(real: t.Any, *arguments: t.Any) -> t.Any:
        real(*arguments)
        raise ConnectionError

    with monkeypatch.context() as patch:
        wrap(patch, "b2_create_key", crash)
        assert env.run(rotate=True)["failed"]
    assert len(env.ids()) == 2 and env.stored() == in_use
    checked, settled = env.run(True), env.run()
    assert (checked["diff"], settled["changed"], settled["created"]) == (settled["diff"], True, False)
    assert env.ids() == [in_use]
    assert not env.run()["changed"]


@pytest.mark.parametrize("options", [{}, {"state": "absent"}], ids=str)
def test_lost_answer_to_a_deletion_is_recovered(
    env: StoreEnvironment, options: dict[str, t.Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    env.run()
    for _ in range(2):
        env.seed()
    lose(monkeypatch, "b2_delete_key", 2)
    result = env.absent() if options else env.run()
    assert (result["failed"], result["changed"]) == (False, True)
    assert env.ids() == ([] if options else [env.stored()])


def test_lost_answer_after_a_creation_is_no_reason_for_another_key(
    env: StoreEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = env.run()["application_key"]["id"]
    env.journal()
    lose(monkeypatch, "b2_delete_key")
    assert "cannot delete the key" in env.run(rotate=True)["msg"]
    assert env.journal().count("b2_create_key") == 1
    assert env.ids() == [env.stored()] != [old]
    assert not env.run()["changed"]


def test_lost_answer_to_the_creation_is_no_reason_for_another_key(
    env: StoreEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose(monkeypatch, "b2_create_key")
    env.journal()
    assert "whose secret nobody has; run again" in env.run()["msg"]
    assert env.journal().count("b2_create_key") == 1
    assert (len(env.ids()), env.pair()) == (1, None)
    assert env.run(recreate=True)["created"] and env.ids() == [env.stored()]


def test_rights_that_b2_changes_are_not_accepted(env: StoreEnvironment, monkeypatch: pytest.MonkeyPatch) -> None:
    def generous(real: t.Any, b2: t.Any, key: t.Any, body: dict[str, t.Any]) -> t.Any:
        return real(b2, key, {**body, "capabilities": [*body["capabilities"], "shareFiles"]})

    wrap(monkeypatch, "b2_create_key", generous)
    failed = env.run()
    assert "has other rights than desired: capabilities" in failed["msg"] and "shareFiles" in failed["msg"]
    assert "was deleted again" in failed["msg"]
    assert (env.ids(), env.pair()) == ([], None)
    monkeypatch.undo()
    assert env.run(capabilities=[*ATTIC[::-1], "shareFiles"])["created"]


@pytest.mark.parametrize("check", [True, False])
def test_capability_to_delete_the_key_again_is_required_first(env: StoreEnvironment, check: bool) -> None:
    failed = env.run(check, **env.as_key("listBuckets", "listKeys", "writeKeys"))
    assert (
        "lacks the capability deleteKeys;" in failed["msg"] and "deleted again if it cannot be stored" in failed["msg"]
    )
    assert env.ids() == []


# The file.


def test_file_is_private_and_nothing_else_is_left(file: InFile) -> None:
    old = os.umask(0)
    try:
        file.run()
    finally:
        os.umask(old)
    assert [path.name for path in file.folder.iterdir()] == ["b2.env"]
    assert file.path.stat().st_mode & 0o777 == 0o600
    with file.break_writing():
        assert file.run(rotate=True)["failed"]
    assert [path.name for path in file.folder.iterdir()] == ["b2.env"]


def test_link_stays_a_link(file: InFile) -> None:
    target = file.folder / "elsewhere"
    file.path.symlink_to(target)
    file.run()
    assert file.path.is_symlink() and target.read_text().startswith("AWS_ACCESS_KEY_ID=")


def test_file_that_others_may_read_is_closed(file: InFile) -> None:
    file.run()
    file.path.chmod(0o644)
    checked = file.run(check=True)
    assert file.path.stat().st_mode & 0o777 == 0o644
    result = file.run()
    assert (result["changed"], result["created"], result["diff"]) == (True, False, checked["diff"])
    assert (result["diff"]["before"]["file"], result["diff"]["after"]["file"]) == ({"mode": "0644"}, {"mode": "0600"})
    assert file.path.stat().st_mode & 0o777 == 0o600
    assert not file.run()["changed"]


def test_task_may_open_the_file_to_a_group(file: InFile) -> None:
    assert file.run(mode="0640", group=str(os.getgid()))["created"]
    assert file.path.stat().st_mode & 0o777 == 0o640
    assert not file.run(mode="u=rw,g=r")["changed"]


@pytest.mark.parametrize("check", [True, False])
def test_unknown_owner_is_found_before_the_key_is_created(file: InFile, check: bool) -> None:
    failed = file.run(check, owner="nobody-of-this-name")
    assert "cannot have the desired owner, group or mode" in failed["msg"] and file.ids() == []


@pytest.mark.parametrize("content", ["# mine\n", "AWS_ACCESS_KEY_ID=x\n", "A=1\nB=2\n", b"\xff\xfe"])
@pytest.mark.parametrize("check", [True, False])
def test_file_of_somebody_else_is_refused(file: InFile, content: str | bytes, check: bool) -> None:
    before = content.encode() if isinstance(content, str) else content
    file.path.write_bytes(before)
    failed = file.run(check)
    assert "name another file" in failed["msg"] and file.ids() == []
    assert file.path.read_bytes() == before


@pytest.mark.parametrize("check", [True, False])
def test_missing_directory_is_found_before_the_key_is_created(file: InFile, check: bool) -> None:
    failed = file.run(check, file=str(file.folder / "missing/b2.env"))
    assert "/missing does not exist; create it first." in failed["msg"] and file.ids() == []


@pytest.mark.parametrize("check", [True, False])
def test_directory_that_is_not_writable_is_found_before_the_key_is_created(
    file: InFile, check: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The tests may run as root, who may write everywhere.
    monkeypatch.setattr(os, "access", lambda *_: False)
    failed = file.run(check)
    assert "the directory is not writable; run as another user." in failed["msg"] and file.ids() == []
    assert "b2_create_key" not in file.journal()


def test_directory_in_place_of_the_file(file: InFile) -> None:
    file.path.mkdir()
    assert "Cannot read the file" in file.run()["msg"]


# 1Password.


def test_item_is_read_once(vault: InOnePassword) -> None:
    vault.run()
    requests.delete(f"{vault.host}/_lab/requests", timeout=5)
    assert not vault.run()["changed"]
    seen = requests.get(f"{vault.host}/_lab/requests", timeout=5).json()
    assert [each["path"].count("/") for each in seen] == [2, 4, 5]  # vaults, items, the item


def test_other_fields_of_the_item_stay(vault: InOnePassword) -> None:
    vault.keep("0030000000000000000000000", "K003-lost")
    vault.run()
    assert vault.double.values(VAULT, TITLE)["note"] == "of the user"


def test_labels_may_be_chosen(vault: InOnePassword) -> None:
    options = {"onepassword": {**vault.store["onepassword"], "id_label": "id", "secret_label": "secret"}}
    made = vault.run(**options)
    assert vault.double.values(VAULT, TITLE)["id"] == made["application_key"]["id"]
    assert not vault.run(**options)["changed"]


def test_incomplete_pair_is_a_lost_secret(vault: InOnePassword) -> None:
    old = vault.seed()
    vault.double.add_item(VAULT, TITLE, {"application-key-id": old.id})
    assert "holds no complete key" in vault.run()["msg"]
    assert vault.run(recreate=True)["created"]
    assert vault.ids() == [vault.stored()] != [old.id]


def test_file_with_quotes_is_understood(file: InFile) -> None:
    made = file.run()
    first, second = file.path.read_text().splitlines()
    file.path.write_text(f'{first.replace("=", "=" + chr(34))}"\n{second.replace("=", "=" + chr(34))}"\n')
    assert not file.run()["changed"]
    file.path.write_text(f"# the key of the cache\n{first}\n{second}\n")
    assert "holds something else" in file.run()["msg"]
    assert file.ids() == [made["application_key"]["id"]]


@pytest.mark.parametrize("option", ["file", "name_prefix"])
def test_an_empty_option_is_refused(vault: InOnePassword, option: str) -> None:
    desired = {"file": "", "onepassword": None} if option == "file" else {"name_prefix": ""}
    refused = vault.run(**desired)
    assert refused["failed"] and f"{option} is empty" in refused["msg"]
    assert vault.ids() == []


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"connect_token": "wrong-canary"}, "1Password"),
        ({"vault": "missing"}, "missing"),
        ({"connect_host": "http://127.0.0.1:9"}, "127.0.0.1:9"),
        ({"connect_host": None, "connect_token": None}, "No credential for 1Password"),
    ],
)
def test_unreachable_store_is_found_before_the_key_is_created(
    vault: InOnePassword, options: dict[str, t.Any], message: str, check: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OP_CONNECT_HOST", "OP_CONNECT_TOKEN", "OP_SERVICE_ACCOUNT_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    given = {key: value for key, value in {**vault.store["onepassword"], **options}.items() if value is not None}
    failed = vault.run(check, onepassword=given)
    assert failed["failed"] and message in failed["msg"] and "canary" not in failed["msg"]
    assert vault.ids() == [] and "b2_create_key" not in vault.journal()


@pytest.mark.parametrize("check", [True, False])
def test_login_with_a_passkey_is_not_changed(vault: InOnePassword, check: bool) -> None:
    vault.double.add_item(VAULT, TITLE, {}, category="LOGIN")
    assert "passkey" in vault.run(check)["msg"]
    assert "b2_create_key" not in vault.journal()


def test_store_is_read_again_after_a_lost_answer(vault: InOnePassword, monkeypatch: pytest.MonkeyPatch) -> None:
    store = vault.double._store

    def keep_and_fail(*arguments: t.Any) -> t.Any:
        store(*arguments)
        raise ConnectionError

    monkeypatch.setattr(vault.double, "_store", keep_and_fail)
    made = vault.run()
    assert (made["failed"], made["created"], vault.ids()) == (False, True, [vault.stored()])


def test_key_is_not_deleted_when_it_may_be_stored(vault: InOnePassword, monkeypatch: pytest.MonkeyPatch) -> None:
    store = vault.double._store

    def keep_and_go_away(*arguments: t.Any) -> t.Any:
        store(*arguments)
        vault.double.tokens.clear()
        raise ConnectionError

    monkeypatch.setattr(vault.double, "_store", keep_and_go_away)
    failed = vault.run()
    (left,) = vault.ids()
    assert "so the key was not deleted. Run again" in failed["msg"] and left in failed["msg"]
    monkeypatch.undo()
    vault.double.tokens[TOKEN] = {"vaults": {VAULT: "write"}}
    assert not vault.run()["changed"]
    assert vault.stored() == left


@pytest.mark.parametrize(
    "params",
    [
        {"stored_key_id": "x", "file": "/x"},
        {"file": "/x", "onepassword": {"vault": "v", "title": "t"}},
        {"renew_before": 5},
    ],
)
def test_options_that_exclude_each_other(
    serve: Callable[[t.Any], str], module: t.Any, params: dict[str, t.Any]
) -> None:
    env = KeyEnvironment(serve, module)
    failed = env.run(**params)
    assert failed["failed"] and env.journal() == []
