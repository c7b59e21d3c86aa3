# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import fcntl
import os
import pathlib
import stat
import time

import pytest
from ansible_collections.pantheros.nixci.plugins.module_utils._core.errors import InvalidError, NixciError
from ansible_collections.pantheros.nixci.plugins.module_utils._onepassword import cache as _onepassword_cache
from ansible_collections.pantheros.nixci.plugins.module_utils._onepassword.cache import Cache, current_run, forget

from tests.support.collection import hide_library


@pytest.fixture(autouse=True)
def directory(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path


def entries(directory: pathlib.Path) -> list[pathlib.Path]:
    return list(directory.glob("nixci-onepassword-*/*.item"))


def test_only_the_same_run_and_credential_load_an_entry(directory: pathlib.Path) -> None:
    Cache("token", 60, "run").store({"a": "canary"}, time.time_ns(), "item", "v", "i")
    assert Cache("token", 60, "run").load("item", "v", "i") == {"a": "canary"}
    assert Cache("token", 60, "later").load("item", "v", "i") is None
    assert Cache("other", 60, "run").load("item", "v", "i") is None
    assert Cache("token", 60, "run").load("item", "v", "j") is None


def test_files_are_private_and_encrypted(directory: pathlib.Path) -> None:
    Cache("token", 60, "run").store("canary", time.time_ns(), "item", "vault-canary", "i")
    [entry] = entries(directory)
    assert stat.S_IMODE(entry.stat().st_mode) == 0o600
    assert stat.S_IMODE(entry.parent.stat().st_mode) == 0o700
    assert b"canary" not in entry.read_bytes()
    assert "canary" not in entry.name


def test_old_entries_are_ignored_and_removed(directory: pathlib.Path) -> None:
    cache = Cache("token", 60, "run")
    cache.store("x", time.time_ns() - 61 * 10**9, "k")
    assert cache.load("k") is None
    assert entries(directory) == []


def test_entries_of_dead_runs_are_removed(directory: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Cache("token", 60, "run").store("x", time.time_ns(), "k")
    later = time.time() + 61
    monkeypatch.setattr(_onepassword_cache.time, "time", lambda: later)
    Cache("another", 60, "later")
    assert entries(directory) == []


def test_a_write_invalidates_everything_before_it(directory: pathlib.Path) -> None:
    cache = Cache("token", 60, "run")
    requested = time.time_ns()
    cache.store("old", requested, "k")
    forget()
    assert cache.load("k") is None
    cache.store("requested before the write, received after it", requested, "k")
    assert cache.load("k") is None
    cache.store("new", time.time_ns(), "k")
    assert cache.load("k") == "new"


def test_a_write_during_a_store_is_no_failure(directory: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, replace = Cache("token", 60, "run"), os.replace

    def overtaken(source: str, target: str) -> None:
        forget()
        replace(source, target)

    monkeypatch.setattr(os, "replace", overtaken)
    cache.store("value", time.time_ns(), "k")
    assert cache.load("k") is None


def test_only_one_worker_holds_the_lock(directory: pathlib.Path) -> None:
    cache = Cache("token", 60, "run")
    with cache.locked(), open(cache.directory / "lock", "w") as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with open(cache.directory / "lock", "w") as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_damaged_entry_is_ignored(directory: pathlib.Path) -> None:
    cache = Cache("token", 60, "run")
    cache.store("x", time.time_ns(), "k")
    [entry] = entries(directory)
    entry.write_bytes(entry.read_bytes()[:-5])
    assert cache.load("k") is None


@pytest.mark.parametrize("kind", ["mode", "link", "file"])
def test_a_directory_that_others_could_use_is_refused(directory: pathlib.Path, kind: str) -> None:
    path = _onepassword_cache.directory()
    path.rmdir()
    if kind == "mode":
        path.mkdir()
        path.chmod(0o750)
    elif kind == "link":
        (directory / "real").mkdir(mode=0o700)
        path.symlink_to(directory / "real")
    else:
        path.write_text("")
    with pytest.raises(NixciError, match="must be a directory of the current user with mode 0700"):
        Cache("token", 60, "run")
    forget()  # nobody can have used it, so a write does not fail because of it


@pytest.mark.parametrize("action", ["store", "lock"])
def test_a_missing_directory_is_a_clear_error(directory: pathlib.Path, action: str) -> None:
    cache = Cache("token", 60, "run")
    cache.directory.rmdir()
    with pytest.raises(NixciError, match="Cannot write the 1Password cache in .*set cache_seconds to 0"):
        if action == "store":
            cache.store("canary", time.time_ns(), "k")
        else:
            cache.locked().__enter__()


def test_a_directory_of_somebody_else_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    path = _onepassword_cache.directory()
    monkeypatch.setattr(_onepassword_cache.os, "geteuid", lambda: 4242)
    path.rename(path.with_name("nixci-onepassword-4242"))
    with pytest.raises(NixciError, match="must be a directory of the current user"):
        Cache("token", 60, "run")


@pytest.mark.parametrize("seconds", [-1, 0, 901])
def test_the_time_is_bounded(seconds: int) -> None:
    with pytest.raises(InvalidError, match="between 0 and 900"):
        Cache("token", seconds, "run")


def test_a_missing_library_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    hide_library(monkeypatch, "cryptography")
    with pytest.raises(NixciError, match="needs the Python library cryptography"):
        Cache("token", 60, "run")


def test_a_run_is_identified_by_its_controller_process() -> None:
    run = current_run()
    assert run is not None
    assert run.startswith(f"{_onepassword_cache.os.getpid()}-")
    assert run == current_run()
