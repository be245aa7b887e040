"""Which labels the body of a block can produce, and which names it reads."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from archdsl.syntax import tree as t


def may_bear(definition: t.Definition, label: str) -> bool:
    """Return whether a block contains a label, for some numbers in its gaps."""
    written = _written(definition)
    # Copies of a repeat have numbers behind the label.
    shortest = len(label.rstrip("0123456789"))
    plain = any(label[:n] in written.plain for n in range(shortest, len(label) + 1))
    return plain or any(pattern.fullmatch(label) for pattern in written.computed)


def may_be(label: t.Label, name: str) -> bool:
    """Return whether a label is a name, for some numbers in its gaps."""
    if len(label.parts) == 1:
        return label.parts[0] == name
    return _pattern(label).fullmatch(name) is not None


def names_read(part: t.SyntaxNode) -> set[str]:
    """Return the names of values, words and functions that a part of a block uses."""
    found: set[str] = set()
    stack: list[object] = [part]
    while stack:
        node = stack.pop()
        if isinstance(node, list):
            stack.extend(node)
        elif isinstance(node, t.SyntaxNode):
            if isinstance(node, t.Name | t.Partial):
                found.add(node.id)
            elif isinstance(node, t.Call):
                found.add(node.word)
            stack.extend(vars(node).values())
    return found


class _Written(NamedTuple):
    """The labels in a block's text: those without numbers, and patterns."""

    plain: frozenset[str]
    computed: tuple[re.Pattern[str], ...]


@lru_cache(maxsize=256)  # cached, since it is used in every error about a name
def _written(definition: t.Definition) -> _Written:
    plain: set[str] = set()
    computed: dict[re.Pattern[str], None] = {}
    for label in _labels(definition):
        texts = [part for part in label.parts if isinstance(part, str)]
        if len(texts) == len(label.parts):
            plain.add("".join(texts))
        else:
            computed[_pattern(label)] = None
    return _Written(frozenset(plain), tuple(computed))


def _pattern(label: t.Label) -> re.Pattern[str]:
    parts = (re.escape(p) if isinstance(p, str) else r"-?\d+" for p in label.parts)
    return re.compile("".join(parts) + r"\d*")


def _labels(definition: t.Definition) -> Iterator[t.Label]:
    stack: list[object] = [definition.body]
    while stack:
        node = stack.pop()
        if isinstance(node, list):
            stack.extend(node)
        elif isinstance(node, t.SyntaxNode) and not isinstance(node, t.Expr):
            if isinstance(node, t.ChainStep) and node.label is not None:
                yield node.label
            stack.extend(vars(node).values())
