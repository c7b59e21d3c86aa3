# SPDX-License-Identifier: GPL-3.0-or-later
"""What may be shown of other programs' output."""

from __future__ import annotations

import base64
import os

import pytest
from ansible_collections.pantheros.nixci.plugins.module_utils._core.redact import redact_log

KEY = base64.b64encode(bytes(range(48)) + os.urandom(48)).decode()


@pytest.mark.parametrize(
    "text",
    [
        "AWS_SECRET_ACCESS_KEY=canary",
        "ATTIC_SERVER_TOKEN_RS256_SECRET_BASE64='canary words'",
        'config: {"token": "canary words"}',
        "password: canary",
        "Authorization: Bearer canary.canary-canary",
        "got eyJhbGciOiJIUzI1NiJ9.canary.canary",
        "OP=ops_eyJcanarycanarycanary",
        "postgresql://atticd:canary@localhost/atticd",
        "glpat-canarycanary",
        "-----BEGIN RSA PRIVATE KEY-----\ncanary\ncanary\n-----END RSA PRIVATE KEY-----",
    ],
)
def test_secrets_are_masked(text: str) -> None:
    assert "canary" not in redact_log(text) and "***" in redact_log(text)


def test_key_material_is_masked_and_known_key_ids_too() -> None:
    assert redact_log(f"panicked at {KEY}") == "panicked at ***"
    assert redact_log("id AKIAABCDEFGHIJKLMNOP") == "id ***"


@pytest.mark.parametrize(
    "text",
    [
        "/nix/store/00000000000000000000000000000000-nixos-system-hetzner-vps-25.11/sw/share/caddy/public/monkeys/a.service",
        f"cgroup '/docker/{'0123456789abcdef' * 4}/system.slice/atticd.service'",
        "Main PID: 12 (code=exited, status=1/FAILURE)",
        "Error: connection to server on socket /run/postgresql/.s.PGSQL.5432 failed",
        "postgresql://atticd@localhost/atticd?host=/run/postgresql",
    ],
)
def test_ordinary_words_stay(text: str) -> None:
    assert redact_log(text) == text
