# SPDX-License-Identifier: GPL-3.0-or-later
"""One suite for two servers: the Attic double always, the real atticd where LAB_ATTICD names it."""

from __future__ import annotations

import base64
import concurrent.futures
import hashlib
import hmac
import http.client
import json
import os
import pathlib
import re
import socket
import subprocess
import time
import typing as t
from collections.abc import Iterator

import pytest
import requests
import zstandard
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tests.contract.atticd import (
    ALL,
    COMMANDS,
    NAMESPACE,
    NEW_CACHE,
    ROOT_TOKEN,
    SECRET,
    TOML,
    Atticd,
    Path,
    assert_signed,
    command_of,
    fields,
    mint,
    nix32,
    running,
)


@pytest.fixture(scope="module", params=["double", "real"])
def command(request: pytest.FixtureRequest) -> list[str]:
    return command_of(request.param)


@pytest.fixture(scope="module")
def attic(command: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Atticd]:
    """A server that all tests of one command share; each takes caches of its own."""
    with running(command, tmp_path_factory.mktemp("atticd")) as server:
        yield server


@pytest.fixture
def other(command: list[str], tmp_path: pathlib.Path) -> Iterator[t.Callable[..., Atticd]]:
    """A server with other settings, for one test."""
    started: list[Atticd] = []

    def make(*, start: bool = True, **changes: t.Any) -> Atticd:
        folder = tmp_path / str(len(started))
        folder.mkdir()
        started.append(Atticd(command, folder, **changes))
        if start:
            started[-1].start()
        return started[-1]

    yield make
    for server in started:
        server.stop()


def assert_error(answer: requests.Response, code: int, error: str) -> None:
    assert answer.headers["Content-Type"] == "application/json", answer.text
    body = answer.json()
    assert set(body) == {"code", "error", "message"}
    assert (answer.status_code, body["code"], body["error"]) == (code, code, error), body


def assert_text(answer: requests.Response, code: int, beginning: str) -> None:
    assert answer.headers["Content-Type"].startswith("text/plain"), answer.text
    assert answer.status_code == code
    assert answer.text.startswith(beginning)


def unpacked(nar: requests.Response) -> bytes:
    assert nar.status_code == 200, nar.text
    assert nar.headers["Content-Type"] == "application/x-nix-nar"
    return zstandard.ZstdDecompressor().stream_reader(nar.content, read_across_frames=True).read()


# -- configuration and modes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "environment", "code", "word"),
    [
        ({}, {}, 0, ""),
        ({"chunking": {**TOML["chunking"], "typo": 1}}, {}, 0, ""),
        ({"unknown": 1}, {}, 1, "unknown field `unknown`"),
        ({"listen": "localhost:8080"}, {}, 1, "invalid socket address"),
        ({"chunking": None}, {}, 1, "missing field `chunking`"),
        ({"chunking": {"nar-size-threshold": 0, "min-size": 1, "avg-size": 1}}, {}, 1, "missing field `max-size`"),
        ({"database": None}, {}, 1, "missing field `database`"),
        ({"storage": {"type": "s3", "region": "r"}}, {}, 1, "missing field `bucket`"),
        ({"storage": {"type": "ftp"}}, {}, 1, "unknown variant `ftp`"),
        ({"compression": {"type": "gzip"}}, {}, 1, "unknown variant `gzip`"),
        ({"allowed-hosts": "one"}, {}, 1, "allowed-hosts"),
        ({"garbage-collection": {"interval": "often"}}, {}, 1, "interval"),
        ({"token-hs256-secret-base64": "eHg="}, {}, 1, "has been moved to [jwt.signing]"),
        ({"jwt": {"signing": {"token-hs256-secret-base64": "%"}}}, {}, 1, "[jwt.signing]"),
        ({"jwt": {"signing": {"other": "eHg="}}}, {}, 1, "token-hs256-secret-base64"),
        ({}, {"ATTIC_SERVER_TOKEN_HS256_SECRET_BASE64": None}, 101, "must configure JWT signing"),
        ({}, {"ATTIC_SERVER_TOKEN_HS256_SECRET_BASE64": ""}, 101, "must configure JWT signing"),
        ({}, {"ATTIC_SERVER_TOKEN_HS256_SECRET_BASE64": "%"}, 101, "cannot be decoded"),
        ({}, {"ATTIC_SERVER_TOKEN_HS256_SECRET_BASE64": "YQ"}, 101, "cannot be decoded"),
        ({}, {"ATTIC_SERVER_TOKEN_HS256_SECRET_BASE64": "YR=="}, 101, "cannot be decoded"),  # stray bits
        ({}, {"ATTIC_SERVER_TOKEN_RS256_SECRET_BASE64": "eHg="}, 101, "cannot be decoded"),
        ({"database": {}}, {}, 101, "ATTIC_SERVER_DATABASE_URL"),
        ({"database": {}}, {"ATTIC_SERVER_DATABASE_URL": "sqlite://x"}, 0, ""),
    ],
)
def test_configuration_is_checked(
    other: t.Callable[..., Atticd],
    changes: dict[str, t.Any],
    environment: dict[str, str | None],
    code: int,
    word: str,
) -> None:
    checked = other(start=False, **changes).run("check-config", **environment)
    assert checked.returncode == code, checked.stderr
    assert word in checked.stderr


def test_broken_toml_and_missing_file_end_with_1(other: t.Callable[..., Atticd]) -> None:
    server = other(start=False)
    (server.folder / "server.toml").write_text("listen = ")
    assert server.run("check-config").returncode == 1
    (server.folder / "server.toml").unlink()
    assert server.run("check-config").returncode == 1


def test_configuration_from_the_environment(command: list[str], other: t.Callable[..., Atticd]) -> None:
    server = other(start=False)
    encoded = base64.b64encode((server.folder / "server.toml").read_bytes()).decode()
    environment = {**server.environment, "ATTIC_SERVER_CONFIG_BASE64": encoded}
    run = subprocess.run([*command, "--mode", "check-config"], env=environment, check=False, capture_output=True)
    assert run.returncode == 0


def test_modes(other: t.Callable[..., Atticd]) -> None:
    server = other(start=False)
    server.start("api-server")  # does not migrate
    assert server.ask("GET", "/").status_code == 200
    assert_error(server.ask("GET", "/_api/v1/cache-config/c"), 500, "InternalServerError")
    assert server.run("garbage-collector-once").returncode == 1
    assert server.run("db-migrations").returncode == 0
    assert server.run("garbage-collector-once").returncode == 0
    assert server.run("garbage-collector").returncode == 0  # interval 0: nothing to do
    assert server.config(server.create())
    assert server.stop() == 0  # SIGTERM ends it in good order


