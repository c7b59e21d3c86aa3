# SPDX-License-Identifier: GPL-3.0-or-later
"""The guide to rights says what the tests verify, and the lab's credentials have no more than it asks for."""

from __future__ import annotations

import re

from ansible_collections.pantheros.nixci.plugins.module_utils._attic.schema import grants

from lab.clouds import __main__ as lab
from tests.support.paths import ROOT
from tests.unit.plugins.modules import test_b2_rights as b2
from tests.unit.plugins.modules import test_cloudflare_record_rights as cloudflare

GUIDE = (ROOT / "docs/credentials.md").read_text()


def table(header: str) -> list[list[str]]:
    """The rows below a header, each cell as it is written."""
    lines = GUIDE[GUIDE.index(header) :].splitlines()[2:]
    rows = []
    for line in lines:
        if not line.startswith("|"):
            return rows
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def names(cell: str) -> set[str]:
    return set(re.findall(r"[`*]([^`*]+)[`*]", cell))


def operations(section: str) -> dict[str, set[str]]:
    start = GUIDE.index(section)
    header = GUIDE[start:].index("| operation") + start
    return {row[0]: names(row[-1]) for row in table(GUIDE[header:])}


def rights(credential: str) -> set[str]:
    (found,) = (row[1] for row in table("| credential |") if row[0].startswith(credential))
    return names(found)


def test_the_guide_names_the_rights_of_every_operation_on_buckets_and_keys() -> None:
    assert operations("For `b2_bucket`") == {name: set(row[2]) for name, row in b2.BUCKET.items()}
    assert operations("For `b2_application_key`") == {name: set(row[2]) for name, row in b2.KEY.items()}


def test_the_guide_names_the_rights_of_every_operation_on_records() -> None:
    documented = [(row[0], row[1], names(row[2])) for row in table("| operation | zone given by |")]
    verified = [
        (operation, "id" if by_id else "name", {cloudflare.CALLED[right] for right in needed})
        for operation, _params, _check, by_id, needed in cloudflare.TABLE
    ]
    assert documented == verified


def test_the_guide_grants_the_database_role_what_the_module_needs() -> None:
    assert " ".join(grants("metrics").split()) in " ".join(GUIDE.split())


def test_the_credentials_of_the_lab_have_exactly_the_documented_rights() -> None:
    assert rights("Backblaze") == lab.B2_RIGHTS
    called = {**cloudflare.CALLED, "dns:edit": "Zone / DNS / Edit"}
    # Cloudflare's Edit includes reading.
    assert rights("Cloudflare") == {called[right] for right in lab.CLOUDFLARE_RIGHTS - {"dns:read"}}
    assert rights("GitLab") == lab.GITLAB_RIGHTS.scopes
    assert set(lab.GITLAB_RIGHTS.roles.values()) == {"maintainer"}
    assert lab.VAULT_RIGHTS == {"controller": "write", "host": "read"}
