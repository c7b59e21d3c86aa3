# SPDX-License-Identifier: GPL-3.0-or-later
"""Every .nix file parses, has no unused binding, and shows where each name comes from."""

from __future__ import annotations

import subprocess
import typing as t
from collections.abc import Iterator

import pytest
import tree_sitter_nix
from tree_sitter import Language, Node, Parser

from .conftest import ROOT

PARSER = Parser(Language(tree_sitter_nix.language()))
TRACKED = subprocess.run(["git", "ls-files", "*.nix"], cwd=ROOT, capture_output=True, text=True, check=True)
FILES = TRACKED.stdout.splitlines()


def nodes(node: Node) -> Iterator[Node]:
    yield node
    for child in node.children:
        yield from nodes(child)


def text(node: Node) -> str:
    return (node.text or b"").decode()


def inherited(node: Node) -> list[Node]:
    return [name for child in node.children if child.type == "inherited_attrs" for name in child.named_children]


def bound(scope: Node) -> Iterator[Node]:
    """The identifiers that a `let` or a function binds; an empty one stands for a trailing comma."""
    if scope.type == "function_expression":
        universal = scope.child_by_field_name("universal")
        formals = scope.child_by_field_name("formals")
        if universal is not None:
            yield universal
        for formal in formals.named_children if formals is not None else []:
            if formal.type == "formal":
                yield t.cast(Node, formal.child_by_field_name("name"))
    else:
        for bindings in (child for child in scope.children if child.type == "binding_set"):
            for binding in bindings.named_children:
                if binding.type == "binding":
                    yield t.cast(Node, binding.child_by_field_name("attrpath")).named_children[0]
                elif binding.type in ("inherit", "inherit_from"):
                    yield from inherited(binding)


def used(scope: Node) -> Iterator[str]:
    """The names that are read below, `inherit x;` included; inner scopes that bind the same name are not distinguished."""
    for node in nodes(scope):
        if node.type == "variable_expression":
            yield text(node)
        elif node.type == "inherit" and (node.parent is None or node.parent.parent != scope):
            yield from (text(name) for name in inherited(node))


def complaints(source: bytes) -> list[str]:
    found = []
    for node in nodes(PARSER.parse(source).root_node):
        where = f"line {node.start_point.row + 1}: "
        if node.type == "with_expression":
            found.append(f"{where}`with` hides where names come from")
        elif node.type in ("let_expression", "function_expression"):
            reads = set(used(node))
            found += [
                f"{where}{text(name)} is never used"
                for name in bound(node)
                if text(name) not in reads and not text(name).startswith("_") and text(name)
            ]
    return found


@pytest.mark.parametrize("file", FILES)
def test_file_is_clean(file: str) -> None:
    assert complaints((ROOT / file).read_bytes()) == []


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        (b"let a = 1; in 2", "a is never used"),
        (b"{ lib, pkgs, ... }: lib", "pkgs is never used"),
        (b"args@{ lib, ... }: lib", "args is never used"),
        (b"let inherit (x) a b; in a", "b is never used"),
        (b"with lib; id", "`with`"),
    ],
)
def test_the_linter_finds(source: bytes, complaint: str) -> None:
    assert any(complaint in found for found in complaints(source))


@pytest.mark.parametrize(
    "source",
    [b"let a = 1; in { inherit a; }", b"_: 1", b"{ lib, ... }: let inherit (lib) id; in id 1", b"let a.b = 1; in a"],
)
def test_the_linter_accepts(source: bytes) -> None:
    assert complaints(source) == []


def test_nix_itself_parses_every_file(nix: t.Callable[..., subprocess.CompletedProcess[str]]) -> None:
    done = nix("--parse", *(f"/checkout/{file}" for file in FILES))
    assert done.returncode == 0, done.stderr
