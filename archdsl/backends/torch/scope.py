"""The inside of one class: its submodules and its `forward`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from archdsl.backends.torch.classes import (
    Field,
    Flag,
    Item,
    Loop,
    Member,
    camel,
    quoted,
)
from archdsl.backends.torch.forward import (
    Forward,
    group_of,
)
from archdsl.backends.torch.nodes import (
    INDEX,
    Argument,
    Bindings,
    Call,
    Leaf,
    Maybe,
    Node,
    Star,
    generalise,
    has_first,
    names_in,
    node_of,
)
from archdsl.elaborate.scope import input_name
from archdsl.ir import Group, Step
from archdsl.passes.flow import (
    Flow,
    Op,
    flow_of,
    is_bare,
    is_sequence,
    unrolled,
)
from archdsl.passes.written import is_function
from archdsl.symbolic import Poly, poly_of
from archdsl.values import TorchCall, channels

if TYPE_CHECKING:
    from archdsl.backends.torch.plan import Planner


class Scope:
    """The inside of one class."""

    def __init__(
        self,
        planner: Planner,
        group: Group,
        level: int,
        bindings: Bindings,
        fields: list[Field],
        fixed: Bindings,
        sequential: bool,
    ) -> None:
        self.fixed = fixed
        self.sequential = sequential
        self.planner = planner
        self.group = group
        self.level = level
        self.bindings = bindings
        self.fields = fields
        self.loops: dict[int, Loop | None] = {}
        self.flags: dict[int, str] = {}
        self.reads: Counter[int] | None = None

    # ---- submodules

    def items(self, ops: Sequence[Op]) -> list[Item]:
        """Return the submodules that some operations need, in order."""
        found: list[Item] = []
        for op in ops:
            if op.is_loop:
                found += self._loop_items(op)
            elif self.group.indexed:
                found += [Member("", self.node(op))]
            elif op.hole:
                found.append(self._hole(op))
            elif op.optional:
                found += self._optional(op)
            elif op.node.shared:
                continue
            elif not self._is_function(op) or is_bare(op):
                found.append(Member(self.name(op), self.node(op)))
        return found

    def name(self, op: Op, looped: bool = False) -> str:
        """Return a submodule's name, as Python text if it reads parameters.

        Only a constructor knows them, so `forward` must not need the name.
        """
        pattern = op.node.pattern
        known = self.group.role != "network" and (looped or self.sequential)
        return pattern if pattern and known and not self.fixed else op.node.name

    def _optional(self, op: Op) -> list[Item]:
        condition = _condition(group_of(op).condition, self.bindings)
        there = bool(group_of(op).children)
        extra = tuple(Member(one.node.name, self.node(one)) for one in op.before)
        return [Flag(self._flag_name(op), condition, frozenset((there,)), extra)]

    def _flag_name(self, op: Op) -> str:
        if op.output not in self.flags:
            number = len(self.flags) + 1
            suffix = "" if number == 1 else str(number)
            self.flags[op.output] = f"use_shortcut{suffix}"
        return self.flags[op.output]

    def _hole(self, op: Op) -> Member:
        shortcut = group_of(op)
        condition = _condition(shortcut.condition, self.bindings)
        if not shortcut.children:
            return Member(op.hole, None, condition)
        inner = flow_of(shortcut).ops
        return Member(op.hole, self.node(inner[0]), condition)

    def node(self, op: Op) -> Node:
        """Return how the submodule of an operation is made."""
        level, bindings = self.level, self.bindings
        if isinstance(op.node, Step):
            name = self.planner.class_of(op.node)
            return _module_node(op.node, name, self._in_place(op.node), bindings)
        group = op.node
        if op.is_guard:
            inner = self.node(op.copies[0][0]) if op.copies else None
            test = _condition(group.condition, bindings)
            return Maybe(inner, test, frozenset((inner is not None,)))
        if is_sequence(group):
            return self._sequential(group, flow_of(group).ops, level + 1, bindings)
        return self.planner.make(group, self)

    def _in_place(self, step: Step) -> bool:
        return step.output in self.planner.inplace

    def _sequential(
        self, group: Group, ops: Sequence[Op], level: int, outer: Bindings
    ) -> Node:
        """Return a chain as a Sequential, in the names of the class around it."""
        entry = poly_of(channels(group.input_shape)).substitute(outer)
        bindings = {**outer, input_name(level): entry}
        inner = Scope(
            self.planner, group, level, bindings, self.fields, self.fixed, True
        )
        entries: list[Argument] = []
        for op in ops:
            entries += inner.entries(op)
        if group.indexed:
            return Call("nn.Sequential", tuple(entries), spread=len(entries) > 1)
        named = Call("OrderedDict", tuple(entries), spread=len(entries) > 1)
        return Call("nn.Sequential", (Argument("", named),))

    def entries(self, op: Op) -> list[Argument]:
        """Return the arguments of a Sequential that an operation adds."""
        name = "" if self.group.indexed else op.node.name
        if not op.is_loop:
            return [Argument(name, self.node(op))]
        assert isinstance(op.node, Group)
        if self.group.indexed and all(len(copy) == 1 for copy in op.copies):
            nodes = [self.node(copy[0]) for copy in op.copies]
            count = poly_of(op.node.count).substitute(self.bindings)
            # A single copy is written as a loop, too, if other calls may make more.
            least = 1 if count.number is None else 2
            general = generalise(nodes) if len(nodes) >= least else None
            # Two rounds that differ read better as two lines.
            short = len(nodes) < 3 and general is not None and has_first(general)
            if general is not None and not short:
                return [Argument("", Star(general, count, INDEX in names_in(general)))]
        return [a for copy in op.copies for one in copy for a in self.entries(one)]

    def _loop_items(self, op: Op) -> list[Item]:
        if loop := self.loop(op):
            return [loop]
        return self.items([one for copy in op.copies for one in copy])

    def loop(self, op: Op) -> Loop | None:
        """Return the loop that makes alike submodules, or None if they differ."""
        assert isinstance(op.node, Group)
        modules = [
            [one for one in unrolled(copy) if not self._is_function(one)]
            for copy in op.copies
        ]
        if any(len(copy) != 1 for copy in modules):
            return None
        times = poly_of(op.node.count).substitute(self.bindings)
        if (times.number is not None and len(modules) < 2) or self._is_tapped(op):
            return None
        if op.output not in self.loops:
            self.loops[op.output] = self._new_loop(op, times, [m[0] for m in modules])
        return self.loops[op.output]

    def _is_tapped(self, loop: Op) -> bool:
        """Return whether something else reads what only a copy's inside makes."""
        if self.reads is None:
            flow = flow_of(self.group)
            self.reads = Counter(v for op in unrolled(flow.ops) for v in op.reads)
            if self.group.role == "network":
                ports = self.planner.network.outputs
                self.reads.update(flow.value(port.value) for port in ports)
        ops = [op for copy in loop.copies for op in unrolled(copy)]
        inside = Counter(v for op in ops for v in op.reads)
        made = {op.output for op in ops} - {loop.output}
        return any(self.reads[v] > inside[v] for v in made)

    def _is_function(self, op: Op) -> bool:
        return isinstance(op.node, Step) and is_function(op.node)

    def _new_loop(self, op: Op, times: Poly, modules: Sequence[Op]) -> Loop | None:
        nodes = tuple(self.node(module) for module in modules)
        names = [self.name(module, looped=True) for module in modules]
        attr = "" if self.group.indexed else _general_name(names)
        attrs = () if self.group.indexed else tuple(names[:3])
        if len(nodes) < 2:
            return Loop(times, attrs, nodes, None, None)
        general = generalise(nodes)
        if general is None or attr is None:
            return None
        if not self.sequential and not (self._alone(op) and self._loop_text(op, "x")):
            return None
        return Loop(times, attrs, nodes[:3], attr, general)

    def _alone(self, op: Op) -> bool:
        """Return whether the loop's are the only submodules of the class."""
        return all(
            other is op or self._is_function(other)
            for other in flow_of(self.group).ops
            if other.output != op.output
        )

    # ---- forward

    def forward(
        self, flow: Flow, values: Sequence[int], names: Sequence[str]
    ) -> list[str]:
        """Return the statements of `forward`."""
        network = self.planner.network
        is_network = self.group.role == "network"
        inputs = dict(zip(values, names, strict=False))
        if is_network:
            inputs = {p.value: n for p, n in zip(network.inputs, names, strict=True)}
        ports = network.outputs if is_network else ()
        outputs = [flow.value(p.value) for p in ports] or [
            flow.value(self.group.output)
        ]
        ops = [o for op in flow.ops for o in self._loops_or_copies(op)]
        writer = Forward(
            ops,
            inputs,
            outputs,
            self._caller,
            self.planner.inplace,
            self.bindings,
            self._loop_text,
        )
        always = [p for p in ports if not p.training]
        writer.reserved = frozenset((f"{camel(self.group.word)}Output",))
        if len(always) > 1:
            writer.named = frozenset(flow.value(p.value) for p in always)
        writer.run([op for op in ops if not (is_network and op.training)])
        if is_network and len(outputs) > 1:
            self._outputs(writer, [op for op in ops if op.training], outputs)
        else:
            writer.finish(outputs[0])
        return writer.lines

    def _loops_or_copies(self, op: Op) -> Iterator[Op]:
        if op.is_loop and (not op.copies or self.loop(op) is None):
            for copy in op.copies:
                for one in copy:
                    yield from self._loops_or_copies(one)
        else:
            yield op

    def _outputs(
        self, writer: Forward, training: Sequence[Op], values: Sequence[int]
    ) -> None:
        """Return several outputs by name; those of training only in training."""
        ports = list(zip(self.planner.network.outputs, values, strict=True))
        always = [(p.name, v) for p, v in ports if not p.training]
        main = {name: writer.settle(value) for name, value in always}
        name = f"{camel(self.group.word)}Output"
        if len(always) < len(ports):
            begin = len(writer.lines)
            writer.run(training)
            texts = [main.get(p.name) or writer.result(v) for p, v in ports]
            inner = [*writer.lines[begin:], f"return {name}({', '.join(texts)})"]
            writer.lines[begin:] = [
                "if self.training:",
                *("    " + line for line in inner),
            ]
        if len(always) == 1:
            writer.lines.append(f"return {main[always[0][0]]}")
        else:
            writer.lines.append(f"return {name}({', '.join(main.values())})")

    def _caller(self, op: Op) -> str:
        if op.optional:
            return self._flag_name(op)
        if self.group.indexed:
            return f"self[{op.node.name}]"
        name = self.name(op)
        return (
            f"self.{name}"
            if name.isidentifier()
            else f"self.get_submodule({quoted(name)})"
        )

    def _loop_text(self, op: Op, name: str) -> list[str] | None:
        """Return the statements of a loop, if those of all copies are the same."""
        texts = []
        for copy in op.copies:
            entry = copy[0].reads[0] if op.copies else 0
            output = copy[-1].output
            writer = Forward(
                copy,
                {entry: name},
                [output],
                lambda _: "layer",
                frozenset(),
                self.bindings,
                self._loop_text,
            )
            writer.run(copy)
            result = writer.result(output)
            lines = (
                writer.lines
                if result == name
                else [*writer.lines, f"{name} = {result}"]
            )
            if lines not in texts:
                texts.append(lines)
        if len(texts) != 1:
            return None
        return ["for layer in self.children():", *("    " + line for line in texts[0])]


