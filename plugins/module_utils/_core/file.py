# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A file that a module writes, with Ansible's own options for files. Private: may change without notice.

The module sets `add_file_common_args=True` and documents `ansible.builtin.files`.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import typing as t

from .errors import NixciError

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


class File:
    """Text that is written whole or not at all, and that nobody reads in between who may not read it in the end."""

    def __init__(self, module: AnsibleModule, path: str, mode: str = "0600") -> None:
        """`mode` is that of a task that sets none."""
        self.module = module
        self.path = os.path.realpath(path)  # a link keeps pointing to the file
        params = {**module.params, "path": self.path, "mode": module.params["mode"] or mode}
        self.attributes = module.load_file_common_arguments(params)

    def read(self) -> str | None:
        """Raises OSError, and UnicodeDecodeError for what is no text."""
        try:
            with open(self.path, encoding="utf-8") as file:
                return file.read()
        except FileNotFoundError:
            return None

    def attributes_differ(self) -> bool:
        """Whether an existing file has another mode, owner, group or the like than the task wants."""
        check_mode, self.module.check_mode = self.module.check_mode, True
        try:
            return bool(self._set_attributes())
        finally:
            self.module.check_mode = check_mode

    def write(self, text: str) -> None:
        """Raises NixciError. An existing file keeps its owner and group, unless the task sets others."""
        handle, temporary = tempfile.mkstemp(dir=self.module.tmpdir)  # mode 0600
        try:
            with open(handle, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(handle)
            if os.path.exists(self.path):
                self._set_attributes()  # atomic_move gives the new file those of the old one
            self._move(temporary)
            self._set_attributes()
        except OSError as exc:
            raise NixciError(f"{self.path} cannot be written ({exc.strerror}).") from None
        finally:
            if os.path.exists(temporary):
                os.unlink(temporary)

    def set_attributes(self) -> None:
        """For a file whose text is right already."""
        self._set_attributes()

    def _set_attributes(self) -> bool:
        return bool(self.module.set_fs_attributes_if_different(dict(self.attributes), False))

    def _move(self, temporary: str) -> None:
        """atomic_move ends the module when it fails, but what was done before may have to be undone."""

        def fail(msg: str, **details: t.Any) -> t.NoReturn:
            raise NixciError(f"{self.path} cannot be written: {msg}")

        self.module.fail_json = fail
        try:
            self.module.atomic_move(temporary, self.path)
        finally:
            del self.module.fail_json


def replace(path: str | os.PathLike[str], text: str, mode: int = 0o600) -> None:
    """Another reader sees the old file or the new one, and nobody sees a secret in between. Raises OSError.

    A file that is there keeps its owner and group, as far as we may give it to them.
    """
    path = os.path.realpath(path)  # a link keeps pointing to the file
    # Hidden and without its suffix, so that programs that read a whole folder do not take it. mkstemp gives it 0600.
    handle, temporary = tempfile.mkstemp(prefix=".nixci-", dir=os.path.dirname(path))
    try:
        with open(handle, "w", encoding="utf-8") as file:
            with contextlib.suppress(FileNotFoundError, PermissionError):
                old, new = os.stat(path), os.fstat(handle)
                if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
                    os.fchown(handle, old.st_uid, old.st_gid)
            os.fchmod(handle, mode)
            file.write(text)
            file.flush()
            os.fsync(handle)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
