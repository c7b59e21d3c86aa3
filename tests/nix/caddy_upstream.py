# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands behind Caddy in test_caddy.py, on port 8080 of the same container; Tailscale's daemon for certificates, on a socket.

The name of a path says how it is answered: slow.narinfo after a long time, broken.narinfo with 500.
"""

from __future__ import annotations

import http.server
import pathlib
import socketserver
import sys
import time
import typing as t

INFO = "StoreDir: /nix/store\nWantMassQuery: 1\nPriority: 30\n"
SOCKET = "/var/run/tailscale/tailscaled.sock"


class Cache(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status: int, text: str = "", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text.encode())

    def do_GET(self) -> None:
        name = self.path.partition("?")[0].rpartition("/")[2]
        if name.startswith("slow"):
            time.sleep(60)
        if name == "nix-cache-info":
            self.answer(200, INFO)
        elif name.startswith("broken"):
            self.answer(500, "broken")
        elif name.endswith(".nar"):
            self.answer(307, Location="https://storage.example.net/chunk?X-Amz-Signature=signed-secret")
        elif name.startswith("none"):
            self.answer(404)
        else:
            self.answer(200, "StorePath: /nix/store/x\n")

    do_HEAD = do_GET

    def do_PUT(self) -> None:
        """The number of bytes; the file /srv/seen is there as soon as the first of them are."""
        size = 0
        while length := int(self.rfile.readline(), 16):
            while length:
                data = self.rfile.read(min(length, 1 << 20))
                size += len(data)
                length -= len(data)
                pathlib.Path("/srv/seen").touch()
            self.rfile.readline()
        self.rfile.readline()
        self.answer(200, str(size))

    def log_message(self, *_args: t.Any) -> None:
        pass


class Tailscale(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        known = self.path.startswith("/localapi/v0/cert/")
        self.send_response(200 if known else 404)
        self.end_headers()
        if known:
            self.wfile.write(b"".join(pathlib.Path(f"/srv/{name}.pem").read_bytes() for name in ("key", "certificate")))

    def address_string(self) -> str:
        return "socket"


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True


class SocketServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


if sys.argv[1:] == ["tailscale"]:
    pathlib.Path(SOCKET).parent.mkdir(parents=True, exist_ok=True)
    SocketServer(SOCKET, Tailscale).serve_forever()
Server(("127.0.0.1", 8080), Cache).serve_forever()
