# SPDX-License-Identifier: GPL-3.0-or-later
"""A double of Cloudflare's API: zones, DNS records and tokens. The rules for records are in _cloudflare_rules.py."""

from __future__ import annotations

import copy
import datetime
import json
import re
import secrets
import threading
import typing as t

import flask
from werkzeug.exceptions import HTTPException

from ._cloudflare_rules import (
    DEFAULTS,
    MEMBERS,
    PLANS,
    Json,
    Refused,
    checked,
    invalid,
    refuse_lone_ds,
    refuse_rivals,
)
from ._control import Control

ROOT = "/client/v4"
TEXT_FILTERS = ("name", "content", "comment")
PAGING = {"page", "per_page", "order", "direction", "match", "tag_match"}
ORDERS = ("type", "name", "content", "ttl", "proxied")
BATCH = ("deletes", "patches", "puts", "posts")
LARGEST_BODY = 4 << 20  # a batch of 3500 changes is far smaller


class CloudflareDouble:
    """zones: names. tokens: {token: {zone name: set of "zone:read", "dns:read", "dns:edit"}}. plan: "free" or "pro"."""

    def __init__(self, zones: t.Iterable[str], tokens: dict[str, dict[str, set[str]]], plan: str = "free") -> None:
        self.lock = threading.Lock()
        self.tokens = tokens
        self.plan = PLANS[plan]
        self.zones: dict[str, Json] = {}
        self.records: dict[str, dict[str, Json]] = {}
        for name in zones:
            self.add_zone(name)
        self.flask = flask.Flask("cloudflare")
        self.flask.config["MAX_CONTENT_LENGTH"] = LARGEST_BODY
        self.flask.url_map.merge_slashes = False
        self._route()
        self.app = Control(self._one_at_a_time)

    def _one_at_a_time(self, environ: Json, start_response: t.Callable[..., t.Any]) -> t.Iterable[bytes]:
        with self.lock:
            return self.flask(environ, start_response)

    # -- for tests

    def add_zone(self, name: str, status: str = "active") -> str:
        id_ = secrets.token_hex(16)
        self.zones[id_] = {
            "id": id_,
            "name": name,
            "status": status,
            "paused": False,
            "type": "full",
            "development_mode": 0,
            "name_servers": ["ada.ns.cloudflare.com", "bob.ns.cloudflare.com"],
            "original_name_servers": None,
            "original_registrar": None,
            "original_dnshost": None,
            "created_on": now(),
            "modified_on": now(),
            "activated_on": now() if status == "active" else None,
            "meta": {},
            "owner": {},
            "account": {"id": "0" * 32, "name": "lab"},
        }
        self.records[id_] = {}
        return id_

    def zone_id(self, name: str) -> str:
        return next(zone["id"] for zone in self.zones.values() if zone["name"] == name)

    def add_record(self, zone: str, meta: Json | None = None, **body: t.Any) -> Json:
        """A record of somebody else; {"read_only": True} as meta makes it one of Cloudflare's own features."""
        zone_id = self.zone_id(zone)
        record = self._save(self.records[zone_id], self.zones[zone_id], {**DEFAULTS, **body})
        record["meta"] = meta or {}
        return record

    def all_records(self, zone: str) -> list[Json]:
        return list(self.records[self.zone_id(zone)].values())

    # -- rights

    def _rights(self) -> dict[str, set[str]]:
        header = flask.request.headers.get("Authorization")
        if header is None:
            raise Refused(400, 9106, "Missing X-Auth-Key, X-Auth-Email or Authorization headers")
        if not re.fullmatch(r"Bearer [\w-]{40,}", header):
            raise Refused(400, 6003, "Invalid request headers", (6111, "Invalid format for Authorization header"))
        token = header.removeprefix("Bearer ")
        if token not in self.tokens:
            raise Refused(403, 10000, "Authentication error")
        return self.tokens[token]

    def _zone(self, zone_id: str, *rights: str) -> Json:
        """The zone, if the token has one of the rights for it."""
        granted = self._rights()
        if not re.fullmatch(r"[0-9a-f]{32}", zone_id):
            raise Refused(
                400, 7003, f"Could not route to {flask.request.path}, perhaps your object identifier is invalid?"
            )
        zone = self.zones.get(zone_id)
        # Cloudflare does not distinguish a zone that does not exist from one of another account.
        if zone is None or not granted.get(zone["name"], set()) & set(rights):
            raise Refused(403, 10000, "Authentication error")
        return zone

    # -- routes

    def _route(self) -> None:
        app, root = self.flask, ROOT
        records = f"{root}/zones/<zone_id>/dns_records"
        app.add_url_rule(f"{root}/user/tokens/verify", view_func=self.verify)
        app.add_url_rule(f"{root}/zones", view_func=self.list_zones)
        app.add_url_rule(f"{root}/zones/<zone_id>", view_func=self.get_zone)
        app.add_url_rule(records, view_func=self.list_records)
        app.add_url_rule(records, view_func=self.create, methods=["POST"])
        app.add_url_rule(f"{records}/batch", view_func=self.batch, methods=["POST"])
        app.add_url_rule(f"{records}/<id_>", view_func=self.get)
        app.add_url_rule(f"{records}/<id_>", view_func=self.change, methods=["PATCH", "PUT"])
        app.add_url_rule(f"{records}/<id_>", view_func=self.delete, methods=["DELETE"])

        @app.errorhandler(Refused)
        def refuse(exc: Refused) -> tuple[flask.Response, int]:
            return failure(exc.error), exc.status

        @app.errorhandler(404)
        @app.errorhandler(405)
        def unknown(_exc: Exception) -> tuple[flask.Response, int]:
            operation = f"{flask.request.method} {flask.request.path}"
            return failure({"code": 7000, "message": f"This double does not have {operation}"}), 501

        @app.errorhandler(HTTPException)
        def other(exc: HTTPException) -> tuple[flask.Response, int]:
            return failure({"code": 9207, "message": exc.description or "Request body is invalid."}), exc.code or 400

    def verify(self) -> flask.Response:
        try:
            self._rights()
        except Refused as exc:
            if exc.error["code"] == 10000:
                raise Refused(401, 1000, "Invalid API Token") from None
            raise
        return success({"id": "f" * 32, "status": "active"})

    def list_zones(self) -> flask.Response:
        granted = self._rights()
        seen = [zone for zone in self.zones.values() if "zone:read" in granted.get(zone["name"], ())]
        for argument in ("name", "status", "account.id"):
            if argument in flask.request.args:
                wanted = flask.request.args[argument].lower()
                seen = [zone for zone in seen if wanted == (zone.get(argument) or zone["account"]["id"])]
        return page_of(seen, 20, 1, 50)

    def get_zone(self, zone_id: str) -> flask.Response:
        return success(self._zone(zone_id, "zone:read"))

    def list_records(self, zone_id: str) -> flask.Response:
        self._zone(zone_id, "dns:read", "dns:edit")
        arguments = flask.request.args
        tests = [matcher(argument, value) for argument, value in arguments.items() if argument not in PAGING]
        combine = any if arguments.get("match") == "any" and tests else all
        found = [one for one in self.records[zone_id].values() if combine(test(one) for test in tests)]
        order, backwards = arguments.get("order", "type"), arguments.get("direction") == "desc"
        if order not in ORDERS:
            raise invalid(1004, f"DNS Validation Error: order must be one of {', '.join(ORDERS)}")
        return page_of(sorted(found, key=lambda one: one[order], reverse=backwards), 100, 1, 5_000_000)

    def create(self, zone_id: str) -> flask.Response:
        zone = self._zone(zone_id, "dns:edit")
        return success(self._save(self.records[zone_id], zone, {**DEFAULTS, **body()}))

    def get(self, zone_id: str, id_: str) -> flask.Response:
        self._zone(zone_id, "dns:read", "dns:edit")
        return success(existing(self.records[zone_id], id_))

    def change(self, zone_id: str, id_: str) -> flask.Response:
        zone = self._zone(zone_id, "dns:edit")
        change = self._put if flask.request.method == "PUT" else self._patch
        return success(change(self.records[zone_id], zone, id_, body()))

    def delete(self, zone_id: str, id_: str) -> flask.Response:
        zone = self._zone(zone_id, "dns:edit")
        self._delete(self.records[zone_id], zone, id_)
        return success({"id": id_})

    def batch(self, zone_id: str) -> flask.Response:
        zone = self._zone(zone_id, "dns:edit")
        wanted = body()
        if not wanted or set(wanted) - set(BATCH) or not all(map(is_list_of_objects, wanted.values())):
            raise invalid(9207, "Request body is invalid.")
        if sum(len(items) for items in wanted.values()) > self.plan.batch:
            raise invalid(1004, f"DNS Validation Error: a batch holds at most {self.plan.batch} changes on this plan")
        draft = copy.deepcopy(self.records[zone_id])  # all or nothing
        make: dict[str, t.Callable[[Json], Json]] = {
            "deletes": lambda item: self._delete(draft, zone, item.get("id")),
            "patches": lambda item: self._patch(draft, zone, item.get("id"), item),
            "puts": lambda item: self._put(draft, zone, item.get("id"), item),
            "posts": lambda item: self._save(draft, zone, {**DEFAULTS, **item}),
        }
        done = {kind: [make[kind](item) for item in wanted[kind]] for kind in BATCH if kind in wanted}
        self.records[zone_id] = draft
        return success(done)

    # -- rules

    def _delete(self, records: dict[str, Json], zone: Json, id_: t.Any) -> Json:
        record = changeable(records, id_)
        if record["type"] == "NS":
            refuse_lone_ds(same_name(records, record["name"], id_), zone["name"])
        return records.pop(record["id"])

    def _patch(self, records: dict[str, Json], zone: Json, id_: t.Any, fields: Json) -> Json:
        old = {key: value for key, value in changeable(records, id_).items() if key in MEMBERS}
        return self._save(records, zone, {**old, **fields}, id_)

    def _put(self, records: dict[str, Json], zone: Json, id_: t.Any, fields: Json) -> Json:
        changeable(records, id_)
        return self._save(records, zone, {**DEFAULTS, **fields}, id_)

    def _save(self, records: dict[str, Json], zone: Json, wanted: Json, id_: str | None = None) -> Json:
        record = checked(wanted, zone["name"], self.plan)
        others = same_name(records, record["name"], id_)
        refuse_rivals(record, others, zone["name"])
        old = records.get(id_ or "", {})
        if "DS" in (record["type"], old.get("type")) or old.get("type") == "NS":
            refuse_lone_ds([*others, record], zone["name"])
        same = [one["content"] for one in others if one["type"] == record["type"]]
        if sum(map(len, same)) + len(record["content"]) > 8192:
            raise invalid(83011, "The combined content of the records of this name and type is too long.")
        if id_ is None and len(records) >= self.plan.records:
            raise invalid(81045, "The record quota has been exceeded.")
        record |= {
            "id": id_ or secrets.token_hex(16),
            "created_on": old.get("created_on", now()),
            "modified_on": now(),
        }
        records[record["id"]] = record
        return record


