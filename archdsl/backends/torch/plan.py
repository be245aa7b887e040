"""From the IR to the classes of an emitted module.

Every block, and every group that is more than a chain, becomes a class. Calls of
one block share a class wherever the same text serves them all; a call that needs
other text, such as one with another activation, gets a class of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from archdsl.backends.torch.flow import (
    Flow,
    Op,
    external_values,
    flow_of,
    is_chain,
    unrolled,
)
from archdsl.backends.torch.forward import (
    Forward,
    group_of,
    is_functional,
    is_parameter,
)
from archdsl.backends.torch.nodes import (
    INDEX,
    Argument,
    Bindings,
    Call,
    Leaf,
    Make,
    Node,
    Star,
    affine,
    flat,
    generalise,
    names_in,
    node_of,
    polys_in,
)
from archdsl.elaborate.scope import input_name
from archdsl.ir import Group, Network, Step
from archdsl.passes.graph import flatten
from archdsl.passes.inplace import inplace
from archdsl.symbolic import Poly, poly_of
from archdsl.values import Dims, Last, Shape, TorchCall, channels, sizes


class Field(NamedTuple):
    """A constructor argument: its type and default, as Python text."""

    name: str
    type: str
    default: str


class Member(NamedTuple):
    """A submodule; `node` is None for a projection that no instance needs.

    Attributes:
        attr: its name; empty in a Sequential without names.
        node: how it is made.
        condition: the test under which it is made, else it is an identity.
    """

    attr: str
    node: Node | None
    condition: str = ""


class Loop(NamedTuple):
    """Submodules made in a loop.

    Attributes:
        count: how many.
        first_attr: name of the first.
        attr: name of each, over the index; None while only one is known.
        first: how the first is made; None where there is none.
        node: how each is made, over the index; None while only one is known.
    """

    count: Poly
    first_attr: str
    attr: str | None
    first: Node | None
    node: Node | None


class Flag(NamedTuple):
    """Whether an optional shortcut is there.

    Attributes:
        attr: name of the attribute that says so.
        condition: the test under which it is.
        states: what holds for the instances seen.
    """

    attr: str
    condition: str
    states: frozenset[bool]


Item = Member | Loop | Flag


class ClassPlan:
    """One class of the emitted module.

    Attributes:
        word: the block's or group's name in the spec.
        base: ``nn.Module`` or ``nn.Sequential``.
        doc: the spec's comment.
        shape: the shapes of input and output, for the docstring.
        fields: the arguments that the constructor might take, in order.
        items: its submodules, in order.
        inputs: names of `forward`'s arguments.
        forward: its statements; empty for a plain Sequential.
        out_channels: the channels of its output.
        lets: numbers that the spec gives a name, by that name.
    """

    def __init__(
        self,
        word: str,
        base: str,
        doc: str,
        shape: str,
        fields: list[Field],
        items: list[Item],
        inputs: list[str],
        forward: list[str],
        out_channels: Poly | None,
        lets: Mapping[str, Poly],
    ) -> None:
        self.word = word
        self.base = base
        self.doc = doc
        self.shape = shape
        self.fields = fields
        self.items = items
        self.inputs = inputs
        self.forward = forward
        self.out_channels = out_channels
        self.lets = lets
        self.name = ""

    def title(self) -> str:
        """Return the class's name."""
        return self.name

    def used(self) -> set[str]:
        """Return the names that the constructor reads."""
        found: set[str] = set()
        for item in self.items:
            if isinstance(item, Flag):
                if len(item.states) > 1:
                    found |= _names_of(item.condition)
                continue
            node = _shown(item)
            if node is not None:
                found |= names_in(node) - ({INDEX} if isinstance(item, Loop) else set())
            if isinstance(item, Loop):
                found |= item.count.names()
            elif item.node is not None and item.condition:
                found |= _names_of(item.condition)
        return found

    def signature(self) -> list[Field]:
        """Return the constructor's arguments: those it reads, defaults last."""
        used = self.used()
        kept = [field for field in self.fields if field.name in used]
        return sorted(kept, key=lambda field: bool(field.default))

    def select(self, args: Mapping[str, Node]) -> Sequence[Argument]:
        """Return the arguments of a call that the constructor takes."""
        found = []
        for field in self.signature():
            value = args.get(field.name, Leaf(Poly.name(field.name)))
            if not field.default:
                found.append(Argument("", value))
            elif flat(value) != field.default:
                found.append(Argument(field.name, value))
        return found

    def locals(self) -> dict[Poly, str]:
        """Return the expressions worth a variable of their own, with its name.

        Those are what the spec names, and what would be written three times or more.
        """
        counts: dict[Poly, int] = {}
        for item in self.items:
            node = _shown(item)
            if node is None or isinstance(item, Loop | Flag):
                continue
            for poly in polys_in(node):
                if poly.number is None and poly.text(3) != poly.text(0):
                    counts[poly] = counts.get(poly, 0) + 1
        names = {p: n for n, p in self.lets.items() if p in counts}
        taken = {field.name for field in self.fields} | set(names.values())
        for poly, count in counts.items():
            if count < 3 or poly in names:
                continue
            word = "out" if poly == self.out_channels else "mid"
            name, number = f"{word}_channels", 1
            while name in taken:
                number += 1
                name = f"{word}{number}_channels"
            taken.add(name)
            names[poly] = name
        return names

    def holes(self) -> set[str]:
        """Return the names of projections that no instance needs."""
        return {i.attr for i in self.items if isinstance(i, Member) and i.node is None}

    def flags(self) -> dict[str, frozenset[bool]]:
        """Return what holds for optional shortcuts, by the name of their flag."""
        return {i.attr: i.states for i in self.items if isinstance(i, Flag)}

    def merge(self, other: ClassPlan) -> bool:
        """Take in another instance's text if one text serves both."""
        if (self.base, self.inputs, self.forward) != (
            other.base,
            other.inputs,
            other.forward,
        ) or len(self.items) != len(other.items):
            return False
        merged = []
        for mine, theirs in zip(self.items, other.items, strict=True):
            item = _merge(mine, theirs)
            if item is None:
                return False
            merged.append(item)
        self.items = merged
        if self.shape != other.shape:
            self.shape = max(self.shape, other.shape, key=len)
        return True


