"""What the `forward` of a class does, as a list of operations in order.

Transparent groups of the IR disappear here: what remains are steps, submodules, loops
over similar submodules, and shortcuts that may or may not have a projection.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from archdsl.ir import OWNERS, Group, Port, Step
from archdsl.limits import MAX_PARTS


class Op(NamedTuple):
    """One operation of a `forward`.

    Attributes:
        node: the step or group that it comes from.
        reads: numbers of the values that it reads, in order.
        output: number of the value that it defines.
        extras: for a block or braces with several outputs, the numbers of the others,
            with their names.
        statement: operations of one chain share this number.
        label: the spec's name for the output, empty if it has none.
        copies: for a loop, the operations of each of its copies; for a guard, the
            guarded operations, if they exist in this call.
        hole: for a shortcut, name of the optional projection.
        training: whether it is only needed for outputs of the training mode.
        optional: whether it is the sum of an optional shortcut, even if this call has
            none.
        before: operations that the body gets before that sum, if there is one.
        again: whether an earlier operation of the class has the same weights.
    """

    node: Step | Group
    reads: tuple[int, ...]
    output: int
    statement: int
    label: str = ""
    extras: tuple[tuple[int, str], ...] = ()
    copies: tuple[tuple[Op, ...], ...] = ()
    hole: str = ""
    training: bool = False
    optional: bool = False
    before: tuple[Op, ...] = ()
    again: bool = False

    @property
    def is_loop(self) -> bool:
        """Whether it represents copies; there may be none."""
        return isinstance(self.node, Group) and self.node.role == "repeat"

    @property
    def is_guard(self) -> bool:
        """Whether it only exists under a condition."""
        return isinstance(self.node, Group) and self.node.role == "guard"

    @property
    def outputs(self) -> tuple[int, ...]:
        """The numbers of the values that it defines, the main one first."""
        return self.output, *[value for value, _ in self.extras]

    @property
    def is_merge(self) -> bool:
        """Whether it joins several values."""
        return isinstance(self.node, Step) and self.node.op.arity != 1


class Flow(NamedTuple):
    """The operations of a class, in order.

    Attributes:
        ops: the operations.
        renamed: values of the IR that have a different number here.
    """

    ops: tuple[Op, ...]
    renamed: Mapping[int, int]

    def value(self, number: int) -> int:
        """Return the number that a value of the IR has here."""
        return self.renamed.get(number, number)


class Slots(NamedTuple):
    """The values that a group reads from outside, as the arguments of its class.

    A group that is used again with the same weights has the same arguments each time,
    even if two of them are the same value in one of the places.

    Attributes:
        values: one value per argument; the group's input first, if it is read.
        numbers: distinct numbers for them in the operations of the class.
        reads: the numbers that parts read instead of the values, keyed by the identity
            of the part and the index among its inputs.
        names: names for them in the class, one per argument.
    """

    values: tuple[int, ...]
    numbers: tuple[int, ...]
    reads: Mapping[tuple[int, int], int]
    names: tuple[str, ...]


class Flows:
    """The operations of all groups that are namespaces, each computed once.

    Args:
        root: root group of the network, which must outlive this object.
    """

    def __init__(self, root: Group) -> None:
        self._flows: dict[int, Flow] = {}
        self._slots: dict[int, Slots] = {}
        self._alike: dict[str, list[Group]] = {}
        # For the parts of a block with several inputs, those inputs.
        self._around: dict[int, tuple[Port, ...]] = {}
        stack: list[tuple[Step | Group, tuple[Port, ...]]] = [(root, ())]
        while stack:
            node, ports = stack.pop()
            if isinstance(node, Group):
                if ports:
                    self._around[id(node)] = ports
                inner = node.ports if node.role == "block" else ports
                stack.extend([(child, inner) for child in reversed(node.children)])
                if node.role in OWNERS:
                    self._alike.setdefault(node.path, []).append(node)

    def of(self, owner: Group) -> Flow:
        """Return the operations of the class of a group that is a namespace.

        In classes that are sequences of modules, guards, repeats without copies and
        empty modules are kept. In other classes they are not: calls with and without
        that part have different classes.
        """
        known = self._flows.get(id(owner))
        if known is None:
            known = self._flows[id(owner)] = self._flow(owner)
        return known

    def _flow(self, owner: Group) -> Flow:
        flattener = _Flattener(self, owner, sequence=True)
        ops = tuple(flattener.children(owner.children, owner.input))
        if flattener.optional and not is_chain(ops, owner):
            flattener = _Flattener(self, owner, sequence=False)
            ops = tuple(flattener.children(owner.children, owner.input))
        return Flow(ops, flattener.renamed)

    def external(self, group: Group) -> tuple[int, ...]:
        """Return the values that a group reads from outside, its input first."""
        return self.slots(group).values

    def slots(self, group: Group) -> Slots:
        """Return the arguments of a group's class."""
        known = self._slots.get(id(group))
        if known is None:
            # A projection is not a namespace, and is handled by itself.
            alike = self._alike[group.path] if group.role in OWNERS else [group]
            shapes = {len([*_parts(one)]) for one in alike}
            self._find_slots(alike if len(shapes) == 1 else [group])
            known = self._slots[id(group)]
        return known

    def _find_slots(self, alike: Sequence[Group]) -> None:
        """Find the arguments of groups that share weights, step by step in all."""
        first, entry = alike[0], tuple([group.input for group in alike])
        made: set[int] = set()
        found: dict[tuple[int, ...], None] = {}
        places: list[tuple[tuple[int, int], tuple[int, ...]]] = []
        for nodes in zip(*map(_parts, alike), strict=True):
            part = nodes[0]
            opaque = isinstance(part, Step) or part.role in OWNERS
            for place, values in enumerate(self._read_together(nodes)):
                if values[0] not in made:
                    places.append(((id(part), place), values))
                    if opaque:
                        found[values] = None
            if opaque:
                made.update((part.output,) if isinstance(part, Step) else part.outputs)
        for place, value in enumerate(first.outputs):
            if value not in made:
                found[tuple([group.outputs[place] for group in alike])] = None
        named = _by_values([group.ports for group in alike]) or {entry: "x"}
        keys = [key for key in named if key in found]
        keys += [key for key in found if key not in named]
        around = _by_values([self._around.get(id(group), ()) for group in alike])
        names: list[str] = []
        for n, key in enumerate(keys, 1):
            name = named.get(key) or around.get(key) or f"x{n}"
            names.append(f"{name}_{n}" if name in names else name)
        for n, group in enumerate(alike):
            numbers: list[int] = []
            for place, key in enumerate(keys):
                # Values are positive and the flow's own numbers small, so this is free.
                taken = key[n] in numbers
                numbers.append(-MAX_PARTS - place if taken else key[n])
            by_key = dict(zip(keys, numbers, strict=True))
            reads = {
                place: by_key[values]
                for place, values in places
                if n == 0 and by_key.get(values, values[0]) != values[0]
            }
            values = tuple([key[n] for key in keys])
            self._slots[id(group)] = Slots(values, tuple(numbers), reads, tuple(names))

    def _read_together(
        self, nodes: Sequence[Step | Group]
    ) -> Iterator[tuple[int, ...]]:
        """Yield what corresponding parts of groups with the same weights read."""
        reads = [
            node.inputs
            if isinstance(node, Step)
            else self.external(node)
            if node.role in OWNERS
            else (node.input,)
            for node in nodes
        ]
        yield from zip(*reads, strict=True)

    def is_shared(self, group: Group) -> bool:
        """Return whether a group with a name of its own shares weights with others."""
        return len(self._alike[group.path]) > 1

    def is_sequence(self, group: Group) -> bool:
        """Return whether a group becomes an `nn.Sequential` of modules alone."""
        if group.role != "group" or self.external(group) != (group.input,):
            return False
        ops = self.of(group).ops
        return is_chain(ops, group) and all(
            one.node.name.isidentifier() or group.indexed for one in unrolled(ops)
        )


