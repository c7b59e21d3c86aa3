# SPDX-License-Identifier: GPL-3.0-or-later
"""The collection, imported from the checkout, and its modules run in this process.

This file needs nothing of Ansible but what modules may use and the loader of collections, so that `ansible-test units`
can run the tests of modules with it.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import sys
import typing as t
from unittest import mock

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args
from ansible.utils.collection_loader import AnsibleCollectionConfig
from ansible.utils.collection_loader._collection_finder import _AnsibleCollectionFinder

from tests.support.paths import ROOT

# ansible-test has its own loader of the same collection.
if not AnsibleCollectionConfig.collection_finder:
    _AnsibleCollectionFinder(paths=[str(ROOT / ".collections")])._install()


class ModuleRun(dict[str, t.Any]):
    """The JSON that a module printed; `failed` is always there."""

    warnings: t.Sequence[str] = ()
    """What it warned of; beside the controller's code such a warning is displayed instead of printed, and once only."""
    exceptions: str = ""
    """The exceptions behind a failure with their details, before Ansible masks anything."""


def run_module(name: str, params: dict[str, t.Any], *, check: bool = False, diff: bool = True) -> ModuleRun:
    """Run the real main() of a module in this process and return what it printed."""
    module = importlib.import_module(f"ansible_collections.pantheros.nixci.plugins.modules.{name}")
    args = {**params, "_ansible_check_mode": check, "_ansible_diff": diff}
    out = io.StringIO()
    exceptions: list[str] = []
    fail = AnsibleModule.fail_json

    def fail_json(self: AnsibleModule, *arguments: t.Any, **result: t.Any) -> t.NoReturn:
        exceptions.extend(_shown(sys.exc_info()[1]))
        fail(self, *arguments, **result)

    with (
        patch_module_args(args),
        mock.patch.object(AnsibleModule, "warn", autospec=True, side_effect=AnsibleModule.warn) as warn,
        mock.patch.object(AnsibleModule, "fail_json", autospec=True, side_effect=fail_json),
        contextlib.redirect_stdout(out),
        pytest.raises(SystemExit),
    ):
        module.main()
    result = ModuleRun(json.loads(out.getvalue().strip().splitlines()[-1]))
    # Since ansible-core 2.22 a module names its secrets to the controller, which takes them out and masks them.
    result.pop("_ansible_new_secrets", None)
    result.setdefault("failed", False)
    result.setdefault("changed", False)
    result.warnings = [call.args[1] for call in warn.call_args_list]
    result.exceptions = "\n".join(exceptions)
    return result


def _shown(exc: BaseException | None) -> t.Iterator[str]:
    """An exception and those that a traceback shows with it."""
    while exc is not None:
        yield f"{exc!r} {exc} {getattr(exc, 'details', '')!r}"
        exc = exc.__cause__ or (None if exc.__suppress_context__ else exc.__context__)


def hide_library(patch: pytest.MonkeyPatch, library: str) -> None:
    """As if the library were not installed where the module runs."""
    deps = importlib.import_module("ansible_collections.pantheros.nixci.plugins.module_utils._core.deps")
    patch.setitem(deps._missing, library, "Traceback …")
