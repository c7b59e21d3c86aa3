# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the values of our variables must look like. Private: may change without notice.

Names of text types are those of nix/modules/patterns.json, which the NixOS modules check as well. Types are in the
argument specifications of the roles; what the modules for cloud services check is left to them.
"""

from __future__ import annotations

import functools
import ipaddress
import re
import typing as t

from ...module_utils._attic.desired import DesiredToken
from ...module_utils._attic.token import NAME, RIGHTS
from ...module_utils._core.duration import parse_duration
from ...module_utils._core.errors import InvalidError
from . import specs
from .names import nearest_of

# (path of the value, value) to problems
Rule = t.Callable[[str, t.Any], t.Iterator[str]]

WORDS = {
    dict: "a mapping",
    list: "a list",
    str: "text",
    bool: "a truth value",
    int: "a whole number",
    float: "a number",
}


def text(kind: str, *, empty: bool = False) -> Rule:
    def check(path: str, value: t.Any) -> t.Iterator[str]:
        if not isinstance(value, str):
            yield _type(path, value, str)
        elif not value and empty:
            return
        elif not value.strip():
            yield f"{path} is empty; set it to {_described(kind)}."
        elif not _pattern(kind).fullmatch(value):
            yield f"{path} is '{value}', which is not {_described(kind)}."

    return check


def duration(path: str, value: t.Any) -> t.Iterator[str]:
    """For Attic, which is stricter than the pattern."""
    try:
        parse_duration(path, str(value))
    except InvalidError as exc:
        yield str(exc)


def both(*rules: Rule) -> Rule:
    """The first rule that finds something."""

    def check(path: str, value: t.Any) -> t.Iterator[str]:
        yield from next((found for rule in rules if (found := list(rule(path, value)))), [])

    return check


def anything(_path: str, _value: t.Any) -> t.Iterator[str]:
    yield from ()


def truth(path: str, value: t.Any) -> t.Iterator[str]:
    if not isinstance(value, bool):
        yield _type(path, value, bool)


def number(least: int, most: int | None = None) -> Rule:
    def check(path: str, value: t.Any) -> t.Iterator[str]:
        if not isinstance(value, int) or isinstance(value, bool):
            yield _type(path, value, int)
        elif value < least or (most is not None and value > most):
            yield f"{path} is {value}; it must be {f'between {least} and {most}' if most else f'at least {least}'}."

    return check


def each(rule: Rule, *, empty: bool = True, remedy: str = "name at least one") -> Rule:
    def check(path: str, value: t.Any) -> t.Iterator[str]:
        if not isinstance(value, list):
            yield _type(path, value, list)
            return
        if not value and not empty:
            yield f"{path} is empty; {remedy}."
        for position, one in enumerate(value):
            yield from rule(f"{path}[{position}]", one)

    return check


def fields(required: dict[str, Rule], **optional: Rule) -> Rule:
    def check(path: str, value: t.Any) -> t.Iterator[str]:
        if not isinstance(value, dict):
            yield _type(path, value, dict)
            return
        rules = {**required, **optional}
        for key in required.keys() - value.keys():
            yield f"{path} has no {key}; add it."
        for key, one in value.items():
            if key in rules:
                yield from rules[key](f"{path}.{key}", one)
            else:
                nearest = nearest_of(str(key), list(rules))
                yield f"{path} has the unknown key {key}; {f'did you mean {nearest}?' if nearest else 'remove it.'}"

    return check


def cache_name(path: str, value: t.Any) -> t.Iterator[str]:
    if not isinstance(value, str):
        yield _type(path, value, str)
    elif not NAME.fullmatch(value):
        yield (
            f"{path} is '{value}'; a cache has at most 50 letters, digits, '-', '_' and '+', and begins "
            "with a letter or a digit."
        )


def public_keys(path: str, value: t.Any) -> t.Iterator[str]:
    if not isinstance(value, dict):
        yield _type(path, value, dict)
        return
    for name, key in value.items():
        yield from cache_name(f"{path}, name of a cache,", name)
        yield from text("publicKey")(f"{path}.{name}", key)


def ssh_key(path: str, value: t.Any) -> t.Iterator[str]:
    if "PRIVATE KEY" in str(value):
        # Shown to nobody.
        yield f"{path} is a private key; give the public one, which 'ssh-keygen -y -f FILE' prints, and keep the private one to yourself."
        return
    yield from text("sshKey")(path, value)


def outside_the_store(path: str, value: t.Any) -> t.Iterator[str]:
    if str(value).startswith("/nix/store/"):
        yield f"{path} is in the Nix store, which everybody can read; use a path outside."


def named(kind: str, rule: Rule) -> Rule:
    """A mapping whose keys are names of one kind."""

    def check(path: str, value: t.Any) -> t.Iterator[str]:
        if not isinstance(value, dict):
            yield _type(path, value, dict)
            return
        for key, one in value.items():
            if not _pattern(kind).fullmatch(str(key)):
                yield f"{path} has the key '{key}', which is not {_described(kind)}."
            else:
                yield from rule(f"{path}.{key}", one)

    return check


def storage(path: str, value: t.Any) -> t.Iterator[str]:
    """Where Attic's chunks are: in a bucket, or in a folder of the host."""
    kind = value.get("type", "s3") if isinstance(value, dict) else "s3"
    if kind == "local":
        yield from fields({"type": anything, "path": text("path")})(path, value)
    else:
        bucket = {"endpoint": text("url"), "region": text("region"), "bucket": text("bucketName")}
        yield from fields(bucket, type=anything)(path, value)


