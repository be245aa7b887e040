"""Scopes: where names are looked up during elaboration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from archdsl.conditions import Test
from archdsl.diagnostics import Diagnostic, SpecError
from archdsl.layer import Layer
from archdsl.limits import MAX_STEPS
from archdsl.source import Span
from archdsl.symbolic import Poly, Sym, TooLong
from archdsl.syntax import tree as t
from archdsl.syntax.loader import Module
from archdsl.values import Dims, Shape

# What a name of a block's body stands for in conditions.
Meaning = Test | Poly

# The label by which a tap reads what flows into a block.
INPUT = "input"


class Fault(Exception):
    """One mistake of the user; caught by code that can continue without the faulty
    part.
    """

    def __init__(
        self,
        code: str,
        message: str,
        span: Span | None,
        *,
        label: str = "",
        help: str | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.span = span
        self.label = label
        self.help = help

    def diagnostic(self, notes: tuple[str, ...] = ()) -> Diagnostic:
        """Return the message with the calls that led to it."""
        return Diagnostic(
            self.code,
            self.message,
            self.span,
            label=self.label,
            notes=notes,
            help=self.help,
        )


class KindRef:
    """A layer kind as a value, possibly with arguments: ``bn<eps = 0.001>``.

    Attributes:
        kind: the layer kind.
        bound: arguments given with it, by name, each with the context to evaluate it
            in.
    """

    __slots__ = ("bound", "kind")

    def __init__(
        self,
        kind: type[Layer],
        bound: Mapping[str, tuple[t.Arg, Context]] | None = None,
    ) -> None:
        self.kind = kind
        self.bound = bound or {}

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, KindRef)
            and self.kind is other.kind
            and self.bound == other.bound
        )

    def __hash__(self) -> int:
        return hash(self.kind.word)

    def __repr__(self) -> str:
        return self.kind.word


class BlockRef:
    """A block as a value, possibly with arguments: ``bottleneck<groups = 32>``."""

    __slots__ = ("bound", "definition", "module")

    def __init__(
        self,
        definition: t.Definition,
        module: Module,
        bound: Mapping[str, Any] | None = None,
    ) -> None:
        self.definition = definition
        self.module = module
        self.bound = bound or {}

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, BlockRef)
            and self.definition is other.definition
            and self.bound == other.bound
        )

    def __hash__(self) -> int:
        return hash(id(self.definition))

    def __repr__(self) -> str:
        return self.definition.name


class BodyRef:
    """Braces passed to a block, with the context whose names they use."""

    __slots__ = ("body", "context")

    def __init__(self, body: t.Body, context: Context) -> None:
        self.body = body
        self.context = context

    def __repr__(self) -> str:
        return "{ ... }"


class Unknown:
    """The value of a name whose definition was found wrong."""


class Range(tuple[int, ...]):
    """The value of `range(n)`: its length keeps the expression that it came from."""

    length: int


class Tapped:
    """A use of a label by a tap.

    Attributes:
        span: the tap's place.
        trail: the calls that led there.
        is_read: whether anything reads the value of the tap.
    """

    __slots__ = ("is_read", "span", "trail")

    def __init__(self, span: Span, trail: tuple[Call, ...]) -> None:
        self.span = span
        self.trail = trail
        self.is_read = False


class Value:
    """One tensor of the network.

    Attributes:
        number: identifies it in the graph.
        shape: None once an error was reported.
        source: the value that it was computed from, along first inputs, as far as that
            is known in the enclosing group.
        stride: the stride from that value to this one.
        tapped: the tap that it comes from, if there is no layer in between.
    """

    __slots__ = ("number", "shape", "source", "stride", "tapped")

    def __init__(
        self,
        number: int,
        shape: Shape | None,
        source: Value | None = None,
        stride: int = 1,
        tapped: Tapped | None = None,
    ) -> None:
        self.number = number
        self.shape = shape
        self.source = source
        self.stride = stride
        self.tapped = tapped

    def read(self) -> None:
        """Record that something reads it."""
        if self.tapped is not None:
            self.tapped.is_read = True

    def back_to(self, number: int) -> tuple[Value, int]:
        """Go back to the last value with at most a given number.

        If the way back is not known that far, it is the first value that is known.

        Returns:
            The value, and the stride from it to this one.
        """
        value, stride = self, 1
        while value.number > number and value.source is not None:
            stride = times(value.stride, stride)
            value = value.source
        return value, stride


class Merge(NamedTuple):
    """How messages refer to the inputs of a merge.

    Attributes:
        entry: the value that flows into the branches.
        sides: a name for each input.
        word: the structure, if it is not the merge itself.
        help: a hint for inputs that differ, if there is a better one than the merge's.
    """

    entry: Value
    sides: tuple[str, ...]
    word: str = ""
    help: str | None = None


class Namespace:
    """Names below one path: labels, and counters for unlabelled parts.

    Attributes:
        path: dotted path of its owner, empty for the network.
        indexed: whether parts are named by number.
        containers: the parts before the dot in labels, with their first place.
        outer: namespace whose labels taps can read, too; None for a block.
        caller: namespace of the place where a block is called.
        steps: the labelled parts as written, with the number of their copy, for `same`.
        old: what the parts were called in older checkpoints, with the places.
        lets: named integers that are defined here.
        tests: conditions on a block's parameters that were asked here, and answers;
            None for those that had both in different iterations.
        given: for labelled blocks with several inputs, what flows into them.
        inputs: names of the inputs of the block, if it has several.
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
        "path",
        "steps",
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
        self.tests: dict[Test, bool | None] = {}
        self.given: dict[str, tuple[Value, ...]] = {}
        self.inputs: frozenset[str] = frozenset()
        self.steps: dict[str, tuple[t.Step, Context, Value, int | None]] = {}

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

    def has(self, name: str) -> bool:
        """Return whether a layer or a container has a name."""
        return name in self.taken or name in self.containers

    def number(self, word: str) -> str:
        """Return the name of the next unlabelled part."""
        key = "" if self.indexed else word
        count = self.counts.get(key, 0)
        if not self.indexed:
            while self.has(f"{word}{count + 1}"):
                count += 1
        self.counts[key] = count + 1
        return str(count) if self.indexed else f"{word}{count + 1}"

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


