# SPDX-License-Identifier: GPL-3.0-or-later
"""Doubles with the latency of real services, under their real addresses.

Modules that know only the vendor's address reach the double through HTTPS_PROXY, like any client behind a company's
proxy, and trust its certificate through SSL_CERT_FILE. The modules themselves are not changed.
"""

from __future__ import annotations

import contextlib
import pathlib
import socket
import socketserver
import ssl
import threading
import time
import typing as t
from collections.abc import Iterable, Iterator

import trustme
from werkzeug.serving import make_server

Wsgi = t.Callable[[dict[str, t.Any], t.Callable[..., t.Any]], Iterable[bytes]]
LATENCY = 0.1


def delayed(app: Wsgi) -> Wsgi:
    """The same application; each answer arrives later by the latency."""

    def answer(environ: dict[str, t.Any], start_response: t.Callable[..., t.Any]) -> Iterable[bytes]:
        time.sleep(LATENCY)
        return app(environ, start_response)

    return answer


@contextlib.contextmanager
def listening(app: Wsgi, context: ssl.SSLContext | None = None) -> Iterator[int]:
    server = make_server("127.0.0.1", 0, app, threaded=True, ssl_context=context)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def at_real_address(app: Wsgi, host: str, folder: pathlib.Path) -> Iterator[dict[str, str]]:
    """Environment variables with which https://host is this application."""
    authority = trustme.CA()
    bundle = folder / "authority.pem"
    authority.cert_pem.write_to_path(str(bundle))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(host).configure_cert(context)
    with listening(app, context) as port, Tunnel(port) as proxy:
        address = f"http://127.0.0.1:{proxy.server_address[1]}"
        yield {
            "HTTPS_PROXY": address,
            "https_proxy": address,
            "SSL_CERT_FILE": str(bundle),
            "REQUESTS_CA_BUNDLE": str(bundle),
        }


class Tunnel(socketserver.ThreadingTCPServer):
    """An HTTP proxy that supports CONNECT only and connects to one place."""

    daemon_threads = True

    def __init__(self, target: int) -> None:
        self.target = target
        super().__init__(("127.0.0.1", 0), Connect)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class Connect(socketserver.StreamRequestHandler):
    server: Tunnel
    rbufsize = 0  # what follows the request belongs to the other side

    def handle(self) -> None:
        while self.rfile.readline().strip():
            pass
        with socket.create_connection(("127.0.0.1", self.server.target)) as other:
            self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=pump, args=(other, self.connection), daemon=True)
            back.start()
            pump(self.connection, other)
            back.join()


def pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while block := source.recv(65536):
            sink.sendall(block)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
