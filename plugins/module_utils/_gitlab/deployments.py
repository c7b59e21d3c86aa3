# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The environments and deployments of a GitLab project. Private: may change without notice."""

from __future__ import annotations

import typing as t

from .._core.errors import ConflictError, InvalidError, NixciError, NotFoundError
from .connection import Connection

Fields = dict[str, t.Any]


class DeploymentClient(Connection):
    """An environment is identified by its name. A deployment has no identity but the number that GitLab gives it."""

    def __init__(self, params: Fields) -> None:
        super().__init__(params, "project", [])

    def environment(self, name: str) -> Fields | None:
        found = self._list(self.owner.environments, name=name, get_all=True)
        return next((fields for one in found if (fields := self._fields(one, "name"))["name"] == name), None)

    def create_environment(self, fields: Fields) -> None:
        self._call(self.owner.environments.create, fields)

    def update_environment(self, number: int, fields: Fields) -> None:
        self._call(self.owner.environments.update, number, fields)

    def deployment(self, number: int) -> Fields:
        return self._fields(self._call(self.owner.deployments.get, number), "status")

    def newest(self, environment: str, status: str | None = None) -> list[Fields]:
        """Its deployments, the newest first: all that have a status, otherwise only the last one."""
        options = {"status": status, "per_page": 100, "get_all": True} if status else {"per_page": 1, "get_all": False}
        found = self._list(self.owner.deployments, environment=environment, order_by="id", sort="desc", **options)
        return [self._fields(one, "status") for one in found]

    def create_deployment(self, fields: Fields) -> Fields:
        return self._fields(self._call(self.owner.deployments.create, fields), "status")

    def update_deployment(self, number: int, status: str) -> Fields:
        return self._fields(self._call(self.owner.deployments.update, number, {"status": status}), "status")

    def _fields(self, response: t.Any, required: str) -> Fields:
        fields = response if isinstance(response, dict) else getattr(response, "attributes", {})
        if not isinstance(fields.get("id"), int) or not isinstance(fields.get(required), str):
            raise self._unexpected()
        return dict(fields)

    def forbidden(self, shown: str) -> str:
        whose = "the job" if self.job else "the token"
        return (
            f"GitLab: {whose} is not allowed to deploy in {self._owner} ({shown}); its user or bot needs the role Developer there, "
            "and if the environment is protected, must be among those who are allowed to deploy to it."
        )

    def missing(self, text: str) -> NixciError | None:
        # A project that does not exist is named in the message, an object in it is not.
        if text.lower() == "404 not found":
            return NotFoundError(f"GitLab: the deployment or environment does not exist in {self._owner}; check id.")
        return None

    def rejected(self, status: int, text: str, shown: str, details: dict[str, t.Any]) -> NixciError:
        if "already been taken" in text or "cannot transition" in text or status == 409:
            return ConflictError(
                f"GitLab: somebody else has changed the environment or the deployment in {self._owner} meanwhile ({status}: {shown}).",
                **details,
            )
        if "does not exist" in text:
            return InvalidError(
                f"GitLab: {self._owner} does not have the commit or the branch or tag ({shown}); push it first.",
                **details,
            )
        return InvalidError(f"GitLab rejects the deployment in {self._owner} ({status}: {shown}).", **details)
