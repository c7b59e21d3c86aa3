# SPDX-License-Identifier: GPL-3.0-or-later
"""deploy.yml with many hosts: what happens before what, and what is left out after a failure.

The playbook, the role and the action are the real ones. What a host does is simulated by modules that keep its state in a file and write down
what they are asked for; tests/integration/roles/test_deploy.py has real hosts.
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import typing as t

import pytest

from lab.clouds.gitlab import GitLabDouble, Token
from tests.support.paths import ROOT

OLD, NEW = "/nix/store/11111111111111111111111111111111-old", "/nix/store/22222222222222222222222222222222-new"

COMMON = """
import json, os, time
from ansible.module_utils.basic import AnsibleModule

HOST, FOLDER = os.environ["STUB_HOST"], os.environ["STUB_FOLDER"]


def event(what):
    log = os.open(f"{FOLDER}/events", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(log, f"{what} {HOST}\\n".encode())
    os.close(log)


def read():
    with open(f"{FOLDER}/{HOST}.json") as file:
        return json.load(file)


def write(**values):
    state = {**read(), **values}
    with open(f"{FOLDER}/{HOST}.json", "w") as file:
        json.dump(state, file)
"""
OPTIONS: dict[str, str] = {
    "nixos_deploy_check": "store_path generation plan action expected closure need_bytes caches copy force time manifest access",
    "nixos_rebuild": "action store_path confirm_timeout inhibitors access force who timeout",
    "nixos_check": "manifest skip grace steady units urls commands ports changed_units ignore_failed",
    "nixos_confirm": "state id keep_generations record reason",
    "nixos_closure": "path",
}
BODIES: dict[str, str] = {
    "nixos_deploy_check": """
    state, path = read(), params["store_path"] or (read()["before"] if params["generation"] else None)
    pending = {"id": "1", "system": state["running"], "previous": state["before"]} if state.get("pending") else None
    problems = [state["problem"]] if state.get("problem") else []
    if params["manifest"]:
        event("evaluate")
        problems += [state["locked_out"]] if state.get("locked_out") else []
    if params["expected"] and params["expected"] != state["running"]:
        problems.append("the host has moved")
    module.exit_json(running={"system": state["running"], "profile": state["profile"]}, store_path=path, present=state["present"],
                     current=path == state["profile"], manifest=False, unconfirmed=pending, resume=state.get("resume"), problems=problems, notes=[])
""",
    "nixos_closure": """
    event("build")
    write(present=True)
    module.exit_json(changed=True)
""",
    "nixos_rebuild": """
    state = read()
    if params["action"] == "dry_activate":
        module.exit_json(closures=["hello: 1 -> 2"], units={"restart": ["web.service"]}, inhibitors={})
    event("activate")
    if state.get("fails") == "activation":
        module.fail_json(msg="web.service failed.", reason="reverted")
    write(running=params["store_path"], pending=True, before=state["running"])
    module.exit_json(changed=True, deployment={"id": "1"}, units={}, failed_units=[])
""",
    "nixos_check": """
    event("verify")
    if read().get("fails") == "probe":
        module.fail_json(msg="http://127.0.0.1/ answers with status 500.")
    module.exit_json()
""",
    "nixos_confirm": """
    event(params["state"])
    state = read()
    if params["state"] == "confirmed":
        write(profile=state["running"], pending=False, record=params["record"])
    else:
        write(running=state["before"], pending=False, reason=params["reason"])
    module.exit_json(changed=True)
""",
}
EVALUATE = f"""
- name: Evaluate
  pantheros.nixci.nixos_deploy_check:
    store_path: {NEW}
    manifest: {{hostName: web}}
  register: deploy_check_result
"""
BUILD = f"""
- name: Build
  pantheros.nixci.nixos_closure:
    path: {NEW}
- name: Result
  ansible.builtin.set_fact:
    nixos_build_result: {{store_path: {NEW}, revision: abc, transport: ssh, bytes: 4096, durations: {{build: 1.5}}}}
"""


class Fleet:
    def __init__(self, folder: pathlib.Path, size: int) -> None:
        self.folder = folder
        self.names = [f"host{number:02}" for number in range(size)]
        hosts: dict[str, t.Any] = {}
        for name in self.names:
            interpreter = folder / f"python-{name}"
            interpreter.write_text(f'#!/bin/sh\nSTUB_HOST={name} STUB_FOLDER={folder} exec {sys.executable} "$@"\n')
            interpreter.chmod(0o755)
            hosts[name] = {"ansible_python_interpreter": str(interpreter)}
            self.set(name)
        variables = {"ansible_connection": "local", "deploy_grace": 2}
        groups = {"nixos": {"hosts": hosts, "vars": variables}, "other": {"hosts": {"printer": {}}}}
        (folder / "inventory.json").write_text(json.dumps({"all": {"children": groups}}))
        self.collection()

    def collection(self) -> None:
        """The collection with other modules in the place of those that change a host."""
        root = self.folder / "collections/ansible_collections/pantheros/nixci"
        replaced = {f"plugins/modules/{name}.py": text for name, text in modules()}
        replaced["roles/nixos/tasks/evaluate.yml"] = EVALUATE
        replaced["roles/nixos/tasks/realise.yml"] = BUILD
        for folder in (".", "plugins", "plugins/modules", "roles", "roles/nixos", "roles/nixos/tasks"):
            (root / folder).mkdir(parents=True)
            for path in (ROOT / folder).iterdir():
                inner = f"{folder}/{path.name}".removeprefix("./")
                if not any(inner == file or file.startswith(f"{inner}/") for file in replaced):
                    (root / inner).symlink_to(path)
        for file, text in replaced.items():
            (root / file).write_text(text)

    def set(self, name: str, **values: t.Any) -> None:
        state = {"running": OLD, "profile": OLD, "present": True, "before": OLD, **values}
        (self.folder / f"{name}.json").write_text(json.dumps(state))

    def state(self, name: str) -> dict[str, t.Any]:
        return dict(json.loads((self.folder / f"{name}.json").read_text()))

    def running(self, system: str) -> list[str]:
        return [name for name in self.names if self.state(name)["running"] == self.state(name)["profile"] == system]

    def events(self, *kinds: str) -> list[tuple[str, str]]:
        """What happened since it was last asked for, in the order of time."""
        path = self.folder / "events"
        lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
        return [(what, host) for what, host in lines if not kinds or what in kinds]

    def play(
        self,
        *args: str,
        playbook: str = "deploy.yml",
        forks: int = 10,
        environment: dict[str, str] | None = None,
        **values: t.Any,
    ) -> tuple[int, str]:
        (self.folder / "events").unlink(missing_ok=True)
        done = subprocess.run(
            [
                str(pathlib.Path(sys.executable).with_name("ansible-playbook")),
                f"--inventory={self.folder / 'inventory.json'}",
                f"--forks={forks}",
                f"--extra-vars={json.dumps(values)}",
                *args,
                str(self.folder / "collections/ansible_collections/pantheros/nixci/playbooks" / playbook),
            ],
            cwd=self.folder,
            env={
                **{key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "CI_"))},
                "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
                "ANSIBLE_COLLECTIONS_PATH": str(self.folder / "collections"),
                "ANSIBLE_NOCOLOR": "1",
                "PWD": str(self.folder),
                **(environment or {}),
            },
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )
        return done.returncode, " ".join((done.stdout + done.stderr).split())


def modules() -> t.Iterator[tuple[str, str]]:
    for name, options in OPTIONS.items():
        spec = {option: {"type": "raw"} for option in options.split()}
        main = f"module = AnsibleModule(argument_spec={spec!r}, supports_check_mode=True)\n    params = module.params"
        yield name, f"{COMMON}\n\ndef main():\n    {main}\n{BODIES[name]}\n\nmain()\n"


@pytest.fixture
def fleet(tmp_path: pathlib.Path) -> Fleet:
    return Fleet(tmp_path, 6)


def test_every_host_is_built_before_the_first_one_activates(fleet: Fleet) -> None:
    for name in fleet.names:
        fleet.set(name, present=False)
    code, text = fleet.play()
    assert code == 0, text
    assert fleet.running(NEW) == fleet.names
    happened = fleet.events("evaluate", "build", "activate")
    assert [what for what, _host in happened] == ["evaluate"] * 6 + ["build"] * 6 + ["activate"] * 6
    record = fleet.state("host03")["record"]
    assert (record["transport"], record["bytes"], record["revision"]) == ("ssh", 4096, "abc")
    assert record["durations"].keys() == {"build", "activate", "verify"} and "@" in record["who"]
    assert f"host05: confirmed, {OLD[11:]} -> {NEW[11:]}; ssh" in text
    code, text = fleet.play(deploy_store_path=NEW)
    assert code == 0 and text.count("changed=0") == 6 and fleet.events("activate", "verify", "confirmed") == []


def test_a_problem_of_one_host_stops_all_of_them_and_every_problem_is_listed(fleet: Fleet) -> None:
    fleet.set("host01", problem="its disk is full")
    fleet.set("host04", problem="its clock stopped")
    code, text = fleet.play(deploy_store_path=NEW)
    assert code != 0 and fleet.events() == []
    assert "Nothing was activated. To be solved first: host01: its disk is full | host04: its clock stopped" in text
    assert fleet.running(OLD) == fleet.names


def test_whom_the_evaluation_would_lock_out_is_known_before_anything_is_built(fleet: Fleet) -> None:
    fleet.set("host01", locked_out="SSH is off")
    fleet.set("host04", locked_out="its port is closed")
    for args in ([], ["--check"]):
        code, text = fleet.play(*args, nixci_flake_dir="/fleet")
        assert code != 0 and fleet.events("build", "activate") == [], text
        assert "To be solved first: host01: SSH is off | host04: its port is closed" in text
    # What runs already is not built either.
    for name in fleet.names:
        fleet.set(name, running=NEW, profile=NEW)
    code, text = fleet.play(nixci_flake_dir="/fleet")
    assert code == 0 and fleet.events("build", "activate") == [] and "host00: unchanged" in text, text


def test_no_batch_begins_after_one_that_failed(fleet: Fleet) -> None:
    fleet.set("host02", fails="probe")
    code, text = fleet.play(deploy_store_path=NEW, deploy_serial=[1, "50%"])
    assert code != 0
    batches = [{"host00"}, {"host01", "host02", "host03"}]
    activated = [host for _what, host in fleet.events("activate")]
    assert [{*activated[:1]}, {*activated[1:]}] == batches
    assert fleet.running(NEW) == ["host00", "host01", "host03"], "the others of its batch are not left half-done"
    assert fleet.running(OLD) == ["host02", "host04", "host05"]
    assert fleet.events("reverted") == [("reverted", "host02")]
    assert "status 500" in fleet.state("host02")["reason"]
    assert "host02: reverted" in text and "host04: not begun" in text
    recap = text.split("PLAY RECAP", 1)[1]
    failed = {name for name in fleet.names if "failed=1" in recap.split(name, 1)[1].split("host0", 1)[0]}
    assert failed == {"host02", "host04", "host05"}, "the exit code and the recap are honest"


def test_earlier_batches_are_taken_back_if_asked_for(fleet: Fleet) -> None:
    fleet.set("host02", fails="activation")
    code, text = fleet.play(deploy_store_path=NEW, deploy_serial=1, deploy_take_back=True)
    assert code != 0
    assert fleet.running(OLD) == fleet.names
    happened = [(what, host) for what, host in fleet.events("activate", "confirmed")]
    assert happened[:5] == [("activate", "host00"), ("confirmed", "host00"), ("activate", "host01"), ("confirmed", "host01"),
                            ("activate", "host02")]  # fmt: skip
    assert sorted(happened[5:]) == [
        ("activate", "host00"),
        ("activate", "host01"),
        ("confirmed", "host00"),
        ("confirmed", "host01"),
    ]
    assert "host00: taken back" in text and "Another host failed" in text


def test_a_preview_changes_nothing(fleet: Fleet) -> None:
    code, text = fleet.play("--check", "--diff", deploy_store_path=NEW)
    assert code == 0, text
    assert fleet.events() == [] and "hello: 1 -> 2" in text and "restart: web.service" in text
    assert "host00: previewed" in text


def test_a_plan_is_written_and_applied_or_refused(fleet: Fleet) -> None:
    code, text = fleet.play(
        "--limit=host00:host01", deploy_action="plan", deploy_plan="plan.json", deploy_store_path=NEW
    )
    assert code == 0, text
    plan = json.loads((fleet.folder / "plan.json").read_text())
    assert fleet.events() == [] and plan["hosts"].keys() == {"host00", "host01"}
    entry = plan["hosts"]["host01"]
    assert (entry["from"], entry["to"], entry["closures"]) == (OLD, NEW, ["hello: 1 -> 2"])
    assert entry["units"] == {"restart": ["web.service"]} and plan["made_at"].endswith("Z") and "@" in plan["made_by"]
    fleet.set("host01", running=OLD + "er", profile=OLD + "er")
    code, text = fleet.play("--limit=host00:host01", deploy_plan="plan.json")
    assert code != 0 and "host01: the host has moved" in text and fleet.events() == []
    code, text = fleet.play(deploy_plan="plan.json")
    assert code != 0 and "host02: The plan" in text and "has nothing for this host, only for host00, host01" in text
    code, text = fleet.play("--limit=host00", deploy_plan="plan.json")
    assert code == 0 and fleet.running(NEW) == ["host00"], text


def test_in_a_job_the_deployment_is_recorded_on_gitlab(fleet: Fleet, serve: t.Callable[[t.Any], str]) -> None:
    project, token = "panther/nixos", "canary-token"
    sha = "5f0c3ab9b9e2d1c4a7f8e6d5c4b3a29180706050"
    double = GitLabDouble([project], {token: Token("job", {project: "developer"}, job=True)})
    double.deployed[project].repository.push("main", sha)
    job = {
        "CI_JOB_ID": "7",
        "CI_JOB_TOKEN": token,
        "CI_JOB_URL": "https://gitlab.example/-/jobs/7",
        "CI_SERVER_URL": serve(double.app),
        "CI_PROJECT_PATH": project,
        "CI_COMMIT_SHA": sha,
        "CI_COMMIT_REF_NAME": "main",
        "GITLAB_USER_LOGIN": "ada",
    }
    fleet.set("host01", fails="probe")
    values = {"deploy_gitlab_environment": "{{ inventory_hostname }}", "deploy_store_path": NEW}
    code, text = fleet.play("--limit=host00:host01", environment=job, **values)
    assert code != 0 and token not in text
    recorded = double.deployed[project]
    assert sorted(one["status"] for one in recorded.deployments) == ["failed", "success"], text
    assert {one["name"] for one in recorded.environments} == {"host00", "host01"}
    record = fleet.state("host00")["record"]
    assert (record["who"], record["pipeline"]) == ("ada", job["CI_JOB_URL"])
    double.deployed.clear()
    code, text = fleet.play("--limit=host02", environment=job, **values)
    assert code == 0 and "GitLab did not record the deployment of host02" in text, text


def test_a_limit_that_matches_no_host_of_the_group_fails(fleet: Fleet) -> None:
    code, text = fleet.play("--limit=printer")
    assert code != 0 and "name one of host00, host01" in text


def test_a_system_that_was_booted_meanwhile_is_only_verified_and_confirmed(fleet: Fleet) -> None:
    fleet.set("host03", running=NEW, pending=True, resume="1")
    code, text = fleet.play("--limit=host03", deploy_store_path=NEW)
    assert code == 0, text
    assert fleet.events() == [("verify", "host03"), ("confirmed", "host03")] and fleet.running(NEW) == ["host03"]


def test_a_rollback_takes_the_same_way(fleet: Fleet) -> None:
    for name in fleet.names:
        fleet.set(name, running=NEW, profile=NEW, before=OLD)
    code, text = fleet.play("--limit=host03", playbook="rollback.yml")
    assert code == 0, text
    assert fleet.running(OLD) == ["host03"]
    assert [what for what, _host in fleet.events()] == ["activate", "verify", "confirmed"]


def test_fifty_hosts(tmp_path: pathlib.Path) -> None:
    """A batch has no more hosts than Ansible has workers; the first one, in which a host fails, is the last one."""
    fleet = Fleet(tmp_path, 50)
    fleet.set("host07", fails="probe")
    code, text = fleet.play(forks=10)
    assert code != 0
    happened = fleet.events()
    assert [what for what, _host in happened[:100]] == ["evaluate"] * 50 + ["build"] * 50
    assert len({host for what, host in happened if what == "activate"}) == 10
    assert len(fleet.running(NEW)) == 9 and len(fleet.running(OLD)) == 41
    assert text.count(": not begun") == 40
