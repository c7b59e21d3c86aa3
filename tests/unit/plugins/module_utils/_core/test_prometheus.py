# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import pathlib
import typing as t

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args
from ansible_collections.pantheros.nixci.plugins.module_utils._core.change import Change
from ansible_collections.pantheros.nixci.plugins.module_utils._core.errors import (
    ForbiddenError,
    InvalidError,
    NixciError,
    NotFoundError,
)
from ansible_collections.pantheros.nixci.plugins.module_utils._core.prometheus import Gauge, Textfile, exposition

from tests.support.collection import run_module


def test_values_are_written_as_prometheus_reads_them() -> None:
    text = exposition(
        [
            Gauge("attic_objects", "Two\nlines \\ and a backslash.", [({}, 3)]),
            Gauge("attic_cache_objects", 'A "quoted" help.', [({"cache": 'a"b\\c\nd'}, 2**62), ({"cache": "e"}, 1.5)]),
            Gauge("attic_unknown", "Not known.", [({}, None)]),
        ]
    )
    assert text == (
        "# HELP attic_objects Two\\nlines \\\\ and a backslash.\n"
        "# TYPE attic_objects gauge\n"
        "attic_objects 3\n"
        '# HELP attic_cache_objects A "quoted" help.\n'
        "# TYPE attic_cache_objects gauge\n"
        'attic_cache_objects{cache="a\\"b\\\\c\\nd"} 4611686018427387904\n'
        'attic_cache_objects{cache="e"} 1.5\n'
    )


# ---- the textfile ------------------------------------------------------------------------------------------------


def textfile(path: pathlib.Path | str, **options: t.Any) -> Textfile:
    with patch_module_args(options):
        module = AnsibleModule(argument_spec={}, add_file_common_args=True, supports_check_mode=True)
    return Textfile(module, str(path))


def change(wanted: Textfile, text: str = "new 1\n") -> Change:
    return wanted.plan(wanted.read(), text)


def test_a_missing_file_is_made_readable_for_the_collector(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "attic.prom"
    assert change(textfile(path)) == Change(None, {"mode": "0644", "content": ["new 1", ""]})
    before = os.umask(0o077)
    try:
        textfile(path).write("new 1\n")
    finally:
        os.umask(before)
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("new 1\n", 0o644)
    assert not change(textfile(path))


@pytest.mark.parametrize("old", [b"new 1\n", b"old 1\n", b"", b"\xff\r\n"])
@pytest.mark.parametrize("mode", ["0644", "0600"])
@pytest.mark.parametrize("wanted", [None, "0640"])
def test_whatever_there_is_is_replaced(tmp_path: pathlib.Path, old: bytes, mode: str, wanted: str | None) -> None:
    path = tmp_path / "attic.prom"
    path.write_bytes(old)
    path.chmod(int(mode, 8))
    planned = change(textfile(path, mode=wanted))
    assert planned.before == {"mode": mode, "content": old.decode(errors="replace").split("\n")}
    assert planned.after == {"mode": wanted or "0644", "content": ["new 1", ""]}
    textfile(path, mode=wanted).write("new 1\n")
    assert not change(textfile(path, mode=wanted))


def test_a_failed_write_leaves_nothing_behind(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "attic.prom").write_text("as before\n")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(NixciError, match="cannot be written .No space left on device."):
        textfile(tmp_path / "attic.prom").write("new\n")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"attic.prom": "as before\n"}


def test_a_place_where_the_collector_reads_nothing_is_refused(tmp_path: pathlib.Path) -> None:
    (tmp_path / "folder.prom").mkdir()
    for path, kind, message in [
        ("attic.prom", InvalidError, "must be an absolute path that ends in .prom"),
        (tmp_path / "attic.txt", InvalidError, "must be an absolute path that ends in .prom"),
        (tmp_path / "folder.prom", InvalidError, "is not a file"),
        (tmp_path / "missing" / "attic.prom", NotFoundError, "there is no directory"),
    ]:
        with pytest.raises(kind, match=f"textfile: .*{message}"):
            textfile(path)


def test_a_directory_without_the_right_to_write_is_refused(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    with pytest.raises(ForbiddenError, match=f"textfile: '{tmp_path}' cannot be written"):
        textfile(tmp_path / "attic.prom")


def test_a_directory_that_this_user_cannot_read_is_one_sentence(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden, real = str(tmp_path / "hidden"), os.stat

    def stat(path: t.Any, *args: t.Any, **kwargs: t.Any) -> os.stat_result:
        # Root may read everywhere, so a directory without rights would not show it.
        if str(path).startswith(f"{hidden}/"):
            raise PermissionError(13, "Permission denied")
        return real(path, *args, **kwargs)

    monkeypatch.setattr(os, "stat", stat)
    found = run_module("attic_stats_info", {"textfile": f"{hidden}/in/attic.prom"})
    assert found["msg"].startswith(f"textfile: there is no directory '{hidden}/in' that this user can see; ")
