# SPDX-License-Identifier: GPL-3.0-or-later
"""The application, for tests, and the server, which stops on a signal."""

from __future__ import annotations

import base64
import logging
import pathlib
import signal
import sys
import threading
import typing as t
from collections.abc import Collection

import flask
from werkzeug.serving import WSGIRequestHandler, make_server

from .api import wsgi_app
from .config import Config, Signing, read_key
from .database import Database
from .gc import collect_forever


def create_app(
    *,
    data_dir: str | pathlib.Path,
    token_secret_hs256: bytes | None = None,
    token_rs256_pem: bytes | None = None,
    allowed_hosts: Collection[str] = (),
    soft_delete: bool = False,
    **more: t.Any,
) -> flask.Flask:
    """A ready WSGI application on SQLite and local storage in data_dir; `more` are further fields of Config."""
    signing = (
        read_key("token-rs256-secret-base64", base64.b64encode(token_rs256_pem).decode())
        if token_rs256_pem
        else Signing("HS256", token_secret_hs256)
    )
    config = Config(
        database_url=f"sqlite://{data_dir}/server.db?mode=rwc",
        storage={"type": "local", "path": f"{data_dir}/storage"},
        signing=signing,
        allowed_hosts=tuple(allowed_hosts),
        soft_delete_caches=soft_delete,
        **more,
    )
    Database(config.database_url).migrate()
    app = wsgi_app(config)
    app.config["ATTIC"] = config  # for gc.collect() in tests
    return app


class QuietHandler(WSGIRequestHandler):
    """The real server keeps no access log."""

    protocol_version = "HTTP/1.1"

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass


def serve(config: Config, *, collect: bool) -> None:
    """Serve until SIGTERM or SIGINT, and finish the requests that have begun."""
    print("Starting API server...", file=sys.stderr)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server(config.host, config.port, wsgi_app(config), threaded=True, request_handler=QuietHandler)
    server.daemon_threads = False  # type: ignore[attr-defined]
    stopping = threading.Event()

    def stop(number: int, frame: t.Any) -> None:
        print(f"Received {signal.Signals(number).name}, exiting gracefully...", file=sys.stderr)
        stopping.set()
        threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    if collect:
        threading.Thread(target=collect_forever, args=(config, stopping), daemon=True).start()
    address = f"[{config.host}]" if ":" in config.host else config.host
    print(f"Listening on {address}:{config.port}...", file=sys.stderr, flush=True)
    server.serve_forever()
    server.server_close()
