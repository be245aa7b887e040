"""A whitelist of Python constructs, applied to emitted text as a last safeguard.

The names of a spec are already checked when it is read; this check does not rely on
that.
"""

from __future__ import annotations

import ast
import builtins
import keyword
from collections import defaultdict
from typing import Any, TypeAlias

from archdsl.backends.torch import recomputed
from archdsl.naming import IMPORTED

_NODES = (
    ast.Module, ast.Import, ast.ImportFrom, ast.alias, ast.ClassDef, ast.FunctionDef,
    ast.arguments, ast.arg, ast.Expr, ast.Assign, ast.AnnAssign, ast.AugAssign,
    ast.Return, ast.For, ast.If, ast.Call, ast.keyword, ast.Attribute, ast.Name,
    ast.Constant, ast.Tuple, ast.List, ast.Dict, ast.Starred, ast.GeneratorExp,
    ast.comprehension, ast.Subscript, ast.JoinedStr, ast.FormattedValue, ast.IfExp,
    ast.Slice, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare,
    ast.Load, ast.Store, ast.operator, ast.unaryop, ast.cmpop, ast.boolop,
)  # fmt: skip
_IMPORTS = frozenset(
    [
        "torch",
        "torch.nn.functional",
        "collections.OrderedDict",
        "torch.Tensor",
        "torch.nn",
        "typing.Any",
        *(f"{origin}.{name}" for name, origin in IMPORTED.items()),
    ]
)
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
        "hasattr",
        "vars",
    ]
)
_DUNDERS = frozenset(("__init__", "__name__", "__getstate__"))
# Names of torch that packed convolutions read.
_PRIVATE = frozenset(
    [
        "_version",
        "_convolution_pointwise",
        "_reorder_convolution_weight",
        "_is_mkldnn_bf16_supported",
    ]
)
_KNOWN = frozenset(("torch", "F", "Tensor", "nn", "OrderedDict", "Any", *IMPORTED))


# Most nodes of a text are of these; they have no parts.
_ENDS = frozenset((ast.Constant, ast.Load, ast.Store))

# All nodes of a tree, by their classes.
_Nodes: TypeAlias = defaultdict[type[ast.AST], list[Any]]


class UnsafeCode(Exception):
    """Emitted text contains a forbidden construct, which is a bug in archdsl."""


def check_text(text: str | ast.Module, foreign: frozenset[str] = frozenset()) -> None:
    """Refuse text that could do more than define and run a network.

    Args:
        text: text of a module, or its syntax tree.
        foreign: dotted names that the spec's `op`s import.

    Raises:
        UnsafeCode: naming an offence, imports before others.
    """
    tree = ast.parse(text) if isinstance(text, str) else text
    nodes = _by_kind(recomputed.without_class(tree))
    allowed = _IMPORTS | foreign
    for node in nodes[ast.Import]:
        _check_imports([alias.name for alias in node.names], allowed)
    for node in nodes[ast.ImportFrom]:
        names = [f"{node.module}.{alias.name}" for alias in node.names]
        _check_imports(names, allowed)
    for kind in nodes:
        if not issubclass(kind, _NODES):
            raise UnsafeCode(f"{kind.__name__} in emitted code")
    own = _defined(nodes)
    if recomputed.has(tree):
        own.add(recomputed.NAME)
    for name in sorted(own | {node.attr for node in nodes[ast.Attribute]}):
        _check_identifier(name)
    known = own | _KNOWN | {name.rpartition(".")[2] for name in foreign}
    for name in sorted({node.id for node in nodes[ast.Name]}):
        if name != "type" or not _are_annotations(nodes):
            _check_name(name, known)


def _by_kind(tree: ast.AST) -> _Nodes:
    """Return all nodes of a tree by their class, from a single walk."""
    found: _Nodes = defaultdict(list)
    stack = [tree]
    while stack:
        node = stack.pop()
        kind = type(node)
        found[kind].append(node)
        for name in () if kind in _ENDS else node._fields:
            value = getattr(node, name, None)
            if isinstance(value, ast.AST):
                stack.append(value)
            elif isinstance(value, list):
                stack += [part for part in value if isinstance(part, ast.AST)]
    return found


def _defined(nodes: _Nodes) -> set[str]:
    """Return the names that the text defines itself."""
    stored = [node for node in nodes[ast.Name] if isinstance(node.ctx, ast.Store)]
    return {
        *(
            node.name
            for kind in (ast.ClassDef, ast.FunctionDef)
            for node in nodes[kind]
        ),
        *(node.arg for node in nodes[ast.arg]),
        *(node.id for node in stored),
        *(node.asname for node in nodes[ast.alias] if node.asname),
    }


def _check_imports(names: list[str], allowed: frozenset[str]) -> None:
    for name in names:
        if name not in allowed:
            raise UnsafeCode(f"import of {name}")


def _are_annotations(nodes: _Nodes) -> bool:
    """Return whether every ``type`` is part of a type such as ``type[nn.Module]``."""
    uses = [node for node in nodes[ast.Name] if node.id == "type"]
    parts = {id(node.value) for node in nodes[ast.Subscript]}
    return all(id(node) in parts for node in uses)


def _check_name(name: str, defined: set[str]) -> None:
    known = name in defined or name in _BUILTINS or name == "__name__"
    if not known:
        what = "the builtin" if hasattr(builtins, name) else "the unknown name"
        raise UnsafeCode(f"{what} {name}")


def _check_identifier(name: str) -> None:
    if name.startswith("_") and name not in _DUNDERS | _PRIVATE and name != "_":
        raise UnsafeCode(f"the private name {name}")
    if not name.isascii() or keyword.iskeyword(name):
        raise UnsafeCode(f"the name {name!r}")
