# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Probes of what a host offers: URLs, TCP ports and commands. Private: may change without notice.

They need nothing of NixOS, so that a controller can look at the same host from outside.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import http.client
import re
import socket
import ssl
import time
import typing as t
import urllib.parse

from .._core.errors import InvalidError
from . import listener
from .command import Runner
from .finding import Finding, found, last_line

ANSWER_LIMIT = 1 << 20
CONNECT_TIMEOUT = 10.0
COMMAND_DEFAULTS = {"rc": 0, "contains": None, "timeout": 10}

Params = dict[str, t.Any]


# -- URLs


def check_urls(entries: list[Params]) -> tuple[list[Finding], list[Params]]:
    """What does not answer as it should, and the answers of the others."""
    findings: list[Finding] = []
    answers: list[Params] = []
    for entry in entries:
        problems = found(f"url {entry['url']}", _url, entry, answers)
        findings += problems
    return findings, answers


def _url(entry: Params, answers: list[Params]) -> str | None:
    url = entry["url"]
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidError(f"urls: '{url}' is not a URL; it must start with http:// or https:// and name a host.")
    if parts.scheme == "http" and (entry.get("certificate_days") or entry.get("certificate_name")):
        raise InvalidError(f"urls: {url} has no certificate to check; use https://.")
    try:
        return _listener(entry, parts) or _answer(entry, parts, answers)
    except ssl.SSLCertVerificationError as exc:
        return f"{url} does not answer properly: its certificate is not trusted ({exc.verify_message.rstrip('.')})."
    except (OSError, ValueError, http.client.HTTPException) as exc:
        return f"{url} does not answer properly: {str(exc) or type(exc).__name__}."


def _listener(entry: Params, parts: urllib.parse.SplitResult) -> str | None:
    if not entry.get("unit"):
        return None
    return listener.problem(parts.hostname or "", parts.port or _port(parts.scheme), entry["unit"])


def _port(scheme: str) -> int:
    return {"https": 443}.get(scheme, 80)


def _answer(entry: Params, parts: urllib.parse.SplitResult, answers: list[Params]) -> str | None:
    url, headers = entry["url"], {name: str(value) for name, value in (entry.get("headers") or {}).items()}
    # Never through a proxy, and no redirect to another server: it is this address that shall answer.
    connection = _connection(entry, parts)
    with contextlib.closing(connection):
        place = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
        connection.request("GET", place, headers={"User-Agent": "pantheros.nixci", "Connection": "close", **headers})
        certificate = connection.sock.getpeercert() if isinstance(connection.sock, ssl.SSLSocket) else None
        response = connection.getresponse()
        status, body = response.status, response.read(ANSWER_LIMIT)
    expected, text, days = entry.get("status"), entry.get("contains"), entry.get("certificate_days")
    if status != expected if expected else status >= 400:
        wanted = f", but {expected} is expected" if expected else ""
        return f"{url} does not answer properly: it answers with status {status}{wanted}."
    if text and text.encode() not in body:
        return f"{url} answers, but without '{text}', so it is another server than the one expected there."
    until = _until(certificate)
    if days and (until is None or until - time.time() < days * 86400):
        return f"The certificate of {url} is valid until {_date(until)}, which is less than {days} days from now; renew it."
    host = {name.lower(): value for name, value in headers.items()}.get("host")
    digest = hashlib.sha256(body).hexdigest()
    answers.append(
        {"url": url, "host": host, "status": status, "sha256": digest, "certificate_until": until and _date(until)}
    )
    return None


def _connection(entry: Params, parts: urllib.parse.SplitResult) -> http.client.HTTPConnection:
    host, port = parts.hostname or "", parts.port or _port(parts.scheme)
    if parts.scheme == "http":
        return http.client.HTTPConnection(host, port, timeout=CONNECT_TIMEOUT)
    try:
        context = ssl.create_default_context(cafile=entry.get("ca_path"))
    except OSError as exc:
        raise InvalidError(
            f"urls: the certificates in {entry['ca_path']} cannot be read: {exc.strerror or exc}."
        ) from None
    return _Https(host, port, context, entry.get("certificate_name") or host)


