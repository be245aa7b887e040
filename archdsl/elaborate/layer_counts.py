"""The layers of a network without the graph: their kinds, shapes and wiring.

Totals such as parameters and MACs need no more than that, nor do depth and receptive
fields. A block that is called again with the same arguments and input shape has the
same layers, so they are listed once for all networks of a spec.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

from archdsl.diagnostics import Diagnostics, SpecError
from archdsl.elaborate import check_names, check_read, choose, initializers, walk
from archdsl.elaborate.builder import Build, Parts, enter
from archdsl.elaborate.library import prelude
from archdsl.elaborate.memo import Memo
from archdsl.elaborate.scope import BlockRef, Context, Fault, KindRef, Namespace, Value
from archdsl.elaborate.structures import main_path
from archdsl.elaborate.walk import Walker
from archdsl.ir import Role
from archdsl.layer import Layer
from archdsl.limits import MAX_DEPTH
from archdsl.source import Source, Span
from archdsl.syntax import tree as t
from archdsl.syntax.loader import Module
from archdsl.values import Shape


class Use:
    """Layers of a network that are equal in everything that their cost depends on.

    Attributes:
        op: the layer.
        input_shapes: shapes of their inputs.
        shape: shape of their outputs.
        training: whether they are only needed for outputs of the training mode.
        shared: whether they repeat earlier layers, with the same weights.
        facts: results that callers store for them.
    """

    __slots__ = ("facts", "input_shapes", "op", "shape", "shared", "training")

    def __init__(
        self,
        op: Layer,
        input_shapes: tuple[Shape, ...],
        shape: Shape,
        training: bool,
        shared: bool,
    ) -> None:
        self.op = op
        self.input_shapes = input_shapes
        self.shape = shape
        self.training = training
        self.shared = shared
        self.facts: dict[Any, Any] = {}


class Line:
    """One layer, or one call of a block, in the order of the network.

    Attributes:
        of: the layer or the block's lines.
        inputs: numbers of the values that it reads, in the list that it stands in.
        output: number of the value that it defines.
        shortcut: whether it is on the shortcut of a residual in that list.
    """

    __slots__ = ("inputs", "of", "output", "shortcut")

    def __init__(self, of: Use | Lines, inputs: tuple[int, ...], output: int) -> None:
        self.of = of
        self.inputs = inputs
        self.output = output
        self.shortcut = False


class Lines:
    """The lines of a block, or of the whole network.

    Attributes:
        items: the lines, each after those that it reads from.
        result: number of the value that it leaves. In a block, 0 is its input.
        training: whether they are only needed for outputs of the training mode.
        facts: results that callers store for them.
    """

    __slots__ = ("facts", "items", "result", "training")

    def __init__(self, items: list[Line], result: int, training: bool) -> None:
        self.items = items
        self.result = result
        self.training = training
        self.facts: dict[Any, Any] = {}

    def uses(self) -> Iterator[Use]:
        """Yield the layers in order, also those of blocks."""
        stack = [iter(self.items)]
        while stack:
            for line in stack[-1]:
                if isinstance(line.of, Lines):
                    stack.append(iter(line.of.items))
                    break
                yield line.of
            else:
                stack.pop()


class Census(NamedTuple):
    """The layers of a network.

    Attributes:
        lines: all of them.
        inputs: shape of each input; they have the numbers from 0.
        outputs: number of each output of inference, the main one first.
    """

    lines: Lines
    inputs: tuple[Shape, ...]
    outputs: tuple[int, ...]


class _Light(NamedTuple):
    """What the elaborator needs to know of a step; see `builder.Producer`."""

    path: str
    op: Layer
    inputs: tuple[int, ...]
    input_shapes: tuple[Shape, ...]
    span: Span


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
    lines: Lines
    shape: Shape
    stride: int | None
    last: _Light | None
    reads: bool
    parts: int
    steps: int
    depth: int
    definitions: frozenset[t.Definition]


class Tallies(Memo):
    """What the networks of one spec share, including their blocks."""

    def __init__(self) -> None:
        super().__init__()
        self._blocks: dict[Any, _Block] = {}
        self._uses: dict[Any, Use] = {}

    def begin(self) -> None:
        """Make room for another network, if need be."""
        super().begin()
        if not self._entries:
            self._blocks.clear()
            self._uses.clear()

    def block(self, key: Any) -> _Block | None:
        """Return the result of an earlier call."""
        return self._blocks.get(key)

    def keep_block(self, key: Any, block: _Block) -> None:
        """Store the result of a call."""
        self._blocks[key] = block
        self._entries += 1 + len(block.lines.items)

    def use(
        self,
        op: Layer,
        input_shapes: tuple[Shape, ...],
        shape: Shape,
        training: bool,
        shared: bool,
    ) -> Use:
        """Return the shared instance of equal layers."""
        key = id(op), input_shapes, (*map(type, input_shapes),), training, shared
        known = self._uses.get(key)
        if known is None or known.op is not op:
            known = Use(op, input_shapes, shape, training, shared)
            self._uses[key] = known
            self._entries += 1
        return known


class _NoTally(Exception):
    """The network has an error, or a feature that needs the graph."""


def tally(
    module: Module,
    memo: Tallies,
    *,
    preset: str | None = None,
    params: Mapping[str, Any] | None = None,
    input: Shape | None = None,
) -> Census | None:
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
    walker = _Tally(Diagnostics(), memo)
    try:
        check_names(module, walker)
        definition, chosen = choose(module, preset)
        walker.input_override = input
        if not params and input is None:
            return None  # its claims are to be read, too
        parts: Parts = []
        _, _, end = walk(walker, module, definition, chosen, params or {}, parts)
        walker.read.add(end.number)
        check_read(walker)
        others = [port.value for port in walker.outputs if not port.training]
        lines, outputs = _numbered(
            parts, [port.value for port in walker.inputs], [end.number, *others], False
        )
        if walker.inits:
            _check_inits(walker, lines)
    except (Fault, SpecError, _NoTally):
        return None
    if walker.errors.found or end.shape is None:
        return None
    return Census(lines, tuple([port.shape for port in walker.inputs]), outputs)


def _check_inits(walker: _Tally, lines: Lines) -> None:
    """Check that the targets of `init` exist, by one layer of each use."""
    if any(statement.path for statement, _ in walker.inits):
        raise _NoTally
    walker.producers = {
        place: _Light(f"{place}", use.op, (), use.input_shapes, _NOWHERE)
        for place, use in enumerate(dict.fromkeys(lines.uses()))
    }
    for _ in initializers(walker):
        pass


class _Tally(Walker):
    """Lists the layers of a network.

    Attributes:
        deepest: how deep bodies are nested in the block that is being elaborated.
        definitions: definitions of the blocks that it calls.
    """

    def __init__(self, errors: Diagnostics, memo: Tallies) -> None:
        super().__init__(errors, False, prelude(), memo)
        self.tallies = memo
        self.deepest = 0
        self.definitions: set[t.Definition] = set()
        # The lines of layers whose bias is not decided yet.
        self._late: dict[int, Line] = {}

    def report(self, fault: Fault, context: Context) -> NoReturn:
        """Give up."""
        raise _NoTally

    def deeper(self, context: Context, span: Span) -> Context:
        """Return the context one nesting level deeper."""
        inner = super().deeper(context, span)
        self.deepest = max(self.deepest, inner.depth)
        return inner

    def check_alike(self, first: Value, second: Value, span: Span) -> None:
        """Give up if shared layers get another shape, since only they can judge it."""
        super().check_alike(first, second, span)
        if first.shape != second.shape or type(first.shape) is not type(second.shape):
            raise _NoTally

    def transparent(self, role: Role, *given: Any, **__: Any) -> Any:
        """Return the lines of a group, those of a shortcut marked as such."""
        _word, _entry, _result, parts, *_ = given
        if role == "shortcut":
            for line in _gathered(parts):
                line.shortcut = True
        return parts

    def renamed(self, part: Any, name: str, alias: str) -> Any:
        """Return a part as it is, as names do not matter here."""
        return part

    def was_named(
        self,
        step: t.Step,
        names: Sequence[str],
        context: Context,
        parts: Sequence[Any],
        made: int,
    ) -> None:
        """Do nothing, likewise."""

    def _renewed(self, part: Any) -> Any:
        return part

    def place(
        self,
        layer: Layer,
        name: str,
        labelled: bool,
        inputs: tuple[int, ...],
        input_shapes: tuple[Shape, ...],
        value: Value,
        context: Context,
        span: Span,
        parts: list[Any],
    ) -> None:
        """Add the line of a layer."""
        assert value.shape is not None
        path = context.space.join(name)
        number = value.number
        self.producers[number] = _Light(path, layer, inputs, input_shapes, span)
        use = self.tallies.use(
            layer, input_shapes, value.shape, context.training, context.shared
        )
        line = Line(use, inputs, number)
        parts.append(line)
        if vars(layer).get("bias", False) is None:
            self._late[number] = line

    def settle(self, output: int, op: Layer) -> None:
        """Enter a layer whose bias was undecided."""
        step = self.producers[output]
        assert isinstance(step, _Light)
        self.producers[output] = step._replace(op=op)
        line = self._late.pop(output)
        was = line.of
        assert isinstance(was, Use)
        line.of = self.tallies.use(
            op, was.input_shapes, was.shape, was.training, was.shared
        )

    def owned(
        self,
        name: str,
        word: str,
        indexed: bool,
        value: Value,
        context: Context,
        span: Span,
        parts: list[Any],
        build: Build,
        definition: t.Definition | None = None,
        values: dict[str, Any] | None = None,
        further: tuple[Value, ...] = (),
    ) -> Value:
        """List the contents of a group or block, or those of an equal one before.

        Those of a block with several inputs are listed each time.
        """
        level = 0 if definition else context.level + 1
        outer = None if definition else context.space
        space = Namespace(context.space.join(name), indexed, outer)

        def run(parts: Parts) -> Value:
            self._add_part(span)
            inner = context.replace(space=space, level=level)
            entry = Value(value.number, value.shape, tapped=value.tapped)
            space.entry = entry
            if definition and further:
                enter(space, definition, (entry, *further))
            if definition is None:
                return build(entry, inner, parts)
            return self.whole(build, entry, inner, parts)

        before = self._values
        if definition is None or value.shape is None:
            result = run(parts)
        else:
            key = None
            if not further:
                key = _key(definition, values or {}, value.shape, context)
            known = None if key is None else self.tallies.block(key)
            if known is not None and _fits(known, context):
                return self._again(known, definition, value, context, span, parts)
            elif key is None:
                self.definitions.add(definition)
                result = run(parts)
            else:
                held = definition, values
                lines, result = self._first(key, held, definition, value, context, run)
                if lines.items:
                    parts.append(Line(lines, (value.number,), result.number))
        made = Value(result.number, result.shape)
        self.keep_way(made, result, before, (value, *further), {})
        return made

    def _first(
        self,
        key: Any,
        held: tuple[Any, ...],
        definition: t.Definition,
        value: Value,
        context: Context,
        run: Callable[[Parts], Value],
    ) -> tuple[Lines, Value]:
        """List the contents of a block, and store the result."""
        outside = self.definitions, self.deepest
        self.definitions, self.deepest = set(), context.depth
        read = value.number in self.read
        self.read.discard(value.number)
        values, parts, inits = self._values, self._parts, len(self.inits)
        taps = len(self.tapped)
        left = context.budget.left
        inside: Parts = []
        result = run(inside)
        lines, _ = _numbered(
            inside, (value.number,), (result.number,), context.training
        )
        made = set(range(values + 1, self._values + 1)).intersection(self.producers)
        unread = made - self.read - {result.number}
        idle = not all(tapped.is_read for tapped in self.tapped[taps:])
        path = main_path(self.producers, value, result)
        norm = next((step for step in path if step.op.family == "norm"), None)
        last = norm or (path[0] if path else None)
        passes = result.number == value.number
        known = not unread and not idle and (passes or last is not None)
        if len(self.inits) == inits and known:
            assert result.shape is not None
            start, stride = result.back_to(values)
            block = _Block(
                held=held,
                lines=lines,
                shape=result.shape,
                stride=stride if start.number == value.number else None,
                last=None if last is None else _light(last),
                reads=value.number in self.read,
                parts=self._parts - parts,
                steps=left - context.budget.left,
                depth=self.deepest - context.depth,
                definitions=frozenset(self.definitions),
            )
            self.tallies.keep_block(key, block)
        inner = self.definitions, self.deepest
        self.definitions, self.deepest = outside
        if read:
            self.read.add(value.number)
        self.definitions |= {definition, *inner[0]}
        self.deepest = max(self.deepest, inner[1])
        return lines, result

    def _again(
        self,
        known: _Block,
        definition: t.Definition,
        value: Value,
        context: Context,
        span: Span,
        parts: list[Any],
    ) -> Value:
        """Add the line of a block from the stored result."""
        context.budget.spend(span, known.steps)
        self.foresee(known.parts, span)
        self._parts += known.parts
        self.definitions |= {definition, *known.definitions}
        self.deepest = max(self.deepest, context.depth + known.depth)
        if known.reads:
            self.read.add(value.number)
            self.leave(value)
            value.read()
        if known.last is None:
            return value
        made = self.new_value(known.shape)
        if known.stride is not None:
            made.source, made.stride = value, known.stride
        self.producers[made.number] = known.last._replace(inputs=(value.number,))
        parts.append(Line(known.lines, (value.number,), made.number))
        return made


def _gathered(parts: Sequence[Any]) -> list[Line]:
    """Return the lines of groups, and of the groups in them, in order."""
    found: list[Line] = []
    for part in parts:
        if isinstance(part, Line):
            found.append(part)
        else:
            found += _gathered(part)
    return found


def _numbered(
    parts: Sequence[Any], entries: Iterable[int], results: Sequence[int], training: bool
) -> tuple[Lines, tuple[int, ...]]:
    """Return lines with numbers that only depend on how they are wired.

    The entries come first, from 0, then what each line defines, in order.

    Args:
        parts: the lines, with the numbers of the network.
        entries: the inputs of the network or block.
        results: its outputs, the main one first.
        training: whether it only serves outputs of the training mode.

    Returns:
        The lines, and the numbers of the outputs.
    """
    own = {number: place for place, number in enumerate(entries)}
    items = _gathered(parts)
    last = len(own)
    try:
        for line in items:
            line.inputs = tuple([own[number] for number in line.inputs])
            own[line.output] = line.output = last
            last += 1
        outputs = tuple([own[number] for number in results])
    except KeyError:
        raise _NoTally from None  # it reads something else
    return Lines(items, outputs[0], training), outputs


def _light(step: Any) -> _Light:
    return _Light(step.path, step.op, step.inputs, step.input_shapes, step.span)


def _fits(known: _Block, context: Context) -> bool:
    """Return whether a block can be called here as it was before."""
    if context.depth + known.depth > MAX_DEPTH:
        return False
    # The first of the trail is the block itself.
    return not any(call.definition in known.definitions for call in context.trail[1:])


def _key(
    definition: t.Definition,
    values: Mapping[str, Any],
    shape: Shape,
    context: Context,
) -> Any:
    """Return everything that determines the result of a block's call; None if unknown.

    Braces use the names of the place where they are written, and so do arguments that
    are given with a layer kind.
    """
    parts: list[Any] = [id(definition), type(shape), shape, context.training]
    parts.append(context.shared)
    for value in values.values():
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


_NOWHERE = Span(Source("<nowhere>", ""), 0, 0)
