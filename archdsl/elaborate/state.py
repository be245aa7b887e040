"""The state of the elaboration of a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from archdsl.diagnostics import Diagnostic, Diagnostics, SpecError
from archdsl.elaborate.biases import Biases
from archdsl.elaborate.contexts import Budget, Context
from archdsl.elaborate.faults import Fault
from archdsl.elaborate.placed import Placed
from archdsl.elaborate.tensors import Tapped, Value
from archdsl.ir import Port
from archdsl.layer import Layer
from archdsl.limits import MAX_DEPTH, MAX_PARTS
from archdsl.source import Span
from archdsl.syntax import tree as t
from archdsl.values import Shape, show_shape


class Registered:
    """What a `register` statement does in all bodies that have it.

    The calls of a block may differ in their parts, so it is only wrong if it is of no
    use in any of them.

    Attributes:
        context: of its first use.
        names: that it lists, with their places.
        found: those of parts with weights or buffers.
        others: names of all other parts.
        changes: whether a `state_dict` has another order because of it.
    """

    def __init__(self, context: Context) -> None:
        self.context = context
        self.names: dict[str, Span] = {}
        self.found: set[str] = set()
        self.others: set[str] = set()
        self.changes = False


class State:
    """The values of a network, what is asked of it, and what is wrong with it.

    Attributes:
        errors: errors so far. The output of a faulty step has no shape, so that no
            further errors are reported because of it.
        symbolic: whether integers carry expressions.
        goes_on: whether the first mistake does not end it.
        definition: the definition of the network, once it is known.
        parameters: the values of its parameters, then.
        inputs: the network's inputs so far.
        input_spans: their places in the spec, by the number of their value.
        outputs: additional outputs so far.
        inits: `init` statements so far, with their places.
        expects: `expect` statements so far, with their places.
        registers: `register` statements so far, with what they do.
        producers: the layer that defines a value, by the number of the value.
        read: numbers of the values that something reads.
        tapped: uses of labels by taps.
        biases: layers whose bias is not decided yet.
        sizes_differ: joins whose branches differ in size, which another input size may
            fix.
        budget: the work that the network may still use.
        values: number of values so far.
        parts: number of layers and blocks so far.
        deepest: how deep bodies were nested so far.
        faults: number of mistakes so far; consequences of a mistake are not reported.
        statement: number of the chain that is being elaborated.
    """

    def __init__(
        self, errors: Diagnostics, symbolic: bool, *, goes_on: bool = True
    ) -> None:
        self.errors = errors
        self.symbolic = symbolic
        self.goes_on = goes_on
        self.definition: t.Definition | None = None
        self.parameters: Mapping[str, Any] = {}
        self.inputs: list[Port] = []
        self.input_spans: dict[int, Span] = {}
        self.outputs: list[Port] = []
        self.inits: list[tuple[t.Init, Context]] = []
        self.expects: list[tuple[t.Expect, Context]] = []
        self.registers: dict[t.Register, Registered] = {}
        self.producers: dict[int, Placed] = {}
        self.read: set[int] = set()
        self.tapped: list[Tapped] = []
        self.biases = Biases()
        self.sizes_differ: list[Span] = []
        self.budget = Budget()
        self.values = 0
        self.parts = 0
        self.deepest = 0
        self.faults = 0
        self.statement = 0

    # ---- values

    def new_value(self, shape: Shape | None) -> Value:
        """Return a fresh value."""
        self.values += 1
        return Value(self.values, shape)

    def reads(self, values: Sequence[Value], layer: Layer | None = None) -> None:
        """Record that values are read: by a layer, or outside of their block."""
        undecided = self.biases.undecided
        for value in values:
            self.read.add(value.number)
            if value.number in undecided:
                self.biases.read(value.number, layer)
            if value.tapped is not None:
                value.tapped.is_read = True

    def describe(self, value: Value, entry: Value | None = None) -> str:
        """Return ``512x28x28 (layer2.0.conv3, line 12)``.

        Args:
            value: the value to describe.
            entry: the value that flows into the structure that `value` leaves.
        """
        shape = show_shape(value.shape) if value.shape else "unknown"
        if entry is not None and value.number == entry.number:
            return f"{shape} (the input, unchanged)"
        step = self.producers.get(value.number)
        if step is None:
            names = [p.name for p in self.inputs if p.value == value.number]
            several = names and len(self.inputs) > 1
            which = f"the input `{names[0]}`" if several else "the network's input"
            return f"{shape} ({which})"
        return f"{shape} ({step.path}, line {step.span.line})"

    # ---- mistakes and limits

    def report(self, fault: Fault, context: Context) -> Value:
        """Record a mistake, and return a value that causes no further errors.

        Raises:
            SpecError: if the first mistake ends it.
        """
        if not self.goes_on:
            self.stop(fault.diagnostic())
        self.faults += 1
        # A loop can repeat one mistake ten thousand times.
        if fault.code and not self.errors.knows(fault.code, fault.span):
            self.errors.add(fault.diagnostic(context.notes()))
        return self.new_value(None)

    def stop(self, diagnostic: Diagnostic) -> NoReturn:
        """Abort, since continuing would take too long."""
        raise SpecError([*self.errors.found, diagnostic])

    def deeper(self, context: Context, span: Span, **changes: Any) -> Context:
        """Return the context one nesting level deeper, with some attributes changed.

        Raises:
            SpecError: if blocks and bodies are nested too deeply.
        """
        if context.depth >= MAX_DEPTH:
            message = f"blocks and bodies are nested deeper than {MAX_DEPTH} levels"
            self.stop(Diagnostic("A0902", message, span))
        depth = context.depth + 1
        if depth > self.deepest:
            self.deepest = depth
        return context.replace(depth=depth, **changes)

    def foresee(self, further: int, span: Span) -> None:
        """Refuse layers and blocks before they are created, if they are too many.

        Raises:
            SpecError: if they are.
        """
        if self.parts + further > MAX_PARTS:
            message = f"the network has more than {MAX_PARTS:,} layers and blocks"
            self.stop(Diagnostic("A0904", message, span))

    def count_parts(self, span: Span, number: int = 1) -> None:
        """Count layers and blocks that are created.

        Raises:
            SpecError: if they are too many.
        """
        self.parts += number
        if self.parts > MAX_PARTS:
            self.foresee(0, span)
