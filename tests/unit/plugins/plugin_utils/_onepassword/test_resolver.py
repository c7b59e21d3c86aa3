# SPDX-License-Identifier: GPL-3.0-or-later
"""What one run of Ansible asks 1Password for, and what its tasks share."""

from __future__ import annotations

import pathlib
import threading
import time
import typing as t

import pytest
from ansible_collections.pantheros.nixci.plugins.module_utils._core.errors import (
    AuthenticationError,
    ForbiddenError,
    NixciError,
    UnavailableError,
)
from ansible_collections.pantheros.nixci.plugins.module_utils._onepassword.cache import Cache, forget
from ansible_collections.pantheros.nixci.plugins.module_utils._onepassword.connect import ConnectBackend
from ansible_collections.pantheros.nixci.plugins.module_utils._onepassword.item import (
    AmbiguousError,
    FieldNotFoundError,
    ItemNotFoundError,
    VaultNotFoundError,
)
from ansible_collections.pantheros.nixci.plugins.module_utils._onepassword.sdk import SdkBackend
from ansible_collections.pantheros.nixci.plugins.plugin_utils._onepassword.reference import parse
from ansible_collections.pantheros.nixci.plugins.plugin_utils._onepassword.resolver import Answers

from lab.clouds.onepassword import OnePasswordDouble
from tests.support.onepassword_sdk import StandIn

OTP = "otpauth://totp/x?secret=JBSWY3DPEHPK3PXP"
FETCH = ["list vaults", "list items", "get item"]


class Asked:
    """The SDK's stand-in, since it says what it was asked for; `task` is a task of the run, or another run."""

    def __init__(self) -> None:
        self.double = OnePasswordDouble(
            vaults={"V": {"Item": {"a": "1"}, "Key": {"a": "upper"}, "key": {"a": "lower"}}, "Other": {}},
            service_accounts={"t": {"vaults": {"V": "read"}}},
        )
        fields = [{"label": "code", "type": "OTP", "value": OTP}, {"label": "user", "type": "STRING", "value": "me"}]
        self.double.add_item("V", "Login", more_fields=fields)
        self.stand_in = StandIn(self.double)

    def task(self, *references: str, run: str | None = "run", token: str = "t") -> list[str]:
        source = SdkBackend(token, authenticate=self.stand_in.authenticate)
        answers = Answers(source, Cache(source.credential, 60, run) if run else None)
        return [answers.value(parse(reference)).decode() for reference in references]

    @property
    def log(self) -> list[str]:
        """What was asked for since the last look, without the sign-in that each task needs."""
        found = [entry for entry in self.stand_in.log if entry != "sign in"]
        self.stand_in.log.clear()
        return found


