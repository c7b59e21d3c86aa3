# SPDX-License-Identifier: GPL-3.0-or-later
"""The HTTP side: cache configuration, uploads, and the binary cache that Nix reads."""

from __future__ import annotations

import json
import re
import typing as t
from collections.abc import Iterator

import flask
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from . import payloads
from .config import Config
from .database import Database, Row, now
from .errors import ApiError, Rejection, request_error
from .signing import STORE_HASH, Keypair, fingerprint
from .storage import open_storage
from .tokens import Bearer, Rights, identify
from .upload import Uploader, read_up_to

MAX_JSON = 2 << 20
PUBLIC = {"X-Attic-Cache-Visibility": "public"}


def wsgi_app(config: Config) -> flask.Flask:
    app = flask.Flask("atticd", static_folder=None)
    server = Api(config)
    app.before_request(server.restrict_host)
    app.register_error_handler(ApiError, _json_error)
    app.register_error_handler(Rejection, lambda exc: _text(exc.text, exc.status))
    app.register_error_handler(NotFound, lambda exc: _json_error(ApiError("NotFound")))
    app.register_error_handler(MethodNotAllowed, lambda exc: flask.Response(status=405, headers=exc.get_headers()))
    app.register_error_handler(Exception, _internal_error)
    config_path = "/_api/v1/cache-config/<cache>"
    for method, path, view in (
        ("GET", "/", server.placeholder),
        ("GET", "/<cache>/nix-cache-info", server.nix_cache_info),
        ("GET", "/<cache>/attic-cache-info", server.get_config),
        ("GET", "/<cache>/<name>", server.narinfo),
        ("GET", "/<cache>/nar/<name>", server.nar),
        ("GET", config_path, server.get_config),
        ("POST", config_path, server.create),
        ("PATCH", config_path, server.configure),
        ("DELETE", config_path, server.destroy),
        ("POST", "/_api/v1/get-missing-paths", server.missing_paths),
        ("PUT", "/_api/v1/upload-path", server.upload),
    ):
        app.add_url_rule(path, f"{method} {path}", view, methods=[method], provide_automatic_options=False)
    return app


