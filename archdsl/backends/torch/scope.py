"""The body of one class: its submodules and its `forward`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from archdsl.backends.torch.classes import (
    ConstructorArgument,
    ConstructorItem,
    Flag,
    Loop,
    Member,
    general_label,
)
from archdsl.backends.torch.forward import Forward, group_of
from archdsl.backends.torch.nodes import (
    INDEX,
    Argument,
    Assign,
    Bindings,
    CallExpr,
    Entries,
    First,
    ForStatement,
    InTraining,
    LiteralExpr,
    LoopVariable,
    Make,
    Maybe,
    PyExpression,
    PyStatement,
    Return,
    SelfAttribute,
    Star,
    Var,
    generalise,
    has_first,
    names_in,
    node_of,
)
from archdsl.conditions import (
    LabelTemplate,
    condition_parameters,
    label,
    substitute,
)
from archdsl.ir import Group, Network, Step
from archdsl.ir.registration import in_order
from archdsl.layer import Layer
from archdsl.naming import input_name
from archdsl.symbolic import Poly, poly_of
from archdsl.torch.calls import is_function
from archdsl.torch.flow import (
    Flow,
    Flows,
    Op,
    is_own_parameter,
    unrolled,
)
from archdsl.values import TorchCall, channels


class Plans(Protocol):
    """What the body of a class asks the plan of the whole module.

    Attributes:
        network: the network.
        flows: its data flow, by group.
        inplace: outputs of the layers that may run in place.
        again: paths of the parts that the backward pass runs again.
        looped: blocks whose loops are written as such even for few iterations.
    """

    network: Network
    flows: Flows
    inplace: frozenset[int]
    again: set[str]
    looped: frozenset[str]

    def make(self, group: Group, scope: ClassScope) -> Make:
        """Return the expression that creates an instance of a group's class."""

    def class_of(self, step: Step) -> str:
        """Return the name of a step's class."""


