# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Nix, nixos-rebuild and switch-to-configuration print. Pure. Private: may change without notice.

The texts differ between releases: Nix before 2.19 prints positions without a trace, nixos-rebuild exists in Bash and in
Python, switch-to-configuration in Perl and in Rust. The tests read recorded ones.
"""

from __future__ import annotations

import re
import textwrap

from .._core.redact import redact_log

# Every failed assertion must be readable, and a trace is no part of the message.
ERROR_LINES = 60
LOG_LINES = 15
TAIL_LINES = 25

# nixos-rebuild in Python ends with it. A builder's log may hold the same words.
_COMMAND_FAILED = re.compile(
    r"^(?:error: )?Command '(?:(?!^(?:error: )?Command ').)*returned non-zero exit status \d+\.\s*\Z", re.M | re.S
)
_BUILD_FAILED = re.compile(
    r"builder for '|builder failed|Cannot build '|dependenc(?:y|ies) of derivation|[Bb]uild of '.*failed|"
    r"hash mismatch in fixed-output|^error: unable to download|^error: .*no space left on device",
    re.M | re.I,
)
_ERROR = re.compile(r"^\s*error:(?P<text>.*)$")
_CONTEXT = re.compile(r"^\s*… (?P<text>.+)$")
_POSITION = re.compile(r"^\s*at (?P<position>.+:\d+:\d+):$")
_EXCERPT = re.compile(r"^\s*\d+\||^\s+\|\s*\^?\s*$")
_NOISE = re.compile(r"^\s*\((?:stack trace truncated|use '--show-trace')")
_OPTION = re.compile(r"while evaluating the option `(.+)':?")
# Of the trace, what the module system adds; the rest is the evaluator's own way through its files.
_TELLING = re.compile(
    r"while evaluating the option|while evaluating definitions from|while evaluating the module argument|"
    r"if you get an infinite recursion"
)
_LOG_HEADING = re.compile(r"^\s*last \d+ log lines:$", re.I)
_SHOWN_LOG = re.compile(r"^\s*> ?(?P<line>.*)$")
_NIX_OWN_LINE = re.compile(
    r"building '/|copying path '|these? .*(?:will|would) be |this derivation will|building the system|"
    r"evaluation warning:|trace: |warning: |  /nix/store/"
)

# At the beginning of a line, because `systemctl status` of a failed unit shows what the unit said.
LOCKED = re.compile(r"^Could not acquire lock", re.M)
UNIT_EXISTS = re.compile(r"was already loaded|already loaded or has a fragment")
CHECK_FAILED = re.compile(r"^Pre-switch checks? (?:'.*' )?failed", re.M)
INHIBITED = re.compile(
    r"^There are changes to critical components of the system:|^Pre-switch check 'switchInhibitors' failed", re.M
)
NOT_STARTED = re.compile(r"^Failed to (?:start transient|connect to)", re.M)
BEGUN = re.compile(r"^activating the configuration\.\.\.", re.M)
SCRIPT_FAILED = re.compile(r"^Failed to run activate script", re.M)
_UNITS = re.compile(r"^warning: the following units failed:[ \t]*(.*)$", re.M)
_USER_UNITS = re.compile(r"^warning: the following user units failed:[ \t]*(.*)$", re.M)
_USERS = re.compile(r"^warning: user activation for (\S+) failed", re.M)
# Of the program in Rust, or of the systemctl that the one in Perl calls. A unit whose dependency failed is in no other list.
_JOBS = re.compile(
    r"^Failed to (?:start|restart|reload|stop|reload-or-restart|verify-start|try-restart) (\S+\.\w+)(?::|$)|"
    r"^(?:Job|A dependency job) for (\S+\.\w+) (?:failed|canceled|timed out|invalid)|"
    r"^Assertion failed on job for (\S+\.\w+)\.",
    re.M,
)
_SNIPPETS = re.compile(r"^Activation script snippet '(.+)' failed", re.M)
_WOULD = re.compile(r"^would (stop|restart|reload|start) the following units: (.+)$", re.M)


def is_build_failure(text: str) -> bool:
    return bool(_BUILD_FAILED.search(_without_end(text)))


def evaluation_error(text: str) -> str:
    """The module system's or the evaluator's own message with its place, without the trace before it."""
    lines = _without_end(text).splitlines()
    start = _last_error(lines)
    if start is None:
        return tail(text)
    first = _ERROR.match(lines[start])
    message, places = [first["text"].strip() if first else ""], []
    for line in lines[start + 1 :]:
        if (at := _POSITION.match(line)) is not None:
            places.append(at["position"])
        elif not _EXCERPT.match(line) and not _NOISE.match(line) and line.strip():
            message.append(line)
    shown = [line for line in [message[0], *textwrap.dedent("\n".join(message[1:])).splitlines()] if line]
    return _bounded([*shown, *(f"at {place}" for place in places[:1]), *_context(lines[:start], "\n".join(shown))])


def build_error(text: str) -> str:
    """The first error, because the others only depend on it, and the builder's log, which may stand before it."""
    lines = _without_end(text).splitlines()
    starts = [number for number, line in enumerate(lines) if line.startswith("error:")]
    if not starts:
        return tail(text)
    end = starts[1] if len(starts) > 1 else len(lines)
    block = [line for line in lines[starts[0] : end] if line.strip() and not _NOISE.match(line)]
    log = [shown["line"] for line in block if (shown := _SHOWN_LOG.match(line))]
    if not log:
        log = [line for line in lines[: starts[0]] if line.strip() and not _NIX_OWN_LINE.match(line)]
    message = [line for line in block if not _SHOWN_LOG.match(line) and not _LOG_HEADING.match(line)]
    message[0] = message[0].removeprefix("error:").strip()
    if len(log) > LOG_LINES:
        log = [f"({len(log) - LOG_LINES} lines before these)", *log[-LOG_LINES:]]
    return _bounded([*(line.strip() for line in message), *(f"> {line}" for line in log)])


