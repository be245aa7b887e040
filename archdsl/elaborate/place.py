"""Places layers and owners: names them, checks shapes, and sends them to the sink."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol, Self

from archdsl.elaborate.contexts import Context
from archdsl.elaborate.faults import Fault
from archdsl.elaborate.memo import Memo
from archdsl.elaborate.namespaces import Namespace
from archdsl.elaborate.paths import part_name
from archdsl.elaborate.placed import Made, Placed
from archdsl.elaborate.sink import Inside, Owner, Section, Sink
from archdsl.elaborate.state import State
from archdsl.elaborate.tensors import Extra, MergeWords, Value, named, rename
from archdsl.elaborate.types import counted
from archdsl.layer import Differ, Layer, Mismatch
from archdsl.limits import MAX_INTEGER
from archdsl.naming import channels_of_input, input_name
from archdsl.source import Span
from archdsl.symbolic import Poly, poly_of
from archdsl.syntax import tree as t
from archdsl.values import (
    Dims,
    Last,
    Shape,
    channels,
    show_shape,
    sizes,
    with_channels,
)

# Sends what stands in an owner, for an input, and returns the output.
Build = Callable[[Value, Context], Value]


class Placer:
    """Sends the layers, owners and sections of a network to a sink.

    Attributes:
        state: what is known of the network.
        sink: receives its parts.
        memo: layers seen before, if numbers carry no expressions.
    """

    def __init__(self, state: State, sink: Sink, memo: Memo | None = None) -> None:
        self.state = state
        self.sink = sink
        self.memo = None if state.symbolic else memo or Memo()
        # Each layer as it was at its first use, by path.
        self._firsts: dict[str, Made] = {}

    # ---- owners and sections

    def section(self, section: Section) -> Opened:
        """Open a section for a `with`, which closes it."""
        return Opened(self.sink, section)

    def owner(self, owner: Owner, build: Build) -> Value:
        """Send a group or block with what `build` sends, and return its output.

        Inside, the input's channels have a name of their own; the output is expressed
        in the caller's names again.
        """
        known = self.sink.open_owner(owner)
        if known is not None:
            return known
        try:
            inside = self._inside(owner, build)
        except BaseException:
            self.sink.drop()
            raise
        self.sink.close_owner(owner, inside)
        return inside.value

    def _inside(self, owner: Owner, build: Build) -> Inside:
        """Send what is in a group or block."""
        state, context, definition = self.state, owner.context, owner.definition
        state.count_parts(owner.span)
        level = 0 if definition else context.level + 1
        space = Namespace(
            context.space.join(owner.name),
            owner.indexed,
            None if definition else context.space,
            context.space,
        )
        statement, before = state.statement, state.values
        entries, bindings = self._entries(owner, level)
        space.entry = entries[0]
        inner = context.replace(space=space, level=level, within="")
        if definition:
            space.name_inputs(definition, entries)
            result = self.whole(build, entries[0], inner)
        else:
            result = build(entries[0], inner)
        state.statement = statement
        if any(end.shape is None for end in owner.ends):
            value = Value(result.number, None)
            value.extras = {
                n: Value(v.number, None) for n, (v, _) in space.outputs.items()
            }
            return Inside(space, result, value)
        value = _outside(result, before, owner.ends, bindings)
        value.extras = self._extras(space, value, before, owner, bindings)
        return Inside(space, result, value)

    def _extras(
        self,
        space: Namespace,
        value: Value,
        before: int,
        owner: Owner,
        bindings: Mapping[str, Poly],
    ) -> dict[str, Value]:
        """Return the other outputs of an owner as seen from outside, by name.

        Args:
            space: its namespace.
            value: its main output.
            before: number of the last value before it.
            owner: the owner.
            bindings: the names inside, in terms of those outside.
        """
        found: dict[str, Value] = {}
        taken = {value.number: ""}
        trail = owner.context.trail[1 if owner.definition else 0 :]
        for name, (result, span) in space.outputs.items():
            main = value.number <= before
            found[name] = Value(result.number, None)
            if result.shape is None or (main and value.shape is None):
                continue
            if main or result.number <= before or result.number in taken:
                known = "" if main else taken.get(result.number)
                fault = _no_output(name, known, main, space.path, span)
                self.state.report(fault, owner.context)
                continue
            taken[result.number] = name
            own = found[name] = _outside(result, before, owner.ends, bindings)
            own.tapped = extra = Extra(owner.span, trail, name, space.path)
            self.state.tapped.append(extra)
        return found

    def _entries(self, owner: Owner, level: int) -> tuple[list[Value], dict[str, Poly]]:
        """Return what flows into an owner, its channels in the names used inside.

        Returns:
            The values, and the names inside in terms of those outside.
        """
        names: list[str] = []
        bindings: dict[str, Poly] = {}
        if self.state.symbolic:
            inputs = owner.definition.inputs if owner.definition else []
            names = [input_name(level)]
            names += [channels_of_input(name) for name, _ in inputs[1:]]
            bindings = {
                name: poly_of(value[0] if isinstance(value, Dims) else value)
                for name, value in owner.values.items()
                if isinstance(value, int | Dims) and not isinstance(value, bool)
            }
        entries = []
        for place, end in enumerate(owner.ends):
            shape = end.shape
            if names and shape is not None:
                own = names[place]
                bindings[own] = poly_of(channels(shape))
                shape = with_channels(shape, named(channels(shape), own))
            entries.append(Value(end.number, shape, tapped=end.tapped))
        return entries, bindings

    def whole(self, build: Build, value: Value, context: Context) -> Value:
        """Send what is in a block or network, and decide about its biases."""
        biases, producers = self.state.biases, self.state.producers
        around = biases.enter()
        result = build(value, context)
        biases.read(result.number, None)
        decided = []
        for output, bias in biases.leave(around).items():
            placed = producers[output]
            placed.made = placed.made.with_bias(bias)
            decided.append(placed)
        if decided:
            self.sink.decide(decided)
        return result

    # ---- layers

    def layer(
        self,
        op: Layer,
        label: str | None,
        inputs: tuple[Value, ...],
        context: Context,
        span: Span,
        merge: MergeWords | None = None,
    ) -> Value:
        """Send one layer, and return its output.

        Args:
            op: the layer.
            label: its name, if the spec gives one.
            inputs: the values that it reads.
            context: its context.
            span: its place in the source.
            merge: names for the inputs of a merge in messages.

        Raises:
            Fault: if the layer does not fit its inputs.
        """
        state, space, again = self.state, context.space, context.again
        name = part_name(label, op.word, space, span)
        numbers, known = [], []
        for one in inputs:
            numbers.append(one.number)
            if one.shape is not None:
                known.append(one.shape)
        state.reads(inputs, op)
        if len(known) < len(inputs):
            return state.new_value(None)
        shapes = tuple(known)
        try:
            made = self._made(op, shapes, span)
        except Mismatch as mismatch:
            place = again.span if again else span
            raise self._mismatch(mismatch, inputs, place, merge) from None
        among = _among(name, space.indexed)
        if among:
            _need_module(op, shapes, among, span)
        state.count_parts(span)
        value = state.new_value(made.shape)
        main = inputs[0] if len(inputs) == 1 else _main_input(inputs, made.shape)
        value.source, value.stride = main, made.stride
        placed = Placed(
            made,
            name,
            space.join(name),
            label is not None,
            tuple(numbers),
            value.number,
            context.training,
            state.statement,
            again is not None,
            context.alias_of(name) if again else "",
            span,
        )
        first = self._firsts.setdefault(placed.path, made)
        if again is not None:
            _check_again(first, placed, again.span)
        state.producers[value.number] = placed
        self.sink.layer(placed)
        if vars(op).get("bias", False) is None:
            state.biases.add(value.number, placed.path)
        return value

    def check_alike(self, first: Value, second: Value, span: Span) -> None:
        """Refuse a number of channels that does not fit shared weights.

        Args:
            first: what flowed in when the weights were first used.
            second: what flows in now.
            span: the place of the `same`.

        Raises:
            Fault: if they differ in channels.
        """
        if first.shape is None or second.shape is None:
            return
        if channels(first.shape) != channels(second.shape):
            wanted = counted(int(channels(first.shape)), "channel")
            raise Fault(
                "A0302",
                f"the weights are for {wanted}, and the input has "
                f"{int(channels(second.shape))}",
                span,
                label=f"the input is {self.state.describe(second)}",
                help="shared layers need inputs with the same number of channels",
            )
        self.sink.repeat(first, second)

    def _made(self, op: Layer, inputs: tuple[Shape, ...], span: Span) -> Made:
        """Return a layer for inputs of some shapes, from the memo if seen before.

        Raises:
            Fault: if the output is too large.
            Mismatch: if the layer does not fit its inputs.
        """
        memo = self.memo
        known = None if memo is None else memo.made_by(op)
        if memo is None or known is None:
            made = _make(op, inputs, span)
            made.shape = with_channels(made.shape, channels(made.shape))
            return made
        # A shape with its channels last only compares equal to others.
        key = inputs, (*map(type, inputs),)
        return known.get(key) or memo.keep(known, key, _make(op, inputs, span))

    def _mismatch(
        self,
        mismatch: Mismatch,
        inputs: tuple[Value, ...],
        span: Span,
        merge: MergeWords | None,
    ) -> Fault:
        describe = self.state.describe
        message, label, help = mismatch.message, mismatch.label, mismatch.help
        if isinstance(mismatch, Differ) and mismatch.aspect.startswith("size"):
            self.state.sizes_differ.append(span)
        if isinstance(mismatch, Differ) and merge is not None:
            if merge.word:
                sides = " and ".join(merge.sides)
                message = f"{merge.word}: {sides} differ in {mismatch.aspect}"
            label = ", ".join(
                f"{merge.sides[i]} gives {describe(inputs[i], merge.entry)}"
                for i in mismatch.places
            )
            help = merge.help or help
        return Fault(
            mismatch.code,
            message,
            span,
            label=label or f"the input is {describe(inputs[0])}",
            help=help,
        )


class Opened:
    """A section that is open.

    Attributes:
        value: its output, to be set before it is closed; its input if nothing is in it.
    """

    __slots__ = ("_section", "_sink", "value")

    def __init__(self, sink: Sink, section: Section) -> None:
        self._sink = sink
        self._section = section
        self.value = section.entry

    def __enter__(self) -> Self:
        """Open it."""
        self._sink.open_section()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        """Close it, or drop it if there is a mistake in it."""
        if kind is None:
            self._sink.close_section(self._section, self.value)
        else:
            self._sink.drop()


class LabelledStep(NamedTuple):
    """A labelled step, to be elaborated again by `same`.

    Attributes:
        step: the step.
        context: the context of its place.
        value: what flowed into it.
        copy: number of its copy in a repeat.
    """

    step: t.ChainStep
    context: Context
    value: Value
    copy: int | None


class Walks(Protocol):
    """A walker, for the modules that elaborate single forms of the language."""

    @property
    def state(self) -> State:
        """What is known of the network."""

    @property
    def place(self) -> Placer:
        """Sends its parts to a sink."""

    def body(self, body: t.Body, value: Value, context: Context) -> Value:
        """Elaborate a body that has one branch."""

    def branch(self, branch: t.Branch, value: Value, context: Context) -> Value:
        """Elaborate statements in order."""

    def step(
        self, step: t.ChainStep, value: Value, context: Context, copy: int | None
    ) -> Value:
        """Elaborate one step of a chain; in a repeat, for a copy, from 1."""

    def written(self, space: Namespace) -> dict[str, LabelledStep]:
        """Return the labelled steps of a namespace so far."""


def _make(op: Layer, inputs: tuple[Shape, ...], span: Span) -> Made:
    shape = op.shape(*inputs)
    if max(shape) > MAX_INTEGER:
        raise Fault(
            "A0903",
            f"{op.word}: the output {show_shape(shape)} has a size above "
            f"{MAX_INTEGER:,} (31 bits)",
            span,
        )
    return Made(op, inputs, shape, op.window(inputs, shape))


def _need_module(op: Layer, inputs: tuple[Shape, ...], among: str, span: Span) -> None:
    """Refuse a layer that is a bare parameter where all parts must be modules.

    Args:
        op: the layer.
        inputs: shapes of its inputs.
        among: what it is a part of.
        span: its place in the source.

    Raises:
        Fault: if it is one.
    """
    if not all([tensor.name for tensor in op.tensors(*inputs)]):
        raise Fault(
            "A0302",
            f"{op.word} is a bare parameter, but {among} must be modules",
            span,
            help="put it outside the `seq`, where it can have a name"
            if among == _NUMBERED
            else "put labelled braces around it instead, and give it a plain name in "
            "them",
        )


def _check_again(was: Made, placed: Placed, span: Span) -> None:
    """Refuse another use of a layer if torch needs a different module for it.

    Raises:
        Fault: if it does, for example for a batch norm on a vector that was on a map.
    """
    now = placed.made
    first, second = (m.op.torch(m.input_shapes, m.shape) for m in (was, now))
    if first != second:
        raise Fault(
            "A0302",
            f"the layer {placed.path} was made for "
            f"{_named_shape(was.input_shapes[0])}, "
            f"and its input here is {_named_shape(now.input_shapes[0])}",
            span,
            help=f"torch has another class of {now.op.word} for that: write a "
            "separate layer",
        )


_NUMBERED: Final = "the parts of a seq"


def _among(name: str, indexed: bool) -> str:
    """Return what a named part belongs to, if all parts of that must be modules."""
    if indexed:
        return _NUMBERED
    if "." in name:
        return "the parts of a container"
    return "parts with a hyphen in their name" if "-" in name else ""


def _named_shape(shape: Shape) -> str:
    if len(shape) == 1:
        return f"a vector of {show_shape(shape)}"
    last = ", its channels last" if isinstance(shape, Last) else ""
    return f"a map of {show_shape(shape)}{last}"


def _main_input(inputs: Sequence[Value], output: Shape) -> Value:
    """Return the input with the size of the output, or else the first one."""
    alike = [v for v in inputs if v.shape and sizes(v.shape) == sizes(output)]
    return alike[0] if alike else inputs[0]


def _outside(
    result: Value, before: int, ends: tuple[Value, ...], bindings: Mapping[str, Poly]
) -> Value:
    """Return an output of an owner as seen from outside.

    Args:
        result: the output as seen from inside.
        before: number of the last value before the owner.
        ends: its inputs.
        bindings: the names inside, in terms of those outside.
    """
    value = Value(result.number, result.shape)
    if result.shape is None:
        return value
    if bindings:
        width = rename(channels(result.shape), bindings)
        value.shape = with_channels(result.shape, width)
    _keep_way(value, result, before, ends, bindings)
    return value


def _no_output(
    name: str, known: str | None, main: bool, path: str, span: Span
) -> Fault:
    """Return why a value cannot be another output of a block or braces.

    Args:
        name: the output's name.
        known: the output that is the same value, empty for the main one; None if none.
        main: whether what is wrong is that the main output is an input.
        path: of the block or braces.
        span: the place of the `output`.
    """
    if main:
        what = f"the main output of {path} is its input, unchanged"
        help = "the last statement gives the main output: end with a layer, if only "
        help += "`identity`"
    elif known is None:
        what = f"the output `{name}` of {path} is a value from outside of it"
        help = "what reads it can read that value itself; or put `identity` behind it"
    else:
        other = f"the output `{known}`" if known else "the main output"
        what = f"the output `{name}` of {path} and {other} are one value"
        help = "read the other one instead" if known else "drop it here, and read the "
        help += "" if known else "main output; or put `identity` behind it"
    return Fault("A0307", what, span, help=help)


def _keep_way(
    value: Value,
    result: Value,
    before: int,
    ends: tuple[Value, ...],
    bindings: Mapping[str, Poly],
) -> None:
    """Record the stride of an owner, as if it were a single step.

    Args:
        value: its output as seen from outside.
        result: its output as seen from inside.
        before: number of the last value before it.
        ends: its inputs.
        bindings: the names inside, in terms of those outside.
    """
    value.tapped = result.tapped
    start, stride = result.back_to(before)
    for end in ends:
        if start.number == end.number and result.number > before:
            value.source, value.stride = end, rename(stride, bindings)
        elif result.number == end.number:
            value.source, value.stride = end.source, end.stride