def same_name(records: dict[str, Json], name: str, without: str | None) -> list[Json]:
    return [one for one in records.values() if one["name"] == name and one["id"] != without]


def matcher(argument: str, value: str) -> t.Callable[[Json], bool]:
    """The predicate for one filter of the list of records. Filters are not case-sensitive."""
    field, _dot, operator = argument.partition(".")
    value = value.lower()
    tests: dict[str, t.Callable[[str], bool]] = {
        "": lambda text: text == value,
        "exact": lambda text: text == value,
        "contains": lambda text: value in text,
        "startswith": lambda text: text.startswith(value),
        "endswith": lambda text: text.endswith(value),
    }
    if field in TEXT_FILTERS and operator in tests:
        return lambda one: tests[operator]((one[field] or "").lower())
    if argument in ("comment.present", "comment.absent"):
        return lambda one: bool(one["comment"]) == (operator == "present")
    if field == "tag" and operator in tests:
        return lambda one: any(tests[operator](tag.lower()) for tag in one["tags"])
    if argument == "type":
        return lambda one: one["type"].lower() == value
    if argument == "proxied":
        return lambda one: str(one["proxied"]).lower() == value
    raise invalid(1004, f"DNS Validation Error: this double does not support the filter {argument}")


def existing(records: dict[str, Json], id_: t.Any) -> Json:
    if not isinstance(id_, str) or id_ not in records:
        raise Refused(404, 81044, "Record does not exist.")
    return records[id_]


