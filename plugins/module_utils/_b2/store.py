# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a key and its secret are stored, since B2 shows the secret once. Private: may change without notice."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import typing as t
from collections.abc import Iterator

from .._core.change import Change
from .._core.env_file import parse
from .._core.errors import ConflictError, ForbiddenError, NixciError, NotFoundError
from .._core.file import File
from .._onepassword.backend import backend, onepassword_argument_spec
from .._onepassword.desired import DesiredField
from .._onepassword.item import ItemNotFoundError
from .._onepassword.write import check_store, store

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


class Pair(t.NamedTuple):
    """A key id and its secret."""

    id: str
    secret: str


@dataclasses.dataclass(frozen=True)
class Stored:
    """What a store holds."""

    where: str
    pair: Pair | None
    """None if it holds no complete pair."""
    obstacle: NixciError | None = None
    """Why it would not take a pair, as far as reading can show it."""
    attributes: Change | None = None
    """Owner, group and mode of a file, now and as desired."""


class Store(t.Protocol):
    where: str

    def read(self) -> Stored: ...

    def write(self, pair: Pair) -> None:
        """Raises NixciError if the pair is not stored."""


def onepassword_store_spec() -> dict[str, t.Any]:
    """The suboptions of `onepassword`: access to 1Password, and the two fields."""
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


def open_store(module: AnsibleModule) -> Store | None:
    """The store that the options name; None if the secret is to be returned."""
    params = module.params
    if params["file"]:
        return FileStore(module, params["file"])
    if params["onepassword"]:
        bounds = {"timeout": params["timeout"], "retries": params["retries"]}
        return OnePasswordStore({**params["onepassword"], **bounds}, module.warn)
    return None


class FileStore:
    """A file that systemd, Docker and shells read as an environment, with the names that AWS clients expect."""

    NAMES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")

    def __init__(self, module: AnsibleModule, path: str) -> None:
        self.file = File(module, path)
        self.where = f"the file {path}"

    def read(self) -> Stored:
        with self._typed():
            text = self.file.read() or ""
        found = parse(text)
        if text.strip() and (found is None or set(found) != set(self.NAMES) or "#" in text):
            raise ConflictError(
                f"{self.where[0].upper()}{self.where[1:]} holds something else than {' and '.join(self.NAMES)}; "
                "move it away or name another file."
            )
        pair = Pair(*(found[name] for name in self.NAMES)) if found else None
        return Stored(self.where, pair, self._obstacle(), self.file.attributes())

    def write(self, pair: Pair) -> None:
        self.file.write("".join(f"{name}={part}\n" for name, part in zip(self.NAMES, pair, strict=True)))

    def set_attributes(self) -> None:
        self.file.set_attributes()

    def _obstacle(self) -> NixciError | None:
        directory = os.path.dirname(self.file.path)
        if not os.path.isdir(directory):
            return NotFoundError(f"The directory {directory} does not exist; create it first.")
        if not os.access(directory, os.W_OK | os.X_OK):
            return ForbiddenError(f"Cannot write {self.where}: the directory is not writable; run as another user.")
        return None

    @contextlib.contextmanager
    def _typed(self) -> Iterator[None]:
        try:
            yield
        except PermissionError as exc:
            raise ForbiddenError(f"Cannot read {self.where}: {exc.strerror}; run as another user.") from None
        except OSError as exc:
            raise NixciError(f"Cannot read {self.where}: {exc.strerror}.") from None
        except UnicodeDecodeError:
            raise ConflictError(f"Cannot read {self.where}: it is not text; name another file.") from None


class OnePasswordStore:
    """Two fields of an item; its other fields stay as they are. No other code of B2 uses 1Password."""

    def __init__(self, options: t.Mapping[str, t.Any], warn: t.Callable[[str], t.Any]) -> None:
        self.vault, self.title = options["vault"].strip(), options["title"]
        self.id_label, self.secret_label = options["id_label"], options["secret_label"]
        self.where = f"the item '{self.title}' of the vault '{self.vault}' in 1Password"
        self.source = backend(options.get, warn)

    def read(self) -> Stored:
        item, pair, obstacle = None, None, None
        with contextlib.suppress(ItemNotFoundError):
            item = self.source.fetch(self.vault, self.title)
            pair = Pair(item.value(self.id_label), item.value(self.secret_label))
        try:
            check_store(item, self.vault, self.title, self._fields(Pair("(the new id)", "(the new secret)")))
        except NixciError as exc:
            obstacle = exc
        return Stored(self.where, pair if pair and all(pair) else None, obstacle)

    def write(self, pair: Pair) -> None:
        store(self.source, self.vault, self.title, self._fields(pair))

    def _fields(self, pair: Pair) -> list[DesiredField]:
        return [
            DesiredField(self.id_label, pair.id, "STRING"),
            DesiredField(self.secret_label, pair.secret, "CONCEALED"),
        ]
