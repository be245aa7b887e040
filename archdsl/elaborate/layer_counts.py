"""The layers of a network without the graph: their kinds, shapes and wiring.

Totals such as parameters and MACs need no more than that, nor do depth and receptive
fields. A block that is called again with the same arguments and input shape has the
same layers, so they are listed once for all networks of a spec.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from archdsl.diagnostics import Diagnostics, SpecError
from archdsl.elaborate.chosen import choose
from archdsl.elaborate.contexts import Context
from archdsl.elaborate.faults import Fault
from archdsl.elaborate.initializers import initializers
from archdsl.elaborate.labels import has_outputs
from archdsl.elaborate.memo import Memo
from archdsl.elaborate.namespaces import Namespace
from archdsl.elaborate.paths import NameTemplate
from archdsl.elaborate.placed import Placed, Use
from archdsl.elaborate.references import BlockRef, KindRef
from archdsl.elaborate.sink import Inside, Owner, Section
from archdsl.elaborate.state import State
from archdsl.elaborate.structures import main_path
from archdsl.elaborate.tensors import Value
from archdsl.elaborate.walk import Walker
from archdsl.elaborate.whole import check_names, check_read, walk
from archdsl.limits import MAX_DEPTH
from archdsl.syntax import tree as t
from archdsl.syntax.loader import LoadedFile
from archdsl.values import Shape

# The numbers of the values that a part reads, that of the value that it defines, and
# whether it is on the shortcut of a residual.
Wire = tuple[tuple[int, ...], int, bool]


class Wiring:
    """How the parts of a block or network are joined; equal ones are one object.

    Attributes:
        wires: those of each part.
        result: number of the value that they leave. In a block, 0 is its input.
    """

    __slots__ = ("result", "wires")

    def __init__(self, wires: tuple[Wire, ...], result: int) -> None:
        self.wires = wires
        self.result = result


class CountedLines:
    """The lines of a block, or of the whole network: layers, and calls of blocks.

    Attributes:
        parts: the layers and the lines of blocks, each after those that it reads from.
        wiring: how they are joined.
        training: whether they are only needed for outputs of the training mode.
        facts: results that callers store for them.
    """

    __slots__ = ("facts", "parts", "training", "wiring")

    def __init__(
        self,
        parts: list[Use | CountedLines],
        wiring: Wiring,
        training: bool,
    ) -> None:
        self.parts = parts
        self.wiring = wiring
        self.training = training
        self.facts: dict[Any, Any] = {}

    def uses(self) -> Iterator[Use]:
        """Yield the layers in order, also those of blocks."""
        stack = [iter(self.parts)]
        while stack:
            for part in stack[-1]:
                if isinstance(part, CountedLines):
                    stack.append(iter(part.parts))
                    break
                yield part
            else:
                stack.pop()


class LayerCounts(NamedTuple):
    """The layers of a network.

    Attributes:
        lines: all of them.
        inputs: shape of each input; they have the numbers from 0.
        outputs: number of each output of inference, the main one first.
    """

    lines: CountedLines
    inputs: tuple[Shape, ...]
    outputs: tuple[int, ...]


class _BlockLine(NamedTuple):
    """A call of a block, with the numbers of its values in the network.

    Attributes:
        lines: the block's lines.
        inputs: number of the value that it reads.
        output: number of the value that it defines.
    """

    lines: CountedLines
    inputs: tuple[int, ...]
    output: int


class _Block(NamedTuple):
    """The layers and properties of a call of a block.

    Attributes:
        held: objects that must be kept alive while the entry's key refers to them.
        lines: its layers.
        shape: shape of its output.
        stride: stride from its input to its output; None if that is not known.
        last: the last norm on its main path, or else its last layer; None if the output
            is the input.
        reads: whether it reads its input.
        parts: number of its layers and blocks.
        steps: steps of work that it takes.
        depth: how deep bodies are nested in it.
        definitions: definitions of the blocks that it calls.
    """

    held: tuple[Any, ...]
    lines: CountedLines
    shape: Shape
    stride: int | None
    last: Placed | None
    reads: bool
    parts: int
    steps: int
    depth: int
    definitions: frozenset[t.Definition]


class _Opened(NamedTuple):
    """A block that is open, and what was known when it was opened.

    Attributes:
        key: determines its result; None if that is not stored.
        lines: the layers around it.
        called: definitions of the blocks that were called around it.
        deepest: how deep bodies were nested.
        read: whether something read its input.
        values: number of values.
        parts: number of layers and blocks.
        inits: number of `init` statements.
        taps: number of taps.
        left: steps of work that were left.
    """

    key: Any
    lines: list[Placed | _BlockLine]
    called: set[t.Definition]
    deepest: int
    read: bool
    values: int
    parts: int
    inits: int
    taps: int
    left: int


class SharedLayers(Memo):
    """A cache for the networks of one spec: layers, and blocks."""

    def __init__(self) -> None:
        super().__init__()
        self._blocks: dict[Any, _Block] = {}
        self._wirings: dict[Any, Wiring] = {}

    def begin(self) -> None:
        """Make room for another network, if need be."""
        super().begin()
        if not self._entries:
            self._blocks.clear()
            self._wirings.clear()

    def wiring(self, wires: tuple[Wire, ...], result: int) -> Wiring:
        """Return the shared instance of a wiring."""
        key = result, wires
        known = self._wirings.get(key)
        if known is None:
            known = self._wirings[key] = Wiring(wires, result)
            self._entries += 1
        return known

    def block(self, key: Any) -> _Block | None:
        """Return the result of an earlier call."""
        return self._blocks.get(key)

    def keep_block(self, key: Any, block: _Block) -> None:
        """Store the result of a call."""
        self._blocks[key] = block
        self._entries += 1 + len(block.lines.parts)


class _NeedsGraph(Exception):
    """The network has a feature that needs the graph."""


def count_layers(
    module: LoadedFile,
    memo: SharedLayers,
    *,
    preset: str | None = None,
    params: Mapping[str, Any] | None = None,
    input: Shape | None = None,
) -> LayerCounts | None:
    """Return the layers of a network; None if that needs `elaborate`.

    In that case, the network has errors, or statements that need the graph.

    Args:
        module: the loaded spec.
        memo: results from other networks of the spec.
        preset: as for `elaborate`.
        params: as for `elaborate`.
        input: as for `elaborate`.
    """
    memo.begin()
    state = State(Diagnostics(), symbolic=False, goes_on=False)
    counts = Counts(state, memo)
    walker = Walker(state, counts, memo)
    try:
        check_names(module, state.errors)
        definition, chosen = choose(module, preset)
        if not params and input is None:
            return None  # its claims are to be read, too
        walker.input_shape = input
        _, _, end = walk(walker, module, definition, chosen, params or {})
        state.read.add(end.number)
        check_read(state)
        others = [port.value for port in state.outputs if not port.training]
        inputs = [port.value for port in state.inputs]
        ends = [end.number, *others]
        lines, outputs = counts.numbered(inputs, ends, training=False)
        if state.inits:
            _check_inits(state, lines)
    except (Fault, SpecError, _NeedsGraph):
        return None
    if state.errors.found or state.registers or end.shape is None:
        return None
    return LayerCounts(lines, tuple([port.shape for port in state.inputs]), outputs)


def _check_inits(state: State, lines: CountedLines) -> None:
    """Check that the targets of `init` exist, by one layer of each use."""
    if any(statement.path for statement, _ in state.inits):
        raise _NeedsGraph
    for _ in initializers(state, dict.fromkeys(lines.uses()), {}):
        pass


class Counts:
    """The sink that lists the layers of a network.

    Attributes:
        lines: the layers so far, of the network or of the block that is open.
    """

    def __init__(self, state: State, memo: SharedLayers) -> None:
        self.lines: list[Placed | _BlockLine] = []
        self._state = state
        self._memo = memo
        # Definitions of the blocks that the open block calls.
        self._called: set[t.Definition] = set()
        self._open: list[_Opened] = []
        # Where the lines of each open section begin.
        self._starts: list[int] = []
        # What the lines of shortcuts define.
        self._aside: set[int] = set()

    def layer(self, placed: Placed) -> None:
        """Add the line of a layer."""
        self.lines.append(placed)

    def decide(self, layers: Sequence[Placed]) -> None:
        """Do nothing, as lines are written when a block ends."""

    def open_section(self) -> None:
        """Remember where the lines of a section begin."""
        self._starts.append(len(self.lines))

    def close_section(self, section: Section, result: Value) -> None:
        """Mark the lines of a shortcut."""
        start = self._starts.pop()
        if section.role == "shortcut":
            self._aside.update([line.output for line in self.lines[start:]])

    def open_owner(self, owner: Owner) -> Value | None:
        """Begin the lines of a block, or add the line of an equal one before.

        Those of a block with several inputs or outputs are listed each time.
        """
        definition, context = owner.definition, owner.context
        if definition is None:
            return None
        several = len(owner.ends) > 1 or has_outputs(definition)
        key = None if several else _key(owner, definition)
        known = None if key is None else self._memo.block(key)
        if known is not None and _fits(known, context):
            return self._again(known, definition, owner)
        if key is None:
            self._called.add(definition)
        state, entry = self._state, owner.ends[0]
        self._open.append(
            _Opened(
                key=key,
                lines=self.lines,
                called=self._called,
                deepest=state.deepest,
                read=entry.number in state.read,
                values=state.values,
                parts=state.parts,
                inits=len(state.inits),
                taps=len(state.tapped),
                left=context.budget.left,
            )
        )
        if key is not None:
            self.lines, self._called = [], set()
            state.deepest = context.depth
            state.read.discard(entry.number)
        return None

    def close_owner(self, owner: Owner, inside: Inside) -> None:
        """Add the line of a block, and store what is known of it."""
        if owner.definition is None:
            return
        opened = self._open.pop()
        if opened.key is None:
            return
        state, entry, result = self._state, owner.ends[0], inside.result
        lines, _ = self.numbered(
            (entry.number,), (result.number,), training=owner.context.training
        )
        if block := self._learnt(owner, result, lines, opened):
            self._memo.keep_block(opened.key, block)
        self.lines = opened.lines
        self._called |= {owner.definition, *opened.called}
        state.deepest = max(opened.deepest, state.deepest)
        if opened.read:
            state.read.add(entry.number)
        if lines.parts:
            self.lines.append(_BlockLine(lines, (entry.number,), result.number))

    def _learnt(
        self, owner: Owner, result: Value, lines: CountedLines, opened: _Opened
    ) -> _Block | None:
        """Return what is known of a block; None if it has to be listed each time.

        Args:
            owner: the block.
            result: its output as seen from inside.
            lines: its layers.
            opened: what was known before.
        """
        state, context, entry = self._state, owner.context, owner.ends[0]
        made = range(opened.values + 1, state.values + 1)
        unread = {n for n in made if n in state.producers} - state.read
        idle = not all(tapped.is_read for tapped in state.tapped[opened.taps :])
        path = main_path(state.producers, entry, result)
        norm = next((one for one in path if one.op.family == "norm"), None)
        last = norm or (path[0] if path else None)
        passes = result.number == entry.number
        if unread - {result.number} or idle or (last is None and not passes):
            return None
        if len(state.inits) > opened.inits or state.registers:
            return None
        assert result.shape is not None
        start, stride = result.back_to(opened.values)
        return _Block(
            held=(owner.definition, owner.values),
            lines=lines,
            shape=result.shape,
            stride=stride if start.number == entry.number else None,
            last=last,
            reads=entry.number in state.read,
            parts=state.parts - opened.parts,
            steps=opened.left - context.budget.left,
            depth=state.deepest - context.depth,
            definitions=frozenset(self._called),
        )

    def _again(self, known: _Block, definition: t.Definition, owner: Owner) -> Value:
        """Add the line of a block from the stored result."""
        state, context, entry = self._state, owner.context, owner.ends[0]
        context.budget.spend(owner.span, known.steps)
        state.count_parts(owner.span, known.parts)
        state.deepest = max(state.deepest, context.depth + known.depth)
        self._called |= {definition, *known.definitions}
        if known.reads:
            state.reads([entry])
        if known.last is None:
            return entry
        made = state.new_value(known.shape)
        if known.stride is not None:
            made.source, made.stride = entry, known.stride
        inputs = (entry.number,)
        # Messages and projections only read its last layer.
        state.producers[made.number] = known.last.reading(inputs)
        self.lines.append(_BlockLine(known.lines, inputs, made.number))
        return made

    def numbered(
        self, entries: Iterable[int], results: Sequence[int], *, training: bool
    ) -> tuple[CountedLines, tuple[int, ...]]:
        """Return the lines, with numbers that only depend on how they are wired.

        The entries come first, from 0, then what each line defines, in order.

        Args:
            entries: the inputs of the network or block.
            results: its outputs, the main one first.
            training: whether it only serves outputs of the training mode.

        Returns:
            The lines, and the numbers of the outputs.

        Raises:
            _NeedsGraph: if it reads something else.
        """
        own = {number: place for place, number in enumerate(entries)}
        parts: list[Use | CountedLines] = []
        wires: list[Wire] = []
        try:
            for line in self.lines:
                inputs = tuple([own[number] for number in line.inputs])
                last = own[line.output] = len(own)
                wires.append((inputs, last, line.output in self._aside))
                if isinstance(line, Placed):
                    parts.append(line.made.use(line.training, line.shared))
                else:
                    parts.append(line.lines)
            outputs = tuple([own[number] for number in results])
        except KeyError:
            raise _NeedsGraph from None
        wiring = self._memo.wiring(tuple(wires), outputs[0])
        return CountedLines(parts, wiring, training), outputs

    def drop(self) -> None:
        """Do nothing, as the first mistake ends it."""

    def __len__(self) -> int:
        """Return how many lines there are in the network, or in the open block."""
        return len(self.lines)

    def rename(
        self,
        step: t.ChainStep,
        olds: Sequence[NameTemplate],
        space: Namespace,
        before: int,
    ) -> None:
        """Do nothing, as names do not matter here."""

    def repeat(self, first: Value, second: Value) -> None:
        """Give up if shared layers get another shape, since only they can judge it.

        Raises:
            _NeedsGraph: in that case.
        """
        if first.shape != second.shape or type(first.shape) is not type(second.shape):
            raise _NeedsGraph


def _fits(known: _Block, context: Context) -> bool:
    """Return whether a block can be called here as it was before."""
    if context.depth + known.depth > MAX_DEPTH:
        return False
    # The first of the trail is the block itself.
    return not any(call.definition in known.definitions for call in context.trail[1:])


def _key(owner: Owner, definition: t.Definition) -> Any:
    """Return everything that determines the result of a block's call; None if unknown.

    Braces use the names of the place where they are written, and so do arguments that
    are given with a layer kind.
    """
    shape, context = owner.ends[0].shape, owner.context
    parts: list[Any] = [id(definition), type(shape), shape]
    parts += [context.training, context.shared]
    for value in owner.values.values():
        part = _part(value)
        if part is None:
            return None
        parts.append(part)
    return tuple(parts)


def _part(value: Any) -> Any:
    """Return a key that distinguishes a value from all others, even from equal ones."""
    if isinstance(value, bool | int | float | str):
        return type(value), value
    if isinstance(value, tuple):
        parts = [_part(item) for item in value]
        return None if None in parts else (type(value), *parts)
    if isinstance(value, KindRef):
        return None if value.bound else value.kind
    if isinstance(value, BlockRef):
        bound = [(name, _part(item)) for name, item in value.bound.items()]
        known = all(part is not None for _, part in bound)
        return (id(value.definition), *bound) if known else None
    return None
