# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a database is Attic's, of a supported version, and readable. Private: may change without notice."""

from __future__ import annotations

import re

from .._core.errors import ForbiddenError, InvalidError, NotFoundError
from .._core.postgresql import Snapshot

# Every column that is read, and no others: cache.keypair holds the signing keys.
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
SELECT expected.name AS table, a.attname AS column, has_column_privilege(a.attrelid, a.attnum, 'SELECT') AS readable
FROM unnest(%(tables)s) AS expected (name)
JOIN pg_catalog.pg_attribute a ON a.attrelid = to_regclass(expected.name) AND a.attnum > 0 AND NOT a.attisdropped
"""


def grants(role: str) -> str:
    """The statements that give a role the rights it needs, and no more."""
    name = role if re.fullmatch("[a-z_][a-z0-9_]*", role) else '"' + role.replace('"', '""') + '"'
    whole = ", ".join(table for table in COLUMNS if table != "cache")
    return f"GRANT SELECT ({', '.join(COLUMNS['cache'])}) ON cache TO {name}; GRANT SELECT ON {whole} TO {name};"


def check_schema(db: Snapshot) -> str:
    """The last migration that the server has run; refuses a database that cannot be read completely."""
    login = db.row("reading the current role", "SELECT current_database() AS database, current_user AS role")
    found: dict[str, dict[str, bool]] = {}
    for row in db.rows("finding Attic's tables", CATALOG, tables=list(COLUMNS)):
        found.setdefault(row["table"], {})[row["column"]] = row["readable"]
    expected = [(table, column) for table, columns in COLUMNS.items() for column in columns]

    if not found:
        raise NotFoundError(
            f"The database '{login['database']}' has none of Attic's tables on the search path of the role '{login['role']}'; "
            "give the name of Attic's database as login_db, or start atticd once, which creates the tables."
        )
    if unreadable := sorted({table for table, column in expected if found.get(table, {}).get(column) is False}):
        raise ForbiddenError(
            f"The role '{login['role']}' may not read {', '.join(unreadable)} in the database '{login['database']}'; "
            f"the owner of the tables grants the right with: {grants(login['role'])}",
            tables=unreadable,
        )
    version = _version(db) if "version" in found.get("seaql_migrations", {}) else "unknown"
    if missing := [f"{table}.{column}" for table, column in expected if column not in found.get(table, {})]:
        raise InvalidError(
            f"The database '{login['database']}' belongs to an Attic that this module does not support, its last migration is "
            f"{version}: it lacks {', '.join(missing)}. Use a server from {OLDEST} on, or report this for a newer one.",
            missing=missing,
            schema=version,
        )
    return version


def _version(db: Snapshot) -> str:
    sql = "SELECT coalesce(max(version), 'none') AS version FROM seaql_migrations"
    return str(db.row("reading Attic's migrations", sql)["version"])
