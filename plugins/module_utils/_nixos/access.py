# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a system would lock out who deploys it. Pure but for keys in a home. Private: may change without notice.

It is judged from the manifest of the new system (nix/modules/access.nix), before the activation, or before the build if the system was
only evaluated. What also holds for the running system is no reason to refuse: the user got in all the same.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import os
import pwd
import re
import typing as t

from .deployment import read_file
from .host import manifest

Values = dict[str, t.Any]


@dataclasses.dataclass
class Review:
    """One sentence each."""

    problems: list[str] = dataclasses.field(default_factory=list)
    warnings: list[str] = dataclasses.field(default_factory=list)


def review(running: str | None, system: str, access: Values | None) -> Review:
    wanted = access or from_environment()
    if not wanted:
        return Review(
            warnings=[
                "Who deploys is unknown, so it was not reviewed whether this system would lock them out; set access."
            ]
        )
    new = of_system(system)
    if new is None:
        return Review(
            warnings=[
                "This system has no manifest of ours, so it was not reviewed whether it would lock out who deploys it."
            ]
        )
    return compare(of_system(running) if running else None, new, wanted)


def compare(old: Values | None, new: Values, wanted: Values) -> Review:
    """What is said of the new system, beside what is said of the running one."""
    found = findings(new, wanted)
    before = findings(old, wanted) if old else []
    return Review(
        problems=[text for text in found if text not in before],
        warnings=[f"{text} So it is with the running system." for text in found if text in before],
    )


def of_system(system: str) -> Values | None:
    return of_manifest(manifest(system))


def of_manifest(found: Values) -> Values | None:
    value = found.get("access")
    return value if isinstance(value, dict) else None


def from_environment() -> Values:
    """The login that this process comes from."""
    user, connection = os.environ.get("SUDO_USER"), os.environ.get("SSH_CONNECTION", "").split()
    if not user and not connection:
        return {}
    user = user or os.environ.get("USER") or "root"
    return {"user": user, "port": int(connection[3]) if len(connection) == 4 else None, "sudo": user != "root"}


def findings(system: Values, wanted: Values) -> list[str]:
    """What keeps the user from getting in."""
    ssh, user = system["ssh"], wanted.get("user")
    if not ssh["enable"]:
        return ["SSH is off (services.openssh.enable)."]
    found = [*_port(system, wanted.get("port"))]
    if user:
        account = system["users"].get(user)
        if account is None:
            return [*found, f"The user '{user}' does not exist or may not log in."]
        found += _login(ssh, user, account)
        if wanted.get("keys"):
            found += _keys(system, user, account, wanted["keys"])
        if wanted.get("sudo") and user != "root":
            found += _sudo(system["sudo"], user, account)
    return found


def _port(system: Values, port: int | None) -> list[str]:
    ssh, firewall = system["ssh"], system["firewall"]
    if not port:
        return []
    listening = set(ssh["ports"])
    for address in ssh.get("listenAddresses") or []:
        if match := re.fullmatch(r"(?:\[.*\]|[^:]*):(\d+)", address):
            listening.add(int(match[1]))
    if port not in listening:
        ports = ", ".join(str(number) for number in sorted(listening))
        return [f"SSH does not listen on port {port}, but on {ports} (services.openssh.ports)."]
    if not firewall["enable"] or _opens(firewall, port):
        return []
    # Which interface the connection comes through is not known.
    if any(_opens(interface, port) for interface in (firewall.get("interfaces") or {}).values()):
        return []
    if set(firewall.get("trustedInterfaces") or []) - {"lo"}:
        return []
    return [f"The firewall does not open port {port}, on which SSH listens (networking.firewall.allowedTCPPorts)."]


def _opens(rules: Values, port: int) -> bool:
    ranges = rules.get("tcpPortRanges") or []
    return port in rules["tcpPorts"] or any(one["from"] <= port <= one["to"] for one in ranges)


def _login(ssh: Values, user: str, account: Values) -> list[str]:
    found = []
    if user == "root" and ssh.get("permitRootLogin") in ("no", "forced-commands-only"):
        found.append(f"root may not log in over SSH (PermitRootLogin {ssh['permitRootLogin']}).")
    if _matches(ssh.get("denyUsers"), [user]):
        found.append(f"SSH refuses the user '{user}' (DenyUsers).")
    if _matches(ssh.get("denyGroups"), account["groups"]):
        found.append(f"SSH refuses a group of the user '{user}' (DenyGroups).")
    if ssh.get("allowUsers") and not _matches(ssh["allowUsers"], [user]):
        found.append(f"SSH does not admit the user '{user}' (AllowUsers).")
    if ssh.get("allowGroups") and not _matches(ssh["allowGroups"], account["groups"]):
        found.append(f"SSH admits no group of the user '{user}' (AllowGroups).")
    return found


def _matches(patterns: list[str] | None, names: list[str]) -> bool:
    """sshd's patterns; of USER@HOST only the user, since the host that the next connection comes from is not known."""
    return any(fnmatch.fnmatchcase(name, pattern.split("@")[0]) for pattern in patterns or [] for name in names)


def _keys(system: Values, user: str, account: Values, keys: list[str]) -> list[str]:
    if not system["ssh"].get("pubkeyAuthentication", True):
        return ["SSH accepts no public keys (PubkeyAuthentication no)."]
    known = [*account["keys"], *_keys_at_home(user, system.get("authorizedKeysFiles") or [])]
    if {_key(line) for line in keys} & {_key(line) for line in known}:
        return []
    return [f"None of the keys that are in use may log in as '{user}' (users.users.{user}.openssh.authorizedKeys)."]


def _keys_at_home(user: str, files: list[str]) -> list[str]:
    """Keys that no configuration declares, if sshd looks there."""
    try:
        home = pwd.getpwnam(user).pw_dir
    except KeyError:
        return []
    found: list[str] = []
    for name in files:
        path = os.path.join(home, name.replace("%h", home).replace("%u", user))
        if path.startswith(f"{home}/"):
            found += (read_file(path) or "").splitlines()
    return found


def _key(line: str) -> str:
    """Type and key, without options and comment."""
    match = re.search(r"(?:^|\s)((?:ssh|ecdsa|sk)-\S+\s+[A-Za-z0-9+/=]+)", line)
    return " ".join(match[1].split()) if match else line.strip()


def _sudo(sudo: Values, user: str, account: Values) -> list[str]:
    if not sudo["enable"]:
        return ["sudo is off (security.sudo.enable), but the deployment needs it."]
    if sudo.get("rules"):  # which are the host's own, and not judged
        return []
    if not account["wheel"]:
        return [f"The user '{user}' may not use sudo: it is not in the group wheel."]
    if sudo.get("wheelNeedsPassword"):
        return [f"sudo asks the user '{user}' for a password (security.sudo.wheelNeedsPassword)."]
    return []
