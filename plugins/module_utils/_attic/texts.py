# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys, tokens and addresses as files and commands give them. Private: may change without notice.

Nothing but the standard library, because attic_roundtrip needs it on the host.
"""

from __future__ import annotations

import typing as t

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


def strip_blanks(module: AnsibleModule, *options: str) -> None:
    """Take away what surrounds the values of these options, such as the newline at the end of a file.

    None of it belongs to a key, a token or an address. The masks of secrets follow.
    """
    for option in options:
        given = module.params[option]
        if given is None or (value := given.strip()) == given:
            continue
        module.params[option] = value
        if given in module.no_log_values and value:
            module.no_log_values.add(value)
