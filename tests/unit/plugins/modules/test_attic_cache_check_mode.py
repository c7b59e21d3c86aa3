# SPDX-License-Identifier: GPL-3.0-or-later
"""The check-mode contract of attic_cache, whatever exists and whatever is desired."""

from __future__ import annotations

import base64
import pathlib
import typing as t

import hypothesis
import hypothesis.strategies as st
import requests
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lab.attic.server import create_app
from tests.support.check_mode import assert_check_mode_contract
from tests.unit.plugins.modules.test_attic_cache import ALL, ROOT, SECRET, token

UNKNOWN = [f"cache.{name}" for name in ("public_key", "substituter_endpoint", "api_endpoint", "nix_conf")]


def keypair(seed: bytes) -> tuple[str, str]:
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    return tuple(f"own-{seed[0]}:{base64.b64encode(raw).decode()}" for raw in (seed + public, public))


PAIRS = [keypair(bytes([number]) * 32) for number in (1, 2)]
SETTINGS = {
    "is_public": st.booleans(),
    "priority": st.sampled_from([-1, 30, 41]),
    "store_dir": st.sampled_from(["/nix/store", "/gnu/store"]),
    "upstream_cache_key_names": st.sampled_from([[], ["cache.nixos.org-1"], ["b", "a"]]),
}
BEFORE = st.none() | st.fixed_dictionaries(
    {
        **SETTINGS,
        "retention_period": st.sampled_from(["Global", {"Period": 0}, {"Period": 86_400}]),
        "keypair": st.sampled_from(["Generate", *({"Keypair": secret} for secret, _ in PAIRS)]),
    }
)
DESIRED = st.fixed_dictionaries(
    {"state": st.sampled_from(["present", "present", "present", "absent"])},
    optional={
        **SETTINGS,
        "priority": st.sampled_from([-1, 30, 41, 2**31]),
        "retention_period": st.sampled_from(["global", "1d", "86400", "0", "Global"]),
        "keypair": st.sampled_from([*(secret for secret, _ in PAIRS), "broken:AAAA", ""]),
        "replace_public_key": st.sampled_from(["what there is", *(public for _, public in PAIRS), "broken"]),
        "token": st.sampled_from(
            [token({"ci-cache": rights}) for rights in (("r",), ("r", "cr"), ("r", "cc"), ("cc", "cr", "cq"), ("w",))]
            + [token({"*": ALL}, exp=1000)]
        ),
    },
)


def test_check_run_again(
    serve: t.Callable[[t.Any], str], module: t.Callable[..., dict[str, t.Any]], tmp_path: pathlib.Path
) -> None:
    url = serve(create_app(data_dir=tmp_path, token_secret_hs256=SECRET))
    path = f"{url}/_api/v1/cache-config/ci-cache"
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {ROOT}"

    def state() -> dict[str, t.Any]:
        return session.get(path, timeout=5).json()

    def put(before: dict[str, t.Any] | None) -> None:
        session.delete(path, timeout=5)
        if before:
            assert session.post(path, json=before, timeout=5).ok
            assert session.patch(path, json={"retention_period": before["retention_period"]}, timeout=5).ok

    @hypothesis.settings(max_examples=60, deadline=None, derandomize=True)
    @hypothesis.given(before=BEFORE, desired=DESIRED)
    def holds(before: dict[str, t.Any] | None, desired: dict[str, t.Any]) -> None:
        put(before)
        if desired.get("replace_public_key") == "what there is":
            desired = {**desired, "replace_public_key": state().get("public_key")}
        params = {"url": url, "token": ROOT, "name": "ci-cache", "retries": 0, **desired}

        def run(*, check: bool = False) -> dict[str, t.Any]:
            return module("attic_cache", params, check=check)

        # A public cache does not show before the first change that a token is not accepted.
        assert_check_mode_contract(run, state, unknown=UNKNOWN)

    holds()
