# SPDX-License-Identifier: GPL-3.0-or-later
"""Storage of compressed chunks: a local directory or an S3 bucket, not contacted before the first use."""

from __future__ import annotations

import json
import pathlib
import shutil
import threading
import typing as t
from collections.abc import Iterator

PRESIGNED_SECONDS = 600
PIECE = 1 << 20
PART = 8 << 20  # from this size on, a file is uploaded in parts of this size


class LocalStorage:
    def __init__(self, config: dict[str, t.Any]) -> None:
        self.root = pathlib.Path(config["path"])

    def reference(self, key: str) -> tuple[str, str]:
        return json.dumps({"Local": {"name": key}}, separators=(",", ":")), f"local:{key}"

    def put(self, key: str, content: t.BinaryIO, size: int) -> None:
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        (self.root / "VERSION").write_text("1")
        with path.open("wb") as file:
            shutil.copyfileobj(content, file)

    def get(self, remote_file: str) -> Iterator[bytes]:
        """Opened at once, so that a lost file is an error; read while it is sent."""
        file = self._path(json.loads(remote_file)["Local"]["name"]).open("rb")
        return _pieces(file)

    def url(self, remote_file: str) -> str | None:
        return None

    def delete(self, remote_file: str) -> None:
        self._path(json.loads(remote_file)["Local"]["name"]).unlink()

    def _path(self, key: str) -> pathlib.Path:
        return self.root / key[:1] / key[:2] / key


class S3Storage:
    """Credentials and the checksum settings come from the AWS_* environment, as with the real server."""

    def __init__(self, config: dict[str, t.Any]) -> None:
        self.config = config
        self.lock = threading.Lock()
        self._client: t.Any = None

    @property
    def client(self) -> t.Any:
        with self.lock:
            if self._client is None:
                import boto3  # needed with a bucket only
                from botocore.config import Config as ClientConfig

                credentials = self.config.get("credentials", {})
                style = {"addressing_style": "path"} if self.config.get("endpoint") else {}
                self._client = boto3.client(
                    "s3",
                    region_name=self.config["region"],
                    endpoint_url=self.config.get("endpoint"),
                    aws_access_key_id=credentials.get("access_key_id"),
                    aws_secret_access_key=credentials.get("secret_access_key"),
                    config=ClientConfig(signature_version="s3v4", s3=style, retries={"mode": "adaptive"}),
                )
            return self._client

    def reference(self, key: str) -> tuple[str, str]:
        region, bucket = self.config["region"], self.config["bucket"]
        place = {"S3": {"region": region, "bucket": bucket, "key": key}}
        return json.dumps(place, separators=(",", ":")), f"s3:{region}/{bucket}/{key}"

    def put(self, key: str, content: t.BinaryIO, size: int) -> None:
        from boto3.s3.transfer import TransferConfig

        bucket = self.config["bucket"]
        if size < PART:
            self.client.put_object(Bucket=bucket, Key=key, Body=content)
        else:
            parts = TransferConfig(multipart_threshold=PART, multipart_chunksize=PART, use_threads=False)
            self.client.upload_fileobj(content, bucket, key, Config=parts)

    def get(self, remote_file: str) -> Iterator[bytes]:
        return self.client.get_object(**self._place(remote_file))["Body"].iter_chunks(PIECE)

    def url(self, remote_file: str) -> str | None:
        return self.client.generate_presigned_url(
            "get_object", Params=self._place(remote_file), ExpiresIn=PRESIGNED_SECONDS
        )

    def delete(self, remote_file: str) -> None:
        self.client.delete_object(**self._place(remote_file))

    def _place(self, remote_file: str) -> dict[str, str]:
        place = json.loads(remote_file)["S3"]
        return {"Bucket": place["bucket"], "Key": place["key"]}


def _pieces(file: t.BinaryIO) -> Iterator[bytes]:
    with file:
        while piece := file.read(PIECE):
            yield piece


Storage = LocalStorage | S3Storage


def open_storage(config: dict[str, t.Any]) -> Storage:
    return S3Storage(config) if config["type"] == "s3" else LocalStorage(config)
