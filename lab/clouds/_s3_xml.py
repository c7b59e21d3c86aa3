# SPDX-License-Identifier: GPL-3.0-or-later
"""The documents of S3: what a client sends, and what it gets."""

from __future__ import annotations

import datetime
import typing as t
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from lab.clouds._sigv4 import Denied

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
Content = t.Any  # text, a number, or a list of pairs


def document(root: str, content: Content) -> bytes:
    """Members in the order of the list; a list of pairs is an element with members."""
    head = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
    return f'{head}<{root} xmlns="{NAMESPACE}">{_text(content)}</{root}>'.encode()


def error(code: str, message: str) -> bytes:
    head = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
    return f"{head}<Error>{_text([('Code', code), ('Message', message)])}</Error>".encode()


def _text(content: Content) -> str:
    if isinstance(content, list):
        return "".join(f"<{name}>{_text(each)}</{name}>" for name, each in content)
    # XML has no way to write control characters.
    return escape("".join(each if each >= " " else "?" for each in str(content)))


def parse(data: bytes, root: str) -> ElementTree.Element:
    """The document, without namespaces."""
    try:
        found = ElementTree.fromstring(data)  # noqa: S314 - limited in size, and expat limits what entities make of it
    except (ElementTree.ParseError, ValueError, LookupError, RecursionError):
        raise malformed() from None
    for each in found.iter():
        each.tag = str(each.tag).rpartition("}")[2]
    if found.tag != root:
        raise malformed()
    return found


def malformed() -> Denied:
    return Denied(
        400, "MalformedXML", "The XML you provided was not well-formed or did not validate against our published schema"
    )


def moment(seconds: float) -> str:
    return f"{datetime.datetime.fromtimestamp(seconds, datetime.UTC):%Y-%m-%dT%H:%M:%S}.{int(seconds % 1 * 1000):03d}Z"
