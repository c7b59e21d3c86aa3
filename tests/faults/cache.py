# SPDX-License-Identifier: GPL-3.0-or-later
"""A binary cache over HTTP that works, or fails in one of the ways that caches fail in."""

from __future__ import annotations

import base64
import contextlib
import functools
import http.server
import pathlib
import threading
import time
import typing as t
from collections.abc import Iterator

from tests.support.containers import gateway

Fault = t.Literal["", "502", "slow", "stalled", "wrong signature"]
BYTES_PER_SECOND = 64 << 10


class Handler(http.server.SimpleHTTPRequestHandler):
    fault: Fault = ""

    def __init__(self, *args: t.Any, fault: Fault, on_nar: t.Callable[[], None] | None, **options: t.Any) -> None:
        self.fault = fault
        self.on_nar = on_nar
        super().__init__(*args, **options)

    def do_GET(self) -> None:
        if self.on_nar and "/nar/" in self.path:
            self.on_nar()
        if self.fault == "502" and self.path != "/nix-cache-info":
            self.send_error(502)
        elif self.fault == "stalled" and self.path != "/nix-cache-info":
            self.connection.recv(1)  # nothing comes until the client gives up
        elif self.fault == "wrong signature" and self.path.endswith(".narinfo"):
            self._send(_signed_wrongly(pathlib.Path(self.translate_path(self.path))))
        elif self.fault == "slow" and "/nar/" in self.path:
            self._trickle(pathlib.Path(self.translate_path(self.path)).read_bytes())
        else:
            super().do_GET()

    def _send(self, content: bytes | None) -> None:
        if content is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _trickle(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            for start in range(0, len(content), BYTES_PER_SECOND):
                self.wfile.write(content[start : start + BYTES_PER_SECOND])
                time.sleep(1)

    def log_message(self, *_: t.Any) -> None:
        pass


def _signed_wrongly(file: pathlib.Path) -> bytes | None:
    if not file.exists():
        return None
    lines = file.read_text().splitlines()
    other = base64.b64encode(bytes(64)).decode()
    return "".join(
        f"{line.rpartition(':')[0]}:{other}\n" if line.startswith("Sig: ") else f"{line}\n" for line in lines
    ).encode()


@contextlib.contextmanager
def serve(folder: pathlib.Path, fault: Fault = "", on_nar: t.Callable[[], None] | None = None) -> Iterator[str]:
    """The URL as the hosts see it; something may happen before an archive is sent."""
    handler = functools.partial(Handler, directory=str(folder), fault=fault, on_nar=on_nar)
    server = http.server.ThreadingHTTPServer((gateway(), 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://{gateway()}:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
