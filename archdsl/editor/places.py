"""The nodes around a place in a tree, and the names known there."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from archdsl.ir import OWNERS, Group, Step
from archdsl.source import Source, Span
from archdsl.syntax import tree as t

_WORD = re.compile(r"\w+", re.ASCII)

Trail = tuple[t.SyntaxNode, ...]
# The parts that text makes in the shown network, by its start and end.
MadeParts = Mapping[tuple[int, int], Sequence[Step | Group]]


def word_at(source: Source, offset: int) -> Span:
    """Return the word around a place, or an empty span if there is none."""
    start = source.text.rfind("\n", 0, offset) + 1
    for found in _WORD.finditer(source.text, start):
        if found.start() > offset:
            break
        if found.end() >= offset:
            return Span(source, found.start(), found.end())
    return Span(source, offset, offset)


def trail(file: t.File, offset: int) -> Trail:
    """Return the nodes around a place, from the file's item to the innermost one.

    It is empty between items. A place between two nodes belongs to the first.
    """
    for item in file.items:
        found = _down(item, offset)
        if found and isinstance(found[0], t.Label) and isinstance(found[1], t.Tap):
            del found[0]  # a tap consists of its path only
        if found:
            return (*reversed(found),)
    return ()


def _down(node: t.SyntaxNode, offset: int) -> list[t.SyntaxNode]:
    """Return the nodes around a place, the innermost first."""
    for child in children(node):
        found = _down(child, offset)
        if found:
            found.append(node)
            return found
    span = getattr(node, "span", None)
    inside = span is not None and span.start <= offset <= span.end
    return [node] if inside else []


def children(node: t.SyntaxNode) -> Iterator[t.SyntaxNode]:
    """Yield the nodes directly below one."""
    for value in vars(node).values():
        if isinstance(value, t.SyntaxNode):
            yield value
        elif isinstance(value, list):
            yield from (part for part in value if isinstance(part, t.SyntaxNode))


class Declared(NamedTuple):
    """A name for a value.

    Attributes:
        kind: ``parameter``, ``name`` (of a `let`), ``loop variable`` or ``input``.
        span: where it is declared.
        type: the declared type of a parameter, if any.
        value: the default of a parameter, or the value of a name.
        owner: the definition that has the parameter.
    """

    kind: str
    span: Span
    type: str | None = None
    value: t.Expr | None = None
    owner: t.SyntaxNode | None = None


def names_at(around: Trail, offset: int) -> Mapping[str, Declared]:
    """Return the names for values that are known at a place; inner ones win."""
    found: dict[str, Declared] = {}
    for node, inner in zip(around, (*around[1:], None), strict=True):
        match node:
            case t.Definition() | t.FunctionDef() | t.OpDef():
                for param in node.params:
                    if param is inner and offset > param.span.end:
                        break  # a default can only use the parameters before it
                    found[param.name] = Declared(
                        "parameter", param.span, param.type, param.default, node
                    )
            case t.Branch():
                for statement in node.statements:
                    if isinstance(statement, t.Let) and statement.span.end <= offset:
                        found[statement.name] = Declared(
                            "name", statement.span, value=statement.value
                        )
                if node.each is not None:
                    found |= _targets(node.each.targets)
            case t.For():
                if inner is not node.iterable:
                    found |= _targets(node.targets)
            case t.Comprehension():
                if inner is not node.iterable:
                    found |= _targets(node.targets)
            case _:
                pass
    return found


def _targets(targets: t.Targets) -> dict[str, Declared]:
    named = Declared("loop variable", targets.span)
    return dict.fromkeys(targets.all_names(), named)


def parts_around(made: MadeParts, around: Trail) -> dict[str, Step | Group]:
    """Return the parts, by name, of the innermost namespace around a place.

    Args:
        made: the parts that the text makes.
        around: the nodes around the place.
    """
    nodes = [node for some in made.values() for node in some]
    found: list[Step | Group] = []
    for owner in reversed(around):
        if isinstance(owner, t.ChainStep) and owner.label is not None:
            start = owner.span.start
            groups = [one for one in _owners(nodes) if one.span.start == start]
            found = [part for group in groups for part in group.parts()]
            break
        if isinstance(owner, t.Definition) and owner.is_network:
            found = [node for node in nodes if node.name and node.path == node.name]
            break
        if isinstance(owner, t.Definition):
            own = f"{owner.span.source.name}:{owner.span.start}"
            groups = [one for one in _owners(nodes) if one.origin == own]
            found = [part for group in groups for part in group.parts()]
    return {part.name: part for part in found}


def _owners(nodes: Sequence[Step | Group]) -> Iterator[Group]:
    for node in nodes:
        if isinstance(node, Group) and node.role in OWNERS:
            yield node


def labels_at(around: Trail, offset: int) -> list[t.ChainStep]:
    """Return the labelled steps that a tap at a place can read, in order."""
    found: list[t.ChainStep] = []
    for node in around:
        if isinstance(node, t.Branch):
            for statement in node.statements:
                found += _labelled(statement, offset)
    return list({id(step): step for step in found}.values())


def _labelled(
    node: t.Statement | t.Body | t.Branch, offset: int
) -> Iterator[t.ChainStep]:
    match node:
        case t.Chain():
            for step in node.steps:
                if step.label is not None and step.span.end < offset:
                    yield step
                elif step.label is None:
                    body = getattr(step, "body", None)
                    if isinstance(body, t.Body):
                        yield from _labelled(body, offset)
        case t.Output():
            yield from _labelled(node.chain, offset)
        case t.For():
            yield from _labelled(node.body, offset)
        case t.If():
            yield from _labelled(node.body, offset)
            if node.otherwise is not None:
                yield from _labelled(node.otherwise, offset)
        case t.Body():
            for branch in node.branches:
                yield from _labelled(branch, offset)
        case t.Branch():
            for statement in node.statements:
                yield from _labelled(statement, offset)
        case _:
            pass
