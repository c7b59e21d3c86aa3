# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""1Password through the `op` command with a service account. Private: may change without notice."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys

from .._core.errors import ConflictError, NixciError, UnavailableError
from .dates import received, sent
from .errors import general_error, matches, safe_excerpt
from .item import AmbiguousError, Item, ItemNotFoundError, Json, VaultNotFoundError, choose, fold
from .names import Names

# All variables that `op` receives. Any other OP_… variable would change its behaviour: OP_CONNECT_HOST even overrides the token.
PASSED_ON = re.compile(r"PATH|HOME|USER|TMPDIR|XDG_\w+|SSL_CERT_(FILE|DIR)|(https?|no|all)_proxy", re.IGNORECASE)
DATED = re.compile(r"^\[ERROR\] \d{4}/\d\d/\d\d \d\d:\d\d:\d\d ", re.MULTILINE)
# Names that the user chose; they must not decide the kind of an error.
QUOTED = re.compile(r'"[^"\n]*"')
AN_ID = re.compile(r"\b[\da-z]{26}\b", re.ASCII)
UNKNOWN = re.compile(r"unknown (?:shorthand )?(?:flag|command):?\s+(\S+)")


class UnknownOptionError(NixciError):
    """This `op` is too old for one of our arguments."""


class OpBackend:
    """Every method accepts the name or the ID of a vault."""

    can_archive = True

    def __init__(self, token: str, timeout: float = 30) -> None:
        path = shutil.which("op")
        if path is None:
            raise NixciError(
                "The 1Password command 'op' is not on the PATH of the machine that runs this task; install 1Password CLI "
                f"2.23 or newer, or its Python library with '{sys.executable} -m pip install onepassword-sdk', "
                "or use a Connect server."
            )
        self.path, self.token, self.timeout = path, token.strip(), timeout
        self.credential = f"op\0{self.token}"
        self.reveal = ["--reveal"]
        self.names = Names("op", list, lambda vault_id: [])  # unused: `op` accepts names itself

    @property
    def warning(self) -> str | None:
        return None

    def fetch(self, vault: str, name: str) -> Item:
        """One item by title or ID."""
        if name.startswith("-"):  # `op` would take it for an option, or for its input
            item = self._get(vault, self._listed(vault, name), name)
        else:
            try:
                item = self._get(vault, name, name)
            except AmbiguousError:
                # Also for one title and the address of another item's web site, or titles that differ in case only.
                item = self._get(vault, self._listed(vault, name), name)
        # `op` also finds a login by the address of its web site.
        if name != item.id and fold(name) != fold(item.title):
            raise ItemNotFoundError(f"Vault '{vault}' has no item '{name}'.")
        return item

    def _get(self, vault: str, operand: str, name: str) -> Item:
        """The item that `op` finds; `name` is for messages."""
        try:
            return self._item(vault, name, "item", "get", operand, *self.reveal)
        except UnknownOptionError as exc:
            if "--reveal" not in str(exc) or not self.reveal:
                raise
        # It came with 2.30, and older ones show all values without it.
        self.reveal = []
        return self._item(vault, name, "item", "get", operand)

    def _listed(self, vault: str, name: str) -> str:
        """The ID of the one item with this title or ID."""
        output = self._run(vault, name, "item", "list", f"--vault={vault}", "--format=json")
        try:
            pairs = [(str(entry["id"]), str(entry.get("title") or "")) for entry in json.loads(output or b"[]")]
        except (ValueError, TypeError, KeyError, AttributeError):
            raise UnavailableError(
                f"'op item list' for item '{name}' returned something that is not a listing; run the task again."
            ) from None
        found = choose(f"Item '{name}' in vault '{vault}'", pairs, name, lambda pair: pair)
        if found is None:
            raise ItemNotFoundError(f"Vault '{vault}' has no item '{name}'.")
        return found[0]

    def read_file(self, item: Item, file: Json) -> bytes:
        """`op document get` reads the files of documents only, `op read` those of every item."""
        section_id, _label = item.section_of(file)
        path = "/".join(part for part in (item.vault_id, item.id, section_id, str(file["id"])) if part)
        return self._run(item.vault_id, item.title, "read", "--no-newline", f"op://{path}")

    def create(self, vault: str, document: Json) -> Item:
        return self._written(vault, "create", "-", document, str(document.get("title") or "-"))

    def replace(self, item: Item) -> Item:
        return self._written(item.vault_id, "edit", item.id, item.writable(), item.title)

    def delete(self, item: Item, archive: bool = False) -> None:
        options = [f"--vault={item.vault_id}", *(["--archive"] if archive else [])]
        self._run(item.vault_id, item.id, "item", "delete", item.id, *options)

    def close(self) -> None:
        """There is nothing to close."""

    def _written(self, vault: str, verb: str, operand: str, document: Json, title: str) -> Item:
        """Exit code 0 guarantees nothing: `op` ignores input that it does not recognise. So read the item back."""
        written = self._item(vault, title, "item", verb, operand, stdin=json.dumps(sent(document)))
        return self.fetch(written.vault_id, written.id)

    def _item(self, vault: str, name: str, *argv: str, stdin: str | None = None) -> Item:
        output = self._run(vault, name, *argv, f"--vault={vault}", "--format=json", stdin=stdin)
        try:
            document = json.loads(output)
        except ValueError:  # also for what is not UTF-8
            document = None
        if not isinstance(document, dict) or not {"id", "vault"} <= document.keys():
            raise UnavailableError(
                f"'op {argv[0]} {argv[1]}' for item '{name}' returned something that is not an item; run the task again."
            )
        return Item(received(document))

    def _run(self, vault: str, name: str, *argv: str, stdin: str | None = None) -> bytes:
        """The output of `op`. Secrets go through the environment and a pipe, since every user can see arguments."""
        # A module's run_command knows no time limit, and the lookup has none at all.
        process = subprocess.Popen(  # pylint: disable=ansible-bad-function
            [self.path, *argv],
            # Without input, `op` would take any other open stdin for a template; it reads one from a pipe only.
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self._environment(),
            start_new_session=True,
        )
        try:
            output, errors = process.communicate(None if stdin is None else stdin.encode(), timeout=self.timeout)
        except subprocess.TimeoutExpired:
            raise UnavailableError(
                f"'op {argv[0]} {argv[1]}' did not end within {self.timeout:g} s; check the network or raise timeout."
            ) from None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if process.returncode != 0:
            raise self._error(vault, name, argv, errors.decode(errors="replace"))
        return output

    def _environment(self) -> dict[str, str]:
        passed = {name: value for name, value in os.environ.items() if PASSED_ON.fullmatch(name)}
        # Without its own cache `op` really reads an item after a write, and leaves no daemon behind.
        return {**passed, "LC_ALL": "C", "OP_CACHE": "false", "OP_SERVICE_ACCOUNT_TOKEN": self.token}

    def _error(self, vault: str, name: str, argv: tuple[str, ...], errors: str) -> NixciError:
        """`op` exits with 1 for every failure, so its message decides.

        It quotes names that the user chose, with or without escapes; they must not decide the kind of an error.
        """
        message = DATED.sub("", errors).strip()
        missing_item: NixciError = ItemNotFoundError(f"Vault '{vault}' has no item '{name}'.")
        missing_vault: NixciError = VaultNotFoundError(
            f"The service account sees no vault '{vault}'; check the name and the account's vaults."
        )
        # The longer name first: it may begin with the other one and a quote.
        names = [(name, "an item", missing_item), (vault, "a vault", missing_vault)]
        for chosen, what, error in sorted(names, key=lambda entry: -len(entry[0])):
            if _after(message, "", chosen).startswith((f"isn't {what}", f"doesn't seem to be {what}")):
                return error
        if _after(message, "More than one item matches ", name):
            return AmbiguousError(f"Item '{name}' in vault '{vault}'", set(AN_ID.findall(message)))
        unquoted = message.replace(f"{vault}/{name}", "")
        for form in (*_forms(name), *_forms(vault)):
            unquoted = unquoted.replace(form, "")
        unquoted = QUOTED.sub("", unquoted)
        general = general_error(unquoted, vault)
        if general:
            return general
        if matches(unquoted, ("isn't a vault in this account",)):
            return missing_vault
        if matches(unquoted, ("more than one item matches",)):
            return AmbiguousError(f"Item '{name}' in vault '{vault}'", set(AN_ID.findall(message)))
        if matches(unquoted, ("isn't an item", "could not get item", "couldn't find item")):
            return missing_item
        unknown = UNKNOWN.match(message) or UNKNOWN.search(unquoted)
        if unknown:
            return UnknownOptionError(
                f"This 'op' does not know {unknown[1]}; install 1Password CLI 2.23 or newer on the machine that runs this task."
            )
        if matches(unquoted, ("409",)):
            return ConflictError(f"Item '{name}' in vault '{vault}' was changed in the meantime; run again.")
        # The message may quote a template that `op` cannot read, so that of a write is not shown.
        shown = "" if "-" in argv or "edit" in argv else f": {safe_excerpt(message, self.token)}"
        return NixciError(f"'op {argv[0]} {argv[1]}' for item '{name}' failed{shown or '.'}")


def _forms(name: str) -> tuple[str, ...]:
    """The name as `op` may quote it: as it is, or with escapes like those of JSON."""
    return f'"{name}"', json.dumps(name, ensure_ascii=False), json.dumps(name)


def _after(message: str, start: str, name: str) -> str:
    """What follows the start and the quoted name; empty if the message begins otherwise."""
    for form in _forms(name):
        if message.startswith(start + form):
            return message[len(start + form) :].strip()
    return ""
