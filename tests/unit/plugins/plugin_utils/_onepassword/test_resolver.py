# SPDX-License-Identifier: GPL-3.0-or-later
"""The requests of one run of Ansible, and what its tasks share."""

from __future__ import annotations

import concurrent.futures
import pathlib
import threading
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
from ansible_collections.pantheros.nixci.plugins.plugin_utils._onepassword.resolver import Resolver

from lab.clouds.onepassword import OnePasswordDouble
from tests.support.onepassword_sdk import StandIn

OTP = "otpauth://totp/x?secret=JBSWY3DPEHPK3PXP"
FETCH = ["list vaults", "list items", "get item"]


class Vaults:
    """Vaults behind the stand-in for the SDK, which lists its requests. `task` resolves as one task of a run does."""

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
        resolver = Resolver(source, Cache(source.credential, 60, run) if run else None)
        return [resolver.value(parse(reference)).decode() for reference in references]

    @property
    def log(self) -> list[str]:
        """The requests since the last call, without the sign-in that each task needs."""
        found = [entry for entry in self.stand_in.log if entry != "sign in"]
        self.stand_in.log.clear()
        return found


@pytest.fixture
def vaults(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Vaults:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return Vaults()


def test_without_a_cache_an_item_is_fetched_once_per_call(vaults: Vaults) -> None:
    assert vaults.task("op://V/Item/a", "op://V/Item/a?attribute=type", run=None) == ["1", "CONCEALED"]
    assert vaults.log == FETCH
    vaults.task("op://V/Item/a", run=None)
    assert vaults.log == FETCH


def test_tasks_of_a_run_share_items_and_listings(vaults: Vaults) -> None:
    vaults.task("op://V/Item/a")
    assert vaults.log == FETCH
    assert vaults.task("op://V/Item/a", "op://V/Item/A") == ["1", "1"]
    assert vaults.stand_in.log == []
    vaults.task("op://V/Login/user")
    assert vaults.log == ["get item"]
    vaults.task("op://V/Item/a", run="another")
    assert vaults.log == FETCH
    forget()
    vaults.task("op://V/Item/a")
    assert vaults.log == FETCH


def test_items_whose_titles_differ_in_case_are_not_mixed_up(vaults: Vaults) -> None:
    for run in ("run", None):
        assert vaults.task("op://V/Key/a", "op://V/key/a", run=run) == ["upper", "lower"]
    with pytest.raises(AmbiguousError):
        vaults.task("op://V/KEY/a")


def test_files_are_shared_too(vaults: Vaults) -> None:
    item = next(iter(vaults.double.items[vaults.double.vault_id("V")]))
    vaults.double.attach("V", item, "f", b"canary")
    for _ in range(2):
        assert vaults.task("op://V/Item/f", "op://V/Item/f") == ["canary", "canary"]
    assert vaults.log == [*FETCH, "read file"]


def test_one_time_passwords_are_never_cached(
    vaults: Vaults, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached: list[t.Any] = []
    store = Cache.store
    monkeypatch.setattr(
        Cache, "store", lambda self, value, *rest: (cached.append(str(value)), store(self, value, *rest))
    )
    assert vaults.task("op://V/Login/user") == ["me"]
    assert vaults.log == FETCH
    # The rest of the item is shared; codes and seeds are fetched each time.
    for _ in range(2):
        code, seed, user, kind = vaults.task(
            "op://V/Login/code?attribute=otp",
            "op://V/Login/code",
            "op://V/Login/user",
            "op://V/Login/code?attribute=type",
        )
        assert (len(code), seed, user, kind) == (6, OTP, "me", "OTP")
        assert vaults.log == ["get item"]
        assert not any(OTP in text or code in text or "totp': '" in text for text in cached)


@pytest.mark.parametrize(
    ("reference", "kind", "requests"),
    [
        ("op://V/Nothing/a", ItemNotFoundError, ["list vaults", "list items"]),
        ("op://Nowhere/x/a", VaultNotFoundError, ["list vaults"]),
        ("op://V/KEY/a", AmbiguousError, ["list vaults", "list items"]),
        ("op://V/Item/nothing", FieldNotFoundError, FETCH),
    ],
)
def test_a_missing_object_is_requested_once(
    vaults: Vaults, reference: str, kind: type[Exception], requests: list[str]
) -> None:
    messages = set()
    for _ in range(3):
        with pytest.raises(kind) as caught:
            vaults.task(reference)
        assert type(caught.value) is kind
        messages.add((str(caught.value), str(t.cast(NixciError, caught.value).details)))
    assert vaults.log == requests
    assert len(messages) == 1


@pytest.mark.parametrize(
    ("message", "kind", "sign_ins"),
    [
        ("you are not authenticated", AuthenticationError, 1),
        ("authentication error: rate limit exceeded", UnavailableError, 1),
        ("you don't have the right permissions", ForbiddenError, 2),
        ("error sending request for url", UnavailableError, 3),
    ],
)
def test_a_refused_credential_and_an_exhausted_quota_stop_all_requests(
    vaults: Vaults, message: str, kind: type[Exception], sign_ins: int
) -> None:
    """A missing right concerns one item; an unreachable service may be back for the next task."""
    vaults.task("op://V/Login/user")
    vaults.stand_in.log.clear()

    async def refused(_token: str) -> t.NoReturn:
        vaults.stand_in.log.append("sign in")
        raise Exception(message)

    vaults.stand_in.authenticate = refused  # type: ignore[method-assign]
    for reference in ("op://V/Item/a", "op://V/Item/a", "op://V/Key/a"):
        with pytest.raises(kind):
            vaults.task(reference)
    assert len(vaults.stand_in.log) == sign_ins
    assert vaults.task("op://V/Login/user") == ["me"]


WORKERS = 6


class Workers:
    """Threads that resolve one reference at the same time. The service responds when all of them wait for it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.waiting = threading.Semaphore(0)
        locked = Cache.locked

        def counted(cache: Cache) -> t.ContextManager[None]:
            self.waiting.release()
            return locked(cache)

        monkeypatch.setattr(Cache, "locked", counted)

    def wait(self) -> None:
        """For all workers; called by the service."""
        for _ in range(WORKERS):
            assert self.waiting.acquire(timeout=10)

    def resolve(self, url: str) -> list[t.Any]:
        """The results, or the classes of the errors."""

        def one() -> t.Any:
            backend = ConnectBackend(url, "c", retries=0)
            try:
                return Resolver(backend, Cache(backend.credential, 60, "run")).value(parse("op://V/Item/a"))
            except NixciError as exc:
                return type(exc)

        with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
            return [future.result(timeout=30) for future in [pool.submit(one) for _ in range(WORKERS)]]


def test_simultaneous_workers_fetch_an_item_once(
    vaults: Vaults, serve: t.Callable[[t.Any], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    vaults.double.tokens["c"] = {"vaults": {"V": "read"}}
    workers = Workers(monkeypatch)

    def slow(environ: dict[str, t.Any], start: t.Callable[..., t.Any]) -> t.Any:
        if not vaults.double.app.requests:
            workers.wait()
        return vaults.double.app(environ, start)

    assert workers.resolve(serve(slow)) == [b"1"] * WORKERS
    assert len(vaults.double.app.requests) == 3


def test_waiting_workers_share_a_failure_and_a_later_task_tries_again(
    vaults: Vaults, serve: t.Callable[[t.Any], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    workers = Workers(monkeypatch)

    def broken(environ: dict[str, t.Any], start: t.Callable[..., t.Any]) -> list[bytes]:
        calls.append(environ["PATH_INFO"])
        workers.wait()
        start("500 .", [("Content-Length", "0")])
        return []

    url = serve(broken)
    assert workers.resolve(url) == [UnavailableError] * WORKERS
    assert len(calls) == 1
    assert workers.resolve(url) == [UnavailableError] * WORKERS
    assert len(calls) == 2
