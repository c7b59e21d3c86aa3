# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a key and its secret are kept, since B2 shows the secret once. Private: may change without notice."""

from __future__ import annotations

import contextlib
import os
import stat
import typing as t
from collections.abc import Callable, Iterator

from .._core.env_file import parse
from .._core.errors import ConflictError, ForbiddenError, NixciError, NotFoundError
from .._core.file import replace
from .._onepassword.backend import backend, onepassword_argument_spec
from .._onepassword.desired import DesiredField
from .._onepassword.item import Item, ItemNotFoundError
from .._onepassword.write import check_store, store


class Pair(t.NamedTuple):
    """A key id and its secret."""

    id: str
    secret: str


class Store(t.Protocol):
    where: str

    def read(self) -> Pair | None:
        """What is kept; None if there is nothing yet."""

    def prove(self) -> None:
        """Raises what would hinder write(), as far as it can be known without writing."""

    def write(self, pair: Pair) -> None:
        """Keeps the pair; raises if it is not kept."""


def onepassword_store_spec() -> dict[str, t.Any]:
    """The suboptions of `onepassword`: how 1Password is reached, and the two fields."""
    access = {
        name: option for name, option in onepassword_argument_spec().items() if name not in ("timeout", "retries")
    }
    return {
        **access,
        "vault": {"type": "str", "required": True},
        "title": {"type": "str", "required": True},
        "id_label": {"type": "str", "default": "application-key-id"},
        "secret_label": {"type": "str", "default": "application-key", "no_log": False},
    }


def open_store(params: t.Mapping[str, t.Any], warn: Callable[[str], t.Any]) -> Store | None:
    """The store that the options ask for; None if the secret is to be returned."""
    if params["file"]:
        return FileStore(params["file"])
    if params["onepassword"]:
        return OnePasswordStore(params["onepassword"], params["timeout"], params["retries"], warn)
    return None


class FileStore:
    """A file that systemd, Docker and shells read as an environment, with the names that AWS clients expect."""

    NAMES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")

    def __init__(self, path: str) -> None:
        # A link keeps pointing to the file.
        self.path = os.path.realpath(path)
        self.where = f"the file {path}"

    def read(self) -> Pair | None:
        with self._typed("read"):
            try:
                with open(self.path, encoding="utf-8") as file:
                    text = file.read()
            except FileNotFoundError:
                return None
        found = parse(text)
        if text.strip() and (found is None or set(found) != set(self.NAMES) or "#" in text):
            raise ConflictError(
                f"{self.where[0].upper()}{self.where[1:]} holds something else than {' and '.join(self.NAMES)}; "
                "move it away or name another file."
            )
        return Pair(*(found[name] for name in self.NAMES)) if found else None

    def is_open_to_others(self) -> bool:
        with self._typed("look at"):
            return os.path.exists(self.path) and bool(stat.S_IMODE(os.stat(self.path).st_mode) & 0o077)

    def prove(self) -> None:
        with self._typed("write"):
            folder = os.path.dirname(self.path)
            if not os.path.isdir(folder):
                raise NotFoundError(f"The folder {folder} does not exist; create it first.")
            if not os.access(folder, os.W_OK | os.X_OK):
                raise PermissionError(13, "the folder may not be written to")

    def write(self, pair: Pair) -> None:
        with self._typed("write"):
            replace(self.path, "".join(f"{name}={part}\n" for name, part in zip(self.NAMES, pair, strict=True)))

    @contextlib.contextmanager
    def _typed(self, doing: str) -> Iterator[None]:
        try:
            yield
        except PermissionError as exc:
            raise ForbiddenError(f"Cannot {doing} {self.where}: {exc.strerror}; run as another user.") from None
        except OSError as exc:
            raise NixciError(f"Cannot {doing} {self.where}: {exc.strerror}.") from None
        except UnicodeDecodeError:
            raise ConflictError(f"Cannot {doing} {self.where}: it is not text; name another file.") from None


class OnePasswordStore:
    """Two fields of an item; its other fields stay as they are."""

    def __init__(
        self, options: t.Mapping[str, t.Any], timeout: int, retries: int, warn: Callable[[str], t.Any]
    ) -> None:
        self.vault, self.title = options["vault"], options["title"]
        self.id_label, self.secret_label = options["id_label"], options["secret_label"]
        self.where = f"the item '{self.title}' of the vault '{self.vault}' in 1Password"
        self.source = backend({**options, "timeout": timeout, "retries": retries}.get, warn)

    def read(self) -> Pair | None:
        item = self._item()
        pair = Pair(item.value(self.id_label), item.value(self.secret_label)) if item else None
        return pair if pair and all(pair) else None

    def prove(self) -> None:
        check_store(self._item(), self.vault, self.title, self._fields(Pair("(the new id)", "(the new secret)")))

    def write(self, pair: Pair) -> None:
        store(self.source, self.vault, self.title, self._fields(pair))

    def _item(self) -> Item | None:
        try:
            return self.source.fetch(self.vault, self.title)
        except ItemNotFoundError:
            return None

    def _fields(self, pair: Pair) -> list[DesiredField]:
        return [
            DesiredField(self.id_label, pair.id, "STRING"),
            DesiredField(self.secret_label, pair.secret, "CONCEALED"),
        ]
