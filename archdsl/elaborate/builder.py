"""The graph under construction: values, steps, groups and their names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NoReturn, Protocol

from archdsl import conditions
from archdsl.conditions import Label, Test
from archdsl.diagnostics import Diagnostic, Diagnostics, SpecError
from archdsl.elaborate.biases import Scope, Undecided, decided
from archdsl.elaborate.evaluate import counted, integer
from archdsl.elaborate.memo import Made, Memo
from archdsl.elaborate.names import check_label
from archdsl.elaborate.scope import (
    Budget,
    Context,
    Fault,
    Merge,
    Namespace,
    Tapped,
    Value,
    named,
    rename,
)
from archdsl.ir import OWNERS, Group, OldName, Parameter, Port, Role, Step, unchecked
from archdsl.layer import Differ, Layer, Mismatch
from archdsl.limits import MAX_DEPTH, MAX_INTEGER, MAX_PARTS
from archdsl.naming import (
    channels_of_input,
    containers_of,
    input_name,
    is_old_name,
)
from archdsl.source import Span
from archdsl.symbolic import Poly, poly_of
from archdsl.syntax import tree as t
from archdsl.syntax.loader import Module
from archdsl.values import (
    Dims,
    Last,
    Shape,
    channels,
    show_shape,
    sizes,
    with_channels,
)

_new_step = unchecked(Step)
_new_group = unchecked(Group)
_new_parameter = unchecked(Parameter)
_new_port = unchecked(Port)
_new_old_name = unchecked(OldName)

Parts = list[Step | Group]
Build = Callable[[Value, Context, Parts], Value]


class Name(str):
    """The name of a part, with its label as a template over the block's parameters."""

    __slots__ = ("pattern",)
    pattern: Label

    def __new__(cls, text: str, pattern: Label = ()) -> Name:
        """Create the name `text`; `pattern` is its label if it uses parameters."""
        self = super().__new__(cls, text)
        self.pattern = pattern
        return self


class Producer(Protocol):
    """What the builder needs to know of the step that defined a value.

    Attributes:
        path: as in `ir.Step`, like the others.
    """

    @property
    def path(self) -> str: ...

    @property
    def op(self) -> Layer: ...

    @property
    def inputs(self) -> tuple[int, ...]: ...

    @property
    def input_shapes(self) -> tuple[Shape, ...]: ...

    @property
    def span(self) -> Span: ...


