"""Finds the torch functions that the text of a form calls, from its syntax tree."""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

# `{0}`, `{name}`, or all inputs: `{*,}`, `{*+}`.
_HOLE: Final = re.compile(r"\{(\*?)([^{}]*)\}")
_MODULES: Final = ("F", "nn", "torch")


@lru_cache(maxsize=1024)
def callees(text: str) -> tuple[str, ...]:
    """Return what an expression, or a class that is called, calls in turn.

    Functions of torch have their names, such as ``F.relu`` or ``torch.cat``; methods
    are those of a tensor, ``Tensor.chunk``; ``@`` is ``operator.matmul``. The other
    operators work element by element, or on sizes, and are left out: no tool that
    counts knows them.
    """
    tree = ast.parse(_HOLE.sub(_filled, text).strip())
    own = {each.name for each in ast.walk(tree) if isinstance(each, ast.FunctionDef)}
    return tuple([name for name in _names(tree) if name not in own])


@lru_cache(maxsize=1024)
def base(text: str) -> str:
    """Return the class that a class's text derives from, such as ``nn.Conv2d``."""
    (found,) = [n for n in ast.parse(text).body if isinstance(n, ast.ClassDef)]
    return ast.unparse(found.bases[0])


def _filled(hole: re.Match[str]) -> str:
    star, name = hole.groups()
    if star:
        return f"x0 {name} x1"
    return f"x{name}" if name.isdigit() else name


def _names(node: ast.AST) -> Iterator[str]:
    """Yield what is called, outside of constructors, in the order of evaluation."""
    if isinstance(node, ast.FunctionDef) and node.name == "__init__":
        return
    for child in ast.iter_child_nodes(node):
        yield from _names(child)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
        yield "operator.matmul"
    elif isinstance(node, ast.Call):
        name = _name(node.func)
        if name and not hasattr(builtins, name):
            yield name


def _name(function: ast.expr) -> str:
    if not isinstance(function, ast.Attribute):
        return ast.unparse(function)
    owner = ast.unparse(function.value)
    if owner == "self":
        return function.attr
    return f"{owner if owner in _MODULES else 'Tensor'}.{function.attr}"
