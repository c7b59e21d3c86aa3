# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of the B2 double: versions, unfinished large files and their bodies.

Everything is in one SQLite database without a name, which lies on disk, belongs to this process alone and vanishes with
it. So memory stays bounded, however many versions there are and however big they are. A listing reads one page.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import itertools
import json
import re
import secrets
import sqlite3
import threading
import time
import typing as t
from collections.abc import Iterable, Iterator

PIECE = 1 << 20
# No name contains this byte, since names are UTF-8; so it comes after every name with a given beginning.
LAST = b"\xff"

SCHEMA = """
PRAGMA journal_mode = MEMORY;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -16000;
CREATE TABLE versions (
  seq INTEGER PRIMARY KEY, id TEXT UNIQUE, bucket TEXT, name BLOB, action TEXT, latest INTEGER,
  size INTEGER, etag TEXT, sha1 TEXT, created REAL, info TEXT, bodies TEXT
);
CREATE INDEX by_name ON versions (bucket, name, seq);
CREATE INDEX current ON versions (bucket, name) WHERE latest AND action = 'upload';
CREATE TABLE uploads (seq INTEGER PRIMARY KEY, id TEXT UNIQUE, bucket TEXT, name BLOB, created REAL, info TEXT);
CREATE INDEX uploads_by_name ON uploads (bucket, name, seq);
CREATE TABLE parts (
  upload TEXT, number INTEGER, body INTEGER, size INTEGER, etag TEXT, sha1 TEXT, created REAL,
  PRIMARY KEY (upload, number)
);
CREATE TABLE pieces (body INTEGER, n INTEGER, data BLOB, PRIMARY KEY (body, n));
"""

Info = dict[str, t.Any]
Position = tuple[bytes, int]
"""A place in a listing: what follows are older versions of this name, then the names after it."""


@dataclasses.dataclass(frozen=True)
class Body:
    id: int
    size: int
    etag: str
    """MD5, in hexadecimal."""
    sha1: str
    sha256: str


@dataclasses.dataclass(frozen=True)
class Version:
    seq: int
    id: str
    bucket: str
    name: str
    action: str
    """upload, or hide for a hide marker."""
    latest: bool
    size: int
    etag: str
    sha1: str
    created: float
    info: Info
    bodies: list[list[int]]


@dataclasses.dataclass(frozen=True)
class Upload:
    seq: int
    id: str
    bucket: str
    name: str
    created: float
    info: Info


@dataclasses.dataclass(frozen=True)
class Part:
    upload: str
    number: int
    body: int
    size: int
    etag: str
    sha1: str
    created: float


Item = t.TypeVar("Item", Version, Upload)


@dataclasses.dataclass(frozen=True)
class Page(t.Generic[Item]):
    items: list[Item]
    folders: list[str]
    """The beginnings of names up to the delimiter, which stand for all names that begin so."""
    next: Position | None
    """Where the next page begins; None after the last one."""