class Builder:
    """Adds steps and groups in order, and keeps what the whole graph shares.

    Attributes:
        errors: errors so far. The output of a faulty step has no shape, so that no
            further errors are reported because of it.
        symbolic: whether integers carry expressions.
        prelude: the library of blocks that need no import.
        inputs: the network's inputs so far.
        outputs: additional outputs so far.
        output_names: their names.
        inits: `init` statements so far, with their places.
        expects: `expect` statements so far, with their places.
        definition: the definition of the network, once it is known.
        parameters: the values of its parameters, then.
        budget: the work that the network may still use.
        input_spans: places of the inputs in the spec, by the number of their value.
        met_input: whether there was an `input` statement, valid or not.
        scope: the block or network that is being elaborated, for its biases.
        sizes_differ: joins whose branches differ in size, which another input size may
            fix.
        faults: number of mistakes so far; consequences of a mistake are not reported.
        memo: layers seen before, if numbers carry no expressions.
    """

    def __init__(
        self,
        errors: Diagnostics,
        symbolic: bool,
        prelude: Module,
        memo: Memo | None = None,
    ) -> None:
        self.errors = errors
        self.symbolic = symbolic
        self.prelude = prelude
        self.memo = None if symbolic else memo or Memo()
        self.inputs: list[Port] = []
        self.input_names: set[str] = set()
        self.outputs: list[Port] = []
        self.output_names: set[str] = set()
        self.inits: list[tuple[t.Init, Context]] = []
        self.expects: list[tuple[t.Expect, Context]] = []
        self.input_override: Shape | None = None
        self.definition: t.Definition | None = None
        self.parameters: Mapping[str, Any] = {}
        self.budget = Budget()
        self.met_input = False
        self.input_spans: dict[int, Span] = {}
        self.faults = 0
        self.producers: dict[int, Producer] = {}
        self.read: set[int] = set()
        self.tapped: list[Tapped] = []
        self.sizes_differ: list[Span] = []
        self.scope = Scope()
        self._undecided: dict[int, Undecided] = {}
        # Each layer at its first use, by path.
        self._firsts: dict[str, tuple[Layer, tuple[Shape, ...], Shape]] = {}
        self._values = 0
        self._parts = 0
        self.statements_so_far = 0
        self.statement = 0

    # ---- bookkeeping

    def new_value(self, shape: Shape | None) -> Value:
        """Return a fresh value."""
        self._values += 1
        return Value(self._values, shape)

    def report(self, fault: Fault, context: Context) -> Value:
        """Record a mistake, and return a value that causes no further errors."""
        self.faults += 1
        # A loop can repeat one mistake ten thousand times.
        if fault.code and not self.errors.knows(fault.code, fault.span):
            self.errors.add(fault.diagnostic(context.notes()))
        return self.new_value(None)

    @property
    def made(self) -> int:
        """Number of layers and blocks created so far."""
        return self._parts

    def foresee(self, further: int, span: Span) -> None:
        """Refuse layers and blocks before they are created, if they are too many.

        Raises:
            SpecError: if they are.
        """
        if self._parts + further > MAX_PARTS:
            message = f"the network has more than {MAX_PARTS:,} layers and blocks"
            self.stop(Diagnostic("A0904", message, span))

    def stop(self, diagnostic: Diagnostic) -> NoReturn:
        """Abort, since continuing would take too long."""
        raise SpecError([*self.errors.found, diagnostic])

    def deeper(self, context: Context, span: Span) -> Context:
        """Return the context one nesting level deeper.

        Raises:
            SpecError: if blocks and bodies are nested too deeply.
        """
        if context.depth >= MAX_DEPTH:
            message = f"blocks and bodies nest deeper than {MAX_DEPTH} levels"
            self.stop(Diagnostic("A0902", message, span))
        return context.replace(depth=context.depth + 1)

    def _add_part(self, span: Span) -> None:
        self.foresee(1, span)
        self._parts += 1

    # ---- parts of the tree

    def owned(
        self,
        name: str,
        word: str,
        indexed: bool,
        value: Value,
        context: Context,
        span: Span,
        parts: Parts,
        build: Build,
        definition: t.Definition | None = None,
        values: dict[str, Any] | None = None,
        further: tuple[Value, ...] = (),
    ) -> Value:
        """Build a group or block that is a namespace for the names in it.

        Inside, the input's channels have a name of their own; the output is expressed
        in the caller's names again.

        Args:
            name: its name.
            word: the block's name, or the structure's word.
            indexed: whether its parts are named by number.
            value: what flows in.
            context: of the place where it stands.
            span: its place in the source.
            parts: the list that it is added to.
            build: adds what is in it.
            definition: the block.
            values: of the block's parameters.
            further: what flows in besides, into the block's other inputs.
        """
        self._add_part(span)
        level = 0 if definition else context.level + 1
        outer = None if definition else context.space
        space = Namespace(context.space.join(name), indexed, outer, context.space)
        own = input_name(level)
        bindings: dict[str, Poly] = {}
        entry = Value(value.number, value.shape, tapped=value.tapped)
        if value.shape is not None and self.symbolic:
            bindings = {
                k: poly_of(v[0] if isinstance(v, Dims) else v)
                for k, v in (values or {}).items()
                if isinstance(v, int | Dims) and not isinstance(v, bool)
            }
            bindings[own] = poly_of(channels(value.shape))
            shape = with_channels(value.shape, named(channels(value.shape), own))
            entry = Value(value.number, shape, tapped=value.tapped)
        space.entry = entry
        if definition and further:
            others = self._further(definition, further, bindings)
            enter(space, definition, (entry, *others))
        inner: Parts = []
        statement, before = self.statement, self._values
        inside = context.replace(space=space, level=level)
        if definition:
            result = self.whole(build, entry, inside, inner)
        else:
            result = build(entry, inside, inner)
        self.statement = statement
        lost = any(other.shape is None for other in further)
        if value.shape is None or result.shape is None or lost:
            return Value(result.number, None)
        out = with_channels(result.shape, rename(channels(result.shape), bindings))
        parameters = [_new_parameter(name="in_channels", value=channels(value.shape))]
        ports: tuple[Port, ...] = ()
        if definition and further:
            ports = ports_of(definition, (value, *further))
            parameters += [
                _new_parameter(
                    name=channels_of_input(port.name), value=channels(port.shape)
                )
                for port in ports[1:]
            ]
        if definition and values:
            parameters += parameters_of(definition, values)
        parts.append(
            _new_group(
                role="block" if definition else "group",
                name=str(name),
                path=space.path,
                pattern=getattr(name, "pattern", ()),
                word=word,
                origin=_origin(definition),
                doc=definition.doc if definition else "",
                indexed=indexed,
                parameters=tuple(parameters),
                lets=tuple(space.lets.items()),
                tests=space.answers(),
                children=tuple(inner),
                input=value.number,
                input_shape=value.shape,
                ports=ports,
                output=result.number,
                shape=out,
                training=context.training,
                statement=self.statement,
                shared=context.shared,
                span=span,
            )
        )
        made = Value(result.number, out)
        self.keep_way(made, result, before, (value, *further), bindings)
        return made

    def _further(
        self,
        definition: t.Definition,
        further: tuple[Value, ...],
        bindings: dict[str, Poly],
    ) -> tuple[Value, ...]:
        """Return a block's inputs but the first, their channels in its own names.

        Args:
            definition: the block.
            further: what flows in there.
            bindings: the names inside, in terms of those outside, to be extended.
        """
        found = []
        for (name, _), value in zip(definition.inputs[1:], further, strict=True):
            shape = value.shape
            if shape is not None and self.symbolic:
                own = channels_of_input(name)
                bindings[own] = poly_of(channels(shape))
                shape = with_channels(shape, named(channels(shape), own))
            found.append(Value(value.number, shape, tapped=value.tapped))
        return tuple(found)

    def whole(
        self, build: Build, value: Value, context: Context, parts: Parts
    ) -> Value:
        """Build a whole block or network, and decide about its biases."""
        around, self.scope = self.scope, Scope()
        result = build(value, context, parts)
        self.leave(result)
        self.decide(parts)
        self.scope = around
        return result

    def leave(self, value: Value) -> None:
        """Record that a value can be read outside of the block or network."""
        if value.number in self._undecided:
            self._undecided[value.number].read_by(None, self.scope)

    def decide(self, parts: Parts) -> None:
        """Enter the decisions about biases into the layers of a block."""
        ops = decided(self.scope.undecided)
        for output, op in ops.items():
            del self._undecided[output]
            self.settle(output, op if self.memo is None else self.memo.one(op))
        if ops:
            parts[:] = [self._renewed(part) for part in parts]

    def settle(self, output: int, op: Layer) -> None:
        """Replace a layer whose bias was undecided."""
        step = self.producers[output]
        self.producers[output] = _new_step(**{**vars(step), "op": op})

    def _renewed(self, part: Step | Group) -> Step | Group:
        if isinstance(part, Step):
            step = self.producers[part.output]
            assert isinstance(step, Step)
            return step
        if part.role == "block":
            return part  # its own are decided
        children = tuple([self._renewed(child) for child in part.children])
        return _new_group(**{**vars(part), "children": children})

    def renamed(self, part: Step | Group, name: str, alias: str) -> Step | Group:
        """Return a part once more in which what bears a name has another one, too."""
        if name in (part.name, part.alias):
            new = _new_step if isinstance(part, Step) else _new_group
            part = new(**{**vars(part), "alias": alias})
            if isinstance(part, Step):
                self.producers[part.output] = part
        elif isinstance(part, Group) and part.role not in ("block", "group"):
            children = [self.renamed(child, name, alias) for child in part.children]
            part = _new_group(**{**vars(part), "children": tuple(children)})
        return part

    def keep_way(
        self,
        made: Value,
        result: Value,
        before: int,
        ends: tuple[Value, ...],
        bindings: Mapping[str, Poly],
    ) -> None:
        """Record the stride of a namespace, as if it were a single step.

        Args:
            made: its output as seen from outside.
            result: its output as seen from inside.
            before: number of the last value before it.
            ends: its inputs.
            bindings: the names inside, in terms of those outside.
        """
        made.tapped = result.tapped
        start, stride = result.back_to(before)
        for value in ends:
            if start.number == value.number and result.number > before:
                made.source, made.stride = value, rename(stride, bindings)
            elif result.number == value.number:
                made.source, made.stride = value.source, value.stride

    def transparent(
        self,
        role: Role,
        word: str,
        entry: Value,
        result: Value,
        parts: Sequence[Step | Group],
        context: Context,
        span: Span,
        count: int = 1,
        condition: Test | None = None,
        name: str = "",
    ) -> Group:
        """Return a group whose parts are named in the enclosing namespace."""
        return _new_group(
            role=role,
            name=name,
            path=context.space.path,
            word=word,
            children=tuple(parts),
            input=entry.number,
            input_shape=entry.shape or (),
            output=result.number,
            shape=result.shape or (),
            count=count,
            condition=condition,
            training=context.training,
            statement=self.statement,
            span=span,
        )

    def layer(
        self,
        layer: Layer,
        label: str | None,
        inputs: tuple[Value, ...],
        context: Context,
        span: Span,
        parts: Parts,
        merge: Merge | None = None,
    ) -> Value:
        """Add one step to the graph, and return its output.

        Args:
            layer: the layer.
            label: its name, if the spec gives one.
            inputs: the values that it reads.
            context: its context.
            span: its place in the source.
            parts: the list that it is added to.
            merge: names for the inputs of a merge in messages.

        Raises:
            Fault: if the layer does not fit its inputs.
        """
        name = self.name(label, layer.word, context, span)
        shapes = tuple([v.shape for v in inputs if v.shape is not None])
        numbers = tuple([v.number for v in inputs])
        self.read.update(numbers)
        for value in inputs:
            value.read()
            if value.number in self._undecided:
                self._undecided[value.number].read_by(layer, self.scope)
        if len(shapes) < len(inputs):
            return self.new_value(None)
        try:
            among = _only_modules(name, context.space.indexed)
            shape, stride = self._made(layer, shapes, among, span)
        except Mismatch as mismatch:
            place = context.again or span
            raise self._mismatch(mismatch, inputs, place, merge) from None
        self._add_part(span)
        value = self.new_value(shape)
        value.source, value.stride = _main_input(inputs, shape), stride
        if context.again is not None:
            self._check_again(layer, context.space.join(name), shapes, shape, context)
        named = label is not None
        self.place(layer, name, named, numbers, shapes, value, context, span, parts)
        path = self.producers[value.number].path
        self._firsts.setdefault(path, (layer, shapes, shape))
        if vars(layer).get("bias", False) is None:
            late = Undecided(value.number, path, layer, self.scope)
            self._undecided[value.number] = late
            self.scope.undecided.append(late)
        return value

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
        parts: Parts,
    ) -> None:
        """Add the step that defines a value."""
        step = _new_step(
            name=str(name),
            path=context.space.join(name),
            pattern=getattr(name, "pattern", ()),
            labelled=labelled,
            op=layer,
            inputs=inputs,
            input_shapes=input_shapes,
            output=value.number,
            shape=value.shape or (),
            training=context.training,
            statement=self.statement,
            shared=context.shared,
            span=span,
        )
        self.producers[value.number] = step
        parts.append(step)

    def _check_again(
        self,
        layer: Layer,
        path: str,
        inputs: tuple[Shape, ...],
        output: Shape,
        context: Context,
    ) -> None:
        """Refuse another use of a layer if torch needs a different module for it.

        Raises:
            Fault: if it does, for example for a batch norm on a vector that was on a
                map.
        """
        first = self._firsts.get(path)
        if first is None:
            return  # it was faulty, or is counted with a block that was met before
        op, was_inputs, was_output = first
        if op.torch(was_inputs, was_output) != layer.torch(inputs, output):
            raise Fault(
                "A0302",
                f"the layer {path} was made for {_named_shape(was_inputs[0])}, "
                f"and its input here is {_named_shape(inputs[0])}",
                context.again,
                help=f"torch has another {layer.word} for that: write a layer of its "
                "own",
            )

    def _made(
        self, layer: Layer, inputs: tuple[Shape, ...], among: str, span: Span
    ) -> Made:
        """Return the output of a layer for some inputs, from the memo if it was seen
        before.

        Args:
            layer: the layer.
            inputs: their shapes.
            among: what it is one of that have to be modules; empty if it need not.
            span: its place in the source.

        Raises:
            Fault: if the output is too large, or the layer is no module and has to be.
            Mismatch: if the layer does not fit its inputs.
        """
        known = self.memo.made_by(layer) if self.memo is not None else None
        if known is None:
            return self._make(layer, inputs, among, span)
        # A shape with its channels last only compares equal to others.
        key = inputs, (*map(type, inputs),), among
        made = known.get(key)
        if made is None:
            made = known[key] = self._make(layer, inputs, among, span)
        return made

    def _make(
        self, layer: Layer, inputs: tuple[Shape, ...], among: str, span: Span
    ) -> Made:
        shape = layer.shape(*inputs)
        if max(shape) > MAX_INTEGER:
            raise Fault(
                "A0903",
                f"{layer.word}: the output {show_shape(shape)} has a size above "
                f"{MAX_INTEGER:,} (31 bits)",
                span,
            )
        if among and not all(t.name for t in layer.tensors(*inputs)):
            raise Fault(
                "A0302",
                f"{layer.word} is a parameter, and {among} are modules",
                span,
                help="put it outside of the `seq`, where it can have a name"
                if among == _NUMBERED
                else "label braces around it instead, and give it a plain name in them",
            )
        window = layer.window(inputs, shape)
        stride = window.stride[0] if window is not None and window.stride else 1
        return Made(with_channels(shape, channels(shape)), stride)

    def _mismatch(
        self,
        mismatch: Mismatch,
        inputs: tuple[Value, ...],
        span: Span,
        merge: Merge | None,
    ) -> Fault:
        message, label, help = mismatch.message, mismatch.label, mismatch.help
        if isinstance(mismatch, Differ) and mismatch.aspect.startswith("size"):
            self.sizes_differ.append(span)
        if isinstance(mismatch, Differ) and merge is not None:
            if merge.word:
                sides = " and ".join(merge.sides)
                message = f"{merge.word}: {sides} differ in {mismatch.aspect}"
            label = ", ".join(
                f"{merge.sides[i]} gives {self.describe(inputs[i], merge.entry)}"
                for i in mismatch.places
            )
            help = merge.help or help
        return Fault(
            mismatch.code,
            message,
            span,
            label=label or f"the input is {self.describe(inputs[0])}",
            help=help,
        )

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

    # ---- names

    def label_text(self, label: t.Label, context: Context, copy: int | None) -> Name:
        """Return the text of a label, with its expressions evaluated.

        Args:
            label: as written.
            context: where its expressions are evaluated.
            copy: number of the copy in a repeat, from 1; it replaces `{}`, or is
                appended.
        """
        text, marked = "", False
        pattern: list[str | Poly] = []
        for part in label.parts:
            if isinstance(part, str):
                text += part
                pattern.append(part)
            elif part is not None:
                value = integer(part, context, "a part of a label")
                poly = poly_of(value)
                text += str(int(value))
                pattern.append(poly)
            elif copy is None:
                raise Fault(
                    "A0209",
                    "`{}` stands for the number of a copy, and nothing repeats",
                    label.span,
                    help="add a repeat such as `x3`, or write `{i}` in a `for`",
                )
            else:
                text, marked = f"{text}{copy}", True
                pattern.append(str(copy))
        if copy is not None and not marked:
            text = f"{text}{copy}"
            pattern.append(str(copy))
        written = conditions.label(pattern)
        return Name(text, written if conditions.reads(written) else ())

    def check_alike(self, first: Value, second: Value, span: Span) -> None:
        """Refuse a number of channels that does not fit shared weights."""
        if first.shape is None or second.shape is None:
            return
        if channels(first.shape) != channels(second.shape):
            wanted = counted(int(channels(first.shape)), "channel")
            raise Fault(
                "A0302",
                f"the weights are for {wanted}, and the input has "
                f"{int(channels(second.shape))}",
                span,
                label=f"the input is {self.describe(second)}",
                help="shared layers need inputs of the same channels",
            )

    def take_label(
        self, label: str, span: Span, context: Context, quoted: bool
    ) -> None:
        check_label(label, span, quoted)
        if label in context.space.inputs:
            raise Fault(
                "A0102",
                f"`{label}` is an input of the block already",
                span,
                help="give the layer another label",
            )
        if context.space.indexed:
            raise Fault(
                "A0109",
                f"`{label}`: the parts of a seq are named by number",
                span,
                help="drop the label, or drop `seq` before the braces",
            )
        self.claim(label, span, context)

    def claim(self, name: str, span: Span, context: Context) -> None:
        """Reserve a name in the namespace; refuse it if it is taken.

        Raises:
            Fault: if another part, or a container of parts, has that name.
        """
        taken = context.space.taken
        for container in containers_of(name):
            self._keep_apart(container, True, span, context.space)
        self._keep_apart(name, False, span, context.space)
        if name in taken:
            again = taken[name] == span
            raise Fault(
                "A0102",
                f"two layers are named `{context.space.join(name)}`",
                span,
                label="in every round of the loop"
                if again
                else f"the first is on line {taken[name].line}",
                help=f"write what counts the rounds into it: `{name}{{i}}:`"
                if again
                else "give one of them another label",
            )
        taken[name] = span

    def _keep_apart(
        self, name: str, contains: bool, span: Span, space: Namespace
    ) -> None:
        """Refuse a name that is a layer's in one place, and a container's in another.

        Raises:
            Fault: naming both.
        """
        other = (space.taken if contains else space.containers).get(name)
        if other is not None:
            raise Fault(
                "A0102",
                f"`{space.join(name)}` names a layer, and what other layers stand in",
                span,
                label=f"the other is on line {other.line}",
                help="give the layer another label",
            )
        if contains:
            space.containers.setdefault(name, span)

    def was_named(
        self,
        step: t.Step,
        names: Sequence[Name],
        context: Context,
        parts: Parts,
        made: int,
    ) -> None:
        """Record what a part was called in older checkpoints.

        Args:
            step: the part as written.
            names: its older names.
            context: its context.
            parts: the parts of its body, with what was made of it.
            made: how many there were before.

        Raises:
            Fault: if it owns no name, or a name cannot be one that it had.
        """
        assert step.renamed is not None
        part = parts[-1] if len(parts) == made + 1 else None
        fed = part if isinstance(part, Group) and part.role == "structure" else None
        if fed is not None and isinstance(fed.children[-1], Group):
            part = fed.children[-1]  # a block with several inputs, behind its branches
        owns = isinstance(part, Step) or (part is not None and part.role in OWNERS)
        if part is None or not owns or part.shared or part.span is not step.span:
            shared = part is not None and part.shared
            raise Fault(
                "A0110",
                "what has another's weights has no older names of its own"
                if shared
                else "only what has a name of its own has older names",
                step.renamed[0].span,
                help="write `renamed from` where the weights are first used"
                if shared
                else "give it a label, or write `renamed from` behind a layer in it",
            )
        for name, written in zip(names, step.renamed, strict=True):
            self._claim_old(name, part.name, written.span, context.space)
        olds = [_new_old_name(name=str(name), pattern=name.pattern) for name in names]
        fields = {**vars(part), "renamed_from": tuple(olds)}
        if isinstance(part, Step):
            parts[-1] = self.producers[part.output] = _new_step(**fields)
            return
        parts[-1] = _new_group(**fields)
        if fed is not None:
            children = (*fed.children[:-1], parts[-1])
            parts[-1] = _new_group(**{**vars(fed), "children": children})

    def _claim_old(self, name: str, now: str, span: Span, space: Namespace) -> None:
        """Reserve a name that a part had; refuse it if it cannot have had it."""
        if not is_old_name(name):
            raise Fault(
                "A0110",
                f'"{name[:100]}" is no part of a key',
                span,
                help='write what older keys had in place of the name: "norm.1"',
            )
        if name == now:
            raise Fault(
                "A0110",
                f"`{space.join(name)}` is its name now",
                span,
                help="write the names that older checkpoints have",
            )
        if name in space.old:
            raise Fault(
                "A0110",
                f"two parts were named `{space.join(name)}`",
                span,
                label=f"the first is on line {space.old[name].line}",
                help="an older name belongs to one part; in a loop, write what counts "
                "the rounds into it",
            )
        space.old[name] = span

    def name(self, label: str | None, word: str, context: Context, span: Span) -> str:
        """Return the name of a part: its label, or the next number."""
        if label is not None:
            return label
        name = context.space.number(word)
        if not context.space.indexed:
            self.claim(name, span, context)
        return name


