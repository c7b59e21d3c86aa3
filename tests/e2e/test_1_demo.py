# SPDX-License-Identifier: GPL-3.0-or-later
"""What exists after `make demo`, requirement by requirement (the ids stand in docs/coverage.md)."""

from __future__ import annotations

import json
import time
import typing as t

import b2sdk.v2
import pytest
import requests
from b2sdk.v3 import B2Api, InMemoryAccountInfo
from b2sdk.v3.exception import B2Error

from lab import names, state

RETENTION = {"public-cache": 90, "ci-cache": 30}


# Backblaze B2: 1.2.1, 1.2.2, 1.2.3, 1.2.5, 4.1.3, 4.1.4


def b2(key_id: str, key: str) -> B2Api:
    api = B2Api(InMemoryAccountInfo())
    api.authorize_account(key_id, key, realm=names.URLS["b2"])
    return api


@pytest.fixture(scope="module")
def admin(demo: t.Any) -> B2Api:
    return b2(state.secret("b2-key-id"), state.secret("b2-key"))


@pytest.fixture(scope="module")
def restricted(vault: t.Any) -> B2Api:
    item = vault.item("Backblaze-B2")
    return b2(item["application-key-id"], item["application-key"])


def test_the_bucket_is_private_and_encrypted_and_forgets_deleted_versions(admin: B2Api) -> None:
    (bucket,) = admin.list_buckets(bucket_name="pantheros-nix-cache")
    assert bucket.type_ == "allPrivate"
    assert bucket.default_server_side_encryption.as_dict()["mode"] == "SSE-B2"
    (rule,) = bucket.lifecycle_rules
    assert rule["fileNamePrefix"] == ""
    assert rule["daysFromHidingToDeleting"] == 30
    assert rule["daysFromStartingToCancelingUnfinishedLargeFiles"] == 3
    assert rule.get("daysFromUploadingToHiding") is None, "an age rule would remove chunks that are still in use"


def test_the_key_in_1password_is_restricted_to_the_bucket(restricted: B2Api, admin: B2Api) -> None:
    (bucket,) = admin.list_buckets(bucket_name="pantheros-nix-cache")
    allowed = restricted.account_info.get_allowed()
    assert [entry["id"] for entry in allowed["buckets"]] == [bucket.id_]
    assert set(allowed["capabilities"]) == {"listBuckets", "listFiles", "readFiles", "writeFiles", "deleteFiles"}
    with pytest.raises(B2Error):
        restricted.create_bucket("not-with-this-key", "allPrivate")


def test_there_is_one_key_of_that_name_which_older_clients_can_use(demo: t.Any) -> None:
    """Each version of B2's API lists only the keys that it can describe; here it is the one before the last."""
    older = b2sdk.v2.B2Api(b2sdk.v2.InMemoryAccountInfo())
    older.authorize_account(names.URLS["b2"], state.secret("b2-key-id"), state.secret("b2-key"))
    assert len([key for key in older.list_keys() if key.key_name == "pantheros-nix-cache"]) == 1


# Cloudflare: 1.4.6


def test_the_record_points_to_the_host_and_is_not_proxied(demo: t.Any) -> None:
    headers = {"Authorization": f"Bearer {state.secret('cloudflare-token')}"}
    zones = requests.get(f"{names.URLS['cloudflare']}/client/v4/zones", headers=headers, timeout=10).json()["result"]
    (zone,) = [zone["id"] for zone in zones if zone["name"] == names.ZONE]
    url = f"{names.URLS['cloudflare']}/client/v4/zones/{zone}/dns_records"
    found = requests.get(url, params={"name.exact": names.DOMAIN}, headers=headers, timeout=10).json()["result"]
    (record,) = found
    assert (record["type"], record["content"], record["proxied"]) == ("A", names.HOST_ADDRESS, False)


# The host: 1.1.*, 1.2.4, 1.3.*, 1.4.*, 1.6.1, 1.6.2


def test_everything_came_with_one_rebuild(demo: t.Any, host: t.Any) -> None:
    manifest = json.loads(host.file("/etc/nixci/manifest.json").content_string)
    assert {"settings/attic.json", "settings/caddy.json", "modules/attic.nix"} <= set(manifest["files"])
    generation = host.check_output("readlink /nix/var/nix/profiles/system")
    assert generation == "system-3-link", (
        "1 is the host as its user made it, 2 brings everything, 3 the keys of the new caches"
    )