def test_schema_is_the_one_that_statistics_read(attic: Atticd) -> None:
    expected = {
        "cache": "id name keypair is_public store_dir priority upstream_cache_key_names created_at deleted_at"
        " retention_period",
        "object": "id cache_id nar_id store_path_hash store_path references system deriver sigs ca created_at"
        " last_accessed_at created_by",
        "nar": "id state nar_hash nar_size compression num_chunks holders_count created_at",
        "chunk": "id state chunk_hash chunk_size file_hash file_size compression remote_file remote_file_id"
        " holders_count created_at",
        "chunkref": "id nar_id seq chunk_id",
        "seaql_migrations": "version applied_at",
    }
    found = {table: {row[1] for row in attic.sql(f"PRAGMA table_info({table})")} for table in expected}
    assert found == {table: set(columns.split()) for table, columns in expected.items()}


@pytest.mark.skipif(not os.environ.get("LAB_ATTICD"), reason="LAB_ATTICD does not name a real atticd")
@pytest.mark.parametrize("order", [("double", "real", "double"), ("real", "double", "real")], ids="-".join)
def test_each_server_continues_what_the_other_began(tmp_path: pathlib.Path, order: tuple[str, ...]) -> None:
    server = Atticd(COMMANDS[order[0]], tmp_path)
    server.start()
    cache, paths = server.create(), []
    key = server.config(cache)["public_key"]
    for name in order:
        server.stop()
        server.command = COMMANDS[name]
        server.start()
        paths += [Path(), Path(200_000)]
        for path in paths[-2:]:
            assert server.push(cache, path).json()["kind"] == "Uploaded"
        for path in paths:
            assert unpacked(server.nar(cache, path)) == path.nar
            assert_signed(fields(server.narinfo(cache, path)), path, key)
    server.patch(cache, retention_period={"Period": 1})
    time.sleep(2.1)
    assert server.run("garbage-collector-once").returncode == 0
    assert server.stop() == 0
    assert files(server) == ["VERSION"]


# -- caches ----------------------------------------------------------------------------------------------------


def test_life_of_a_cache(attic: Atticd) -> None:
    cache = attic.create()
    config = attic.config(cache)
    assert list(config) == [
        "substituter_endpoint", "api_endpoint", "public_key", "is_public", "store_dir", "priority",
        "upstream_cache_key_names", "retention_period",
    ]  # fmt: skip
    assert config.pop("public_key").startswith(f"{cache}:")
    assert config == {
        "substituter_endpoint": f"{attic.url}/{cache}",
        "api_endpoint": f"{attic.url}/",
        "is_public": False,
        "store_dir": "/nix/store",
        "priority": 41,
        "upstream_cache_key_names": ["cache.nixos.org-1"],
        "retention_period": "Global",
    }
    assert attic.ask("GET", f"/{cache}/attic-cache-info").json()["priority"] == 41
    gone = attic.ask("DELETE", f"/_api/v1/cache-config/{cache}")
    assert (gone.status_code, gone.content) == (200, b"")
    assert_error(attic.ask("GET", f"/_api/v1/cache-config/{cache}"), 404, "NoSuchCache")
    assert_error(attic.ask("DELETE", f"/_api/v1/cache-config/{cache}"), 404, "NoSuchCache")
    assert_error(attic.ask("GET", f"/{cache}/nix-cache-info", None), 401, "Unauthorized")


def test_create_twice_and_again_after_destroy(attic: Atticd) -> None:
    cache = attic.create()
    first = attic.config(cache)["public_key"]
    again = attic.ask("POST", f"/_api/v1/cache-config/{cache}", json=NEW_CACHE)
    assert_error(again, 400, "CacheAlreadyExists")
    attic.ask("DELETE", f"/_api/v1/cache-config/{cache}")
    assert attic.ask("POST", f"/_api/v1/cache-config/{cache}", json=NEW_CACHE).status_code == 200
    assert attic.config(cache)["public_key"] != first


def test_soft_deleted_names_stay_taken(other: t.Callable[..., Atticd]) -> None:
    server = other(**{"soft-delete-caches": True})
    cache = server.create()
    assert server.ask("DELETE", f"/_api/v1/cache-config/{cache}").status_code == 200
    assert_error(server.ask("GET", f"/_api/v1/cache-config/{cache}"), 404, "NoSuchCache")
    assert_error(server.ask("POST", f"/_api/v1/cache-config/{cache}", json=NEW_CACHE), 400, "CacheAlreadyExists")


@pytest.mark.parametrize("field", NEW_CACHE)
def test_create_needs_every_field(attic: Atticd, field: str) -> None:
    body = {name: value for name, value in NEW_CACHE.items() if name != field}
    answer = attic.ask("POST", "/_api/v1/cache-config/incomplete", json=body)
    assert_text(answer, 422, f"Failed to deserialize the JSON body into the target type: missing field `{field}`")


@pytest.mark.parametrize(
    "change",
    [
        {"keypair": "Other"},
        {"keypair": {"Keypair": "no colon"}},
        {"keypair": {"Keypair": ":" + base64.b64encode(bytes(64)).decode()}},
        {"keypair": {"Keypair": "name:" + base64.b64encode(bytes(32)).decode()}},
        {"keypair": {"Keypair": "name:" + base64.b64encode(bytes(64)).decode()[:-3] + "B=="}},
        {"is_public": "yes"},
        {"is_public": None},
        {"priority": 1.5},
        {"priority": 2**31},
        {"upstream_cache_key_names": "one"},
        {"upstream_cache_key_names": [1]},
    ],
    ids=str,
)
def test_create_refuses_wrong_values(attic: Atticd, change: dict[str, t.Any]) -> None:
    answer = attic.ask("POST", "/_api/v1/cache-config/wrong", json={**NEW_CACHE, **change})
    assert_text(answer, 422, "Failed to deserialize")