# ---- details ----------------------------------------------------------------


def is_all_modules(ops: Sequence[Op], group: Group) -> bool:
    """Return whether a chain is nothing but submodules, as in a Sequential."""
    return group.role != "network" and not any(
        isinstance(op.node, Step) and is_function(op.node) for op in unrolled(ops)
    )


def _module_node(step: Step, name: str, in_place: bool, bindings: Bindings) -> Node:
    form = step.op.torch(step.input_shapes, step.shape)
    assert form.module is not None, step.path
    first = _call(form.module, bindings)._replace(function=name)
    if form.inplace and in_place:
        first = first._replace(args=(*first.args, Argument("inplace", Leaf("True"))))
    if not form.then:
        return first
    parts = [first, *(_call(c, bindings) for c in form.then)]
    return Call("nn.Sequential", tuple(Argument("", p) for p in parts))


def _call(call: TorchCall, bindings: Bindings) -> Call:
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
    return Call(call.name, tuple(args))


def _condition(text: str, bindings: Bindings) -> str:
    """Return a test in the names of a class, all of them replaced at once."""
    names = "|".join(re.escape(name) for name in sorted(bindings, reverse=True))
    if not names:
        return text

    def replacement(match: re.Match[str]) -> str:
        around = text[: match.start()].rstrip()[-1:] + text[match.end() :].lstrip()[:1]
        return bindings[match[0]].text(3 if set(around) & set("+-*/%") else 0)

    return re.sub(rf"(?<!\w)(?:{names})(?![\w:])", replacement, text)


def _general_name(names: list[str]) -> str | None:
    """Return the names of a loop's submodules as one f-string over the index."""
    found = [re.fullmatch(r"(.*?)(\d+)", name) for name in names]
    matches = [m for m in found if m is not None]
    if not names or len(matches) < len(names) or len({m[1] for m in matches}) > 1:
        return None
    numbers = [int(m[2]) for m in matches]
    start = numbers[0]
    if numbers != list(range(start, start + len(numbers))):
        return None
    offset = f" + {start}" if start else ""
    return f"{matches[0][1]}{{{INDEX}{offset}}}"
