# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the controller knows a host's SSH key before it connects. Private: may change without notice."""

from __future__ import annotations

import typing as t

from .access import Ssh, output


def problems(name: str, ssh: Ssh) -> t.Iterator[str]:
    """A sentence if no key is pinned for the address and port that ssh is going to use."""
    # Keys that a program or signed DNS records name are pinned elsewhere.
    if ssh.one("knownhostscommand", "none") != "none" or ssh.one("verifyhostkeydns") in ("yes", "true"):
        return
    files = [*ssh.files("userknownhostsfile"), *ssh.files("globalknownhostsfile")]
    wanted = pattern(ssh)
    if any(output(["ssh-keygen", "-F", wanted, "-f", str(file)]) for file in files if file.exists()):
        return
    port = f"-p {ssh.port} " if ssh.port != 22 else ""
    address = ssh.one("hostname", ssh.host)
    file = next((str(file) for file in files if str(file) != "/dev/null"), "~/.ssh/known_hosts")
    yield (
        f"The SSH host key of {wanted} is not in {file}, so another machine could answer in its place. Compare its fingerprint with the one on "
        f"the host's console (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub), then add it: ssh-keyscan {port}{address} >> {file}"
    )


def pattern(ssh: Ssh) -> str:
    """How known_hosts spells the host."""
    alias = ssh.one("hostkeyalias", "none")
    if alias != "none":
        return alias
    host = ssh.one("hostname", ssh.host)
    return host if ssh.port == 22 else f"[{host}]:{ssh.port}"
