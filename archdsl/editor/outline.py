"""The outline of a file."""

from __future__ import annotations

from typing import NamedTuple

from archdsl.source import Span
from archdsl.syntax import tree as t


class Symbol(NamedTuple):
    """One entry of the outline.

    Attributes:
        name: the name as written.
        kind: ``network``, ``block``, ``preset``, ``function``, ``op``, ``parameter``,
            ``input``, ``name`` or ``label``.
        span: the name.
        extent: the whole definition.
        children: the entries below it, in order.
    """

    name: str
    kind: str
    span: Span
    extent: Span
    children: tuple[Symbol, ...] = ()


def outline(file: t.File) -> list[Symbol]:
    """Return a file's definitions and presets, with their parameters and labels."""
    found = []
    for item in file.items:
        match item:
            case t.Definition():
                kind = "network" if item.is_network else "block"
                whole = item.span.to(item.body.span)
                inputs = [Symbol(n, "input", span, span) for n, span in item.inputs]
                inner = (*_params(item.params), *inputs, *_body(item.body))
                found.append(Symbol(item.name, kind, item.span, whole, inner))
            case t.FunctionDef():
                whole = item.span.to(item.value.span)
                found.append(Symbol(item.name, "function", item.span, whole))
            case t.OpDef():
                last = item.settings[-1].value.span if item.settings else item.span
                inner = tuple(_params(item.params))
                whole = item.span.to(last)
                found.append(Symbol(item.name, "op", item.span, whole, inner))
            case t.Preset():
                last = item.angle[-1].span if item.angle else item.network_span
                whole = item.span.to(last)
                found.append(Symbol(item.name, "preset", item.span, whole))
            case _:
                pass
    return found


def _params(params: list[t.Param]) -> list[Symbol]:
    return [Symbol(p.name, "parameter", p.span, p.span) for p in params]


def _body(body: t.Body) -> list[Symbol]:
    found: list[Symbol] = []
    for branch in body.branches:
        for statement in branch.statements:
            match statement:
                case t.Let():
                    whole = statement.span.to(statement.value.span)
                    name = statement.name
                    found.append(Symbol(name, "name", statement.span, whole))
                case t.Chain():
                    found += _chain(statement)
                case t.Output():
                    found += _chain(statement.chain)
                case t.For():
                    found += _body(statement.body)
                case t.If():
                    found += _if(statement)
                case _:
                    pass
    return found


def _if(statement: t.If) -> list[Symbol]:
    found: list[Symbol] = []
    current: t.If | t.Body | None = statement
    while isinstance(current, t.If):
        found += _body(current.body)
        current = current.otherwise
    return found + (_body(current) if current is not None else [])


def _chain(chain: t.Chain) -> list[Symbol]:
    found: list[Symbol] = []
    for step in chain.steps:
        body = getattr(step, "body", None)
        inner = _body(body) if isinstance(body, t.Body) else []
        if step.label is None:
            found += inner
            continue
        at = step.label.span
        whole = at.to(body.span if isinstance(body, t.Body) else step.span)
        found.append(Symbol(at.text, "label", at, whole, tuple(inner)))
    return found
