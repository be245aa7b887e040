"""The base class of parts that the backward pass runs again."""

from __future__ import annotations

import ast
from typing import Final

NAME: Final = "Recomputed"
# `torch.utils.checkpoint` alone would update running statistics twice. So when a part
# is run again, copies take the place of its buffers.
TEXT: Final = '''
class Recomputed(nn.Module):
    """A part that the backward pass runs again, so that only its inputs are kept."""

    def __call__(self, *inputs: Tensor) -> Tensor:
        run = super().__call__
        if not (self.training and torch.is_grad_enabled()):
            return run(*inputs)
        again = False

        def run_once(*values: Tensor) -> Tensor:
            nonlocal again
            kept = [
                (part, name, value)
                for part in self.modules()
                for name, value in part.named_buffers(recurse=False)
                if again
            ]
            again = True
            for part, name, value in kept:
                setattr(part, name, value.clone())
            try:
                return run(*values)
            finally:
                for part, name, value in kept:
                    setattr(part, name, value)

        return checkpoint(run_once, *inputs, use_reentrant=False)
'''
IMPORT: Final = "from torch.utils.checkpoint import checkpoint"

_CLASS: Final = ast.parse(TEXT).body[0]
assert isinstance(_CLASS, ast.ClassDef)
_DOC: Final = ast.get_docstring(_CLASS)
_TREE: Final = ast.dump(_CLASS)
_IMPORTED: Final = ast.dump(ast.parse(IMPORT).body[0])


def is_class(node: ast.stmt) -> bool:
    """Return whether a statement is this very class.

    Other classes are recognised by their docstrings: printing them takes long, and
    Python's stack does not hold all that are deep.
    """
    if not isinstance(node, ast.ClassDef):
        return False
    return ast.get_docstring(node) == _DOC and ast.dump(node) == _TREE


def is_import(node: ast.stmt) -> bool:
    """Return whether a statement is the import that the class needs."""
    return isinstance(node, ast.ImportFrom) and ast.dump(node) == _IMPORTED


def without_class(tree: ast.Module) -> ast.Module:
    """Return a module without the class and its import, if it has the class."""
    if not any(map(is_class, tree.body)):
        return tree
    left = [node for node in tree.body if not (is_class(node) or is_import(node))]
    return ast.Module(left, tree.type_ignores)


def has(tree: ast.Module) -> bool:
    """Return whether a module has the class."""
    return any(map(is_class, tree.body))