def _names_of(condition: str) -> set[str]:
    return set(re.findall(r"[a-z_A-Z]\w*", condition)) - {"or", "and"}


def _entangled(plan: ClassPlan) -> set[str]:
    """Return the names that stand in sums or quotients in a network's class.

    They decide about many layers at once; a network's class has them as numbers,
    as a reader expects, and only plain settings such as `classes` as arguments.
    """
    found: set[str] = set()
    for item in plan.items:
        node = _shown(item)
        for poly in polys_in(node) if node is not None else ():
            if len(poly.terms) > 1 or any(a.args for m, _ in poly.terms for a in m):
                found |= poly.names()
    return found


def _shown(item: Item) -> Node | None:
    if isinstance(item, Flag):
        return None
    if isinstance(item, Member):
        return item.node
    return item.node if item.node is not None else item.first


def _merge(mine: Item, theirs: Item) -> Item | None:
    if isinstance(mine, Flag) and isinstance(theirs, Flag):
        if mine.condition != theirs.condition:
            return None
        return mine._replace(states=mine.states | theirs.states)
    if isinstance(mine, Member) and isinstance(theirs, Member):
        if (mine.attr, mine.condition) != (theirs.attr, theirs.condition):
            return None
        if mine.condition and (mine.node is None or theirs.node is None):
            return theirs if mine.node is None else mine
        return mine if mine.node == theirs.node else None
    if isinstance(mine, Loop) and isinstance(theirs, Loop):
        return _merge_loops(mine, theirs)
    return None


def _merge_loops(mine: Loop, theirs: Loop) -> Loop | None:
    if mine.count != theirs.count:
        return None
    if mine.first is None or theirs.first is None:
        return theirs if mine.first is None else mine
    if (mine.first, mine.first_attr) != (theirs.first, theirs.first_attr):
        return None
    if mine.node is None or theirs.node is None:
        return theirs if mine.node is None else mine
    return mine if (mine.node, mine.attr) == (theirs.node, theirs.attr) else None


# ---- the classes of a network -----------------------------------------------


