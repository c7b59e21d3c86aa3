# SPDX-License-Identifier: GPL-3.0-or-later
"""The program nixci-hit-rate on the host."""

from __future__ import annotations

import gzip
import json
import pathlib
import subprocess
import sys

PROGRAM = pathlib.Path(__file__).parents[2] / "nix/modules/hit-rate.py"


def line(day: int, uri: str, status: int = 200, size: int = 0, method: str = "GET", **headers: list[str]) -> str:
    request = {"method": method, "uri": uri}
    return json.dumps(
        {"ts": f"2020-11-{day}T10:00:00Z", "request": request, "status": status, "size": size, "resp_headers": headers}
    )


def rate(folder: pathlib.Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(PROGRAM), str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_by_day_and_cache(tmp_path: pathlib.Path) -> None:
    older = [
        line(25, "/ci/a.narinfo"),
        line(25, "/ci/b.narinfo", method="HEAD"),
        line(25, "/ci/c.narinfo", status=404),
        line(25, "/ci/d.narinfo", status=404, size=46, **{"Retry-After": ["30"]}),
        line(25, "/ci/nix-cache-info", size=51),
        line(25, "/ci/nar/a.nar", size=1000),
        line(25, "/ci/nar/b.nar", status=307, size=7),
        line(25, "/_api/v1/upload-path", method="PUT", size=9),
    ]
    newer = [line(26, "/public/a.narinfo", status=404), line(26, "/private/a.narinfo", status=401), "not JSON", "{}"]
    with gzip.open(tmp_path / "access-c.example.net-2020-11-25T12-00-00.log.gz", "wt") as file:
        file.write("\n".join(older))
    (tmp_path / "access-c.example.net.log").write_text("\n".join(newer))
    (tmp_path / "other.log").write_text(line(26, "/public/a.narinfo"))
    rows = [text.split() for text in rate(tmp_path).stdout.splitlines()]
    assert rows[1:] == [
        ["2020-11-25", "ci", "66.7", "%", "2", "1", "1", "1000"],
        ["2020-11-26", "private", "-", "0", "0", "0", "0"],
        ["2020-11-26", "public", "0.0", "%", "0", "1", "0", "0"],
    ]
    assert rate(tmp_path, "0").stdout.splitlines()[1:] == []


def test_days_that_are_no_number(tmp_path: pathlib.Path) -> None:
    done = rate(tmp_path, "week")
    assert (done.returncode, done.stderr) == (1, "nixci-hit-rate: 'week' is not a number of days.\n")