@pytest.fixture
def asked(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Asked:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return Asked()


def test_without_a_cache_an_item_is_asked_for_once_in_a_call(asked: Asked) -> None:
    assert asked.task("op://V/Item/a", "op://V/Item/a?attribute=type", run=None) == ["1", "CONCEALED"]
    assert asked.log == FETCH
    asked.task("op://V/Item/a", run=None)
    assert asked.log == FETCH


def test_tasks_of_a_run_share_items_and_the_names_in_a_vault(asked: Asked) -> None:
    asked.task("op://V/Item/a")
    assert asked.log == FETCH
    assert asked.task("op://V/Item/a", "op://V/Item/A") == ["1", "1"]
    assert asked.stand_in.log == []
    asked.task("op://V/Login/user")
    assert asked.log == ["get item"]
    asked.task("op://V/Item/a", run="another")
    assert asked.log == FETCH
    forget()
    asked.task("op://V/Item/a")
    assert asked.log == FETCH


def test_items_whose_titles_differ_in_case_are_not_mixed_up(asked: Asked) -> None:
    for run in ("run", None):
        assert asked.task("op://V/Key/a", "op://V/key/a", run=run) == ["upper", "lower"]
    with pytest.raises(AmbiguousError):
        asked.task("op://V/KEY/a")


def test_files_are_shared_too(asked: Asked) -> None:
    item = next(iter(asked.double.items[asked.double.vault_id("V")]))
    asked.double.attach("V", item, "f", b"canary")
    for _ in range(2):
        assert asked.task("op://V/Item/f", "op://V/Item/f") == ["canary", "canary"]
    assert asked.log == [*FETCH, "read file"]


def test_one_time_passwords_are_never_kept(
    asked: Asked, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[t.Any] = []
    store = Cache.store
    monkeypatch.setattr(Cache, "store", lambda self, value, *rest: (kept.append(str(value)), store(self, value, *rest)))
    assert asked.task("op://V/Login/user") == ["me"]
    assert asked.log == FETCH
    # The rest of the item is shared; a code, or the seed, is asked for each time.
    for _ in range(2):
        code, seed, user, kind = asked.task(
            "op://V/Login/code?attribute=otp",
            "op://V/Login/code",
            "op://V/Login/user",
            "op://V/Login/code?attribute=type",
        )
        assert (len(code), seed, user, kind) == (6, OTP, "me", "OTP")
        assert asked.log == ["get item"]
        assert not any(OTP in text or code in text or "totp': '" in text for text in kept)


@pytest.mark.parametrize(
    ("reference", "kind", "asked_for"),
    [
        ("op://V/Nothing/a", ItemNotFoundError, ["list vaults", "list items"]),
        ("op://Nowhere/x/a", VaultNotFoundError, ["list vaults"]),
        ("op://V/KEY/a", AmbiguousError, ["list vaults", "list items"]),
        ("op://V/Item/nothing", FieldNotFoundError, FETCH),
    ],
)
def test_what_does_not_exist_is_asked_for_once(
    asked: Asked, reference: str, kind: type[Exception], asked_for: list[str]
) -> None:
    messages = set()
    for _ in range(3):
        with pytest.raises(kind) as caught:
            asked.task(reference)
        assert type(caught.value) is kind
        messages.add((str(caught.value), str(t.cast(NixciError, caught.value).details)))
    assert asked.log == asked_for
    assert len(messages) == 1


@pytest.mark.parametrize(
    ("words", "kind", "sign_ins"),
    [
        ("you are not authenticated", AuthenticationError, 1),
        ("authentication error: rate limit exceeded", UnavailableError, 1),
        ("you don't have the right permissions", ForbiddenError, 2),
        ("error sending request for url", UnavailableError, 3),
    ],
)
def test_a_refused_credential_and_an_exhausted_quota_stop_at_once(
    asked: Asked, words: str, kind: type[Exception], sign_ins: int
) -> None:
    """A missing right concerns one item; an unreachable service may be there again for the next task."""
    asked.task("op://V/Login/user")
    asked.stand_in.log.clear()

    async def refused(_token: str) -> t.NoReturn:
        asked.stand_in.log.append("sign in")
        raise Exception(words)

    asked.stand_in.authenticate = refused  # type: ignore[method-assign]
    for reference in ("op://V/Item/a", "op://V/Item/a", "op://V/Key/a"):
        with pytest.raises(kind):
            asked.task(reference)
    assert len(asked.stand_in.log) == sign_ins
    assert asked.task("op://V/Login/user") == ["me"]


def simultaneously(ask: t.Callable[[], t.Any], times: int = 6) -> list[t.Any]:
    """Ask in several threads; what they got, or the kind of error."""
    results: list[t.Any] = []
    start = threading.Barrier(times)

    def one() -> None:
        start.wait()
        try:
            results.append(ask())
        except NixciError as exc:
            results.append(type(exc))

    threads = [threading.Thread(target=one) for _ in range(times)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_simultaneous_workers_fetch_an_item_once(asked: Asked, serve: t.Callable[[t.Any], str]) -> None:
    asked.double.tokens["c"] = {"vaults": {"V": "read"}}

    def slow(environ: dict[str, t.Any], start: t.Callable[..., t.Any]) -> t.Any:
        time.sleep(0.1)
        return asked.double.app(environ, start)

    url = serve(slow)

    def ask() -> bytes:
        source = ConnectBackend(url, "c")
        return Answers(source, Cache(source.credential, 60, "run")).value(parse("op://V/Item/a"))

    assert simultaneously(ask) == [b"1"] * 6
    assert len(asked.double.app.requests) == 3


def test_those_who_wait_for_an_answer_share_its_failure(asked: Asked, serve: t.Callable[[t.Any], str]) -> None:
    calls: list[str] = []

    def broken(environ: dict[str, t.Any], start: t.Callable[..., t.Any]) -> list[bytes]:
        calls.append(environ["PATH_INFO"])
        time.sleep(0.5)
        start("500 .", [("Content-Length", "0")])
        return []

    url = serve(broken)

    def ask() -> bytes:
        source = ConnectBackend(url, "c", retries=0)
        return Answers(source, Cache(source.credential, 60, "run")).value(parse("op://V/Item/a"))

    assert simultaneously(ask) == [UnavailableError] * 6
    assert len(calls) == 1
    simultaneously(ask, 1)  # but a later task tries again
    assert len(calls) == 2
