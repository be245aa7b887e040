"""Namespaces: which parts are named below one path, and what taps can read."""

from __future__ import annotations

from collections.abc import Sequence

from archdsl.conditions import Test
from archdsl.elaborate.tensors import Value
from archdsl.source import Span
from archdsl.syntax import tree as t

# The label by which a tap reads the input of a block.
INPUT = "input"


class Namespace:
    """Names below one path: labels, and counters for unlabelled parts.

    Attributes:
        path: dotted path of its owner, empty for the network.
        indexed: whether parts are named by number.
        containers: the parts before the dot in labels, with their first place.
        outer: namespace whose labels taps can read, too; None for a block.
        caller: namespace of the place where a block is called.
        old: what the parts were called in older checkpoints, with the places.
        lets: named integers that are defined here.
        registered: names of the parts that are registered first, with their places.
        register: the statement that says so.
        tests: conditions on a block's parameters that were asked here, and answers;
            None for those that had both in different iterations.
        given: for labelled blocks with several inputs, what flows into them.
        inputs: names of the inputs of the block, if it has several.
        outputs: the other outputs of the block or braces, with their places.
        current: input of the step being elaborated, for the word `channels`.
        entry: input of the block, braces or network, for `@input`.
    """

    __slots__ = (
        "caller",
        "containers",
        "counts",
        "current",
        "entry",
        "given",
        "indexed",
        "inputs",
        "lets",
        "old",
        "outer",
        "outputs",
        "path",
        "register",
        "registered",
        "taken",
        "tests",
        "values",
    )

    def __init__(
        self,
        path: str,
        indexed: bool,
        outer: Namespace | None,
        caller: Namespace | None = None,
    ) -> None:
        self.caller = caller
        self.path = path
        self.indexed = indexed
        self.outer = outer
        self.taken: dict[str, Span] = {}
        self.containers: dict[str, Span] = {}
        self.old: dict[str, Span] = {}
        self.counts: dict[str, int] = {}
        self.values: dict[str, Value] = {}
        self.current: Value | None = None
        self.entry: Value | None = None
        self.lets: dict[str, int] = {}
        self.registered: dict[str, Span] = {}
        self.register: t.Register | None = None
        self.tests: dict[Test, bool | None] = {}
        self.given: dict[str, tuple[Value, ...]] = {}
        self.inputs: frozenset[str] = frozenset()
        self.outputs: dict[str, tuple[Value, Span]] = {}

    def join(self, name: str) -> str:
        """Return the path of a part."""
        return f"{self.path}.{name}" if self.path else str(name)

    def record(self, test: Test, holds: bool) -> None:
        """Record the answer to a condition."""
        same = self.tests.get(test, holds) == holds
        self.tests[test] = holds if same else None

    def answers(self) -> tuple[tuple[Test, bool], ...]:
        """Return the conditions that had one answer, in order."""
        return tuple([(t, held) for t, held in self.tests.items() if held is not None])

    def name_inputs(self, block: t.Definition, entries: Sequence[Value]) -> None:
        """Let a block's parts read its inputs by their names, if it has several."""
        names = [name for name, _ in block.inputs]
        self.values.update(zip(names, entries, strict=bool(names)))
        self.inputs = frozenset(names)

    def enter(self, label: str, value: Value) -> None:
        """Let taps read a value, and the other outputs of what it comes from."""
        self.values[label] = value
        for name, extra in value.extras.items():
            self.values[f"{label}.{name}"] = extra

    def has(self, name: str) -> bool:
        """Return whether a layer or a container has a name."""
        return name in self.taken or name in self.containers

    def number(self, word: str) -> str:
        """Return the name of the next unlabelled part."""
        key = "" if self.indexed else word
        count = self.counts.get(key, 0)
        if self.indexed:
            self.counts[key] = count + 1
            return str(count)
        name = f"{word}{count + 1}"
        while name in self.taken or name in self.containers:
            count += 1
            name = f"{word}{count + 1}"
        self.counts[key] = count + 1
        return name

    def find(self, label: str) -> Value | None:
        """Return the value of a label, here or in an outer namespace."""
        space: Namespace | None = self
        while space is not None:
            if label in space.values:
                return space.values[label]
            if label == INPUT and space.outer is None:
                return space.entry
            space = space.outer
        return None

    def in_block(self) -> bool:
        """Return whether it belongs to a block, or to braces in one."""
        space = self
        while space.outer is not None:
            space = space.outer
        return bool(space.path)

    def is_outside(self, label: str) -> bool:
        """Return whether a label is defined around the block's call, where it cannot be
        read.
        """
        space: Namespace | None = self
        while space is not None and label not in space.values:
            space = space.outer or space.caller
        return space is not None

    def labels(self) -> list[str]:
        """Return the labels that a tap can read."""
        found: list[str] = []
        space: Namespace | None = self
        while space is not None:
            found.extend(space.values)
            space = space.outer
        return found
