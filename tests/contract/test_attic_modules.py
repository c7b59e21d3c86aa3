# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules with the double always, with the real atticd and atticadm where LAB_ATTICD and LAB_ATTICADM name them."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time
import typing as t
from collections.abc import Iterator

import pytest
from ansible_collections.pantheros.nixci.plugins.module_utils._attic.client import AtticClient
from ansible_collections.pantheros.nixci.plugins.module_utils._core.duration import parse_duration
from ansible_collections.pantheros.nixci.plugins.module_utils._core.errors import UnavailableError
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.contract.atticd import (
    ALL,
    NAMESPACE,
    ROOT_TOKEN,
    SECRET,
    Atticd,
    Path,
    assert_signed,
    command_of,
    counter,
    fields,
    mint,
    running,
)
from tests.support.paths import ROOT

CLIENT = ROOT / "lab" / "attic" / "bin" / "attic"
KEY = base64.b64encode(SECRET).decode()
Result = dict[str, t.Any]
Run = t.Callable[..., Result]
needs_nix = pytest.mark.skipif(not shutil.which("nix"), reason="nix is not on PATH")
needs_atticadm = pytest.mark.skipif(not os.environ.get("LAB_ATTICADM"), reason="LAB_ATTICADM does not name atticadm")


class Environment:
    """One server, its modules, and a fresh name for each cache."""

    def __init__(self, server: Atticd, module: Run) -> None:
        self.server, self.module = server, module
        self.name = f"module-{next(counter)}"

    def cache(self, check: bool = False, **params: t.Any) -> Result:
        options = {"url": self.server.url, "token": ROOT_TOKEN, "name": self.name, "retries": 0, **params}
        return self.module("attic_cache", options, check=check)

    def token(self, check: bool = False, **params: t.Any) -> Result:
        options = {
            "signing_key": KEY,
            "algorithm": "HS256",
            "subject": "ci",
            "validity": "1h",
            "permissions": [{"caches": self.name, "pull": True, "push": True}],
            "url": self.server.url,
            "retries": 0,
        }
        return self.module("attic_token", {**options, **params}, check=check)

    def pushed(self) -> Path:
        path = Path()
        assert self.server.push(self.name, path).status_code == 200
        return path


@pytest.fixture(scope="module", params=["double", "real"])
def command(request: pytest.FixtureRequest) -> list[str]:
    return command_of(request.param)


@pytest.fixture(scope="module")
def server(command: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Atticd]:
    with running(command, tmp_path_factory.mktemp("atticd")) as server:
        yield server


@pytest.fixture
def environment(server: Atticd, module: Run) -> Environment:
    return Environment(server, module)


@pytest.fixture
def other(command: list[str], module: Run, tmp_path: pathlib.Path) -> Iterator[t.Callable[..., Environment]]:
    """A server with other settings, for one test."""
    with contextlib.ExitStack() as stack:
        yield lambda **changes: Environment(stack.enter_context(running(command, tmp_path, **changes)), module)


def keypair(name: str = "own-1") -> tuple[str, str]:
    """A key pair and its public half."""
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes_raw()
    secret = key.private_bytes_raw() + public
    return tuple(f"{name}:{base64.b64encode(raw).decode()}" for raw in (secret, public))


# -- attic_cache -----------------------------------------------------------------------------------------------


def test_a_cache_is_created_configured_and_destroyed(environment: Environment) -> None:
    options = {"retention_period": "30d", "priority": 30, "upstream_cache_key_names": ["cache.nixos.org-1", "up-1"]}
    predicted, done, again = (
        environment.cache(check=True, **options),
        environment.cache(**options),
        environment.cache(**options),
    )
    assert (predicted["changed"], predicted["diff"]) == (done["changed"], done["diff"]) == (True, done["diff"])
    assert (again["changed"], again["cache"]) == (False, done["cache"])
    reported = environment.server.config(environment.name)
    assert reported.pop("retention_period") == {"Period": 2_592_000}
    assert reported.items() <= done["cache"].items()
    assert done["cache"]["substituter_endpoint"] == f"{environment.server.url}/{environment.name}"
    assert environment.cache(retention_period="global", is_public=True)["changed"] is True
    assert environment.server.config(environment.name)["retention_period"] == "Global"
    assert environment.cache(state="absent")["changed"] is True
    assert environment.cache(state="absent")["changed"] is False


def test_the_next_run_makes_up_for_a_crash_between_the_two_requests(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: t.Any) -> None:
        raise UnavailableError("the cable was pulled.")

    with monkeypatch.context() as patch:
        patch.setattr(AtticClient, "configure", crash)
        failed = environment.cache(retention_period="30d")
    assert failed["failed"] and "the cable was pulled" in failed["msg"]
    assert environment.server.config(environment.name)["retention_period"] == "Global"
    repaired = environment.cache(retention_period="30d")
    assert repaired["diff"]["before"] == {**repaired["diff"]["after"], "retention_period": "global"}
    assert environment.server.config(environment.name)["retention_period"] == {"Period": 2_592_000}


