# SPDX-License-Identifier: GPL-3.0-or-later
"""A double of GitLab's API: the current user, projects and groups with their CI/CD variables, environments and deployments."""

from __future__ import annotations

import dataclasses
import re
import threading
import typing as t
import urllib.parse

import flask
from werkzeug.exceptions import HTTPException

from . import _gitlab_deployments as deployments
from ._control import Control
from ._gitlab_errors import Json, Moved, Refused, invalid

TYPES = ("env_var", "file")
FLAGS = ("masked", "protected", "raw")
MASKABLE = re.compile(r"[a-zA-Z0-9_+=/@:.~-]{8,}")
MASKABLE_RAW = re.compile(r"\S{8,}", re.ASCII)
SCOPE = re.compile(r"[a-zA-Z0-9_/${}. *-]+")
MAX_VARIABLES = {"projects": 8000, "groups": 30_000}
LONGEST_VALUE = 10_000  # characters, https://docs.gitlab.com/ci/variables/
LARGEST_BODY = 1 << 20
# The parameters that GitLab converts to text. It accepts numbers and booleans, but no lists and mappings.
TEXTS = ("key", "value", "environment_scope", "variable_type", "description")
DEPLOYMENT_TEXTS = ("environment", "sha", "ref", "status", "name", "external_url", "tier", "slug")
TRUE, FALSE = (True, "true", "True", "1", 1), (False, "false", "False", "0", 0, None)
# What the token of a job may call.
JOB_ENDPOINTS = {
    f"{action}_{what}" for action in ("list", "get", "create", "update") for what in ("environments", "deployments")
}
# The roles that may manage variables. Other members can only see that the project or group exists.
MANAGERS = {"projects": ("maintainer", "owner"), "groups": ("owner",)}


@dataclasses.dataclass
class Token:
    """roles: {path of a project or group: "guest" | "reporter" | "developer" | "maintainer" | "owner"}.

    job: whether it is the token of a CI/CD job. The API of variables does not know such tokens.
    """

    user: str
    roles: dict[str, str]
    scopes: set[str] = dataclasses.field(default_factory=lambda: {"api"})
    expired: bool = False
    job: bool = False


