# SPDX-License-Identifier: GPL-3.0-or-later
"""A double on a free loopback port."""

from __future__ import annotations

import contextlib
import ssl
import threading
import typing as t
from collections.abc import Iterator

from werkzeug.serving import make_server


@contextlib.contextmanager
def serving(app: t.Any, tls: ssl.SSLContext | None = None, address: str = "127.0.0.1") -> Iterator[str]:
    """Serve a WSGI application, with TLS if there is a certificate; yields its URL."""
    server = make_server(address, 0, app, threaded=True, ssl_context=tls)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http{'s' if tls else ''}://{address}:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