class Api:
    def __init__(self, config: Config) -> None:
        self.config = config
        self.database = Database(config.database_url)
        self.storage = open_storage(config.storage)
        self.uploader = Uploader(config, self.database, self.storage)

    # -- authorization ----------------------------------------------------------------------------------------

    def restrict_host(self) -> None:
        host = flask.request.environ.get("HTTP_HOST")
        if host is None:
            raise request_error("Missing Host header")
        if self.config.allowed_hosts and host not in self.config.allowed_hosts:
            raise request_error("Bad Host")

    def bearer(self) -> Bearer:
        return identify(flask.request.headers.get("Authorization"), self.config)

    def cache_for(self, name: str, right: str) -> tuple[Row, Rights]:
        """The cache, if the caller has this right on it. A caller without any right learns nothing about it."""
        bearer = self.bearer()
        with self.database.begin() as tx:
            cache = tx.one("SELECT * FROM cache WHERE name = ? AND deleted_at IS NULL", name)
        if cache is None:
            raise ApiError("NoSuchCache" if bearer.rights(name, public=False) else "Unauthorized")
        rights = bearer.rights(name, public=bool(cache["is_public"]))
        require(rights, right)
        return cache, rights

    # -- cache configuration -----------------------------------------------------------------------------------

    def placeholder(self) -> flask.Response:
        return flask.Response("<!doctype html><title>Attic Binary Cache</title>", mimetype="text/html")

    def get_config(self, cache: str) -> flask.Response:
        row, _ = self.cache_for(cache_in_url(cache), "r")
        period = row["retention_period"]
        api_endpoint = self.config.api_endpoint or _endpoint_from_host()
        return _json(
            {
                "substituter_endpoint": (self.config.substituter_endpoint or api_endpoint) + cache,
                "api_endpoint": api_endpoint,
                "public_key": Keypair(row["keypair"]).public_key,
                "is_public": bool(row["is_public"]),
                "store_dir": row["store_dir"],
                "priority": row["priority"],
                "upstream_cache_key_names": json.loads(row["upstream_cache_key_names"]),
                "retention_period": "Global" if period is None else {"Period": period},
            }
        )

    def create(self, cache: str) -> flask.Response:
        cache_in_url(cache)
        wanted = json_body(payloads.CACHE)
        require(self.bearer().rights(cache, public=False), "cc")
        with self.database.begin() as tx:
            created = tx.run(
                "INSERT INTO cache (name, keypair, is_public, store_dir, priority, upstream_cache_key_names, created_at) "
                "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO NOTHING",
                cache,
                (wanted["keypair"] or Keypair.generate(cache)).text,
                wanted["is_public"],
                wanted["store_dir"],
                wanted["priority"],
                json.dumps(wanted["upstream_cache_key_names"]),
                now(),
            )
        if not created:
            raise ApiError("CacheAlreadyExists")
        return flask.Response()

    def configure(self, cache: str) -> flask.Response:
        cache_in_url(cache)
        wanted = json_body({}, payloads.CACHE_PATCH)
        row, rights = self.cache_for(cache, "cr")
        changes = {name: value for name, value in wanted.items() if name not in payloads.READ_ONLY}
        if "keypair" in changes:
            changes["keypair"] = (changes["keypair"] or Keypair.generate(cache)).text
        if "upstream_cache_key_names" in changes:
            changes["upstream_cache_key_names"] = json.dumps(changes["upstream_cache_key_names"])
        if "retention_period" in changes:
            require(rights, "cq")
            if (changes["retention_period"] or 0) >= 2**31:
                raise request_error("Invalid retention period")
        if not changes:
            raise request_error("No modifiable fields were set.")
        assignments = ", ".join(f"{name} = ?" for name in changes)
        with self.database.begin() as tx:
            tx.run(f"UPDATE cache SET {assignments} WHERE id = ?", *changes.values(), row["id"])  # noqa: S608
        return flask.Response()

    def destroy(self, cache: str) -> flask.Response:
        row, _ = self.cache_for(cache_in_url(cache), "cd")
        with self.database.begin() as tx:
            if self.config.soft_delete_caches:
                tx.run("UPDATE cache SET deleted_at = ? WHERE id = ?", now(), row["id"])
            else:
                tx.run("DELETE FROM cache WHERE id = ?", row["id"])
        return flask.Response()

    # -- pushing -----------------------------------------------------------------------------------------------

    def missing_paths(self) -> flask.Response:
        wanted = json_body(payloads.MISSING_PATHS)
        cache, _ = self.cache_for(wanted["cache"], "w")
        hashes = sorted(set(wanted["store_path_hashes"]))
        present: set[str] = set()
        with self.database.begin() as tx:
            # Only those asked about, however many the cache has.
            for some in (hashes[at : at + 500] for at in range(0, len(hashes), 500)):
                marks = ", ".join("?" * len(some))
                sql = f"SELECT store_path_hash FROM object WHERE cache_id = ? AND store_path_hash IN ({marks})"  # noqa: S608
                present.update(row["store_path_hash"] for row in tx.all(sql, cache["id"], *some))
        return _json({"missing_paths": [entry for entry in hashes if entry not in present]})

    def upload(self) -> flask.Response:
        info = self.nar_info()
        cache, _ = self.cache_for(info["cache"], "w")
        result = self.uploader.upload(cache["id"], info, flask.request.stream, self.bearer().subject)
        return _json(result)

    def nar_info(self) -> dict[str, t.Any]:
        headers = flask.request.headers
        if (announced := headers.get("X-Attic-Nar-Info-Preamble-Size")) is not None:
            if not re.fullmatch(r"\+?[0-9]+", announced):
                raise request_error("X-Attic-Nar-Info-Preamble-Size must be a valid unsigned integer")
            if int(announced) > self.config.max_nar_info_size:
                raise request_error("Upload info is too large")
            text: str | bytes = read_up_to(flask.request.stream, int(announced))
            if len(text) != int(announced):
                raise request_error("Upload info doesn't match specified size")
        elif (header := headers.get("X-Attic-Nar-Info")) is not None:
            text = header
        else:
            raise request_error("X-Attic-Nar-Info must be set")
        try:
            return payloads.read(json.loads(text), payloads.NAR_INFO, payloads.NAR_INFO_OPTIONAL)
        except ValueError as exc:  # includes broken JSON and broken UTF-8
            raise request_error(str(exc)) from None

    # -- the binary cache --------------------------------------------------------------------------------------

    def nix_cache_info(self, cache: str) -> flask.Response:
        row, _ = self.cache_for(cache_in_url(cache), "r")
        text = f"WantMassQuery: 1\nStoreDir: {row['store_dir']}\nPriority: {row['priority']}\n"
        return flask.Response(text, content_type="text/x-nix-cache-info", headers=PUBLIC if row["is_public"] else None)

    def narinfo(self, cache: str, name: str) -> flask.Response:
        row = self.object(cache, name, "narinfo")
        references = json.loads(row["references"])
        message = fingerprint(row["store_path"], row["nar_hash"], row["nar_size"], references)
        lines = {
            "StorePath": row["store_path"],
            "URL": f"nar/{row['store_path_hash']}.nar",
            "Compression": row["compression"],
            "NarHash": row["nar_hash"],
            "NarSize": row["nar_size"],
            "References": " ".join(references),
            "Deriver": row["deriver"],
            "Sig": Keypair(row["keypair"]).sign(message),
            "CA": row["ca"],
        }
        text = "".join(f"{key}: {value}\n" for key, value in lines.items() if value is not None)
        return flask.Response(text, content_type="text/x-nix-narinfo", headers=PUBLIC if row["is_public"] else None)

    def nar(self, cache: str, name: str) -> flask.Response:
        row = self.object(cache, name, "nar")
        with self.database.begin() as tx:
            chunks = tx.all(
                "SELECT chunk.id, remote_file FROM chunkref LEFT JOIN chunk ON chunk.id = chunk_id "
                "WHERE nar_id = ? ORDER BY seq",
                row["nar_id"],
            )
            if len(chunks) != row["num_chunks"]:
                raise ApiError("InternalServerError")
            if any(chunk["id"] is None for chunk in chunks):
                raise ApiError("IncompleteNar")
            tx.run("UPDATE object SET last_accessed_at = ? WHERE id = ?", now(), row["id"])
        headers = PUBLIC if row["is_public"] else {}
        files = [chunk["remote_file"] for chunk in chunks]
        if len(files) == 1 and (url := self.storage.url(files[0])):
            return flask.Response(status=307, headers={**headers, "Location": url})
        # The first chunk is fetched before the response starts, so losing it is an error; losing another one truncates the body.
        content = self.storage.get(files[0]) if len(files) == 1 else self.pieces(files)
        return flask.Response(content, mimetype="application/x-nix-nar", headers=headers)

    def pieces(self, files: list[str]) -> Iterator[bytes]:
        for remote_file in files:
            yield from self.storage.get(remote_file)

    def object(self, cache: str, name: str, suffix: str) -> Row:
        """The object behind `<hash>.<suffix>`. A missing one is 404 for everybody, a forbidden one is not."""
        cache_in_url(cache)
        store_hash, _, ending = name.partition(".")
        if ending != suffix:
            raise ApiError("NotFound")
        if not STORE_HASH.fullmatch(store_hash):
            raise ApiError("InvalidStorePathHash")
        with self.database.begin() as tx:
            row = tx.one(
                "SELECT object.*, keypair, is_public, nar_hash, nar_size, compression, num_chunks FROM object "
                "JOIN cache ON cache.id = cache_id JOIN nar ON nar.id = nar_id "
                "WHERE cache.name = ? AND deleted_at IS NULL AND store_path_hash = ? AND nar.state = 'V'",
                cache,
                store_hash,
            )
        if row is None:
            raise ApiError("NoSuchObject")
        require(self.bearer().rights(cache, public=bool(row["is_public"])), "r")
        return row


