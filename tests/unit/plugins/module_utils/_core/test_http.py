# SPDX-License-Identifier: GPL-3.0-or-later
"""The common HTTP client with servers on the loopback interface."""

from __future__ import annotations

import datetime
import ipaddress
import json
import pathlib
import ssl
import threading
import typing as t
from collections.abc import Iterator

import pytest
from ansible_collections.pantheros.nixci.plugins.module_utils._core import errors as _errors
from ansible_collections.pantheros.nixci.plugins.module_utils._core.http import JsonClient, checked_token
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from werkzeug.serving import make_server
from werkzeug.wrappers import Request, Response

from lab.clouds._control import Control


class Client(JsonClient):
    service = "The test"

    def __init__(self, url: str, **bounds: t.Any) -> None:
        super().__init__(url, "canary-token", **bounds)


@Request.application
def application(request: Request) -> Response:
    return Response(json.dumps({"path": request.path}), content_type="application/json")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[pathlib.Path, pathlib.Path]:
    """A self-signed certificate for 127.0.0.1 and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - datetime.timedelta(hours=1)).add_extension(address, critical=False)
    certificate = builder.not_valid_after(now + datetime.timedelta(hours=1)).sign(key, hashes.SHA256())
    folder = tmp_path_factory.mktemp("authority")
    private = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(key.private_bytes(*private))
    (folder / "root.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return folder / "root.pem", folder / "key.pem"


@pytest.fixture(scope="module")
def https(authority: tuple[pathlib.Path, pathlib.Path]) -> Iterator[str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority)
    server = make_server("127.0.0.1", 0, application, threaded=True, ssl_context=context)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"https://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_an_unknown_authority_is_reported_with_the_remedy(https: str) -> None:
    with pytest.raises(_errors.UnavailableError, match="is not trusted .* ca_path"):
        Client(https, retries=0).request("GET", "/")


def test_ca_path_wins_over_the_environment(
    https: str, authority: tuple[pathlib.Path, pathlib.Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/etc/ssl/certs/ca-certificates.crt")
    assert Client(https, ca_path=str(authority[0])).request("GET", "/a") == {"path": "/a"}


@pytest.fixture
def faulty(serve: t.Any) -> tuple[Control, str]:
    control = Control(application)
    return control, serve(control)


def statuses(control: Control) -> list[int]:
    return [entry["status"] for entry in control.requests]


@pytest.mark.parametrize(("method", "status"), [("GET", 503), ("PUT", 502), ("POST", 429), ("DELETE", 429)])
def test_safe_requests_are_repeated(faulty: tuple[Control, str], method: str, status: int) -> None:
    control, url = faulty
    control.faults.append({"status": status, "headers": {"Retry-After": "0"}})
    assert Client(url).request(method, "/") == {"path": "/"}
    assert statuses(control) == [status, 200]


def test_a_post_is_not_repeated_after_a_server_error(faulty: tuple[Control, str]) -> None:
    control, url = faulty
    control.faults.append({"status": 503})
    with pytest.raises(_errors.UnavailableError):
        Client(url).request("POST", "/")
    assert statuses(control) == [503]


def test_retries_end(faulty: tuple[Control, str], pauses: list[float]) -> None:
    control, url = faulty
    control.faults.append({"status": 503, "times": 100})
    with pytest.raises(_errors.UnavailableError, match="answered 503"):
        Client(url, retries=2).request("GET", "/")
    assert len(control.requests) == 3
    assert pauses == [1.0], "the first retry follows at once"


def test_a_longer_pause_than_allowed_fails(faulty: tuple[Control, str], pauses: list[float]) -> None:
    control, url = faulty
    control.faults.append({"status": 429, "headers": {"Retry-After": "300"}})
    with pytest.raises(_errors.UnavailableError, match="asks to wait 300 s"):
        Client(url).request("GET", "/")
    assert pauses == []


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, _errors.InvalidError),
        (401, _errors.AuthenticationError),
        (403, _errors.ForbiddenError),
        (404, _errors.NotFoundError),
        (409, _errors.ConflictError),
    ],
)
def test_each_status_has_its_error_type(faulty: tuple[Control, str], status: int, error: type[Exception]) -> None:
    control, url = faulty
    control.faults.append({"status": status, "body": {"message": "because"}})
    with pytest.raises(error, match=f"The test: GET /x answered {status}: because"):
        Client(url).request("GET", "/x")


def test_a_response_that_is_not_json_is_reported(faulty: tuple[Control, str]) -> None:
    control, url = faulty
    control.faults.append({"status": 200, "body": "<html>a login page</html>"})
    with pytest.raises(_errors.UnavailableError, match="not JSON"):
        Client(url).request("GET", "/")


def test_a_redirect_is_not_followed(faulty: tuple[Control, str]) -> None:
    control, url = faulty
    control.faults.append({"status": 302, "headers": {"Location": "http://127.0.0.1:9/"}})
    with pytest.raises(_errors.InvalidError, match="answered 302"):
        Client(url).request("GET", "/")


def test_an_unreachable_service_is_reported() -> None:
    with pytest.raises(_errors.UnavailableError, match="cannot reach http://127.0.0.1:9"):
        Client("http://127.0.0.1:9", retries=0).request("GET", "/")


def test_an_invalid_url_is_refused() -> None:
    with pytest.raises(_errors.InvalidError, match="not a URL"):
        Client("cache.example.org")


@pytest.mark.parametrize("bounds", [{"timeout": 0}, {"timeout": -1}, {"retries": -1}])
def test_invalid_bounds_are_refused(bounds: dict[str, int]) -> None:
    with pytest.raises(_errors.InvalidError, match="timeout must be at least 1 second, and retries must not be neg"):
        Client("http://127.0.0.1:9", **bounds)


@pytest.mark.parametrize("token", ["", " ", "two words", "two\nlines", "canary\u2026"])
def test_a_token_that_does_not_fit_into_a_header_is_refused_without_being_shown(token: str) -> None:
    with pytest.raises(_errors.InvalidError, match="^The token is empty or holds blanks") as caught:
        checked_token(token, "The token")
    assert "canary" not in str(caught.value)


def test_blanks_around_a_token_are_removed() -> None:
    assert checked_token(" token\n", "The token") == "token"