class GitLabDouble:
    """projects, groups: paths with their groups. tokens: {value: Token}. moved: {old path: path of a project}.

    premium: whether group variables may have other scopes than *. Without it, GitLab ignores the scope silently.
    """

    def __init__(
        self,
        projects: t.Iterable[str],
        tokens: dict[str, Token],
        groups: t.Iterable[str] = (),
        *,
        moved: dict[str, str] | None = None,
        premium: bool = True,
    ) -> None:
        self.lock = threading.Lock()
        self.tokens = tokens
        self.projects = {path: number for number, path in enumerate(projects, 101)}
        self.groups = {path: number for number, path in enumerate(groups, 11)}
        self.variables: dict[str, list[Json]] = {path: [] for path in (*self.projects, *self.groups)}
        self.deployed = {path: deployments.Deployments() for path in self.projects}
        self.moved = moved or {}
        self.premium = premium
        self.flask = flask.Flask("gitlab")
        self.flask.config["MAX_CONTENT_LENGTH"] = LARGEST_BODY
        self.flask.url_map.merge_slashes = False
        self._route()
        self.app = Control(self._serve)

    def variable(self, owner: str, key: str, scope: str = "*") -> Json | None:
        """The stored variable, including a hidden value."""
        return next((one for one in self.variables[owner] if is_it(one, key, scope)), None)

    def _serve(self, environ: Json, start_response: t.Callable[..., t.Any]) -> t.Iterable[bytes]:
        # GitLab distinguishes group/project from group%2Fproject and decodes once, so routing sees %2F and %25 instead.
        raw = environ.get("REQUEST_URI", environ.get("PATH_INFO", "/")).split("?")[0]
        parts = (urllib.parse.unquote(part).replace("%", "%25").replace("/", "%2F") for part in raw.split("/"))
        path = "/".join(parts).encode(errors="replace").decode("latin-1")
        with self.lock:
            return self.flask({**environ, "PATH_INFO": path}, start_response)

    # -- rights

    def _token(self) -> Token:
        headers = flask.request.headers
        job = headers.get("JOB-TOKEN")
        value = job or headers.get("PRIVATE-TOKEN") or headers.get("Authorization", "").removeprefix("Bearer ")
        token = self.tokens.get(value)
        allowed = flask.request.endpoint in JOB_ENDPOINTS
        if token is None or token.job != bool(job) or (token.job and not allowed):
            raise Refused(401, message="401 Unauthorized")
        if token.expired:
            description = "Token is expired. You can either do re-authorization or token refresh."
            raise Refused(401, error="invalid_token", error_description=description)
        reading = flask.request.method == "GET"
        if "api" not in token.scopes and not (reading and "read_api" in token.scopes):
            description = "The request requires higher privileges than provided by the access token."
            needed = "api read_api" if reading else "api"
            raise Refused(403, error="insufficient_scope", error_description=description, scope=needed)
        return token

    def _owner(self, kind: str, given: str, *, manage: bool = True) -> str:
        """The path of a project or group, if the token has access to it. All are private."""
        token = self._token()
        known = {"projects": self.projects, "groups": self.groups}[kind]
        wanted = named = urllib.parse.unquote(given)
        wanted = self.moved.get(wanted, wanted) if kind == "projects" else wanted
        path = next((one for one, number in known.items() if wanted in (one, str(number))), None)
        if path is None or path not in token.roles:
            raise Refused(404, message=f"404 {kind[:-1].title()} Not Found")
        if kind == "projects" and named in self.moved:
            if flask.request.method != "GET":
                raise Refused(405, message="Non GET methods are not allowed for moved projects")
            segments = request_uri().split("/")  # "", api, v4, projects, the path, …
            raise Moved("/".join([*segments[:4], str(known[path]), *segments[5:]]))
        if manage and token.roles[path] not in MANAGERS[kind]:
            raise Refused(403, message="403 Forbidden")
        return path

    # -- routes

    def _route(self) -> None:
        app = self.flask
        owner = "/api/v4/<any(projects, groups):kind>/<owner>"
        app.add_url_rule("/api/v4/user", view_func=self.user)
        app.add_url_rule(owner, view_func=self.get_owner)
        app.add_url_rule(f"{owner}/variables", view_func=self.list_variables)
        app.add_url_rule(f"{owner}/variables", view_func=self.create, methods=["POST"])
        app.add_url_rule(f"{owner}/variables/<key>", view_func=self.get)
        app.add_url_rule(f"{owner}/variables/<key>", view_func=self.update, methods=["PUT"])
        app.add_url_rule(f"{owner}/variables/<key>", view_func=self.delete, methods=["DELETE"])
        project = "/api/v4/projects/<owner>"
        app.add_url_rule(f"{project}/repository/branches/<branch>", view_func=self.get_branch)
        for what in ("environments", "deployments"):
            app.add_url_rule(f"{project}/{what}", f"list_{what}", self.deploy)
            app.add_url_rule(f"{project}/{what}", f"create_{what}", self.deploy, methods=["POST"])
            app.add_url_rule(f"{project}/{what}/<int:number>", f"get_{what}", self.deploy)
            app.add_url_rule(f"{project}/{what}/<int:number>", f"update_{what}", self.deploy, methods=["PUT"])

        @app.errorhandler(Moved)
        def moved(exc: Moved) -> tuple[Json, int, dict[str, str]]:
            place = flask.request.host_url.rstrip("/") + exc.place
            return {"message": f"This resource has been moved permanently to {place}"}, 301, {"Location": place}

        @app.errorhandler(Refused)
        def refuse(exc: Refused) -> tuple[Json, int]:
            return exc.body, exc.status

        @app.errorhandler(404)
        @app.errorhandler(405)
        def unknown(_exc: Exception) -> tuple[Json, int]:
            segments = [urllib.parse.unquote(one) for one in flask.request.path.split("/")]
            known = {*map(str, (*self.projects.values(), *self.groups.values())), *self.projects, *self.groups}
            is_api, (kind, owner) = segments[1:3] == ["api", "v4"], (*segments[3:5], "", "")[:2]
            if is_api and kind in MANAGERS and owner not in known:
                # GitLab itself has no route for a path whose slashes are not encoded.
                return {"error": "404 Not Found"}, 404
            return {"error": f"This double does not have {flask.request.method} {flask.request.path}"}, 501

        @app.errorhandler(HTTPException)
        def other(exc: HTTPException) -> tuple[Json, int]:
            return {"error": f"{exc.code} {exc.name}"}, exc.code or 400

        @app.before_request
        def refuse_malformed() -> None:
            """GitLab's middleware HandleMalformedStrings."""
            texts = [flask.request.path, *flask.request.args, *flask.request.args.values()]
            if any(is_malformed(urllib.parse.unquote(one)) for one in texts):
                raise Refused(400, error="400 Bad Request")

    def user(self) -> Json:
        name = self._token().user
        return {"id": 1, "username": name, "name": name, "state": "active"}

    def get_owner(self, kind: str, owner: str) -> Json:
        path = self._owner(kind, owner, manage=False)
        number = {**self.projects, **self.groups}[path]
        full = "path_with_namespace" if kind == "projects" else "full_path"
        more = {"default_branch": "main"} if kind == "projects" else {}
        return {"id": number, full: path, "name": path.rsplit("/", 1)[-1], **more}

    def list_variables(self, kind: str, owner: str) -> flask.Response:
        path = self._owner(kind, owner)
        return page_of([entity(one) for one in self.variables[path]])

    def get(self, kind: str, owner: str, key: str) -> Json:
        return entity(self._find(kind, self._owner(kind, owner), key))

    def create(self, kind: str, owner: str) -> tuple[Json, int]:
        path = self._owner(kind, owner)
        sent = self._fields(kind)
        absent = [f"{name} is missing" for name in ("key", "value") if name not in sent]
        if absent:
            raise Refused(400, error=", ".join(absent))
        most = MAX_VARIABLES[kind]
        if len(self.variables[path]) >= most:
            raise invalid(base=f"Maximum number of {kind[:-1]} ci variables ({most}) exceeded")
        hidden = bool(sent.get("masked_and_hidden"))
        variable = {
            "key": (sent["key"] or "").strip(),
            "environment_scope": sent.get("environment_scope", "*"),
            "variable_type": sent.get("variable_type") or "env_var",
            "value": sent["value"],
            "description": sent.get("description"),
            **{flag: bool(sent.get(flag)) for flag in FLAGS},
            "hidden": hidden,
        }
        variable["masked"] = variable["masked"] or hidden
        check(variable)
        self._refuse_duplicate(path, variable)
        self.variables[path].append(variable)
        return entity(variable), 201

    def update(self, kind: str, owner: str, key: str) -> Json:
        path = self._owner(kind, owner)
        variable = self._find(kind, path, key)
        # masked_and_hidden is no parameter of this request, and GitLab ignores unknown parameters.
        known = ("value", "variable_type", "environment_scope", "description", *FLAGS)
        changed = {**variable, **{name: value for name, value in self._fields(kind).items() if name in known}}
        if changed["hidden"] and not changed["masked"]:
            problem = "The visibility setting cannot be changed for masked and hidden variables."
            raise invalid(base=problem)
        check(changed)
        self._refuse_duplicate(path, changed, itself=variable)
        variable.update(changed)
        return entity(variable)

    def delete(self, kind: str, owner: str, key: str) -> tuple[str, int]:
        path = self._owner(kind, owner)
        self.variables[path].remove(self._find(kind, path, key))
        return "", 204

    def get_branch(self, owner: str, branch: str) -> Json:
        repository = self.deployed[self._owner("projects", owner, manage=False)].repository
        name = urllib.parse.unquote(branch)
        sha = repository.refs.get(name)
        if sha is None:
            raise Refused(404, message="404 Branch Not Found")
        return {"name": name, "commit": {"id": sha}}

    def deploy(self, owner: str, number: int = 0) -> t.Any:
        """The environments and deployments of a project. Reporters read, developers write."""
        path = self._owner("projects", owner, manage=False)
        token = self._token()
        rank = deployments.RANK[token.roles[path]]
        if rank < deployments.RANK["reporter" if flask.request.method == "GET" else "developer"]:
            raise Refused(403, message="403 Forbidden")
        project, endpoint = self.deployed[path], flask.request.endpoint
        if endpoint == "list_environments":
            return page_of(project.list_environments())
        if endpoint == "get_environments":
            return project.environment(number)
        if endpoint == "list_deployments":
            return page_of([deployments.entity(one) for one in project.list_deployments()])
        if endpoint == "get_deployments":
            return deployments.entity(project.deployment(number))
        sent = deployment_fields()
        if endpoint == "create_environments":
            return project.create_environment(sent), 201
        if endpoint == "update_environments":
            return project.update_environment(number, sent)
        if endpoint == "create_deployments":
            return deployments.entity(project.create_deployment(sent, token.user, rank)), 201
        return deployments.entity(project.update_deployment(number, sent, rank))

    def _fields(self, kind: str) -> Json:
        sent = fields()
        if "environment_scope" in sent:
            sent["environment_scope"] = (sent["environment_scope"] or "").strip()
        if kind == "groups" and not self.premium:
            sent.pop("environment_scope", None)
        return sent

    def _refuse_duplicate(self, path: str, variable: Json, itself: Json | None = None) -> None:
        other = self.variable(path, variable["key"], variable["environment_scope"])
        if other is not None and other is not itself:
            raise invalid(key=f"({variable['key']}) has already been taken")

    def _find(self, kind: str, path: str, key: str) -> Json:
        # GitLab ignores an empty filter.
        scope = flask.request.args.get("filter[environment_scope]")
        key = urllib.parse.unquote(key)
        found = [one for one in self.variables[path] if is_it(one, key, scope or one["environment_scope"])]
        if not found:
            raise Refused(404, message=f"404 {'Variable' if kind == 'projects' else 'GroupVariable'} Not Found")
        if len(found) > 1:
            message = "There are multiple variables with provided parameters. Please use 'filter[environment_scope]'"
            raise Refused(409, message=message)
        return found[0]


