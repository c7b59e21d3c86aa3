# SPDX-License-Identifier: GPL-3.0-or-later
"""A double of 1Password: a Connect server, and the vaults for service accounts.

The double speaks Connect's API: /v1/… with Connect tokens. It cannot speak that of service accounts, which sign in with
SRP and use an encrypted protocol. The stand-ins for `op` and OpNix therefore use routes that 1Password does not have:
/service-account/v1/… with `ops_…` tokens. These are the same routes for vaults and items, and
POST /service-account/v1/resolve for secret references.

A Connect server writes to 1Password and reads from a copy of its own, which follows later: `lag` seconds later here.
"""

from __future__ import annotations

import base64
import copy
import datetime
import json
import re
import secrets
import threading
import time
import typing as t

from flask import Blueprint, Flask, Response, jsonify, request
from werkzeug.exceptions import HTTPException

from ._control import Control
from ._onepassword_rules import (
    CLI_TYPES,
    CONNECT_TYPES,
    ID,
    Json,
    Refusal,
    body,
    checked,
    grant,
    parse_filter,
    same,
    sdk_value,
    shown,
)

VERSION = "1.7.3"


def new_id() -> str:
    return "".join(secrets.choice("abcdefghijklmnopqrstuvwxyz234567") for _ in range(26))


def service_account_token(url: str, secret: str = "") -> str:
    """A token in the form of 1Password's: it contains the sign-in address, so `op` needs nothing else."""
    content = {"signInAddress": url, "secretKey": secret or new_id()}
    return "ops_" + base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


