# SPDX-License-Identifier: GPL-3.0-or-later
"""`attic`: the commands of the real client that pipelines use: push, cache info, login. All messages go to stderr."""

from __future__ import annotations

import argparse
import base64
import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys
import tomllib
import typing as t
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass

import requests

PREAMBLE_THRESHOLD = 4096
SYSTEM_AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
PIECE = 1 << 18


class Failure(Exception):
    """One sentence for the user; exit code 1."""


@dataclass
class Server:
    name: str
    endpoint: str
    token: str | None


class Api:
    def __init__(self, server: Server) -> None:
        self.endpoint = server.endpoint
        self.headers = {"User-Agent": "Attic/attic-client (double)"}
        if server.token:
            self.headers["Authorization"] = f"bearer {server.token}"

    def call(self, method: str, path: str, **more: t.Any) -> t.Any:
        headers = {**self.headers, **more.pop("headers", {})}
        url = urllib.parse.urljoin(
            self.endpoint, path
        )  # an endpoint without a final / loses its last part, as in the real client
        try:
            # Not a session, which would read ~/.netrc and replace the token.
            request = requests.Request(method, url, headers=headers, **more).prepare()
            with requests.Session() as session:
                response = session.send(request, verify=authorities(), timeout=3600)
        except OSError as exc:  # all errors of requests, and a missing CA file
            raise Failure(f"error sending request for url ({url}): {exc}") from None
        if response.ok:
            return response.json()
        try:
            body = response.json()
            raise Failure(f"{body['error']}: {body['message']}")
        except (ValueError, KeyError, TypeError):
            raise Failure(f"HTTP {response.status_code}: {response.text}") from None


def authorities() -> str:
    """SSL_CERT_FILE or the system's certificates, as in the real client; never those of a Python package."""
    return os.environ.get("SSL_CERT_FILE") or SYSTEM_AUTHORITIES


# -- configuration ---------------------------------------------------------------------------------------------


def config_path() -> pathlib.Path:
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return pathlib.Path(home, "attic", "config.toml")


def read_config() -> dict[str, t.Any]:
    try:
        return tomllib.loads(config_path().read_text())
    except FileNotFoundError:
        return {}
    except tomllib.TOMLDecodeError as exc:
        raise Failure(f"{config_path()}: {exc}") from None


def resolve(reference: str) -> tuple[Server, str]:
    """`cache` on the default server, or `server:cache`."""
    config = read_config()
    name, colon, cache = reference.partition(":")
    if not colon:
        name, cache = config.get("default-server", ""), reference
        if not name:
            raise Failure("No servers are available.")
    entry = config.get("servers", {}).get(name)
    if entry is None:
        raise Failure(f'Server "{name}" does not exist')
    token = entry.get("token")
    if "token-file" in entry:
        try:
            token = pathlib.Path(entry["token-file"]).read_text().strip()
        except OSError as exc:
            raise Failure(f"{entry['token-file']}: {exc.strerror}") from None
    return Server(name, entry["endpoint"], token), cache


