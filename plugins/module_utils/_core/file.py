# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A file that a module writes, with Ansible's own options for files. Private: may change without notice.

A module that offers these options sets `add_file_common_args=True` and documents `ansible.builtin.files`.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
import typing as t
from collections.abc import Iterator

from .change import Change
from .errors import NixciError

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


class File:
    """Text that is written completely or not at all, and that nobody can read who may not read it afterwards."""

    def __init__(self, module: AnsibleModule, path: str, mode: str = "0600") -> None:
        """`mode` applies when the task sets none."""
        self.module = module
        self.path = os.path.realpath(path)  # a link keeps pointing to its file
        options = {**module.params, "path": self.path, "mode": module.params.get("mode") or mode}
        self._options = {**module.load_file_common_arguments(options), "path": self.path}

    def read(self, errors: str = "strict") -> str | None:
        """The text, None without a file. Raises OSError, and UnicodeDecodeError if it is not text."""
        try:
            with open(self.path, encoding="utf-8", errors=errors, newline="") as file:
                return file.read()
        except FileNotFoundError:
            return None

    def attributes(self) -> Change:
        """The mode, and the owner, group and the like if the task sets them: now and as desired.

        Raises NixciError if the task wants what does not exist, such as an unknown owner.
        """
        with self._errors("cannot have the desired owner, group or mode"):
            return self._attributes()

    def attributes_differ(self) -> bool:
        """Whether an existing file has another mode, owner, group or the like than the task wants."""
        change = self.attributes()
        return change.before is not None and bool(change)

    def set_attributes(self) -> None:
        """For a file whose text is right. Raises NixciError."""
        with self._errors("cannot be changed"):
            self._set_attributes(self.path)

    def write(self, text: str) -> None:
        """Raises NixciError. An existing file keeps its owner and group, unless the task sets others."""
        with self._errors("cannot be written"):
            mode = (self._attributes().after or {})["mode"]
            # Beside the file, so that moving it is one step; hidden and without its suffix, so that programs that read
            # a whole directory ignore it. Nobody else may open it before it has the right owner and mode.
            handle, temporary = tempfile.mkstemp(prefix=".nixci-", dir=os.path.dirname(self.path))
            try:
                with open(handle, "w", encoding="utf-8", newline="") as file:
                    self._prepare(temporary, mode)
                    file.write(text)
                    file.flush()
                    os.fsync(handle)
                self._move(temporary)
            finally:
                if os.path.exists(temporary):
                    os.unlink(temporary)
            self._set_attributes(self.path, mode=mode)

    def _prepare(self, temporary: str, mode: str) -> None:
        """Give a new, still empty file the owner and group of the existing one, and what the task wants."""
        with contextlib.suppress(FileNotFoundError):
            old, new = os.stat(self.path), os.stat(temporary)
            owner = (
                -1 if self._options["owner"] is not None or old.st_uid == new.st_uid else old.st_uid,
                -1 if self._options["group"] is not None or old.st_gid == new.st_gid else old.st_gid,
            )
            with contextlib.suppress(PermissionError):  # whoever may not give files away writes a file of their own
                os.chown(temporary, *owner)
        # The flags of chattr come last: an immutable file could not be moved.
        self._set_attributes(temporary, mode=mode, attributes=None)

    def _move(self, temporary: str) -> None:
        unsafe = bool(self.module.params.get("unsafe_writes"))
        if unsafe and os.path.exists(self.path):
            self._set_attributes(self.path, attributes=None)  # it may be written in place
        # atomic_move gives a new file the mode that the umask allows, before anybody can set another one.
        umask = os.umask(0o077)
        try:
            self.module.atomic_move(temporary, self.path, unsafe_writes=unsafe, keep_dest_attrs=False)
        finally:
            os.umask(umask)

    def _attributes(self) -> Change:
        if os.path.exists(self.path):
            return self._compare(self.path)
        with tempfile.NamedTemporaryFile() as new:  # a new file begins like this one
            return Change(None, self._compare(new.name).after)

    def _compare(self, path: str) -> Change:
        diff: dict[str, t.Any] = {}
        check_mode, self.module.check_mode = self.module.check_mode, True
        try:
            self._set_attributes(path, diff)
        finally:
            self.module.check_mode = check_mode
        status = os.stat(path)
        same = {"mode": f"0{stat.S_IMODE(status.st_mode):03o}", "owner": status.st_uid, "group": status.st_gid}
        same = {name: value for name, value in same.items() if name == "mode" or self._options[name] is not None}
        return Change({**same, **diff.get("before", {})}, {**same, **diff.get("after", {})})

    def _set_attributes(self, path: str, diff: dict[str, t.Any] | None = None, **changed: t.Any) -> None:
        options = {**self._options, **changed, "path": path}
        self.module.set_fs_attributes_if_different(options, False, diff, expand=False)

    @contextlib.contextmanager
    def _errors(self, failure: str) -> Iterator[None]:
        """The module would exit on a failure, but what the caller did before may have to be undone."""

        def fail(msg: str, **details: t.Any) -> t.NoReturn:
            reason = details.get("details") or getattr(details.get("exception"), "strerror", None)
            raise NixciError(f"{self.path} {failure} ({msg}{f': {reason}' if reason else ''}).")

        self.module.fail_json = fail
        try:
            yield
        except NixciError:
            raise
        except OSError as exc:
            raise NixciError(f"{self.path} {failure} ({exc.strerror}).") from None
        except Exception as exc:  # atomic_move raises nothing more precise
            raise NixciError(f"{self.path} {failure} ({str(exc).rstrip('.')}).") from None
        finally:
            del self.module.fail_json
