# SPDX-License-Identifier: GPL-3.0-or-later
"""A newcomer's wrong input: the preflight lists each cause once, in one sentence, and nothing is asked of any service.

There is no lab here: the hosts of these inventories are this machine, which is no NixOS, or an address that does not answer.
What the preflight says of a NixOS host is in tests/e2e/test_4_wrong_input.py.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import re
import subprocess
import sys
import typing as t

import pytest
import yaml

from tests.support.paths import ROOT
from tests.support.playbook import ANSIBLE

LEFT = "does not run NixOS"  # what each of these runs ends with, as this machine is the host
EXAMPLE = ROOT / "inventory/example"
LOCAL = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
# Everything that a run needs, without 1Password.
SOUND: dict[str, t.Any] = {
    "nixci_cache_domain": "cache.nixci.test",
    "nixci_dns_zone": "nixci.test",
    "nixci_onepassword_vault": "Infra",
    "b2_bucket_name": "nix-cache",
    "b2_key_id": "id",
    "b2_key": "canary-b2",
    "dns_token": "canary-dns",
    "dns_records": [{"name": "{{ nixci_cache_domain }}", "type": "A", "content": ["10.1.2.3"]}],
    "gitlab_project": "fleet/nixos",
    "gitlab_token": "canary-gitlab",
    "opnix_token": "canary-opnix",
}


@dataclasses.dataclass(frozen=True)
class Run:
    returncode: int
    output: str

    @property
    def message(self) -> str:
        """The last error in one line, so that the terminal's width plays no part."""
        errors = re.findall(r"\[ERROR\]: (?:Task failed: Action failed: )?(.*?)\nOrigin:", self.output, re.DOTALL)
        return " ".join(errors[-1].split()) if errors else ""

    @property
    def problems(self) -> list[str]:
        _, _, listed = self.message.partition("Nothing was changed. To be solved first: ")
        return listed.split(" | ") if listed else []


def run(
    folder: pathlib.Path,
    *arguments: str,
    hosts: dict[str, dict[str, t.Any]] | None = None,
    variables: dict[str, t.Any] | None = None,
    inventory: t.Any = None,
    playbook: str = "playbooks/site.yml",
    environment: dict[str, str] | None = None,
) -> Run:
    """The playbook on an inventory of these hosts; the variables are those of the group all."""
    if inventory is None:
        hosts = {"web": LOCAL} if hosts is None else hosts
        inventory = {"all": {"vars": SOUND if variables is None else variables}, "cache_servers": {"hosts": hosts}}
    path = folder / "hosts.yml"
    path.write_text(yaml.safe_dump(inventory))
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "OP_"))}
    done = subprocess.run(
        [str(ANSIBLE), "-i", str(path), "--timeout", "2", playbook, *arguments],
        cwd=ROOT,
        env={**kept, "ANSIBLE_NOCOLOR": "1", "COLUMNS": "10000", **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=300,
    )
    assert "canary" not in done.stdout
    assert "Traceback" not in done.stdout
    assert not re.search(r"changed=[1-9]", done.stdout)
    return Run(done.returncode, done.stdout)


def checked(
    folder: pathlib.Path, changes: dict[str, t.Any] | None = None, *arguments: str, **options: t.Any
) -> list[str]:
    """The problems of the part of the run that asks no service, without that of the host."""
    variables = {key: value for key, value in {**SOUND, **(changes or {})}.items() if value is not None}
    play = run(folder, "--tags", "hosts", *arguments, variables=variables, **options)
    assert play.returncode != 0, play.output
    return [problem for problem in play.problems if LEFT not in problem and "1Password" not in problem]


# -- the inventory


@pytest.mark.parametrize(
    ("playbook", "inventory"),
    [
        ("site", {}),
        ("site", {"all": {"hosts": {"web": LOCAL}}}),
        ("site", {"cache_servers": {"hosts": {}}}),
        ("site", {"cache-servers": {"hosts": {"web": LOCAL}}}),
        ("preflight", {"all": {"hosts": {"web": LOCAL}}}),
    ],
    ids=["nothing", "no group", "an empty group", "another group", "the preflight alone"],
)
def test_without_a_cache_server_the_run_fails(
    tmp_path: pathlib.Path, playbook: str, inventory: dict[str, t.Any]
) -> None:
    play = run(tmp_path, inventory=inventory, playbook=f"playbooks/{playbook}.yml")
    assert play.returncode != 0
    (problem,) = play.problems
    assert "no host in the group cache_servers" in problem and "-i" in problem


def test_a_limit_that_leaves_out_every_cache_server_fails(tmp_path: pathlib.Path) -> None:
    inventory = {"all": {"hosts": {"yoga": LOCAL}}, "cache_servers": {"hosts": {"web": LOCAL}}}
    play = run(tmp_path, "--limit", "yoga", inventory=inventory)
    assert play.returncode != 0
    (problem,) = play.problems
    assert "--limit yoga" in problem and "web" in problem


def copied(folder: pathlib.Path, **replaced: str) -> pathlib.Path:
    """The example as a newcomer copies it, with texts replaced in all files."""
    for source in EXAMPLE.rglob("*.yml"):
        target = folder / "inventory" / source.relative_to(EXAMPLE)
        target.parent.mkdir(parents=True, exist_ok=True)
        text = source.read_text()
        for old, new in replaced.items():
            text = text.replace(old.replace("_", "-"), new)
        target.write_text(text)
    return folder / "inventory"


def inventory_variables(inventory: pathlib.Path, host: str) -> dict[str, t.Any]:
    command = [str(ANSIBLE.with_name("ansible-inventory")), "-i", str(inventory), "--host", host]
    return json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)