def test_unreadable_bodies_are_refused_before_the_token_is_looked_at(attic: Atticd) -> None:
    path = "/_api/v1/cache-config/unreadable"
    for token in (ROOT_TOKEN, None):
        assert_text(attic.ask("POST", path, token, data=json.dumps(NEW_CACHE)), 415, "Expected request with")
        json_type = {"Content-Type": "application/json"}
        broken = attic.ask("POST", path, token, data=b"{", headers=json_type)
        assert_text(broken, 400, "Failed to parse the request body as JSON")
        assert_text(attic.ask("POST", path, token, json=[]), 422, "Failed to deserialize")
        big = attic.ask("POST", path, token, data=b" " * (2**21 + 1), headers=json_type)
        assert_text(big, 413, "Failed to buffer the request body")
    assert_error(attic.ask("POST", path, None, json=NEW_CACHE), 401, "Unauthorized")


def test_create_ignores_what_it_does_not_know(attic: Atticd) -> None:
    cache = attic.create(retention_period={"Period": 5}, whatever=1)
    assert attic.config(cache)["retention_period"] == "Global"


def test_configure(attic: Atticd) -> None:
    cache = attic.create()
    changes = {"store_dir": "/gnu/store", "priority": -3, "upstream_cache_key_names": [], "is_public": True}
    answer = attic.patch(cache, **changes)
    assert (answer.status_code, answer.content) == (200, b"")
    assert changes.items() <= attic.config(cache).items()
    info = attic.ask("GET", f"/{cache}/nix-cache-info", None)
    assert info.text == "WantMassQuery: 1\nStoreDir: /gnu/store\nPriority: -3\n"
    assert info.headers["Content-Type"] == "text/x-nix-cache-info"


def test_configure_needs_something_to_change(attic: Atticd) -> None:
    cache = attic.create()
    for body in ({}, {"public_key": "x"}, {"priority": None}, {"api_endpoint": "x", "unknown": 1}):
        assert_error(attic.patch(cache, **body), 400, "RequestError")
    assert_text(attic.patch(cache, api_endpoint=1), 422, "Failed to deserialize")


def test_retention(attic: Atticd) -> None:
    cache = attic.create()
    for stored in ({"Period": 2592000}, {"Period": 0}, {"Period": 2**31 - 1}, "Global"):
        assert attic.patch(cache, retention_period=stored).status_code == 200
        assert attic.config(cache)["retention_period"] == stored
    assert_error(attic.patch(cache, retention_period={"Period": 3000000000}), 400, "RequestError")
    for refused in (
        {"Period": -1},
        {"Period": 2**32},
        {"Period": "1"},
        {"Period": 1.0},
        {"Other": 1},
        "Never",
        "Period",
    ):
        assert_text(attic.patch(cache, retention_period=refused), 422, "Failed to deserialize")
    for broken in (5, {}, {"Period": 1, "Global": 2}):
        assert_text(attic.patch(cache, retention_period=broken), 400, "Failed to parse")


def test_retention_needs_its_own_right_and_nothing_is_applied_without(attic: Atticd) -> None:
    cache = attic.create()
    token = mint({cache: {"cr": 1, "r": 1}})
    assert_error(attic.patch(cache, token, priority=1, retention_period="Global"), 403, "AccessError")
    assert attic.config(cache)["priority"] == 41
    assert attic.patch(cache, token, priority=1).status_code == 200


def test_signing_key_can_be_replaced(attic: Atticd) -> None:
    cache, path = attic.create(), Path()
    attic.push(cache, path)
    before = attic.config(cache)["public_key"], fields(attic.narinfo(cache, path))["Sig"]
    assert attic.patch(cache, keypair="Generate").status_code == 200
    after = attic.config(cache)["public_key"], fields(attic.narinfo(cache, path))["Sig"]
    assert before[0] != after[0] and before[1] != after[1]

    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    own = "own-1:" + base64.b64encode(key.private_bytes_raw() + public).decode()
    assert attic.patch(cache, keypair={"Keypair": own}).status_code == 200
    config = attic.config(cache)
    assert config["public_key"] == "own-1:" + base64.b64encode(public).decode()
    assert "keypair" not in config
    assert_signed(fields(attic.narinfo(cache, path)), path, config["public_key"])
    with pytest.raises(InvalidSignature):
        assert_signed(fields(attic.narinfo(cache, path)), Path(), config["public_key"])
    assert_text(attic.patch(cache, keypair={"Keypair": "own:AAAA"}), 422, "Failed to deserialize")
    # A public half that does not belong to the seed is taken, and what it signs is worth nothing.
    odd = "odd:" + base64.b64encode(bytes(64)).decode()
    assert attic.patch(cache, keypair={"Keypair": odd}).status_code == 200
    assert attic.config(cache)["public_key"] == "odd:" + base64.b64encode(bytes(32)).decode()


# -- URLs and hosts --------------------------------------------------------------------------------------------


def test_names_in_urls(attic: Atticd) -> None:
    for name in ("_bad", "-bad", "a" * 51, "a.b"):
        for path in (f"/_api/v1/cache-config/{name}", f"/{name}/nix-cache-info", f"/{name}/{'0' * 32}.narinfo"):
            assert_text(attic.ask("GET", path, None), 400, "Invalid URL: ")
    assert_error(attic.ask("GET", f"/_api/v1/cache-config/{'a' * 50}"), 404, "NoSuchCache")
    assert_error(attic.ask("GET", "/_api/v1/cache-config/a+b_c-D9"), 404, "NoSuchCache")


def test_paths_that_are_nothing(attic: Atticd) -> None:
    cache = attic.create()
    for path in ("/x", "/a/b/c/d", f"/{cache}/x", f"/{cache}/x.ls", f"/{cache}/nar/x", f"/{cache}/nar/x.nar.xz",
                 f"/{cache}/nix-cache-info/"):  # fmt: skip
        assert_error(attic.ask("GET", path), 404, "NotFound")
    for path in (f"/{cache}/short.narinfo", f"/{cache}/nar/short.nar", f"/{cache}/{'e' * 32}.narinfo"):
        assert_error(attic.ask("GET", path), 500, "InvalidStorePathHash")
    assert_text(attic.missing(cache, "short"), 422, "Failed to deserialize")
    assert_text(attic.missing("_bad", "0" * 32), 422, "Failed to deserialize")


def test_other_methods(attic: Atticd) -> None:
    for method, path in (("POST", "/"), ("PUT", "/c/nix-cache-info"), ("GET", "/_api/v1/upload-path"),
                         ("PUT", "/_api/v1/cache-config/c"), ("OPTIONS", "/")):  # fmt: skip
        answer = attic.ask(method, path)
        assert (answer.status_code, answer.content) == (405, b"")
    assert attic.ask("HEAD", "/").status_code == 200


