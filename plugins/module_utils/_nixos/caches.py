# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a host reaches its binary caches, and whether they sign with the expected key. Private: may change without notice."""

from __future__ import annotations

import base64
import contextlib
import http.client
import netrc
import os
import re
import typing as t
import urllib.error
import urllib.parse
import urllib.request

TIMEOUT = 5.0
LIMIT = 1 << 16
NETRC = "/etc/nix/netrc"

_SIGNATURE = re.compile(r"^Sig: ([^:\s]+):", re.M)


def findings(cache: dict[str, t.Any], path: str) -> t.Iterator[str]:
    """What is wrong with a cache, without the full stop: that it does not answer, or that it signs this path with another key."""
    url, key = str(cache["url"]).rstrip("/"), str(cache.get("public_key") or "")
    try:
        status, _text = get(f"{url}/nix-cache-info")
        if status in (401, 403):
            yield f"The cache {url} refuses this host (status {status}); give it a token in {NETRC}"
            return
        if status != 200:
            yield f"The cache {url} answers with status {status}"
            return
        # A miss is no fault: other caches, or SSH, may have the path.
        status, text = get(f"{url}/{os.path.basename(path)[:32]}.narinfo")
    except (OSError, ValueError, http.client.HTTPException) as exc:
        yield f"The cache {url} cannot be reached from this host ({getattr(exc, 'reason', None) or exc or type(exc).__name__})"
        return
    signers = _SIGNATURE.findall(text) if status == 200 else []
    if signers and key and key.partition(":")[0] not in signers:
        yield f"The cache {url} signs with the key {', '.join(signers)} instead of {key.partition(':')[0]}"


def get(url: str) -> tuple[int, str]:
    request = urllib.request.Request(url, headers=_credentials(url))  # noqa: S310 - the host's own substituters
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)  # noqa: S310
    except urllib.error.HTTPError as exc:
        response = exc
    with contextlib.closing(response):
        return int(response.status or 0), response.read(LIMIT).decode("utf-8", "replace")


def _credentials(url: str) -> dict[str, str]:
    try:
        entry = netrc.netrc(NETRC).authenticators(urllib.parse.urlsplit(url).hostname or "")
    except (OSError, netrc.NetrcParseError):
        return {}
    if not entry:
        return {}
    return {"Authorization": "Basic " + base64.b64encode(f"{entry[0]}:{entry[2]}".encode()).decode()}
