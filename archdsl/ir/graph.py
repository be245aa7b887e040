"""The network as a flat list of steps, for the other passes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any, NamedTuple

from archdsl.conditions import Test
from archdsl.layer import Layer
from archdsl.symbolic import is_symbolic
from archdsl.values import Last, Shape, Tensor, Window

from .nodes import Group, Network, Step


class _Plain(NamedTuple):
    """The fields of a node; `Node` adds an attribute dictionary for cached values."""

    step: Step
    op: Layer
    inputs: tuple[int, ...]
    input_shapes: tuple[Shape, ...]
    output: int
    shape: Shape
    training: bool
    shortcut: bool
    tensors: tuple[Tensor, ...]


class Node(_Plain):
    """One step, with plain numbers instead of expressions.

    Attributes:
        step: the step itself.
        op: its layer.
        inputs: numbers of the values that it reads.
        input_shapes: their shapes.
        output: number of the value that it defines.
        shape: shape of that value.
        training: whether it is only needed for outputs of the training mode.
        shortcut: whether it is on the shortcut of a residual.
        tensors: the layer's parameters and buffers.
    """

    @cached_property
    def window(self) -> Window | None:
        """The window of the map that each unit reads; kept, as lint asks often."""
        return self.op.window(self.input_shapes, self.shape)


class Graph(NamedTuple):
    """All steps of a network, each after those that it reads from.

    Attributes:
        network: the network.
        nodes: the steps.
        shapes: shape of every value, by number.
    """

    network: Network
    nodes: tuple[Node, ...]
    shapes: Mapping[int, Shape]

    @property
    def inputs(self) -> tuple[int, ...]:
        """Values of the network's inputs."""
        return tuple(port.value for port in self.network.inputs)

    def outputs(self, training: bool) -> tuple[int, ...]:
        """Return the values of the network's outputs in that mode, main one first."""
        ports = self.network.outputs
        return tuple(p.value for p in ports if training or not p.training)

    def run(self, training: bool) -> tuple[Node, ...]:
        """Return the nodes that run in that mode."""
        if training:
            return self.nodes
        return tuple(node for node in self.nodes if not node.training)

    def behind(self, values: Iterable[int]) -> set[int]:
        """Return some values, and all values that they are computed from."""
        found = set(values)
        for node in reversed(self.nodes):
            if node.output in found:
                found.update(node.inputs)
        return found


def flatten(network: Network) -> Graph:
    """Return the graph of a network."""
    shapes = {port.value: _plain_shape(port.shape) for port in network.inputs}
    nodes = []
    # Copies of a block can share layers; the network keeps these alive.
    known: dict[tuple[int, tuple[Shape, ...]], tuple[Layer, tuple[Tensor, ...]]] = {}
    for step, shortcut in _steps(network.root):
        shapes[step.output] = shape = _plain_shape(step.shape)
        inputs = step.inputs
        input_shapes = tuple([shapes[value] for value in inputs])
        key = id(step.op), input_shapes
        if key not in known:
            op = plain_layer(step.op)
            known[key] = op, op.tensors(*input_shapes)
        op, tensors = known[key]
        nodes.append(
            Node(
                step,
                op,
                inputs,
                input_shapes,
                step.output,
                shape,
                step.training,
                shortcut,
                tensors,
            )
        )
    return Graph(network, tuple(nodes), shapes)


def _steps(root: Group) -> Iterator[tuple[Step, bool]]:
    """Yield the steps in order, and whether each one is on a shortcut."""
    stack: list[tuple[Step | Group, bool]] = [(root, False)]
    while stack:
        node, shortcut = stack.pop()
        if isinstance(node, Step):
            yield node, shortcut
        else:
            shortcut = shortcut or node.role == "shortcut"
            stack += [(child, shortcut) for child in reversed(node.children)]


def conditions_of(group: Group) -> dict[Test, bool]:
    """Return the conditions that decide what is in a group, with their answers.

    Those of braces in it count, too; those of blocks that it calls do not.
    """
    found = dict(group.tests)
    for child in group.children:
        if isinstance(child, Group) and child.role != "block":
            for test, held in conditions_of(child).items():
                found.setdefault(test, held)
    return found


def _plain_shape(shape: Shape) -> Shape:
    plain = [int(n) for n in shape]
    return Last(plain) if isinstance(shape, Last) else tuple(plain)


def plain_layer(op: Layer) -> Layer:
    """Return a layer with plain numbers instead of expressions, which are slow."""
    values = vars(op)
    if not any([is_symbolic(value) for value in values.values()]):
        return op
    return op.replace(**{name: _plain(value) for name, value in values.items()})


def _plain(value: Any) -> Any:
    if not is_symbolic(value):
        return value
    if isinstance(value, tuple):
        return tuple(_plain(part) for part in value)
    return int(value) if isinstance(value, int) else float(value)