def test_only_allowed_hosts(other: t.Callable[..., Atticd]) -> None:
    server = other(**{"allowed-hosts": ["cache.example"]})
    for host in ("cache.example:80", "Cache.example", "127.0.0.1", ""):
        assert_error(server.ask("GET", "/", headers={"Host": host}), 400, "RequestError")
    assert_error(server.ask("GET", "/no/such/url"), 400, "RequestError")
    assert server.ask("GET", "/", headers={"Host": "cache.example"}).status_code == 200


def test_host_header_is_needed(attic: Atticd) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", attic.port, timeout=20)
    connection.putrequest("GET", "/", skip_host=True)
    connection.endheaders()
    answer = connection.getresponse()
    assert answer.status == 400
    assert json.loads(answer.read())["error"] == "RequestError"


def test_endpoints_come_from_the_request(attic: Atticd) -> None:
    cache = attic.create()
    path = f"/_api/v1/cache-config/{cache}"
    for proto, scheme in (("https", "https"), ("http", "http"), ("HTTPS", "http"), ("https,http", "http")):
        headers = {"Host": "cache.example:1", "X-Forwarded-Proto": proto}
        config = attic.ask("GET", path, headers=headers).json()
        assert config["api_endpoint"] == f"{scheme}://cache.example:1/"
        assert config["substituter_endpoint"] == f"{scheme}://cache.example:1/{cache}"
    assert_error(attic.ask("GET", path, headers={"Host": "a b"}), 400, "RequestError")


def test_endpoints_come_from_the_configuration_as_they_are(other: t.Callable[..., Atticd]) -> None:
    server = other(**{"api-endpoint": "https://api.example/x", "substituter-endpoint": "https://s.example"})
    cache = server.create()
    config = server.config(cache)
    assert config["api_endpoint"] == "https://api.example/x"
    assert config["substituter_endpoint"] == f"https://s.example{cache}"
    server = other(**{"api-endpoint": "https://api.example/x/"})
    assert server.config(server.create())["substituter_endpoint"].startswith("https://api.example/x/cache-")


# -- uploads ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 5000, 65535, 65536, 65537, 700_001])
@pytest.mark.parametrize("preamble", [False, True])
def test_round_trip(attic: Atticd, size: int, preamble: bool) -> None:
    cache, path = attic.create(), Path(size)
    assert attic.missing(cache, path.hash, path.hash).json() == {"missing_paths": [path.hash]}
    result = attic.push(cache, path, preamble=preamble).json()
    if result["kind"] == "Uploaded":  # an empty NAR has been seen before
        assert set(result) == {"kind", "file_size", "frac_deduplicated"}
        assert (result["frac_deduplicated"] is None) == (size < 65536)
    assert attic.missing(cache, path.hash).json() == {"missing_paths": []}
    answer = attic.narinfo(cache, path)
    assert answer.headers["Content-Type"] == "text/x-nix-narinfo"
    narinfo = fields(answer)
    assert_signed(narinfo, path, attic.config(cache)["public_key"])
    del narinfo["Sig"]
    assert narinfo == {
        "StorePath": path.path,
        "URL": f"nar/{path.hash}.nar",
        "Compression": "zstd",
        "NarHash": f"sha256:{path.nar_hash}",
        "NarSize": str(size),
        "References": " ".join(path.references),
    }
    assert unpacked(attic.nar(cache, path)) == path.nar
    assert attic.ask("HEAD", f"/{cache}/{path.hash}.narinfo").status_code == 200


def test_optional_fields_of_an_upload(attic: Atticd) -> None:
    cache, path = attic.create(), Path()
    path.references = []
    info = {"ca": "fixed:r:sha256:x", "deriver": "0-x.drv", "sigs": ["other:AAAA"], "system": "x86_64-linux"}
    info["nar_hash"] = "sha256:" + nix32(bytes.fromhex(path.nar_hash))
    assert attic.push(cache, path, **info).status_code == 200
    answer = attic.narinfo(cache, path)
    lines = [line.partition(":")[0] for line in answer.text.splitlines()]
    assert lines == ["StorePath", "URL", "Compression", "NarHash", "NarSize", "References", "Deriver", "Sig", "CA"]
    narinfo = fields(answer)
    assert (narinfo["References"], narinfo["CA"], narinfo["Deriver"]) == ("", "fixed:r:sha256:x", "0-x.drv")
    assert_signed(narinfo, path, attic.config(cache)["public_key"])


def test_many_paths(attic: Atticd) -> None:
    cache, paths = attic.create(), [Path() for _ in range(10)]
    for path in paths:
        assert attic.push(cache, path).json()["kind"] == "Uploaded"
    assert attic.missing(cache, *(path.hash for path in paths)).json() == {"missing_paths": []}
    assert all(unpacked(attic.nar(cache, path)) == path.nar for path in paths)


def test_many_clients_at_once(attic: Atticd) -> None:
    cache, paths = attic.create(), [Path(150_000) for _ in range(12)]
    for path in paths[6:]:  # half of them have the same content
        path.nar, path.nar_hash = paths[6].nar, paths[6].nar_hash
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        assert {answer.status_code for answer in pool.map(lambda path: attic.push(cache, path), paths)} == {200}
        fetched = pool.map(lambda path: unpacked(attic.nar(cache, path)), paths)
        assert list(fetched) == [path.nar for path in paths]


def test_an_upload_that_is_cut_off_leaves_no_path(attic: Atticd) -> None:
    cache, path = attic.create(), Path(400_000)
    with socket.create_connection(("127.0.0.1", attic.port), 20) as connection:
        head = f"PUT /_api/v1/upload-path HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ROOT_TOKEN}\r\n"
        head += f"X-Attic-Nar-Info: {json.dumps(path.info(cache))}\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head.encode() + b"30000\r\n" + path.nar[:0x30000] + b"\r\n")
        time.sleep(0.5)
    assert attic.missing(cache, path.hash).json() == {"missing_paths": [path.hash]}
    assert attic.push(cache, path).status_code == 200
    assert unpacked(attic.nar(cache, path)) == path.nar


