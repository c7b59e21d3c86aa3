# SPDX-License-Identifier: GPL-3.0-or-later
"""Wrong values of every role are found on the controller, each as one sentence that names the variable."""

from __future__ import annotations

import re
import typing as t

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.pantheros.nixci.plugins.plugin_utils._preflight import specs, values
from ansible_collections.pantheros.nixci.plugins.plugin_utils._preflight.arguments import Arguments

from tests.support.controller import initialize_plugins
from tests.support.paths import ROOT

initialize_plugins()

SOUND: dict[str, t.Any] = {
    "nixci_cache_domain": "cache.nixci.test",
    "nixci_dns_zone": "nixci.test",
    "nixci_onepassword_vault": "Infra",
    "b2_bucket_name": "nix-cache",
    "b2_key": "{{ lookup('pantheros.nixci.onepassword', 'op://Infra/B2/key') }}",
    "dns_token": "{{ a_secret }}",
    "a_secret": "{{ lookup('pantheros.nixci.onepassword', 'op://Infra/DNS/token') }}",
    "gitlab_project": "fleet/nixos",
}


def check(changes: dict[str, t.Any] | None = None, roles: t.Sequence[str] = ()) -> Arguments:
    """All roles, as the preflight checks them; a change to None leaves a variable out."""
    given = {key: value for key, value in {**SOUND, **(changes or {})}.items() if value is not None}
    variables = trusted(given)
    loader = DataLoader()

    def evaluator(defaults: dict[str, t.Any]) -> t.Callable[[t.Any], t.Any]:
        return Templar(loader=loader, variables={**defaults, **variables}).template

    arguments = Arguments(loader, variables, evaluator)
    arguments.check(roles or specs.roles())
    return arguments


def trusted(value: t.Any) -> t.Any:
    if isinstance(value, str):
        return trust_as_template(value)
    if isinstance(value, dict):
        return {key: trusted(one) for key, one in value.items()}
    return [trusted(one) for one in value] if isinstance(value, list) else value


