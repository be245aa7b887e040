"""Merge convolutions that read the same value."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from archdsl.conditions import condition_parameters, label_parameters
from archdsl.ir import OWNERS, Group, Network, Step
from archdsl.ir.graph import plain_layer
from archdsl.ir.nodes import changed, with_own_outputs, with_root, with_values
from archdsl.layer import Layer, kind
from archdsl.naming import input_name
from archdsl.symbolic import is_symbolic, poly_of, simplify
from archdsl.transforms.base import (
    Transformation,
    new_identity,
    numbered,
    plain,
)
from archdsl.transforms.recipe import TensorOrigin, as_before, zeros
from archdsl.values import Last, Shape, channels

# Groups from which a convolution can be moved out, whatever else they contain.
_OPEN = (*OWNERS, "structure", "branch", "shortcut")


@dataclass(frozen=True)
class MergeParallel(Transformation):
    """Merge convolutions that read one value with equal windows into one.

    The new convolution has the channels of all of them; a `slice` extracts those of
    each. For example, three 1x1 convolutions read the input of an Inception module.
    Weights are concatenated, so results stay the same, even in training. `linear`
    layers are merged likewise.

    The new convolutions are named `merged1` and so on, in the innermost part that
    contains the old ones. A convolution stays if it is in a repeat, is used twice or
    has groups, or if it is in a part that also reads the value elsewhere, or whose
    numbers depend on the channels of its input. In a `seq`, an `identity` takes the
    place of a merged convolution.
    """

    def rewrite(self, network: Network) -> Network:
        """Return the network with merged convolutions."""
        found = joints(network)
        return _Rewriter(network, found).network() if found else network

    def recipe(self, network: Network) -> dict[str, TensorOrigin]:
        """Return from which old tensors each new one comes."""
        found = as_before(self.rewrite(network))
        for one in joints(network):
            found |= one.recipe()
        return found


class Joint(NamedTuple):
    """Convolutions that become one.

    Attributes:
        path: path of the new one.
        before: id of the part that it is put before.
        steps: the convolutions, in order.
        around: for each, the groups that get its slice as input, outermost first.
        widths: output channels of each, in terms of the owner's parameters.
        reads: channels of their input, likewise.
    """

    path: str
    before: int
    steps: tuple[Step, ...]
    around: tuple[tuple[Group, ...], ...]
    widths: tuple[int, ...]
    reads: int

    @property
    def op(self) -> Layer:
        """The convolution that replaces all of them."""
        bias = any(len(_tensors(step)) > 1 for step in self.steps)
        op = plain_layer(self.steps[0].op)
        return op.replace(width=sum(self.widths), bias=bias)

    @property
    def bounds(self) -> Iterator[tuple[int, int]]:
        """For each, its first channel and the one after its last."""
        start = 0
        for width in self.widths:
            yield start, start + width
            start += width

    def recipe(self) -> dict[str, TensorOrigin]:
        """Return from which old tensors the new convolution's come."""
        keys = [f"{s.path}.{name}" for s in self.steps for name in _tensors(s)]
        bounds = [(int(start), int(stop)) for start, stop in self.bounds]

        def own(tensors: Sequence[Any]) -> Iterator[dict[str, Any]]:
            waiting = iter(tensors)
            for step in self.steps:
                yield {name: next(waiting) for name in _tensors(step)}

        def weight(first: Any, *others: Any) -> Any:
            total = zeros(first, bounds[-1][1], *first.shape[1:])
            for (start, stop), one in zip(bounds, own((first, *others)), strict=True):
                total[start:stop] = one["weight"]
            return total

        def bias(first: Any, *others: Any) -> Any:
            total = zeros(first, bounds[-1][1])
            for (start, stop), one in zip(bounds, own((first, *others)), strict=True):
                if "bias" in one:
                    total[start:stop] = one["bias"]
            return total

        made = {f"{self.path}.weight": TensorOrigin(tuple(keys), weight)}
        if self.op.tensors(*self.steps[0].input_shapes)[1:]:
            made[f"{self.path}.bias"] = TensorOrigin(tuple(keys), bias)
        return made


class _Entry(NamedTuple):
    """A convolution that could be moved in front of the part that contains it.

    Attributes:
        step: the convolution.
        around: the groups that would get its slice as input, outermost first.
    """

    step: Step
    around: tuple[Group, ...]


def joints(network: Network) -> list[Joint]:
    """Return the convolutions that can be merged."""
    return _Finder(network).run()


