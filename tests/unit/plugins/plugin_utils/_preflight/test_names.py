# SPDX-License-Identifier: GPL-3.0-or-later
"""Misspelt variables of ours are found, and those of other people and collections are left alone."""

from __future__ import annotations

import typing as t

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible_collections.pantheros.nixci.plugins.plugin_utils._preflight import specs
from ansible_collections.pantheros.nixci.plugins.plugin_utils._preflight.names import unknown

LOADER = DataLoader()
KNOWN = set(specs.playbooks(LOADER)) | {option for name in specs.roles() for option in specs.role(LOADER, name).options}


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("attic_listne", "attic_listen"),
        ("atic_listen", "attic_listen"),
        ("Attic_Listen", "attic_listen"),
        ("backup_keep_day", "backup_keep_days"),
        ("b2_bucketname", "b2_bucket_name"),
        ("b2_application_key_rotat", "b2_application_key_rotate"),
        ("caches_wated", "caches_wanted"),
        ("caddy_mail", "caddy_email"),
        ("dns_recrods", "dns_records"),
        ("gitlab_projcet", "gitlab_project"),
        ("nixos_flak", "nixos_flake"),
        ("opnix_secret", "opnix_secrets"),
        ("postgresql_database", "postgresql_databases"),
        ("nixci_cache_domian", "nixci_cache_domain"),
        ("nixci_domain", "nixci_cache_domain"),
        ("nixci_vault", "nixci_onepassword_vault"),
        ("nixi_cache_domain", "nixci_cache_domain"),
        ("nixci_onepasword_vault", "nixci_onepassword_vault"),
    ],
)
def test_a_misspelt_name_is_a_problem_that_names_the_right_one(name: str, meant: str) -> None:
    problems, warnings = unknown({name: "x"}, KNOWN)
    assert len(problems) == 1 and warnings == []
    assert name in problems[0] and f"did you mean {meant}?" in problems[0]


def test_an_unknown_name_with_the_prefix_of_the_collection_is_a_problem() -> None:
    problems, _ = unknown({"nixci_colour": "blue"}, KNOWN)
    assert len(problems) == 1 and "nixci_colour" in problems[0] and "did you mean" not in problems[0]


@pytest.mark.parametrize("name", ["b2_application_key", "b2_application_key_id", "gitlab_api_token", "b2_bucket"])
def test_a_name_that_differs_by_words_is_a_warning(name: str) -> None:
    problems, warnings = unknown({name: "x"}, KNOWN)
    assert problems == [] and len(warnings) == 1 and name in warnings[0]


@pytest.mark.parametrize(
    "name",
    [
        *("attic_client_version", "attic_url", "b2_account_id", "b2_restic_bucket", "b2_endpoint", "backup_target"),
        *("backup_retention_weeks", "caddy_plugins", "caddy_version", "caddy_config_dir", "dns_servers", "dns_search"),
        *("gitlab_runner_token", "gitlab_runner_concurrency", "gitlab_root_password", "nixos_version", "nixos_channel"),
        *(
            "postgresql_version",
            "postgresql_users",
            "postgresql_hba_entries",
            "opnix_version",
            "caches_dir",
            "dnsmasq_conf",
        ),
        *(
            "cloudflare_token",
            "github_token",
            "app_domain",
            "zone",
            "domain",
            "_attic_listne",
            "ansible_host",
            "b2_bucket_result",
        ),
    ],
)
def test_names_of_other_people_are_left_alone(name: str) -> None:
    assert unknown({name: "x"}, KNOWN) == ([], [])


def test_a_name_that_another_variable_uses_is_left_alone() -> None:
    variables: dict[str, t.Any] = {"cache_domain": "cache.example.org", "nixci_cache_domain": "{{ cache_domain }}"}
    assert unknown(variables, KNOWN) == ([], [])
    assert unknown({"b2_application_key": "x", "b2_key": ["{{ b2_application_key }}"]}, KNOWN) == ([], [])


def test_a_name_that_its_owner_lists_is_left_alone() -> None:
    variables: dict[str, t.Any] = {
        "nixci_other_variables": ["attic_listne", "b2_backup_*"],
        "attic_listne": 1,
        "b2_backup_key": 1,
    }
    assert unknown(variables, KNOWN) == ([], [])


def test_every_name_of_ours_is_known() -> None:
    assert unknown(dict.fromkeys(KNOWN, "x"), KNOWN) == ([], [])