def test_content_known_elsewhere_is_not_stored_again(attic: Atticd) -> None:
    first, second, path = attic.create(), attic.create(), Path(200_000)
    attic.push(first, path)
    assert attic.missing(second, path.hash).json() == {"missing_paths": [path.hash]}
    assert_error(attic.narinfo(second, path), 404, "NoSuchObject")
    assert attic.push(second, path).json() == {"kind": "Deduplicated", "frac_deduplicated": None}
    assert unpacked(attic.nar(second, path)) == path.nar
    assert attic.sql("SELECT count(*) FROM nar WHERE nar_hash = ?", f"sha256:{path.nar_hash}") == [(1,)]


def test_possession_must_be_proven(attic: Atticd) -> None:
    first, second, path = attic.create(), attic.create(), Path()
    attic.push(first, path)
    nar, path.nar = path.nar, b"x" * len(path.nar)
    assert_error(attic.push(second, path), 400, "RequestError")
    path.nar = nar[:-1]
    assert_error(attic.push(second, path, nar_size=len(nar)), 400, "RequestError")
    assert_error(attic.narinfo(second, path), 404, "NoSuchObject")


def test_possession_need_not_be_proven_if_so_configured(other: t.Callable[..., Atticd]) -> None:
    server = other(**{"require-proof-of-possession": False})
    first, second, path = server.create(), server.create(), Path()
    server.push(first, path)
    nar, path.nar = path.nar, b""
    assert server.push(second, path, nar_size=len(nar)).json()["kind"] == "Deduplicated"
    assert unpacked(server.nar(second, path)) == nar


@pytest.mark.parametrize("size", [5000, 200_000])
def test_content_must_be_as_announced(attic: Atticd, size: int) -> None:
    cache, path = attic.create(), Path(size)
    other_hash = "sha256:" + hashlib.sha256(b"else").hexdigest()
    assert_error(attic.push(cache, path, nar_hash=other_hash), 400, "RequestError")
    assert_error(attic.push(cache, path, nar_size=size + 1), 400, "RequestError")
    assert_error(attic.push(cache, path, nar_size=size - 1), 400, "RequestError")
    assert_error(attic.narinfo(cache, path), 404, "NoSuchObject")
    assert attic.push(cache, path).status_code == 200
    assert unpacked(attic.nar(cache, path)) == path.nar


def test_unreadable_uploads(attic: Atticd) -> None:
    def put(headers: dict[str, str], body: bytes = b"x", token: str | None = None) -> requests.Response:
        return attic.ask("PUT", "/_api/v1/upload-path", token, headers=headers, data=body)

    size, info = "X-Attic-Nar-Info-Preamble-Size", "X-Attic-Nar-Info"
    good = json.dumps(Path().info("c"))
    assert_error(put({}), 400, "RequestError")
    assert_error(put({info: "{"}), 400, "RequestError")
    assert_error(put({info: good.replace("sha256:", "md5:")}), 400, "RequestError")
    assert_error(put({info: good.replace('"c"', '"_c"')}), 400, "RequestError")
    assert_error(put({info: good.replace('"sigs"', '"sgis"')}), 400, "RequestError")
    assert_error(put({size: "many"}), 400, "RequestError")
    assert_error(put({size: str(2**20 + 1)}), 400, "RequestError")
    assert_error(put({size: "10"}), 400, "RequestError")
    assert_error(put({size: "1", info: good}), 400, "RequestError")  # the preamble wins
    assert_error(put({info: good}), 401, "Unauthorized")
    assert_error(put({info: good}, token=ROOT_TOKEN), 404, "NoSuchCache")


def test_pushing_needs_the_right(attic: Atticd) -> None:
    cache, path = attic.create(), Path()
    reader = mint({cache: {"r": 1}})
    assert_error(attic.push(cache, path, reader), 403, "AccessError")
    assert_error(attic.missing(cache, path.hash, token=reader), 403, "AccessError")
    assert_error(attic.push(cache, path, None), 401, "Unauthorized")
    assert_error(attic.missing(cache, path.hash, token=None), 401, "Unauthorized")
    assert attic.push(cache, path, mint({cache: {"w": 1}})).status_code == 200
    assert attic.sql("SELECT created_by FROM object WHERE store_path_hash = ?", path.hash) == [("tester",)]


def test_a_lost_chunk_row_makes_the_nar_incomplete_until_it_is_pushed_again(attic: Atticd) -> None:
    cache, path = attic.create(), Path()
    attic.push(cache, path)
    attic.sql(
        "UPDATE chunkref SET chunk_id = NULL WHERE nar_id = (SELECT nar_id FROM object WHERE store_path_hash = ?)",
        path.hash,
    )
    assert_error(attic.nar(cache, path), 503, "IncompleteNar")
    assert attic.push(cache, path).json()["kind"] == "Uploaded"
    assert unpacked(attic.nar(cache, path)) == path.nar


@pytest.mark.parametrize(("threshold", "chunks"), [(0, 1), (1, 2)])
def test_chunking_can_be_off_or_always(other: t.Callable[..., Atticd], threshold: int, chunks: int) -> None:
    sizes = {"nar-size-threshold": threshold, "min-size": 1024, "avg-size": 4096, "max-size": 8192}
    server = other(chunking=sizes)
    cache, path = server.create(), Path(100_000)
    server.push(cache, path)
    assert unpacked(server.nar(cache, path)) == path.nar
    [(found,)] = server.sql("SELECT num_chunks FROM nar")
    assert found == chunks if chunks == 1 else found >= chunks


def test_the_double_does_not_hold_a_nar_in_memory(
    other: t.Callable[..., Atticd], command: list[str], tmp_path: pathlib.Path
) -> None:
    if command is not COMMANDS["double"]:
        pytest.skip("the real server's memory is its own affair")
    server = other(chunking={**TOML["chunking"], "nar-size-threshold": 0}, compression={"type": "none"})
    cache, small, large = server.create(), Path(), Path(64 << 20)

    def peak() -> int:
        status = pathlib.Path(f"/proc/{t.cast(t.Any, server.process).pid}/status").read_text()
        return int(re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)[1]) << 10  # type: ignore[index]

    for path in (small, large):
        before = peak()
        assert server.push(cache, path).status_code == 200
        assert server.nar(cache, path).content == path.nar
    assert peak() - before < 16 << 20


def test_other_compression(other: t.Callable[..., Atticd]) -> None:
    server = other(compression={"type": "none"})
    cache, path = server.create(), Path(100_000)
    server.push(cache, path)
    assert fields(server.narinfo(cache, path))["Compression"] == "none"
    assert server.nar(cache, path).content == path.nar


