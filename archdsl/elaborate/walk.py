"""Walks over the statements and chains of a spec, in order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from archdsl.diagnostics import Diagnostic, Diagnostics, SpecError, did_you_mean
from archdsl.elaborate.biases import Round
from archdsl.elaborate.calls import call
from archdsl.elaborate.contexts import Context
from archdsl.elaborate.evaluate import (
    asked,
    bind_targets,
    evaluate,
    integer,
    listed,
    meaning,
    test_of,
    too_long,
)
from archdsl.elaborate.faults import Fault
from archdsl.elaborate.graph import GraphSink
from archdsl.elaborate.labels import may_bear
from archdsl.elaborate.memo import Memo
from archdsl.elaborate.names import check_label
from archdsl.elaborate.namespaces import Namespace
from archdsl.elaborate.paths import label_text, part_name, take_label
from archdsl.elaborate.place import Build, LabelledStep, Placer
from archdsl.elaborate.references import Range, Unknown
from archdsl.elaborate.registration import register
from archdsl.elaborate.sink import Owner, Section, Sink
from archdsl.elaborate.state import State
from archdsl.elaborate.structures import refuse_each
from archdsl.elaborate.tensors import Tapped, Value
from archdsl.ir.trusted import new_port
from archdsl.limits import MAX_REPEAT
from archdsl.source import Span
from archdsl.symbolic import TooLong
from archdsl.syntax import tree as t
from archdsl.values import MOST_AXES, Shape, channels, show_shape, with_channels

# Steps of work that a copy or an iteration takes besides its contents.
ROUND = 10


class Walker:
    """Elaborates a network's statements in order, and sends its parts to a sink.

    Attributes:
        state: what is known of the network.
        place: sends its parts.
        input_shape: shape of the first input, if it is not that of the spec.
    """

    def __init__(self, state: State, sink: Sink, memo: Memo | None = None) -> None:
        self.state = state
        self.place = Placer(state, sink, memo)
        self.input_shape: Shape | None = None
        self._chains = 0
        # The labelled steps of each namespace, for `same`.
        self._written: dict[Namespace, dict[str, LabelledStep]] = {}

    # ---- statements

    def body(self, body: t.Body, value: Value, context: Context) -> Value:
        """Elaborate a body that has one branch."""
        if len(body.branches) > 1:
            fault = Fault(
                "A0210",
                "`|` separates branches, and nothing says how they are joined",
                body.branches[1].span,
                help="join them: `concat { a | b }`, `add { a | b }`",
            )
            return self.state.report(fault, context)
        refuse_each(body.branches)
        return self.branch(body.branches[0], value, context)

    def branch(self, branch: t.Branch, value: Value, context: Context) -> Value:
        """Elaborate statements in order."""
        for statement in branch.statements:
            context.space.current = value
            context.budget.spend(statement.span)
            try:
                if isinstance(statement, t.Let):
                    context = self._let(statement, context)
                elif isinstance(statement, t.Chain):
                    value = self._chain(statement, value, context)
                else:
                    value = self._other(statement, value, context)
            except Fault as fault:
                value = self.state.report(fault, context)
        return value

    def _let(self, statement: t.Let, context: Context) -> Context:
        if statement.name in context.env:
            raise Fault(
                "A0101",
                f"`{statement.name}` already has a value",
                statement.span,
                help="choose another name; a value cannot be changed",
            )
        try:
            value = evaluate(statement.value, context)
        except Fault as fault:
            self.state.report(fault, context)
            value = Unknown()
        if isinstance(value, int) and not isinstance(value, bool):
            context.space.lets[statement.name] = value
        context = context.bind({statement.name: value})
        if context.lets is not None:
            stands_for = meaning(statement.name, statement.value, value, context)
            if stands_for is not None:
                context.lets = {**context.lets, statement.name: stands_for}
        return context

    def _other(self, statement: t.Statement, value: Value, context: Context) -> Value:
        if isinstance(statement, t.For):
            return self._for(statement, value, context)
        if isinstance(statement, t.If):
            return self._if(statement, value, context)
        if isinstance(statement, t.Init):
            if not statement.path:
                self._at_network(statement.span, context, "init")
            self.state.inits.append((statement, context))
        elif isinstance(statement, t.Register):
            register(statement, context, self.state)
        elif isinstance(statement, t.Expect):
            self._at_network(statement.span, context, "expect")
            self.state.expects.append((statement, context))
        elif isinstance(statement, t.Output):
            self._output(statement, value, context)
        elif isinstance(statement, t.Input):
            self._at_network(statement.span, context, "input")
            return self._input(statement, value, context)
        return value

    def _at_network(self, span: Span, context: Context, word: str) -> None:
        where = "labelled braces" if context.space.path else context.within
        where = "a block" if context.trail or context.space.in_block() else where
        if where:
            raise Fault(
                "A0211",
                f"`{word}` belongs in the network itself, not in {where}",
                span,
                help="move it out, to the other statements of the network",
            )

    def _input(self, statement: t.Input, value: Value, context: Context) -> Value:
        state, dims = self.state, statement.dims
        name = statement.name or "x"
        if statement.name:
            check_label(statement.name, statement.span)
        if any(port.name == name for port in state.inputs):
            raise Fault(
                "A0101",
                "several inputs have the same name",
                statement.span,
                help="name them: `input left 3x64x64`",
            )
        if len(dims) > MOST_AXES + 1 or min(dims) < 1:
            raise Fault(
                "A0205",
                f"an input is channels and one to three sizes, not {show_shape(dims)}",
                statement.span,
                help="write `input 3x224x224` for an image, `input 1x16000` for a "
                "sequence, or `input 100` for a vector",
            )
        if self.input_shape is not None and not state.inputs:
            dims = self.input_shape
        made = state.new_value(dims)
        state.inputs.append(new_port(name=name, value=made.number, shape=dims))
        state.input_spans[made.number] = statement.span
        if statement.name:
            context.space.values[statement.name] = made
        context.space.entry = context.space.entry or made
        return value if len(state.inputs) > 1 else made

    def _output(self, statement: t.Output, value: Value, context: Context) -> None:
        self._check_output(statement, context)
        inner = context.replace(
            training=statement.training or context.training, within="another output"
        )
        result = self._chain(statement.chain, value, inner)
        name = self._output_name(statement, context)
        if context.space.path:
            context.space.outputs[name] = result, statement.span
        if context.space.path and context.space.outer is not None:
            # What is behind braces decides about a bias inside.
            self.state.read.add(result.number)
            result.read()
        else:
            self.state.reads([result])
        if context.space.path:
            return
        if result.shape is not None:
            self.state.outputs.append(
                new_port(
                    name=name,
                    value=result.number,
                    shape=result.shape,
                    training=statement.training,
                )
            )

    def _check_output(self, statement: t.Output, context: Context) -> None:
        """Refuse an output where there can be none.

        Raises:
            Fault: if this is such a place.
        """
        if not context.space.path or statement.training:
            word = "training output" if statement.training else "output"
            self._at_network(statement.span, context, word)
            return
        if context.within or context.space.indexed:
            where = context.within or "a seq, whose parts have no names"
            raise Fault(
                "A0211",
                f"`output` belongs in a block or labelled braces, not in {where}",
                statement.span,
                help="move it out, to the statements around that"
                if context.within
                else "drop `seq`: an output has the name of a part",
            )

    def _output_name(self, statement: t.Output, context: Context) -> str:
        """Return the label of an output's last layer, or else, of an output of the
        network, its number.

        Raises:
            Fault: if it cannot be the output's name.
        """
        path = context.space.path
        others = [*context.space.outputs] if path else []
        others += [port.name for port in self.state.outputs] if not path else []
        step = statement.chain.steps[-1]
        label = step.label or (step.path if isinstance(step, t.Tap) else None)
        if label is None and path:
            help = "label the last layer of its chain, as in `output skip: conv 3x3`"
            first = statement.chain.steps[0].label
            if first is not None:
                own = first.span.text
                help = f"a label names its own layer, so put `{own}:` before the last "
                help += f"one: `output ... -> {own}: ...`"
                nothing = self.state.new_value(None)  # for taps that mean it
                context.space.outputs[own] = nothing, statement.span
            raise Fault(
                "A0103", f"an output of {path} has no name", statement.span, help=help
            )
        text = label_text(label, context) if label else f"output{len(others) + 1}"
        name = text.rpartition(".")[2]
        if not name.isidentifier():
            raise Fault(
                "A0103",
                f"`{name}` cannot name an output: it "
                f"{'has a hyphen' if '-' in name else 'is a number'}",
                step.label.span if step.label else statement.span,
                help="label the last layer of the output's chain by a plain name",
            )
        if name == "output" or name in others:
            raise Fault(
                "A0101",
                "the main output is named `output`"
                if name == "output"
                else f"two outputs are named `{name}`",
                statement.span,
                help="label the last layer of the output's chain",
            )
        return name

    def _if(self, statement: t.If, value: Value, context: Context) -> Value:
        chosen: t.Body | t.If | None = statement
        while isinstance(chosen, t.If):
            holds = asked(chosen.test, context)
            chosen = chosen.body if holds else chosen.otherwise
        if chosen is None:
            return value
        return self.body(chosen, value, self.state.deeper(context, chosen.span))

    # ---- copies

    def _for(self, statement: t.For, value: Value, context: Context) -> Value:
        items = listed(statement.iterable, context)
        count = items.length if isinstance(items, Range) else len(items)

        def rounds() -> Iterator[Build]:
            for place, item in enumerate(items):
                bound = bind_targets(statement.targets, place, item, statement.span)
                yield partial(self._round, statement.body, bound)

        return self._copies(count, rounds(), value, context, statement.span)

    def _round(
        self, body: t.Body, names: Mapping[str, Any], value: Value, context: Context
    ) -> Value:
        return self.body(body, value, context.bind(names))

    def _repeat(
        self, chain: t.Chain, repeat: t.Expr, value: Value, context: Context
    ) -> Value:
        count = integer(repeat, context, "a repeat")
        if count < 0 or (count == 0 and isinstance(repeat, t.Literal)):
            raise Fault(
                "A0209",
                f"a repeat of {int(count)} makes no layers",
                repeat.span,
                help="repeat at least once, or leave the layers out",
            )
        if count > MAX_REPEAT:
            message = f"a repeat of {int(count):,} is more than {MAX_REPEAT:,}"
            self.state.stop(Diagnostic("A0906", message, repeat.span))
        builds = (
            partial(self._steps, chain, copy=copy) for copy in range(1, int(count) + 1)
        )
        return self._copies(count, builds, value, context, repeat.span)

    def _copies(
        self,
        count: int,
        builds: Iterator[Build],
        value: Value,
        context: Context,
        span: Span,
    ) -> Value:
        """Build the copies of a repeat; refuse too many before they are created."""
        state, scope = self.state, self.state.biases.scope
        context = state.deeper(context, span)
        repeat = Section("repeat", "", value, context, span, count)
        with self.place.section(repeat) as whole:
            before, around = state.parts, scope.round
            for number, build in enumerate(builds):
                context.budget.spend(span, ROUND)
                scope.round = Round()
                copy = Section("copy", "", whole.value, context, span)
                with self.place.section(copy) as part:
                    part.value = build(whole.value, context)
                whole.value = part.value
                scope.round.is_open = False
                if number == 0:
                    state.foresee((int(count) - 1) * (state.parts - before), span)
            scope.round = around
        return whole.value

    # ---- chains

    def _chain(self, chain: t.Chain, value: Value, context: Context) -> Value:
        """Elaborate steps joined by arrows, with the repeat at the end of the chain."""
        for step in chain.steps[:-1]:
            if step.repeat is not None:
                raise Fault(
                    "A0209",
                    "a repeat comes at the end of its chain, and repeats all of it",
                    step.repeat.span,
                    help="put the part to repeat on a line of its own",
                )
        repeat = chain.steps[-1].repeat
        if repeat is None:
            return self._steps(chain, value, context)
        return self._repeat(chain, repeat, value, context)

    def _steps(
        self, chain: t.Chain, value: Value, context: Context, copy: int | None = None
    ) -> Value:
        """Elaborate the steps of a chain once."""
        self._chains += 1
        own = self._chains
        for step in chain.steps:
            self.state.statement = own
            context.space.current = value
            try:
                if step.guard is None:
                    value = self.step(step, value, context, copy)
                else:
                    value = self._guarded(step, step.guard, value, context, copy)
            except Fault as fault:
                value = self.state.report(fault, context)
            except TooLong:
                value = self.state.report(too_long(step.span), context)
        return value

    def _guarded(
        self,
        step: t.ChainStep,
        guard: t.Expr,
        value: Value,
        context: Context,
        copy: int | None,
    ) -> Value:
        """Elaborate a step if its guard holds.

        In a seq of a block, a condition on the block's parameters is kept, so that one
        class can serve calls for which it holds and calls for which it does not.
        """
        holds = asked(guard, context)
        kept = self.state.symbolic and context.space.indexed and bool(context.trail)
        test = test_of(guard, context) if kept else None
        if test is None:
            return self.step(step, value, context, copy) if holds else value
        section = Section("guard", "", value, context, step.span, condition=test)
        with self.place.section(section) as part:
            if holds:
                part.value = self.step(step, value, context, copy)
            else:
                part.value = self._as_if(step, value, context)
        return part.value

    def _as_if(self, step: t.ChainStep, value: Value, context: Context) -> Value:
        """Return a value whose channels are expressed as if a step existed.

        Then the parts after it are the same whether or not it exists.
        """
        state = State(Diagnostics(), self.state.symbolic)
        scratch = Walker(state, GraphSink(state))
        space = Namespace(context.space.path, context.space.indexed, None)
        space.current = value
        inner = context.replace(space=space)
        try:
            end = scratch.step(step, value, inner, 1)
        except (Fault, SpecError):
            return value
        if value.shape is None or end.shape != value.shape:
            return value
        shape = with_channels(value.shape, channels(end.shape))
        return Value(value.number, shape, value.source, value.stride, value.tapped)

    def step(
        self, step: t.ChainStep, value: Value, context: Context, copy: int | None
    ) -> Value:
        """Elaborate one step of a chain; in a repeat, for a copy, from 1."""
        space = context.space
        before = len(self.place.sink) if step.renamed else 0
        label = label_text(step.label, context, copy) if step.label else None
        if label is not None and step.label is not None and not context.shared:
            take_label(label, step.label.span, space, step.label.quoted)
        if isinstance(step, t.Tap):
            result = self._tap(step, context)
        elif value.number == 0:
            raise Fault(
                "A0306",
                "a layer comes before any input",
                step.span,
                help="begin the network with `input 3x224x224`",
            )
        elif isinstance(step, t.Call):
            result = call(self, step, label, value, context)
        else:
            assert isinstance(step, t.BracedGroup)
            result = self._braces(step, label, value, context)
        if step.renamed and not context.shared and result.shape is not None:
            try:
                olds = [label_text(old, context, copy) for old in step.renamed]
                self.place.sink.rename(step, olds, space, before)
            except Fault as fault:
                self.state.report(fault, context)  # later steps do not need it
        if label is not None:
            space.enter(label, result)
            self.written(space)[label] = LabelledStep(step, context, value, copy)
        return result

    def written(self, space: Namespace) -> dict[str, LabelledStep]:
        """Return the labelled steps of a namespace so far."""
        return self._written.setdefault(space, {})

    def _tap(self, step: t.Tap, context: Context) -> Value:
        label = label_text(step.path, context)
        found = context.space.find(label)
        if found is None:
            trail = context.trail
            definition = trail[0].definition if trail else self.state.definition
            lost = self.state.faults and definition and may_bear(definition, label)
            raise Fault(
                "" if lost else "A0107",
                f"no earlier layer is labelled `{label}` here",
                step.span,
                help=_how_to_tap(label, context),
            )
        self.state.read.add(found.number)
        found.read()
        tapped = Tapped(step.span, context.trail)
        self.state.tapped.append(tapped)
        made = Value(found.number, found.shape, tapped=tapped)
        if label in context.space.values:
            # From another block, its strides would use that block's parameters.
            made.source, made.stride = found.source, found.stride
        return made

    def _braces(
        self, step: t.BracedGroup, label: str | None, value: Value, context: Context
    ) -> Value:
        inner = self.state.deeper(context, step.span)
        if label is None and not context.space.indexed:
            return self.body(step.body, value, inner)
        name = part_name(label, "group", context.space, step.span)
        owner = Owner(name, "", (value,), inner, step.span)
        return self.place.owner(owner, partial(self.body, step.body))


def _owner_of(label: str, space: Namespace) -> str:
    """Return the label of the part whose output a label with a dot would be."""
    owner = label.rpartition(".")[0]
    return owner if owner and space.find(owner) is not None else ""


def _how_to_tap(label: str, context: Context) -> str:
    """Return a hint for a label that a tap does not find."""
    space = context.space
    if owner := _owner_of(label, space):
        meant = did_you_mean(label, [n for n in space.labels() if n != owner])
        name = label.rpartition(".")[2]
        if not name.isidentifier():
            return (
                f"labels inside `{owner}` belong to it: give each part a label with a "
                f"dot, as in `{owner.replace('.', '_')}.{{i}}: ...`, instead of braces "
                "around them"
            )
        return meant or (
            f"labels inside `{owner}` belong to it, and only its outputs can be read "
            f"outside: write `output @{name}` in it, and read `@{owner}.{name}`"
        )
    if space.is_outside(label):
        # For braces that were passed to a block, the block is not known here.
        block = context.trail[0].definition.name if context.trail else "unit"
        name = label.rpartition(".")[2]
        name = name if name.isidentifier() else "y"
        return (
            "a block cannot read labels outside it: give it an input, `block "
            f"{block}(x, {name})`, and the call a branch: `{block} {{ | @{label} }}`"
        )
    return (
        did_you_mean(label, space.labels())
        or "a tap reads a label that comes before it, in the same block"
    )
