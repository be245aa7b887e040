"""Whether two calls of a block have the same statements, apart from numbers."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from typing import Any

from archdsl.ir import Group, Step

from .calls import is_bare, is_function

# All that the flow and the statements of a block depend on.
Form = tuple[Any, ...]


class Numbering:
    """Numbers that calls of a block have in common for its values.

    The first value that it computes is 0; its inputs are -1, -2 and so on.

    Args:
        block: the block.
    """

    def __init__(self, block: Group) -> None:
        self.entries = [port.value for port in block.ports] or [block.input]
        step = next(block.steps(), None)
        self.first = block.output if step is None else step.output

    def number(self, value: int) -> int:
        """Return the number of a value.

        Raises:
            LookupError: if it is computed outside the block, and is no input of it.
        """
        if value in self.entries:
            return -1 - self.entries.index(value)
        if value < self.first:
            raise LookupError
        return value - self.first

    def value(self, number: int) -> int:
        """Return the value that has a number in this call."""
        return self.entries[-1 - number] if number < 0 else self.first + number


def form_of(
    block: Group, numbering: Numbering, more: Callable[[Step], Hashable]
) -> Form | None:
    """Return a key that calls of a block have in common if they have the same
    statements; None if it cannot be told.

    Args:
        block: the block.
        numbering: the numbers of its values.
        more: returns what else matters about a step.
    """
    try:
        return tuple(_parts(block, numbering.number, more))
    except LookupError:
        return None


def _parts(
    block: Group, number: Callable[[int], int], more: Callable[[Step], Hashable]
) -> Iterator[Hashable]:
    stack: list[Step | Group] = [block]
    while stack:
        node = stack.pop()
        if node.shared:
            raise LookupError  # it depends on the earlier call, too
        # The block's own name and statement are the caller's.
        name = node.name if node is not block else ""
        yield name, node.statement - block.statement, node.training, number(node.output)
        if isinstance(node, Step):
            form, called = node.form, is_function(node)
            text = (form.function, form.kwargs) if called else is_bare(form)
            reads = tuple([number(value) for value in node.inputs])
            yield type(node.op), node.op.arity, node.labelled, text, reads, more(node)
            continue
        yield node.role, node.word, node.indexed, node.registered, node.condition
        yield number(node.input), len(node.children)
        for port in (*node.ports, *node.extras):
            yield port.name, number(port.value)
        stack.extend(reversed(node.children))