def test_the_database_belongs_to_the_user_of_the_server(host: t.Any) -> None:
    command = (
        "runuser -u postgres -- psql -tAc \"select pg_get_userbyid(datdba) from pg_database where datname='atticd'\""
    )
    assert host.check_output(command) == "atticd"
    tables = host.check_output("runuser -u postgres -- psql -tAc 'select count(*) from cache' atticd")
    assert int(tables) >= 2


@pytest.mark.parametrize("timer", ["nixci-backup-atticd.timer", "atticd-gc.timer"])
def test_timers_are_scheduled_and_catch_up(host: t.Any, timer: str) -> None:
    shown = host.check_output(f"systemctl show -p ActiveState,Persistent,TimersCalendar {timer}")
    assert "ActiveState=active" in shown
    assert "Persistent=yes" in shown
    assert "OnCalendar=" in shown


def test_a_dump_can_be_made_and_is_kept_under_its_date(host: t.Any) -> None:
    assert host.run("systemctl start nixci-backup-atticd.service").rc == 0
    newest = host.check_output("ls /var/backup/nixci").split()[-1]
    assert newest.startswith("atticd-2") and newest.endswith("Z.dump")
    assert "TABLE DATA public" in host.check_output(f"pg_restore --list /var/backup/nixci/{newest}")


def test_garbage_can_be_collected(host: t.Any) -> None:
    assert host.run("systemctl start atticd-gc.service").rc == 0


def test_the_server_listens_on_the_loopback_address_only(host: t.Any) -> None:
    listening = [line.split()[3] for line in host.check_output("ss -Hltn").splitlines()]
    assert [address for address in listening if address.endswith(":8080")] == ["127.0.0.1:8080"]


def test_the_server_has_the_desired_configuration(host: t.Any) -> None:
    command = host.check_output("systemctl show -p ExecStart --value atticd.service")
    path = next(word for word in command.replace(";", " ").split() if word.endswith(".toml"))
    text = host.file(path).content_string
    for line in ('type = "s3"', 'bucket = "pantheros-nix-cache"', "nar-size-threshold = 65536", 'type = "zstd"'):
        assert line in text
    assert f'api-endpoint = "https://{names.DOMAIN}/"' in text


def test_secrets_reach_the_host_through_opnix_only(host: t.Any, vault: t.Any, demo: t.Any) -> None:
    file = host.file("/var/lib/opnix/secrets/atticEnvironment")
    assert (file.user, file.group, file.mode) == ("root", "root", 0o400)
    assert file.content_string.strip() == vault.item("Attic-server")["environment"].strip()
    canaries = [
        vault.item("Backblaze-B2")["application-key"],
        vault.item("Attic-server")["signing-key"][:60],
        # All but the public keys.
        *[value.strip() for label, value in vault.item("Attic").items() if label != "hosts"],
        state.secret("cloudflare-token"),
        state.secret("gitlab-token"),
        state.secret("connect-token"),
    ]
    for canary in filter(None, canaries):
        assert canary not in demo.out
        found = host.run(
            "grep -rlF --exclude-dir=proc -e %s /nix/store /etc/nixci /var/log /run/systemd /var/lib/nixci", canary
        )
        assert found.stdout == ""
    journal = host.check_output("journalctl --no-pager")
    assert not [canary for canary in filter(None, canaries) if canary in journal]


def test_the_firewall_admits_web_and_ssh_and_nothing_else(host: t.Any) -> None:
    rules = host.check_output("iptables -S")
    for port in (22, 80, 443):
        assert f"--dport {port} " in rules
    assert "--dport 8080" not in rules and "--dport 5432" not in rules


def test_what_the_user_had_keeps_working(host: t.Any) -> None:
    assert (
        host.check_output("curl --silent --fail --header Host:notes.nixci.test http://127.0.0.1/")
        == "the user's own site"
    )
    databases = host.check_output("runuser -u postgres -- psql -tAc 'select datname from pg_database'").split()
    assert "notes" in databases


# Caches, tokens, retention: 1.5.*


def test_the_public_cache_is_open_and_the_other_is_not(cache: t.Any) -> None:
    answer = cache("/public-cache/nix-cache-info")
    assert answer.status_code == 200 and "StoreDir: /nix/store" in answer.text
    assert cache("/ci-cache/nix-cache-info").status_code == 401
    assert cache("/ci-cache/nix-cache-info", "ci-token").status_code == 200