class Files:
    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.db = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        self.db.executescript(SCHEMA)
        self.numbers = itertools.count(1)

    # Bodies.

    def store(self, chunks: Iterable[bytes]) -> Body:
        """Store a body that no version has yet; an interrupted one leaves nothing."""
        number = next(self.numbers)
        digests = hashlib.md5(usedforsecurity=False), hashlib.sha1(usedforsecurity=False), hashlib.sha256()
        size = 0
        try:
            for n, piece in enumerate(_pieces(chunks)):
                size += len(piece)
                for digest in digests:
                    digest.update(piece)
                with self.lock:
                    self.db.execute("INSERT INTO pieces VALUES (?, ?, ?)", (number, n, piece))
        except BaseException:
            self.forget(number)
            raise
        return Body(number, size, *(digest.hexdigest() for digest in digests))

    def forget(self, body: int) -> None:
        with self.lock:
            self.db.execute("DELETE FROM pieces WHERE body = ?", (body,))

    def read(self, version: Version, start: int = 0, size: int | None = None) -> Iterator[bytes]:
        """The bytes of a version; they end early if it is removed meanwhile."""
        left = version.size - start if size is None else size
        for body, length in version.bodies:
            if start >= length:
                start -= length
                continue
            for n in range(start // PIECE, (length + PIECE - 1) // PIECE):
                with self.lock:
                    row = self.db.execute("SELECT data FROM pieces WHERE body = ? AND n = ?", (body, n)).fetchone()
                if row is None or left <= 0:
                    return
                piece = row[0][start - n * PIECE :][:left]
                start, left = start + len(piece), left - len(piece)
                yield piece
            start = 0

    # Versions.

    def put(self, bucket: str, name: str, body: Body, info: Info) -> Version:
        return self._add(bucket, name, "upload", body.size, body.etag, body.sha1, info, [[body.id, body.size]])

    def hide(self, bucket: str, name: str) -> Version:
        return self._add(bucket, name, "hide", 0, "", "", {}, [])

    def _add(self, bucket: str, name: str, action: str, *rest: t.Any) -> Version:
        size, etag, sha1, info, bodies = rest
        with self.lock:
            seq, raw = next(self.numbers), name.encode()
            self.db.execute("UPDATE versions SET latest = 0 WHERE bucket = ? AND name = ? AND latest", (bucket, raw))
            values = (bucket, raw, action, True, size, etag, sha1, time.time(), json.dumps(info), json.dumps(bodies))
            version_id = _id(bucket, seq)
            self.db.execute("INSERT INTO versions VALUES (?,?,?,?,?,?,?,?,?,?,?,?)", (seq, version_id, *values))
            return _version((seq, version_id, *values))

    def current(self, bucket: str, name: str) -> Version | None:
        """The newest version, which may be a hide marker."""
        return self._one("bucket = ? AND name = ? AND latest", bucket, name.encode())

    def find(self, version_id: str) -> Version | None:
        return self._one("id = ?", version_id)

    def _one(self, condition: str, *values: t.Any) -> Version | None:
        with self.lock:
            row = self.db.execute(f"SELECT * FROM versions WHERE {condition}", values).fetchone()  # noqa: S608
        return _version(row) if row else None

    def remove(self, version: Version) -> None:
        with self.lock:
            self.db.execute("DELETE FROM versions WHERE seq = ?", (version.seq,))
            self.db.execute(
                "UPDATE versions SET latest = 1 WHERE seq = (SELECT max(seq) FROM versions WHERE bucket = ? AND name = ?)",
                (version.bucket, version.name.encode()),
            )
            for body, _ in version.bodies:
                self.forget(body)

    def is_empty(self, bucket: str) -> bool:
        with self.lock:
            query = (
                "SELECT bucket FROM versions WHERE bucket = ?1 UNION ALL SELECT bucket FROM uploads WHERE bucket = ?1"
            )
            return self.db.execute(f"{query} LIMIT 1", (bucket,)).fetchone() is None

    # Listings.

    def names(self, bucket: str, prefix: str, delimiter: str, after: Position, limit: int) -> Page[Version]:
        """The newest versions, without those that are hidden."""

        def rows(position: Position, count: int) -> list[Version]:
            condition = "name > ? AND latest AND action = 'upload' ORDER BY name"
            return [_version(row) for row in self._rows("versions", condition, bucket, prefix, count, position[0])]

        return _page(rows, prefix, delimiter, after, limit)

    def versions(self, bucket: str, prefix: str, delimiter: str, after: Position, limit: int) -> Page[Version]:
        def rows(position: Position, count: int) -> list[Version]:
            return [_version(row) for row in self._rows_after("versions", "DESC", bucket, prefix, count, position)]

        return _page(rows, prefix, delimiter, after, limit)

    def uploads(self, bucket: str, prefix: str, delimiter: str, after: Position, limit: int) -> Page[Upload]:
        def rows(position: Position, count: int) -> list[Upload]:
            return [_upload(row) for row in self._rows_after("uploads", "ASC", bucket, prefix, count, position)]

        return _page(rows, prefix, delimiter, after, limit)

    def _rows_after(
        self, table: str, order: str, bucket: str, prefix: str, count: int, position: Position
    ) -> list[tuple[t.Any, ...]]:
        name, seq = position
        same = f"name = ? AND seq {'<' if order == 'DESC' else '>'} ? ORDER BY seq {order}"
        found = self._rows(table, same, bucket, prefix, count, name, seq) if seq else []
        later = f"name > ? ORDER BY name, seq {order}"
        return found + self._rows(table, later, bucket, prefix, count - len(found), name)

    def _rows(
        self, table: str, condition: str, bucket: str, prefix: str, count: int, *values: t.Any
    ) -> list[tuple[t.Any, ...]]:
        begin = prefix.encode()
        query = f"SELECT * FROM {table} WHERE bucket = ? AND name >= ? AND name < ? AND {condition} LIMIT ?"  # noqa: S608
        with self.lock:
            return self.db.execute(query, (bucket, begin, begin + LAST, *values, count)).fetchall()

    # Large files.

    def start(self, bucket: str, name: str, info: Info) -> Upload:
        with self.lock:
            seq = next(self.numbers)
            row = (seq, _id(bucket, seq, large=True), bucket, name.encode(), time.time(), json.dumps(info))
            self.db.execute("INSERT INTO uploads VALUES (?, ?, ?, ?, ?, ?)", row)
            return _upload(row)

    def upload(self, upload_id: str) -> Upload | None:
        with self.lock:
            row = self.db.execute("SELECT * FROM uploads WHERE id = ?", (upload_id,)).fetchone()
        return _upload(row) if row else None

    def put_part(self, upload: Upload, number: int, body: Body) -> Part:
        with self.lock:
            for old in self.parts(upload, number - 1, 1):
                if old.number == number:
                    self.forget(old.body)
            part = Part(upload.id, number, body.id, body.size, body.etag, body.sha1, time.time())
            values = dataclasses.astuple(part)
            self.db.execute("INSERT OR REPLACE INTO parts VALUES (?, ?, ?, ?, ?, ?, ?)", values)
            return part

    def parts(self, upload: Upload, after: int = 0, limit: int = 10_000) -> list[Part]:
        query = "SELECT * FROM parts WHERE upload = ? AND number > ? ORDER BY number LIMIT ?"
        with self.lock:
            return [Part(*row) for row in self.db.execute(query, (upload.id, after, limit))]

    def finish(self, upload: Upload, parts: list[Part], etag: str) -> Version:
        with self.lock:
            used = {part.body for part in parts}
            self._end(upload, used)
            size = sum(part.size for part in parts)
            bodies = [[part.body, part.size] for part in parts]
            return self._add(upload.bucket, upload.name, "upload", size, etag, "none", upload.info, bodies)

    def cancel(self, upload: Upload) -> None:
        with self.lock:
            self._end(upload, set())

    def _end(self, upload: Upload, keep: set[int]) -> None:
        for part in self.parts(upload):
            if part.body not in keep:
                self.forget(part.body)
        self.db.execute("DELETE FROM parts WHERE upload = ?", (upload.id,))
        self.db.execute("DELETE FROM uploads WHERE seq = ?", (upload.seq,))


def position_of(name: str, file_id: str = "") -> Position | None:
    """The place of a version or an unfinished file in a listing, even if it is gone; None if the id is none of ours."""
    match = re.fullmatch(r"4_z[0-9a-f]+_f[0-9a-f]{16}_d\d{8}_m\d{6}_c003_v\d{7}_t\d{4}_u(\d{14})", file_id)
    if file_id and not match:
        return None
    return name.encode(), int(match[1]) if match else 0


def _id(bucket: str, seq: int, large: bool = False) -> str:
    now = datetime.datetime.now(datetime.UTC)
    kind = "2" if large else "1"
    return f"4_z{bucket}_f{kind}{secrets.token_hex(8)[1:]}_d{now:%Y%m%d}_m{now:%H%M%S}_c003_v0312024_t{seq % 60:04d}_u{seq:014d}"


def _version(row: t.Sequence[t.Any]) -> Version:
    seq, file_id, bucket, name, action, latest, size, etag, sha1, created, info, bodies = row
    known = (action, bool(latest), size, etag, sha1, created)
    return Version(seq, file_id, bucket, name.decode(), *known, json.loads(info), json.loads(bodies))


def _upload(row: t.Sequence[t.Any]) -> Upload:
    seq, file_id, bucket, name, created, info = row
    return Upload(seq, file_id, bucket, name.decode(), created, json.loads(info))


def _page(
    rows: t.Callable[[Position, int], list[Item]], prefix: str, delimiter: str, after: Position, limit: int
) -> Page[Item]:
    items: list[Item] = []
    folders: list[str] = []
    position = after
    while True:
        left = limit - len(items) - len(folders)
        found = rows(position, left + 1 if not delimiter else min(left + 1, 100))
        for item in found:
            if len(items) + len(folders) == limit:
                return Page(items, folders, position)
            at = item.name.find(delimiter, len(prefix)) if delimiter else -1
            if at >= 0:
                folders.append(item.name[: at + len(delimiter)])
                position = (folders[-1].encode() + LAST, 0)
                break
            items.append(item)
            position = (item.name.encode(), item.seq)
        else:
            if not found:
                return Page(items, folders, None)


def _pieces(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces of one size, so that a place in a body is easy to find."""
    rest = b""
    for chunk in chunks:
        rest += chunk
        while len(rest) >= PIECE:
            yield rest[:PIECE]
            rest = rest[PIECE:]
    if rest:
        yield rest
