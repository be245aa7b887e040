"""Which labels the text of a block could make, and which names it reads."""

from __future__ import annotations

import re
from collections.abc import Iterator

from archdsl.syntax import tree as t


def may_bear(definition: t.Definition, label: str) -> bool:
    """Return whether a label, with some numbers in its places, stands in a block."""
    return any(_pattern(written).fullmatch(label) for written in _labels(definition))


def names_read(part: t.Node) -> set[str]:
    """Return the names of values, words and functions in a part of a block."""
    found: set[str] = set()
    stack: list[object] = [part]
    while stack:
        node = stack.pop()
        if isinstance(node, list):
            stack.extend(node)
        elif isinstance(node, t.Node):
            if isinstance(node, t.Name | t.Partial):
                found.add(node.id)
            elif isinstance(node, t.Call):
                found.add(node.word)
            stack.extend(vars(node).values())
    return found


def _pattern(label: t.Label) -> re.Pattern[str]:
    parts = (re.escape(p) if isinstance(p, str) else r"-?\d+" for p in label.parts)
    return re.compile("".join(parts) + r"\d*")


def _labels(definition: t.Definition) -> Iterator[t.Label]:
    stack: list[object] = [definition.body]
    while stack:
        node = stack.pop()
        if isinstance(node, list):
            stack.extend(node)
        elif isinstance(node, t.Node) and not isinstance(node, t.Expr):
            if isinstance(node, t.Step) and node.label is not None:
                yield node.label
            stack.extend(vars(node).values())