def require(rights: Rights, right: str) -> None:
    if right not in rights:
        raise ApiError("AccessError" if rights else "Unauthorized")


def cache_in_url(name: str) -> str:
    try:
        return payloads.cache_name(name)
    except ValueError as exc:
        raise Rejection(400, f"Invalid URL: {exc}") from None


def json_body(
    required: dict[str, payloads.Check], optional: dict[str, payloads.Check] | None = None
) -> dict[str, t.Any]:
    if not flask.request.is_json:
        raise Rejection(415, "Expected request with `Content-Type: application/json`")
    body = read_up_to(flask.request.stream, MAX_JSON + 1)
    if len(body) > MAX_JSON:
        raise Rejection(413, "Failed to buffer the request body: length limit exceeded")
    try:
        parsed = json.loads(body)
    except ValueError as exc:
        raise Rejection(400, f"Failed to parse the request body as JSON: {exc}") from None
    try:
        return payloads.read(parsed, required, optional)
    except payloads.NotAVariant as exc:
        raise Rejection(400, f"Failed to parse the request body as JSON: {exc}") from None
    except ValueError as exc:
        raise Rejection(422, f"Failed to deserialize the JSON body into the target type: {exc}") from None


def _endpoint_from_host() -> str:
    environ = flask.request.environ
    if not re.fullmatch(r"[A-Za-z0-9._:\[\]-]+", environ["HTTP_HOST"]):
        raise request_error("invalid uri character")
    scheme = "https" if environ.get("HTTP_X_FORWARDED_PROTO") == "https" else "http"
    return f"{scheme}://{environ['HTTP_HOST']}/"


def _json(body: t.Any, status: int = 200) -> flask.Response:
    return flask.Response(json.dumps(body, separators=(",", ":")), status, mimetype="application/json")


def _text(text: str, status: int) -> flask.Response:
    return flask.Response(text, status, mimetype="text/plain")


def _json_error(exc: ApiError) -> flask.Response:
    return _json({"code": exc.code, "error": exc.error, "message": exc.message}, exc.code)


def _internal_error(exc: Exception) -> flask.Response | HTTPException:
    if isinstance(exc, HTTPException):
        return exc
    flask.current_app.logger.error("%s: %s", type(exc).__name__, exc)
    return _json_error(ApiError("InternalServerError"))
