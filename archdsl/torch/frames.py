"""How long a running program keeps the values of a network alive."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from archdsl.ir import Group, Step
from archdsl.ir.graph import Graph

from .alike import Form, Numbering, form_of
from .calls import is_all_modules, is_function
from .flow import Flows, Op, is_chain, is_own_parameter, unrolled
from .statements import Statements

# Functions that are operators between operands.
_OPERATORS: Final = ("{*+}", "{**}")
# A function of what an operator makes of its operands, which are freed before the call.
_CALL_OF_OPERATOR: Final = re.compile(r"[\w.]+\(\{0\} [-+*/] \{1\}\)")


class Frames(NamedTuple):
    """How long the calls of a network's modules keep values alive.

    Attributes:
        order: the values that the nodes compute, in the order in which they run. A
            statement may compute operands that come first in the network. Those of
            `partial` are among them.
        until: for every value, the place in this order after which the program no
            longer holds it.
        lent: outputs of the steps that a module's own code computes from its arguments.
            Its own code never overwrites an argument; a submodule may.
    """

    order: tuple[int, ...]
    until: dict[int, int]
    lent: frozenset[int]


def frames(graph: Graph, overwriting: frozenset[int]) -> tuple[Frames, Frames]:
    """Return how long the compiled program holds each value, in inference and training.

    An operand lives until the operation ends, and an argument of a module until the
    call ends. A variable holds its value until a statement assigns another one, or
    until the call of the module that it belongs to ends.

    Args:
        graph: the network.
        overwriting: outputs of the steps that can run in place; see `inplace`.
    """
    flows = Flows(graph.network.root)
    known: dict[Form, _Call] = {}
    every = _Program(graph, flows, overwriting, known, training=True).run()
    if len(graph.run(training=False)) == len(graph.nodes):
        return every, every
    return _Program(graph, flows, overwriting, known, training=False).run(), every


def partial(graph: Graph) -> dict[int, tuple[int, ...]]:
    """Return numbers for the partial results of operations that run one after another.

    These are sums and products of three or more, where Python computes each partial
    result before the next operand, and functions of an operator's result.

    Returns:
        By output, a number for each partial result, which no value has.
    """
    found, free = {}, max(graph.shapes) + 1
    for node in graph.nodes:
        function, more = node.step.form.function, 0
        if function in _OPERATORS:
            more = len(node.inputs) - 2
        elif function and _CALL_OF_OPERATOR.fullmatch(function):
            more = 1
        if more > 0:
            found[node.output] = tuple(range(free, free + more))
            free += more
    return found


class _Piece(NamedTuple):
    """An expression.

    Attributes:
        value: the value of the network that it computes.
        steps: the steps that it runs, by their outputs, in order.
        extras: the further values that it computes.
    """

    value: int
    steps: list[int]
    extras: tuple[int, ...] = ()


class _Call(NamedTuple):
    """A call of a block, in the numbers that all calls of this form share.

    Attributes:
        steps: the steps that it runs, by their outputs, in order.
        holds: pairs of a value and a step after which it is still there.
        lent: as in `Frames`.
    """

    steps: list[int]
    holds: list[tuple[int, int]]
    lent: list[int]


class _Program:
    """The program in one mode.

    Attributes:
        training: the mode.
        steps: the steps that run, by their outputs.
        holds: pairs of a value and a step after which it is still there.
        lent: as in `Frames`.
        known: the calls of blocks so far. Most networks call a few blocks many times.
    """

    def __init__(
        self,
        graph: Graph,
        flows: Flows,
        overwriting: frozenset[int],
        known: dict[Form, _Call],
        *,
        training: bool,
    ) -> None:
        self.network = graph.network
        self.training = training
        self.flows = flows
        self.overwriting = overwriting
        self.steps = {node.output for node in graph.run(training)}
        self.partial = partial(graph)
        self.holds: list[tuple[int, int]] = []
        self.lent: list[int] = []
        self.known = known

    def run(self) -> Frames:
        """Run the program."""
        root = self.network.root
        order = self.module(root, [_Piece(root.input, [])]).steps
        places = {value: place for place, value in enumerate(order)}
        until = {value: places[value] for value in self.steps}
        for value, step in self.holds:
            until[value] = max(until.get(value, 0), places[step])
        return Frames(tuple(order), until, frozenset(self.lent))

    def hold(self, values: Iterable[int], steps: Sequence[int]) -> None:
        """Keep values alive while some steps run."""
        if steps:
            last = steps[-1]
            self.holds += [(value, last) for value in values]

    def operation(self, op: Op, inputs: Sequence[_Piece]) -> _Piece:
        """Run an operation, which holds what it reads."""
        node = op.node
        if isinstance(node, Step):
            return self.step(node, inputs)
        if op.optional:
            body = self.chain(op.before, inputs[0])
            if not node.children:
                return body._replace(value=node.output)
            *_, total = node.steps()
            return self.step(total, [body, inputs[1]])
        if op.is_guard:
            return self.chain(op.copies[0] if op.copies else (), inputs[0])
        if op.hole:
            ops = self.flows.of(node).ops if node.children else ()
            return self.chain(ops, inputs[0])
        return self.module(node, inputs)

    def step(self, step: Step, inputs: Sequence[_Piece]) -> _Piece:
        """Run a step."""
        if step.output not in self.steps:
            return _Piece(step.output, _run(inputs, []))
        numbers = self.partial.get(step.output, ())
        left, rest = inputs[0], inputs[1 + len(numbers) :]
        for made, right in zip(numbers, inputs[1:], strict=False):
            self.hold([made, left.value, right.value], [made])
            left = _Piece(made, _run([left, right], [made]))
        rest = [left, *rest]
        # Of some operands, a function only reads the shape, before it runs.
        read = rest[: step.op.sources] if is_function(step) else rest
        self.hold([one.value for one in read], [step.output])
        return _Piece(step.output, _run(rest, [step.output]))

    def chain(self, ops: Iterable[Op], piece: _Piece) -> _Piece:
        """Run operations one after the other."""
        for op in unrolled(ops):
            piece = self.operation(op, [piece])
        return piece

    def module(self, group: Group, inputs: Sequence[_Piece]) -> _Piece:
        """Run a module, which holds its arguments until it ends."""
        own = self._own_steps(group, inputs[0].value)
        self.hold([one.value for one in inputs], own)
        extras = tuple([port.value for port in group.extras])
        return _Piece(group.output, _run(inputs, own), extras)

    def _own_steps(self, group: Group, entry: int) -> list[int]:
        """Run what is inside a module; return its steps."""
        numbering = Numbering(group)
        form = self._form(group, numbering)
        call = self.known.get(form) if form is not None else None
        if call is not None:
            value = numbering.value
            self.holds += [(value(held), value(step)) for held, step in call.holds]
            self.lent += map(value, call.lent)
            return [value(step) for step in call.steps]
        holds, lent = len(self.holds), len(self.lent)
        if self._is_sequence(group):
            own = self.chain(self.flows.of(group).ops, _Piece(entry, [])).steps
        else:
            own = self._forward(group)
        if form is not None:
            number = numbering.number
            self.known[form] = _Call(
                [number(step) for step in own],
                [(number(held), number(step)) for held, step in self.holds[holds:]],
                [number(value) for value in self.lent[lent:]],
            )
        return own

    def _form(self, group: Group, numbering: Numbering) -> Form | None:
        """Return what determines the lifetimes of values in a call of a block; None if
        that depends on more than the block.
        """
        if group.role != "block" or self.flows.is_shared(group):
            return None

        def more(step: Step) -> tuple[bool, bool]:
            if step.output in self.partial:
                raise LookupError  # its partial results are not numbered
            return step.output in self.steps, step.output in self.overwriting

        return form_of(group, numbering, more)

    def _is_sequence(self, group: Group) -> bool:
        ops = self.flows.of(group).ops
        if group.role == "network" and len(self.network.outputs) > 1:
            return False
        return self.flows.is_sequence(group) or (
            is_chain(ops, group) and is_all_modules(ops, group)
        )

    def _forward(self, group: Group) -> list[int]:
        """Run the `forward` of a class; return its steps."""
        flow, slots = self.flows.of(group), self.flows.slots(group)
        is_network = group is self.network.root
        ports = self.network.outputs if is_network else ()
        names = dict(zip(slots.numbers, slots.names, strict=True))
        values = dict(zip(slots.numbers, slots.values, strict=True))
        if is_network:
            inputs = self.network.inputs
            names = {port.value: port.name for port in inputs}
            if len(inputs) == 1:
                names = {inputs[0].value: "x"}
            values = {value: value for value in names}
        returned = [p.value for p in ports] if is_network else group.outputs
        outputs = [flow.value(value) for value in returned]
        bound = {name: values[number] for number, name in names.items()}
        ops = [one for op in flow.ops for one in _loops_or_copies(op, flow.ops, group)]
        body = _Body(self, ops, names, outputs, bound, frozenset(values.values()))
        always = [flow.value(port.value) for port in ports if not port.training]
        if len(always) > 1:
            body.named = frozenset(always)
        elif not is_network:
            body.named = frozenset(outputs[1:])
        body.run([op for op in ops if not (is_network and op.training)])
        if is_network and len(outputs) > 1:
            for value in always:
                body.settle(value)
            if self.training:
                body.run([op for op in ops if op.training])
            else:
                outputs = always
        return body.end(outputs)


class _Body(Statements[_Piece]):
    """The statements of one `forward`, or of one iteration of its loop.

    Attributes:
        bound: the value that each variable holds.
        arguments: the values that it is called with.
        steps: the steps of the statements so far, by their outputs.
    """

    def __init__(
        self,
        program: _Program,
        ops: Sequence[Op],
        names: dict[int, str],
        outputs: Sequence[int],
        bound: dict[str, int],
        arguments: frozenset[int],
    ) -> None:
        super().__init__(ops, names, outputs, program.overwriting)
        self.program = program
        self.bound = bound
        self.arguments = arguments
        self.steps: list[int] = []

    def variable(self, name: str) -> _Piece:
        """Return the value of a variable."""
        return _Piece(self.bound[name], [])

    def value(self, op: Op, inputs: Sequence[_Piece]) -> _Piece:
        """Run an operation."""
        read = [one.value for one in inputs]
        if not self.arguments.isdisjoint(read) and _is_function(op):
            self.program.lent.append(op.node.output)
        return self.program.operation(op, inputs)

    def assign(self, name: str, value: _Piece, others: tuple[str, ...] = ()) -> None:
        """Assign values to variables, which let go of those that they had."""
        self.steps += value.steps
        names, values = (name, *others), (value.value, *value.extras)
        old = [self.bound[one] for one in names if one in self.bound]
        self.program.hold([*old, *values], self.steps)
        self.bound.update(zip(names, values, strict=True))

    def repeat(self, op: Op, name: str) -> None:
        """Run the iterations of a loop."""
        for copy in op.copies:
            reads, output = {copy[0].reads[0]: name}, copy[-1].output
            body = _Body(
                self.program, copy, reads, [output], self.bound, self.arguments
            )
            body.run(copy)
            body.assign(name, body.result(output))
            self.steps += body.steps

    def end(self, outputs: Sequence[int]) -> list[int]:
        """Return the outputs, and all steps."""
        found = [self.result(value) for value in dict.fromkeys(outputs)]
        self.steps += [step for one in found for step in one.steps]
        held = [*self.bound.values(), *[one.value for one in found]]
        self.program.hold(held, self.steps)
        return self.steps


def _run(inputs: Sequence[_Piece], own: Sequence[int]) -> list[int]:
    """Return the steps of an operation: those of its operands, and its own."""
    steps = inputs[0].steps
    for one in inputs[1:]:
        steps += one.steps
    steps += own
    return steps


def _loops_or_copies(op: Op, ops: Sequence[Op], group: Group) -> Iterator[Op]:
    """Yield a repeat that is written as a loop, or else the parts of its copies."""
    if op.is_loop and not _is_written(op, ops, group):
        for copy in op.copies:
            for one in copy:
                yield from _loops_or_copies(one, ops, group)
    else:
        yield op


def _is_written(op: Op, ops: Sequence[Op], group: Group) -> bool:
    """Return whether a repeat is written as a loop over all submodules of a class."""
    if group.registered or len(op.copies) < 2:
        return False
    modules = [[one for one in copy if not _is_function(one)] for copy in op.copies]
    inner = [one for copy in op.copies for one in copy]
    odd = [one.again or one.is_loop or is_own_parameter(one) for one in inner]
    return (
        all([len(copy) == 1 and "." not in copy[0].node.name for copy in modules])
        and not any(odd)
        and all([other is op or _is_function(other) for other in ops])
    )


def _is_function(op: Op) -> bool:
    return isinstance(op.node, Step) and is_function(op.node)
