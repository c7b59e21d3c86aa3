# SPDX-License-Identifier: GPL-3.0-or-later
"""Clients of other people, which work with the real services, work with the doubles of Cloudflare and GitLab.

A double that is stricter than its service fails here, and so does one that answers in another form.
"""

from __future__ import annotations

import pathlib
import typing as t
from collections.abc import Callable, Iterator

import certbot_dns_cloudflare._internal.dns_cloudflare as certbot
import cloudflare
import gitlab
import octodns.manager
import pytest
import yaml

from lab.clouds.cloudflare import ROOT, CloudflareDouble
from lab.clouds.gitlab import GitLabDouble, Token
from tests.contract.cloudflare_schema import CheckedBodies

ZONE, TOKEN = "example.com", "e" * 40
Serve = Callable[[t.Any], str]


class Service(t.NamedTuple):
    double: CloudflareDouble
    url: str

    def contents(self, type_: str | None = None) -> list[tuple[str, str]]:
        records = self.double.all_records(ZONE)
        return sorted((one["type"], one["content"]) for one in records if type_ in (None, one["type"]))


@pytest.fixture
def service(serve: Serve) -> Iterator[Service]:
    double = CloudflareDouble([ZONE, "other.com"], {TOKEN: {ZONE: {"zone:read", "dns:read", "dns:edit"}}}, plan="pro")
    wire = CheckedBodies(double.app)
    yield Service(double, serve(wire) + ROOT)
    assert [one for one in wire.rejected if ": response" in one] == [], "a response does not match Cloudflare's schema"


# -- Cloudflare's own SDK


@pytest.fixture
def sdk(service: Service) -> Iterator[cloudflare.Cloudflare]:
    with cloudflare.Cloudflare(api_token=TOKEN, base_url=service.url, max_retries=0) as client:
        yield client


def test_the_sdk_finds_the_zone(sdk: cloudflare.Cloudflare, service: Service) -> None:
    assert sdk.user.tokens.verify().status == "active"
    for size in (1, 20):
        assert [zone.id for zone in sdk.zones.list(name=ZONE, per_page=size)] == [service.double.zone_id(ZONE)]
    assert sdk.zones.get(zone_id=service.double.zone_id(ZONE)).name == ZONE


def test_the_sdk_manages_records(sdk: cloudflare.Cloudflare, service: Service) -> None:
    records, zone_id = sdk.dns.records, service.double.zone_id(ZONE)
    made = records.create(zone_id=zone_id, type="A", name="cache", content="203.0.113.1", ttl=300, comment="note")
    assert (made.name, made.ttl, made.comment) == (f"cache.{ZONE}", 300, "note")
    for number in range(2, 6):
        records.create(zone_id=zone_id, type="A", name="cache", content=f"203.0.113.{number}", ttl=1)
    listed = records.list(zone_id=zone_id, type="A", name={"exact": f"cache.{ZONE}"}, per_page=2)
    assert sorted(one.content or "" for one in listed) == [f"203.0.113.{number}" for number in range(1, 6)]
    changed = records.edit(made.id, zone_id=zone_id, type="A", name="cache", content="203.0.113.9", ttl=1)
    assert (changed.id, changed.content) == (made.id, "203.0.113.9")
    assert records.get(made.id, zone_id=zone_id).content == "203.0.113.9"
    assert records.delete(made.id, zone_id=zone_id).id == made.id
    with pytest.raises(cloudflare.NotFoundError):
        records.get(made.id, zone_id=zone_id)


def test_the_sdk_sends_back_what_it_read(sdk: cloudflare.Cloudflare, service: Service) -> None:
    """Read-only and composed members included: Cloudflare ignores them."""
    zone_id = service.double.zone_id(ZONE)
    service.double.add_record(ZONE, type="NS", name=f"sub.{ZONE}", content="ns.example.org")
    values: list[dict[str, t.Any]] = [
        {"type": "TXT", "content": '"text"'},
        {"type": "MX", "content": "mail.example.org", "priority": 10},
        {"type": "CAA", "data": {"flags": 0, "tag": "issue", "value": "letsencrypt.org"}},
        {"type": "SRV", "data": {"priority": 1, "weight": 2, "port": 3, "target": "sip.example.org"}},
        {
            "type": "DS",
            "name": f"sub.{ZONE}",
            "data": {"key_tag": 1, "algorithm": 13, "digest_type": 2, "digest": "ab"},
        },
    ]
    for value in values:
        before = service.double.add_record(ZONE, **{"name": f"x.{ZONE}", **value})
        read = sdk.dns.records.get(before["id"], zone_id=zone_id)
        body = {
            **read.model_dump(mode="json", exclude_unset=True),
            "ttl": 600,
            "zone_id": zone_id,
            "zone_name": ZONE,
            "locked": False,
        }
        after = sdk.put(f"/zones/{zone_id}/dns_records/{before['id']}", body=body, cast_to=object)
        assert t.cast(t.Any, after)["result"]["content"] == before["content"]
        assert t.cast(t.Any, after)["result"]["ttl"] == 600


