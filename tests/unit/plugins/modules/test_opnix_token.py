# SPDX-License-Identifier: GPL-3.0-or-later
"""opnix_token on a folder that plays built systems, with a program that answers as OpNix 0.11 does."""

from __future__ import annotations

import datetime
import json
import os
import pathlib
import stat
import sys
import time
import typing as t

import pytest
from ansible_collections.pantheros.nixci.plugins.module_utils._nixos import opnix, opnix_token

from tests.support.check_mode import assert_check_mode_contract

OLD, NEW = "ops_old-canary", "ops_new-canary"
OURS, THEIRS = "op://pantherOS/Attic-server/environment", "op://Private/mail/password"

# What the real program prints, of which the tests let it give up at once where it would try three times.
PROGRAM = f"""#!{sys.executable}
import json, os, pathlib, sys
here = pathlib.Path(__file__).parent
options = dict(zip(sys.argv[2::2], sys.argv[3::2]))
assert sys.argv[1] == "secret" and not os.environ.get("OP_SERVICE_ACCOUNT_TOKEN")
token = pathlib.Path(options["-token-file"]).read_text()
secrets = json.loads(pathlib.Path(options["-config"]).read_text())["secrets"]
with open(here / "asked", "a") as file:
    print(json.dumps({{"argv": sys.argv, "kinds": [s["kind"] for s in secrets], "references": [s["reference"] for s in secrets],
        "mode": oct(os.stat(os.path.dirname(options["-token-file"])).st_mode & 0o777)}}), file=file)
vault = json.loads((here / "vault").read_text())
if token not in vault:
    print("WARNING: Initializing 1Password client attempt 1/3 failed: error initializing client\\nERROR: Initializing 1Password "
        "client failed in 1Password integration\\n  Issue: Failed to create 1Password SDK client - check token validity\\n  Cause: "
        "Initializing 1Password client failed after 3 attempts: error initializing client: invalid service account token, please "
        "make sure you provide a valid service account token as parameter:  service account deserialization failed, please create "
        "another token\\n\\n  Suggestions:\\n  1. Verify your 1Password service account token is valid", file=sys.stderr)
    sys.exit(1)
if vault[token] == "limited":
    sys.exit(75)
missing = [s["reference"] for s in secrets if s["reference"] not in vault[token]]
if missing:
    text = "provider resolution failed\\nmissing references: %d\\ninvalid references: 0\\n" % len(missing) + "\\n".join(
        "  - missing_reference for %s: %s" % (reference, "vaultNotFound") for reference in missing)
    print("ERROR: Resolving 1Password references failed in secret processing\\n  Issue: " + text + "\\n  Cause: " + text, file=sys.stderr)
    sys.exit(65)
os.makedirs(options["-output"])
for secret in secrets:
    pathlib.Path(options["-output"], secret["path"]).write_text("canary-value")
"""


class Host:
    def __init__(self, root: pathlib.Path, module: t.Any) -> None:
        self.root, self.module = root, module
        self.token_file = root / "opnix-token"
        self.runtime = root / "run"
        self.runtime.mkdir()
        self.program = root / "store/x-opnix-0.11.0/bin/opnix"
        self.program.parent.mkdir(parents=True)
        self.program.write_text(PROGRAM)
        self.program.chmod(0o755)
        self.vault({OLD: [OURS, THEIRS], NEW: [OURS, THEIRS]})

    def vault(self, readable: dict[str, t.Any]) -> None:
        (self.program.parent / "vault").write_text(json.dumps(readable))

    def asked(self) -> list[dict[str, t.Any]]:
        file = self.program.parent / "asked"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def system(self, name: str, *files: dict[str, str]) -> str:
        """A built system whose OpNix reads these references, one configuration file for each set."""
        system, script = self.root / name, self.root / f"{name}-start"
        lines = []
        for number, references in enumerate(files):
            config = self.root / f"{name}-{number}.json"
            secrets = [
                {"path": str(i), "reference": ref, "owner": "nobody-yet", **({"kind": kind} if kind else {})}
                for i, (ref, kind) in enumerate(references.items())
            ]
            config.write_text(json.dumps({"secrets": secrets}))
            lines.append(
                f"{self.program} secret \\\n  -token-file {self.token_file} \\\n  -config {config} \\\n  -output /nowhere\n"
            )
        script.write_text("#!/bin/sh\necho 'Processing config file: opnix secret'\n" + "".join(lines))
        unit = system / "etc/systemd/system/opnix-secrets.service"
        unit.parent.mkdir(parents=True)
        unit.write_text(f"[Service]\nExecStart={script} \n")
        return str(system)

    def run(self, *, check: bool = False, **params: t.Any) -> dict[str, t.Any]:
        result = self.module("opnix_token", params, check=check)
        assert "canary" not in str(result).replace(str(self.root), ""), result
        assert list(self.runtime.iterdir()) == []
        return result

    def state(self) -> dict[str, str]:
        return {path.name: path.read_text() for path in self.root.glob("opnix-token*")}


