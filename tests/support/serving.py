# SPDX-License-Identifier: GPL-3.0-or-later
"""A double on a free loopback port."""

from __future__ import annotations

import contextlib
import threading
import typing as t
from collections.abc import Iterator

from werkzeug.serving import make_server


@contextlib.contextmanager
def serving(app: t.Any) -> Iterator[str]:
    """Serve a WSGI application; yields its URL."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
