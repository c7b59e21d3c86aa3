#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes docs/plugins/, docs/roles/README.md and the README.md of each role from the documentation in the sources, and the
text of the host's revert into a module of Python.

With --check it writes nothing and fails if a page is not what it would write.
"""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys
import typing as t

import yaml
from antsibull_docs_parser import dom
from antsibull_docs_parser.format import LinkProvider
from antsibull_docs_parser.md import MDFormatter, to_md
from antsibull_docs_parser.parser import Context, parse

ROOT = pathlib.Path(__file__).resolve().parents[1]
COLLECTION = "pantheros.nixci"
ANSIBLE_DOC = pathlib.Path(sys.executable).with_name("ansible-doc")
NOTICE = "<!-- Made by scripts/docs.py from the sources; change those. -->"
REVERT = ROOT / "plugins/module_utils/_nixos/revert_script.py"
LICENSE_LINES = (
    "# Copyright: (c) 2026, The pantheros.nixci contributors",
    "# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)",
    # REUSE-IgnoreStart
    "# SPDX-License-Identifier: GPL-3.0-or-later",
    # REUSE-IgnoreEnd
)
STATES = {"full": "yes", "none": "no", "partial": "partly"}
Json = dict[str, t.Any]


class Plain(MDFormatter):
    """Markdown that is good to read before it is rendered, too."""

    def format_text(self, part: dom.TextPart) -> str:
        return re.sub(r"([*_<>\[\]`\\])", r"\\\1", part.text)

    def format_code(self, part: dom.CodePart) -> str:
        return f"`{part.text}`"

    def format_bold(self, part: dom.BoldPart) -> str:
        return f"**{part.text}**"

    def format_italic(self, part: dom.ItalicPart) -> str:
        return f"*{part.text}*"

    def format_env_variable(self, part: dom.EnvVariablePart) -> str:
        return f"`{part.name}`"

    def format_option_value(self, part: dom.OptionValuePart) -> str:
        return f"`{part.value}`"

    def format_url(self, part: dom.URLPart) -> str:
        return f"<{part.url}>"

    def format_link(self, part: dom.LinkPart) -> str:
        return f"[{part.text}]({part.url})"

    def format_option_name(self, part: dom.OptionNamePart, url: str | None) -> str:
        return self._format_option_like(part, url)

    def format_return_value(self, part: dom.ReturnValuePart, url: str | None) -> str:
        return self._format_option_like(part, url)

    def format_module(self, part: dom.ModulePart, url: str | None) -> str:
        return f"[{part.fqcn}]({url})" if url else f"`{part.fqcn}`"

    def format_plugin(self, part: dom.PluginPart, url: str | None) -> str:
        return f"[{part.plugin.fqcn}]({url})" if url else f"`{part.plugin.fqcn}`"

    @staticmethod
    def _format_option_like(part: dom.OptionNamePart | dom.ReturnValuePart, url: str | None) -> str:
        text = part.name if part.value is None else f"{part.name}: {part.value}"
        return f"[`{text}`]({url})" if url else f"`{text}`"


class Links(LinkProvider):
    """Other plugins of this collection have pages, too; the address is relative to the page that links there."""

    def __init__(self, start: pathlib.Path) -> None:
        self.start = start

    def plugin_link(self, plugin: dom.PluginIdentifier) -> str | None:
        collection, _dot, name = plugin.fqcn.rpartition(".")
        target = role_page(name) if plugin.type == "role" else plugin_page(name)
        return os.path.relpath(target, self.start.parent) if collection == COLLECTION else None


def plugin_page(name: str) -> pathlib.Path:
    return ROOT / f"docs/plugins/{name}.md"


def role_page(name: str) -> pathlib.Path:
    # Galaxy shows a role by the file of this name.
    return ROOT / f"roles/{name}/README.md"


def revert_script() -> dict[pathlib.Path, str]:
    """The host's revert for hosts without our NixOS modules."""
    header = "".join(f"{line}\n" for line in LICENSE_LINES)
    text = (ROOT / "nix/modules/revert.sh").read_text()
    assert '"""' not in text
    doc = (
        '"""nix/modules/revert.sh as text. Made by scripts/docs.py; do not edit. Private: may change without notice."""'
    )
    return {REVERT: f'{header}{doc}\n\nTEXT = r"""{text}"""\n'}


