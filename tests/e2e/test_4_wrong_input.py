# SPDX-License-Identifier: GPL-3.0-or-later
"""Wrong input: one clear sentence, nothing half-done, and the next run with correct input succeeds."""

from __future__ import annotations

import typing as t
from collections.abc import Iterator

import pytest
import requests

from lab import names, state
from tests.e2e.conftest import FLEET, OURS, PlaybookRun, git, play


def generation(host: t.Any) -> str:
    return host.check_output("readlink /nix/var/nix/profiles/system")


def settings() -> list[tuple[str, bytes]]:
    """Our files in the checkout."""
    return [(str(path), path.read_bytes()) for path in sorted((FLEET / "nixci").rglob("*")) if path.is_file()]


@pytest.fixture
def sound(demo: t.Any, host: t.Any) -> Iterator[None]:
    """After the test, a run with correct input restores the lab."""
    yield
    restored = play()
    assert restored.rc == 0, restored.out
    assert host.run("systemctl is-active atticd caddy").rc == 0


def listed(run: PlaybookRun) -> list[str]:
    """The problems for which a run did nothing."""
    assert run.rc != 0 and run.changed == 0
    assert "Nothing was changed" in run.problem
    return run.problem.split("To be solved first: ")[1].split(" Origin:")[0].split(" | ")


def assert_listed(run: PlaybookRun, words: t.Collection[str]) -> None:
    """Each of these is said by a problem of its own, and there is no other problem."""
    problems = listed(run)
    assert len(problems) == len(words), problems
    for word in words:
        assert len([one for one in problems if word in one]) == 1, (word, problems)


@pytest.mark.parametrize("value", ["wrong-credential-canary", ""], ids=["wrong", "missing"])
@pytest.mark.parametrize(
    "services",
    [
        {"b2_key": "B2:", "dns_token": "Cloudflare", "gitlab_token": "GitLab"},
        # One cause is one problem, however many services it keeps from being checked.
        {"nixci_onepassword_connect_token": "1Password"},
    ],
    ids=["of the services", "of 1Password"],
)
def test_each_wrong_or_missing_credential_names_its_service(demo: t.Any, services: dict[str, str], value: str) -> None:
    run = play("-v", **dict.fromkeys(services, value))
    assert_listed(run, services.values())
    assert "wrong-credential-canary" not in run.out
    assert "Traceback" not in run.out


def test_an_unreachable_host_is_reported_before_anything_is_changed(demo: t.Any) -> None:
    run = play("--inventory", "inventory/lab", "--timeout", "3", "--limit", "all", ansible_host="10.213.87.99")
    assert run.rc != 0 and run.changed == 0
    assert f"Host {names.HOST_NAME} cannot be reached over SSH" in run.problem


# A wrong type, a wrong value, an unknown setting, what only systemd knows, a misspelt variable; and what is said of each.
WRONG_SETTINGS: list[tuple[str, t.Any, str]] = [
    ("attic_listen", "everywhere", "IP:PORT"),
    ("backup_keep_days", -1, "at least 1"),
    ("caddy_sites", {names.DOMAIN: {"upstrem": "127.0.0.1:8080"}}, "did you mean upstream?"),
    ("backup_start_at", "dialy", f"not a calendar expression to systemd on {names.HOST_NAME}"),
    ("attic_listne", "127.0.0.1:8080", "did you mean attic_listen?"),
]


def test_wrong_settings_are_reported_before_anything_is_changed(demo: t.Any, host: t.Any) -> None:
    before = generation(host), settings()
    wrong = {name: value for name, value, _ in WRONG_SETTINGS}
    for arguments in (["--check"], []):
        assert_listed(play(*arguments, **wrong), [says for _, _, says in WRONG_SETTINGS])
    assert (generation(host), settings()) == before


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        ("flake.nix", f"./nixci/hosts/{names.HOST_NAME}", "", f"./nixci/hosts/{names.HOST_NAME}"),
        (f"hosts/{names.HOST_NAME}.nix", f'"{names.HOST_NAME}"', '"leftover"', "that of the host 'leftover'"),
    ],
    ids=["without our import", "of another host"],
)
def test_a_configuration_that_is_not_ours_is_refused_before_the_switch(
    demo: t.Any, host: t.Any, file: str, old: str, new: str, words: str
) -> None:
    before = generation(host), settings(), host.check_output("readlink /run/current-system")
    path = FLEET / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    try:
        run = play(backup_keep_days=9)
    finally:
        path.write_text(text)
    assert run.rc != 0
    assert words in run.problem
    assert (generation(host), settings(), host.check_output("readlink /run/current-system")) == before
    assert not host.file("/var/lib/nixci/staging").exists


def test_a_folder_without_a_flake_is_reported_before_anything_is_changed(demo: t.Any, host: t.Any) -> None:
    before = generation(host), git("status", "--porcelain")
    run = play(nixci_flake_dir=str(OURS))
    assert run.rc != 0 and run.changed == 0
    assert "has no flake.nix" in run.problem
    assert (generation(host), git("status", "--porcelain")) == before


def test_an_untrusted_certificate_is_reported(demo: t.Any) -> None:
    run = play(nixci_ca_path="", caddy_certificate_wait=6)
    assert run.rc != 0
    assert "certificate" in run.problem.lower() and names.DOMAIN in run.problem and "nixci_ca_path" in run.problem


def test_a_server_that_does_not_come_up_shows_its_journal(sound: None, host: t.Any, vault: t.Any) -> None:
    host.run_expect([0], "systemd-run --unit=in-the-way python3 -m http.server --bind 127.0.0.1 8181")
    run = play(attic_listen="127.0.0.1:8181")
    host.run("systemctl stop in-the-way")
    assert run.rc != 0
    assert "atticd.service" in run.problem and "in use" in run.problem.lower()
    assert vault.item("Backblaze-B2")["application-key"] not in run.out


def test_a_bucket_name_of_somebody_else_is_reported(demo: t.Any) -> None:
    run = play(b2_bucket_name="somebody-elses-bucket", b2_application_key_recreate=True)
    assert run.rc != 0 and run.changed == 0
    assert "somebody-elses-bucket" in run.problem and "another account" in run.problem


def test_another_bucket_name_does_not_silently_replace_the_stored_key(demo: t.Any) -> None:
    run = play(b2_bucket_name="another-bucket")
    assert run.rc != 0 and run.changed == 0
    assert "may be in use" in run.problem and "recreate" in run.problem


def test_a_record_of_somebody_else_is_not_touched(demo: t.Any) -> None:
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {state.secret('cloudflare-token')}"
    api = names.URLS["cloudflare"] + "/client/v4"
    (zone,) = session.get(f"{api}/zones", params={"name": names.ZONE}).json()["result"]
    url = f"{api}/zones/{zone['id']}/dns_records"
    foreign = {"type": "A", "name": f"shop.{names.ZONE}", "content": "192.0.2.7", "ttl": 1, "comment": "the shop"}
    made = session.post(url, json=foreign).json()["result"]
    records = [{"name": foreign["name"], "type": "A", "content": [names.HOST_ADDRESS]}]
    run = play(dns_records=records)
    after = session.get(f"{url}/{made['id']}").json()["result"]
    session.delete(f"{url}/{made['id']}")
    assert run.rc != 0 and run.changed == 0
    assert foreign["name"] in run.problem and "192.0.2.7" in run.problem and "take_over" in run.problem
    assert after["content"] == "192.0.2.7" and after["comment"] == "the shop"
