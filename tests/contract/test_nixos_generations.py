# SPDX-License-Identifier: GPL-3.0-or-later
"""nixos_generation_info on the lab's host, with real Nix and a real profile."""

from __future__ import annotations

from tests.support.nixos_host import Host

from .nixos_module import install, module


def test_generations_of_a_real_profile(nixos: Host) -> None:
    install(nixos)
    nixos.switch('environment.etc."trial".text = "one";')
    before = nixos.current()
    nixos.switch('environment.etc."trial".text = "two"; users.users.trial.isNormalUser = true;')
    found = module(nixos, "nixos_generation_info", compare=["profile", before])
    assert not found["failed"], found
    newest, older = found["generations"][:2]
    listed = {one["generation"]: one for one in nixos.generations()}
    assert [newest["generation"], older["generation"]] == sorted(listed, reverse=True)[:2]
    assert listed[newest["generation"]]["current"] and newest["profile"] and newest["running"]
    assert (older["path"], newest["path"]) == (before, nixos.profile())
    assert found["systems"]["running"]["path"] == nixos.current()
    assert newest["nixos_version"] == listed[newest["generation"]]["nixosVersion"]
    closures = found["closures"]
    assert (closures["before"], closures["after"]) == (nixos.profile(), before)
    for side in ("before", "after"):
        size = nixos.out(
            f"nix --extra-experimental-features nix-command path-info -S {closures[side]} | tr -s ' \\t' ' '"
        )
        assert size.split()[1] == str(closures[f"size_{side}"])