# -- who may what ----------------------------------------------------------------------------------------------

EXISTS, ABSENT = Path(), Path()


@pytest.fixture(scope="module")
def caches(attic: Atticd) -> dict[str, str]:
    """A private and a public cache with one path each, and a name that does not exist."""
    made = {"private": attic.create(), "public": attic.create(is_public=True), "missing": "no-such-cache"}
    for kind in ("private", "public"):
        attic.push(made[kind], EXISTS)
    return made


# Columns: GET config and nix-cache-info, PATCH, push, POST, narinfo of a present path, of an absent one.
MATRIX = [
    ("missing", {"r": 1}, 404, 404, 404, 403, 404, 404),
    ("missing", {"d": 1}, 404, 404, 404, 403, 404, 404),
    ("missing", {}, 401, 401, 401, 401, 404, 404),
    ("missing", None, 401, 401, 401, 401, 404, 404),
    ("private", ALL, 200, 200, 200, 400, 200, 404),
    ("private", {"d": 1}, 403, 403, 403, 403, 403, 404),
    ("private", {}, 401, 401, 401, 401, 401, 404),
    ("private", None, 401, 401, 401, 401, 401, 404),
    ("private", "expired", 401, 401, 401, 401, 401, 404),
    ("public", None, 200, 403, 403, 401, 200, 404),
    ("public", "expired", 200, 403, 403, 401, 200, 404),
    ("public", {"w": 1}, 200, 403, 200, 403, 200, 404),
]


@pytest.mark.parametrize("row", MATRIX, ids=lambda row: f"{row[0]}-{row[1]}")
def test_access_matrix(attic: Atticd, caches: dict[str, str], row: tuple[t.Any, ...]) -> None:
    kind, rights, *expected = row
    cache = caches[kind]
    token = None
    if rights == "expired":
        token = mint({"*": ALL}, exp=int(time.time()) - 1)
    elif rights is not None:
        token = mint({cache: rights})
    found = [
        attic.ask("GET", f"/_api/v1/cache-config/{cache}", token),
        attic.patch(cache, token, priority=41),
        attic.push(cache, EXISTS, token),
        attic.ask("POST", f"/_api/v1/cache-config/{cache}", token, json=NEW_CACHE),
        attic.narinfo(cache, EXISTS, token),
        attic.narinfo(cache, ABSENT, token),
    ]
    assert [answer.status_code for answer in found] == expected
    assert attic.ask("GET", f"/{cache}/nix-cache-info", token).status_code == expected[0]
    assert attic.nar(cache, EXISTS, token).status_code == expected[4]
    names = {401: {"Unauthorized"}, 403: {"AccessError"}, 400: {"CacheAlreadyExists"},
             404: {"NoSuchCache", "NoSuchObject"}}  # fmt: skip
    for answer in found:
        if answer.status_code != 200:
            assert answer.json()["error"] in names[answer.status_code]
            assert "WWW-Authenticate" not in answer.headers


def test_rights_are_separate(attic: Atticd) -> None:
    cache = attic.create()
    assert attic.patch(cache, mint({cache: {"cr": 1}}), priority=40).status_code == 200
    assert_error(
        attic.ask("GET", f"/_api/v1/cache-config/{cache}", mint({cache: {"cc": 1, "cr": 1}})), 403, "AccessError"
    )
    assert_error(attic.ask("DELETE", f"/_api/v1/cache-config/{cache}", mint({cache: {"cr": 1}})), 403, "AccessError")
    creator = mint({"made-*": {"cc": 1}})
    assert attic.ask("POST", "/_api/v1/cache-config/made-1", creator, json=NEW_CACHE).status_code == 200
    assert_error(attic.ask("POST", "/_api/v1/cache-config/other-1", creator, json=NEW_CACHE), 401, "Unauthorized")
    assert attic.ask("DELETE", "/_api/v1/cache-config/made-1", mint({"made-1": {"cd": 1}})).status_code == 200


def test_visibility_is_said_of_public_caches_only(attic: Atticd) -> None:
    cache, path = attic.create(), Path()
    attic.push(cache, path)
    paths = [f"/{cache}/nix-cache-info", f"/{cache}/{path.hash}.narinfo", f"/{cache}/nar/{path.hash}.nar"]
    header = "X-Attic-Cache-Visibility"
    for url in paths:
        assert attic.ask("GET", url, None).status_code == 401
        assert header not in attic.ask("GET", url).headers
    attic.patch(cache, is_public=True)
    for url in paths:
        answer = attic.ask("GET", url, None)
        assert (answer.status_code, answer.headers[header]) == (200, "public")
    assert header not in attic.ask("GET", f"/_api/v1/cache-config/{cache}").headers


def accepted(server: Atticd, token: str, scheme: str = "Bearer") -> bool:
    """Of a cache that does not exist, only somebody with a right on its name learns so."""
    headers = {"Authorization": f"{scheme} {token}"}
    status = server.ask("GET", "/_api/v1/cache-config/probe", None, headers=headers).status_code
    assert status in (401, 404)
    return status == 404


def test_ways_to_show_a_token(attic: Atticd) -> None:
    token = mint({"probe": {"r": 1}})
    for scheme in ("Bearer", "bearer", "BEARER"):
        assert accepted(attic, token, scheme)
    for scheme in ("Basic", "baSIC"):
        assert accepted(attic, base64.b64encode(f"anyone:{token}".encode()).decode(), scheme)
        assert not accepted(attic, base64.b64encode(token.encode()).decode(), scheme)
    for scheme in ("Bearer ", "Token", "Basic"):
        assert not accepted(attic, token, scheme)


