# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Deployments: GitLab's rules, and from desired to recorded ones. Private: may change without notice.

The rules are those of GitLab's models Deployment and Environment. They are checked here, so that no request is sent that GitLab
would reject.
"""

from __future__ import annotations

import dataclasses
import re

from .._core.change import Change
from .._core.errors import InvalidError
from .deployments import DeploymentClient, Fields

STATUSES = ("running", "success", "failed", "canceled")
TIERS = ("production", "staging", "testing", "development", "other")
SHOWN = ("id", "iid", "environment", "sha", "ref", "status")
_NAME = re.compile(r"[a-zA-Z0-9_\\${}. -]([a-zA-Z0-9_/\\${}. -]{0,253}[a-zA-Z0-9_\\${}. -])?")


@dataclasses.dataclass(frozen=True)
class Found:
    """What exists now."""

    deployment: Fields | None
    environment: Fields | None = None


@dataclasses.dataclass(frozen=True)
class Plan:
    change: Change
    deployment: Fields
    """As it is going to be; its number is None if GitLab is going to give it."""
    create: Fields = dataclasses.field(default_factory=dict)
    update: str | None = None
    environment: int | None = None
    environment_fields: Fields = dataclasses.field(default_factory=dict)


def check_options(params: Fields) -> None:
    """Raises InvalidError for whatever is wrong regardless of what GitLab has."""
    name, sha, ref, url = params["environment"], params["sha"], params["ref"], params["external_url"]
    if not _NAME.fullmatch(name):
        raise InvalidError(
            f"The environment '{name}' does not consist of 1 to 255 letters, digits, blanks and - _ / $ {{ }} . or begins or ends with a slash."
        )
    # GitLab would take a branch or a part of a hash as well, and record it as it is.
    if sha is not None and not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", sha):
        raise InvalidError(f"The sha '{sha}' is not the full hash of a commit in small letters.")
    if ref is not None and (not ref or ref != ref.strip()):
        raise InvalidError("The ref is empty or begins or ends with a blank; give the name of the branch or tag.")
    if url and not re.fullmatch(r"https?://[^\s/]+\S*", url):
        raise InvalidError(f"The external_url '{url}' is not a URL that begins with https:// or http://.")
    if url and len(url) > 255:
        raise InvalidError("The external_url is longer than 255 characters.")


def read(client: DeploymentClient, params: Fields) -> Found:
    environment = client.environment(params["environment"]) if settings(params) else None
    if params["id"] is not None:
        return Found(client.deployment(params["id"]), environment)
    same = ("sha", "ref")
    running = [
        one
        for one in client.newest(params["environment"], "running")
        if not one.get("deployable") and all(one.get(name) == params[name] for name in same)
    ]
    if running:
        return Found(running[0], environment)
    last = [
        one
        for one in client.newest(params["environment"])
        if all(one.get(name) == params[name] for name in (*same, "status"))
    ]
    return Found(last[0] if last else None, environment)


def plan(params: Fields, found: Found) -> Plan:
    """A running deployment of the same commit is finished; the last one is kept if it is the desired one; otherwise it is a new one."""
    old = found.deployment
    if old is not None and params["id"] is not None:
        check_same(params, old)
    before = shown(old) if old else None
    if old is None:
        names = ("environment", "sha", "ref", "status")
        after = {"id": None, "iid": None, **{name: params[name] for name in names}}
    else:
        after = {**(before or {}), "status": params["status"]}
    existing, wanted = found.environment, settings(params)
    now = {name: existing.get(name) or "" for name in wanted} if existing else {}
    return Plan(
        Change(_state(before, now), _state(after, wanted)),
        after,
        create={name: params[name] for name in ("environment", "sha", "ref", "tag", "status")} if old is None else {},
        update=params["status"] if old is not None and old["status"] != params["status"] else None,
        environment=existing["id"] if existing else None,
        environment_fields={name: value for name, value in wanted.items() if now.get(name) != value},
    )


def check_same(params: Fields, old: Fields) -> None:
    """What GitLab would refuse for a deployment that is named by its number."""
    for name in ("environment", "sha", "ref"):
        existing = shown(old)[name]
        if params[name] is not None and params[name] != existing:
            raise InvalidError(
                f"The deployment {params['id']} has the {name} '{existing}' instead of '{params[name]}'; check id."
            )
    if old["status"] == params["status"]:
        return
    if old.get("deployable"):
        raise InvalidError(
            f"The deployment {params['id']} belongs to a job of a pipeline, and only GitLab itself changes its status; "
            "leave id out to record another one."
        )
    if params["status"] == "running" and old["status"] not in ("created", "blocked"):
        raise InvalidError(
            f"The deployment {params['id']} is {old['status']}, and GitLab does not let it run again; leave id out to record another one."
        )


def apply(client: DeploymentClient, plan: Plan, name: str) -> Fields:
    """The deployment as GitLab has it now."""
    if plan.environment_fields and plan.environment is None:
        client.create_environment({"name": name, **plan.environment_fields})
    elif plan.environment_fields and plan.environment is not None:
        client.update_environment(plan.environment, plan.environment_fields)
    if plan.create:
        return shown(client.create_deployment(plan.create))
    if plan.update:
        return shown(client.update_deployment(plan.deployment["id"], plan.update))
    return plan.deployment


def settings(params: Fields) -> Fields:
    """The desired settings of the environment."""
    return {name: params[name] for name in ("tier", "external_url") if params[name] is not None}


def shown(deployment: Fields) -> Fields:
    environment = deployment.get("environment")
    name = environment.get("name") if isinstance(environment, dict) else environment
    return {field: name if field == "environment" else deployment.get(field) for field in SHOWN}


def _state(deployment: Fields | None, environment: Fields) -> Fields | None:
    if deployment is None and not environment:
        return None
    state: Fields = {
        "deployment": {key: value for key, value in (deployment or {}).items() if key not in ("id", "iid")}
    }
    return {**state, "environment": environment} if environment else state