def tail(text: str) -> str:
    return redact_log("\n".join([line for line in text.splitlines() if line.strip()][-TAIL_LINES:]))


def would(text: str) -> dict[str, list[str]]:
    """What a dry activation says about units."""
    found = {verb: _names(units) for verb, units in _WOULD.findall(text)}
    return {verb: found.get(verb, []) for verb in ("stop", "restart", "reload", "start")}


def failed_units(text: str) -> list[str]:
    named = [name for units in _UNITS.findall(text) for name in _names(units)]
    jobs = [name for found in _JOBS.findall(text) for name in found if name and name != "nixos-activation.service"]
    return list(dict.fromkeys([*named, *jobs]))


def failed_user_units(text: str) -> list[str]:
    return list(dict.fromkeys(name for units in _USER_UNITS.findall(text) for name in _names(units)))


def users_not_activated(text: str) -> list[str]:
    return list(dict.fromkeys(_USERS.findall(text)))


def failed_snippets(text: str) -> list[str]:
    return list(dict.fromkeys(_SNIPPETS.findall(text)))


def _without_end(text: str) -> str:
    return _COMMAND_FAILED.sub("", text)


def _last_error(lines: list[str]) -> int | None:
    """The line on which the last error begins; a message may itself hold lines that begin with 'error:'."""
    last = None
    for number, line in enumerate(lines):
        before = lines[number - 1].strip() if number else ""
        if _ERROR.match(line) and (not line.startswith(" ") or before in ("", "error:")):
            last = number
    return last


def _context(trace: list[str], message: str) -> list[str]:
    """What the module system was evaluating, if the message does not say so itself."""
    if message.startswith("Failed assertions"):
        return []
    found = [match["text"].rstrip(":") for line in trace if (match := _CONTEXT.match(line))]
    found = [text for text in found if _TELLING.match(text)]
    options = [number for number, text in enumerate(found) if _OPTION.match(text)]
    if options:
        option = _OPTION.match(found[options[-1]])
        if option is None or option[1] in message or "option `" in message:
            return []
        found = found[options[-1] :]
    return found[-2:]


def _bounded(lines: list[str]) -> str:
    if len(lines) > ERROR_LINES:
        lines = [*lines[:ERROR_LINES], f"({len(lines) - ERROR_LINES} more lines)"]
    return redact_log("\n".join(lines))


def _names(units: str) -> list[str]:
    return [name for name in (part.strip() for part in units.split(",")) if name]
