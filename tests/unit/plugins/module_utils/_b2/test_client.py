# SPDX-License-Identifier: GPL-3.0-or-later
"""The timeouts and retries of the B2 client; its errors are tested through the modules."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest
from ansible_collections.pantheros.nixci.plugins.module_utils._b2 import client as _b2
from ansible_collections.pantheros.nixci.plugins.module_utils._b2 import http as _b2_http


class Silent:
    """A server that accepts requests and never answers: it closes the connection at once or keeps it open."""

    def __init__(self, hang_up: bool) -> None:
        self.hang_up = hang_up
        self.requests = 0
        self.open: list[socket.socket] = []
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                line, _ = self.socket.accept()
            except OSError:
                return
            line.recv(65536)
            self.requests += 1
            if self.hang_up:
                line.close()
            else:
                self.open.append(line)


@pytest.fixture
def hanging_up() -> Iterator[Silent]:
    server = Silent(hang_up=True)
    yield server
    server.socket.close()


@pytest.fixture
def mute() -> Iterator[Silent]:
    server = Silent(hang_up=False)
    yield server
    server.socket.close()
    for line in server.open:
        line.close()


@pytest.mark.parametrize(("operation", "tries"), [("b2_list_keys", 3), ("b2_create_key", 1)])
def test_only_creating_a_key_is_not_repeated_on_a_lost_connection(
    hanging_up: Silent, operation: str, tries: int
) -> None:
    session = _b2_http.BoundedSession(timeout=5, retries=2)
    with pytest.raises(_b2_http.Refusal) as caught:
        session.request("POST", f"{hanging_up.url}/b2api/v4/{operation}", data=b"{}")
    assert "cannot be reached" in str(caught.value.error)
    assert hanging_up.requests == tries


def test_silent_service_takes_no_longer_than_the_timeouts(mute: Silent) -> None:
    params = {"key_id": "id", "key": "secret", "realm": mute.url, "region": None, "timeout": 0.2, "retries": 1}
    start = time.monotonic()
    with pytest.raises(_b2.UnavailableError, match=r"did not answer within 0.2 s"):
        _b2.B2Client(params)
    assert time.monotonic() - start < 3
    assert mute.requests == 2


@pytest.mark.parametrize(
    ("endpoint", "region"),
    [
        ("https://s3.eu-central-003.backblazeb2.com", "eu-central-003"),
        ("http://s3.eu-central-003.localhost:8702", "eu-central-003"),
        ("http://10.0.0.1:8702", None),
        ("http://s3.10.0.1:8702", None),
        ("https://storage.example.org", None),
    ],
)
def test_region_of_an_endpoint(endpoint: str, region: str | None) -> None:
    assert _b2.region_of(endpoint, None) == region
