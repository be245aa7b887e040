"""The last gate before emitted text leaves: only what emission needs may stand in it.

Names of a spec were checked when it was read; this check does not rely on that.
"""

from __future__ import annotations

import ast
import builtins
import keyword

_NODES = (
    ast.Module, ast.Import, ast.ImportFrom, ast.alias, ast.ClassDef, ast.FunctionDef,
    ast.arguments, ast.arg, ast.Expr, ast.Assign, ast.AnnAssign, ast.AugAssign,
    ast.Return, ast.For, ast.If, ast.Call, ast.keyword, ast.Attribute, ast.Name,
    ast.Constant, ast.Tuple, ast.List, ast.Dict, ast.Starred, ast.GeneratorExp,
    ast.comprehension, ast.Subscript, ast.JoinedStr, ast.FormattedValue, ast.IfExp,
    ast.Slice, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare,
    ast.Load, ast.Store, ast.operator, ast.unaryop, ast.cmpop, ast.boolop,
)  # fmt: skip
_IMPORTS = frozenset(("torch", "torch.nn.functional", "collections.OrderedDict")) | {
    "torch.Tensor",
    "torch.nn",
}
_BUILTINS = frozenset(
    [
        "super",
        "range",
        "print",
        "tuple",
        "isinstance",
        "int",
        "float",
        "bool",
        "str",
        "min",
        "max",
        "len",
        "list",
        "dict",
    ]
)
_DUNDERS = frozenset(("__init__", "__name__"))
_KNOWN = frozenset(("torch", "F", "Tensor", "nn", "OrderedDict"))


class UnsafeCode(Exception):
    """Emitted text holds what it must not: a bug of ours, not of the spec."""


def check(text: str | ast.Module, foreign: frozenset[str] = frozenset()) -> None:
    """Refuse text that could do more than define and run a network.

    Args:
        text: of a module, or its syntax tree.
        foreign: dotted names that a spec's `op`s import.

    Raises:
        UnsafeCode: naming the first offence.
    """
    tree = ast.parse(text) if isinstance(text, str) else text
    defined = _defined(tree) | {name.rpartition(".")[2] for name in foreign}
    allowed = _IMPORTS | foreign
    for node in ast.walk(tree):
        if not isinstance(node, _NODES):
            raise UnsafeCode(f"{type(node).__name__} in emitted code")
        if isinstance(node, ast.Import):
            _check_imports([alias.name for alias in node.names], allowed)
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            _check_imports(names, allowed)
        elif isinstance(node, ast.Name):
            _check_name(node.id, defined)
        elif isinstance(node, ast.Attribute):
            _check_identifier(node.attr)


def _defined(tree: ast.AST) -> set[str]:
    """Return the names that the text defines itself."""
    found = set(_KNOWN)
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            _check_identifier(node.name)
            found.add(node.name)
        elif isinstance(node, ast.arg):
            _check_identifier(node.arg)
            found.add(node.arg)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            _check_identifier(node.id)
            found.add(node.id)
        elif isinstance(node, ast.alias) and node.asname:
            _check_identifier(node.asname)
            found.add(node.asname)
    return found


def _check_imports(names: list[str], allowed: frozenset[str]) -> None:
    for name in names:
        if name not in allowed:
            raise UnsafeCode(f"import of {name}")


def _check_name(name: str, defined: set[str]) -> None:
    known = name in defined or name in _BUILTINS or name == "__name__"
    if not known:
        what = "the builtin" if hasattr(builtins, name) else "the unknown name"
        raise UnsafeCode(f"{what} {name}")


def _check_identifier(name: str) -> None:
    if name.startswith("_") and name not in _DUNDERS and name != "_":
        raise UnsafeCode(f"the private name {name}")
    if not name.isascii() or keyword.iskeyword(name):
        raise UnsafeCode(f"the name {name!r}")