class Planner:
    """Makes the classes of one network.

    Attributes:
        classes: in the order in which they must be defined.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        self.inplace = inplace(flatten(network))
        self.fixed: dict[str, Poly] = {}
        self.helpers: dict[str, str] = {}
        self.origins: dict[str, str] = {}
        self.classes: list[ClassPlan] = []
        self._known: dict[tuple[str, str], list[ClassPlan]] = {}

    def run(self) -> ClassPlan:
        """Return the class of the network itself, the last one."""
        root = self.network.root
        plan = self._class(root, 0, [], {})
        values = {p.name: p.value for p in root.parameters if isinstance(p.value, int)}
        for name in _entangled(plan) & values.keys():
            self.fixed[name] = Poly.constant(int(values[name]))
        if self.fixed:
            self.classes, self._known = [], {}
            plan = self._class(root, 0, [], self.fixed)
        self.classes.append(plan)
        _name(self.classes, {*self.helpers, *self.origins})
        return plan

    def _class(
        self, group: Group, level: int, fields: list[Field], fixed: Bindings
    ) -> ClassPlan:
        """Return the class of a group, in the names of its constructor.

        Args:
            group: which owns the names of its parts.
            level: how many groups stand between it and its block.
            fields: the block's arguments, for a group within it.
            fixed: names that are plain numbers there.
        """
        own = input_name(level)
        bindings: dict[str, Poly] = {**fixed, own: Poly.name("in_channels")}
        for further in range(level):
            bindings[input_name(further)] = Poly.name(f"outer{further}_channels")
        fields = (
            _fields(group)
            if group.role != "group"
            else [
                Field("in_channels", "int", ""),
                *(Field(f"outer{n}_channels", "int", "") for n in range(level)),
                *(f for f in fields if f.name != "in_channels"),
            ]
        )
        scope = _Scope(self, group, level, bindings, fields, fixed)
        flow = flow_of(group)
        ops = flow.ops
        values = external_values(group)
        names = ["x" if v == group.input else f"x{n + 1}" for n, v in enumerate(values)]
        if group.role == "network":
            names = (
                ["x"]
                if len(self.network.inputs) == 1
                else [port.name for port in self.network.inputs]
            )
        sequential = is_chain(ops, group) and group.indexed
        base = "nn.Sequential" if group.indexed else "nn.Module"
        items = scope.items(ops)
        return ClassPlan(
            group.word if group.role != "group" else group.name,
            base,
            group.doc,
            _shape_text(group, ops, bindings) if group.role != "network" else "",
            fields,
            items,
            names,
            [] if sequential else scope.forward(flow, values, names),
            _out_channels(group, ops, bindings),
            {n: poly_of(v).substitute(bindings) for n, v in group.lets},
        )

    def make(self, group: Group, scope: _Scope) -> Make:
        """Return how a class's instance is made, making the class if need be."""
        level, bindings, fields = scope.level, scope.bindings, scope.fields
        own = group.role == "block"
        inner = 0 if own else level + 1
        plan = self._class(group, inner, fields, {} if own else scope.fixed)
        plan = self._intern(group, plan)
        args = [
            Argument(p.name, _passed(p.value, bindings))
            for p in group.parameters
            if isinstance(p.value, int | float | Dims)
        ]
        if group.role == "group":
            args += [
                Argument(f"outer{n}_channels", Leaf(bindings[input_name(n)]))
                for n in range(inner)
                if input_name(n) in bindings
            ]
        return Make(plan, tuple(args))

    def note(self, step: Step) -> None:
        """Keep what a step's module needs beside torch."""
        form = step.op.torch(step.input_shapes, step.shape)
        assert form.module is not None
        if form.helper:
            self.helpers[form.module.name] = form.helper
        if form.origin:
            self.origins[form.module.name] = form.origin

    def _intern(self, group: Group, plan: ClassPlan) -> ClassPlan:
        """Return a known class that serves as well, or keep this one."""
        key = (group.origin or group.word, plan.word)
        for known in self._known.setdefault(key, []):
            if known.merge(plan):
                return known
        self._known[key].append(plan)
        self.classes.append(plan)
        return plan


def _passed(value: Any, bindings: Bindings) -> Node:
    return node_of(tuple(value) if isinstance(value, Dims) else value, bindings)


