# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import pathlib
import stat

import pytest
from ansible_collections.pantheros.nixci.plugins.module_utils._core.file import replace


def mode(path: pathlib.Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_file_has_the_text_and_the_mode_and_nothing_is_left_beside_it(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "secret"
    replace(path, "one\n")
    assert (path.read_text(), mode(path)) == ("one\n", 0o600)
    replace(path, "two\n", 0o644)
    assert (path.read_text(), mode(path)) == ("two\n", 0o644)
    assert os.listdir(tmp_path) == ["secret"]


def test_a_link_keeps_pointing_to_the_file(tmp_path: pathlib.Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    replace(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


def test_an_interrupted_write_leaves_the_old_text_alone(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "secret"
    path.write_text("old")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        replace(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["secret"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_a_file_stays_with_its_owner_and_group(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "secret"
    path.write_text("old")
    for owner in ((4711, 4712), (4711, 0), (0, 4712)):
        os.chown(path, *owner)
        replace(path, "new")
        status = path.stat()
        assert (status.st_uid, status.st_gid, mode(path), path.read_text()) == (*owner, 0o600, "new")


def test_who_may_not_give_files_away_writes_it_as_an_own_one(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "secret"
    path.write_text("old")
    asked = []

    def refused(_: int, *owner: int) -> None:
        asked.append(owner)
        raise PermissionError

    monkeypatch.setattr(os, "fchown", refused)
    somebody = os.stat_result((0, 0, 0, 0, os.geteuid() + 1, os.getegid() + 1, 0, 0, 0, 0))
    monkeypatch.setattr(os, "fstat", lambda _: somebody)
    replace(path, "new")
    assert asked == [(os.geteuid(), path.stat().st_gid)]
    assert (path.read_text(), mode(path)) == ("new", 0o600)
    assert os.listdir(tmp_path) == ["secret"]
