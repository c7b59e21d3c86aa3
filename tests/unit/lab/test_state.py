# SPDX-License-Identifier: GPL-3.0-or-later
"""The state that the lab keeps."""

from __future__ import annotations

import pathlib
import stat
import subprocess
import sys

import pytest

from lab import state
from lab.host import image
from lab.shell import LabError, wait


@pytest.fixture(autouse=True)
def folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    monkeypatch.setattr(state, "DIR", tmp_path / ".lab")
    monkeypatch.setattr(state, "SECRETS", tmp_path / ".lab" / "secrets")
    return tmp_path / ".lab"


def test_only_root_can_read_secrets(folder: pathlib.Path) -> None:
    state.write_secret("token", "one")
    assert stat.S_IMODE((folder / "secrets").stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "secrets" / "token").stat().st_mode) == 0o600
    assert state.secret("token") == "one"


def test_two_commands_at_once_are_refused(folder: pathlib.Path) -> None:
    with state.locked(), pytest.raises(LabError, match="Another lab command"), state.locked():
        pass


def test_a_half_written_file_counts_as_none(tmp_path: pathlib.Path) -> None:
    (tmp_path / "lab.json").write_text('{"fingerprint": "abc')
    assert state.read(tmp_path / "lab.json") == {}


def test_a_digest_follows_names_contents_and_modes(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "one"
    file.write_text("x")
    seen = {state.digest(tmp_path)}
    file.write_text("y")
    seen.add(state.digest(tmp_path))
    file.chmod(0o755)
    seen.add(state.digest(tmp_path))
    file.rename(tmp_path / "two")
    seen.add(state.digest(tmp_path))
    assert len(seen) == 4


def test_a_process_is_identified_by_its_command_line(folder: pathlib.Path) -> None:
    folder.mkdir()
    with subprocess.Popen([sys.executable, "-c", "input()  # marker"], stdin=subprocess.PIPE) as child:
        (folder / "clouds.pid").write_text(str(child.pid))
        wait("the child", lambda: state.process("clouds", "# marker") == child.pid, 5)
        assert state.process("clouds", "another program with the same number") is None
        child.communicate(b"\n")
    assert state.process("clouds", "# marker") is None


@pytest.mark.parametrize("path", ["/nowhere/atticd", "/usr/bin", "/etc/passwd"])
def test_a_missing_program_is_an_error_of_one_sentence(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setenv("LAB_ATTICD", path)
    with pytest.raises(LabError, match=f"LAB_ATTICD={path} is not a program"):
        image.attic_programs()


def test_a_real_program_is_not_replaced_by_the_double_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("LAB_ATTICD", raising=False)
    monkeypatch.delenv("LAB_ATTIC", raising=False)
    image.check_kept({})
    with pytest.raises(
        LabError, match="The lab runs the real /opt/atticd; set LAB_ATTICD=/opt/atticd to keep it, or LAB_ATTICD"
    ):
        image.check_kept({"atticd": "/opt/atticd"})
    monkeypatch.setenv("LAB_ATTICD", "double")
    image.check_kept({"atticd": "/opt/atticd"})
    assert image.attic_programs() == {"atticd": None, "attic": None}


@pytest.mark.parametrize(
    ("code", "said"), [(0, "attic-client 0.1.0"), (1, "/lib/libc.so.6: version `GLIBC_2.99' not found"), (127, "")]
)
def test_a_program_that_does_not_work_in_the_container_is_refused(
    monkeypatch: pytest.MonkeyPatch, code: int, said: str
) -> None:
    commands: list[tuple[str, ...]] = []

    def attempt(*argv: str) -> subprocess.CompletedProcess[str]:
        commands.append(argv)
        return subprocess.CompletedProcess(argv, code, said if code == 0 else "", "" if code == 0 else said)

    monkeypatch.setattr(image, "attempt", attempt)
    monkeypatch.setattr(image, "host_tag", lambda: "tag")
    with pytest.raises(
        LabError, match=f"/opt/atticd does not work as atticd in the lab's container.*{said or 'exit code 127'}"
    ):
        image._check_program("atticd", pathlib.Path("/opt/atticd"))
    assert commands[-1] == ("docker", "image", "rm", "--force", "tag"), "an image with it must not be used later"