def changeable(records: dict[str, Json], id_: t.Any) -> Json:
    record = existing(records, id_)
    if record["meta"].get("read_only"):
        # https://github.com/DNSControl/dnscontrol/issues/3850; the real code is not known.
        raise invalid(1004, "DNS Validation Error: this record is read-only because Cloudflare manages it.")
    return record


def body() -> Json:
    """The content type does not matter to Cloudflare. Neither NaN nor a half of a surrogate pair is JSON."""

    def no_number(_constant: str) -> t.NoReturn:
        raise ValueError

    try:
        wanted = json.loads(flask.request.get_data(), parse_constant=no_number)
        json.dumps(wanted, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        wanted = None
    if not isinstance(wanted, dict):
        raise invalid(9207, "Request body is invalid.")
    return wanted


def is_list_of_objects(items: t.Any) -> bool:
    return isinstance(items, list) and all(isinstance(item, dict) for item in items)


def now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat().replace("+00:00", "Z")


def success(result: t.Any, **more: t.Any) -> flask.Response:
    return flask.jsonify({"success": True, "errors": [], "messages": [], "result": result, **more})


def failure(error: Json) -> flask.Response:
    return flask.jsonify({"success": False, "errors": [error], "messages": [], "result": None})


def page_of(items: list[Json], default: int, least: int, most: int, cap: int = 5_000_000) -> flask.Response:
    try:
        page, size = int(flask.request.args.get("page", 1)), int(flask.request.args.get("per_page", default))
    except ValueError:
        page = size = 0
    if page < 1 or not least <= size <= most:
        raise invalid(1004, "Invalid page or per_page.")
    size = min(size, cap)
    part = items[(page - 1) * size : page * size]
    info = {
        "page": page,
        "per_page": size,
        "count": len(part),
        "total_count": len(items),
        "total_pages": -(-len(items) // size),
    }
    return success(part, result_info=info)