@pytest.mark.parametrize(
    ("claims", "good"),
    [
        ({}, True),
        ({"exp": None, "nbf": None, "sub": None}, True),
        ({"iat": 1}, True),
        ({"iss": "anyone", "aud": "anything"}, True),
        ({"exp": -1}, False),
        ({"nbf": 3}, False),
        ({"iat": 60}, False),
        ({"sub": 5}, False),
        ({"iss": 5}, False),
        ({"jti": 5}, False),
        ({"nonce": 5}, False),
        ({"aud": 5}, False),
        ({"aud": ["a", 5]}, False),
        ({NAMESPACE: None}, False),
        ({NAMESPACE: {}}, False),
        ({NAMESPACE: {"caches": []}}, False),
        ({NAMESPACE: {"caches": {"probe": {"r": True}}}}, False),
        ({NAMESPACE: {"caches": {"probe": {"r": 2}}}}, False),
        ({NAMESPACE: {"caches": {"probe": {"r": 1, "zz": 7}}}}, True),
        ({NAMESPACE: {"caches": {"probe": {"r": 1}, "_bad": {"r": 1}}}}, False),
        ({NAMESPACE: {"caches": {"probe": {"r": 1}, "p" * 51: {}}}}, False),
        ({NAMESPACE: {"caches": {"probe": {"r": 0}}}}, False),
    ],
    ids=str,
)
def test_claims(attic: Atticd, claims: dict[str, t.Any], good: bool) -> None:
    relative = {name: int(time.time()) + value for name, value in claims.items()
                if name in ("exp", "nbf", "iat") and value is not None and value != 1}  # fmt: skip
    payload = {"exp": int(time.time()) + 600, "nbf": int(time.time()) - 60, "sub": "x"}
    payload |= {NAMESPACE: {"caches": {"probe": {"r": 1}}}, **claims, **relative}
    payload = {name: value for name, value in payload.items() if value is not None}
    # Signed by hand: PyJWT refuses to write some of these.
    parts = [json.dumps(part, separators=(",", ":")).encode() for part in ({"alg": "HS256", "typ": "JWT"}, payload)]
    message = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    signature = base64.urlsafe_b64encode(hmac.digest(SECRET, message, "sha256")).rstrip(b"=")
    assert accepted(attic, (message + b"." + signature).decode()) is good


def test_foreign_and_unsigned_tokens_are_nobody(attic: Atticd) -> None:
    caches = {"probe": {"r": 1}}
    private = rsa.generate_private_key(65537, 2048)
    assert not accepted(attic, mint(caches, b"another secret, as long as the own"))
    assert not accepted(attic, mint(caches, SECRET * 2, "HS512"))
    assert not accepted(attic, mint(caches, private, "RS256"))
    assert not accepted(attic, mint(caches, None, "none"))
    assert not accepted(attic, "nonsense")


@pytest.mark.parametrize("form", ["TraditionalOpenSSL", "PKCS8"])
def test_rs256(other: t.Callable[..., Atticd], form: str) -> None:
    private = rsa.generate_private_key(65537, 2048)
    pem = private.private_bytes(Encoding.PEM, getattr(PrivateFormat, form), NoEncryption())
    server = other(jwt={"signing": {"token-rs256-secret-base64": base64.b64encode(pem).decode()}})
    assert accepted(server, mint({"probe": {"r": 1}}, private, "RS256"))
    assert not accepted(server, mint({"probe": {"r": 1}}, rsa.generate_private_key(65537, 2048), "RS256"))
    assert not accepted(server, mint({"probe": {"r": 1}}))


def test_public_key_alone_verifies_and_wins_over_the_others(other: t.Callable[..., Atticd]) -> None:
    private = rsa.generate_private_key(65537, 2048)
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    server = other(start=False)
    server.environment["ATTIC_SERVER_TOKEN_RS256_PUBKEY_BASE64"] = base64.b64encode(public).decode()
    server.start()
    assert accepted(server, mint({"probe": {"r": 1}}, private, "RS256"))
    assert not accepted(server, mint({"probe": {"r": 1}}))


def test_bound_issuer_and_audiences(other: t.Callable[..., Atticd]) -> None:
    server = other(jwt={"token-bound-issuer": "me", "token-bound-audiences": ["a", "b"]})
    caches = {"probe": {"r": 1}}
    assert accepted(server, mint(caches, iss="me", aud="a"))
    assert accepted(server, mint(caches, iss="me", aud=["x", "b"]))
    for claims in ({"iss": "me"}, {"aud": "a"}, {"iss": "you", "aud": "a"}, {"iss": "me", "aud": ["x"]}):
        assert not accepted(server, mint(caches, **claims))


@pytest.mark.parametrize(
    ("caches", "good"),
    [
        ({"*": {"w": 1}, "probe": {}}, False),  # the exact name beats a pattern before it
        ({"*": {}, "pro*": {"r": 1}}, False),  # of patterns the first one counts alone
        ({"pro*": {"r": 1}, "*": {}}, True),
        ({"p*b*": {"r": 1}}, True),
        ({"*e": {"r": 1}}, True),
        ({"probe*": {"r": 1}}, True),
        ({"PROBE": {"r": 1}}, False),
        ({"pro": {"r": 1}}, False),
        ({"*prob": {"r": 1}}, False),
    ],
    ids=str,
)
def test_patterns(attic: Atticd, caches: dict[str, t.Any], good: bool) -> None:
    assert accepted(attic, mint(caches)) is good


# -- garbage collection ----------------------------------------------------------------------------------------


def files(server: Atticd) -> list[str]:
    return sorted(path.name for path in (server.folder / "storage").rglob("*") if path.is_file())


def test_expired_paths_and_their_content_vanish(other: t.Callable[..., Atticd]) -> None:
    server = other()
    cache, paths = server.create(), [Path(), Path(200_000)]
    for path in paths:
        server.push(cache, path)
    assert server.patch(cache, retention_period={"Period": 1}).status_code == 200
    assert server.run("garbage-collector-once").returncode == 0
    time.sleep(2.1)
    assert server.run("garbage-collector-once").returncode == 0
    for path in paths:
        assert_error(server.narinfo(cache, path), 404, "NoSuchObject")
    for table in ("nar", "chunk", "chunkref"):
        assert server.sql(f"SELECT * FROM {table}") == []  # noqa: S608
    assert files(server) == ["VERSION"]