class OnePasswordDouble:
    """
    vaults            {vault: {title: {label: value}}}; values become CONCEALED fields of an API_CREDENTIAL item
    tokens            {Connect token: {"vaults": {vault: "read" | "write" | "write-only"}}}; write includes read
    service_accounts  the same for ops_ tokens
    lag               seconds until Connect shows what was written through any route
    """

    # Where the Connect server is; a day that is sent as text begins there.
    zone = datetime.timezone(datetime.timedelta(hours=9))

    def __init__(
        self,
        vaults: dict[str, dict[str, dict[str, str]]] | None = None,
        tokens: dict[str, Json] | None = None,
        service_accounts: dict[str, Json] | None = None,
        lag: float = 0,
    ) -> None:
        self.lag = lag
        self.writes: list[tuple[float, str, str, Json | None]] = []  # time, vault id, item id, item before
        self.vaults: dict[str, str] = {}  # id -> name
        self.items: dict[str, dict[str, Json]] = {}  # vault id -> item id -> item
        self.archived: dict[str, Json] = {}  # item id -> item; visible only to a request for the archive
        self.tokens = tokens if tokens is not None else {}
        self.service_accounts = service_accounts if service_accounts is not None else {}
        self.contents: dict[str, bytes] = {}  # file id -> content
        self.lock = threading.RLock()
        for vault, items in (vaults or {}).items():
            self.add_vault(vault)
            for title, fields in items.items():
                self.add_item(vault, title, fields)
        self.app = Control(self._flask())

    # Setup and inspection, for tests and the lab

    def add_vault(self, name: str) -> str:
        vault_id = new_id()
        self.vaults[vault_id] = name
        self.items[vault_id] = {}
        return vault_id

    def vault_id(self, name: str) -> str:
        return next(vault_id for vault_id, known in self.vaults.items() if known == name)

    def add_item(
        self,
        vault: str,
        title: str,
        fields: dict[str, str] | None = None,
        more_fields: t.Sequence[Json] = (),
        **more: t.Any,
    ) -> str:
        """Store an item without checking rights; `more_fields` and `more` are in the form of the API."""
        concealed = [{"label": label, "value": value, "type": "CONCEALED"} for label, value in (fields or {}).items()]
        document = {"title": title, "category": "API_CREDENTIAL", "fields": [*concealed, *more_fields], **more}
        return t.cast(str, self._store(self.vault_id(vault), document, None)["id"])

    def attach(self, vault: str, item_id: str, name: str, content: bytes, section_id: str | None = None) -> str:
        """Add a file to an item, as a person does in the app; programs cannot do this through Connect."""
        file_id = new_id()
        self.contents[file_id] = content
        vault_id = self.vault_id(vault)
        path = f"v1/vaults/{vault_id}/items/{item_id}/files/{file_id}/content"
        file = {"id": file_id, "name": name, "size": len(content), "content_path": path}
        section = {"section": {"id": section_id}} if section_id else {}
        self.items[vault_id][item_id].setdefault("files", []).append({**file, **section})
        return file_id

    def values(self, vault: str, title: str) -> dict[str, str]:
        """The labels and values of the one item with this title."""
        [item] = [item for item in self.items[self.vault_id(vault)].values() if item["title"] == title]
        return {field["label"]: field["value"] for field in item["fields"] if "value" in field}

    # HTTP

    def _flask(self) -> Flask:
        app = Flask("onepassword")

        @app.errorhandler(Refusal)
        def refused(exc: Refusal) -> tuple[Response, int]:
            return jsonify(status=exc.status, message=exc.message), exc.status

        @app.errorhandler(HTTPException)
        def no_route(exc: HTTPException) -> tuple[Response, int]:
            status = 501 if exc.code in (404, 405) else t.cast(int, exc.code)
            message = f"this double has no {request.method} {request.path}" if status == 501 else exc.name
            return jsonify(status=status, message=message), status

        @app.after_request
        def version(response: Response) -> Response:
            response.headers["1Password-Connect-Version"] = VERSION
            return response

        app.add_url_rule("/heartbeat", "heartbeat", lambda: Response(".", mimetype="text/plain"))
        app.add_url_rule(
            "/health", "health", lambda: jsonify(name="1Password Connect API", version=VERSION, dependencies=[])
        )
        app.register_blueprint(self._api("connect", self.tokens), url_prefix="/v1")
        side_door = self._api("service_account", self.service_accounts)
        side_door.add_url_rule("/resolve", "resolve", self._resolve_all, methods=["POST"])
        app.register_blueprint(side_door, url_prefix="/service-account/v1")
        return app

    def _api(self, name: str, tokens: dict[str, Json]) -> Blueprint:
        api = Blueprint(name, __name__)
        connect = name == "connect"
        types, zone = (CONNECT_TYPES, self.zone) if connect else (CLI_TYPES, datetime.UTC)

        def require(vault_id: str, action: str) -> None:
            """Refuse unless the token may read or write this vault."""
            if not ID.fullmatch(vault_id):
                raise Refusal(400, "Invalid Vault UUID")
            right = grant(tokens)["vaults"].get(self.vaults.get(vault_id))
            if right is None:
                known = vault_id in self.vaults
                raise Refusal(
                    403 if known else 404, f"vault {vault_id} is not in scope" if known else "Vault not found"
                )
            if action == "read" and right == "write-only" or action == "write" and right == "read":
                raise Refusal(403, f"token does not have permission to perform {action} on vault {vault_id}")

        def existing(vault_id: str, item_id: str) -> Json:
            if not ID.fullmatch(item_id):
                raise Refusal(400, "Invalid Item UUID")
            if item_id not in visible(vault_id):
                raise Refusal(404, "Item not found")
            return visible(vault_id)[item_id]

        def visible(vault_id: str) -> dict[str, Json]:
            return self._copy(vault_id) if connect else self.items[vault_id]

        def stored(vault_id: str, item_id: str) -> Json:
            """What 1Password itself holds of an item that this route shows."""
            existing(vault_id, item_id)
            if item_id not in self.items[vault_id]:
                raise Refusal(404, "Item not found")
            return self.items[vault_id][item_id]

        @api.get("/vaults")
        def vaults() -> Response:
            scope = grant(tokens)["vaults"]
            matches = parse_filter(request.args.get("filter"), {"name", "title"})
            with self.lock:
                found = [
                    {"id": key, "name": name, "type": "USER_CREATED", "items": len(self.items[key])}
                    for key, name in self.vaults.items()
                    if name in scope and matches({"name": [name], "title": [name]})
                ]
            return jsonify(found)

        @api.get("/vaults/<vault_id>")
        def vault(vault_id: str) -> Response:
            with self.lock:
                require(vault_id, "read")
                return jsonify(id=vault_id, name=self.vaults[vault_id], type="USER_CREATED")

        @api.get("/vaults/<vault_id>/items")
        def items(vault_id: str) -> Response:
            with self.lock:
                require(vault_id, "read")
                matches = parse_filter(request.args.get("filter"), {"title", "tag"})
                return jsonify(
                    [
                        {key: value for key, value in item.items() if key not in ("fields", "sections", "files")}
                        for item in visible(vault_id).values()
                        if matches({"title": [item["title"]], "tag": item["tags"]})
                    ]
                )

        @api.get("/vaults/<vault_id>/items/<item_id>")
        def item(vault_id: str, item_id: str) -> Response:
            with self.lock:
                require(vault_id, "read")
                return jsonify(shown(existing(vault_id, item_id)))

        def file_of(vault_id: str, item_id: str, file_id: str) -> Json:
            if not ID.fullmatch(file_id):
                raise Refusal(400, "Invalid File UUID")
            for file in existing(vault_id, item_id).get("files", []):
                if file["id"] == file_id:
                    return t.cast(Json, file)
            raise Refusal(404, "File not found")

        @api.get("/vaults/<vault_id>/items/<item_id>/files")
        def files(vault_id: str, item_id: str) -> Response:
            with self.lock:
                require(vault_id, "read")
                return jsonify(existing(vault_id, item_id).get("files", []))

        @api.get("/vaults/<vault_id>/items/<item_id>/files/<file_id>")
        def file(vault_id: str, item_id: str, file_id: str) -> Response:
            with self.lock:
                require(vault_id, "read")
                return jsonify(file_of(vault_id, item_id, file_id))

        @api.get("/vaults/<vault_id>/items/<item_id>/files/<file_id>/content")
        def content(vault_id: str, item_id: str, file_id: str) -> Response:
            with self.lock:
                require(vault_id, "read")
                file_of(vault_id, item_id, file_id)
                return Response(self.contents[file_id], mimetype="application/octet-stream")

        @api.post("/vaults/<vault_id>/items")
        def create(vault_id: str) -> Response:
            with self.lock:
                require(vault_id, "write")
                item = self._store(vault_id, checked(vault_id, None, types, zone), None)
                self._written(vault_id, item["id"], None)
                return jsonify(shown(item))

        @api.put("/vaults/<vault_id>/items/<item_id>")
        def replace(vault_id: str, item_id: str) -> Response:
            with self.lock:
                require(vault_id, "write")
                before = stored(vault_id, item_id)
                item = self._store(vault_id, checked(vault_id, before, types, zone), before)
                self._written(vault_id, item_id, before)
                # Connect answers with the version that the item had.
                return jsonify({**shown(item), "version": before["version"] if connect else item["version"]})

        @api.patch("/vaults/<vault_id>/items/<item_id>")
        def patch(vault_id: str, item_id: str) -> Response:
            with self.lock:
                require(vault_id, "write")
                existing(vault_id, item_id)
            if not isinstance(body(), list):
                raise Refusal(400, "Invalid patch: body is not a JSON array")
            raise Refusal(501, "this double applies no patches")

        @api.delete("/vaults/<vault_id>/items/<item_id>")
        def delete(vault_id: str, item_id: str) -> tuple[str, int]:
            with self.lock:
                require(vault_id, "write")
                removed = self.items[vault_id].pop(stored(vault_id, item_id)["id"])
                self._written(vault_id, item_id, removed)
                if not connect and "archive" in request.args:  # Connect has no archive
                    self.archived[removed["id"]] = {**removed, "state": "ARCHIVED"}
            return "", 204

        return api

    def _written(self, vault_id: str, item_id: str, before: Json | None) -> None:
        if self.lag:
            self.writes.append((time.monotonic(), vault_id, item_id, before))

    def _copy(self, vault_id: str) -> dict[str, Json]:
        """The items as the copy of the Connect server has them: without the writes of the last seconds."""
        self.writes = [write for write in self.writes if time.monotonic() - write[0] < self.lag]
        items = dict(self.items[vault_id])
        for _time, written_vault, item_id, before in reversed(self.writes):
            if written_vault == vault_id and before is None:
                items.pop(item_id, None)
            elif written_vault == vault_id:
                items[item_id] = t.cast(Json, before)
        return items

    def _store(self, vault_id: str, document: Json, before: Json | None) -> Json:
        """Store exactly what was sent: whatever is left out is lost, a passkey included."""
        now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        item = {
            **copy.deepcopy(document),
            "id": before["id"] if before else new_id(),
            "vault": {"id": vault_id},
            "sections": document.get("sections") or [],
            "tags": document.get("tags") or [],
            "version": before["version"] + 1 if before else 1,
            "createdAt": before["createdAt"] if before else now,
            "updatedAt": now,
        }
        if before and "files" in before:  # no write contains them
            item["files"] = before["files"]
        fields = item.get("fields") or []
        for field in fields:
            field["id"] = field.get("id") or new_id()
            field["type"] = field.get("type") or "STRING"
            field["label"] = field.get("label") or ""
            if not field.get("value"):
                field.pop("value", None)
        if not any(field.get("purpose") == "NOTES" for field in fields):
            fields.append({"id": "notesPlain", "type": "STRING", "purpose": "NOTES", "label": "notesPlain"})
        item["fields"] = fields
        self.items[vault_id][item["id"]] = item
        return item

    # Secret references, for the OpNix stand-in

    def _resolve_all(self) -> tuple[Response, int] | Response:
        """{"references": […]} → {"values": {…}}, or the first error for all of them, as OpNix receives it."""
        scope = grant(self.service_accounts)["vaults"]
        sent = body()
        references = sent.get("references") if isinstance(sent, dict) else None
        if not isinstance(references, list) or not all(isinstance(reference, str) for reference in references):
            raise Refusal(400, "references must be a list")
        values = {}
        with self.lock:
            for reference in references:
                kind, value = self._resolve(reference, scope)
                if kind:
                    return jsonify(error={"kind": kind, "reference": reference}), 422
                values[reference] = value
        return jsonify(values=values)

    def _resolve(self, reference: str, scope: Json) -> tuple[str | None, str | None]:
        """(kind of error, value); the kinds are those of 1Password's SDK."""
        match = re.fullmatch(r"op://([\w. -]+)/([\w. -]+)/(?:([\w. -]+)/)?([\w. -]+)", reference, re.ASCII)
        if not match:
            return "parsing", None
        vault, title, section, label = match.groups()
        vaults = [
            key for key, name in self.vaults.items() if scope.get(name) in ("read", "write") and same(vault, key, name)
        ]
        if len(vaults) != 1:
            return "tooManyVaults" if vaults else "vaultNotFound", None
        items = [item for item in self.items[vaults[0]].values() if same(title, item["id"], item["title"])]
        if len(items) != 1:
            return "tooManyItems" if items else "itemNotFound", None
        sections = [
            part["id"] for part in items[0]["sections"] if section and same(section, part["id"], part.get("label"))
        ]
        if section and not sections:
            return "noMatchingSections", None
        fields = [
            field
            for field in items[0]["fields"]
            if same(label, field["id"], field["label"])
            and (not section or (field.get("section") or {}).get("id") in sections)
        ]
        if len(fields) != 1:
            return "tooManyMatchingFields" if fields else "fieldNotFound", None
        return None, sdk_value(fields[0]["type"], fields[0].get("value", ""))
