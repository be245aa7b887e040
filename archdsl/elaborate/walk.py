"""Walks over the statements and chains of a spec, and builds the graph."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from archdsl.diagnostics import Diagnostic, Diagnostics, SpecError, did_you_mean
from archdsl.elaborate import inputs
from archdsl.elaborate.biases import Round
from archdsl.elaborate.builder import Build, Parts
from archdsl.elaborate.calls import STRUCTURES, Calls
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
from archdsl.elaborate.labels import may_bear
from archdsl.elaborate.names import check_label
from archdsl.elaborate.scope import (
    BlockRef,
    Context,
    Fault,
    Namespace,
    Range,
    Tapped,
    Unknown,
    Value,
)
from archdsl.elaborate.structures import refuse_each
from archdsl.ir import Group, Port
from archdsl.limits import MAX_REPEAT
from archdsl.source import Span
from archdsl.symbolic import TooLong
from archdsl.syntax import tree as t
from archdsl.values import MOST_AXES, channels, show_shape, with_channels

# Steps of work that a copy or a round takes besides what is in it.
ROUND = 10


class Walker(Calls):
    """Elaborates a network's statements in order."""

    # ---- statements

    def body(self, body: t.Body, value: Value, context: Context, parts: Parts) -> Value:
        """Elaborate a body that has one branch."""
        if len(body.branches) > 1:
            fault = Fault(
                "A0210",
                "`|` separates branches, and nothing says how they are joined",
                body.branches[1].span,
                help="join them: `concat { a | b }`, `add { a | b }`",
            )
            return self.report(fault, context)
        refuse_each(body.branches)
        return self.branch(body.branches[0], value, context, parts)

    def branch(
        self, branch: t.Branch, value: Value, context: Context, parts: Parts
    ) -> Value:
        """Elaborate statements in order."""
        return self.statements(branch.statements, value, context, parts)

    def statements(
        self,
        statements: Sequence[t.Statement],
        value: Value,
        context: Context,
        parts: Parts,
    ) -> Value:
        """Elaborate statements in order."""
        for statement in statements:
            context.space.current = value
            context.budget.spend(statement.span)
            try:
                if isinstance(statement, t.Let):
                    context = self._let(statement, context)
                elif isinstance(statement, t.Chain):
                    value = self.chain(statement, value, context, parts)
                else:
                    value = self._other(statement, value, context, parts)
            except Fault as fault:
                value = self.report(fault, context)
        return value

    def _let(self, statement: t.Let, context: Context) -> Context:
        if statement.name in context.env:
            raise Fault(
                "A0101",
                f"`{statement.name}` has a value already",
                statement.span,
                help="choose another name; a name keeps its value",
            )
        try:
            value = evaluate(statement.value, context)
        except Fault as fault:
            self.report(fault, context)
            value = Unknown()
        if isinstance(value, int) and not isinstance(value, bool):
            context.space.lets[statement.name] = value
        context = context.bind({statement.name: value})
        if context.lets is not None:
            stands_for = meaning(statement.name, statement.value, value, context)
            if stands_for is not None:
                context.lets = {**context.lets, statement.name: stands_for}
        return context

    def _other(
        self, statement: t.Statement, value: Value, context: Context, parts: Parts
    ) -> Value:
        if isinstance(statement, t.For):
            return self._for(statement, value, context, parts)
        if isinstance(statement, t.If):
            return self._if(statement, value, context, parts)
        if isinstance(statement, t.Init):
            if not statement.path:
                self._at_network(statement.span, context, "init")
            self.inits.append((statement, context))
        elif isinstance(statement, t.Expect):
            self._at_network(statement.span, context, "expect")
            self.expects.append((statement, context))
        elif isinstance(statement, t.Output):
            self._at_network(statement.span, context, "output")
            self._output(statement, value, context, parts)
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
        self.met_input = True
        name = statement.name or "x"
        if statement.name:
            check_label(statement.name, statement.span)
        if name in self.input_names:
            raise Fault(
                "A0101",
                "several inputs have the same name",
                statement.span,
                help="name them: `input left 3x64x64`",
            )
        if len(statement.dims) > MOST_AXES + 1 or min(statement.dims) < 1:
            raise Fault(
                "A0205",
                "an input is channels and one to three sizes, "
                f"not {show_shape(statement.dims)}",
                statement.span,
                help="write `input 3x224x224` for an image, `input 1x16000` for a "
                "sequence, or `input 100` for a vector",
            )
        shape = statement.dims
        if self.input_override is not None and not self.inputs:
            shape = self.input_override
        made = self.new_value(shape)
        self.input_names.add(name)
        self.inputs.append(Port(name=name, value=made.number, shape=shape))
        self.input_spans[made.number] = statement.span
        if statement.name:
            context.space.values[statement.name] = made
        context.space.entry = context.space.entry or made
        return value if len(self.inputs) > 1 else made

    def _output(
        self, statement: t.Output, value: Value, context: Context, parts: Parts
    ) -> None:
        inner = context.replace(
            training=statement.training or context.training, within="another output"
        )
        result = self.chain(statement.chain, value, inner, parts)
        last = statement.chain.steps[-1].label
        name: str | None = self.label_text(last, context, None) if last else None
        if name is None and isinstance(statement.chain.steps[-1], t.Tap):
            name = self.label_text(statement.chain.steps[-1].path, context, None)
        name = (name or f"output{len(self.outputs) + 1}").rpartition(".")[2]
        if not name.isidentifier():
            raise Fault(
                "A0103",
                f"`{name}` cannot name an output: it "
                f"{'has a hyphen' if '-' in name else 'is a number'}",
                last.span if last is not None else statement.span,
                help="label the last layer of the output's chain by a plain name",
            )
        if name == "output" or name in self.output_names:
            raise Fault(
                "A0101",
                "the main output is named `output`"
                if name == "output"
                else f"two outputs are named `{name}`",
                statement.span,
                help="label the last layer of the output's chain",
            )
        self.read.add(result.number)
        self.leave(result)
        result.read()
        if result.shape is not None:
            self.output_names.add(name)
            self.outputs.append(
                Port(
                    name=name,
                    value=result.number,
                    shape=result.shape,
                    training=statement.training,
                )
            )

    def _if(
        self, statement: t.If, value: Value, context: Context, parts: Parts
    ) -> Value:
        chosen = self.taken(statement, context)
        if chosen is None:
            return value
        return self.body(chosen, value, self.deeper(context, chosen.span), parts)

    def taken(self, statement: t.If, context: Context) -> t.Body | None:
        """Return the body that an `if` selects."""
        current: t.Body | t.If | None = statement
        while isinstance(current, t.If):
            if asked(current.test, context):
                return current.body
            current = current.otherwise
        return current

    def _for(
        self, statement: t.For, value: Value, context: Context, parts: Parts
    ) -> Value:
        items = listed(statement.iterable, context)
        count = items.length if isinstance(items, Range) else len(items)

        def rounds() -> Iterator[Build]:
            for place, item in enumerate(items):
                bound = bind_targets(statement.targets, place, item, statement.span)
                yield partial(self._round, statement.body, bound)

        return self._copies(count, rounds(), value, context, parts, statement.span)

    def _round(
        self,
        body: t.Body,
        bound: dict[str, Any],
        value: Value,
        context: Context,
        parts: Parts,
    ) -> Value:
        return self.body(body, value, context.bind(bound), parts)

    def _copies(
        self,
        count: int,
        builds: Iterator[Build],
        value: Value,
        context: Context,
        parts: Parts,
        span: Span,
    ) -> Value:
        """Build the copies of a repeat; refuse too many before they are created."""
        context = self.deeper(context, span)
        start, before, around = value, self.made, self.scope.round
        copies: list[Group] = []
        for number, build in enumerate(builds):
            entry = value
            inner: Parts = []
            context.budget.spend(span, ROUND)
            self.scope.round = Round()
            value = build(value, context, inner)
            self.scope.round.is_open = False
            copies.append(
                self.transparent("copy", "", entry, value, inner, context, span)
            )
            if number == 0:
                self.foresee((int(count) - 1) * (self.made - before), span)
        self.scope.round = around
        group = self.transparent(
            "repeat", "", start, value, copies, context, span, count
        )
        parts.append(group)
        return value

    # ---- chains

    def chain(
        self,
        chain: t.Chain,
        value: Value,
        context: Context,
        parts: Parts,
    ) -> Value:
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
            return self._chain_once(chain, value, context, parts, None)
        count = self._count(repeat, context)
        builds = (
            lambda v, c, p, n=number: self._chain_once(chain, v, c, p, n)
            for number in range(1, int(count) + 1)
        )
        return self._copies(count, builds, value, context, parts, repeat.span)

    def _count(self, expr: t.Expr, context: Context) -> int:
        count = integer(expr, context, "a repeat")
        if count < 0 or (count == 0 and isinstance(expr, t.Literal)):
            raise Fault(
                "A0209",
                f"a repeat of {int(count)} makes no layers",
                expr.span,
                help="repeat at least once, or leave the layers out",
            )
        if count > MAX_REPEAT:
            message = f"a repeat of {int(count):,} is more than {MAX_REPEAT:,}"
            self.stop(Diagnostic("A0906", message, expr.span))
        return count

    def _chain_once(
        self,
        chain: t.Chain,
        value: Value,
        context: Context,
        parts: Parts,
        copy: int | None,
    ) -> Value:
        self.statements_so_far += 1
        own = self.statements_so_far
        for step in chain.steps:
            self.statement = own
            context.space.current = value
            try:
                value = self._guarded(step, value, context, parts, copy)
            except Fault as fault:
                value = self.report(fault, context)
            except TooLong:
                value = self.report(too_long(step.span), context)
        return value

    def _guarded(
        self,
        step: t.Step,
        value: Value,
        context: Context,
        parts: Parts,
        copy: int | None,
    ) -> Value:
        """Elaborate a step if its guard holds.

        In a seq of a block, a condition on the block's parameters is kept, so that one
        class can serve calls for which it holds and calls for which it does not.
        """
        if step.guard is None:
            return self._step(step, value, context, parts, copy)
        holds = asked(step.guard, context)
        kept = self.symbolic and context.space.indexed and bool(context.trail)
        test = test_of(step.guard, context) if kept else None
        inner: Parts = [] if test else parts
        result = value
        if holds:
            result = self._step(step, value, context, inner, copy)
        elif test:
            result = self._as_if(step, value, context)
        if test:
            ends = value, result
            group = self.transparent(
                "guard", "", *ends, inner, context, step.span, condition=test
            )
            parts.append(group)
        return result

    def _as_if(self, step: t.Step, value: Value, context: Context) -> Value:
        """Return a value whose channels are expressed as if a step existed.

        Then the parts after it are the same whether or not it exists.
        """
        scratch = Walker(Diagnostics(), self.symbolic, self.prelude)
        space = Namespace(context.space.path, context.space.indexed, None)
        space.current = value
        inner = context.replace(space=space)
        try:
            end = scratch._step(step, value, inner, [], 1)
        except (Fault, SpecError):
            return value
        if value.shape is None or end.shape != value.shape:
            return value
        shape = with_channels(value.shape, channels(end.shape))
        return Value(value.number, shape, value.source, value.stride, value.tapped)

    def _step(
        self,
        step: t.Step,
        value: Value,
        context: Context,
        parts: Parts,
        copy: int | None,
    ) -> Value:
        made = len(parts)
        label = self.label_text(step.label, context, copy) if step.label else None
        if label is not None and not context.shared:
            assert step.label is not None
            self.take_label(label, step.label.span, context, step.label.quoted)
        if isinstance(step, t.Tap):
            result = self._tap(step, context)
        elif value.number == 0:
            raise Fault(
                "A0306",
                "a layer stands before any input",
                step.span,
                help="begin the network with `input 3x224x224`",
            )
        elif isinstance(step, t.Group):
            result = self._braces(step, label, value, context, parts)
        else:
            assert isinstance(step, t.Call)
            result = self.call(step, label, value, context, parts)
        if step.renamed and not context.shared and result.shape is not None:
            try:
                olds = [self.label_text(old, context, copy) for old in step.renamed]
                self.was_named(step, olds, context, parts, made)
            except Fault as fault:
                self.report(fault, context)  # what follows is not changed by it
        if label is not None and step.label is not None:
            context.space.values[label] = result
            context.space.steps[label] = step, context, value, copy
        return result

    def same(
        self,
        call: t.Call,
        label: str | None,
        value: Value,
        context: Context,
        parts: Parts,
    ) -> Value:
        """Elaborate ``same encoder``: an earlier part again, with the same weights."""
        name = _one_name(call)
        if name is None:
            raise Fault(
                "A0202",
                "same needs the label of an earlier layer",
                call.span,
                help="write `@right -> same encoder`",
            )
        found = context.space.steps.get(name)
        first = context.space.values.get(name)
        if found is None or first is None:
            raise Fault(
                "A0107",
                f"no earlier layer is labelled `{name}` in this body",
                call.args[0].span,
                help=did_you_mean(name, context.space.steps)
                or "`same` reads a label that stands before it, in the same body",
            )
        step, where, original, copy = found
        inner = where.replace(again=call.span, training=context.training)
        ref = self._several(step, where)
        if call.body is not None and ref is None:
            raise Fault(
                "A0208",
                f"`{name}` has one input, and takes no braces",
                call.span,
                help=f"write what it reads before it: `@right -> same {name}`",
            )
        if isinstance(step, t.Call) and ref is not None:
            assert step.label is not None
            earlier = inputs.Earlier(
                step, ref, self.label_text(step.label, inner, copy), inner
            )
            return inputs.again(self, call, earlier, label, value, context, parts)
        self.check_alike(original, value, call.span)
        made = len(parts)
        again = self._step(step, value, inner, parts, copy)
        context.space.values[name] = first
        alias = label or name
        parts[made:] = [self.renamed(part, name, alias) for part in parts[made:]]
        return again

    def _several(self, step: t.Step, context: Context) -> BlockRef | None:
        """Return the block that a step calls, if it has several inputs."""
        if not isinstance(step, t.Call) or step.word in STRUCTURES:
            return None
        found = self.resolve(step, context)
        several = isinstance(found, BlockRef) and bool(found.definition.inputs)
        return found if isinstance(found, BlockRef) and several else None

    def _tap(self, step: t.Tap, context: Context) -> Value:
        label = self.label_text(step.path, context, None)
        found = context.space.find(label)
        if found is None:
            trail = context.trail
            definition = trail[0].definition if trail else self.definition
            lost = self.faults and definition and may_bear(definition, label)
            raise Fault(
                "" if lost else "A0107",
                f"no earlier layer is labelled `{label}` here",
                step.span,
                help=_how_to_tap(label, context),
            )
        self.read.add(found.number)
        found.read()
        tapped = Tapped(step.span, context.trail)
        self.tapped.append(tapped)
        made = Value(found.number, found.shape, tapped=tapped)
        if label in context.space.values:
            # Elsewhere, the way to it is told in other names.
            made.source, made.stride = found.source, found.stride
        return made

    def _braces(
        self,
        step: t.Group,
        label: str | None,
        value: Value,
        context: Context,
        parts: Parts,
    ) -> Value:
        inner = self.deeper(context, step.span)
        if label is None and not context.space.indexed:
            return self.body(step.body, value, inner, parts)
        name = self.name(label, "group", context, step.span)
        return self.owned(
            name,
            "",
            False,
            value,
            inner,
            step.span,
            parts,
            lambda v, c, p: self.body(step.body, v, c, p),
        )


def _how_to_tap(label: str, context: Context) -> str:
    """Return a hint for a label that a tap does not find."""
    space = context.space
    owner, dot, _ = label.rpartition(".")
    if dot and owner in space.labels():
        return (
            f"the parts of `{owner}` are its own: give each a label with a dot, as in "
            f"`{owner.replace('.', '_')}.{{i}}: ...`, instead of braces around them"
        )
    if space.is_outside(label):
        # Of braces that were given to a block, the block is not known here.
        block = context.trail[0].definition.name if context.trail else "unit"
        name = label.rpartition(".")[2]
        name = name if name.isidentifier() else "y"
        return (
            "the labels around the call of a block are not its own: give it an input, "
            f"`block {block}(x, {name})`, and the call a branch: "
            f"`{block} {{ | @{label} }}`"
        )
    return (
        did_you_mean(label, space.labels())
        or "a tap reads a label that stands before it, in its own block"
    )


def _one_name(call: t.Call) -> str | None:
    """Return the only argument of a call, if it is a name."""
    if len(call.args) != 1 or call.angle:
        return None
    argument = call.args[0]
    if argument.name is None and isinstance(argument.value, t.Name):
        return argument.value.id
    return None