def main() -> int:
    pages = plugin_pages() | role_pages() | revert_script()
    patterns = ("docs/plugins/*.md", "docs/roles/*.md", "roles/*/README.md")
    stale = {path for pattern in patterns for path in ROOT.glob(pattern)} - pages.keys()
    changed = {path for path, text in pages.items() if not path.exists() or path.read_text() != text}
    if "--check" in sys.argv:
        for path in sorted(stale | changed):
            print(f"{path.relative_to(ROOT)} is not what the sources say; run 'make docs'.")
        return bool(stale | changed)
    for path in stale:
        path.unlink()
    for path in changed:
        path.parent.mkdir(exist_ok=True)
        path.write_text(pages[path])
    return 0


def documented(kind: str, names: t.Iterable[str]) -> dict[str, Json]:
    command = [str(ANSIBLE_DOC), "--json", "--type", kind, *(f"{COLLECTION}.{name}" for name in names)]
    env = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".collections")}
    return json.loads(subprocess.run(command, env=env, stdout=subprocess.PIPE, check=True).stdout)


# ---- modules and lookups ------------------------------------------------------------------------------------------


def plugin_pages() -> dict[pathlib.Path, str]:
    pages, rows = {}, []
    for kind, folder in (("module", "modules"), ("lookup", "lookup")):
        names = sorted(path.stem for path in (ROOT / "plugins" / folder).glob("*.py"))
        for fqcn, plugin in sorted(documented(kind, names).items()):
            name, doc = fqcn.rpartition(".")[2], plugin["doc"]
            pages[plugin_page(name)] = plugin_text(fqcn, kind, plugin)
            rows.append(f"| [{name}]({name}.md) | {kind} | {sentence(doc['short_description'])} |")
    table = ["| name | kind | what it does |", "| --- | --- | --- |", *rows]
    pages[ROOT / "docs/plugins/README.md"] = page("# Modules and the lookup", NOTICE, "\n".join(table))
    return pages


def plugin_text(fqcn: str, kind: str, plugin: Json) -> str:
    doc = plugin["doc"]
    markup = Markup(dom.PluginIdentifier(fqcn=fqcn, type=kind), plugin_page(fqcn.rpartition(".")[2]))
    parts = [f"# {fqcn.rpartition('.')[2]}", NOTICE]
    parts += [f"{sentence(doc['short_description'])} ({kind}, since version {doc['version_added']})."]
    parts += [markup.paragraphs(doc["description"])]
    if doc.get("requirements"):
        parts += ["Needs: " + "; ".join(markup.text(one) for one in doc["requirements"]) + "."]
    if doc.get("notes"):
        parts += ["\n".join(f"- {markup.text(note)}" for note in doc["notes"])]
    if kind == "lookup":
        parts += ["## Terms", markup.options({"_terms": doc["options"].pop("_terms")})]
    if doc.get("options"):
        parts += ["## Options", markup.options(doc["options"])]
    if doc.get("attributes"):
        parts += ["## What it supports", markup.attributes(doc["attributes"])]
    parts += ["## Examples", f"```yaml\n{plugin['examples'].strip()}\n```"]
    parts += ["## Return values", markup.returns(plugin["return"])]
    if doc.get("seealso"):
        parts += ["## See also", "\n".join(f"- {markup.see(one)}" for one in doc["seealso"])]
    return page(*parts)


# ---- roles --------------------------------------------------------------------------------------------------------


def role_pages() -> dict[pathlib.Path, str]:
    names = sorted(path.parents[1].name for path in ROOT.glob("roles/*/meta/argument_specs.yml"))
    index = ROOT / "docs/roles/README.md"
    pages, rows = {}, []
    for fqcn, role in sorted(documented("role", names).items()):
        name = fqcn.rpartition(".")[2]
        parts = [f"# Role {name}", NOTICE]
        # The entry point that a playbook uses without tasks_from comes first.
        for entry, doc in sorted(role["entry_points"].items(), key=lambda item: (item[0] != "main", item[0])):
            markup = Markup(dom.PluginIdentifier(fqcn=fqcn, type="role"), role_page(name), entry)
            title = "" if entry == "main" else f"## Entry point `{entry}`\n\n"
            parts += [f"{title}{sentence(doc['short_description'])}", markup.paragraphs(doc.get("description") or [])]
            if doc.get("options"):
                parts += ["## Variables" if entry == "main" else "Variables:", markup.options(doc["options"])]
        pages[role_page(name)] = page(*parts)
        if not name.startswith("_"):  # those serve the other roles only
            link = os.path.relpath(role_page(name), index.parent)
            rows.append(f"| [{name}]({link}) | {sentence(role['entry_points']['main']['short_description'])} |")
    table = ["| name | what it does |", "| --- | --- |", *rows]
    pages[index] = page("# Roles", NOTICE, "\n".join(table))
    return pages