class ClassScope:
    """The body of one class."""

    def __init__(
        self,
        planner: Plans,
        group: Group,
        level: int,
        bindings: Bindings,
        fields: list[ConstructorArgument],
        kinds: Mapping[str, type[Layer]],
        fixed: Bindings,
        sequential: bool,
    ) -> None:
        self.fixed = fixed
        self.sequential = sequential
        self.planner = planner
        self.flows = planner.flows
        self.group = group
        self.level = level
        self.bindings = bindings
        self.fields = fields
        # The block's parameters that are layer kinds.
        self.kinds = kinds
        self.loops: dict[int, Loop | None] = {}
        self.flags: dict[int, str] = {}
        self.reads: Counter[int] | None = None
        # The number of copies of each repeat that is written out one by one.
        self.unrolled: list[int] = []
        # Names of the arguments of `forward`.
        self.inputs: Sequence[str] = ("x",)

    # ---- submodules

    def items(self, ops: Sequence[Op]) -> list[ConstructorItem]:
        """Return the submodules that some operations need, in order of registration."""
        found: list[ConstructorItem] = []
        for op in ops:
            if op.is_loop:
                found += self._loop_items(op)
            elif self.group.indexed:
                found += [Member((), self.node(op))]
            elif op.hole:
                found.append(self._hole(op))
            elif op.optional:
                found += self._optional(op)
            elif op.again:
                continue
            elif not self._is_function(op) or is_own_parameter(op):
                found.append(Member(self.label(op), self.node(op)))
        return in_order(found, _name, self.group.registered)

    def label(self, op: Op, looped: bool = False) -> LabelTemplate:
        """Return the name of a submodule, with the parameters that it depends on.

        Only the constructor knows these, so `forward` must not need the name.
        """
        pattern = op.node.pattern
        known = self.group.role != "network" and (looped or self.sequential)
        if not pattern or not known or self.fixed:
            return (op.node.name,)
        return label(
            [p if isinstance(p, str) else p.substitute(self.bindings) for p in pattern]
        )

    def _optional(self, op: Op) -> list[ConstructorItem]:
        test = group_of(op).condition
        assert test is not None
        there = bool(group_of(op).children)
        extra = tuple(Member((one.node.name,), self.node(one)) for one in op.before)
        condition = substitute(test, self.bindings)
        return [Flag(self._flag_name(op), condition, frozenset((there,)), extra)]

    def _flag_name(self, op: Op) -> str:
        if op.output not in self.flags:
            number = len(self.flags) + 1
            suffix = "" if number == 1 else str(number)
            self.flags[op.output] = f"use_shortcut{suffix}"
        return self.flags[op.output]

    def _hole(self, op: Op) -> Member:
        shortcut = group_of(op)
        condition = shortcut.condition
        if condition is not None:
            condition = substitute(condition, self.bindings)
            if shortcut.children and not condition_parameters(condition):
                condition = None  # numbers decide, in the network itself
        states = frozenset((bool(shortcut.children),))
        if not shortcut.children:
            return Member((op.hole,), None, condition, states)
        inner = self.flows.of(shortcut).ops
        return Member((op.hole,), self.node(inner[0]), condition, states)

    def node(self, op: Op) -> PyExpression:
        """Return the expression that creates the submodule of an operation."""
        level, bindings = self.level, self.bindings
        if isinstance(op.node, Step):
            name = self.planner.class_of(op.node)
            in_place = self._in_place(op.node)
            node = _module_node(op.node, name, in_place, bindings)
            kind = type(op.node.op)
            by = tuple([name for name, one in self.kinds.items() if one is kind])
            return node._replace(chosen_by=by)
        group = op.node
        if op.is_guard:
            inner = self.node(op.copies[0][0]) if op.copies else None
            assert group.condition is not None
            test = substitute(group.condition, bindings)
            return Maybe(inner, test, frozenset((inner is not None,)))
        own_class = group.path in self.planner.again
        if self.flows.is_sequence(group) and not own_class:
            ops = self.flows.of(group).ops
            return self._sequential(group, ops, level + 1, bindings)
        return self.planner.make(group, self)

    def _in_place(self, step: Step) -> bool:
        return step.output in self.planner.inplace

    def _sequential(
        self, group: Group, ops: Sequence[Op], level: int, outer: Bindings
    ) -> PyExpression:
        """Return a chain as a Sequential, in the names of the enclosing class."""
        entry = poly_of(channels(group.input_shape)).substitute(outer)
        bindings = {**outer, input_name(level): entry}
        inner = ClassScope(
            self.planner,
            group,
            level,
            bindings,
            self.fields,
            self.kinds,
            self.fixed,
            True,
        )
        entries: list[Argument] = []
        for op in ops:
            entries += inner.entries(op)
        self.unrolled += inner.unrolled
        if group.indexed:
            return CallExpr("nn.Sequential", tuple(entries), spread=len(entries) > 1)
        named = CallExpr("OrderedDict", tuple(entries), spread=len(entries) > 1)
        return CallExpr("nn.Sequential", (Argument("", named),))

    def entries(self, op: Op) -> list[Argument]:
        """Return the arguments of a Sequential for an operation."""
        name = "" if self.group.indexed else op.node.name
        if not op.is_loop:
            return [Argument(name, self.node(op))]
        assert isinstance(op.node, Group)
        alone = [[*unrolled(copy)] for copy in op.copies]
        if self.group.indexed and all(len(copy) == 1 for copy in alone):
            nodes = [self.node(copy[0]) for copy in alone]
            count = poly_of(op.node.count).substitute(self.bindings)
            # A single copy is also written as a loop if other calls may have more.
            least = 1 if count.number is None else 2
            general = generalise(nodes) if len(nodes) >= least else None
            if count.number is None and not self._goes_on(op, general):
                general = None
            # Two different iterations are easier to read as two lines.
            short = len(nodes) < 3 and general is not None and has_first(general)
            if general is not None and not short:
                return [Argument("", Star(general, count, INDEX in names_in(general)))]
        self.unrolled.append(len(op.copies))
        return [a for copy in op.copies for one in copy for a in self.entries(one)]

    def _loop_items(self, op: Op) -> list[ConstructorItem]:
        if loop := self.loop(op):
            return [loop]
        self.unrolled.append(len(op.copies))
        return self.items([one for copy in op.copies for one in copy])

    def loop(self, op: Op) -> Loop | None:
        """Return the loop that creates similar submodules, or None if they differ.

        A Sequential runs what it contains. In other classes, `forward` loops over all
        submodules, so the class must not have any others.
        """
        # Not by its output: that of an empty repeat is the output of what comes before.
        if id(op.node) not in self.loops:
            self.loops[id(op.node)] = self._new_loop(op)
        return self.loops[id(op.node)]

    def _new_loop(self, op: Op) -> Loop | None:
        if self.group.registered:
            return None
        times = poly_of(group_of(op).count).substitute(self.bindings)
        if times.number is not None and len(op.copies) < 2:
            return None
        copies = [[*unrolled(copy)] for copy in op.copies]
        if any(one.again or is_own_parameter(one) for copy in copies for one in copy):
            return None
        modules = [[o for o in copy if not self._is_function(o)] for copy in copies]
        if any(len(copy) != 1 for copy in modules) or self._is_tapped(op):
            return None
        if any("." in copy[0].node.name for copy in modules):
            return None
        if not self.sequential and not self._is_alone(op):
            return None
        loop = self._loop_of(times, [copy[0] for copy in modules])
        if loop is None or loop.is_single or times.number is not None:
            return loop
        general = loop.node or next(iter(loop.nodes), None)
        return loop if self._goes_on(op, general) else None

    def _goes_on(self, op: Op, general: PyExpression | None) -> bool:
        """Return whether the expressions of a loop hold for any number of iterations.

        A caller can ask for more, and two numbers fit any progression. But if the
        channels grow by the same amount in two iterations, they continue to do so, and
        if one iteration keeps them, all further ones do. What follows must not depend
        on the number of iterations.
        """
        if general is None or self._is_followed(op):
            return general is None
        widths = self._widths(op)
        before, first, last = widths[0], widths[1], widths[-1]
        if last != first and op.output != self.group.output:
            return False
        if len(op.copies) > 2 or title_of(self.group) in self.planner.looped:
            return True
        if len(op.copies) == 1:
            return first == before
        if first != last:
            return first - before == last - first and not has_first(general)
        return _is_steady(general, First(LiteralExpr(before), LiteralExpr(first)))

    def _widths(self, op: Op) -> list[Poly]:
        """Return the channels that enter a loop, and those after each iteration."""
        shapes = [group_of(op).input_shape, *(c[-1].node.shape for c in op.copies)]
        return [poly_of(channels(s)).substitute(self.bindings) for s in shapes]

    def _is_followed(self, op: Op) -> bool:
        """Return whether a later submodule has the name that a further iteration would
        have.
        """
        if self.group.indexed:
            return False
        ops = [*unrolled(self.flows.of(self.group).ops)]
        own = [one for copy in op.copies for one in unrolled(copy)]
        last = own[-1].output
        place = max((n for n, one in enumerate(ops) if one.output == last), default=-1)
        heads = {one.node.name.rstrip("0123456789") for one in own if one.node.name}
        return any(
            one.node.name.rstrip("0123456789") in heads for one in ops[place + 1 :]
        )

    def _loop_of(self, times: Poly, modules: Sequence[Op]) -> Loop | None:
        nodes = tuple(self.node(module) for module in modules)
        counts = frozenset((len(nodes),))
        if self.group.indexed:
            general = generalise(nodes) if len(nodes) > 1 else None
            if general is None and len(nodes) > 1:
                return None
            return Loop(times, counts, (), nodes[:3], (), general)
        labels = [self.label(module, looped=True) for module in modules]
        if len(nodes) < 2:
            return Loop(times, counts, tuple(labels), nodes, None, None)
        general, name = generalise(nodes), general_label(labels)
        if general is None or name is None:
            return None
        return Loop(times, counts, tuple(labels[:3]), nodes[:3], name, general)

    def _is_tapped(self, loop: Op) -> bool:
        """Return whether a value inside one copy is read elsewhere."""
        if self.reads is None:
            flow = self.flows.of(self.group)
            self.reads = Counter(v for op in unrolled(flow.ops) for v in op.reads)
            if self.group.role == "network":
                ports = self.planner.network.outputs
                self.reads.update(flow.value(port.value) for port in ports)
            self.reads.update(flow.value(port.value) for port in self.group.extras)
        ops = [op for copy in loop.copies for op in unrolled(copy)]
        inside = Counter(v for op in ops for v in op.reads)
        made = {value for op in ops for value in op.outputs} - {loop.output}
        return any(self.reads[v] > inside[v] for v in made)

    def _is_function(self, op: Op) -> bool:
        return isinstance(op.node, Step) and is_function(op.node)

    def _is_alone(self, op: Op) -> bool:
        """Return whether a loop has the only submodules, and runs them all equally."""
        if any(inner.is_loop for copy in op.copies for inner in copy):
            return False
        others = all(
            self._is_function(other)
            for other in self.flows.of(self.group).ops
            if other.node is not op.node
        )
        return others and bool(op.copies) and self._written(op, "x") is not None

    # ---- forward

    def forward(
        self, flow: Flow, values: Sequence[int], names: Sequence[str]
    ) -> tuple[PyStatement, ...]:
        """Return the statements of `forward`."""
        network = self.planner.network
        is_network = self.group.role == "network"
        self.inputs = names
        inputs = dict(zip(values, names, strict=False))
        if is_network:
            inputs = {p.value: n for p, n in zip(network.inputs, names, strict=True)}
        ports = network.outputs if is_network else ()
        returned = [p.value for p in ports] if is_network else self.group.outputs
        outputs = [flow.value(value) for value in returned]
        ops = [o for op in flow.ops for o in self._loops_or_copies(op)]
        writer = Forward(
            ops,
            inputs,
            outputs,
            self._caller,
            self.planner.inplace,
            self.bindings,
            self._written,
        )
        always = [p for p in ports if not p.training]
        if len(always) > 1:
            writer.named = frozenset(flow.value(p.value) for p in always)
        elif not is_network:
            writer.named = frozenset(outputs[1:])
        writer.run([op for op in ops if not (is_network and op.training)])
        if is_network and len(outputs) > 1:
            self._outputs(writer, [op for op in ops if op.training], outputs)
        else:
            writer.finish(outputs)
        return tuple(writer.statements)

    def _loops_or_copies(self, op: Op) -> Iterator[Op]:
        if op.is_loop and self.loop(op) is None:
            for copy in op.copies:
                for one in copy:
                    yield from self._loops_or_copies(one)
        else:
            yield op

    def _outputs(
        self, writer: Forward, training: Sequence[Op], values: Sequence[int]
    ) -> None:
        """Return several outputs by name; training-only outputs only in training."""
        ports = list(zip(self.planner.network.outputs, values, strict=True))
        always = [(p.name, v) for p, v in ports if not p.training]
        main: dict[str, PyExpression] = {n: Var(writer.settle(v)) for n, v in always}
        if len(always) < len(ports):
            begin = len(writer.statements)
            writer.run(training)
            every = [
                Argument(f'"{p.name}": ', main.get(p.name) or writer.result(v))
                for p, v in ports
            ]
            inner = *writer.statements[begin:], Return(Entries(tuple(every)))
            writer.statements[begin:] = [InTraining(inner)]
        result: PyExpression = main[always[0][0]]
        if len(always) > 1:
            entries = [Argument(f'"{name}": ', node) for name, node in main.items()]
            result = Entries(tuple(entries))
        writer.statements.append(Return(result))

    def _caller(self, op: Op) -> SelfAttribute:
        if op.optional:
            return SelfAttribute(self._flag_name(op))
        return SelfAttribute(op.node.name, indexed=self.group.indexed)

    def _written(self, op: Op, name: str) -> ForStatement | None:
        """Return a loop over all submodules, if each iteration is the same."""
        layer = "layer"
        while layer in self.inputs:
            layer += "_"
        found: tuple[PyStatement, ...] | None = None
        for copy in op.copies:
            output = copy[-1].output
            writer = Forward(
                copy,
                {copy[0].reads[0]: name},
                [output],
                lambda _: LoopVariable(layer),
                self.planner.inplace,
                self.bindings,
                lambda inner, value: None,
            )
            writer.run(copy)
            result = writer.result(output)
            if result != Var(name):
                writer.statements.append(Assign(name, result))
            body = tuple(writer.statements)
            if found not in (None, body):
                return None
            found = body
        over = "self" if self.group.indexed else "self.values()"
        return None if found is None else ForStatement(over, layer, found)


