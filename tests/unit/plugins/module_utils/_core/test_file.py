# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import stat
import threading
import typing as t
from collections.abc import Iterator

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args
from ansible_collections.pantheros.nixci.plugins.module_utils._core.errors import NixciError
from ansible_collections.pantheros.nixci.plugins.module_utils._core.file import File

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")


def file(path: pathlib.Path, default: str = "0600", /, *, check: bool = False, **options: t.Any) -> File:
    with patch_module_args({**options, "_ansible_check_mode": check}):
        module = AnsibleModule(argument_spec={}, add_file_common_args=True, supports_check_mode=True)
    return File(module, str(path), default)


def mode(path: pathlib.Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(params=[0o022, 0o000, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    old = os.umask(request.param)
    yield request.param
    assert os.umask(old) == request.param, "the umask was not given back"


def test_the_file_has_the_text_and_the_mode_and_nothing_is_left_beside_it(tmp_path: pathlib.Path, umask: int) -> None:
    path = tmp_path / "secret"
    assert file(path).read() is None
    file(path).write("one\r\n")
    assert (file(path).read(), mode(path)) == ("one\r\n", 0o600)
    file(path, "0644").write("two\n")
    assert (path.read_text(), mode(path)) == ("two\n", 0o644)
    file(path, "0644", mode="0640").write("three\n")
    assert (path.read_text(), mode(path)) == ("three\n", 0o640)
    assert os.listdir(tmp_path) == ["secret"]


@pytest.mark.parametrize("old", [None, 0o600, 0o640, 0o666])
@pytest.mark.parametrize("wanted", ["0600", "0640", "u=rw,go=", "g+r", "o-rwx"])
def test_the_mode_is_the_predicted_one(tmp_path: pathlib.Path, old: int | None, wanted: str) -> None:
    path = tmp_path / "file"
    if old is not None:
        path.write_text("old")
        path.chmod(old)
    change = file(path, check=True, mode=wanted).attributes()
    assert change.before == (None if old is None else {"mode": f"0{old:03o}"})
    assert path.exists() == (old is not None), "a question must not make the file"
    file(path, mode=wanted).write("new")
    assert change.after == {"mode": f"0{mode(path):03o}"}
    assert not file(path, mode=wanted).attributes_differ()


def test_attributes_are_set_without_writing(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "file"
    assert not file(path).attributes_differ(), "there is no file yet"
    path.write_text("text")
    path.chmod(0o644)
    inode = path.stat().st_ino
    assert file(path).attributes_differ() and mode(path) == 0o644
    file(path).set_attributes()
    assert (mode(path), path.stat().st_ino) == (0o600, inode)


def test_a_link_keeps_pointing_to_its_file(tmp_path: pathlib.Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "$HOME").symlink_to("new")
    file(tmp_path / "link").write("new")
    file(tmp_path / "$HOME").write("new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "$HOME").is_symlink()
    assert (tmp_path / "real").read_text() == (tmp_path / "new").read_text() == "new"


@pytest.mark.parametrize("old", [None, 0o600, 0o666])
def test_nobody_else_can_read_the_text_at_any_moment(
    tmp_path: pathlib.Path, old: int | None, umask: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each change of the file system, no file that holds the secret may be open to others."""
    path = tmp_path / "secret"
    if old is not None:
        path.write_text("old")
        path.chmod(old)
    seen = []

    def inspected(name: str) -> t.Any:
        real = getattr(os, name)

        def call(*args: t.Any, **options: t.Any) -> t.Any:
            result = real(*args, **options)
            for one in tmp_path.iterdir():
                # An empty file counts as well: who has opened it reads what is written later.
                if one != path or "secret" in one.read_text():
                    seen.append(name)
                    assert not mode(one) & 0o077, f"{one.name} is open to others after {name}"
            return result

        return call

    for name in ("open", "chmod", "chown", "rename", "fsync", "utime"):
        monkeypatch.setattr(os, name, inspected(name))
    file(path).write("secret")
    monkeypatch.undo()
    assert {"rename", "fsync"} <= set(seen)
    assert (path.read_text(), mode(path)) == ("secret", 0o600)


def test_readers_see_the_old_text_or_the_new_one(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "figures.prom"
    texts = {letter * 100_000 for letter in "ab"}
    file(path, "0644").write("a" * 100_000)
    done, seen, names = threading.Event(), set(), set()

    def read() -> None:
        while not done.is_set():
            seen.add(path.read_text())
            names.update(os.listdir(tmp_path))

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(20):
        for text in texts:
            file(path, "0644").write(text)
    done.set()
    reader.join()
    assert seen <= texts and seen
    # The collector reads every file that ends in .prom.
    assert [name for name in names if name.endswith(".prom")] == [path.name]


@pytest.mark.parametrize("failing", ["rename", "fsync"])
@pytest.mark.parametrize("old", ["old", None])
def test_a_failing_write_leaves_the_old_file_alone(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, failing: str, old: str | None
) -> None:
    path = tmp_path / "secret"
    if old is not None:
        path.write_text(old)
        path.chmod(0o644)

    def broken(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, failing, broken)
    with pytest.raises(NixciError, match=f"{path} cannot be written .*"):
        file(path).write("new")
    monkeypatch.undo()
    assert [(one.name, one.read_text(), mode(one)) for one in tmp_path.iterdir()] == (
        [] if old is None else [("secret", "old", 0o644)]
    )


def test_an_interrupted_write_leaves_nothing_behind(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        file(tmp_path / "secret").write("new")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"owner": "nobody-has-this-name"}, "failed to look up user nobody-has-this-name"),
        ({"group": "nobody-has-this-name"}, "failed to look up group nobody-has-this-name"),
        ({"mode": "rw"}, "mode must be in octal or symbolic form"),
    ],
)
@pytest.mark.parametrize("exists", [True, False])
def test_what_cannot_be_set_is_an_error_before_anything_is_written(
    tmp_path: pathlib.Path, options: dict[str, str], words: str, exists: bool
) -> None:
    path = tmp_path / "file"
    if exists:
        path.write_text("old")
    for attempt in (
        lambda: file(path, check=True, **options).attributes(),
        lambda: file(path, **options).write("new"),
    ):
        with pytest.raises(NixciError, match=f"{path} cannot .*{words}"):
            attempt()
    assert [one.read_text() for one in tmp_path.iterdir()] == ["old"] * exists


def test_the_module_can_still_fail_afterwards(tmp_path: pathlib.Path) -> None:
    one = file(tmp_path / "missing" / "file")
    with pytest.raises(NixciError, match="No such file or directory"):
        one.write("text")
    assert one.module.fail_json.__func__ is AnsibleModule.fail_json


@root_only
def test_a_file_stays_with_its_owner_and_group(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "secret"
    path.write_text("old")
    for owner in ((4711, 4712), (4711, 0), (0, 4712)):
        os.chown(path, *owner)
        file(path).write("new")
        status = path.stat()
        assert (status.st_uid, status.st_gid, mode(path), path.read_text()) == (*owner, 0o600, "new")


@root_only
@pytest.mark.parametrize("exists", [True, False])
def test_the_task_decides_the_owner_and_group(tmp_path: pathlib.Path, exists: bool) -> None:
    path = tmp_path / "secret"
    if exists:
        path.write_text("old")
        os.chown(path, 4711, 4712)
    options = {"owner": "4713", "group": "4714", "mode": "0640"}
    change = file(path, check=True, **options).attributes()
    assert change.before == ({"mode": f"0{mode(path):03o}", "owner": 4711, "group": 4712} if exists else None)
    assert change.after == {"mode": "0640", "owner": 4713, "group": 4714}
    file(path, **options).write("new")
    assert (path.stat().st_uid, path.stat().st_gid, mode(path)) == (4713, 4714, 0o640)
    again = file(path, **options).attributes()
    assert again.before == again.after == change.after


@root_only
def test_the_former_owner_cannot_read_what_the_new_one_gets(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "secret"
    path.write_text("old")
    os.chown(path, 4711, 4712)
    given = []

    def recorded(real: t.Callable[..., None]) -> t.Callable[..., None]:
        return lambda path, *owner: (given.append(owner), real(path, *owner))[1]

    for name in ("chown", "lchown"):
        monkeypatch.setattr(os, name, recorded(getattr(os, name)))
    file(path, owner="4713").write("new")
    assert 4711 not in {uid for uid, _ in given}
    assert (path.stat().st_uid, path.stat().st_gid) == (4713, 4712)


def test_whoever_may_not_give_files_away_writes_a_file_of_their_own(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "secret"
    path.write_text("old")
    asked = []

    def refused(_: object, *owner: int) -> None:
        asked.append(owner)
        raise PermissionError(1, "Operation not permitted")

    real = os.stat

    def somebody_s(name: t.Any, **options: t.Any) -> os.stat_result:
        status = list(real(name, **options))
        if str(name) == str(path) and "old" in path.read_text():
            status[4] += 1
        return os.stat_result(status)

    monkeypatch.setattr(os, "chown", refused)
    monkeypatch.setattr(os, "stat", somebody_s)
    file(path).write("new")
    monkeypatch.undo()
    assert asked[0] == (os.geteuid() + 1, -1)
    assert (path.read_text(), mode(path)) == ("new", 0o600)
    assert os.listdir(tmp_path) == ["secret"]


@pytest.mark.parametrize("unsafe", [True, False])
def test_a_file_that_cannot_be_replaced_is_written_in_place_only_if_the_task_allows_it(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, unsafe: bool
) -> None:
    path = tmp_path / "mounted"
    path.write_text("old")
    path.chmod(0o644)

    def busy(*_: object) -> None:
        raise OSError(16, "Device or resource busy")

    modes = []
    copy = shutil.copyfileobj
    monkeypatch.setattr(os, "rename", busy)
    monkeypatch.setattr(shutil, "copyfileobj", lambda *files: (modes.append(mode(path)), copy(*files)))
    with contextlib.nullcontext() if unsafe else pytest.raises(NixciError, match="cannot be written"):
        file(path, unsafe_writes=unsafe).write("new")
    assert (path.read_text(), mode(path)) == (("new", 0o600) if unsafe else ("old", 0o644))
    assert modes == [0o600] * unsafe, "the secret was written before the file was closed to others"
    assert os.listdir(tmp_path) == ["mounted"]