def serial(path: str, value: t.Any) -> t.Iterator[str]:
    """Sizes of batches. Jinja would take what is no number for 0, and a batch has at least one host."""
    for size in value if isinstance(value, list) else [value]:
        if not re.fullmatch(r"0*[1-9]\d*|0*([1-9]\d?|100)%", str(size)):
            yield f"{path} has the size '{size}'; give numbers from 1 and percentages, for instance [1, '25%']."


_on_both = {"urls": anything, "ports": anything}

RULES: dict[str, Rule] = {
    "nixci_cache_domain": text("domain"),
    "nixci_dns_zone": text("domain"),
    "attic_domain": text("domain"),
    "attic_listen": text("listen"),
    "attic_environment_file": text("path", empty=True),
    "attic_allowed_hosts": each(text("httpHost")),
    "attic_substituter_endpoint": text("folderUrl", empty=True),
    "attic_token_issuer": text("claim", empty=True),
    "attic_token_audiences": each(text("claim")),
    "attic_max_nar_info_size": number(1),
    "attic_database_url": text("databaseUrl", empty=True),
    "attic_storage": storage,
    "attic_chunking": fields(
        {}, **dict.fromkeys(("nar_size_threshold", "min_size", "avg_size", "max_size"), number(0))
    ),
    "attic_compression": fields({"type": anything}, level=number(0, 22)),
    "attic_memory_high": text("memory"),
    "attic_memory_max": text("memory"),
    "attic_gc_timeout": number(1),
    "attic_gc_randomized_delay": text("duration"),
    "attic_default_retention": both(text("duration"), duration),
    "attic_gc_on_calendar": text("calendar"),
    "b2_bucket_name": text("bucketName"),
    "backup_databases": each(text("databaseName"), empty=False),
    "backup_start_at": text("calendar"),
    "backup_location": text("path"),
    "backup_keep_days": number(1),
    "backup_offsite_bucket_name": text("bucketName", empty=True),
    "backup_offsite_undo_days": number(1),
    "backup_offsite_start_at": text("calendar"),
    "backup_offsite_storage": fields({"endpoint": text("url"), "region": text("region"), "bucket": text("bucketName")}),
    "backup_offsite_environment_file": both(text("path", empty=True), outside_the_store),
    "bootstrap_user": text("user"),
    "bootstrap_keys": each(
        ssh_key,
        empty=False,
        remedy="name at least one public key, or set ansible_ssh_private_key_file to a key whose public half is in the file beside it (.pub)",
    ),
    "caches_domain": text("domain"),
    "caches_renew_before": duration,
    "caddy_sites": named(
        "domain",
        fields({}, upstream=text("upstream"), tailnet=truth, certificate=text("path"), key=text("path")),
    ),
    "caddy_email": text("email", empty=True),
    "caddy_acme_ca": text("url", empty=True),
    "caddy_acme_ca_root": text("path", empty=True),
    "caddy_certificate_wait": number(1),
    "caddy_priorities": named("cacheName", number(0)),
    "caddy_log_size": number(1),
    "caddy_log_files": number(1),
    "caddy_log_days": number(1),
    "deploy_probes": fields({}, units=anything, commands=anything, controller=fields({}, **_on_both), **_on_both),
    "deploy_serial": serial,
    "dns_zone": text("domain"),
    "nixos_config_dir": text("path"),
    "nixos_rebuild_timeout": number(1),
    "opnix_token_file": text("path", empty=True),
    "opnix_secrets": named(
        "secretName",
        fields(
            {"reference": text("secretReference")},
            services=each(text("service")),
            owner=text("user"),
            group=text("user"),
            mode=text("fileMode"),
            path=text("path"),
            version=number(0),
        ),
    ),
    "substituter_domain": text("domain"),
    "substituter_caches": each(cache_name),
    "substituter_private_caches": each(cache_name),
    "substituter_public_keys": public_keys,
    "substituter_netrc_file": both(text("path", empty=True), outside_the_store),
    "substituter_verify_timeout": number(1),
    "substituter_priority": number(0),
    "substituter_private_priority": number(0),
    "substituter_client": fields(
        {},
        connect_timeout=number(1),
        stalled_download_timeout=number(1),
        download_attempts=number(1),
        http_connections=number(0),
        narinfo_cache_positive_ttl=number(0),
        narinfo_cache_negative_ttl=number(0),
        fallback=truth,
    ),
    "postgresql_databases": each(text("databaseName")),
}