def test_sound_values_have_no_problem_and_secrets_are_not_read() -> None:
    """A lookup would fail, as there is no credential."""
    arguments = check()
    assert arguments.problems == [] and arguments.unusable == set()
    assert {"b2", "gitlab"} <= arguments.onepassword


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("nixci_cache_domain", "Cache.Nixci.Test", "lower case"),
        ("nixci_cache_domain", "https://cache.nixci.test", "domain name"),
        ("attic_listen", "everywhere", "IP:PORT"),
        ("attic_listen", 8080, "text"),
        ("attic_storage", {"endpoint": "s3.nixci.test", "region": "r", "bucket": "bkt"}, "URL"),
        ("attic_storage", {"endpoint": "https://s3.nixci.test", "bucket": "bkt"}, "region"),
        (
            "attic_chunking",
            {"nar_size_threshold": 1, "min_size": 9, "avg_size": 5, "max_size": 7},
            "min_size <= avg_size",
        ),
        ("attic_chunking", {"nar_size_threshold": 1, "min_size": "big", "avg_size": 5, "max_size": 7}, "min_size"),
        ("attic_compression", {"type": "gzip"}, "zstd"),
        ("attic_compression", {"type": "zstd", "level": 99}, "between 0 and 22"),
        ("attic_storage", {"type": "local", "path": "/srv", "bucket": "bkt"}, "unknown key bucket"),
        ("attic_storage", {"type": "local", "path": "srv"}, "absolute path"),
        ("attic_chunking", {"max_size": 5}, "max_size 5"),
        ("attic_database_url", "postgresql://atticd:secret@db/atticd", "without password"),
        ("attic_database_url", "sqlite:///tmp/server.db", "/var/lib/atticd/"),
        ("attic_database_url", "postgresql://atticd@db/atticd?sslmode=verify-ca", "sslmode=verify-full"),
        ("attic_memory_max", "lots", "512M"),
        ("attic_substituter_endpoint", "https://cdn.nixci.test", "ends in /"),
        ("substituter_client", {"connect_timout": 5}, "connect_timout"),
        ("attic_default_retention", "3 fortnights", "fortnights"),
        ("attic_gc_on_calendar", "every day!", "calendar"),
        ("backup_keep_days", -1, "at least 1"),
        ("backup_keep_days", "many", "whole number"),
        ("backup_keep_days", "7", "without quotes"),
        ("backup_databases", [], "at least one"),
        ("backup_databases", ["Attic DB"], "database name"),
        ("backup_location", "relative/path", "absolute path"),
        ("caddy_sites", {"cache.nixci.test": {"upstrem": "127.0.0.1:8080"}}, "did you mean upstream?"),
        ("caddy_sites", {"cache.nixci.test": {"upstream": "8080"}}, "HOST:PORT"),
        ("caddy_sites", {"https://x": {"upstream": "127.0.0.1:80"}}, "domain name"),
        ("caddy_email", "me", "e-mail"),
        ("nixos_config_dir", "etc", "absolute path"),
        ("nixos_flake", "github:me/fleet#web", "nixos_config_dir"),
        ("nixos_rebuild_timeout", "long", "whole number"),
        ("opnix_secrets", {"attic-env": {"reference": "op://a/b/c"}}, "camelCase"),
        ("opnix_secrets", {"env": {"reference": "a/b/c"}}, "op://"),
        ("opnix_secrets", {"env": {"reference": "op://a/b/c", "mode": 256}}, "quotes"),
        ("opnix_secrets", {"env": {}}, "reference"),
        ("postgresql_databases", "atticd", "list"),
        ("b2_application_key_rotate", "sometimes", "bool"),
        ("b2_lifecycle_rules", "none", "dict"),
        ("caches_wanted", [{"name": "ci cache", "is_public": False}], "at most 50 letters"),
        ("caches_wanted", [{"name": "ci-cache"}], "is_public"),
        ("caches_wanted", [{"name": "ci-cache", "is_public": "perhaps"}], "bool"),
        ("caches_wanted", [{"name": "ci-cache", "is_public": False, "retention": "30 dayz"}], "dayz"),
        ("caches_wanted", 2 * [{"name": "ci-cache", "is_public": False}], "earlier cache"),
        ("caches_verify", ["ci-cahce"], "did you mean ci-cache?"),
        ("caches_renew_before", "soon", "duration"),
        (
            "caches_tokens",
            {"ci-token": {"subject": "a", "validity": "90d", "permissions": [{"caches": "a", "pull": True}]}},
            "root-token",
        ),
        ("gitlab_variables", [{"key": "A"}], "another form"),
        ("gitlab_variables", [{"key": "A", "value": "x", "variable_type": "secret"}], "another form"),
        ("gitlab_url", ["https://gitlab.com"], "text"),
        ("dns_records", "none", "dict"),
    ],
)
def test_a_wrong_value_is_one_sentence(name: str, value: t.Any, says: str) -> None:
    arguments = check({name: value})
    # A list of other caches also lacks the one that is verified.
    found = [problem for problem in arguments.problems if "caches_verify names 'ci-cache'" not in problem]
    assert len(found) == 1, found
    assert says in found[0] and name in found[0]
    assert arguments.unusable


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("attic_listen", "[::1]:8080"),
        ("attic_storage", {"endpoint": "https://s3.nixci.test", "region": "eu-1", "bucket": "nix-cache"}),
        ("attic_default_retention", "30 days"),
        ("attic_gc_on_calendar", "Mon..Fri *-*-* 02:30:00 Europe/Berlin"),
        ("caches_renew_before", 86400),
        ("caches_wanted", [{"name": "ci-cache", "is_public": False, "retention": "1y 6months"}]),
        ("caddy_sites", {}),
        ("caddy_email", "a.b+c@nixci.test"),
        ("nixos_flake", "/etc/nixos#web"),
        ("nixos_flake", ".#web"),
        ("postgresql_databases", []),
        ("b2_application_key_rotate", "true"),
        ("gitlab_variables", "{{ lookup('pantheros.nixci.onepassword', 'op://Infra/GitLab/variables') | from_json }}"),
        ("gitlab_variables", [{"key": "A", "value": "{{ lookup('pantheros.nixci.onepassword', 'op://a/b/c') }}"}]),
    ],
)
def test_a_right_value_is_accepted(name: str, value: t.Any) -> None:
    assert check({name: value}).problems == []


def test_a_flake_that_contains_the_folder_is_accepted() -> None:
    assert (
        check({"nixos_flake": "path:/srv/fleet?dir=.#web", "nixos_config_dir": "/srv/fleet/hosts/web"}).problems == []
    )


def test_permissions_of_tokens_are_checked() -> None:
    root = {"subject": "root", "validity": "365d", "permissions": [{"caches": "*", "pull": True}]}
    wrong = {"subject": "ci", "validity": "90d", "permissions": [{"caches": "ci-cache", "psuh": True}]}
    (problem,) = check({"caches_tokens": {"root-token": root, "ci-token": wrong}}).problems
    assert "caches_tokens.ci-token" in problem and "did you mean push?" in problem
    short = {**root, "validity": "10d"}
    (problem,) = check({"caches_tokens": {"root-token": short, "ci-token": root}}).problems
    assert "renew_before" in problem and "caches_tokens.root-token" in problem


