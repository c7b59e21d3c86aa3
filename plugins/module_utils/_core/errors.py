# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The errors of this collection. Private: may change without notice.

A message is one sentence or two: what is wrong, where, what to do. Details become return values of the failed
task, so they must be safe to print.
"""

from __future__ import annotations

import typing as t


class NixciError(Exception):
    """Something the user can act on; the outermost layer of a module turns it into fail_json."""

    plan_again = False
    """Whether reading and planning once more may settle it; see resource.py."""

    def __init__(self, message: str, **details: t.Any) -> None:
        super().__init__(message)
        self.details = details


class AuthenticationError(NixciError):
    """The service does not know the credential."""


class ForbiddenError(NixciError):
    """The credential is known but lacks the right."""


class NotFoundError(NixciError):
    """The object does not exist, or the credential may not see it."""


class ConflictError(NixciError):
    """The object exists already, belongs to someone else or was changed meanwhile."""

    plan_again = True


class InvalidError(NixciError):
    """The service or we refuse the input."""


class UnavailableError(NixciError):
    """No usable answer within the bounds: unreachable, too slow, overloaded, or TLS not trusted."""

    plan_again = True