def exact(path: str, value: t.Any, option: specs.Option) -> t.Iterator[str]:
    """For values that reach NixOS as JSON, which converts nothing."""
    types = {
        "str": str,
        "path": str,
        "int": int,
        "float": float,
        "bool": bool,
        "list": list,
        "dict": dict,
        "raw": object,
    }
    wanted = types[option.get("type", "str")]
    if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
        yield _type(path, value, wanted)


def caches(values: dict[str, t.Any]) -> t.Iterator[str]:
    """Whether caches and tokens of the role caches can exist, which nobody can ask before the server runs."""
    names = [cache["name"] for cache in values["caches_wanted"]]
    for position, cache in enumerate(values["caches_wanted"]):
        path = f"caches_wanted[{position}]"
        yield from cache_name(f"{path}.name", cache["name"])
        if cache["name"] in names[:position]:
            yield f"{path}.name is '{cache['name']}', which an earlier cache has; give each cache a name of its own."
        if cache.get("retention") is not None:
            yield from duration(f"{path}.retention", cache["retention"])
    for name in values["caches_verify"]:
        if name not in names:
            nearest = nearest_of(name, names)
            yield f"caches_verify names '{name}', which is not in caches_wanted{f'; did you mean {nearest}?' if nearest else '.'}"
    tokens = values["caches_tokens"]
    for label in ("root-token", "ci-token"):
        if label not in tokens and (label == "root-token" or values["caches_verify"]):
            yield f"caches_tokens has no {label}, which the playbook itself uses; add it."
    for label, token in tokens.items():
        yield from _token(f"caches_tokens.{label}", token, values["caches_renew_before"])


def _token(path: str, token: t.Any, renew_before: t.Any) -> t.Iterator[str]:
    entry = fields({"caches": anything}, **dict.fromkeys(RIGHTS, truth))
    shape = fields({"subject": anything, "validity": duration, "permissions": each(entry, empty=False)})
    problems = list(shape(path, token))
    yield from problems
    if not problems and not list(duration("", renew_before)):
        params = {**token, "renew_before": str(renew_before), "issuer": None, "audiences": None}
        try:
            DesiredToken.from_params({**params, "subject": str(token["subject"]), "validity": str(token["validity"])})
        except InvalidError as exc:
            yield f"{path}: {exc}"


def attic(values: dict[str, t.Any]) -> t.Iterator[str]:
    if "sslmode=verify-ca" in values["attic_database_url"]:
        yield "attic_database_url has sslmode=verify-ca, with which the server ends in a panic; use sslmode=verify-full."
    sizes = {"min_size": 16384, "avg_size": 65536, "max_size": 262144, **values["attic_chunking"]}
    if not sizes["min_size"] <= sizes["avg_size"] <= sizes["max_size"]:
        found = ", ".join(f"{name} {sizes[name]}" for name in ("min_size", "avg_size", "max_size"))
        yield f"attic_chunking must have min_size <= avg_size <= max_size, and has {found}."