class _Https(http.client.HTTPSConnection):
    """Asks for the certificate of a name, and not of the address that it connects to."""

    def __init__(self, host: str, port: int, context: ssl.SSLContext, name: str) -> None:
        super().__init__(host, port, timeout=CONNECT_TIMEOUT, context=context)
        self.tls, self.name = context, name

    def connect(self) -> None:
        http.client.HTTPConnection.connect(self)
        self.sock = self.tls.wrap_socket(self.sock, server_hostname=self.name)


def _until(certificate: t.Any) -> float | None:
    return float(ssl.cert_time_to_seconds(certificate["notAfter"])) if certificate else None


def _date(seconds: float | None) -> str:
    if seconds is None:
        return "an unknown time"
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")  # noqa: UP017


# -- TCP ports


def check_ports(entries: list[t.Any]) -> list[Finding]:
    return [finding for entry in entries for finding in found(f"port {entry}", _connects, entry)]


def _connects(entry: t.Any) -> str | None:
    host, port = parse_port(entry)
    try:
        with socket.create_connection((host, port), timeout=CONNECT_TIMEOUT):
            return None
    except OSError as exc:
        return f"Nothing accepts connections on port {port} of {host}: {exc.strerror or exc}."


def parse_port(entry: t.Any) -> tuple[str, int]:
    """Host and port of "host:port", "[address]:port" or a port of this host."""
    parsed = re.fullmatch(r"(?:(?:\[(?P<address>[^\[\]]+)\]|(?P<host>[^:\[\]\s]+)):)?(?P<port>\d{1,5})", str(entry))
    if parsed is None or not 1 <= int(parsed["port"]) <= 65535:
        raise InvalidError(
            f"ports: '{entry}' is neither a port from 1 to 65535 nor HOST:PORT; an IPv6 address needs brackets, as in [::1]:22."
        )
    return parsed["address"] or parsed["host"] or "127.0.0.1", int(parsed["port"])


# -- commands


def check_commands(commands: Params, run: t.Callable[[float], Runner]) -> list[Finding]:
    """`run` makes the runner of one command, so that one that hangs does not take the time of the others."""
    return [
        finding
        for name, command in commands.items()
        for finding in found(f"command {name}", _command, name, command, run)
    ]


def parse_command(name: str, command: t.Any) -> Params:
    options = {"argv": command} if isinstance(command, list) else command
    if not isinstance(options, dict) or not isinstance(options.get("argv"), list) or not options["argv"]:
        raise InvalidError(
            f"commands: {name} is not a list of a program and its arguments, such as [systemctl, is-system-running], "
            "nor a mapping with such a list in argv."
        )
    unknown = sorted(options.keys() - {"argv", *COMMAND_DEFAULTS})
    if unknown:
        raise InvalidError(f"commands: {name} has the unknown key {unknown[0]}; known are argv, rc, contains, timeout.")
    parsed = {**COMMAND_DEFAULTS, **options, "argv": [str(word) for word in options["argv"]]}
    try:
        parsed["rc"], parsed["timeout"] = int(parsed["rc"]), float(parsed["timeout"])
    except (TypeError, ValueError):
        raise InvalidError(f"commands: rc and timeout of {name} must be numbers.") from None
    if not 1 <= parsed["timeout"] <= 600:
        raise InvalidError(f"commands: the timeout of {name} must be from 1 to 600 seconds.")
    return parsed


def _command(name: str, command: t.Any, run: t.Callable[[float], Runner]) -> str | None:
    options = parse_command(name, command)
    outcome = run(options["timeout"]).run(*options["argv"], cwd="/")
    if outcome.rc != options["rc"]:
        expected = f" instead of {options['rc']}" if options["rc"] else ""
        return f"The command {name} ends with status {outcome.rc}{expected}: {last_line(outcome.err or outcome.out)[:300]}."
    if options["contains"] and str(options["contains"]) not in outcome.out:
        return f"The command {name} does not print '{options['contains']}'."
    return None
