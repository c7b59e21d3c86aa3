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

from ansible.module_utils.urls import open_url

TIMEOUT = 5.0
LIMIT = 1 << 16
NETRC = "/etc/nix/netrc"
CONFIGURATION = "/etc/nix/nix.conf"

_SIGNATURE = re.compile(r"^Sig: ([^:\s]+):", re.M)


def configured() -> list[dict[str, t.Any]]:
    """The caches that the host uses, with the keys that it trusts."""
    words: dict[str, list[str]] = {}
    try:
        with open(CONFIGURATION, encoding="utf-8") as file:
            for line in file:
                name, _equals, value = line.partition("#")[0].partition("=")
                words.setdefault(name.strip().removeprefix("extra-"), []).extend(value.split())
    except OSError:
        return []
    keys = words.get("trusted-public-keys", [])
    urls = [url.partition("?")[0] for url in words.get("substituters", []) if url.startswith(("https://", "http://"))]
    return [{"url": url, "keys": keys} for url in dict.fromkeys(urls)]


def findings(cache: dict[str, t.Any], path: str) -> t.Iterator[str]:
    """What is wrong with a cache, without the full stop: that it does not answer, or that it signs this path with another key."""
    url = str(cache["url"]).rstrip("/")
    trusted = [str(key).partition(":")[0] for key in [cache.get("key"), *cache.get("keys", [])] if key]
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
    if signers and trusted and not set(signers) & set(trusted):
        yield f"The cache {url} signs with the key {', '.join(signers)}, but the host trusts {', '.join(trusted)}"


def get(url: str) -> tuple[int, str]:
    try:
        # The netrc of Nix is another one than that of the user.
        response = open_url(url, headers=_credentials(url), timeout=TIMEOUT, use_netrc=False)
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
