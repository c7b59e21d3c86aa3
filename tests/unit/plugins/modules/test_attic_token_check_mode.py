# SPDX-License-Identifier: GPL-3.0-or-later
"""The check-mode contract of attic_token, whatever token and files exist."""

from __future__ import annotations

import base64
import pathlib
import shutil
import typing as t

import hypothesis
import hypothesis.strategies as st
import pytest

from tests.support.check_mode import assert_check_mode_contract

NOW = 1_795_000_000
DAY = 86_400
KEYS = [base64.b64encode(letter * 32).decode() for letter in (b"a", b"b")]
ENTRIES = st.fixed_dictionaries(
    {"caches": st.sampled_from(["*", "ci-*", "ci-cache", "other"])},
    optional={right: st.booleans() for right in ("pull", "push", "create_cache", "destroy_cache")},
)
DESIRED = st.fixed_dictionaries(
    {
        "signing_key": st.sampled_from([KEYS[0], *KEYS]),
        "algorithm": st.just("HS256"),
        "subject": st.sampled_from(["ci", "root"]),
        "validity": st.sampled_from(["90d", "1.5h", "3600", "soon"]),
        "permissions": st.lists(ENTRIES, max_size=3, unique_by=lambda entry: entry["caches"])
        | st.just([{"caches": "a b"}]),
    },
    optional={
        "renew_before": st.sampled_from(["10m", "30d"]),
        "issuer": st.sampled_from(["", "nixci"]),
        "audiences": st.sampled_from([[], ["a"], ["b", "a"]]),
    },
)
FILES = st.fixed_dictionaries({}, optional={"config_path": st.just("config.toml"), "netrc_path": st.just("deep/netrc")})
MODES = st.sampled_from([{}, {"mode": "0640"}, {"mode": "u=rw,go="}, {"mode": "g+r"}, {"mode": "rw"}])
CONTENT = st.sampled_from(
    [
        *(None, "", "machine cache.example.org password old\n", "machine other password x\n", "{", "listen = 1\n"),
        *(f'[servers.attic]\nendpoint = "https://{host}.example.org/"\n' for host in ("cache", "other")),
    ]
)


def test_check_run_again(
    module: t.Callable[..., dict[str, t.Any]], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [NOW]
    monkeypatch.setattr("time.time", lambda: float(clock[0]))
    folder = tmp_path / "files"

    def tree() -> dict[str, tuple[str, int]]:
        return {
            str(path): (path.read_text(), path.stat().st_mode & 0o777) for path in folder.rglob("*") if path.is_file()
        }

    @hypothesis.settings(max_examples=150, deadline=None, derandomize=True)
    @hypothesis.given(
        old=st.none() | DESIRED.filter(lambda desired: desired["validity"] != "soon"),
        desired=DESIRED,
        same=st.booleans(),
        age=st.sampled_from([0, 1800, 61 * DAY, 100 * DAY]),
        files=FILES,
        content=CONTENT,
        mode=st.sampled_from([0o600, 0o644]),
        wanted=MODES,
    )
    def holds(
        old: dict[str, t.Any] | None,
        desired: dict[str, t.Any],
        same: bool,
        age: int,
        files: dict[str, str],
        content: str | None,
        mode: int,
        wanted: dict[str, str],
    ) -> None:
        clock[0] = NOW - age
        current = module("attic_token", desired if same else old).get("token") if old or same else None
        clock[0] = NOW
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        params = {**desired, **{option: str(folder / name) for option, name in files.items()}, **wanted}
        if files:
            params["url"] = "https://cache.example.org"
            if content is not None:
                (folder / "config.toml").write_text(content)
                (folder / "config.toml").chmod(mode)
        store = [current]

        def run(*, check: bool = False) -> dict[str, t.Any]:
            result = module("attic_token", {**params, "current": store[0]}, check=check)
            if not check and not result["failed"]:
                store[0] = result["token"]
            return result

        assert_check_mode_contract(
            run,
            lambda: (store[0], tree()),
            unknown=["token", "client_config", "netrc"],
            once=["kept", "reason"],
        )

    holds()
