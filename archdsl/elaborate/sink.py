"""The interface between a walker and its sinks: layers, owners and sections.

The walker goes through a network's statements once, in order, and sends what it finds
to a sink. `graph.Graph` makes the network of it, `layer_counts.Counts` a list of layers
for the totals of a sweep.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from archdsl.conditions import Test
from archdsl.elaborate.contexts import Context
from archdsl.elaborate.namespaces import Namespace
from archdsl.elaborate.paths import NameTemplate
from archdsl.elaborate.placed import Placed
from archdsl.elaborate.tensors import Value
from archdsl.ir import Role
from archdsl.source import Span
from archdsl.syntax import tree as t


class Owner(NamedTuple):
    """A group or a call of a block: a namespace for the names in it.

    Attributes:
        name: its name.
        word: the block's name, or the structure's word.
        ends: what flows in; a block can have several inputs.
        context: the context of the place where it stands.
        span: its place in the source.
        indexed: whether its parts are named by number.
        definition: the block.
        values: the values of the block's parameters.
    """

    name: str
    word: str
    ends: tuple[Value, ...]
    context: Context
    span: Span
    indexed: bool = False
    definition: t.Definition | None = None
    values: Mapping[str, Any] = {}


class Inside(NamedTuple):
    """The contents of an owner.

    Attributes:
        space: its namespace.
        result: its output, as seen from inside.
        value: the same as seen from outside, where channels have other names; its
            `extras` are the other outputs.
    """

    space: Namespace
    result: Value
    value: Value


class Section(NamedTuple):
    """Parts that belong together, and are named in the enclosing namespace.

    Attributes:
        role: why they belong together, as in `ir.Group`.
        word: the structure's word.
        entry: its input.
        context: the context of the place where it stands.
        span: its place in the source.
        copies: number of copies, of a repeat.
        condition: the condition under which there is something in it.
        name: the name of a projection.
        first: whether it comes before what was sent in the same section.
    """

    role: Role
    word: str
    entry: Value
    context: Context
    span: Span
    copies: int = 1
    condition: Test | None = None
    name: str = ""
    first: bool = False


class Sink(Protocol):
    """Receives the parts of a network, in order.

    An owner or section is opened, then what is in it is sent, then it is closed. These
    are methods, not functions around the walk, as specs nest deeply.
    """

    def layer(self, placed: Placed) -> None:
        """Receive a layer."""

    def open_owner(self, owner: Owner) -> Value | None:
        """Open a group or block.

        Returns:
            Its output, if that is known already: then it is not open, and nothing that
            is in it needs to be sent. Else None.
        """

    def close_owner(self, owner: Owner, inside: Inside) -> None:
        """Close a group or block."""

    def open_section(self) -> None:
        """Open a section."""

    def close_section(self, section: Section, result: Value) -> None:
        """Close a section, with its output."""

    def drop(self) -> None:
        """Forget what was opened last, as there is a mistake in it."""

    def decide(self, layers: Sequence[Placed]) -> None:
        """Learn that layers of the block that ends have a bias, or have none, now."""

    def __len__(self) -> int:
        """Return how many parts were received in the open owner or section."""

    def rename(
        self,
        step: t.ChainStep,
        olds: Sequence[NameTemplate],
        space: Namespace,
        before: int,
    ) -> None:
        """Record what a part that was just received had for names in checkpoints.

        Args:
            step: the part as written.
            olds: its older names.
            space: its namespace.
            before: how many parts were received before it.

        Raises:
            Fault: if it owns no name, or a name cannot be one that it had.
        """

    def repeat(self, first: Value, second: Value) -> None:
        """Learn that a part which reads `first` is used again, to read `second`."""
