"""The functions of layer kinds as expressions.

A kind declares its function as Python code with placeholders in braces; see
`TorchForm`. Each such text is parsed once, however many layers use it.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final

from archdsl.backends.torch.nodes import (
    Argument,
    Attribute,
    BinaryExpr,
    CallExpr,
    Invoke,
    LiteralExpr,
    PyExpression,
    SequenceExpr,
    SliceExpr,
    Subscript,
    Var,
    mapped,
)

# Stand-ins for placeholders during parsing; no kind uses names like these.
_PLACE: Final = "place_of_"
_ALL: Final = {"*,": "all", "*+": "sum", "**": "product"}
_OPERATORS: Final[Mapping[type[ast.operator], str]] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
}


def fill(
    template: str,
    inputs: Sequence[PyExpression],
    settings: Sequence[tuple[str, PyExpression]],
    own: PyExpression | None,
    inplace: bool,
) -> PyExpression:
    """Return a function of a layer kind, applied to its inputs.

    Args:
        template: the kind's template; see `TorchForm.function`.
        inputs: the inputs.
        settings: arguments by name; those without a placeholder follow the first input.
        own: the value of `{self}`.
        inplace: whether it may overwrite its first input.
    """
    given: dict[str, PyExpression] = {str(n): one for n, one in enumerate(inputs)}
    given["sum"], given["product"] = _joined("+", inputs), _joined("*", inputs)
    given |= settings
    if own is not None:
        given["self"] = own
    tree, places = _read(template)
    extra = [Argument(name, v) for name, v in settings if name not in places]
    if inplace:
        extra.append(Argument("inplace", LiteralExpr("True")))
    further = tuple(extra)

    def change(node: PyExpression) -> PyExpression:
        if isinstance(node, Var):
            return given[node.name.removeprefix(_PLACE)] if _is_place(node) else node
        if isinstance(node, SequenceExpr):
            return node._replace(items=_expanded(node.items, inputs))
        if isinstance(node, CallExpr) and any(a.value == _EVERY for a in node.args):
            values = _expanded([argument.value for argument in node.args], inputs)
            return node._replace(args=tuple([Argument("", one) for one in values]))
        return node

    return mapped(_with_settings(tree, further), change)


def _joined(op: str, inputs: Sequence[PyExpression]) -> PyExpression:
    return BinaryExpr(op, tuple(inputs)) if len(inputs) > 1 else inputs[0]


def _is_place(node: PyExpression) -> bool:
    return isinstance(node, Var) and node.name.startswith(_PLACE)


def _expanded(
    items: Sequence[PyExpression], inputs: Sequence[PyExpression]
) -> tuple[PyExpression, ...]:
    """Return the items of a list, with all inputs in place of their placeholder."""
    found: list[PyExpression] = []
    for item in items:
        found += inputs if item == _EVERY else [item]
    return tuple(found)


_EVERY: Final = LiteralExpr("*")


def _with_settings(tree: PyExpression, further: tuple[Argument, ...]) -> PyExpression:
    """Return a call with arguments added after the first input."""
    if not further:
        return tree
    first = Var(f"{_PLACE}0")

    def change(node: PyExpression) -> PyExpression:
        if isinstance(node, CallExpr):
            places = [n for n, a in enumerate(node.args) if a.value == first]
            if places:
                at = places[0] + 1
                return node._replace(args=(*node.args[:at], *further, *node.args[at:]))
        return node

    return mapped(tree, change)


@cache
def _read(template: str) -> tuple[PyExpression, frozenset[str]]:
    """Return a template as a tree, and the names of its placeholders."""
    text, places = "", set()
    for piece in template.split("{"):
        name, closed, rest = piece.partition("}")
        if not closed:
            text += piece
            continue
        place = _ALL.get(name, name)
        places.add(place)
        text += f"{_PLACE}{place}{rest}"
    return _node(ast.parse(text, mode="eval").body), frozenset(places)


def _node(tree: ast.expr) -> PyExpression:
    """Convert Python's syntax tree to one of `nodes`.

    Raises:
        TypeError: if a kind's function uses Python syntax that `nodes` cannot
            represent.
    """
    match tree:
        case ast.Name(id=name):
            return _EVERY if name == f"{_PLACE}all" else Var(name)
        case ast.Constant(value=value):
            return _literal(value)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=value)):
            return _literal(-value)  # type: ignore[operator]
        case ast.Tuple(elts=items):
            return SequenceExpr(tuple([_node(item) for item in items]))
        case ast.List(elts=items):
            return SequenceExpr(tuple([_node(item) for item in items]), ("[", "]"))
        case ast.Attribute(value=value, attr=name):
            return Attribute(_node(value), name)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return BinaryExpr(_OPERATORS[type(op)], (_node(left), _node(right)))
        case ast.Subscript(value=value, slice=ast.Tuple(elts=items)):
            return Subscript(_node(value), tuple([_node(item) for item in items]))
        case ast.Subscript(value=value, slice=item):
            return Subscript(_node(value), (_node(item),))
        case ast.Slice(lower=low, upper=high, step=None):
            ends = [None if end is None else _node(end) for end in (low, high)]
            return SliceExpr(ends[0], ends[1])
        case ast.Call(func=function):
            return _call(tree, function)
        case _:
            raise TypeError(f"a layer's function uses {type(tree).__name__}")


def _call(tree: ast.Call, function: ast.expr) -> PyExpression:
    args = [Argument("", _node(arg)) for arg in tree.args]
    args += [Argument(k.arg or "", _node(k.value)) for k in tree.keywords]
    name = _dotted(function)
    if name.partition(".")[0] in ("F", "torch", "nn"):
        return CallExpr(name, tuple(args))
    return Invoke(_node(function), tuple(args))


def _dotted(tree: ast.expr) -> str:
    """Return a dotted name, or an empty text if it is not one."""
    if isinstance(tree, ast.Attribute):
        before = _dotted(tree.value)
        return f"{before}.{tree.attr}" if before else ""
    return tree.id if isinstance(tree, ast.Name) else ""


def _literal(value: Any) -> LiteralExpr:
    return LiteralExpr(f'"{value}"' if isinstance(value, str) else repr(value))
