# SPDX-License-Identifier: GPL-3.0-or-later
"""Storing a NAR: deduplicate, split, compress, verify. Splits at fixed lengths; the real server splits by content."""

from __future__ import annotations

import hashlib
import io
import json
import lzma
import shutil
import tempfile
import typing as t
import uuid

import zstandard

from .config import Config
from .database import Database, Row, Transaction, now
from .errors import request_error
from .storage import Storage

NarInfo = dict[str, t.Any]
IN_MEMORY = 1 << 20  # more of a NAR or a chunk is kept in a file


class Body(t.Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


class Uploader:
    def __init__(self, config: Config, database: Database, storage: Storage) -> None:
        self.config = config
        self.database = database
        self.storage = storage

    def upload(self, cache_id: int, info: NarInfo, body: Body, user: str | None) -> dict[str, t.Any]:
        with self.database.begin() as tx:
            nar = tx.hold("nar", "nar_hash = ?", info["nar_hash"])
        if nar is None:
            return self._store(cache_id, info, body, user)
        try:
            with self.database.begin() as tx:
                broken = tx.one("SELECT id FROM chunkref WHERE nar_id = ? AND chunk_id IS NULL", nar["id"])
            if broken:
                return self._store(cache_id, info, body, user)
            return self._deduplicate(cache_id, info, body, user, nar)
        finally:
            with self.database.begin() as tx:
                tx.release("nar", [nar["id"]])

    def _deduplicate(self, cache_id: int, info: NarInfo, body: Body, user: str | None, nar: Row) -> dict[str, t.Any]:
        if self.config.require_proof_of_possession:
            digest, size = hashlib.sha256(), 0
            while piece := body.read(1 << 20):
                digest.update(piece)
                size += len(piece)
            if _sha256(digest) != nar["nar_hash"] or not size == info["nar_size"] == nar["nar_size"]:
                raise request_error("Bad NAR Hash or Size")
        with self.database.begin() as tx:
            _link(tx, cache_id, nar["id"], info, user)
        return {"kind": "Deduplicated", "frac_deduplicated": None}

    def _store(self, cache_id: int, info: NarInfo, body: Body, user: str | None) -> dict[str, t.Any]:
        threshold = self.config.nar_size_threshold
        if threshold == 0 or info["nar_size"] < threshold:
            return self._store_whole(cache_id, info, body, user)
        return self._store_split(cache_id, info, body, user)

    def _store_whole(self, cache_id: int, info: NarInfo, body: Body, user: str | None) -> dict[str, t.Any]:
        """One chunk, of any size."""
        with tempfile.SpooledTemporaryFile(IN_MEMORY) as nar:
            digest, left = hashlib.sha256(), info["nar_size"]
            while left and (piece := read_up_to(body, min(left, IN_MEMORY))):
                digest.update(piece)
                nar.write(piece)
                left -= len(piece)
            if left or _sha256(digest) != info["nar_hash"]:
                raise request_error("Bad chunk hash or size")
            nar.seek(0)
            chunk, _ = self._chunk(t.cast(t.BinaryIO, nar), info["nar_hash"], info["nar_size"])
        try:
            with self.database.begin() as tx:
                nar_id = tx.insert("nar", **self._nar(info), state="V", num_chunks=1)
                tx.insert("chunkref", nar_id=nar_id, seq=0, chunk_id=chunk["id"])
                _link(tx, cache_id, nar_id, info, user)
        finally:
            self._release([chunk])
        return {"kind": "Uploaded", "file_size": chunk["file_size"], "frac_deduplicated": None}

    def _store_split(self, cache_id: int, info: NarInfo, body: Body, user: str | None) -> dict[str, t.Any]:
        """A pending NAR, to which each chunk is added as soon as it is stored."""
        digest, left, deduplicated = hashlib.sha256(), info["nar_size"], 0
        chunks: list[Row] = []
        with self.database.begin() as tx:
            nar_id = tx.insert("nar", **self._nar(info), state="P", num_chunks=0)
        try:
            while left and (piece := read_up_to(body, min(self.config.avg_chunk_size, left))):
                digest.update(piece)
                left -= len(piece)
                chunk, known = self._chunk(io.BytesIO(piece), _sha256(hashlib.sha256(piece)), len(piece))
                chunks.append(chunk)
                deduplicated += len(piece) if known else 0
                with self.database.begin() as tx:
                    tx.insert("chunkref", nar_id=nar_id, seq=len(chunks) - 1, chunk_id=chunk["id"])
            if left or _sha256(digest) != info["nar_hash"]:
                raise request_error("Bad NAR Hash or Size")
            with self.database.begin() as tx:
                tx.run("UPDATE nar SET state = 'V', num_chunks = ? WHERE id = ?", len(chunks), nar_id)
                _link(tx, cache_id, nar_id, info, user)
        except Exception:
            with self.database.begin() as tx:
                tx.run("DELETE FROM nar WHERE id = ?", nar_id)
            raise
        finally:
            self._release(chunks)
        return {
            "kind": "Uploaded",
            "file_size": sum(chunk["file_size"] for chunk in chunks),
            "frac_deduplicated": deduplicated / info["nar_size"],
        }

    def _nar(self, info: NarInfo) -> Row:
        return {
            "nar_hash": info["nar_hash"],
            "nar_size": info["nar_size"],
            "compression": self.config.compression,
            "created_at": now(),
        }

    def _release(self, chunks: list[Row]) -> None:
        with self.database.begin() as tx:
            tx.release("chunk", [chunk["id"] for chunk in chunks])

    def _chunk(self, content: t.BinaryIO, chunk_hash: str, size: int) -> tuple[Row, bool]:
        """A held chunk with this content, and whether it existed before."""
        with self.database.begin() as tx:
            held = tx.hold("chunk", "chunk_hash = ? AND compression = ?", chunk_hash, self.config.compression)
        if held is not None:
            return held, True
        key = f"{uuid.uuid4()}.chunk"
        remote_file, remote_file_id = self.storage.reference(key)
        with self.database.begin() as tx:
            chunk_id = tx.insert(
                "chunk",
                state="P",
                chunk_hash=chunk_hash,
                chunk_size=size,
                compression=self.config.compression,
                remote_file=remote_file,
                remote_file_id=remote_file_id,
                created_at=now(),
            )
        try:
            with tempfile.SpooledTemporaryFile(IN_MEMORY) as packed:
                self._compress(content, t.cast(t.BinaryIO, packed))
                file_size = packed.tell()
                packed.seek(0)
                file_hash = _sha256(hashlib.file_digest(t.cast(t.Any, packed), "sha256"))
                packed.seek(0)
                self.storage.put(key, t.cast(t.BinaryIO, packed), file_size)
        except Exception:
            with self.database.begin() as tx:
                tx.run("DELETE FROM chunk WHERE id = ?", chunk_id)
            raise
        with self.database.begin() as tx:
            tx.run(
                "UPDATE chunk SET state = 'V', holders_count = 1, file_hash = ?, file_size = ? WHERE id = ?",
                file_hash,
                file_size,
                chunk_id,
            )
        return {"id": chunk_id, "file_size": file_size}, False

    def _compress(self, source: t.BinaryIO, target: t.BinaryIO) -> None:
        if self.config.compression == "zstd":
            zstandard.ZstdCompressor(level=self.config.compression_level).copy_stream(source, target)
        elif self.config.compression == "xz":
            with lzma.open(target, "wb", preset=self.config.compression_level) as packed:
                shutil.copyfileobj(source, packed)
        else:
            shutil.copyfileobj(source, target)


def read_up_to(body: Body, size: int) -> bytes:
    """Exactly `size` bytes, or fewer at the end of the body: a chunked transfer arrives in smaller portions."""
    parts = []
    while size and (part := body.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _link(tx: Transaction, cache_id: int, nar_id: int, info: NarInfo, user: str | None) -> None:
    """Add an object to the cache, replacing one with this hash."""
    values = {
        "nar_id": nar_id,
        "store_path": info["store_path"],
        "references": json.dumps(info["references"], separators=(",", ":")),
        "system": None,
        "deriver": info.get("deriver"),
        "sigs": json.dumps(info["sigs"], separators=(",", ":")),
        "ca": info.get("ca"),
        "created_at": now(),
        "last_accessed_at": None,
        "created_by": user,
    }
    assignments = ", ".join(f'"{name}" = ?' for name in values)
    changed = tx.run(
        f"UPDATE object SET {assignments} WHERE cache_id = ? AND store_path_hash = ?",  # noqa: S608
        *values.values(),
        cache_id,
        info["store_path_hash"],
    )
    if not changed:
        tx.insert("object", cache_id=cache_id, store_path_hash=info["store_path_hash"], **values)


def _sha256(digest: t.Any) -> str:
    return f"sha256:{digest.hexdigest()}"