def test_a_soft_deleted_name_is_explained_and_can_be_freed_as_described(other: t.Callable[..., Environment]) -> None:
    environment = other(**{"soft-delete-caches": True})
    environment.cache()
    environment.cache(state="absent")
    assert environment.cache(state="absent")["changed"] is False
    refused = environment.cache()
    assert refused["error"] == "CacheAlreadyExists"
    assert f"where name = '{environment.name}' and deleted_at is not null" in refused["msg"]
    environment.server.sql("DELETE FROM cache WHERE name = ? AND deleted_at IS NOT NULL", environment.name)
    assert environment.cache()["changed"] is True


def test_a_cache_with_a_key_of_ours_signs_with_it(environment: Environment) -> None:
    secret, public = keypair()
    assert environment.cache(check=True, keypair=secret)["cache"]["public_key"] == public
    done = environment.cache(keypair=f"{secret}\n")
    assert done["cache"]["public_key"] == public
    assert environment.cache(keypair=secret)["changed"] is False
    path = environment.pushed()
    assert_signed(fields(environment.server.narinfo(environment.name, path)), path, public)


def test_a_key_is_replaced_once_and_only_if_it_is_named(environment: Environment) -> None:
    first = environment.cache()["cache"]["public_key"]
    path = environment.pushed()
    secret, public = keypair()
    refused = environment.cache(keypair=secret)
    assert f"signs with {first}, not with the keypair, whose public key is {public}; nothing" in refused["msg"]
    assert environment.server.config(environment.name)["public_key"] == first

    predicted = environment.cache(check=True, keypair=secret, replace_public_key=first)
    done = environment.cache(keypair=secret, replace_public_key=first)
    assert (predicted["diff"], predicted["cache"]) == (done["diff"], done["cache"])
    assert done["cache"]["public_key"] == public
    assert any(first in warning and "30 days" in warning for warning in done.warnings)
    # What was pushed before is signed with the new key too.
    assert_signed(fields(environment.server.narinfo(environment.name, path)), path, public)
    assert environment.cache(keypair=secret, replace_public_key=first)["changed"] is False

    generated = environment.cache(replace_public_key=public)
    third = generated["cache"]["public_key"]
    assert third not in (first, public)
    assert_signed(fields(environment.server.narinfo(environment.name, path)), path, third)
    again = environment.cache(replace_public_key=public)
    assert (again["changed"], again["cache"]["public_key"]) == (False, third)


def test_a_key_pair_that_nobody_could_verify_is_refused_although_the_server_accepts_it(
    environment: Environment,
) -> None:
    secret, _ = keypair()
    name, _, encoded = secret.partition(":")
    broken = f"{name}:{base64.b64encode(base64.b64decode(encoded)[:32] + bytes(32)).decode()}"
    refused = environment.cache(keypair=broken)
    assert "its public half does not belong to its secret half" in refused["msg"]
    assert environment.server.ask("GET", f"/_api/v1/cache-config/{environment.name}").status_code == 404


def test_tokens_that_the_server_ignores_are_explained(environment: Environment) -> None:
    environment.cache()
    for token, status, message in [
        (mint({"*": ALL}, exp=1000), 401, "it expired on 1970-01-01"),
        (mint({"*": ALL}, nbf=int(time.time()) + 900), 401, "it is not valid before"),
        (mint({"*": ALL}, b"another secret, as long as the own"), 401, "does not accept its signature"),
        (
            mint({environment.name: {"w": 1}}),
            403,
            "lacks the right pull on this cache, without which it cannot be compared",
        ),
        (mint({"other": {"r": 1}}), 401, "lacks the right pull on this cache"),
    ]:
        refused = environment.cache(token=token)
        assert (refused["failed"], refused["status"]) == (True, status)
        assert message in refused["msg"]
    environment.cache(is_public=True)
    expired = environment.cache(token=mint({"*": ALL}, exp=1000))
    assert expired["changed"] is False
    assert any("the server ignores it because it expired on" in warning for warning in expired.warnings)


def test_addresses_that_clients_could_not_use_are_remarked(other: t.Callable[..., Environment]) -> None:
    environment = other(**{"api-endpoint": "https://cache.example.org"})
    done = environment.cache()
    assert done["cache"]["substituter_endpoint"] == f"https://cache.example.org{environment.name}"
    assert any("end api-endpoint and substituter-endpoint" in warning for warning in done.warnings)