def test_the_example_works_for_hosts_of_any_name(tmp_path: pathlib.Path) -> None:
    inventory = copied(tmp_path, hetzner_vps="web1")
    assert "ansible_host" in inventory_variables(inventory, "web1")
    text = "".join(path.read_text() for path in (EXAMPLE / "group_vars").rglob("*.yml"))
    assert "hetzner-vps" not in text
    assert text.count("pantherOS") == 1, "the vault is named in one place"
    done = subprocess.run(
        [str(ANSIBLE), "-i", str(inventory), "--tags", "dns", "playbooks/preflight.yml"],
        cwd=ROOT,
        env={key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "OP_"))},
        capture_output=True,
        text=True,
    )
    problems = Run(done.returncode, done.stdout + done.stderr).problems
    assert ["203.0.113.10" in problems[0], "203.0.113.11" in problems[1]] == [True, True], problems
    assert all("placeholder" in one for one in problems[:2])
    assert [one for one in problems if "1Password" in one] == problems[2:]


def test_a_reference_to_a_host_that_was_renamed_is_explained(tmp_path: pathlib.Path) -> None:
    records = [{"name": "x", "type": "A", "content": ["{{ hostvars['hetzner-vps'].ansible_host }}"]}]
    play = run(tmp_path, "--tags", "dns", variables={**SOUND, "dns_records": records})
    (problem,) = play.problems
    assert "dns_records" in problem and "no host 'hetzner-vps'" in problem


def test_a_host_without_an_address_is_reached_by_its_name(tmp_path: pathlib.Path) -> None:
    """Its SSH key is asked for on behalf of the controller, which has an address of its own."""
    inventory = {"nixos": {"hosts": {"lost.invalid": {}}}}
    play = run(tmp_path, inventory=inventory, playbook="playbooks/bootstrap.yml")
    assert play.returncode != 0
    said = play.message.partition("Nothing was changed on lost.invalid. To be solved first: ")[2].split(" | ")
    assert any("No SSH server answers on lost.invalid port 22" in one for one in said), play.output
    assert any(one.startswith("bootstrap_keys is empty") and ".pub" in one for one in said), said


# -- variables that are missing


@pytest.mark.parametrize(
    ("name", "tag"),
    [
        ("nixci_cache_domain", "hosts"),
        ("nixci_dns_zone", "dns"),
        ("nixci_onepassword_vault", "hosts"),
        ("b2_bucket_name", "b2"),
        ("gitlab_project", "gitlab"),
    ],
)
def test_a_missing_variable_is_one_sentence(tmp_path: pathlib.Path, name: str, tag: str) -> None:
    variables = {key: value for key, value in SOUND.items() if key != name}
    play = run(tmp_path, "--tags", tag, variables=variables)
    named = [problem for problem in play.problems if name in problem]
    assert len(named) == 1 and ("is not set" in named[0] or "is empty" in named[0])
    rest = [problem for problem in play.problems if problem not in named]
    assert all("1Password" in problem or LEFT in problem for problem in rest), rest


def test_without_any_variable_all_are_listed_once(tmp_path: pathlib.Path) -> None:
    play = run(tmp_path, variables={"b2_key_id": "x"})
    for name in ("nixci_cache_domain", "nixci_dns_zone", "nixci_onepassword_vault", "b2_bucket_name", "gitlab_project"):
        assert len([one for one in play.problems if one.startswith(name)]) == 1, play.problems
    assert len(play.problems) == 6, play.problems  # and the host


@pytest.mark.parametrize(
    ("changes", "texts"),
    [
        ({"b2_bucket_name": "CHANGEME"}, ["CHANGEME"]),
        (
            {
                "nixci_cache_domain": "cache.example.org",
                "caddy_email": "admin@example.com",
                "attic_storage": {"endpoint": "https://s3", "region": "todo", "bucket": "abc"},
            },
            ["cache.example.org", "admin@example.com", "todo"],
        ),
    ],
)
def test_each_placeholder_is_found(tmp_path: pathlib.Path, changes: dict[str, t.Any], texts: list[str]) -> None:
    problems = checked(tmp_path, changes)
    assert len(problems) == len(texts), problems
    for text in texts:
        (problem,) = [one for one in problems if f"'{text}'" in one]
        assert "placeholder" in problem


def test_the_address_of_the_example_is_found_without_a_connection(tmp_path: pathlib.Path) -> None:
    (problem,) = checked(tmp_path, hosts={"web": {"ansible_host": "203.0.113.10"}})
    assert "ansible_host" in problem and "203.0.113.10" in problem


