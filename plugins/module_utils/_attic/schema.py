# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Is this Attic's database, of a version we understand, and may we read it? Private: may change without notice."""

from __future__ import annotations

import re

from .._core.errors import ForbiddenError, InvalidError, NotFoundError
from .._core.postgresql import Snapshot

# Every column that is read, and no other: cache.keypair holds the signing keys and is none of our business.
COLUMNS = {
    "cache": ("id", "name", "is_public", "deleted_at", "retention_period"),
    "object": ("id", "cache_id", "nar_id", "created_at", "last_accessed_at"),
    "nar": ("id", "state", "nar_size", "holders_count", "created_at"),
    "chunk": ("id", "state", "chunk_size", "file_size", "holders_count", "created_at"),
    "chunkref": ("nar_id", "chunk_id"),
    "seaql_migrations": ("version",),
}
# The oldest schema with all of them: Attic has split NARs into chunks since January 2023.
OLDEST = "m20230112_000005_drop_old_nar_columns"

CATALOG = """
SELECT wanted.name AS table, a.attname AS column, has_column_privilege(a.attrelid, a.attnum, 'SELECT') AS readable
FROM unnest(%(tables)s) AS wanted (name)
JOIN pg_catalog.pg_attribute a ON a.attrelid = to_regclass(wanted.name) AND a.attnum > 0 AND NOT a.attisdropped
"""


def grants(role: str) -> str:
    """What a role needs, and no more."""
    name = role if re.fullmatch("[a-z_][a-z0-9_]*", role) else '"' + role.replace('"', '""') + '"'
    whole = ", ".join(table for table in COLUMNS if table != "cache")
    return f"GRANT SELECT ({', '.join(COLUMNS['cache'])}) ON cache TO {name}; GRANT SELECT ON {whole} TO {name};"


def check_schema(db: Snapshot) -> str:
    """The last migration that the server has made; refuses a database that cannot be read in full."""
    us = db.row("asking who we are", "SELECT current_database() AS database, current_user AS role")
    found: dict[str, dict[str, bool]] = {}
    for row in db.rows("looking for Attic's tables", CATALOG, tables=list(COLUMNS)):
        found.setdefault(row["table"], {})[row["column"]] = row["readable"]
    wanted = [(table, column) for table, columns in COLUMNS.items() for column in columns]

    if not found:
        raise NotFoundError(
            f"The database '{us['database']}' has none of Attic's tables where the role '{us['role']}' looks for them; "
            "give the name of Attic's database as login_db, or start atticd once, which makes the tables."
        )
    if unreadable := sorted({table for table, column in wanted if found.get(table, {}).get(column) is False}):
        raise ForbiddenError(
            f"The role '{us['role']}' may not read {', '.join(unreadable)} in the database '{us['database']}'; "
            f"the owner of the tables gives the right with: {grants(us['role'])}",
            tables=unreadable,
        )
    version = _version(db) if "version" in found.get("seaql_migrations", {}) else "unknown"
    if missing := [f"{table}.{column}" for table, column in wanted if column not in found.get(table, {})]:
        raise InvalidError(
            f"The database '{us['database']}' is of an Attic that this module does not know, its last migration is "
            f"{version}: it lacks {', '.join(missing)}. Use a server from {OLDEST} on, or report this for a newer one.",
            missing=missing,
            schema=version,
        )
    return version


def _version(db: Snapshot) -> str:
    sql = "SELECT coalesce(max(version), 'none') AS version FROM seaql_migrations"
    return str(db.row("reading Attic's migrations", sql)["version"])
