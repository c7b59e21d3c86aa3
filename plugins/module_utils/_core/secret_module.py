# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A module with a secret of which no result is made. Private: may change without notice.

Ansible masks the value of a no_log option wherever it occurs in a result. An ordinary word is then missing from other
values, and a value of one letter can be read off from the gaps in a message. Where nothing of the result is made from
the value, it is safer to take it out of the options than to search for it.
"""

from __future__ import annotations

import typing as t

from ansible.module_utils.basic import AnsibleModule

SHOWN = "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"


class SecretModule(AnsibleModule):
    secret_option = "value"
    """An option with no_log. The module must not put anything of its value into results, messages or warnings."""
    taken: tuple[t.Any] | None = None

    def take_secret(self) -> t.Any:
        """The value of the option, which from now on neither the options contain nor Ansible masks."""
        if self.taken:
            return self.taken[0]
        value = self.params.get(self.secret_option)
        self.taken = (value,)
        if value is None:
            return None
        self.params[self.secret_option] = SHOWN
        # The same text may be the value of another secret option, too, and that one is still an option.
        others = {name for name, spec in self.argument_spec.items() if spec.get("no_log")} - {self.secret_option}
        self.no_log_values -= texts(value) - {text for name in others for text in texts(self.params.get(name))}
        return value

    def fail_json(self, msg: str, **details: t.Any) -> t.NoReturn:
        """Also of options that Ansible rejects while the module is being made."""
        if hasattr(self, "params"):
            self.take_secret()
        super().fail_json(msg, **details)
        raise AssertionError("fail_json ends the process")


def texts(value: t.Any) -> set[str]:
    """What Ansible masks of a value."""
    if isinstance(value, dict):
        return {text for one in value.values() for text in texts(one)}
    if isinstance(value, (list, tuple, set)):
        return {text for one in value for text in texts(one)}
    return {str(value)} if value is not None else set()
