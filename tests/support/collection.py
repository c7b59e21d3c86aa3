# SPDX-License-Identifier: GPL-3.0-or-later
"""The collection, imported from the checkout, and its modules run in this process."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import sys
import typing as t
from unittest import mock

import pytest

from tests.support.paths import ROOT

sys.path.insert(0, str(ROOT / ".collections"))

from ansible.module_utils.basic import AnsibleModule  # noqa: E402
from ansible.module_utils.testing import patch_module_args  # noqa: E402
from ansible.plugins.loader import init_plugin_loader  # noqa: E402

init_plugin_loader([str(ROOT / ".collections")])


class ModuleRun(dict[str, t.Any]):
    """The JSON that a module printed; `failed` is always there."""

    warnings: t.Sequence[str] = ()
    """What it warned of; beside the controller's code such a warning is displayed instead of printed, and once only."""


def run_module(name: str, params: dict[str, t.Any], *, check: bool = False, diff: bool = True) -> ModuleRun:
    """Run the real main() of a module in this process and return what it printed."""
    module = importlib.import_module(f"ansible_collections.pantheros.nixci.plugins.modules.{name}")
    args = {**params, "_ansible_check_mode": check, "_ansible_diff": diff}
    out = io.StringIO()
    with (
        patch_module_args(args),
        mock.patch.object(AnsibleModule, "warn", autospec=True, side_effect=AnsibleModule.warn) as warn,
        contextlib.redirect_stdout(out),
        pytest.raises(SystemExit),
    ):
        module.main()
    result = ModuleRun(json.loads(out.getvalue().strip().splitlines()[-1]))
    result.setdefault("failed", False)
    result.setdefault("changed", False)
    result.warnings = [call.args[1] for call in warn.call_args_list]
    return result


def hide_library(patch: pytest.MonkeyPatch, library: str) -> None:
    """As if the library were not installed where the module runs."""
    deps = importlib.import_module("ansible_collections.pantheros.nixci.plugins.module_utils._core.deps")
    patch.setitem(deps._missing, library, "Traceback …")
