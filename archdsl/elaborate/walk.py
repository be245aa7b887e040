"""The walk over a spec's layers that makes the graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from archdsl.diagnostics import Diagnostic, Diagnostics, SpecError, did_you_mean
from archdsl.elaborate import foreign, structures
from archdsl.elaborate.bind import as_names, bind_block, bind_layer
from archdsl.elaborate.evaluate import (
    bind_targets,
    evaluate,
    integer,
    show,
    truth,
    type_name,
)
from archdsl.elaborate.names import check_label
from archdsl.elaborate.scope import (
    BlockRef,
    BodyRef,
    Call,
    Context,
    Fault,
    KindRef,
    Namespace,
    Range,
    Value,
    input_name,
    named,
    plain,
    rename,
)
from archdsl.ir import Group, Parameter, Port, Role, Step
from archdsl.layer import Layer, Mismatch, kind, words
from archdsl.limits import MAX_DEPTH, MAX_LAYERS, MAX_REPEAT
from archdsl.source import Span
from archdsl.symbolic import Poly, poly_of
from archdsl.syntax import tree as t
from archdsl.syntax.loader import Module
from archdsl.values import Dims, Shape, channels, show_shape, with_channels

Parts = list[Step | Group]
Build = Callable[[Value, Context, Parts], Value]


class Walker:
    """Elaborates layers in order; keeps what the whole graph shares.

    Attributes:
        errors: what was found wrong; a faulty step's value has no shape, so that
            what follows it is not reported as well.
        symbolic: whether integers remember the parameters they come from.
        prelude: the library whose blocks need no import.
        inputs: the network's inputs so far.
        outputs: further outputs so far.
        inits: `init` statements met, with their place.
        expects: `expect` statements met, with their place.
    """

    def __init__(self, errors: Diagnostics, symbolic: bool, prelude: Module) -> None:
        self.errors = errors
        self.symbolic = symbolic
        self.prelude = prelude
        self.inputs: list[Port] = []
        self.outputs: list[Port] = []
        self.inits: list[tuple[t.Init, Context]] = []
        self.expects: list[tuple[t.Expect, Context]] = []
        self.input_override: Shape | None = None
        self.producers: dict[int, Step] = {}
        self.read: set[int] = set()
        self._values = 0
        self._layers = 0
        self._statements = 0
        self.statement = 0

    # ---- bookkeeping

    def new_value(self, shape: Shape | None) -> Value:
        """Return a fresh value."""
        self._values += 1
        return Value(self._values, shape)

    def report(self, fault: Fault, context: Context) -> Value:
        """Keep a mistake, and return a value that nothing more is said about."""
        if fault.code:
            self.errors.add(fault.diagnostic(context.notes()))
        return self.new_value(None)

    def _check_budget(self, further: int, span: Span) -> None:
        if self._layers + further > MAX_LAYERS:
            message = f"the network has more than {MAX_LAYERS:,} layers"
            raise SpecError([Diagnostic("A0904", message, span)])

    def deeper(self, context: Context, span: Span) -> Context:
        """Return the context one level further in.

        Raises:
            SpecError: if blocks and bodies nest too deep.
        """
        if context.depth >= MAX_DEPTH:
            message = f"blocks and bodies nest deeper than {MAX_DEPTH} levels"
            raise SpecError([Diagnostic("A0902", message, span)])
        return context.replace(depth=context.depth + 1)

    # ---- statements

    def body(self, body: t.Body, value: Value, context: Context, parts: Parts) -> Value:
        """Elaborate a body that has one branch."""
        if len(body.branches) > 1:
            fault = Fault(
                "A0210",
                "`|` separates branches, and nothing says how they are joined",
                body.branches[1].span,
                help="write `concat { a | b }`, `add { a | b }` or `residual { a | b }`",
            )
            return self.report(fault, context)
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
        for at, statement in enumerate(statements):
            context.space.current = value
            try:
                if isinstance(statement, t.Let):
                    context = self._let(statement, context)
                elif isinstance(statement, t.Chain):
                    rest = statements[at + 1 :] if at + 1 < len(statements) else ()
                    value = self.chain(statement, value, context, parts, rest)
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
        value = evaluate(statement.value, context)
        if isinstance(value, int) and not isinstance(value, bool):
            context.space.lets[statement.name] = value
        return context.bind(**{statement.name: value})

    def _other(
        self, statement: t.Statement, value: Value, context: Context, parts: Parts
    ) -> Value:
        if isinstance(statement, t.For):
            return self._for(statement, value, context, parts)
        if isinstance(statement, t.If):
            return self._if(statement, value, context, parts)
        if isinstance(statement, t.Init):
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
        if context.trail or context.space.path:
            raise Fault(
                "A0211", f"`{word}` stands in the network itself, not in a block", span
            )

    def _input(self, statement: t.Input, value: Value, context: Context) -> Value:
        name = statement.name or "x"
        if statement.name:
            check_label(statement.name, statement.span)
        if any(port.name == name for port in self.inputs):
            raise Fault(
                "A0101",
                "the network has several inputs of one name",
                statement.span,
                help="name them: `input left 3x64x64`",
            )
        if len(statement.dims) not in (1, 3) or min(statement.dims) < 1:
            raise Fault(
                "A0205",
                f"an input is channels x height x width, not {show_shape(statement.dims)}",
                statement.span,
                help="write `input 3x224x224`, or `input 100` for a vector",
            )
        shape = statement.dims
        if self.input_override is not None and not self.inputs:
            shape = self.input_override
        made = self.new_value(shape)
        self.inputs.append(Port(name=name, value=made.number, shape=shape))
        if statement.name:
            context.space.values[statement.name] = made
        return value if len(self.inputs) > 1 else made

    def _output(
        self, statement: t.Output, value: Value, context: Context, parts: Parts
    ) -> None:
        inner = context.replace(training=True) if statement.training else context
        result = self.chain(statement.chain, value, inner, parts, ())
        last = statement.chain.steps[-1].label
        name = self.label_text(last, context, None) if last else None
        if name is None and isinstance(statement.chain.steps[-1], t.Tap):
            name = self.label_text(statement.chain.steps[-1].path, context, None)
        name = name or f"output{len(self.outputs) + 1}"
        if name == "output" or any(port.name == name for port in self.outputs):
            raise Fault(
                "A0101",
                f"two outputs are named `{name}`",
                statement.span,
                help="label the last layer of the output's chain",
            )
        self.read.add(result.number)
        if result.shape is not None:
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
        """Return the body that an `if` chooses."""
        current: t.Body | t.If | None = statement
        while isinstance(current, t.If):
            if truth(current.test, context):
                return current.body
            current = current.otherwise
        return current

    def _for(
        self, statement: t.For, value: Value, context: Context, parts: Parts
    ) -> Value:
        items = evaluate(statement.iterable, context)
        if not isinstance(items, tuple) or isinstance(items, Dims):
            raise Fault(
                "A0204",
                f"`for` needs a list, not {show(items)}",
                statement.iterable.span,
                help="write `for i in range(n)` to count",
            )
        count = items.count if isinstance(items, Range) else len(items)

        def rounds() -> Iterator[Build]:
            for place, item in enumerate(items):
                bound = bind_targets(statement.targets, place, item, statement.span)
                yield lambda v, c, p, b=bound: self.body(  # type: ignore[misc]
                    statement.body, v, c.bind(**b), p
                )

        return self._copies(count, rounds(), value, context, parts, statement.span)

    def _copies(
        self,
        count: int,
        builds: Iterator[Build],
        value: Value,
        context: Context,
        parts: Parts,
        span: Span,
    ) -> Value:
        """Build the copies of a repeat, refusing too many before they are made."""
        context = self.deeper(context, span)
        start, before = value, self._layers
        copies: list[Group] = []
        for number, build in enumerate(builds):
            entry, inner = value, []
            value = build(value, context, inner)
            copies.append(
                self.transparent("copy", "", entry, value, inner, context, span)
            )
            if number == 0:
                self._check_budget((int(count) - 1) * (self._layers - before), span)
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
        rest: Sequence[t.Statement],
    ) -> Value:
        """Elaborate steps joined by arrows, as often as the last of them says."""
        for step in chain.steps[:-1]:
            if step.repeat is not None:
                raise Fault(
                    "A0209",
                    "a repeat stands at the end of its chain, and repeats all of it",
                    step.repeat.span,
                    help="put the part to repeat on a line of its own",
                )
        repeat = chain.steps[-1].repeat
        if repeat is None:
            return self._chain_once(chain, value, context, parts, rest, None)
        count = self._count(repeat, context)
        builds = (
            lambda v, c, p, n=number: self._chain_once(chain, v, c, p, (), n)  # type: ignore[misc]
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
            raise SpecError([Diagnostic("A0906", message, expr.span)])
        return count

    def _chain_once(
        self,
        chain: t.Chain,
        value: Value,
        context: Context,
        parts: Parts,
        rest: Sequence[t.Statement],
        copy: int | None,
    ) -> Value:
        self._statements += 1
        own = self._statements
        for at, step in enumerate(chain.steps):
            self.statement = own
            try:
                if step.guard is not None and not truth(step.guard, context):
                    continue
                follows = _Following(self, chain.steps[at + 1 :], rest)
                value = self._step(step, value, context, parts, copy, follows)
            except Fault as fault:
                value = self.report(fault, context)
        return value

    def _step(
        self,
        step: t.Step,
        value: Value,
        context: Context,
        parts: Parts,
        copy: int | None,
        follows: _Following,
    ) -> Value:
        context.space.current = value
        label = self.label_text(step.label, context, copy) if step.label else None
        if label is not None and not context.shared:
            assert step.label is not None
            self._check_label(label, step.label.span, context)
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
            result = self._call(step, label, value, context, parts, follows)
        if label is not None and step.label is not None:
            context.space.values[label] = result
            context.space.steps[label] = step, context, value
        return result

    def _same(
        self, call: t.Call, value: Value, context: Context, parts: Parts
    ) -> Value:
        """Elaborate ``same encoder``: an earlier part once more, with its weights."""
        name = call.args[0].value.id if _is_one_name(call) else None
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
                help=did_you_mean(name, context.space.steps),
            )
        step, where, original = found
        self._check_alike(original, value, call.span)
        inner = where.replace(shared=True, training=context.training)
        again = self._step(step, value, inner, parts, None, _Following(self, (), ()))
        context.space.values[name] = first
        return again

    def _tap(self, step: t.Tap, context: Context) -> Value:
        label = self.label_text(step.path, context, None)
        found = context.space.find(label)
        if found is None:
            raise Fault(
                "A0107",
                f"no earlier layer is labelled `{label}` here",
                step.span,
                help=did_you_mean(label, context.space.labels())
                or "a tap reads a label that stands before it, in its own block",
            )
        self.read.add(found.number)
        return found

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

    # ---- calls

    def _call(
        self,
        call: t.Call,
        label: str | None,
        value: Value,
        context: Context,
        parts: Parts,
        follows: _Following,
    ) -> Value:
        word = call.word
        if word == "same" and word not in context.env:
            return self._same(call, value, context, parts)
        if word == "seq" and word not in context.env:
            return self._seq(call, label, value, context, parts)
        if word == "residual" and call.body is not None and word not in context.env:
            inner = self.deeper(context, call.span)
            return structures.residual(self, call, label, value, inner, parts)
        target = self.resolve(call, context)
        if isinstance(target, KindRef):
            if target.kind.arity is None:
                inner = self.deeper(context, call.span)
                return structures.merge(
                    self, call, target.kind, label, value, inner, parts
                )
            return self._layer(call, target.kind, label, value, context, parts, follows)
        if isinstance(target, BodyRef):
            return self._passed_body(call, target, label, value, context, parts)
        return self._block(call, target, label, value, context, parts)

    def resolve(self, call: t.Call, context: Context) -> KindRef | BlockRef | BodyRef:
        """Return what a word means here.

        Raises:
            Fault: if it means nothing, or no layers.
        """
        word = call.word
        if word in context.env:
            bound = context.env[word]
            if isinstance(bound, KindRef | BlockRef | BodyRef):
                return bound
            # `dropout dropout`: the layer kind, with a parameter of the same name.
            if found_kind := kind(word):
                return KindRef(found_kind)
            raise Fault(
                "A0204",
                f"`{word}` is {show(bound)}, a {type_name(bound)}, not a layer",
                call.span,
            )
        if found := (context.module.find(word) or self.prelude.find(word)):
            return BlockRef(*found)
        if word in context.module.ops:
            return KindRef(foreign.kind_of(*context.module.ops[word]))
        if found_kind := kind(word):
            return KindRef(found_kind)
        known = {*words(), *context.module.names(), *self.prelude.names()}
        raise Fault(
            "A0106",
            f"`{word}` is not a layer kind or block",
            Span(call.span.source, call.span.start, call.span.start + len(word)),
            help=did_you_mean(word, known | {"seq", "residual"}),
        )

    def _seq(
        self,
        call: t.Call,
        label: str | None,
        value: Value,
        context: Context,
        parts: Parts,
    ) -> Value:
        if call.body is None or call.angle or call.args:
            raise Fault(
                "A0208",
                "seq takes layers in braces, and nothing else",
                call.span,
                help="write `features: seq { ... }`",
            )
        body = call.body
        name = self.name(label, "seq", context, call.span)
        return self.owned(
            name,
            "seq",
            True,
            value,
            self.deeper(context, call.span),
            call.span,
            parts,
            lambda v, c, p: self.body(body, v, c, p),
        )

    def _passed_body(
        self,
        call: t.Call,
        ref: BodyRef,
        label: str | None,
        value: Value,
        context: Context,
        parts: Parts,
    ) -> Value:
        if call.angle or call.args or call.body:
            raise Fault(
                "A0208",
                f"`{call.word}` stands for layers in braces, which take no arguments",
                call.span,
                help=f"give arguments in the default: `{call.word} = unit<width = 64>`",
            )
        inner = self.deeper(context, call.span)
        if label is None and not context.space.indexed:
            return self.body(ref.body, value, _read_in(ref, inner), parts)

        def build(v: Value, c: Context, p: Parts) -> Value:
            return self.body(ref.body, v, _read_in(ref, c), p)

        name = self.name(label, call.word, context, call.span)
        return self.owned(name, "", False, value, inner, call.span, parts, build)

    def _block(
        self,
        call: t.Call,
        ref: BlockRef,
        label: str | None,
        value: Value,
        context: Context,
        parts: Parts,
    ) -> Value:
        definition = ref.definition
        if definition.is_network:
            raise Fault(
                "A0204", f"`{definition.name}` is a network, not a block", call.span
            )
        if call.args:
            raise Fault(
                "A0201",
                f"`{call.word}` is a block, and takes its arguments in < >",
                call.args[0].span,
                help=f"write `{call.word}<...>`",
            )
        if any(outer.definition is definition for outer in context.trail):
            raise Fault(
                "A0108",
                f"`{definition.name}` calls itself",
                call.span,
                help="the language has no recursion; repeat with `x` or `for`",
            )
        defaults = Context(
            ref.module, {}, Namespace("", False, None), budget=context.budget
        )
        values = bind_block(
            definition,
            call.angle or [],
            call.span,
            context,
            defaults,
            call.body,
            ref.bound,
        )
        name = self.name(label, definition.name, context, call.span)
        inner = self.deeper(context, call.span)
        inner = inner.replace(
            module=ref.module,
            env=as_names(definition, values, defaults) if self.symbolic else values,
            trail=(
                Call(context.space.join(name), call.span, definition),
                *context.trail,
            ),
            level=0,
        )
        return self.owned(
            name,
            definition.name,
            definition.indexed,
            value,
            inner,
            call.span,
            parts,
            lambda v, c, p: self.body(definition.body, v, c, p),
            definition,
            values,
        )

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
    ) -> Value:
        """Build a group or block that owns the names below it.

        Inside, the input's channels bear a name of the owner's; what comes out is
        expressed in the caller's names again.
        """
        level = 0 if definition else context.level + 1
        outer = None if definition else context.space
        space = Namespace(context.space.join(name), indexed, outer)
        own = input_name(level)
        bindings: dict[str, Poly] = {}
        entry = value
        if value.shape is not None and self.symbolic:
            bindings = {
                k: poly_of(v[0] if isinstance(v, Dims) else v)
                for k, v in (values or {}).items()
                if isinstance(v, int | Dims) and not isinstance(v, bool)
            }
            bindings[own] = poly_of(channels(value.shape))
            shape = with_channels(value.shape, named(channels(value.shape), own))
            entry = Value(value.number, shape)
        inner: Parts = []
        statement = self.statement
        result = build(entry, context.replace(space=space, level=level), inner)
        self.statement = statement
        if value.shape is None or result.shape is None:
            return Value(result.number, None)
        out = with_channels(result.shape, rename(channels(result.shape), bindings))
        parameters = [Parameter(name="in_channels", value=channels(value.shape))]
        if definition and values:
            parameters += parameters_of(definition, values)
        parts.append(
            Group.model_construct(
                role="block" if definition else "group",
                name=name,
                path=space.path,
                word=word,
                origin=_origin(definition),
                doc=definition.doc if definition else "",
                indexed=indexed,
                parameters=tuple(parameters),
                lets=tuple(space.lets.items()),
                children=tuple(inner),
                input=value.number,
                input_shape=value.shape,
                output=result.number,
                shape=out,
                training=context.training,
                statement=self.statement,
                shared=context.shared,
                span=span,
            )
        )
        return Value(result.number, out)

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
        condition: str = "",
        name: str = "",
    ) -> Group:
        """Return a group whose parts bear names of the namespace around it."""
        return Group.model_construct(
            role=role,
            name=name,
            path=context.space.path,
            word=word,
            children=tuple(parts),
            input=entry.number,
            input_shape=entry.shape,
            output=result.number,
            shape=result.shape,
            count=count,
            condition=condition,
            training=context.training,
            statement=self.statement,
            span=span,
        )

    def _layer(
        self,
        call: t.Call,
        layer_kind: type[Layer],
        label: str | None,
        value: Value,
        context: Context,
        parts: Parts,
        follows: _Following,
    ) -> Value:
        layer = bind_layer(call, layer_kind, context)
        if "bias" in layer.fields and layer.bias is None:  # type: ignore[attr-defined]
            layer = layer.replace(bias=not follows.absorbs_bias(context))
        return self.layer(layer, label, (value,), context, call.span, parts)

    def layer(
        self,
        layer: Layer,
        label: str | None,
        inputs: tuple[Value, ...],
        context: Context,
        span: Span,
        parts: Parts,
    ) -> Value:
        """Add one step to the graph, and return its value.

        Raises:
            Fault: if the layer does not fit its inputs.
        """
        name = self.name(label, layer.word, context, span)
        shapes = tuple(v.shape for v in inputs if v.shape is not None)
        self.read.update(v.number for v in inputs)
        if len(shapes) < len(inputs):
            return self.new_value(None)
        try:
            shape = layer.shape(*shapes)
        except Mismatch as mismatch:
            raise self._mismatch(mismatch, inputs, span) from None
        self._check_budget(1, span)
        self._layers += 1
        value = self.new_value(with_channels(shape, channels(shape)))
        step = Step.model_construct(
            name=name,
            path=context.space.join(name),
            labelled=label is not None,
            op=layer,
            inputs=tuple(v.number for v in inputs),
            input_shapes=shapes,
            output=value.number,
            shape=value.shape,
            training=context.training,
            statement=self.statement,
            shared=context.shared,
            span=span,
        )
        self.producers[value.number] = step
        parts.append(step)
        return value

    def _mismatch(
        self, mismatch: Mismatch, inputs: tuple[Value, ...], span: Span
    ) -> Fault:
        label = mismatch.label
        if len(inputs) > 1:
            label = ", ".join(self.describe(v) for v in inputs)
        return Fault(
            mismatch.code, mismatch.message, span, label=label, help=mismatch.help
        )

    def describe(self, value: Value) -> str:
        """Return ``512x28x28 (layer2.0.conv3, line 12)``."""
        shape = show_shape(value.shape) if value.shape else "unknown"
        step = self.producers.get(value.number)
        if step is None:
            return f"{shape} (the input)"
        return f"{shape} ({step.path}, line {step.span.line})"

    # ---- names

    def label_text(self, label: t.Label, context: Context, copy: int | None) -> str:
        """Return a label's text, its expressions evaluated.

        Args:
            label: as written.
            context: where its expressions are read.
            copy: number of the copy in a repeat, from 1; written where `{}` stands,
                or at the end.
        """
        text, marked = "", False
        for part in label.parts:
            if isinstance(part, str):
                text += part
            elif part is not None:
                text += str(int(integer(part, context, "a part of a label")))
            elif copy is None:
                raise Fault(
                    "A0209",
                    "`{}` stands for the number of a copy, and nothing repeats",
                    label.span,
                    help="add a repeat such as `x3`, or write `{i}` in a `for`",
                )
            else:
                text, marked = f"{text}{copy}", True
        return text if marked or copy is None else f"{text}{copy}"

    def _check_alike(self, first: Value, second: Value, span: Span) -> None:
        """Refuse another number of channels than shared weights have."""
        if first.shape is None or second.shape is None:
            return
        if channels(first.shape) != channels(second.shape):
            raise Fault(
                "A0302",
                f"the weights are for {int(channels(first.shape))} channels, and the "
                f"input has {int(channels(second.shape))}",
                span,
                label=f"the input is {self.describe(second)}",
                help="shared layers need inputs of the same channels",
            )

    def _check_label(self, label: str, span: Span, context: Context) -> None:
        check_label(label, span)
        if context.space.indexed:
            raise Fault(
                "A0109",
                f"`{label}`: the parts of a seq are named by number",
                span,
                help="drop the label, or drop `seq` before the braces",
            )
        self.claim(label, span, context)

    def claim(self, name: str, span: Span, context: Context) -> None:
        """Take a name in the namespace, or refuse it if it is taken."""
        taken = context.space.taken
        if name in taken:
            raise Fault(
                "A0102",
                f"two layers are named `{context.space.join(name)}`",
                span,
                label=f"the first is on line {taken[name].line}",
                help="give one of them another label",
            )
        taken[name] = span

    def name(self, label: str | None, word: str, context: Context, span: Span) -> str:
        """Return the name of a part: its label, or the next number."""
        if label is not None:
            return label
        name = context.space.number(word)
        if not context.space.indexed:
            self.claim(name, span, context)
        return name


class _Following:
    """The steps after one, as far as they decide about its bias."""

    __slots__ = ("rest", "steps", "walker")

    def __init__(
        self, walker: Walker, steps: Sequence[t.Step], rest: Sequence[t.Statement]
    ) -> None:
        self.walker = walker
        self.steps = steps
        self.rest = rest

    def absorbs_bias(self, context: Context) -> bool:
        """Return whether the next layer in the same body cancels a bias."""
        call = self._next(self.steps, context) or self._next_statement(context)
        if not isinstance(call, t.Call) or call.word in ("seq", "residual"):
            return False
        target = self.walker.resolve(call, context)
        return isinstance(target, KindRef) and target.kind.absorbs_bias

    def _next(self, steps: Sequence[t.Step], context: Context) -> t.Step | None:
        for step in steps:
            if step.guard is None or truth(step.guard, context):
                return step
        return None

    def _next_statement(self, context: Context) -> t.Step | None:
        queue = list(self.rest)
        while queue:
            statement = queue.pop(0)
            if isinstance(statement, t.Chain):
                if found := self._next(statement.steps, context):
                    return found
            elif isinstance(statement, t.If):
                taken = self.walker.taken(statement, context)
                if taken is not None:
                    queue = [*taken.branches[0].statements, *queue]
            elif not isinstance(statement, t.Expect | t.Init | t.Output):
                return None
        return None


def parameters_of(
    definition: t.Definition, values: Mapping[str, Any]
) -> list[Parameter]:
    """Return a definition's parameters with their values and literal defaults."""
    return [
        Parameter(name=p.name, value=values[p.name], default=_literal(p.default))
        for p in definition.params
    ]


def _literal(default: t.Expr | None) -> Any:
    if isinstance(default, t.Literal):
        return default.value
    return Dims(default.dims) if isinstance(default, t.DimsLiteral) else None


def _is_one_name(call: t.Call) -> bool:
    return (
        len(call.args) == 1
        and call.args[0].name is None
        and isinstance(call.args[0].value, t.Name)
        and not call.angle
        and call.body is None
    )


def _read_in(ref: BodyRef, context: Context) -> Context:
    """Return the context of braces that were passed to a block.

    They read the names of the place where they stand. Those mean nothing in the
    block's own code, so they are plain numbers there.
    """
    return context.replace(
        module=ref.context.module,
        env={name: plain(value) for name, value in ref.context.env.items()},
    )


def _origin(definition: t.Definition | None) -> str:
    if definition is None:
        return ""
    return f"{definition.span.source.name}:{definition.span.start}"