# ---- pieces -------------------------------------------------------------------------------------------------------


class Markup:
    """Ansible's markup and data, as Markdown, seen from one plugin or one entry point of a role."""

    def __init__(self, plugin: dom.PluginIdentifier, start: pathlib.Path, entry_point: str | None = None) -> None:
        self.context = Context(current_plugin=plugin, role_entrypoint=entry_point)
        self.links = Links(start)

    def text(self, text: str) -> str:
        parsed = parse(str(text), self.context, errors="exception")
        return to_md(parsed, Plain(), self.links, current_plugin=self.context.current_plugin)

    def paragraphs(self, texts: str | list[str], indent: str = "") -> str:
        texts = [texts] if isinstance(texts, str) else texts
        return "\n\n".join(indent + self.text(one) for one in texts)

    def options(self, options: Json, indent: str = "") -> str:
        lines = []
        for name, option in sorted(options.items(), key=lambda item: (not item[1].get("required"), item[0])):
            facts = [typed(option)]
            facts += ["required"] if option.get("required") else []
            facts += [f"default `{data(option['default'])}`"] if option.get("default") is not None else []
            facts += (
                ["one of " + ", ".join(f"`{data(one)}`" for one in option["choices"])] if option.get("choices") else []
            )
            facts += [f"or from `{one['name']}`" for one in option.get("env") or []]
            lines.append(f"{indent}- **`{name}`** ({'; '.join(facts)})")
            lines.append(self.paragraphs(option["description"], indent + "  "))
            inner = option.get("suboptions") or option.get("options")  # as modules and as roles call it
            if inner:
                lines.append(self.options(inner, indent + "  "))
        return "\n\n".join(lines)

    def returns(self, values: Json, indent: str = "") -> str:
        lines = []
        for name, value in values.items():
            facts = [typed(value)] + ([f"returned: {value['returned']}"] if value.get("returned") else [])
            lines.append(f"{indent}- **`{name}`** ({'; '.join(facts)})")
            lines.append(self.paragraphs(value["description"], indent + "  "))
            if value.get("contains"):
                lines.append(self.returns(value["contains"], indent + "  "))
            elif "sample" in value:
                lines.append(f"{indent}  Sample: `{data(value['sample'])}`")
        return "\n\n".join(lines)

    def see(self, one: Json) -> str:
        target = (
            f"[{one['name']}]({one['link']})"
            if "link" in one
            else self.text(f"M({one.get('module') or one['plugin']})")
        )
        return f"{target}: {self.text(one['description'])}" if one.get("description") else target

    def attributes(self, attributes: Json) -> str:
        rows = ["| | | |", "| --- | --- | --- |"]
        for name, one in attributes.items():
            told = one.get("details") or one["description"]
            told = told if isinstance(told, str) else " ".join(told)
            rows.append(f"| {name} | {STATES.get(one.get('support'), one.get('support', ''))} | {self.text(told)} |")
        return "\n".join(rows)


def typed(value: Json) -> str:
    kind = value.get("type", "str")
    return f"list of {value['elements']}" if kind == "list" and value.get("elements") else kind


def data(value: t.Any) -> str:
    if isinstance(value, str):
        return value.replace("\n", "\\n") or '""'
    return (
        yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**6).removesuffix("\n...\n").strip()
    )


def sentence(text: str) -> str:
    return text.rstrip(".")


def page(*parts: str) -> str:
    text = "\n\n".join(part for part in parts if part)
    return re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE) + "\n"


if __name__ == "__main__":
    sys.exit(main())