def test_the_sdk_sends_a_batch_and_reads_errors(sdk: cloudflare.Cloudflare, service: Service) -> None:
    zone_id = service.double.zone_id(ZONE)
    post: t.Any = {"type": "CNAME", "name": "www", "content": "cache.example.org", "ttl": 1, "proxied": True}
    done = sdk.dns.records.batch(zone_id=zone_id, posts=[post])
    assert done is not None
    assert done.posts is not None
    assert done.posts[0].content == "cache.example.org"
    with pytest.raises(cloudflare.BadRequestError) as caught:
        sdk.dns.records.create(zone_id=zone_id, type="A", name="www", content="203.0.113.1", ttl=1)
    assert caught.value.errors[0].code == 81054


# -- certbot


@pytest.fixture
def challenge(service: Service, monkeypatch: pytest.MonkeyPatch) -> certbot._CloudflareClient:
    monkeypatch.setenv("CLOUDFLARE_BASE_URL", service.url)
    return certbot._CloudflareClient(api_token=TOKEN)


def test_certbot_answers_and_removes_a_challenge(challenge: certbot._CloudflareClient, service: Service) -> None:
    name = f"_acme-challenge.cache.{ZONE}"
    for text in ("one", "two", "two"):
        challenge.add_txt_record(f"cache.{ZONE}", name, text, 120)
    assert service.contents() == [("TXT", "one"), ("TXT", "two")]
    challenge.del_txt_record(f"cache.{ZONE}", name, "one")
    assert service.contents() == [("TXT", "two")]
    challenge.del_txt_record(f"cache.{ZONE}", name, "two")
    assert service.contents() == []


def test_certbot_reports_a_zone_that_it_does_not_see(challenge: certbot._CloudflareClient) -> None:
    with pytest.raises(certbot.errors.PluginError, match="Unable to determine zone_id"):
        challenge.add_txt_record("cache.other.com", "_acme-challenge.cache.other.com", "one", 120)


# -- octodns

RECORDS: dict[str, t.Any] = {
    "": [
        {"type": "A", "values": ["203.0.113.1", "203.0.113.2"]},
        {"type": "MX", "values": [{"preference": 10, "exchange": "mail.example.org."}]},
        {"type": "CAA", "values": [{"flags": 0, "tag": "issue", "value": "letsencrypt.org"}]},
        {"type": "TXT", "values": ["v=spf1 -all", "k" * 300, "v=DMARC1; p=none"]},
    ],
    "www": {"type": "CNAME", "value": "cache.example.org.", "octodns": {"cloudflare": {"proxied": True}}},
    "v6": {"type": "AAAA", "values": ["2001:db8::1"]},
    "sub": [
        {"type": "NS", "values": ["ns1.example.org.", "ns2.example.org."]},
        {"type": "DS", "values": [{"key_tag": 1, "algorithm": 13, "digest_type": 2, "digest": "AB" * 32}]},
    ],
    "_sip._tcp": {"type": "SRV", "values": [{"priority": 1, "weight": 2, "port": 3, "target": "sip.example.org."}]},
    "place": {
        "type": "LOC",
        "values": [
            {
                **{"lat_degrees": 31, "lat_minutes": 58, "lat_seconds": 52.1, "lat_direction": "S"},
                **{"long_degrees": 115, "long_minutes": 49, "long_seconds": 11.7, "long_direction": "E"},
                **{"altitude": 20, "size": 10, "precision_horz": 10, "precision_vert": 2},
            }
        ],
    },
    "naptr": {
        "type": "NAPTR",
        "values": [
            {
                "order": 30,
                "preference": 100,
                "flags": "S",
                "service": "SIP+D2T",
                "regexp": "",
                "replacement": "_s.example.org.",
            }
        ],
    },
    "key": {"type": "SSHFP", "values": [{"algorithm": 4, "fingerprint_type": 2, "fingerprint": "ab" * 32}]},
    "svc": {"type": "HTTPS", "values": [{"svcpriority": 1, "targetname": ".", "svcparams": {"alpn": ["h2"]}}]},
    "_443._tcp": {
        "type": "TLSA",
        "values": [
            {
                **{"certificate_usage": 3, "selector": 1, "matching_type": 1},
                **{"certificate_association_data": "ab" * 32},
            }
        ],
    },
}


PLAIN = {"escaped_semicolons": False}