class _Scope:
    """The inside of one class."""

    def __init__(
        self,
        planner: Planner,
        group: Group,
        level: int,
        bindings: Bindings,
        fields: list[Field],
        fixed: Bindings,
    ) -> None:
        self.fixed = fixed
        self.planner = planner
        self.group = group
        self.level = level
        self.bindings = bindings
        self.fields = fields
        self.loops: dict[int, Loop | None] = {}
        self.flags: dict[int, str] = {}

    # ---- submodules

    def items(self, ops: Sequence[Op]) -> list[Item]:
        """Return the submodules that some operations need, in order."""
        found: list[Item] = []
        for op in ops:
            if self.group.indexed:
                found += [Member("", a.value) for a in self.entries(op)]
            elif op.copies:
                found += self._loop_items(op)
            elif op.hole:
                found.append(self._hole(op))
            elif op.optional:
                found.append(self._flag(op))
            elif op.node.shared:
                continue
            elif (isinstance(op.node, Step) and is_parameter(op.node)) or not (
                isinstance(op.node, Step) and is_functional(op.node, self.bindings)
            ):
                found.append(Member(op.node.name, self.node(op)))
        return found

    def _flag(self, op: Op) -> Flag:
        condition = _condition(group_of(op).condition, self.bindings)
        there = bool(group_of(op).children)
        return Flag(self._flag_name(op), condition, frozenset((there,)))

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
            self.planner.note(op.node)
            return _module_node(op.node, self._in_place(op.node), bindings)
        group = op.node
        ops = flow_of(group).ops
        if (
            group.role == "group"
            and is_chain(ops, group)
            and external_values(group) == (group.input,)
        ):
            return self._sequential(group, ops, level + 1, bindings)
        return self.planner.make(group, self)

    def _in_place(self, step: Step) -> bool:
        return step.output in self.planner.inplace

    def _sequential(
        self, group: Group, ops: Sequence[Op], level: int, outer: Bindings
    ) -> Node:
        """Return a chain as a Sequential, in the names of the class around it."""
        entry = poly_of(channels(group.input_shape)).substitute(outer)
        bindings = {**outer, input_name(level): entry}
        inner = _Scope(self.planner, group, level, bindings, self.fields, self.fixed)
        entries: list[Argument] = []
        for op in ops:
            entries += inner.entries(op)
        if group.indexed:
            return Call("nn.Sequential", tuple(entries), spread=len(entries) > 1)
        named = Call("OrderedDict", tuple(entries), spread=True)
        return Call("nn.Sequential", (Argument("", named),))

    def entries(self, op: Op) -> list[Argument]:
        """Return the arguments of a Sequential that an operation adds."""
        name = "" if self.group.indexed else op.node.name
        if not op.copies:
            return [Argument(name, self.node(op))]
        assert isinstance(op.node, Group)
        if self.group.indexed and all(len(copy) == 1 for copy in op.copies):
            nodes = [self.node(copy[0]) for copy in op.copies]
            general = generalise(nodes) if len(nodes) > 1 else None
            if general is not None:
                count = poly_of(op.node.count).substitute(self.bindings)
                return [Argument("", Star(general, count, INDEX in names_in(general)))]
        return [a for copy in op.copies for one in copy for a in self.entries(one)]

    def _loop_items(self, op: Op) -> list[Item]:
        if loop := self.loop(op):
            return [loop]
        return self.items([one for copy in op.copies for one in copy])

    def loop(self, op: Op) -> Loop | None:
        """Return the loop that makes alike submodules, or None if they differ."""
        assert isinstance(op.node, Group)
        if self.group.indexed:
            return None
        modules = [
            [
                o
                for o in unrolled(copy)
                if not (
                    isinstance(o.node, Step) and is_functional(o.node, self.bindings)
                )
            ]
            for copy in op.copies
        ]
        if any(len(copy) != 1 for copy in modules):
            return None
        count = poly_of(op.node.count).substitute(self.bindings)
        if count.number is not None and len(modules) < 2:
            return None
        if op.output not in self.loops:
            self.loops[op.output] = self._new_loop(op, count, [m[0] for m in modules])
        return self.loops[op.output]

    def _new_loop(self, op: Op, count: Poly, modules: Sequence[Op]) -> Loop | None:
        nodes = [self.node(module) for module in modules]
        names = [module.node.name for module in modules]
        if len(nodes) < 2:
            return Loop(count, names[0], None, nodes[0], None)
        general, attr = generalise(nodes), _general_name(names)
        if general is None or attr is None or not self._alone(op):
            return None
        if self._loop_text(op, "x") is None:
            return None
        return Loop(count, names[0], attr, nodes[0], general)

    def _alone(self, op: Op) -> bool:
        """Return whether the loop's are the only submodules of the class."""
        return all(
            other is op
            or (
                isinstance(other.node, Step)
                and is_functional(other.node, self.bindings)
            )
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
        writer.run([op for op in ops if not (is_network and op.training)])
        if is_network and len(outputs) > 1:
            self._outputs(writer, [op for op in ops if op.training], outputs)
        else:
            writer.finish(outputs[0])
        return writer.lines

    def _loops_or_copies(self, op: Op) -> Iterator[Op]:
        if op.copies and self.loop(op) is None:
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
        return f"self[{op.node.name}]" if self.group.indexed else f"self.{op.node.name}"

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


def _module_node(step: Step, in_place: bool, bindings: Bindings) -> Node:
    form = step.op.torch(step.input_shapes, step.shape)
    assert form.module is not None, step.path
    first = _call(form.module, bindings)
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
    for name, poly in bindings.items():
        text = re.sub(rf"{re.escape(name)}(?![\w:])", poly.text(), text)
    return text


def _general_name(names: list[str]) -> str | None:
    """Return the names of a loop's submodules as one f-string over the index."""
    found = [re.fullmatch(r"(.*?)(\d+)", name) for name in names]
    matches = [m for m in found if m is not None]
    if len(matches) < len(names) or len({m[1] for m in matches}) > 1:
        return None
    numbers = [int(m[2]) for m in matches]
    start = numbers[0]
    if numbers != list(range(start, start + len(numbers))):
        return None
    offset = f" + {start}" if start else ""
    return f"{matches[0][1]}{{{INDEX}{offset}}}"


def _fields(group: Group) -> list[Field]:
    fields = [Field("in_channels", "int", "")] if group.role != "network" else []
    for parameter in group.parameters:
        value, default = parameter.value, parameter.default
        if parameter.name == "in_channels":
            continue
        if group.role == "network":
            default = value
        if isinstance(value, bool) or not isinstance(value, int | float | Dims):
            continue
        kind = "float" if isinstance(value, float) else "int"
        text = "" if default is None else _default_text(default, kind)
        fields.append(Field(parameter.name, kind, text))
    return fields


def _default_text(value: Any, kind: str) -> str:
    if isinstance(value, Dims):
        return str(int(value[0])) if len(set(value)) == 1 else ""
    return repr(float(value)) if kind == "float" else str(int(value))


def _out_channels(group: Group, ops: Sequence[Op], bindings: Bindings) -> Poly | None:
    """Return the channels that a class gives, in the names of its constructor."""
    for op in reversed(ops):
        if op.output != group.output:
            continue
        if op.copies and isinstance(op.node, Group):
            grown = affine([poly_of(channels(c.shape)) for c in op.node.children])
            if grown is not None and isinstance(grown.value, Poly):
                last = poly_of(op.node.count) - Poly.constant(1)
                return grown.value.substitute({INDEX: last}).substitute(bindings)
        return poly_of(channels(op.node.shape)).substitute(bindings)
    return None


def _shape_text(group: Group, ops: Sequence[Op], bindings: Bindings) -> str:
    """Return ``N x in_channels x H x W to N x 4 * width x H' x W'``."""
    before = _dims_text("in_channels", group.input_shape)
    channels = _out_channels(group, ops, bindings)
    if channels is None:
        return f"{before} to the same"
    same = sizes(group.shape) == sizes(group.input_shape)
    after = _dims_text(channels.text(2), group.shape, "" if same else "'")
    return f"{before} to {after}"


def _dims_text(count: str, shape: Shape, mark: str = "") -> str:
    if len(shape) < 3:
        return f"N x {count}"
    if isinstance(shape, Last):
        return f"N x H{mark} x W{mark} x {count}"
    return f"N x {count} x H{mark} x W{mark}"


def camel(word: str) -> str:
    """Return a class name: ``basic_block`` becomes ``BasicBlock``."""
    if "_" not in word:
        return word[:1].upper() + word[1:]
    return "".join(part[:1].upper() + part[1:] for part in word.split("_"))


_TAKEN = frozenset(("F", "NamedTuple", "OrderedDict", "Tensor"))


def _name(classes: list[ClassPlan], reserved: set[str]) -> None:
    """Give every class its own name, the network's first."""
    taken = set(_TAKEN) | reserved
    for plan in reversed(classes):
        if plan is classes[-1]:
            taken |= {camel(plan.word), f"{camel(plan.word)}Output"}
            plan.name = (
                camel(plan.word)
                if camel(plan.word) not in _TAKEN
                else camel(plan.word) + "Net"
            )
    for plan in classes[:-1]:
        name, number = camel(plan.word), 1
        while name in taken:
            number += 1
            name = f"{camel(plan.word)}{number}"
        taken.add(name)
        plan.name = name
