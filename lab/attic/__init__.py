# SPDX-License-Identifier: GPL-3.0-or-later
"""A double of the Attic binary cache: server (`atticd`) and client (`attic`), good enough for a real Nix.

    bin/atticd  __main__ ─► config ─► server ─► api ─► tokens, payloads, upload ─► database, storage
                                    └► gc ─────────────────────────────────────►
    bin/attic   client

tests/contract/test_attic.py holds it against the real server: same file, exit codes, API, refusals, tables and objects,
so that one continues what the other began. Known differences: NARs are cut at fixed lengths, not by content; brotli is
refused; no first-run set-up; log lines look different; a NAR that is not chunked is held in memory.

The folder needs nothing of this repository and can be copied anywhere.
"""