def is_it(variable: Json, key: str, scope: str) -> bool:
    return (variable["key"], variable["environment_scope"]) == (key, scope)


def request_uri() -> str:
    """As it was sent; the path in flask's request is decoded."""
    return flask.request.environ.get("REQUEST_URI", flask.request.full_path)


def is_malformed(text: str) -> bool:
    return "\0" in text or any(0xD800 <= ord(one) < 0xE000 for one in text)


def body() -> Json:
    if not flask.request.is_json:
        return flask.request.form.to_dict()
    try:
        sent = flask.request.get_json(silent=True)
    except RecursionError:
        sent = None
    return dict(sent) if isinstance(sent, dict) else {}


def convert(sent: Json, texts: t.Sequence[str], flags: t.Sequence[str]) -> None:
    """The parameters of a request become texts and booleans, as in GitLab's framework."""
    for name in texts:
        value = sent.get(name)
        if isinstance(value, (list, dict)):
            raise Refused(400, error=f"{name} is invalid")
        if value is not None:
            sent[name] = str(value).lower() if isinstance(value, bool) else str(value)
            if is_malformed(sent[name]):
                raise Refused(400, error="400 Bad Request")
    for flag in flags:
        if flag not in sent:
            continue
        if isinstance(sent[flag], (list, dict)) or sent[flag] not in (*TRUE, *FALSE):
            raise Refused(400, error=f"{flag} is invalid")
        sent[flag] = sent[flag] in TRUE