def login(options: argparse.Namespace) -> None:
    """Write the configuration without contacting the server."""
    config = read_config()
    entry = {"endpoint": options.endpoint, **({"token": options.token} if options.token else {})}
    known = config.setdefault("servers", {}).get(options.name)
    if known and not options.token:  # a new address keeps the token
        entry = {**known, "endpoint": options.endpoint}
    config["servers"][options.name] = entry
    if options.set_default or len(config["servers"]) == 1:
        config["default-server"] = options.name
    lines = [f"default-server = {json.dumps(config['default-server'])}"]
    for name, values in config["servers"].items():
        lines += ["", f"[servers.{name}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
    path = config_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text("\n".join(lines) + "\n")
    say(f'✍️ {"Overwriting" if known else "Configuring"} server "{options.name}"')


def info(options: argparse.Namespace) -> None:
    server, cache = resolve(options.cache)
    config = Api(server).call("GET", f"_api/v1/cache-config/{cache}")
    retention = config["retention_period"]
    for label, value in (
        ("Public", str(config["is_public"]).lower()),
        ("Public Key", config["public_key"]),
        ("Binary Cache Endpoint", config["substituter_endpoint"]),
        ("API Endpoint", config["api_endpoint"]),
        ("Store Directory", config["store_dir"]),
        ("Priority", config["priority"]),
        ("Upstream Cache Keys", json.dumps(config["upstream_cache_key_names"])),
        ("Retention Period", "Global Default" if retention == "Global" else retention["Period"]),
    ):
        say(f"{label:>21}: {value}")


# -- push ------------------------------------------------------------------------------------------------------


def push(options: argparse.Namespace) -> None:
    if options.jobs < 1:
        raise Failure("The number of jobs cannot be 0")
    server, cache = resolve(options.cache)
    api = Api(server)
    config = api.call("GET", f"_api/v1/cache-config/{cache}")
    api.endpoint = config.get("api_endpoint") or api.endpoint
    roots = options.paths
    if options.stdin:
        if roots:
            raise Failure("No paths can be specified on the command line with --stdin")
        roots = sys.stdin.read().splitlines()
    roots = [path for path in roots if path]
    if not roots:
        say("🤷 Nothing specified.")
        return
    paths = query(roots, closure=not options.no_closure)
    total = len(paths)
    if not options.ignore_upstream_cache_filter:
        upstream = set(config["upstream_cache_key_names"])
        paths = [path for path in paths if not upstream & {sig.partition(":")[0] for sig in path["signatures"]}]
    filtered = total - len(paths)
    missing: set[str] = set()
    if paths:
        hashes = [store_hash(path["path"]) for path in paths]
        answer = api.call("POST", "_api/v1/get-missing-paths", json={"cache": cache, "store_path_hashes": hashes})
        missing = set(answer["missing_paths"])
    wanted = [path for path in paths if store_hash(path["path"]) in missing]
    counts = f"({len(paths) - len(wanted)} already cached, {filtered} in upstream)"
    if not wanted:
        say(f"✅ All done! {counts}")
        return
    say(f'⚙️ Pushing {len(wanted)} paths to "{cache}" on "{server.name}" {counts}...')
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        results = list(pool.map(lambda path: upload(api, cache, path, options.force_preamble), wanted))
    if not all(results):
        raise Failure(f"{results.count(False)} of {len(results)} paths could not be pushed")


def query(roots: list[str], *, closure: bool) -> list[dict[str, t.Any]]:
    """What Nix knows about store paths. Symlinks such as ./result are followed."""
    resolved = [str(pathlib.Path(root).resolve()) for root in roots]
    # Only the local store counts. Without this, Nix would ask the substituters for an unknown path.
    command = [
        "nix",
        "--extra-experimental-features",
        "nix-command",
        "path-info",
        "--json",
        "--option",
        "substitute",
        "false",
    ]
    run = subprocess.run([*command, *(["--recursive"] if closure else []), *resolved], capture_output=True, text=True)
    if run.returncode:
        raise Failure(run.stderr.strip())
    found = json.loads(run.stdout)
    entries = found if isinstance(found, list) else [{"path": path, **(value or {})} for path, value in found.items()]
    for entry in entries:
        if "narHash" not in entry:
            raise Failure(f"path '{entry['path']}' is not valid")
    return entries


def upload(api: Api, cache: str, path: dict[str, t.Any], force_preamble: bool) -> bool:
    name = path["path"].rpartition("/")[2]
    nar_info = json.dumps(
        {
            "cache": cache,
            "store_path_hash": store_hash(path["path"]),
            "store_path": path["path"],
            "references": [reference.rpartition("/")[2] for reference in path["references"]],
            "system": None,
            "deriver": None,
            "sigs": path.get("signatures", []),
            "ca": path.get("ca"),
            "nar_hash": sri_to_hex(path["narHash"]),
            "nar_size": path["narSize"],
        },
        separators=(",", ":"),
    ).encode()
    as_preamble = force_preamble or len(nar_info) >= PREAMBLE_THRESHOLD
    headers = {"X-Attic-Nar-Info-Preamble-Size": str(len(nar_info))} if as_preamble else {"X-Attic-Nar-Info": nar_info}
    try:
        body = nar_stream(path["path"], nar_info if as_preamble else b"")
        answer = api.call("PUT", "_api/v1/upload-path", headers=headers, data=body)
    except Failure as exc:
        say(f"❌ {name}: {exc}")
        return False
    say(f"✅ {name} ({answer['kind'].lower()})")
    return True


def nar_stream(path: str, preamble: bytes) -> Iterator[bytes]:
    """A generator, so that requests sends it in chunked transfer encoding."""
    if preamble:
        yield preamble
    with subprocess.Popen(["nix-store", "--dump", path], stdout=subprocess.PIPE) as dump:
        while piece := t.cast(t.IO[bytes], dump.stdout).read(PIECE):
            yield piece
    if dump.returncode:
        raise Failure(f"nix-store --dump failed with exit code {dump.returncode}")


def store_hash(path: str) -> str:
    return path.rpartition("/")[2][:32]


def sri_to_hex(text: str) -> str:
    """`sha256-<base64>` as `sha256:<hex>`; a hash that has a type already is unchanged."""
    kind, dash, value = text.partition("-")
    return f"{kind}:{base64.b64decode(value).hex()}" if dash else text


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser("attic", description="Attic binary cache client (a double for the lab).")
    parser.add_argument("-V", "--version", action="version", version="attic-client 0.1.0 (double)")
    commands = parser.add_subparsers(required=True)

    command = commands.add_parser("login")
    command.add_argument("name")
    command.add_argument("endpoint")
    command.add_argument("token", nargs="?")
    command.add_argument("--set-default", action="store_true")
    command.set_defaults(run=login)

    command = commands.add_parser("push")
    command.add_argument("cache")
    command.add_argument("paths", nargs="*")
    command.add_argument("--stdin", action="store_true")
    command.add_argument("--no-closure", action="store_true")
    command.add_argument("--ignore-upstream-cache-filter", action="store_true")
    command.add_argument("-j", "--jobs", type=int, default=5)
    command.add_argument("--force-preamble", action="store_true", help=argparse.SUPPRESS)
    command.set_defaults(run=push)

    command = commands.add_parser("cache").add_subparsers(required=True).add_parser("info")
    command.add_argument("cache")
    command.set_defaults(run=info)

    options = parser.parse_args(argv)
    try:
        options.run(options)
    except Failure as exc:
        say(f"Error: {exc}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