class Budget:
    """Counts steps of work, so that a small spec cannot cause endless work."""

    def __init__(self, steps: int = MAX_STEPS) -> None:
        self.left = steps

    def spend(self, span: Span, steps: int = 1) -> None:
        """Count some work.

        Raises:
            SpecError: if it was too much.
        """
        self.left -= steps
        if self.left < 0:
            message = f"the spec takes more than {MAX_STEPS:,} steps to expand"
            raise SpecError([Diagnostic("A0907", message, span)])


class Context:
    """Everything that determines the meaning of a name at one place.

    Attributes:
        module: the file that contains the text.
        env: parameters and loop variables.
        space: the namespace in which parts are named.
        trail: the calls that led here, innermost first, for messages.
        depth: nesting depth of calls and bodies.
        level: nesting depth of namespaces inside one block, for the name of their
            input.
        lets: what names of a block's body stand for in conditions; None where these
            are not recorded.
        training: whether this only serves outputs of the training mode.
        again: the `same` that repeats an earlier part, if this is inside one.
        inside: the function whose body is being evaluated, if any.
        within: the enclosing structure, if this is not at the level of the network
            itself: `a branch`.
        budget: the work that one network may still use.
    """

    __slots__ = (
        "again",
        "budget",
        "depth",
        "env",
        "inside",
        "lets",
        "level",
        "module",
        "space",
        "trail",
        "training",
        "within",
    )

    def __init__(
        self,
        module: Module,
        env: Mapping[str, Any],
        space: Namespace,
        trail: tuple[Call, ...] = (),
        depth: int = 0,
        level: int = 0,
        training: bool = False,
        inside: t.FunctionDef | None = None,
        again: Span | None = None,
        budget: Budget | None = None,
        within: str = "",
        lets: Mapping[str, Meaning] | None = None,
    ) -> None:
        self.inside = inside
        self.lets = lets
        self.within = within
        self.again = again
        self.budget = budget or Budget()
        self.module = module
        self.env = env
        self.space = space
        self.trail = trail
        self.depth = depth
        self.level = level
        self.training = training

    def replace(self, **changes: Any) -> Context:
        """Return a copy with some attributes changed."""
        made = Context.__new__(Context)
        made.module = self.module
        made.env = self.env
        made.space = self.space
        made.trail = self.trail
        made.depth = self.depth
        made.level = self.level
        made.lets = self.lets
        made.training = self.training
        made.inside = self.inside
        made.within = self.within
        made.again = self.again
        made.budget = self.budget
        for name, value in changes.items():
            setattr(made, name, value)
        return made

    @property
    def shared(self) -> bool:
        """Whether this repeats an earlier part, with the same weights."""
        return self.again is not None

    def bind(self, names: Mapping[str, Any]) -> Context:
        """Return a copy with additional names."""
        return self.replace(env={**self.env, **names})

    def is_parameter(self, name: str) -> bool:
        """Return whether a name is a boolean parameter of the enclosing block."""
        return (
            bool(self.trail)
            and isinstance(self.env.get(name), bool)
            and any(p.name == name for p in self.trail[0].definition.params)
        )

    def notes(self) -> tuple[str, ...]:
        """Return the calls that led here, as lines of a message."""
        return tuple(call.note() for call in self.trail)


class Call:
    """One call of a block on the way to a step."""

    __slots__ = ("definition", "path", "span")

    def __init__(self, path: str, span: Span, definition: t.Definition) -> None:
        self.path = path
        self.span = span
        self.definition = definition

    def note(self) -> str:
        """Return ``in layer2.0: bottleneck<128, stride = 2>, line 16``."""
        where = f"line {self.span.line}"
        if self.span.source is not self.definition.span.source:
            where += f" of {self.span.source.name}"
        text = " ".join(self.span.text.split())
        if len(text) > 60:
            text = text[:57] + "..."
        return f"in {self.path}: {text}, {where}"


def times(first: int, second: int) -> int:
    """Return a product, without its expression if that would be too long."""
    try:
        return first * second
    except TooLong:
        return int(first) * int(second)


def rename(value: int, bindings: Mapping[str, Poly]) -> int:
    """Return a number with its expression in the caller's names."""
    if not isinstance(value, Sym):
        return value
    poly = value.poly.substitute(bindings)
    return int(value) if poly.number is not None else Sym(int(value), poly)


def named(value: int, name: str) -> Sym:
    """Return a number whose expression is a name."""
    return Sym(int(value), Poly.name(name))


def plain(value: Any) -> Any:
    """Return a parameter's value without the expression it came from."""
    if isinstance(value, bool | Range):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, BlockRef) and value.bound:
        bound = {name: plain(item) for name, item in value.bound.items()}
        return BlockRef(value.definition, value.module, bound)
    return Dims(int(part) for part in value) if isinstance(value, Dims) else value