# -- names


def test_a_misspelt_variable_is_a_problem(tmp_path: pathlib.Path) -> None:
    (problem,) = checked(tmp_path, None, "-e", "attic_listne=127.0.0.1:9090")
    assert "attic_listne" in problem and "did you mean attic_listen?" in problem


def test_variables_of_other_people_are_no_problem(tmp_path: pathlib.Path) -> None:
    others = {
        "b2_restic_bucket": "x",
        "caddy_version": "2.8",
        "gitlab_runner_token": "x",
        "attic_client_version": "1",
        "cache_domain": "cache.nixci.test",
        "nixci_cache_domain": "{{ cache_domain }}",
    }
    assert checked(tmp_path, others) == []


# -- values; those of each role are in tests/unit/plugins/plugin_utils/_preflight/test_arguments.py


def test_all_problems_are_listed_in_one_run(tmp_path: pathlib.Path) -> None:
    wrong = {"attic_listen": "everywhere", "backup_keep_days": 0, "caddy_emial": "x@nixci.test", "b2_bucket_name": ""}
    assert len(checked(tmp_path, wrong)) == 4


def test_a_tag_asks_for_nothing_that_concerns_others(tmp_path: pathlib.Path) -> None:
    variables = {key: value for key, value in SOUND.items() if key.startswith(("nixci_dns", "nixci_cache", "dns_"))}
    play = run(
        tmp_path, "--tags", "dns", variables={**variables, "dns_api_url": "http://127.0.0.1:9", "attic_listen": 1}
    )
    (problem,) = play.problems
    assert "Cloudflare" in problem


def test_hosts_alone_checks_the_variables_as_well(tmp_path: pathlib.Path) -> None:
    play = run(tmp_path, variables={**SOUND, "attic_listen": "everywhere"}, playbook="playbooks/hosts.yml")
    assert play.returncode != 0
    assert ["IP:PORT" in problem for problem in play.problems] == [True]


# -- the controller


def test_missing_libraries_are_named_with_the_command_that_installs_them(tmp_path: pathlib.Path) -> None:
    """An interpreter of localhost that has nothing installed, as when the inventory names the system's own."""
    bare = tmp_path / "bare/bin/python3"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "bare")], check=True)
    inventory = {
        "all": {
            "vars": SOUND,
            "hosts": {"localhost": {"ansible_connection": "local", "ansible_python_interpreter": str(bare)}},
        },
        "cache_servers": {"hosts": {"web": LOCAL}},
    }
    play = run(tmp_path, inventory=inventory)
    problems = [problem for problem in play.problems if LEFT not in problem]
    assert len(problems) == 1, problems
    for library in ("requests", "urllib3", "b2sdk", "boto3", "python-gitlab", "PyJWT", "cryptography"):
        assert library in problems[0]
    assert f"{bare} -m pip install " in problems[0] and "ansible_playbook_python" in problems[0]


def test_an_interpreter_that_does_not_exist_is_named(tmp_path: pathlib.Path) -> None:
    local = {"ansible_connection": "local", "ansible_python_interpreter": "/nowhere/python3"}
    inventory = {"all": {"vars": SOUND, "hosts": {"localhost": local}}, "cache_servers": {"hosts": {"web": LOCAL}}}
    problems = [problem for problem in run(tmp_path, inventory=inventory).problems if LEFT not in problem]
    assert any("/nowhere/python3 does not run" in problem for problem in problems), problems


@pytest.mark.parametrize("version", [None, "2.9.0"])
def test_a_missing_or_old_collection_is_named_with_the_command_that_installs_it(
    tmp_path: pathlib.Path, version: str | None
) -> None:
    place = tmp_path / "collections/ansible_collections"
    (place / "pantheros").mkdir(parents=True)
    (place / "pantheros/nixci").symlink_to(ROOT)
    if version:
        (place / "community/crypto").mkdir(parents=True)
        (place / "community/crypto/MANIFEST.json").write_text(json.dumps({"collection_info": {"version": version}}))
    environment = {
        "ANSIBLE_COLLECTIONS_PATH": str(tmp_path / "collections"),
        "ANSIBLE_COLLECTIONS_SCAN_SYS_PATH": "false",
    }
    problems = checked(tmp_path, environment=environment, playbook=str(place / "pantheros/nixci/playbooks/site.yml"))
    assert len(problems) == 1, problems
    assert "community.crypto" in problems[0] and "ansible-galaxy collection install" in problems[0]
    assert (version or "not installed") in problems[0]


# -- hosts


def test_hosts_that_cannot_be_used_are_each_named(tmp_path: pathlib.Path) -> None:
    hosts = {"web": LOCAL, "lost": {"ansible_host": "127.0.0.1", "ansible_port": 9}}
    play = run(tmp_path, "--tags", "hosts", hosts=hosts)
    said = [problem for problem in play.problems if "1Password" not in problem]
    assert len(said) == 2, said
    assert any(one.startswith("Host lost cannot be reached over SSH") for one in said)
    assert any(one.startswith("Host web does not run NixOS") for one in said)
