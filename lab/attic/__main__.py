# SPDX-License-Identifier: GPL-3.0-or-later
"""`atticd`: the command line of the real server, its modes and its exit codes."""

from __future__ import annotations

import argparse
import dataclasses
import logging
import os
import pathlib
import sys
import threading

from . import config as configuration
from .database import Database
from .gc import collect, collect_forever

MODES = (
    "monolithic",
    "api-server",
    "garbage-collector",
    "db-migrations",
    "garbage-collector-once",
    "check-config",
)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser("atticd", description="Nix binary cache server (a double for the lab).")
    parser.add_argument("-f", "--config", type=pathlib.Path)
    parser.add_argument("-l", "--listen")
    parser.add_argument("--mode", choices=MODES, default="monolithic")
    parser.add_argument("-V", "--version", action="version", version="attic-server 0.1.0 (double)")
    options = parser.parse_args(argv)
    level = os.environ.get("RUST_LOG", "").rpartition("=")[2].upper()
    logging.basicConfig(
        stream=sys.stdout,
        level=level if level in ("DEBUG", "INFO", "WARN") else "ERROR",
        format="%(asctime)s %(levelname)5s %(name)s: %(message)s",
    )
    print("Attic Server 0.1.0 (double)", file=sys.stderr)
    try:
        config = configuration.load(options.config)
        if options.listen:
            host, port = configuration.read_listen(options.listen)
            config = dataclasses.replace(config, host=host, port=port)
    except configuration.EnvironmentPanic as exc:
        print(f"\nthread 'main' panicked:\n{exc}", file=sys.stderr)
        return 101
    except configuration.ConfigError as exc:
        print(f"Error: {exc}", file=sys.stderr)
        return 1
    try:
        run(options.mode, config)
    except Exception as exc:  # whatever ended the server is one line in the journal, as with the real one
        print(f"Error: {exc}", file=sys.stderr)
        return 1
    return 0


def run(mode: str, config: configuration.Config) -> None:
    if mode in ("monolithic", "db-migrations"):
        print("Running migrations...", file=sys.stderr)
        Database(config.database_url).migrate()
    if mode in ("monolithic", "api-server"):
        from .server import serve  # the other modes do not need Flask

        serve(config, collect=mode == "monolithic")
    elif mode == "garbage-collector":
        collect_forever(config, threading.Event())
    elif mode == "garbage-collector-once":
        collect(config)


if __name__ == "__main__":
    sys.exit(main())
