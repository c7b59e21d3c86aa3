# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import atexit
import contextlib
import pathlib

from ansible_collections.pantheros.nixci.plugins.module_utils._attic.schema import grants

from lab.attic.database import Database
from tests.integration.examples.environment import Environment, Serve
from tests.support.postgresql import server

ROLE, PASSWORD = "attic_stats", "canary-of-a-password"
FILL = """
INSERT INTO cache (name, keypair, is_public, store_dir, priority, upstream_cache_key_names, created_at)
  VALUES ('ci-cache', 'canary-of-a-keypair', false, '/nix/store', 41, '[]', now());
INSERT INTO nar (id, state, nar_hash, nar_size, compression, created_at) VALUES (1, 'V', 'sha256:0', 5000, 'zstd', now());
INSERT INTO object (cache_id, nar_id, store_path_hash, store_path, "references", sigs, created_at)
  SELECT id, 1, '0', '/nix/store/0-x', '[]', '[]', now() FROM cache;
"""


def environment(_serve: Serve, folder: pathlib.Path) -> Environment:
    host = server()
    cleaning = contextlib.ExitStack()
    atexit.register(cleaning.close)
    role = cleaning.enter_context(host.role(PASSWORD, ROLE))
    database = cleaning.enter_context(host.database())
    Database(host.url(database)).migrate()
    host.execute(FILL + grants(role), database)
    # The examples over the socket need no password; here they get it from a file.
    password_file = folder / "pgpass"
    password_file.write_text(f"{host.host}:{host.port}:{database}:{role}:{PASSWORD}\n")
    password_file.chmod(0o600)
    endpoint = {
        "login_unix_socket": None,
        "login_host": host.host,
        "login_port": host.port,
        "login_db": database,
        "login_user": role,
        "ssl_mode": "prefer",
        "ca_cert": None,
    }
    return Environment(
        endpoint={"attic_stats_info": endpoint},
        variables={"attic_stats_password": PASSWORD, "node_exporter_textfiles": str(folder)},
        secrets=[PASSWORD, "canary-of-a-keypair"],
        environment={"PGPASSFILE": str(password_file)},
    )