class _Finder:
    def __init__(self, network: Network) -> None:
        self.root = network.root
        self.uses = Counter(step.path for step in network.steps())
        self.found: list[Joint] = []

    def run(self) -> list[Joint]:
        self._visit(self.root, self.root, self.root, 0)
        return self.found

    def _visit(
        self, group: Group, owner: Group, block: Group, level: int
    ) -> list[_Entry]:
        """Merge convolutions in a group; return those that could be moved before it.

        Args:
            group: the group.
            owner: the group that owns it.
            block: the block or network whose parameters its numbers use.
            level: number of groups between the owner and the block.
        """
        if group.role in OWNERS:
            owner, level = group, level + 1
        if group.role in ("network", "block"):
            block, level = group, 0
        places: list[tuple[Step | Group, list[_Entry]]] = []
        for child in group.children:
            if isinstance(child, Group):
                places.append((child, self._visit(child, owner, block, level)))
            elif self._is_able(child):
                places.append((child, [_Entry(child, ())]))
        if group.role == "structure":
            left = [entry for _, entries in places for entry in entries]
        else:
            left = self._merge(places, owner, block)
        if group.condition is not None or group.shared or group.role not in _OPEN:
            return []
        if group.ports:
            return []  # its input has a name, so several parts may read it
        if group.role == "structure":
            return left
        alone = [v for s in group.steps() for v in s.inputs].count(group.input) == 1
        found = []
        for entry in left:
            if entry.step.inputs[0] != group.input:
                found += [] if group.role in OWNERS else [entry]
            elif alone and (
                group.role not in OWNERS
                or input_name(level) not in _names(group, entry)
            ):
                found.append(_Entry(entry.step, (group, *entry.around)))
        return found

    def _merge(
        self,
        places: Sequence[tuple[Step | Group, list[_Entry]]],
        owner: Group,
        block: Group,
    ) -> list[_Entry]:
        """Merge convolutions in the parts of a group; return the other ones."""
        alike: defaultdict[Any, list[tuple[Step | Group, _Entry]]] = defaultdict(list)
        for part, entries in places:
            for entry in entries:
                op = plain_layer(entry.step.op).replace(width=1, bias=None)
                alike[entry.step.inputs[0], op].append((part, entry))
        rest = []
        for found in alike.values():
            if len(found) == 1 or owner.indexed:
                rest += [entry for _, entry in found]
                continue
            self.found.append(
                Joint(
                    self._name(owner),
                    id(found[0][0]),
                    tuple(entry.step for _, entry in found),
                    tuple(entry.around for _, entry in found),
                    tuple(_outside(e.step.shape, e, block) for _, e in found),
                    _outside(found[0][1].step.input_shapes[0], found[0][1], block),
                )
            )
        return rest

    def _name(self, owner: Group) -> str:
        taken = {*self.uses, *(joint.path for joint in self.found)}
        taken |= {part for path in self.uses for part in _prefixes(path)}
        prefix, number = f"{owner.path}." if owner.path else "", 1
        while f"{prefix}merged{number}" in taken:
            number += 1
        return f"{prefix}merged{number}"

    def _is_able(self, step: Step) -> bool:
        kernel = step.op.as_kernel(step.input_shapes, step.shape)
        return (
            kernel is not None
            and kernel.groups == 1
            and step.op.scales
            and "width" in step.op.fields
            and self.uses[step.path] == 1
            and not step.training
            and not isinstance(step.shape, Last)
        )


def _outside(shape: Shape, entry: _Entry, block: Group) -> int:
    """Return the channels of a shape, in terms of the parameters of a block around it.

    It is a plain number if an expression uses other names.
    """
    value = channels(shape)
    poly = poly_of(value)
    for group in reversed(entry.around):
        if group.role == "block":
            poly = poly.substitute({n: poly_of(v) for n, v in group.lets})
            known = {p.name: p.value for p in group.parameters}
            if not all(isinstance(known.get(name), int) for name in poly.names()):
                return int(value)
            poly = poly.substitute({n: poly_of(known[n]) for n in poly.names()})
    lets = {name: poly_of(value) for name, value in block.lets}
    if not poly.names() <= {*(p.name for p in block.parameters), *lets}:
        return int(value)
    return simplify(int(value), poly)


def _names(group: Group, entry: _Entry) -> set[str]:
    """Return the names that a group's numbers need if a convolution is moved out."""
    found: set[str] = set()
    waiting: list[Step | Group] = [group]
    while waiting:
        node = waiting.pop()
        if isinstance(node, Step):
            if node is not entry.step:
                found |= _in_numbers(*vars(node.op).values(), *node.input_shapes)
                found |= _in_numbers(node.shape) | label_parameters(node.pattern)
            continue
        passed = any(node is one for one in (group, *entry.around))
        own = [
            p.value for p in node.parameters if not passed or p.name != "in_channels"
        ]
        if node is not group:
            found |= _in_numbers(*own, node.shape, node.count)
            found |= _in_numbers(() if passed else node.input_shape)
            found |= (
                set()
                if node.condition is None
                else condition_parameters(node.condition)
            )
        if node is group or node.role != "block":  # a block has names of its own
            found |= _in_numbers(*[value for _, value in node.lets])
            waiting += node.children
    return found