class OctoDns:
    def __init__(self, url: str, folder: pathlib.Path) -> None:
        self.folder = folder
        provider = {"class": "octodns_cloudflare.CloudflareProvider", "token": TOKEN, "api_url": url}
        config = {
            "providers": {
                "config": {"class": "octodns.provider.yaml.YamlProvider", "directory": str(folder), **PLAIN},
                "cloudflare": {**provider, "pagerules": False, "retry_count": 0, "retry_period": 0, "min_ttl": 60},
            },
            "zones": {f"{ZONE}.": {"sources": ["config"], "targets": ["cloudflare"]}},
        }
        (folder / "config.yaml").write_text(yaml.safe_dump(config))

    def sync(self, records: dict[str, t.Any]) -> int:
        """How many changes it made."""
        (self.folder / f"{ZONE}.yaml").write_text(yaml.safe_dump(records))
        manager = octodns.manager.Manager(str(self.folder / "config.yaml"))
        return manager.sync(dry_run=False, force=True)


@pytest.fixture
def octo(service: Service, tmp_path: pathlib.Path) -> OctoDns:
    return OctoDns(service.url, tmp_path)


def test_octodns_brings_a_zone_into_line_and_finds_no_drift(octo: OctoDns, service: Service) -> None:
    assert octo.sync(RECORDS) == 14
    assert octo.sync(RECORDS) == 0
    assert ("NAPTR", '30 100 "S" "SIP+D2T" "" _s.example.org.') in service.contents()
    assert ("LOC", "31 58 52.100 S 115 49 11.700 E 20.00 10.00 10.00 2.00") in service.contents()
    assert ("HTTPS", '1 . alpn="h2"') in service.contents()


def test_octodns_changes_and_removes_records(octo: OctoDns, service: Service) -> None:
    octo.sync(RECORDS)
    changed = {**RECORDS, "v6": {"type": "AAAA", "ttl": 600, "values": ["2001:db8::2"]}}
    del changed["sub"]
    assert octo.sync(changed) == 3, "the DS is removed before its name servers"
    assert octo.sync(changed) == 0
    assert service.contents("AAAA") == [("AAAA", "2001:db8::2")]
    assert service.contents("NS") == service.contents("DS") == []


# -- python-gitlab

PROJECT, GROUP = "panther/nixos", "panther"


@pytest.fixture(params=["projects", "groups"])
def variables(request: pytest.FixtureRequest, serve: Serve) -> t.Any:
    double = GitLabDouble([PROJECT], {"glpat-m": Token("pan", {PROJECT: "maintainer", GROUP: "owner"})}, [GROUP])
    client = gitlab.Gitlab(serve(double.app), private_token="glpat-m")
    client.auth()
    path = {"projects": PROJECT, "groups": GROUP}[request.param]
    return getattr(client, request.param).get(path).variables


def test_python_gitlab_manages_variables(variables: t.Any) -> None:
    made = variables.create({"key": "ONE", "value": "plain", "protected": True, "description": "note"})
    assert (made.value, made.protected, made.masked, made.variable_type) == ("plain", True, False, "env_var")
    made.value = "long_enough"
    made.masked = True
    made.save()
    found = variables.get("ONE")
    assert (found.value, found.masked, found.description) == ("long_enough", True, "note")
    variables.update("ONE", {"value": "other_value"})
    assert variables.get("ONE").value == "other_value"
    with pytest.raises(gitlab.GitlabUpdateError, match="is invalid"):
        variables.update("ONE", {"value": "short"})
    found.delete()
    with pytest.raises(gitlab.GitlabGetError, match="404"):
        variables.get("ONE")


def test_python_gitlab_hides_a_variable(variables: t.Any) -> None:
    made = variables.create({"key": "HIDDEN", "value": "long_enough", "masked_and_hidden": True})
    assert (made.value, made.masked, made.hidden) == (None, True, True)
    assert variables.get("HIDDEN").value is None
    with pytest.raises(gitlab.GitlabUpdateError, match="cannot be changed"):
        variables.update("HIDDEN", {"masked": False})


def test_python_gitlab_filters_by_scope(variables: t.Any) -> None:
    for scope in ("*", "production", "review/*"):
        variables.create({"key": "SCOPED", "value": f"for {scope}", "environment_scope": scope})
    with pytest.raises(gitlab.GitlabGetError, match="multiple variables"):
        variables.get("SCOPED")
    only = {"environment_scope": "review/*"}
    assert variables.get("SCOPED", filter=only).value == "for review/*"
    variables.update("SCOPED", {"value": "changed"}, filter=only)
    variables.delete("SCOPED", filter={"environment_scope": "production"})
    listed = {one.environment_scope: one.value for one in variables.list(iterator=True, per_page=1)}
    assert listed == {"*": "for *", "review/*": "changed"}
