# SPDX-License-Identifier: GPL-3.0-or-later
"""nixos_flake with real Nix and real git: what is built is what git has and what a pipeline builds."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import subprocess
import tarfile
import typing as t
from collections.abc import Iterator

import pytest

from tests.support.controller_nix import ControllerNix
from tests.support.lab_image import lab_image

# As small as a flake can be and still have what the module asks of NixOS.
FLAKE = """
{ outputs = { self }:
  let
    files = folder: name: builtins.listToAttrs (map (file: {
      name = "${name}/${file}"; value = builtins.hashFile "sha256" "${folder}/${file}";
    }) (builtins.attrNames (builtins.readDir folder)));
    system = name: {
      config = {
        networking.hostName = name;
        system.build.toplevel = derivation {
          inherit name;
          system = "x86_64-linux";
          builder = "/bin/sh";
          args = [ "-c" "echo ${self.rev or "dirty"} ${toString self.lastModified} ${builtins.readFile ./value} > $out" ];
        };
        environment.etc = if builtins.pathExists (./nixci/hosts + "/${name}") then {
          "nixci/manifest.json".text = builtins.toJSON {
            files = files ./nixci/modules "modules" // files (./nixci/hosts + "/${name}/settings") "settings";
          };
        } else { };
      };
    };
  in {
    nixosConfigurations = {
      web = system "web";
      db = system "db";
      bare = system "bare" // { config = (system "bare").config // { environment.etc = { }; }; };
      broken = throw "the configuration is broken";
      failing.config = (system "web").config // { system.build.toplevel = derivation {
        name = "failing"; system = "x86_64-linux"; builder = "/bin/sh"; args = [ "-c" "echo no luck >&2; exit 1" ];
      }; };
      foreign.config = (system "web").config // { system.build.toplevel = derivation {
        name = "foreign"; system = "riscv64-linux"; builder = "/bin/sh"; args = [ "-c" "echo > $out" ];
      }; };
      forgotten.config = (system "web").config // { networking.hostName = import ./forgotten.nix; };
    };
  };
}
"""
MODULES = {"default.nix": "{ }\n"}
SETTINGS = {"attic": {"port": 80}}
Module = t.Callable[..., dict[str, t.Any]]


@pytest.fixture(scope="module")
def nix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControllerNix]:
    found = ControllerNix(lab_image(), tmp_path_factory.mktemp("controller"))
    try:
        yield found
    finally:
        found.remove()


class Fleet:
    def __init__(self, root: pathlib.Path, module: Module) -> None:
        self.root, self.module, self.flake_dir = root, module, root

    def git(self, *args: str, at: pathlib.Path | None = None) -> str:
        command = ["git", "-c", "protocol.file.allow=always", "-C", str(at or self.root), *args]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def start(self, at: pathlib.Path) -> None:
        at.mkdir(parents=True, exist_ok=True)
        (at / "flake.nix").write_text(FLAKE)
        (at / "value").write_text("one")

    def commit(self, at: pathlib.Path | None = None) -> str:
        self.git("add", "--all", at=at)
        self.git("commit", "--quiet", "--message=change", at=at)
        return self.git("rev-parse", "HEAD", at=at)

    def build(self, name: str = "web", **params: t.Any) -> dict[str, t.Any]:
        return self.module("nixos_flake", {"flake_dir": str(self.flake_dir), "name": name, "timeout": 120, **params})


@pytest.fixture
def fleet(nix: ControllerNix, module: Module, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Fleet:
    monkeypatch.setenv("PATH", f"{nix.bin}:{os.environ['PATH']}")
    (nix.folder / "tmp").mkdir(exist_ok=True)
    monkeypatch.setattr("tempfile.tempdir", str(nix.folder / "tmp"))
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "Me")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "me@nixci.test")
    name = hashlib.sha256(request.node.name.encode()).hexdigest()[:8]
    fleet = Fleet(nix.folder / f"my {name}", module)
    fleet.start(fleet.root)
    fleet.git("init", "--quiet", "--initial-branch=main")
    fleet.commit()
    return fleet


def test_a_commit_is_built_as_the_repository_itself_is(fleet: Fleet, nix: ControllerNix) -> None:
    head = fleet.git("rev-parse", "HEAD")
    built = fleet.build()
    assert built["revision"] == head and built["manifest"] is None
    clone = nix.folder / "clone-without-blanks"
    subprocess.run(["git", "clone", "--quiet", str(fleet.root), str(clone)], check=True)
    # Nix needs a git of its own for git+file:, which the image has not; the archive of the commit is what it would see.
    seen = nix.folder / "seen"
    seen.mkdir()
    archive = subprocess.run(["git", "-C", str(clone), "archive", "HEAD"], check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x", "-C", str(seen)], input=archive, check=True)
    time = fleet.git("log", "-1", "--format=%ct")
    reference = (
        f"path:{seen}?rev={head}&revCount=1&lastModified={time}#nixosConfigurations.web.config.system.build.toplevel"
    )
    assert nix.out("nix", "eval", "--raw", reference) == built["store_path"]
    text = nix.out("cat", built["store_path"])
    assert text.split() == [head, time, "one"]


def test_local_changes_and_new_files_are_dirty(fleet: Fleet, nix: ControllerNix) -> None:
    head = fleet.git("rev-parse", "HEAD")
    before = fleet.git("status", "--porcelain")
    built = fleet.build(modules=MODULES, settings=SETTINGS, host_module="{ }\n")
    assert built["revision"] == f"{head}-dirty"
    assert sorted(built["manifest"]["files"]) == ["modules/default.nix", "settings/attic.json"]
    assert fleet.git("status", "--porcelain") == before, "nothing is written"
    (fleet.root / "value").write_text("two")
    assert nix.out("cat", fleet.build()["store_path"]).split()[0::2] == ["dirty", "two"]


def test_a_flake_in_a_folder_of_the_repository_sees_the_rest_of_it(fleet: Fleet) -> None:
    inner = fleet.root / "nix/fleet"
    fleet.start(inner)
    (inner / "flake.nix").write_text(FLAKE.replace("./value", "../../value"))
    fleet.commit()
    fleet.flake_dir = inner
    assert fleet.build()["store_path"].endswith("-web")


def test_worktrees_and_submodules_build(fleet: Fleet, nix: ControllerNix) -> None:
    tree = nix.folder / "tree"
    fleet.git("worktree", "add", "--quiet", "-b", "other", str(tree))
    fleet.flake_dir = tree
    assert fleet.build()["store_path"].endswith("-web")
    outer = nix.folder / "outer"
    fleet.start(outer)
    fleet.git("init", "--quiet", at=outer)
    fleet.git("submodule", "--quiet", "add", str(fleet.root), "inner", at=outer)
    fleet.commit(outer)
    fleet.flake_dir = outer / "inner"
    assert fleet.build()["store_path"].endswith("-web")
    # As for Nix, a submodule is an empty folder unless the flake asks for it.
    fleet.flake_dir = outer
    (outer / "flake.nix").write_text(FLAKE.replace("./value", "./inner/value"))
    assert "inner/value': No such file" in fleet.build()["msg"]
    (outer / "flake.nix").write_text("# submodules = true;\n" + FLAKE.replace("./value", "./inner/value"))
    assert not fleet.build()["failed"]


def test_a_flake_outside_of_git_builds(fleet: Fleet, nix: ControllerNix) -> None:
    plain = nix.folder / "plain"
    fleet.start(plain)
    fleet.flake_dir = plain
    built = fleet.build()
    assert not built["failed"] and built["revision"] is None


@pytest.mark.parametrize(
    ("name", "reason", "says"),
    [
        ("wbe", "no_attribute", "has no nixosConfigurations.wbe; did you mean web?"),
        ("broken", "evaluation", "the configuration is broken"),
        ("failing", "build", "no luck"),
        ("foreign", "platform", "The system is for riscv64-linux"),
    ],
)
def test_what_cannot_be_built_is_told_in_one_sentence(fleet: Fleet, name: str, reason: str, says: str) -> None:
    result = fleet.build(name)
    assert result["failed"] and says in result["msg"] and result["reason"] == reason, result["msg"]


def test_a_flake_without_hosts_is_told(fleet: Fleet) -> None:
    (fleet.root / "flake.nix").write_text("{ outputs = _: { }; }")
    assert "has no nixosConfigurations; it must have nixosConfigurations.web" in fleet.build()["msg"]


def test_another_host_is_refused(fleet: Fleet) -> None:
    result = fleet.build("db", host_name="web")
    assert result["reason"] == "another_host" and "that of the host 'db', but this is 'web'" in result["msg"]


def test_a_configuration_without_our_import_is_told_the_line_and_the_file(fleet: Fleet) -> None:
    params = {"modules": MODULES, "settings": SETTINGS, "host_module": "{ }\n"}
    result = fleet.build("bare", **params)
    assert result["reason"] == "not_imported"
    assert "add  ./nixci/hosts/bare  to the modules of nixosConfigurations.bare in flake.nix" in result["msg"]
    (fleet.root / "hosts/bare").mkdir(parents=True)
    (fleet.root / "hosts/bare/default.nix").write_text("{ }")
    fleet.commit()
    assert (
        "add  imports = [ ../../nixci/hosts/bare ];  to hosts/bare/default.nix" in fleet.build("bare", **params)["msg"]
    )
    assert not fleet.build("bare")["failed"], "a host without settings of ours needs no import"


def test_a_file_that_git_does_not_know_is_named(fleet: Fleet) -> None:
    (fleet.root / "forgotten.nix").write_text('"web"')
    result = fleet.build("forgotten", host_name="web")
    assert f"{fleet.root}/forgotten.nix exists, but git does not know it; run 'git add' on it." in result["msg"]
    fleet.git("add", "--intent-to-add", "forgotten.nix")
    assert not fleet.build("forgotten", host_name="web")["failed"]


def test_places_in_messages_are_those_of_the_checkout(fleet: Fleet) -> None:
    (fleet.root / "flake.nix").write_text(FLAKE.replace("./value", "./none"))
    message = fleet.build()["msg"]
    assert f"{fleet.root}/none" in message and "/nix/store" not in message


def test_a_checkout_that_lacks_what_runs_is_refused(fleet: Fleet) -> None:
    first = fleet.git("rev-parse", "HEAD")
    (fleet.root / "value").write_text("two")
    second = fleet.commit()
    fleet.git("checkout", "--quiet", "-b", "side", first)
    (fleet.root / "side").write_text("")
    side = fleet.commit()
    fleet.git("checkout", "--quiet", "main")
    for running in (first, second, None, "not a commit", f"{first}-dirty"):
        assert not fleet.build(running_revision=running)["failed"], running
    for running, says in (
        (side, "has diverged from"),
        ("f" * 40, "does not know ffffffffffff"),
        (f"{second}-dirty", "changes that were not committed"),
    ):
        result = fleet.build(running_revision=running)
        assert result["reason"] == "stale" and says in result["msg"] and "deploy_force" in result["msg"], result["msg"]
        assert not fleet.build(running_revision=running, force=["stale"])["failed"]
    fleet.git("reset", "--quiet", "--hard", first)
    assert "is behind" in fleet.build(running_revision=second)["msg"]
    shallow = fleet.root.parent / f"{fleet.root.name} shallow"
    fleet.git("clone", "--quiet", "--depth=1", f"file://{fleet.root}", str(shallow))
    fleet.flake_dir = shallow
    assert "git fetch --unshallow" in fleet.build(running_revision=second)["msg"]
    assert not fleet.build()["failed"]


def test_the_archive_has_the_tracked_files_and_ours_and_nothing_else(fleet: Fleet) -> None:
    (fleet.root / "run.sh").write_text("#!/bin/sh\n")
    (fleet.root / "run.sh").chmod(0o755)
    (fleet.root / "link").symlink_to("/etc/passwd")
    (fleet.root / "gone.nix").write_text("")
    fleet.commit()
    (fleet.root / "gone.nix").unlink()
    (fleet.root / "secret.env").write_text("canary")
    archive = fleet.root.parent / "fleet.tar.gz"
    packed = fleet.build(archive_to=str(archive), modules=MODULES, settings=SETTINGS, host_module="{ }\n")
    assert packed["revision"].endswith("-dirty") and archive.stat().st_mode & 0o777 == 0o600
    with tarfile.open(archive) as tar:
        members = {one.name.removeprefix("./copy/"): one for one in tar.getmembers() if one.name.startswith("./copy/")}
        described = tar.extractfile("./facts.json")
        assert described
        facts = json.load(described)
    files = sorted(name for name, one in members.items() if not one.isdir())
    assert files == ["flake.nix", "link", "nixci/hosts/web/default.nix", "nixci/hosts/web/settings/attic.json",
                     "nixci/modules/default.nix", "run.sh", "value"]  # fmt: skip
    assert members["run.sh"].mode == 0o755 and members["value"].mode == 0o644
    assert members["link"].linkname == "/etc/passwd"
    assert facts["shown"] == str(fleet.root)


def test_a_controller_without_nix_is_told(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    for program in ("git", "timeout", "true"):
        (tmp_path / program).symlink_to(
            subprocess.run(["which", program], capture_output=True, text=True).stdout.strip()
        )
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("ansible_collections.pantheros.nixci.plugins.module_utils._nixos.command.PROGRAM_DIRS", [])
    result = fleet.build()
    if not result["failed"]:
        pytest.skip("this machine has Nix in /usr/bin, where Ansible looks in any case")
    assert "deploy_build_on: host" in result["msg"]


def test_a_small_host_is_warned_of(fleet: Fleet) -> None:
    archive = str(fleet.root.parent / "small.tar.gz")
    # Ansible collects the warnings of a process.
    assert "MiB" not in str(fleet.build(archive_to=archive, host_memory=16000).get("warnings"))
    assert "900 MiB" in str(fleet.build(archive_to=archive, host_memory=900)["warnings"])