def _in_numbers(*values: Any) -> set[str]:
    """Return the names in the expressions of numbers."""
    found: set[str] = set()
    for value in values:
        if isinstance(value, tuple):
            found |= _in_numbers(*value)
        elif isinstance(value, int) and is_symbolic(value):
            found |= poly_of(value).names()
    return found


def _prefixes(path: str) -> Iterator[str]:
    while path:
        yield path
        path = path.rpartition(".")[0]


def _tensors(step: Step) -> list[str]:
    return [tensor.name for tensor in step.op.tensors(*step.input_shapes)]


class _Rewriter:
    """Builds the network with the merged convolutions.

    Attributes:
        instead: for outputs of convolutions, the value that is read instead.
        entries: for groups, by id, the new input.
        before: for parts, by id, the layers to put before them.
    """

    def __init__(self, network: Network, found: Sequence[Joint]) -> None:
        self.old = network
        self.kept = numbered(network)
        self.instead: dict[int, int] = {}
        self.entries: dict[int, tuple[int, Shape]] = {}
        self.before: defaultdict[int, list[Step]] = defaultdict(list)
        steps = list(network.steps())
        inputs = (port.value for port in network.inputs)
        self.values = max([*inputs, *(step.output for step in steps)])
        self.statements = max(step.statement for step in steps)
        for one in found:
            self._add(one)

    def _add(self, joint: Joint) -> None:
        first = joint.steps[0]
        shape = (sum(joint.widths), *plain(first.shape[1:]))
        read = (joint.reads, *plain(first.input_shapes[0][1:]))
        like = changed(first, input_shapes=(read,))
        whole = self._new(like, joint.path, joint.op, shape)
        self.before[joint.before].append(whole)
        slicing: Any = kind("slice")
        parts = zip(joint.steps, joint.around, joint.bounds, strict=True)
        for number, (step, around, (start, stop)) in enumerate(parts, 1):
            last = number == len(joint.steps)
            op = slicing(start=start, stop=None if last else stop)
            shape = (stop - start, *shape[1:])
            part = self._new(whole, f"{joint.path}_{number}", op, shape, whole)
            self.before[joint.before].append(part)
            self.instead[step.output] = part.output
            inside = shape
            for group in around:
                self.entries[id(group)] = part.output, inside
                if group.role == "block":  # a block has names of its own
                    inside = plain(shape)

    def _new(
        self, like: Step, path: str, op: Layer, shape: Shape, reads: Step | None = None
    ) -> Step:
        self.values += 1
        self.statements += 1
        return changed(
            like,
            name=path.rpartition(".")[2],
            path=path,
            labelled=False,
            pattern=(),
            op=op,
            inputs=like.inputs if reads is None else (reads.output,),
            input_shapes=like.input_shapes if reads is None else (reads.shape,),
            output=self.values,
            shape=shape,
            statement=self.statements,
        )

    def network(self) -> Network:
        root = self._group(self.old.root)
        return with_root(self.old, root, with_values(self.old.outputs, self._value))

    def _value(self, number: int) -> int:
        return self.instead.get(number, number)

    def _group(self, group: Group) -> Group:
        children: list[Step | Group] = []
        for child in group.children:
            children += [self._step(one) for one in self.before[id(child)]]
            if isinstance(child, Group):
                children.append(self._group(child))
            elif child.output not in self.instead:
                children.append(self._step(child))
            elif child.path in self.kept:
                children.append(self._identity(child))
        entry, shape = self.entries.get(id(group), (None, group.input_shape))
        made: dict[str, Any] = {
            "input": self._value(group.input) if entry is None else entry,
            "input_shape": shape,
            "ports": with_values(group.ports, self._value),
            "output": self._value(group.output),
            "extras": with_values(group.extras, self._value),
            "children": tuple(children),
        }
        if entry is not None:
            made["parameters"] = tuple(
                one.model_copy(update={"value": channels(shape)})
                if one.name == "in_channels"
                else one
                for one in group.parameters
            )
        return with_own_outputs(changed(group, **made))

    def _step(self, step: Step) -> Step:
        inputs = tuple([self._value(number) for number in step.inputs])
        return step if inputs == step.inputs else changed(step, inputs=inputs)

    def _identity(self, step: Step) -> Step:
        """Return the `identity` that replaces a merged convolution in a `seq`."""
        value = self.instead.pop(step.output)
        made: Mapping[str, Any] = {
            "op": new_identity(),
            "inputs": (value,),
            "input_shapes": (step.shape,),
            "labelled": True,
        }
        return changed(step, **made)
