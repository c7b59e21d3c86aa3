# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Variables that look like ours and are not. Private: may change without notice.

An inventory also holds variables of its owner and of other collections, with the same prefixes. So a name is only
reported if it is close to one of ours, and nothing else in the inventory uses it.
"""

from __future__ import annotations

import difflib
import fnmatch
import re
import typing as t

PREFIX = "nixci_"
# Where the owner of an inventory lists variables of their own.
OWN = "nixci_other_variables"
# What the playbooks set themselves, which a fact cache may bring back.
OURS_AT_RUN_TIME = re.compile(
    r"(?:nixci_(?:problems|host|host_problem|inventory|storage|onepassword|roles|roles_by_tag|host_roles|hosts|group)|attic_environment_version|\w+_result)"
)

TYPO = 0.8
TYPO_IN_THE_PREFIX = 0.9
ANOTHER_WORD = 0.7
SIMILAR_WORDS = 0.6


def unknown(variables: t.Mapping[str, t.Any], known: t.Collection[str]) -> tuple[list[str], list[str]]:
    """Problems, and what is only worth a warning."""
    prefixes = {name.partition("_")[0] + "_" for name in known} | {PREFIX}
    own = variables.get(OWN) or []
    patterns = [str(one) for one in own] if isinstance(own, list) else [str(own)]
    used = _used(variables)
    problems, warnings = [], []
    for name in sorted(variables):
        if name in known or name in used or name.startswith(("_", "ansible_")) or OURS_AT_RUN_TIME.fullmatch(name):
            continue
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns):
            continue
        prefix = next((one for one in prefixes if name.lower().startswith(one)), "")
        nearest, typo = _nearest(name.lower(), prefix, known)
        if prefix == PREFIX or typo:
            remedy = f"did you mean {nearest}?" if nearest else "no role reads it, so remove it."
            problems.append(f"The variable {name} is unknown; {remedy} If it is yours, list it in {OWN}.")
        elif nearest:
            warnings.append(
                f"The variable {name} is not one of pantheros.nixci and has no effect on it. If you meant {nearest}, "
                f"rename it; if it is yours, list it in {OWN}."
            )
    return problems, warnings


def nearest_of(name: str, known: t.Collection[str]) -> str | None:
    """For other names, such as keys of a setting."""
    return next(iter(difflib.get_close_matches(name.lower(), known, n=1, cutoff=SIMILAR_WORDS)), None)


def _nearest(name: str, prefix: str, known: t.Collection[str]) -> tuple[str | None, bool]:
    """The most similar of our names, if it is similar enough, and whether the other one looks mistyped."""
    candidates = [one for one in known if one.startswith(prefix)]
    scores = {one: _ratio(name[len(prefix) :], one[len(prefix) :]) for one in candidates}
    best = max(sorted(scores), key=lambda one: scores[one])
    if not prefix:
        return (best, True) if scores[best] >= TYPO_IN_THE_PREFIX else (None, False)
    if prefix == PREFIX and scores[best] < SIMILAR_WORDS:
        words = set(name.split("_"))
        return next((one for one in sorted(candidates) if words <= set(one.split("_"))), None), True
    if prefix != PREFIX and scores[best] < ANOTHER_WORD:
        return None, False
    return best, scores[best] >= TYPO and not _other_words(name[len(prefix) :], best[len(prefix) :])


def _other_words(one: str, other: str) -> bool:
    """Whether two names differ by whole words, as names do that mean something else."""
    mine, theirs = one.split("_"), other.split("_")
    left = [word for word in mine if word not in theirs]
    right = [word for word in theirs if word not in mine]
    if not left and not right:  # the same words in another order
        return False
    return _ratio("".join(left), "".join(right)) < SIMILAR_WORDS


def _ratio(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one, other, autojunk=False).ratio()


def _used(variables: t.Mapping[str, t.Any]) -> set[str]:
    """Names in the templates of other variables."""
    found: set[str] = set()
    for name, value in variables.items():
        found.update(word for word in _words(value) if word != name)
    return found


def _words(value: t.Any) -> t.Iterator[str]:
    if isinstance(value, str):
        if "{{" in value or "{%" in value:
            yield from re.findall(r"[A-Za-z_]\w*", value)
    elif isinstance(value, dict):
        for one in value.values():
            yield from _words(one)
    elif isinstance(value, list):
        for one in value:
            yield from _words(one)