@needs_nix
def test_nix_understands_the_lines_for_its_configuration(environment: Environment) -> None:
    done = environment.cache()["cache"]
    variables = {**os.environ, "NIX_CONFIG": "\n".join([*done["nix_conf"], "experimental-features = nix-command"])}
    said = subprocess.run(["nix", "show-config", "--json"], env=variables, capture_output=True, text=True, check=True)
    config = json.loads(said.stdout)
    assert done["substituter_endpoint"] in config["substituters"]["value"]
    assert done["public_key"] in config["trusted-public-keys"]["value"]
    assert len(config["trusted-public-keys"]["value"]) > 1, "the keys that were trusted before still are"


# -- attic_token -----------------------------------------------------------------------------------------------


def test_a_minted_token_is_accepted_and_grants_what_it_says(environment: Environment) -> None:
    environment.cache()
    minted = environment.token(verify=True)
    assert minted["verified"] is True
    path = Path()
    assert environment.server.push(environment.name, path, minted["token"]).status_code == 200
    assert environment.server.narinfo(environment.name, path, minted["token"]).status_code == 200
    assert environment.server.patch(environment.name, minted["token"], priority=1).status_code == 403
    assert environment.token(verify=True, current=minted["token"])["kept"] is True


@pytest.mark.parametrize("form", ["TraditionalOpenSSL", "PKCS8"])
def test_an_rs256_token_for_a_bound_server(other: t.Callable[..., Environment], form: str) -> None:
    pem = rsa.generate_private_key(65537, 2048).private_bytes(
        Encoding.PEM, getattr(PrivateFormat, form), NoEncryption()
    )
    key = base64.b64encode(pem).decode()
    bound = {"token-bound-issuer": "nixci ä", "token-bound-audiences": ["fleet", "other"]}
    environment = other(jwt={**bound, "signing": {"token-rs256-secret-base64": key}})
    right = {"signing_key": key, "algorithm": "RS256", "issuer": "nixci ä", "audiences": ["x", "fleet"], "verify": True}
    assert environment.token(**right)["verified"] is True
    assert environment.token(**right, check=True)["verified"] is True
    for wrong in ({"issuer": None}, {"issuer": "nixci"}, {"audiences": None}, {"audiences": ["x"]}):
        refused = environment.token(**{**right, **wrong})
        assert (refused["failed"], refused["status"], refused["error"]) == (True, 401, "Unauthorized")
        assert "bound to another issuer or other audiences" in refused["msg"]
    assert "another signing key" in environment.token(verify=True)["msg"]