def test_gc_looks_at_both_times_and_at_each_cache(other: t.Callable[..., Atticd]) -> None:
    server = other(**{"garbage-collection": {"interval": "0s", "default-retention-period": "1 day"}})
    kept, swept, forever = server.create(), server.create(), server.create()
    server.patch(forever, retention_period={"Period": 0})
    fresh, fetched, old = Path(), Path(), Path()
    for path in (fresh, fetched, old):
        for cache in (kept, swept, forever):
            server.push(cache, path)
    long_ago = "2020-01-01T00:00:00.000000+00:00"
    server.sql(
        "UPDATE object SET created_at = ?, last_accessed_at = ? WHERE store_path_hash <> ?",
        long_ago,
        long_ago,
        fresh.hash,
    )
    server.sql("UPDATE object SET last_accessed_at = NULL WHERE store_path_hash = ?", old.hash)
    assert server.nar(kept, fetched).status_code == 200
    assert server.run("garbage-collector-once").returncode == 0

    def left(cache: str) -> list[bool]:
        return [server.narinfo(cache, path).status_code == 200 for path in (fresh, fetched, old)]

    assert left(kept) == [True, True, False]
    assert left(swept) == [True, False, False]
    assert left(forever) == [True, True, True]
    assert unpacked(server.nar(forever, old)) == old.nar  # what another cache still needs stays


def test_only_fetching_the_nar_counts_as_access(attic: Atticd) -> None:
    cache, path = attic.create(), Path()

    def accessed() -> t.Any:
        return attic.sql("SELECT last_accessed_at FROM object WHERE store_path_hash = ?", path.hash)[0][0]

    attic.push(cache, path)
    attic.narinfo(cache, path)
    attic.missing(cache, path.hash)
    assert accessed() is None
    attic.ask("HEAD", f"/{cache}/nar/{path.hash}.nar")
    assert accessed() is not None
    attic.push(cache, path)  # a new upload begins a new life
    assert accessed() is None


def test_gc_leaves_held_and_pending_rows(other: t.Callable[..., Atticd]) -> None:
    server = other()
    cache, path = server.create(), Path()
    server.push(cache, path)
    time.sleep(0.3)  # the real server lets go of what it holds after it has answered
    assert server.sql("SELECT holders_count FROM chunk") == [(0,)]
    server.sql("DELETE FROM object")
    server.sql("UPDATE nar SET holders_count = 1")
    server.run("garbage-collector-once")
    assert server.sql("SELECT count(*) FROM nar") == [(1,)]
    server.sql("UPDATE nar SET holders_count = 0, state = 'P'")
    server.run("garbage-collector-once")
    assert server.sql("SELECT count(*) FROM nar") == [(1,)]
    server.sql("UPDATE nar SET state = 'V'")
    server.sql("UPDATE chunk SET holders_count = 1")
    server.run("garbage-collector-once")
    assert server.sql("SELECT count(*) FROM nar") == [(0,)]
    assert server.sql("SELECT state FROM chunk") == [("V",)]
    server.sql("UPDATE chunk SET holders_count = 0")
    server.run("garbage-collector-once")
    assert files(server) == ["VERSION"]


def test_what_cannot_be_deleted_waits_for_the_next_run(other: t.Callable[..., Atticd]) -> None:
    server = other()
    cache, path = server.create(), Path()
    server.push(cache, path)
    [chunk] = (server.folder / "storage").rglob("*.chunk")
    content = chunk.read_bytes()
    chunk.unlink()
    server.sql("DELETE FROM object")
    time.sleep(0.3)
    run = server.run("garbage-collector-once", RUST_LOG="attic_server=info")
    # The unit of the collector counts these lines, because nothing else shows it.
    assert (run.returncode, (run.stdout + run.stderr).count("Deletion failed")) == (0, 1)
    assert server.sql("SELECT state FROM chunk") == [("D",)]
    chunk.write_bytes(content)
    server.run("garbage-collector-once")
    assert server.sql("SELECT count(*) FROM chunk") == [(0,)]


def test_monolithic_collects_by_itself(other: t.Callable[..., Atticd]) -> None:
    server = other(**{"garbage-collection": {"interval": "1s", "default-retention-period": "1s"}})
    cache, path = server.create(), Path()
    server.push(cache, path)
    for _ in range(60):
        if server.narinfo(cache, path).status_code == 404:
            return
        time.sleep(0.1)
    raise AssertionError("nothing was collected")


# -- a bucket instead of a folder ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bucket() -> Iterator[tuple[str, t.Any]]:
    """An S3 endpoint and a client for it."""
    moto_server = pytest.importorskip("moto.server")
    boto3 = pytest.importorskip("boto3")
    server = moto_server.ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    client = boto3.client(
        "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="id", aws_secret_access_key="key"
    )
    client.create_bucket(Bucket="nars")
    yield url, client
    server.stop()


def test_s3(other: t.Callable[..., Atticd], bucket: tuple[str, t.Any]) -> None:
    url, client = bucket
    storage = {"type": "s3", "region": "us-east-1", "bucket": "nars", "endpoint": url}
    server = other(start=False, storage=storage)
    server.environment |= {
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_SECRET_ACCESS_KEY": "key",
        "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
        "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
    }
    server.start()
    cache, small, large = server.create(is_public=True), Path(), Path(700_000)
    for path in (small, large):
        assert server.push(cache, path).json()["kind"] == "Uploaded"
    redirect = server.nar(cache, small, None)
    assert redirect.status_code == 307
    assert redirect.headers["X-Attic-Cache-Visibility"] == "public"
    assert redirect.headers["Location"].startswith(f"{url}/nars/")
    assert "X-Amz-Expires=600" in redirect.headers["Location"]
    packed = requests.get(redirect.headers["Location"], timeout=20).content
    assert zstandard.ZstdDecompressor().stream_reader(packed).read() == small.nar
    assert unpacked(server.nar(cache, large, None)) == large.nar
    for row in server.sql("SELECT remote_file, remote_file_id FROM chunk"):
        place = json.loads(row[0])["S3"]
        assert row[1] == f"s3:{place['region']}/{place['bucket']}/{place['key']}"
    server.patch(cache, retention_period={"Period": 1})
    time.sleep(2.1)
    assert server.run("garbage-collector-once").returncode == 0
    assert "Contents" not in client.list_objects_v2(Bucket="nars")


def test_storage_that_fails_is_an_internal_error_and_leaves_nothing(
    other: t.Callable[..., Atticd], bucket: tuple[str, t.Any]
) -> None:
    url, _ = bucket
    credentials = {"access_key_id": "id", "secret_access_key": "key"}
    storage = {"type": "s3", "region": "us-east-1", "bucket": "none", "endpoint": url, "credentials": credentials}
    server = other(storage=storage)
    cache, path = server.create(), Path()
    assert_error(server.push(cache, path), 500, "InternalServerError")
    assert_error(server.narinfo(cache, path), 404, "NoSuchObject")
    time.sleep(0.3)
    assert server.sql("SELECT * FROM chunk") == []
