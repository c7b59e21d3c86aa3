# SPDX-License-Identifier: GPL-3.0-or-later
"""A double of the Attic binary cache: server (`atticd`) and client (`attic`), sufficient for a real Nix.

    bin/atticd  __main__ ─► config ─► server ─► api ─► tokens, payloads, upload ─► database, storage
                                    └► gc ─────────────────────────────────────►
    bin/attic   client

tests/contract/test_attic.py compares it with the real server: configuration file, exit codes, API, errors, tables and
objects are the same, so each can continue with the data of the other. Known differences: NARs are split at fixed lengths,
not by content; brotli is refused; there is no first-run setup; log lines differ. Of a NAR no
more than a few MB are held in memory.

The folder depends on nothing else in this repository and can be copied anywhere.
"""