def fields() -> Json:
    sent = body()
    convert(sent, TEXTS, ())
    if (sent.get("variable_type") or "env_var") not in TYPES:
        raise Refused(400, error="variable_type does not have a valid value")
    convert(sent, (), (*FLAGS, "masked_and_hidden"))
    return sent


def deployment_fields() -> Json:
    sent = body()
    convert(sent, DEPLOYMENT_TEXTS, ("tag",))
    return {name: value for name, value in sent.items() if value is not None}


def check(variable: Json) -> None:
    if not re.fullmatch(r"[a-zA-Z0-9_]+", variable["key"]):
        raise invalid(key="can contain only letters, digits and '_'.")
    if len(variable["key"]) > 255:
        raise invalid(key="is too long (maximum is 255 characters)")
    if not SCOPE.fullmatch(variable["environment_scope"]):
        problem = "can contain only letters, digits, '-', '_', '/', '$', '{', '}', '.', '*' and spaces"
        raise invalid(environment_scope=problem if variable["environment_scope"] else "can't be blank")
    if len(variable["description"] or "") > 255:
        raise invalid(description="is too long (maximum is 255 characters)")
    if len(variable["value"] or "") > LONGEST_VALUE:
        raise invalid(value=f"is too long (maximum is {LONGEST_VALUE} characters)")
    rule = MASKABLE_RAW if variable["raw"] else MASKABLE
    if variable["masked"] and not rule.fullmatch(variable["value"] or ""):
        raise invalid(value="is invalid")


def entity(variable: Json) -> Json:
    return {**variable, "value": None if variable["hidden"] else variable["value"]}


def page_of(items: list[Json]) -> flask.Response:
    page = max(1, flask.request.args.get("page", 1, type=int))
    size = min(100, max(1, flask.request.args.get("per_page", 20, type=int)))
    last = max(1, -(-len(items) // size))
    response = flask.jsonify(items[(page - 1) * size : page * size])
    response.headers.update(
        {
            "X-Page": str(page),
            "X-Per-Page": str(size),
            "X-Total": str(len(items)),
            "X-Total-Pages": str(last),
            "X-Next-Page": str(page + 1) if page < last else "",
            "X-Prev-Page": str(page - 1) if page > 1 else "",
        }
    )
    if page < last:
        arguments = urllib.parse.urlencode({**flask.request.args, "page": page + 1, "per_page": size})
        # The path in request.base_url does not distinguish / from %2F.
        path = request_uri().split("?")[0]
        response.headers["Link"] = f'<{flask.request.host_url.rstrip("/")}{path}?{arguments}>; rel="next"'
    return response
