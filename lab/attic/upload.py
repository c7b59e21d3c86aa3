# SPDX-License-Identifier: GPL-3.0-or-later
"""Storing a NAR: deduplicate, split, compress, verify. Splits at fixed lengths; the real server splits by content."""

from __future__ import annotations

import hashlib
import json
import lzma
import typing as t
import uuid

import zstandard

from .config import Config
from .database import Database, Row, Transaction, now
from .errors import request_error
from .storage import Storage

NarInfo = dict[str, t.Any]


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
        threshold, size = self.config.nar_size_threshold, info["nar_size"]
        unsplit = threshold == 0 or size < threshold
        piece_size = size if unsplit else self.config.avg_chunk_size
        digest, left = hashlib.sha256(), size
        chunks: list[Row] = []
        deduplicated = 0
        try:
            while left or not chunks:
                piece = read_up_to(body, min(piece_size, left))
                digest.update(piece)
                left -= len(piece)
                # An unsplit NAR is one chunk, so a wrong hash is reported for the chunk; otherwise it is reported for the NAR.
                if unsplit and (left or _sha256(digest) != info["nar_hash"]):
                    raise request_error("Bad chunk hash or size")
                if not piece and size:
                    break
                chunk, known = self._chunk(piece)
                chunks.append(chunk)
                deduplicated += len(piece) if known else 0
            if left or _sha256(digest) != info["nar_hash"]:
                raise request_error("Bad NAR Hash or Size")
            with self.database.begin() as tx:
                nar_id = tx.insert(
                    "nar",
                    state="V",
                    nar_hash=info["nar_hash"],
                    nar_size=size,
                    compression=self.config.compression,
                    num_chunks=len(chunks),
                    created_at=now(),
                )
                for seq, chunk in enumerate(chunks):
                    tx.insert("chunkref", nar_id=nar_id, seq=seq, chunk_id=chunk["id"])
                _link(tx, cache_id, nar_id, info, user)
        finally:
            with self.database.begin() as tx:
                tx.release("chunk", [chunk["id"] for chunk in chunks])
        return {
            "kind": "Uploaded",
            "file_size": sum(chunk["file_size"] for chunk in chunks),
            "frac_deduplicated": None if unsplit else deduplicated / size,
        }

    def _chunk(self, data: bytes) -> tuple[Row, bool]:
        """A held chunk with this content, and whether it existed before."""
        chunk_hash = f"sha256:{hashlib.sha256(data).hexdigest()}"
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
                chunk_size=len(data),
                compression=self.config.compression,
                remote_file=remote_file,
                remote_file_id=remote_file_id,
                created_at=now(),
            )
        packed = self._compress(data)
        try:
            self.storage.put(key, packed)
        except Exception:
            with self.database.begin() as tx:
                tx.run("DELETE FROM chunk WHERE id = ?", chunk_id)
            raise
        with self.database.begin() as tx:
            tx.run(
                "UPDATE chunk SET state = 'V', holders_count = 1, file_hash = ?, file_size = ? WHERE id = ?",
                f"sha256:{hashlib.sha256(packed).hexdigest()}",
                len(packed),
                chunk_id,
            )
        return {"id": chunk_id, "file_size": len(packed)}, False

    def _compress(self, data: bytes) -> bytes:
        if self.config.compression == "zstd":
            return zstandard.ZstdCompressor(level=self.config.compression_level).compress(data)
        if self.config.compression == "xz":
            return lzma.compress(data, preset=self.config.compression_level)
        return data


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
