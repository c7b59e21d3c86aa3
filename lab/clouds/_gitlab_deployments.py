# SPDX-License-Identifier: GPL-3.0-or-later
"""GitLab's API of environments and deployments, as its Deployment, Environment and their policies behave."""

from __future__ import annotations

import datetime
import pathlib
import re
import subprocess
import typing as t

import flask

from ._gitlab_errors import Json, Refused, invalid

STATUSES = ("created", "running", "success", "failed", "canceled", "skipped", "blocked")
# Those that a request may set; the others belong to jobs.
SETTABLE = ("running", "success", "failed", "canceled")
EVENTS = {"running": "run", "success": "succeed", "failed": "drop", "canceled": "cancel"}
SORTS = ("id", "iid", "created_at", "updated_at", "finished_at", "ref")
TIERS = ("production", "staging", "testing", "development", "other")
# How GitLab guesses the tier of a name, in this order.
GUESSES = (
    ("development", r"dev|review|trunk"),
    ("testing", r"test|tst|int|ac(ce|)pt|qa|qc|control|quality"),
    ("staging", r"st(a|)g|mod(e|)l|pre|demo|non"),
    ("production", r"pr(o|)d|live"),
)
NAME = re.compile(r"[a-zA-Z0-9_\\${}. -]([a-zA-Z0-9_/\\${}. -]*[a-zA-Z0-9_\\${}. -])?")
NAME_MESSAGE = "can contain only letters, digits, '-', '_', '/', '$', '{', '}', '.', and spaces, but it cannot start or end with '/'"
RANK = {"guest": 10, "reporter": 20, "developer": 30, "maintainer": 40, "owner": 50}


class Repository:
    """Branches and tags with their commits. GitLab takes any revision, also a short hash, for a commit."""

    def __init__(self) -> None:
        self.refs: dict[str, str] = {}
        self.commits: set[str] = set()

    def push(self, ref: str, sha: str) -> None:
        self.refs[ref] = sha
        self.commits.add(sha)

    def has(self, revision: str) -> bool:
        return revision in self.refs or (
            len(revision) >= 4 and any(sha.startswith(revision.lower()) for sha in self.commits)
        )


