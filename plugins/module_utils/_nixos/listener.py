# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which unit listens on an address of this host. Private: may change without notice."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import re
import socket

PROC = "/proc"
LISTEN = "0A"
ANY = ("0.0.0.0", "::")  # noqa: S104 - what others bind to

Holder = tuple[int, str]


def problem(host: str, port: int, unit: str) -> str | None:
    """Why it is not this unit that listens there; None if it is."""
    inodes = _listening(_addresses(host), port)
    holders = _holders(inodes)
    if not inodes:
        return f"Nothing listens on {host}:{port}, where {unit} should."
    if any(unit in cgroup.split("/") for _pid, cgroup in holders):
        return None
    found = (
        ", ".join(f"{_name(pid)} (process {pid}, {_unit(cgroup)})" for pid, cgroup in holders)
        or "a process unknown here"
    )
    return f"{host}:{port} belongs to {found} instead of {unit}; stop that, or give {unit} another address."


def _addresses(host: str) -> set[str]:
    with contextlib.suppress(ValueError):
        return {str(ipaddress.ip_address(host))}
    with contextlib.suppress(OSError):
        return {str(info[4][0]) for info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    return set()


def _listening(addresses: set[str], port: int) -> set[str]:
    """The sockets that connections to these addresses reach: an exact one goes before one for any address."""
    exact, general = set(), set()
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError), open(f"{PROC}/net/{table}", encoding="ascii") as file:
            for line in list(file)[1:]:
                fields = line.split()
                address, _colon, found = fields[1].partition(":")
                if fields[3] != LISTEN or int(found, 16) != port:
                    continue
                parsed = _parse(address)
                if parsed in addresses:
                    exact.add(fields[9])
                elif parsed in ANY:
                    general.add(fields[9])
    return exact or general


def _parse(address: str) -> str:
    """The kernel writes each word of four bytes in the machine's order, which is little-endian wherever NixOS runs."""
    words = [bytes.fromhex(address[start : start + 8])[::-1] for start in range(0, len(address), 8)]
    parsed = ipaddress.ip_address(b"".join(words))
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return str(mapped or parsed)


def _holders(inodes: set[str]) -> list[Holder]:
    links = {f"socket:[{inode}]" for inode in inodes}
    found = []
    for pid in filter(str.isdigit, os.listdir(PROC)):
        with contextlib.suppress(OSError):  # it has ended
            folder = f"{PROC}/{pid}/fd"
            if any(_link(f"{folder}/{name}") in links for name in os.listdir(folder)):
                with open(f"{PROC}/{pid}/cgroup", encoding="utf-8") as file:
                    found.append((int(pid), file.read().strip().replace("\n", "/")))
    return found


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _name(pid: int) -> str:
    with contextlib.suppress(OSError), open(f"{PROC}/{pid}/comm", encoding="utf-8", errors="replace") as file:
        return file.read().strip()
    return "a process that has ended"


def _unit(cgroup: str) -> str:
    names = [name for name in cgroup.split("/") if re.search(r"\.(service|scope)$", name)]
    return names[-1] if names else "no unit"