def test_one_cause_is_one_problem_however_many_roles_it_concerns() -> None:
    arguments = check({"nixci_cache_domain": None})
    assert [problem.split()[0] for problem in arguments.problems] == ["nixci_cache_domain"]
    assert {"attic", "caches", "caddy", "dns", "gitlab"} <= arguments.unusable


def test_a_missing_vault_is_named_and_the_roles_that_need_it() -> None:
    arguments = check({"nixci_onepassword_vault": None})
    assert [problem.split()[0] for problem in arguments.problems] == ["nixci_onepassword_vault"]
    assert {"b2", "attic", "opnix"} <= arguments.unusable and "dns" not in arguments.unusable


def test_a_variable_that_refers_to_nothing_is_named() -> None:
    (problem,) = check({"caddy_email": "{{ my_mail }}"}).problems
    assert "caddy_email" in problem and "'my_mail'" in problem


def test_a_secret_is_in_no_problem() -> None:
    for value in (["canary"], {"canary": "canary"}, [{"key": "canary", "value": {"canary": 1}, "masked": "canary"}]):
        problems = " ".join(check({"gitlab_token": value, "gitlab_variables": value}).problems)
        assert "canary" not in problems


def test_a_placeholder_is_one_problem_wherever_it_is_used() -> None:
    arguments = check({"ansible_host": "203.0.113.10", "dns_records": [{"name": "a", "content": ["203.0.113.10"]}]})
    (problem,) = arguments.problems
    assert "ansible_host" in problem and "dns_records" in problem and not arguments.reachable


# -- one place for each rule


def test_every_pattern_is_one_of_the_modules_and_the_other_way_round() -> None:
    source = (ROOT / "nix/modules/types.nix").read_text()
    used = set(re.findall(r'matching "(\w+)"', source)) | set(re.findall(r"patterns\.(\w+)\.", source))
    assert used == set(specs.patterns())
    for entry in specs.patterns().values():
        re.compile(entry["pattern"])


def test_every_rule_belongs_to_a_variable() -> None:
    loader = DataLoader()
    known = set(specs.playbooks(loader)) | {name for role in specs.roles() for name in specs.role(loader, role).options}
    assert values.RULES.keys() <= known


def test_every_shared_variable_that_plugins_read_is_documented() -> None:
    shared = specs.playbooks(DataLoader())
    text = "".join(
        path.read_text() for folder in ("doc_fragments", "lookup") for path in (ROOT / "plugins" / folder).glob("*.py")
    )
    assert set(re.findall(r"- name: (nixci_\w+)", text)) <= set(shared)


def test_the_module_documents_every_role() -> None:
    text = (ROOT / "plugins/modules/inventory_check.py").read_text()
    assert f"choices: [{', '.join(specs.roles())}]" in text


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ([], "(.pub)"),
        (["-----BEGIN OPENSSH PRIVATE KEY-----\ncanary\n"], "is a private key"),
        (["~/.ssh/id_ed25519.pub"], "is not a public SSH key"),
    ],
)
def test_keys_that_give_nobody_access_are_found_and_private_ones_not_shown(keys: list[str], says: str) -> None:
    (problem,) = check({"bootstrap_keys": keys}, ["bootstrap"]).problems
    assert says in problem and problem.startswith("bootstrap_keys") and "canary" not in problem


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("deploy_confirm_timeout", "5", "set it to 55 or more"),
        ("deploy_serial", "half", "the size 'half'"),
        ("deploy_serial", [1, "0%"], "the size '0%'"),
        ("deploy_probes", {"unit": ["x.service"]}, "did you mean units?"),
        ("deploy_probes", "x.service", "not a mapping"),
        ("rollback_list", "maybe", "maybe"),
        ("rollback_to", "abc", "abc"),
    ],
)
def test_a_wrong_way_to_deploy_is_found_before_a_host_is_asked(name: str, value: t.Any, says: str) -> None:
    (problem,) = check({name: value}, ["deploy"]).problems
    assert name in problem and says in problem


@pytest.mark.parametrize("sizes", [1, "3", "100%", [1, "25%"], ["100%"]])
def test_batches_have_the_sizes_of_ansible_s_serial(sizes: t.Any) -> None:
    assert (
        check({"deploy_serial": sizes, "deploy_confirm_timeout": "300", "rollback_to": "3"}, ["deploy"]).problems == []
    )