_NUMBERED: Final = "the parts of a seq"


def _only_modules(name: str, indexed: bool) -> str:
    """Return what a part with a name is one of, if all of these have to be modules."""
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
    if len(inputs) == 1:
        return inputs[0]
    alike = [v for v in inputs if v.shape and sizes(v.shape) == sizes(output)]
    return alike[0] if alike else inputs[0]


def enter(space: Namespace, definition: t.Definition, entries: Sequence[Value]) -> None:
    """Let a block's parts read its inputs by their names."""
    names = [name for name, _ in definition.inputs]
    space.values.update(zip(names, entries, strict=True))
    space.inputs = frozenset(names)


def ports_of(definition: t.Definition, values: tuple[Value, ...]) -> tuple[Port, ...]:
    """Return the inputs of a call of a block."""
    return tuple(
        [
            _new_port(name=name, value=value.number, shape=value.shape or ())
            for (name, _), value in zip(definition.inputs, values, strict=True)
        ]
    )


def parameters_of(
    definition: t.Definition, values: Mapping[str, Any]
) -> list[Parameter]:
    """Return a definition's parameters with their values and literal defaults."""
    return [
        _new_parameter(name=p.name, value=values[p.name], default=_literal(p.default))
        for p in definition.params
    ]


def _literal(default: t.Expr | None) -> Any:
    if isinstance(default, t.Literal):
        return default.value
    return Dims(default.dims) if isinstance(default, t.DimsLiteral) else None


def _origin(definition: t.Definition | None) -> str:
    if definition is None:
        return ""
    return f"{definition.span.source.name}:{definition.span.start}"