def test_a_clock_that_is_ahead_is_named(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    later = time.time() + 3600
    monkeypatch.setattr("time.time", lambda: later)
    assert "its clock shows 20" in environment.token(verify=True)["msg"]


def test_what_is_not_attic_verifies_nothing(environment: Environment) -> None:
    refused = environment.token(verify=True, url=f"{environment.server.url}/{environment.name}")
    assert (refused["failed"], refused["error"]) == (True, "NotFound")
    assert "cannot reach" in environment.token(verify=True, url="http://127.0.0.1:9")["msg"]


def test_the_client_works_with_the_written_configuration(environment: Environment, tmp_path: pathlib.Path) -> None:
    public_key = environment.cache()["cache"]["public_key"]
    environment.token(server_name="a+b", config_path=str(tmp_path / "attic" / "config.toml"), verify=True)
    for reference in (environment.name, f"a+b:{environment.name}"):
        said = subprocess.run(
            [sys.executable, str(CLIENT), "cache", "info", reference],
            env={"PATH": os.environ["PATH"], "XDG_CONFIG_HOME": str(tmp_path)},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert f"Public Key: {public_key}" in said.stderr


@needs_nix
def test_nix_works_with_the_written_netrc(environment: Environment, tmp_path: pathlib.Path) -> None:
    environment.cache()
    path = environment.pushed()
    environment.token(netrc_path=str(tmp_path / "netrc"))
    ask = ["nix", "--extra-experimental-features", "nix-command", "path-info", "--store"]
    ask += [f"{environment.server.url}/{environment.name}", path.path, "--option", "netrc-file"]
    variables = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    (tmp_path / "empty").write_text("")
    without = subprocess.run([*ask, str(tmp_path / "empty")], env=variables, capture_output=True, check=False)
    assert without.returncode != 0
    subprocess.run([*ask, str(tmp_path / "netrc")], env=variables, capture_output=True, check=True)


# -- attic_roundtrip -------------------------------------------------------------------------------------------


@pytest.fixture
def roundtrip(other: t.Callable[..., Environment], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> t.Any:
    """A run of the module with the real Nix, against a server of its own."""
    if not shutil.which("nix"):
        pytest.skip("nix is not on PATH")
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "attic").write_text(f'#!/bin/sh\nexec {sys.executable} {CLIENT} "$@"\n')
    (programs / "attic").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    for variable in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(variable, str(tmp_path))  # restored afterwards: the module changes them
    environment = other()
    key = environment.cache()["cache"]["public_key"]

    def run(token: str = ROOT_TOKEN) -> Result:
        params = {"url": environment.server.url, "cache": environment.name, "public_key": key, "token": token}
        return environment.module("attic_roundtrip", params)

    run.server = environment.server  # type: ignore[attr-defined]
    return run


def test_each_round_trip_pushes_something_new_and_small(roundtrip: t.Any) -> None:
    first, second = roundtrip(), roundtrip()
    assert (first["failed"], second["failed"]) == (False, False), (first, second)
    assert first["path"] != second["path"]
    assert not any(os.path.exists(done["path"]) for done in (first, second))
    [(objects, size)] = roundtrip.server.sql("SELECT count(*), sum(nar_size) FROM object JOIN nar ON nar.id = nar_id")
    assert objects == 2 and size <= 2 * 300
    [(chunks, stored)] = roundtrip.server.sql("SELECT count(*), sum(file_size) FROM chunk")
    assert chunks == 2 and stored <= 2 * 300


def test_a_cache_that_accepts_nothing_fails_the_round_trip(roundtrip: t.Any) -> None:
    assert not roundtrip()["failed"]
    reader = roundtrip(mint({"*": {"r": 1}}))
    assert reader["failed"] and "AccessError" in reader["msg"]
    storage = roundtrip.server.folder / "storage"
    shutil.rmtree(storage)
    storage.write_text("full")
    refused = roundtrip()
    assert refused["failed"] and "InternalServerError" in refused["msg"]


# -- the server's own tool -------------------------------------------------------------------------------------


def atticadm(folder: pathlib.Path, *arguments: str, **variables: str) -> str:
    server = Atticd([""], folder, jwt={"token-bound-issuer": "nixci ä", "token-bound-audiences": ["fleet"]})
    command = [os.environ["LAB_ATTICADM"], "-f", str(server.folder / "server.toml"), "make-token", *arguments]
    made = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    return made.stdout.strip()


@needs_atticadm
@pytest.mark.parametrize("algorithm", ["HS256", "RS256"])
@pytest.mark.parametrize("subject", ["ci", 'J\u00f6rg "\U0001f600"\\\t\x01\x7f\u2028'])
def test_tokens_equal_those_of_atticadm(
    module: Run, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, algorithm: str, subject: str
) -> None:
    pem = rsa.generate_private_key(65537, 2048).private_bytes(
        Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()
    )
    key = base64.b64encode(pem if algorithm == "RS256" else SECRET).decode()
    flags = "--pull ci-* --pull * --push ci-* --create-cache z --configure-cache z --configure-cache-retention z"
    arguments = ["--validity", "1y 6months", *flags.split(), "--destroy-cache", "z", "--delete", "z"]
    variable = f"ATTIC_SERVER_TOKEN_{algorithm}_SECRET_BASE64"
    theirs = atticadm(tmp_path, "--sub", subject, *arguments, **{variable: key})
    body = theirs.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    # The tool's token is valid from its making on, ours from a minute before; so ours is made a minute later.
    monkeypatch.setattr("time.time", lambda: claims["nbf"] + 60.0)
    more = dict.fromkeys(
        ("delete", "create_cache", "configure_cache", "configure_cache_retention", "destroy_cache"), True
    )
    ours = module(
        "attic_token",
        {
            "signing_key": key,
            "algorithm": algorithm,
            "subject": subject,
            "issuer": "nixci ä",
            "audiences": ["fleet"],
            "validity": claims["exp"] - claims["nbf"] - 60,
            "permissions": [
                {"caches": "ci-*", "pull": True, "push": True},
                {"caches": "*", "pull": True},
                {"caches": "z", **more},
            ],
        },
    )
    assert list(claims[NAMESPACE]["caches"]) == ["ci-*", "*", "z"]
    assert ours["token"] == theirs


@needs_atticadm
@pytest.mark.parametrize(
    "text",
    ["30d", "1h 30min", "1.5h", "0.25 d", "1 000 s", "1M", "1 year 6 months", "2wks1hr", "1500ms", " 1d ", "1d1d"],
)
def test_durations_are_those_of_atticadm(tmp_path: pathlib.Path, text: str) -> None:
    variable = {"ATTIC_SERVER_TOKEN_HS256_SECRET_BASE64": KEY}
    claims = json.loads(atticadm(tmp_path, "--sub", "x", f"--validity={text}", "--dump-claims", **variable))
    # The tool adds to the time with its fraction of a second.
    assert claims["exp"] - claims["nbf"] - parse_duration("validity", text) in (0, 1)