def test_a_server_that_is_away_is_a_miss(host: t.Any, cache: t.Any) -> None:
    path = f"/public-cache/{'0' * 32}.narinfo"
    host.check_output("systemctl stop atticd")
    try:
        away = cache(path), cache("/public-cache/nix-cache-info"), cache("/_api/v1/cache-config/public-cache")
    finally:
        host.check_output("systemctl start atticd")
    assert [answer.status_code for answer in away] == [404, 200, 503]
    assert all(answer.headers["Retry-After"] for answer in away)
    end = time.monotonic() + 60
    while "Retry-After" in (back := cache(path)).headers and time.monotonic() < end:
        time.sleep(0.2)
    assert (back.status_code, "Retry-After" in back.headers) == (404, False)
    assert " public-cache " in host.check_output("/run/current-system/sw/bin/nixci-hit-rate 1")


@pytest.mark.parametrize("name", RETENTION)
def test_retention_is_set(cache: t.Any, name: str) -> None:
    config = cache(f"/_api/v1/cache-config/{name}", "root-token").json()
    assert config["retention_period"] == {"Period": RETENTION[name] * 24 * 3600}


NEW_CACHE = {
    "keypair": "Generate",
    "is_public": False,
    "store_dir": "/nix/store",
    "priority": 41,
    "upstream_cache_key_names": [],
}
PATCH = {"is_public": True}
MISSING = {"store_path_hashes": ["0" * 32]}
# What each token may (200) and must not do, on its own cache and elsewhere.
RIGHTS: list[tuple[str | None, str, str, t.Any, int]] = [
    ("ci-token", "GET", "/_api/v1/cache-config/ci-cache", None, 200),
    ("ci-token", "POST", "/_api/v1/get-missing-paths", {"cache": "ci-cache", **MISSING}, 200),
    ("ci-token", "POST", "/_api/v1/get-missing-paths", {"cache": "public-cache", **MISSING}, 403),
    ("ci-token", "PATCH", "/_api/v1/cache-config/ci-cache", PATCH, 403),
    ("ci-token", "PATCH", "/_api/v1/cache-config/ci-cache", {"retention_period": {"Period": 1}}, 403),
    ("ci-token", "DELETE", "/_api/v1/cache-config/ci-cache", None, 403),
    ("ci-token", "POST", "/_api/v1/cache-config/ci-other", NEW_CACHE, 401),
    ("public-token", "GET", "/_api/v1/cache-config/public-cache", None, 200),
    ("public-token", "POST", "/_api/v1/get-missing-paths", {"cache": "public-cache", **MISSING}, 403),
    ("public-token", "PATCH", "/_api/v1/cache-config/public-cache", PATCH, 403),
    ("public-token", "DELETE", "/_api/v1/cache-config/public-cache", None, 403),
    ("public-token", "GET", "/_api/v1/cache-config/ci-cache", None, 401),
    ("public-token", "GET", "/ci-cache/nix-cache-info", None, 401),
    (None, "POST", "/_api/v1/get-missing-paths", {"cache": "public-cache", **MISSING}, 403),
    (None, "POST", "/_api/v1/cache-config/anybody", NEW_CACHE, 401),
    ("root-token", "GET", "/_api/v1/cache-config/ci-cache", None, 200),
    ("root-token", "POST", "/_api/v1/get-missing-paths", {"cache": "public-cache", **MISSING}, 200),
]


@pytest.mark.parametrize(("label", "method", "path", "body", "status"), RIGHTS)
def test_each_token_has_exactly_its_rights(
    cache: t.Any, label: str | None, method: str, path: str, body: t.Any, status: int
) -> None:
    assert cache(path, label, method, json=body).status_code == status


def test_the_root_token_may_make_and_destroy_caches(cache: t.Any) -> None:
    path = "/_api/v1/cache-config/made-by-root"
    assert cache(path, "root-token", "POST", json=NEW_CACHE).status_code == 200
    assert cache(path, "root-token", "DELETE").status_code == 200


# GitLab: 4.2.1, 4.2.3, 4.2.4


def test_gitlab_has_the_variables_with_their_flags(vault: t.Any) -> None:
    project = names.GITLAB_PROJECT.replace("/", "%2F")
    url = f"{names.URLS['gitlab']}/api/v4/projects/{project}/variables"
    found = requests.get(url, headers={"PRIVATE-TOKEN": state.secret("gitlab-token")}, timeout=10).json()
    variables = {entry["key"]: entry for entry in found}
    token, server = variables["CI_ATTIC_TOKEN"], variables["ATTIC_SERVER_URL"]
    assert token["value"] == vault.item("Attic")["ci-token"]
    assert (token["masked"], token["protected"], token["raw"], token["variable_type"]) == (True, True, True, "env_var")
    assert (server["value"], server["protected"]) == (f"https://{names.DOMAIN}/", True)
