# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host says of itself, and what that means for a deployment. Private: may change without notice."""

from __future__ import annotations

import dataclasses
import pathlib
import re
import typing as t

SCRIPT = pathlib.Path(__file__).with_name("host.sh")
OPNIX = "https://github.com/brizzbuzz/opnix"
# Of nixos-anywhere: the architectures for which it has an installer, and its least memory.
ARCHITECTURES = ("x86_64", "aarch64")
INSTALLER_MB = 1500


@dataclasses.dataclass(frozen=True)
class Report:
    """The output of host.sh."""

    values: dict[str, list[str]]

    @classmethod
    def parse(cls, text: str) -> Report:
        values: dict[str, list[str]] = {}
        for line in text.splitlines():
            key, separator, value = line.strip().partition("=")
            if separator and value:
                values.setdefault(key, []).append(value)
        return cls(values)

    def __getitem__(self, key: str) -> str:
        return next(iter(self.values.get(key, [])), "")

    def all(self, key: str) -> list[str]:
        return self.values.get(key, [])

    @property
    def release(self) -> str | None:
        """YY.MM of NixOS; None if the system has a label of its own."""
        kind, _blank, version = self["os"].partition(" ")
        candidates = [version if kind == "nixos" else "", self["release"]]
        return next((found[0] for one in candidates if (found := re.match(r"\d\d\.\d\d", one))), None)


def problems(
    host: str, report: Report, config: str, supported: dict[str, dict[str, str]], name: str = ""
) -> t.Iterator[str]:
    """`name` is that of the host's configuration; without `config`, the configuration is not on the host."""
    if not report["complete"]:
        yield f"Host {host} could not be inspected; log in and see whether a command such as 'sh -c id' works there."
        return
    if not report["nixos"]:
        yield f"Host {host} does not run NixOS; install it first."
        return
    if report["uid"] != "0":
        yield f"Host {host} is reached as {report['user']}, who is not root; set ansible_user to root, or ansible_become to true."
        return
    yield from _releases(host, report, supported)
    if not report["python"]:
        yield (
            f"Host {host} has no Python 3.9 or newer and cannot fetch one with Nix; add  environment.systemPackages = [ pkgs.python3 ];  "
            "to its configuration and rebuild it by hand."
        )
    if config:
        yield from _configuration(host, report, config, name or host)
    if report.all("volatile"):
        yield (
            f"Host {host} loses {' and '.join(report.all('volatile'))} at a reboot, since the file system there is in memory; "
            "keep these paths on a disk, for instance with environment.persistence."
        )
    for expression in report.all("calendar"):
        yield f"'{expression}' is not a calendar expression to systemd on {host}; 'man systemd.time' describes them."


def install_problems(host: str, report: Report) -> t.Iterator[str]:
    """Why nixos-anywhere could not replace the system that runs there."""
    if report["uid"] != "0":
        yield f"Host {host} is reached as {report['user']}, who is not root; set ansible_user to root, or ansible_become to true."
    if report["architecture"] not in ARCHITECTURES:
        yield f"Host {host} is a {report['architecture']}, and nixos-anywhere has installers for {' and '.join(ARCHITECTURES)} only."
    # The kernel keeps a part for itself.
    if report["memory"] and int(report["memory"]) < INSTALLER_MB * 1000:
        yield f"Host {host} has {int(report['memory']) // 1024} MB of memory, and nixos-anywhere needs {INSTALLER_MB}."
    if report.all("lacks"):
        yield f"Host {host} lacks {' and '.join(report.all('lacks'))}, which nixos-anywhere needs; install them there."


def warnings(host: str, report: Report) -> t.Iterator[str]:
    if report["persistence"] and report.all("on_root") and not report.all("volatile"):
        yield (
            f"Host {host} has {report['persistence']}. If a reboot empties the rest of its root file system, also keep "
            f"{' and '.join(report.all('on_root'))}."
        )


def _releases(host: str, report: Report, supported: dict[str, dict[str, str]]) -> t.Iterator[str]:
    release, nixos, opnix = report.release, supported["nixos"], supported["opnix"]
    if release and _number(release) < _number(nixos["minimum"]):
        yield f"Host {host} runs NixOS {release}; upgrade it to {nixos['minimum']} or newer: {nixos['reason']}."
    old = [one for one in report.all("opnix") if _number(one) < _number(opnix["minimum"])]
    if old:
        yield (
            f"Host {host} runs OpNix {old[0]}; take {opnix['minimum']} or newer ({OPNIX}, newest known: {opnix['newest']}) and rebuild "
            f"it by hand: {opnix['reason']}."
        )


def _configuration(host: str, report: Report, config: str, name: str) -> t.Iterator[str]:
    if not report["configuration"]:
        yield (
            f"Host {host} has neither configuration.nix nor flake.nix in {config}, so it is deployed from elsewhere; put the "
            "configuration that it runs there, or set nixos_config_dir to the folder that holds it."
        )
    elif not (report["imported"] or report["computed"] or report["manifest"]):
        elsewhere = ""
        if not report["named"] and report["name"] not in ("nixos", "localhost", ""):
            elsewhere = (
                f" Nothing there names the host '{report['name']}' either, so it seems to be deployed from elsewhere; a rebuild "
                "from these files would replace its system."
            )
        place = "./nixci/modules" if report["settings"] else f"./nixci/hosts/{name}"
        yield f"Host {host}: no file in {config} imports the modules; add  imports = [ {place} ];  to its configuration.{elsewhere}"


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))
