# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Text that is safe to show. Private: may change without notice.

Services and programs repeat what they were given, so nothing that they say is printed before it went through here.
"""

from __future__ import annotations

import html
import json
import re
import urllib.parse
from collections.abc import Iterable

MASK = "***"
# Shorter values are parts of ordinary words: masking them would hide the message and show where the value is.
SHORTEST = 8

Patterns = list[tuple[re.Pattern[str], str]]
# Only a credential looks like this.
_CREDENTIALS: Patterns = [
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.S), MASK),
    # JSON web tokens, and 1Password's tokens that contain one
    (re.compile(r"\b(?:ops_)?eyJ[\w=.-]{10,}"), MASK),
    (re.compile(r"\bops_[\w-]+"), MASK),
    (re.compile(r"\b(bearer|basic)\s+[\w.~+/=-]{8,}", re.I), rf"\1 {MASK}"),
    (re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"), MASK),
    (re.compile(r"\bglpat-[\w-]{8,}"), MASK),
    (re.compile(r"\botpauth://\S+"), MASK),
]
_SECRET_NAME = r"(?:key|secret|token|passw(?:or)?d|base64|credentials?)"
# These may be harmless; in a journal that does not matter.
_SUSPICIOUS: Patterns = [
    # NAME_OF_A_SECRET=value, "secret": "value" and the like
    (re.compile(rf"""\b(\w*{_SECRET_NAME}\w*["']?\s*[=:]\s*)("[^"]*"|'[^']*'|[^\s,;]+)""", re.I), rf"\1{MASK}"),
    (re.compile(r"(\w+://[^\s:/@]*):[^\s/@]+@"), rf"\1:{MASK}@"),
    # long Base64, as key material is written; a path is never taken for it
    (re.compile(r"(?<![\w/.+-])[A-Za-z0-9+][A-Za-z0-9+/]{59,}={0,2}"), MASK),
]


def redact(text: str, secrets: Iterable[str] = (), *, shortest: int = 1) -> str:
    """The text without these secrets, also in the spelling of JSON, HTML and URLs, and without other credentials.

    Parts of a secret that are shorter than `shortest` are left alone.
    """
    parts = {part for secret in secrets for part in (secret, *secret.splitlines()) if len(part) >= shortest}
    for part in sorted(parts, key=len, reverse=True):
        for spelling in (part, json.dumps(part)[1:-1], html.escape(part), urllib.parse.quote(part, safe="")):
            text = text.replace(spelling, MASK)
    return _without(text, _CREDENTIALS)


def redact_log(text: str, secrets: Iterable[str] = ()) -> str:
    """For journals and the output of programs that we do not control: also without whatever may be a secret."""
    return _without(redact(text, secrets), _SUSPICIOUS)


def repeats(text: str, secret: str) -> bool:
    """Whether a text holds a part of a secret, in whatever way it is escaped."""
    if len(secret) > 3 and secret in text:
        return True
    plain = urllib.parse.unquote(html.unescape(text))
    haystack, needle = (re.sub(r"[^A-Za-z0-9]", "", one) for one in (plain, secret))
    return any(needle[start : start + 6] in haystack for start in range(len(needle) - 5))


def _without(text: str, patterns: Patterns) -> str:
    for pattern, replacement in patterns:
        text = pattern.sub(replacement, text)
    return text
