# SPDX-License-Identifier: GPL-3.0-or-later
"""playbooks/bootstrap.yml on a server that was never touched: no Python, root with a password, host key unknown.

The host is in the user's flake, and is deployed to afterwards by the user that it has got. test_bootstrap_install.py has the other way,
a configuration on the host.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator

import pytest

from tests.integration.bootstrap_host import NAME, OWN, PASSWORD, PYTHON, TOKEN, Newcomer, Server, module
from tests.support.checkout import GIT, Checkout

pytestmark = pytest.mark.filterwarnings("ignore:This process.*use of forkpty:DeprecationWarning")

FAST = {"deploy_grace": 5, "deploy_steady": 2}


def eventually(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 180
    while not holds():
        assert time.monotonic() < end
        time.sleep(1)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server()
    try:
        server.wait()
        server.untouched()
        yield server
    finally:
        server.remove()


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    return Checkout(tmp_path_factory.mktemp("fleet") / "my fleet", NAME, module(OWN))


@pytest.fixture(scope="module")
def controller(server: Server, fleet: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Newcomer:
    folder = tmp_path_factory.mktemp("controller")
    controller = Newcomer(server, folder, nixci_flake_dir=str(fleet.root), deploy_build_on="host", **FAST)
    controller.env |= GIT
    return controller


def test_without_a_terminal_no_host_key_is_taken(server: Server, controller: Newcomer) -> None:
    for args in ([], ["--check"]):
        refused = controller.play(*args)
        assert refused.rc != 0 and server.fingerprint() in refused.text, refused.out
        assert "-e bootstrap_host_key_fingerprint=" in refused.text
        assert not controller.known_hosts.exists()


def test_another_answer_than_yes_pins_nothing(controller: Newcomer) -> None:
    refused = controller.answer("no")
    assert refused.rc != 0 and "is not pinned, so nothing was done" in refused.text, refused.out
    assert not controller.known_hosts.exists()


def test_every_problem_is_in_one_message(server: Server, fleet: Checkout, controller: Newcomer) -> None:
    refused = controller.play(
        bootstrap_host_key_fingerprint=server.fingerprint(), bootstrap_user="Deploy", bootstrap_root_logn="no"
    )
    assert refused.rc != 0, refused.out
    message = refused.text.partition("Nothing was changed on web. To be solved first: ")[2]
    assert "bootstrap_user is 'Deploy'" in message and "did you mean bootstrap_root_login?" in message
    assert fleet.git("status", "--porcelain") == ""


def test_the_line_that_the_flake_lacks_is_printed(server: Server, fleet: Checkout, controller: Newcomer) -> None:
    before = server.current()
    refused = controller.play()
    assert refused.rc != 0, refused.out
    asked = re.search(r"add (imports = \[ \S+ \];) to (\S+\.nix)\.", refused.text)
    assert asked and asked[2] == f"{NAME}.nix", refused.out
    assert server.current() == before and fleet.git("status", "--porcelain") == ""
    assert server.sh("id deploy; ls /etc/opnix-token").stdout == ""
    fleet.write(module(asked[1], OWN))
    fleet.commit()


def test_a_preview_shows_everything_and_changes_nothing(server: Server, fleet: Checkout, controller: Newcomer) -> None:
    before = server.current(), server.out("ls -A /etc/nixos")
    shown = controller.play("--check", "--diff", "-v")
    assert shown.rc == 0, shown.out
    assert f"interpreter: {PYTHON}" in shown.text, "no Python in PATH, one in the store"
    assert "settings/bootstrap.json" in shown.text and "/etc/opnix-token" in shown.text
    assert (server.current(), server.out("ls -A /etc/nixos")) == before
    assert server.sh("id deploy; ls /etc/opnix-token").stdout == "" and fleet.git("status", "--porcelain") == ""


def test_a_server_that_was_never_touched_is_ready_afterwards(server: Server, controller: Newcomer) -> None:
    controller.known_hosts.unlink(missing_ok=True)
    done = controller.answer("yes")
    assert done.rc == 0, done.out
    assert server.fingerprint() in done.text and "web is ready." in done.text
    assert controller.ssh("deploy", "sudo -n id -un").stdout.strip() == "root"
    refused = controller.ssh("root", "true", key=False)
    assert "Permission denied (publickey)." in refused.stderr
    assert server.out("stat -c '%U %a' /etc/opnix-token") == "root 600" and server.out("cat /etc/opnix-token") == TOKEN
    assert TOKEN not in done.out and PASSWORD not in done.out
    assert server.out("getent shadow deploy").split(":")[1].startswith("!"), "the user has no password"
    controller.ready(done)


def test_a_host_with_another_key_is_refused(server: Server, controller: Newcomer) -> None:
    pinned = controller.known_hosts.read_text()
    other = Newcomer.generate(controller.folder / "other")
    changed = f"{server.address} {other}\n"
    controller.known_hosts.write_text(changed)
    for values in ({}, {"bootstrap_host_key_fingerprint": server.fingerprint()}):
        refused = controller.play(**values)
        assert (
            refused.rc != 0 and "either the host was installed anew, or somebody answers in its place" in refused.text
        )
        assert controller.known_hosts.read_text() == changed
    controller.known_hosts.write_text(pinned)


def test_twice_changes_nothing(server: Server, controller: Newcomer) -> None:
    for args in ([], ["--check", "--diff"]):
        again = controller.play(*args)
        assert again.unchanged, again.out


def test_the_user_that_deploys_is_enough_for_the_rest(server: Server, fleet: Checkout, controller: Newcomer) -> None:
    """hosts.yml, the part of site.yml for hosts, with other settings; then deploy.yml, with a change of the user's own."""
    assert controller.variables["ansible_user"] == "deploy" and "ansible_password" not in controller.variables
    assert controller.ssh("root", "true").returncode != 0, "it has no other way"

    def deployed(playbook: str, **values: object) -> None:
        before = server.current()
        done = controller.play(playbook=playbook, **values)
        assert done.rc == 0, done.out
        assert server.current() == server.profile() == server.boots() != before
        record = json.loads(server.out("tail -n 1 /var/log/nixci/deployments.jsonl"))
        assert (record["result"], record["to"]) == ("confirmed", server.current())

    site = {"nixci_cache_domain": "cache.nixci.test", "substituter_caches": []}
    deployed("playbooks/hosts.yml", _nixos_collection_version="1.0.1", **site)
    fleet.write(fleet.read().replace(OWN, OWN + 'environment.etc.mine.text = "changed";'))
    fleet.commit()
    deployed("playbooks/deploy.yml")
    assert server.out("cat /etc/mine") == "changed" and server.sh("id deploy").returncode == 0