# ---- details ----------------------------------------------------------------


def _name(item: ConstructorItem) -> str:
    """Return the name that a submodule is registered by, if it is one."""
    return item.attr if isinstance(item, Member) else ""


def title_of(group: Group) -> str:
    """Return a key that two calls of one block share."""
    return group.origin or group.word


def _is_steady(node: PyExpression, entry: First) -> bool:
    """Return whether iterations only differ in what enters the first one."""
    if isinstance(node, CallExpr | Make):
        return all(_is_steady(argument.value, entry) for argument in node.args)
    return node == entry or INDEX not in names_in(node)


def _module_node(step: Step, name: str, in_place: bool, bindings: Bindings) -> CallExpr:
    form = step.form
    assert form.module is not None, step.path
    first = _call(form.module, bindings)._replace(function=name)
    if in_place:
        first = first._replace(
            args=(*first.args, Argument("inplace", LiteralExpr("True")))
        )
    if not form.then:
        return first
    parts = [first, *(_call(c, bindings) for c in form.then)]
    return CallExpr("nn.Sequential", tuple(Argument("", p) for p in parts))


def _call(call: TorchCall, bindings: Bindings) -> CallExpr:
    args = [
        Argument(
            "",
            _call(value, bindings)
            if isinstance(value, TorchCall)
            else node_of(value, bindings),
        )
        for value in call.args
    ]
    args += [Argument(name, node_of(value, bindings)) for name, value in call.kwargs]
    return CallExpr(call.name, tuple(args))
