# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pinned SSH host key of a host as a resource. Private: may change without notice."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import hashlib
import re
import typing as t

from .._core.change import Change
from .._core.errors import InvalidError, NixciError, UnavailableError
from .._core.file import File

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

# In the order in which people are asked about them; ssh-keyscan offers no others by default.
TYPES = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa")
_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._:%-]*|::[A-Za-z0-9:%.]*", re.A)
_FINGERPRINT = re.compile(r"(?:SHA256:)?([A-Za-z0-9+/]{43})=?", re.A)

Params = dict[str, t.Any]
Result = dict[str, t.Any]


@dataclasses.dataclass(frozen=True)
class Key:
    """A public key as known_hosts has it; `marker` is @revoked or @cert-authority."""

    type: str
    blob: str
    marker: str = ""

    @property
    def fingerprint(self) -> str:
        """As ssh and ssh-keygen -l print it."""
        digest = hashlib.sha256(base64.b64decode(self.blob)).digest()
        return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")

    @property
    def shown(self) -> str:
        return f"{self.fingerprint} ({self.type})"


def parse(text: str) -> list[Key]:
    """The keys in lines of known_hosts, which ssh-keyscan prints as well; comments and unreadable lines are left out."""
    keys = []
    for line in text.splitlines():
        words = line.split()
        marker = words.pop(0) if words and words[0].startswith("@") else ""
        if len(words) >= 3 and not words[0].startswith("#"):
            try:
                base64.b64decode(words[2], validate=True)
            except binascii.Error:
                continue
            keys.append(Key(words[1], words[2], marker))
    return sorted(keys, key=lambda key: (TYPES.index(key.type) if key.type in TYPES else len(TYPES), key.blob))


@dataclasses.dataclass(frozen=True)
class Found:
    """What the file holds for this host, and what the host offers."""

    text: str
    pinned: list[Key]
    offered: list[Key]


@dataclasses.dataclass(frozen=True)
class PinPlan:
    change: Change
    line: str
    text: str
    result: Result


class HostKey:
    """A line of known_hosts that is written only for a key whose fingerprint somebody confirmed."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module

    def read(self, params: Params) -> Found:
        if not _HOST.fullmatch(params["host"]):
            raise InvalidError(f"host is {params['host']!r}, which is neither a host name nor an address.")
        if not 1 <= params["port"] <= 65535:
            raise InvalidError("port must be from 1 to 65535.")
        if not 1 <= params["timeout"] <= 120:
            raise InvalidError("timeout must be from 1 to 120 seconds.")
        file = File(self.module, params["known_hosts"], "0644")
        try:
            text = file.read() or ""
        except (OSError, UnicodeDecodeError) as exc:
            raise NixciError(
                f"{params['known_hosts']} cannot be read: {getattr(exc, 'strerror', 'it is not text')}."
            ) from None
        pinned = parse(self._run("ssh-keygen", "-F", name(params), "-f", file.path)) if text else []
        scan = ["-T", str(params["timeout"]), "-p", str(params["port"]), "--", params["host"]]
        return Found(text, pinned, parse(self._run("ssh-keyscan", *scan)))

    def plan(self, params: Params, found: Found) -> PinPlan:
        host, path = params["host"], params["known_hosts"]
        if not found.offered:
            raise UnavailableError(
                f"No SSH server answers on {host} port {params['port']} within {params['timeout']} s; check the address, the port, "
                "the firewall, and that the host is up.",
                reason="unreachable",
            )
        _refuse_changed(params, found)
        trusted = [key for key in found.offered if key in found.pinned]
        authority = [key for key in found.pinned if key.marker == "@cert-authority"]
        result: Result = {
            "offered": [{"type": key.type, "fingerprint": key.fingerprint} for key in found.offered],
            "pinned": bool(trusted or authority),
            "fingerprint": (trusted or found.offered)[0].fingerprint,
        }
        shown = {"known_hosts": path, "host": name(params), "keys": [key.shown for key in trusted + authority]}
        before = shown if result["pinned"] else None
        if before or not params["fingerprint"]:
            return PinPlan(Change(before, before), "", found.text, result)
        given = _FINGERPRINT.fullmatch(params["fingerprint"].strip())
        if not given:
            raise InvalidError(
                "The fingerprint must be like SHA256:… with 43 characters, as 'ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub' "
                "prints it on the host."
            )
        key = next((key for key in found.offered if key.fingerprint == f"SHA256:{given[1]}"), None)
        if key is None:
            offered = ", ".join(key.shown for key in found.offered)
            raise InvalidError(
                f"{host} has no host key with the fingerprint SHA256:{given[1]}; it offers {offered}. Compare them with what "
                "'ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub' prints on its console; nothing was pinned.",
                reason="other_key",
            )
        after = {**shown, "keys": [key.shown]}
        line = f"{name(params)} {key.type} {key.blob}\n"
        return PinPlan(
            Change(None, after), line, found.text, {**result, "pinned": True, "fingerprint": key.fingerprint}
        )

    def predict(self, plan: PinPlan) -> Result:
        return plan.result

    def apply(self, plan: PinPlan) -> Result:
        end = "" if not plan.text or plan.text.endswith("\n") else "\n"
        File(self.module, self.module.params["known_hosts"], "0644").write(plan.text + end + plan.line)
        return plan.result

    def _run(self, program: str, *arguments: str) -> str:
        """Its output; both programs say by their exit code that nothing was found."""
        path = self.module.get_bin_path(program)
        if path is None:
            raise NixciError(f"The program '{program}' was not found on the controller; install OpenSSH's client.")
        _rc, out, _err = self.module.run_command(
            [path, *arguments], environ_update={"LC_ALL": "C"}, expand_user_and_vars=False
        )
        return str(out)


def name(params: Params) -> str:
    """The host as ssh looks for it in known_hosts."""
    return str(params["host"]) if params["port"] == 22 else f"[{params['host']}]:{params['port']}"


def _refuse_changed(params: Params, found: Found) -> None:
    """A pinned host that offers something else, or a key that is known to be stolen."""
    pinned = [key for key in found.pinned if not key.marker]
    revoked = [key for key in found.pinned if key.marker == "@revoked"]
    for key in found.offered:
        if any(key.blob == one.blob for one in revoked):
            raise InvalidError(
                f"{params['host']} offers the host key {key.shown}, which {params['known_hosts']} marks as revoked."
            )
    other = [key for key in found.offered if any(key.type == one.type for one in pinned) and key not in pinned]
    if other or (pinned and not any(key in pinned for key in found.offered)):
        raise InvalidError(
            f"The host key of {params['host']} is not the one in {params['known_hosts']} (pinned: {', '.join(key.shown for key in pinned)}; "
            f"offered: {', '.join(key.shown for key in found.offered)}): either the host was installed anew, or somebody answers in its "
            "place. Compare the fingerprint on the console of the host; if it is the host's, remove the old key with "
            f"'ssh-keygen -R {name(params)} -f {params['known_hosts']}' and run this again.",
            reason="changed_key",
        )