class _Flattener:
    """Turns groups into operations, and numbers values that only exist in code.

    Attributes:
        optional: whether it encountered guards, repeats without copies, or empty
            modules.
        kept: whether empty modules are called anyway.
        projections: names of the projections that there are: a shortcut that would have
            one by such a name, in another round of a repeat, has none in any call.
    """

    def __init__(self, flows: Flows, owner: Group, sequence: bool) -> None:
        self.flows = flows
        self.sequence = sequence
        self.guards = sequence and owner.indexed
        self.reads = flows.slots(owner).reads
        self.optional = False
        self.kept = False
        self.projections = {
            part.name
            for part in _parts(owner)
            if isinstance(part, Group) and part.role == "shortcut" and part.children
        }
        self.replaced: dict[tuple[int, int], int] = {}
        self.renamed: dict[int, int] = {}
        self.fresh = 0
        self._met: set[str] = set()

    def children(self, children: Iterable[Step | Group], entry: int) -> Iterator[Op]:
        """Yield the operations of the children of a group, in order.

        Args:
            children: the children.
            entry: the value that flows into the structure they belong to.
        """
        for child in children:
            if isinstance(child, Step):
                yield self._step(child)
            elif child.role in OWNERS:
                empty = next(child.steps(), None) is None
                self.optional |= empty
                if self.sequence or self.kept or not empty:
                    yield self._module(child)
            elif child.role == "repeat":
                yield from self._repeat(child)
            elif child.role == "guard" and self.guards:
                yield self._guard(child)
            elif child.role == "structure":
                yield from self._structure(child, entry)
            else:
                yield from self.children(child.children, child.input)

    def _read(self, value: int) -> int:
        return self.renamed.get(value, value)

    def _reads(self, part: Step | Group, values: Sequence[int]) -> tuple[int, ...]:
        """Return what a step or module reads, in the numbers of the class."""
        found = []
        for place, value in enumerate(values):
            number = self.reads.get((id(part), place))
            number = self._read(value) if number is None else number
            found.append(self.replaced.get((part.output, place), number))
        return tuple(found)

    def _entry(self, group: Group) -> int:
        """Return the input of a transparent group, in the numbers of the class."""
        number = self.reads.get((id(group), 0))
        return self._read(group.input) if number is None else number

    def _step(self, step: Step) -> Op:
        reads = self._reads(step, step.inputs)
        label = step.name if step.labelled else ""
        return Op(
            step,
            reads,
            step.output,
            step.statement,
            label,
            training=step.training,
            again=self._is_again(step),
        )

    def _is_again(self, node: Step | Group) -> bool:
        """Return whether a step or group with this path was encountered before."""
        met = node.path in self._met
        self._met.add(node.path)
        return met

    def _module(self, group: Group) -> Op:
        reads = self._reads(group, self.flows.external(group))
        return Op(
            group,
            reads,
            group.output,
            group.statement,
            group.name,
            tuple([(port.value, port.name) for port in group.extras]),
            training=group.training,
            again=self._is_again(group),
        )

    def _structure(self, group: Group, entry: int) -> Iterator[Op]:
        if group.word == "optional" and group.condition is not None:
            yield self._optional(group, entry)
            return
        outer = entry if group.word == "optional" else group.input
        # A transformation may have merged what the sum adds.
        adds = bool(group.children) and isinstance(group.children[-1], Step)
        for child in group.children:
            if isinstance(child, Step) or child.role != "shortcut" or not adds:
                yield from self.children((child,), outer)
            elif (child.condition is None and not child.name) or (
                not child.children and child.name in self.projections
            ):
                yield from self._kept_shortcut(child, group)
            else:
                yield self._shortcut(child, group)

    def _kept_shortcut(self, shortcut: Group, structure: Group) -> Iterator[Op]:
        """Yield the operations of a shortcut, including calls of empty modules.

        So calls of a block with and without layers in its shortcut share one class.
        """
        kept, self.kept = self.kept, True
        ops = tuple(self.children((shortcut,), structure.input))
        self.kept = kept
        if ops and shortcut.output == shortcut.input:
            # All are empty, so the second operand of the sum is the input.
            self.fresh -= 1
            self.replaced[structure.output, 1] = self.fresh
            ops = (*ops[:-1], ops[-1]._replace(output=self.fresh))
        yield from ops

    def _optional(self, group: Group, entry: int) -> Op:
        """Return the sum with the input, whether or not it exists, as one operation."""
        body = self._read(group.input)
        output = group.output
        if not group.children:
            self.fresh -= 1
            output = self.fresh
            self.renamed[group.input] = output
        reads = (body, self._read(entry))
        before = tuple(self.children(group.children[:-1], entry))
        return Op(group, reads, output, group.statement, optional=True, before=before)

    def _shortcut(self, shortcut: Group, structure: Group) -> Op:
        """Return the projection, whether or not it exists, as one operation."""
        output = shortcut.output
        if not shortcut.children:
            # The sum reads the projection's value, which here is the input itself.
            self.fresh -= 1
            output = self.fresh
            add = structure.children[-1]
            assert isinstance(add, Step)
            self.replaced[add.output, 1] = output
        return Op(
            shortcut,
            (self._entry(shortcut),),
            output,
            shortcut.statement,
            hole=shortcut.name,
        )

    def _guard(self, guard: Group) -> Op:
        """Return a guarded part, whether or not it exists, as one operation."""
        self.optional = True
        entry, output = self._entry(guard), guard.output
        inner = tuple(self.children(guard.children, guard.input))
        if not inner:
            self.fresh -= 1
            output = self.fresh
            self.renamed[guard.input] = output
        copies = (inner,) if inner else ()
        return Op(guard, (entry,), output, guard.statement, copies=copies)

    def _repeat(self, group: Group) -> Iterator[Op]:
        if not group.children:
            self.optional = True
            if not self.sequence:
                return
        copies = []
        for copy in group.children:
            assert isinstance(copy, Group)
            copies.append(tuple(self.children(copy.children, copy.input)))
        if all(_is_link(c, g) for c, g in zip(copies, group.children, strict=True)):
            yield Op(
                group,
                (self._entry(group),),
                self._read(group.output),
                group.statement,
                copies=tuple(copies),
                training=group.training,
            )
        else:
            for ops in copies:
                yield from ops


