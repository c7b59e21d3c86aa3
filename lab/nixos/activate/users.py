# SPDX-License-Identifier: GPL-3.0-or-later
"""Users and groups of the configuration; other accounts are unchanged."""

from __future__ import annotations

import grp
import json
import pwd
import subprocess
import typing as t
from pathlib import Path

STATE = Path("/var/lib/nixos")
DECLARED = STATE / "declarative-users"
MEMBERS = STATE / "declarative-members"
NUMBERS = STATE / "uid-map"  # an account that returns gets its old number, because its files still exist


def apply(users: list[dict[str, t.Any]], groups: list[dict[str, t.Any]]) -> None:
    STATE.mkdir(parents=True, exist_ok=True)
    numbers: dict[str, int] = _read(NUMBERS, {})
    for group in groups:
        if not _known(grp.getgrnam, group["name"]):
            _run("groupadd", *_number("--gid", group["gid"]), "--system", group["name"])
    for user in users:
        _user(user, user["uid"] if user["uid"] is not None else numbers.get(user["name"]))
        numbers[user["name"]] = pwd.getpwnam(user["name"]).pw_uid
    NUMBERS.write_text(json.dumps(numbers))
    for group in groups:
        for member in group["members"]:
            _run("usermod", "--append", "--groups", group["name"], member)
    _forget([user["name"] for user in users])
    _leave(_members(users, groups))


def _user(user: dict[str, t.Any], uid: int | None) -> None:
    name = user["name"]
    common = ["--gid", user["group"], "--home-dir", user["home"], "--shell", user["shell"]]
    if not _known(pwd.getpwnam, name):
        kind = ["--system"] if user["system"] else []
        _run("useradd", *kind, "--no-create-home", *_number("--uid", uid), *common, name)
    else:
        now = pwd.getpwnam(name)
        if (now.pw_dir, now.pw_shell, now.pw_gid) != (
            user["home"],
            user["shell"],
            grp.getgrnam(user["group"]).gr_gid,
        ):
            _run("usermod", "--gid", user["group"], "--home", user["home"], "--shell", user["shell"], name)
    missing = [group for group in user["extraGroups"] if name not in grp.getgrnam(group).gr_mem]
    if missing:
        _run("usermod", "--append", "--groups", ",".join(missing), name)
    if user["hashedPassword"] is not None:
        _run("chpasswd", "--encrypted", stdin=f"{name}:{user['hashedPassword']}\n")
    home = Path(user["home"])
    if user["createHome"] and not home.exists():
        home.mkdir(mode=0o700, parents=True)
        account = pwd.getpwnam(name)
        subprocess.run(["chown", f"{account.pw_uid}:{account.pw_gid}", str(home)], check=True)


def _forget(names: list[str]) -> None:
    """Remove accounts that an earlier generation declared and this one does not. Their files stay."""
    for name in _read(DECLARED, []):
        if name not in names and _known(pwd.getpwnam, name):
            _run("userdel", "--force", name)
    DECLARED.write_text(json.dumps(sorted(names)))


def _members(users: list[dict[str, t.Any]], groups: list[dict[str, t.Any]]) -> list[list[str]]:
    """Pairs of a group and a user in it."""
    declared = [[group, user["name"]] for user in users for group in user["extraGroups"]]
    return sorted(declared + [[group["name"], member] for group in groups for member in group["members"]])


def _leave(members: list[list[str]]) -> None:
    """End memberships that an earlier generation declared and this one does not."""
    for group, user in _read(MEMBERS, []):
        if [group, user] not in members and _known(grp.getgrnam, group) and user in grp.getgrnam(group).gr_mem:
            _run("gpasswd", "--delete", user, group)
    MEMBERS.write_text(json.dumps(members))


def _read(file: Path, default: t.Any) -> t.Any:
    return json.loads(file.read_text()) if file.exists() else default


def _known(look_up: t.Callable[[str], t.Any], name: str) -> bool:
    try:
        look_up(name)
    except KeyError:
        return False
    return True


def _number(option: str, value: int | None) -> list[str]:
    return [] if value is None else [option, str(value)]


def _run(*command: str, stdin: str | None = None) -> None:
    subprocess.run(command, check=True, input=stdin, text=True)