def backup(values: dict[str, t.Any]) -> t.Iterator[str]:
    if (
        values["backup_offsite"]
        and not values["backup_offsite_bucket_name"]
        and not values.get("backup_offsite_storage")
    ):
        yield (
            "backup_offsite is on, but nothing says where the copies go; set backup_offsite_bucket_name for a bucket at Backblaze, "
            "or backup_offsite_storage for a bucket of your own."
        )


def nixos(values: dict[str, t.Any]) -> t.Iterator[str]:
    """A flake sees the files of its own folder only, and the settings are written to nixos_config_dir."""
    flake, folder = values["nixos_flake"], values["nixos_config_dir"].rstrip("/")
    place = re.sub(r"^(?:path:|git\+file:(?://)?)", "", flake).partition("#")[0].partition("?")[0].rstrip("/")
    if place and not place.startswith(".") and not f"{folder}/".startswith(f"{place}/"):
        yield (
            f"nixos_flake is '{flake}', which does not contain nixos_config_dir, {folder}, where the settings are written; "
            "name the host's own checkout of the flake in both."
        )


# Role to what concerns several of its variables; called only if each of them is sound.
def deploy(values: dict[str, t.Any]) -> t.Iterator[str]:
    timeout, least = (
        int(values["deploy_confirm_timeout"]),
        int(values["deploy_grace"]) + int(values["deploy_steady"]) + 20,
    )
    if timeout < least:
        yield (
            f"deploy_confirm_timeout is {timeout} s, but must be at least 20 s more than deploy_grace and deploy_steady together; "
            f"set it to {least} or more."
        )


TOGETHER: dict[str, t.Callable[[dict[str, t.Any]], t.Iterator[str]]] = {
    "attic": attic,
    "backup": backup,
    "caches": caches,
    "deploy": deploy,
    "nixos": nixos,
}

# What documentation uses (RFC 5737, 3849, 2606), and what people write until they know better.
EXAMPLE_NETWORKS = [
    ipaddress.ip_network(one) for one in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")
]
EXAMPLE_NAME = re.compile(r"(?:^|.*[.@])example(?:\.(?:com|org|net))?", re.IGNORECASE)
PLACEHOLDER = re.compile(r"<.*>|\.\.\.|…|(?:change|replace)[ _-]?me|todo|fixme|x{3,}|your[ _-].*", re.IGNORECASE)


def placeholders(value: t.Any) -> t.Iterator[str]:
    """Texts in a value that nobody can mean."""
    if isinstance(value, str):
        if PLACEHOLDER.fullmatch(value.strip()) or EXAMPLE_NAME.fullmatch(value.strip()) or _example_address(value):
            yield value.strip()
    elif isinstance(value, dict):
        for key, one in value.items():
            yield from placeholders(key)
            yield from placeholders(one)
    elif isinstance(value, list):
        for one in value:
            yield from placeholders(one)


def _example_address(value: str) -> bool:
    try:
        address = ipaddress.ip_address(value.strip())
    except ValueError:
        return False
    return any(address in network for network in EXAMPLE_NETWORKS)


@functools.cache
def _pattern(kind: str) -> re.Pattern[str]:
    return re.compile(specs.patterns()[kind]["pattern"])


def _described(kind: str) -> str:
    words = specs.patterns()[kind]["description"]
    if words[0].isupper():
        return words
    return f"{'an' if words.startswith(('a', 'e', 'i', 'o', 'http')) else 'a'} {words}"


def _type(path: str, value: t.Any, wanted: type) -> str:
    # bool before int, as one is the other to Python
    found = next((words for kind, words in WORDS.items() if isinstance(value, kind)), "empty")
    shown = f" ({value})" if isinstance(value, (str, int, float)) else ""
    hint = ""
    if wanted is str and isinstance(value, (bool, int, float)):
        hint = "; put it into quotes"
    if (
        wanted in (int, bool)
        and isinstance(value, str)
        and re.fullmatch(r"-?\d+|true|false|yes|no", value.strip(), re.IGNORECASE)
    ):
        hint = "; write it without quotes"
        if path.isidentifier():
            hint += f", and on the command line as JSON: -e '{{\"{path}\": {value}}}'"
    return f"{path} is {found}{shown}, not {WORDS[wanted]}{hint}."