@pytest.fixture
def host(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, module: t.Any) -> Host:
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "systemctl").write_text("#!/bin/sh\necho LoadState=not-found\n")
    (programs / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.setenv("OP_SERVICE_ACCOUNT_TOKEN", "ops_of-somebody-else")
    monkeypatch.setattr(opnix, "RUNTIME", str(tmp_path / "run"))
    monkeypatch.setattr(opnix_token, "CURRENT_SYSTEM", str(tmp_path / "running"))
    monkeypatch.setattr(opnix_token, "DEFAULT_PATH", str(tmp_path / "opnix-token"))
    return Host(tmp_path, module)


def test_a_new_host_gets_a_token_that_was_tested(host: Host) -> None:
    system = host.system("built", {OURS: "field", THEIRS: "file"}, {THEIRS: ""})
    runs = assert_check_mode_contract(
        lambda check=False: host.run(token=f" {NEW}\n", system=system, check=check), host.state
    )
    assert runs.actual["changed"] and runs.actual["references"] == 3
    assert host.state() == {"opnix-token": f"{NEW}\n"}
    assert stat.S_IMODE(host.token_file.stat().st_mode) == 0o600
    assert [ask["kinds"] for ask in host.asked()[:2]] == [["field", "field"], ["file"]]
    assert all(ask["mode"] == "0o700" and NEW not in str(ask) for ask in host.asked())


def test_another_token_is_never_replaced_unasked(host: Host) -> None:
    system = host.system("built", {OURS: "field"})
    host.token_file.write_text(f"{OLD}\n")
    runs = assert_check_mode_contract(lambda check=False: host.run(token=NEW, system=system, check=check), host.state)
    assert f"{host.token_file} on this host holds another token" in runs.actual["msg"]
    assert "opnix_replace_token" in runs.actual["msg"]
    assert host.asked() == []
    assert "holds another token" in host.run(token=NEW)["msg"]  # as the preflight asks


def test_a_replaced_token_is_kept_with_the_files_mode(host: Host) -> None:
    system = host.system("built", {OURS: "field", THEIRS: "field"})
    host.token_file.write_text(OLD)
    host.token_file.chmod(0o640)
    runs = assert_check_mode_contract(
        lambda check=False: host.run(token=NEW, system=system, replace=True, check=check),
        host.state,
        once=["previous", "references"],
    )
    assert runs.actual["previous"] == f"{host.token_file}.previous"
    assert runs.actual["diff"]["before"]["token"] != runs.actual["diff"]["after"]["token"]
    assert host.state() == {"opnix-token": f"{NEW}\n", "opnix-token.previous": f"{OLD}\n"}
    assert stat.S_IMODE(host.token_file.stat().st_mode) == 0o640
    assert stat.S_IMODE(pathlib.Path(runs.actual["previous"]).stat().st_mode) == 0o600


@pytest.mark.parametrize("replace", [True, False])
def test_one_unreadable_reference_of_the_user_is_refused(host: Host, replace: bool) -> None:
    """OpNix would refresh none of the user's secrets any more."""
    system = host.system("built", {OURS: "field", "op://Private/cert/file": "file"}, {THEIRS: "field"})
    host.vault({NEW: [OURS]})
    if replace:
        host.token_file.write_text(OLD)
    runs = assert_check_mode_contract(
        lambda check=False: host.run(token=NEW, system=system, replace=replace, check=check), host.state
    )
    assert "cannot read 2 of the 3 references" in runs.actual["msg"]
    assert runs.actual["unreadable"] == sorted([THEIRS, "op://Private/cert/file"])
    assert f"{THEIRS} (vaultNotFound)" in runs.actual["msg"]
    assert OURS not in runs.actual["msg"]


def test_the_hosts_own_token_must_read_what_is_new(host: Host) -> None:
    host.token_file.write_text(f"{OLD}\n")
    host.system("running", {THEIRS: "field"})
    system = host.system("built", {OURS: "field", THEIRS: "field"})
    assert not host.run(system=system)["changed"]
    assert len(host.asked()) == 1
    host.vault({OLD: [THEIRS]})
    refused = host.run(token=OLD, system=system)
    assert refused["unreadable"] == [OURS]


def test_nothing_is_asked_if_nothing_is_new(host: Host) -> None:
    host.token_file.write_text(f"{OLD}\n")
    host.system("running", {OURS: "field", THEIRS: "field"})
    result = host.run(token=f"{OLD}\n", system=host.system("built", {OURS: "field"}))
    assert not result["failed"] and not result["changed"] and result["references"] == 0
    assert host.asked() == []


@pytest.mark.parametrize("text", [None, "", "\n"])
def test_a_host_without_any_token_is_told_before_the_switch(host: Host, text: str | None) -> None:
    system = host.system("built", {OURS: "field"})
    if text is not None:
        host.token_file.write_text(text)
    assert "has no OpNix token" in host.run(system=system)["msg"]
    assert not host.run(token=NEW, system=system)["failed"]


@pytest.mark.parametrize(
    "token", ["eyJhbGciOiJFUzI1NiJ9.canary", "ops_canary two", "op://vault/item/field", "{{ token }}"]
)
def test_what_is_no_service_account_token_is_refused(host: Host, token: str) -> None:
    result = host.run(token=token)
    assert "begins with 'ops_'" in result["msg"] and host.state() == {}


def test_the_services_refusals_are_told_in_one_sentence(host: Host) -> None:
    system = host.system("built", {OURS: "field"})
    host.vault({NEW: "limited"})
    assert "run again later" in host.run(token=NEW, system=system)["msg"]
    host.vault({})
    assert "invalid service account token" in host.run(token=NEW, system=system)["msg"]
    assert host.state() == {}


def test_a_system_without_opnix_and_broken_configurations_are_named(host: Host) -> None:
    (host.root / "bare").mkdir()
    assert "does not use OpNix" in host.run(token=NEW, system=str(host.root / "bare"))["msg"]
    system = host.system("built", {OURS: "field"})
    for text in ("no JSON", "[]", '{"secrets": [{}]}'):
        (host.root / "built-0.json").write_text(text)
        assert "built-0.json is not a configuration of OpNix" in host.run(token=NEW, system=system)["msg"]
    (host.root / "built-0.json").unlink()
    assert "built-0.json cannot be read" in host.run(token=NEW, system=system)["msg"]


def test_an_interrupted_replacement_is_completed(host: Host) -> None:
    system = host.system("built", {OURS: "field"})
    host.token_file.write_text(f"{OLD}\n")
    pathlib.Path(f"{host.token_file}.previous").write_text(f"{OLD}\n")  # written first, then the run ended
    assert host.run(token=NEW, system=system, replace=True)["changed"]
    assert host.state() == {"opnix-token": f"{NEW}\n", "opnix-token.previous": f"{OLD}\n"}


def test_a_volatile_file_belongs_to_whatever_makes_it(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opnix_token, "VOLATILE", f"{host.root}/")
    system = host.system("built", {OURS: "field"})
    assert not host.run(system=system)["failed"]  # the activation brings it
    assert "does not survive a reboot" in host.run(token=NEW, system=system)["msg"]


def unit(host: Host, state: str, started: float) -> None:
    moment = datetime.datetime.fromtimestamp(started, datetime.UTC).strftime("%a %Y-%m-%d %H:%M:%S.%f UTC")
    text = f"LoadState=loaded\\nActiveState={state}\\nExecMainStartTimestamp={moment}\\n"
    script = f'#!/bin/sh\necho "$@" >> {host.root}/systemctl-log\n[ "$1" = show ] && printf "{text}"\nexit 0\n'
    (host.root / "programs/systemctl").write_text(script)


def restarts(host: Host) -> int:
    log = host.root / "systemctl-log"
    return log.read_text().count("restart -- opnix-secrets.service") if log.exists() else 0


def test_secrets_are_fetched_anew_if_the_token_is_newer_than_the_unit(host: Host) -> None:
    host.system("running", {OURS: "field"})
    now = time.time()
    unit(host, "active", now - 60)
    assert host.run(token=NEW)["refresh"]
    assert host.run(refresh=True, check=True)["changed"] and restarts(host) == 0
    assert host.run(refresh=True)["changed"] and restarts(host) == 1
    unit(host, "active", os.stat(host.token_file).st_mtime + 0.001)
    assert not host.run(token=NEW)["refresh"]
    assert not host.run(refresh=True)["changed"] and restarts(host) == 1
    os.utime(host.token_file, (now, now + 120))
    assert host.run(refresh=True)["changed"]
    unit(host, "failed", now + 300)
    assert host.run(token=NEW)["refresh"]


def test_a_host_without_the_unit_needs_no_refresh(host: Host) -> None:
    assert not host.run(token=NEW)["refresh"]
    assert "has no opnix-secrets.service" in host.run(refresh=True)["msg"]


def test_impossible_options_are_refused(host: Host) -> None:
    assert "from 1 to 3600" in host.run(token=NEW, timeout=0)["msg"]