def _by_values(
    ports: Sequence[tuple[Port, ...]],
) -> dict[tuple[int, ...], str]:
    """Return the names of the inputs of blocks that share weights, by their values in
    each of them.
    """
    columns = zip(*ports, strict=True)
    return {tuple([p.value for p in column]): column[0].name for column in columns}


def _parts(owner: Group) -> Iterator[Step | Group]:
    """Yield steps and groups of a class, transparent groups before their children."""
    stack: list[Step | Group] = [*reversed(owner.children)]
    while stack:
        node = stack.pop()
        yield node
        if isinstance(node, Group) and node.role not in OWNERS:
            stack.extend(reversed(node.children))


def _is_link(ops: tuple[Op, ...], copy: Step | Group) -> bool:
    """Return whether a copy only reads the output of the copy before it.

    Parts with several outputs are written one by one: in a loop, the next iteration
    would replace the variables of this one.
    """
    assert isinstance(copy, Group)
    known = {ops[0].reads[0] if ops else copy.input}
    for op in ops:
        if op.extras or not known.issuperset(op.reads):
            return False
        known.add(op.output)
    return bool(ops) and ops[-1].output != ops[0].reads[0]


def is_chain(ops: tuple[Op, ...], group: Group) -> bool:
    """Return whether every operation only reads the output of the one before it and is
    registered after it, and nothing else flows out.
    """
    if group.extras or group.registered:
        return False
    value = group.input
    for op in ops:
        if (
            op.reads != (value,)
            or op.extras
            or op.hole
            or op.is_merge
            or op.optional
            or is_own_parameter(op)
        ):
            return False
        if op.again:
            return False  # a Sequential would contain its weights twice
        if "." in op.node.name:
            return False  # it would contain a container that cannot be called
        if op.is_loop and not all(
            is_chain(copy, _copy(op, n)) for n, copy in enumerate(op.copies)
        ):
            return False
        if op.is_guard and any(
            len(inner) != 1 or not is_chain(inner, _guard(op)) for inner in op.copies
        ):
            return False
        value = op.output
    # If a guarded part at the end is absent, the result is the value before it.
    return bool(ops) and (value == group.output or ops[-1].is_guard)


def is_own_parameter(op: Op) -> bool:
    """Return whether an operation applies a parameter of the class itself."""
    if isinstance(op.node, Group):
        return False
    form = op.node.form
    return form.function is not None and "{self}" in form.function


def _guard(op: Op) -> Group:
    """Return the group of a guard with its input in the numbers of the class."""
    assert isinstance(op.node, Group)
    return op.node.model_copy(update={"input": op.reads[0]})


def _copy(op: Op, number: int) -> Group:
    assert isinstance(op.node, Group)
    copy = op.node.children[number]
    assert isinstance(copy, Group)
    return copy


def unrolled(ops: Iterable[Op]) -> Iterator[Op]:
    """Yield operations with loops expanded."""
    for op in ops:
        if op.is_loop:
            for copy in op.copies:
                yield from unrolled(copy)
        else:
            yield op