class Checkout:
    """The branches, tags and commits of a git repository on this machine, as if they had been pushed."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.refs: dict[str, str] = {}

    def has(self, revision: str) -> bool:
        command = ["git", "-C", str(self.folder), "rev-parse", "--verify", "--quiet", "--end-of-options"]
        name = f"{revision}^{{commit}}"
        return subprocess.run([*command, name], capture_output=True, check=False, timeout=30).returncode == 0


class Deployments:
    """The environments and deployments of one project."""

    def __init__(self) -> None:
        self.repository: Repository | Checkout = Repository()
        self.environments: list[Json] = []
        self.deployments: list[Json] = []
        self.protected: set[str] = set()
        """Environments that only maintainers may deploy to (GitLab Premium)."""

    # -- environments

    def list_environments(self) -> list[Json]:
        name, search = flask.request.args.get("name"), flask.request.args.get("search")
        if name is not None and search is not None:
            raise Refused(400, error="name, search cannot be used together")
        if search is not None and 0 < len(search) < 3:
            raise Refused(400, message="400 Bad request - Search query is less than 3 characters")
        return [
            one
            for one in self.environments
            if (name is None or one["name"] == name) and (not search or search in one["name"])
        ]

    def create_environment(self, sent: Json) -> Json:
        if "name" not in sent:
            raise Refused(400, error="name is missing")
        check_parameters(sent)
        return self._new_environment(sent["name"], sent.get("external_url"), sent.get("tier"))

    def update_environment(self, number: int, sent: Json) -> Json:
        environment = self.environment(number)
        check_parameters(sent)
        changed = {name: sent[name] for name in ("name", "external_url", "tier") if sent.get(name) is not None}
        check_environment({**environment, **changed})
        if changed.get("external_url") == "":
            changed["external_url"] = None
        environment.update(changed, updated_at=now())
        return environment

    def environment(self, number: int) -> Json:
        return found(self.environments, number)

    def _new_environment(self, name: str, url: str | None = None, tier: str | None = None) -> Json:
        check_environment({"name": name, "external_url": url})
        if any(one["name"] == name for one in self.environments):
            taken = "has already been taken"
            raise Refused(400, message={"name": [taken], "slug": [taken]})
        environment = {
            "id": len(self.environments) + 1,
            "name": name,
            "slug": re.sub(r"[^a-z0-9]+", "-", name.lower())[:24].strip("-"),
            "external_url": url or None,
            "created_at": now(),
            "updated_at": now(),
            "tier": tier or next((tier for tier, words in GUESSES if re.search(words, name, re.I)), "other"),
            "state": "available",
        }
        self.environments.append(environment)
        return environment

    # -- deployments

    def list_deployments(self) -> list[Json]:
        args = flask.request.args
        order, sort, status = args.get("order_by", "id"), args.get("sort", "asc"), args.get("status")
        for name, value, values in (("order_by", order, SORTS), ("sort", sort, ("asc", "desc"))):
            if value not in values:
                raise Refused(400, error=f"{name} does not have a valid value")
        if status is not None and status not in STATUSES:
            raise Refused(400, error="status does not have a valid value")
        environment = args.get("environment")
        listed = [
            one
            for one in self.deployments
            if (environment is None or one["environment"]["name"] == environment) and status in (None, one["status"])
        ]
        return sorted(listed, key=lambda one: (one[order], one["id"]), reverse=sort == "desc")

    def deployment(self, number: int) -> Json:
        return found(self.deployments, number)

    def create_deployment(self, sent: Json, user: str, rank: int) -> Json:
        check_status(sent, ("environment", "sha", "ref", "tag", "status"))
        if not self.repository.has(sent["ref"]):
            raise invalid(ref="The branch or tag does not exist")
        environment = next((one for one in self.environments if one["name"] == sent["environment"]), None)
        if environment is None:
            environment = self._new_environment(sent["environment"])
        self._authorize(environment, rank)
        last = next((one for one in reversed(self.deployments) if last_of(environment, one)), None)
        if last is not None and all(last[name] == sent[name] for name in ("ref", "tag", "sha", "status")):
            return last
        if not self.repository.has(sent["sha"]):
            raise invalid(sha="The commit does not exist")
        deployment = {
            "id": 1000 + len(self.deployments),
            "iid": len(self.deployments) + 1,
            "ref": sent["ref"],
            "sha": sent["sha"],
            "tag": sent["tag"],
            "created_at": now(),
            "updated_at": now(),
            "finished_at": now(),
            "user": {"username": user},
            "environment": environment,
            "deployable": None,
            "status": sent["status"],
        }
        self.deployments.append(deployment)
        return deployment

    def update_deployment(self, number: int, sent: Json, rank: int) -> Json:
        check_status(sent, ("status",))
        deployment = self.deployment(number)
        self._authorize(deployment["environment"], rank)
        if deployment["deployable"] is not None:
            reason = "Deployments created using GitLab CI can not be updated using the API"
            raise Refused(403, message=f"403 Forbidden - {reason}")
        before, after = deployment["status"], sent["status"]
        if after == before or (after == "running" and before not in ("created", "blocked")):
            raise invalid(status=f'cannot transition via "{EVENTS[after]}"')
        deployment.update(status=after, updated_at=now())
        return deployment

    def _authorize(self, environment: Json, rank: int) -> None:
        if environment["name"] in self.protected and rank < RANK["maintainer"]:
            raise Refused(403, message="403 Forbidden")


def last_of(environment: Json, deployment: Json) -> bool:
    """GitLab's last deployment of an environment is a successful one."""
    return deployment["environment"] is environment and deployment["status"] == "success"


def found(items: list[Json], number: int) -> Json:
    try:
        return next(one for one in items if one["id"] == number)
    except StopIteration:
        raise Refused(404, message="404 Not found") from None


def entity(deployment: Json) -> Json:
    """What GitLab shows of a deployment."""
    return {name: value for name, value in deployment.items() if name not in ("tag", "finished_at")}


def check_status(sent: Json, required: t.Sequence[str]) -> None:
    problems = [f"{name} is missing" for name in required if name not in sent]
    problems += [f"{name} is empty" for name in required if sent.get(name) == ""]
    if "status" in sent and sent["status"] not in ("", *SETTABLE):
        problems.append("status does not have a valid value")
    if problems:
        raise Refused(400, error=", ".join(problems))


def check_parameters(sent: Json) -> None:
    if sent.get("tier") is not None and sent["tier"] not in TIERS:
        raise Refused(400, error="tier does not have a valid value")
    if "slug" in sent:
        raise Refused(400, error="slug is automatically generated and cannot be changed")


def check_environment(environment: Json) -> None:
    name, url = environment["name"] or "", environment["external_url"] or ""
    problems: dict[str, list[str]] = {}
    if not NAME.fullmatch(name):
        problems["name"] = ["can't be blank"] * (not name) + [NAME_MESSAGE]
    if len(name) > 255:
        problems.setdefault("name", []).append("is too long (maximum is 255 characters)")
    if len(url) > 255:
        problems["external_url"] = ["is too long (maximum is 255 characters)"]
    elif url and not re.match(r"[a-z]+://[^/\s]+", url):
        problems["external_url"] = ["is blocked: URI is invalid"]
    elif url.startswith("javascript:"):
        problems["external_url"] = ["javascript scheme is not allowed"]
    if problems:
        raise Refused(400, message=problems)


def now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
