# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that are written whole or not at all. Private: may change without notice."""

from __future__ import annotations

import contextlib
import os
import tempfile


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