def test_a_login_that_does_not_work_is_taken_back(server: Server, controller: Newcomer) -> None:
    """The keys are those of somebody else, so the new system would lock us out."""
    before = server.current(), server.profile()
    other = Newcomer.generate(controller.folder / "theirs")
    failed = controller.play(bootstrap_keys=[other], deploy_confirm_timeout=30)
    assert failed.rc != 0, failed.out
    assert "The new login to web does not work, so the host goes back to the system before" in failed.text, failed.out
    assert "must be one of bootstrap_keys" in failed.text
    eventually(lambda: (server.current(), server.profile()) == before)
    assert controller.ssh("deploy", "sudo -n id -un").stdout.strip() == "root"
    eventually(lambda: '"result": "reverted"' in server.out("tail -n 1 /var/log/nixci/deployments.jsonl"))


def test_an_interrupted_run_can_be_repeated(server: Server, fleet: Checkout, controller: Newcomer) -> None:
    before = server.current()
    values = {"bootstrap_root_login": "no", "deploy_confirm_timeout": 30}
    fleet.write(fleet.read().replace('settings.PermitRootLogin = "yes";', ""))
    controller.killed_at("Use the new login", **values)
    assert server.profile() == before, "nothing is permanent before it was confirmed"
    eventually(lambda: server.current() == before and server.sh("ls /var/lib/nixci/deployment").returncode != 0)
    again = controller.play(**{**values, "deploy_confirm_timeout": 120})
    assert again.rc == 0, again.out
    assert server.profile() == server.current() != before
    assert controller.ssh("root", "true").returncode != 0


def test_leaving_takes_the_user_and_keeps_the_token(server: Server, controller: Newcomer) -> None:
    key = controller.key.with_suffix(".pub").read_text().strip()
    server.switch(f'{OWN}users.users.root.openssh.authorizedKeys.keys = [ "{key}" ];')
    assert controller.ssh("root", "id -un").stdout.strip() == "root"
    assert server.sh("id deploy").returncode != 0 and server.out("cat /etc/opnix-token") == TOKEN
