"""An ONNX graph under construction, and the calls that add to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from archdsl.layer import Layer
from archdsl.values import Shape, TorchCall, sizes

if TYPE_CHECKING:
    import numpy as np
    from onnx import NodeProto

Array = Any  # numpy's, whose import would slow down the start


class FixedSize(Exception):
    """A layer that can only be written if height and width are known.

    Attributes:
        path: the path of the layer.
        reason: why, as ``has as many features as its input has pixels``.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path} {reason}")
        self.path = path
        self.reason = reason


@dataclass(frozen=True)
class OnnxValue:
    """A tensor in the graph.

    Attributes:
        name: its name.
        shape: its sizes for the spec's input, without the batch.
        free: whether its height and width follow those of the input.
    """

    name: str
    shape: Shape
    free: bool = False

    @property
    def rank(self) -> int:
        """The number of dimensions, the batch included."""
        return len(self.shape) + 1

    @property
    def sizes(self) -> Shape:
        """Height and width; nothing for a vector."""
        return tuple(int(n) for n in sizes(self.shape))


@dataclass
class OnnxGraph:
    """Nodes and constants, under names that are all different.

    Attributes:
        weights: the network's tensors by key, as float32 arrays.
        opset: version of the operators.
        nodes: in order of execution.
        constants: weights and other constants that nodes read, by name.
        names: names in use.
    """

    weights: Mapping[str, Array]
    opset: int
    nodes: list[NodeProto] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)

    def fresh(self, name: str) -> str:
        """Return a name that is not taken yet, and take it."""
        found, count = name, 1
        while found in self.names:
            count += 1
            found = f"{name}_{count}"
        self.names.add(found)
        return found


class LayerCall:
    """A layer that is being added to the graph, as a call of one torch callable.

    Attributes:
        graph: where its nodes go.
        path: the path of the layer; names of nodes and tensors begin with it.
        inputs: the tensors that it reads.
        shape: the shape of its output, for the spec's input.
        layer: the layer.
        key: the prefix of its tensors' keys.
        args: the positional arguments of the torch call.
        free: whether the output's height and width follow those of the input.
    """

    def __init__(
        self,
        graph: OnnxGraph,
        path: str,
        inputs: Sequence[OnnxValue],
        shape: Shape,
        layer: Layer,
        key: str,
    ) -> None:
        self.graph = graph
        self.path = path
        self.inputs = inputs
        self.shape = shape
        self.layer = layer
        self.key = key
        self.args: tuple[Any, ...] = ()
        self.free = any(value.free for value in inputs) and bool(sizes(shape))
        self._arguments: dict[str, Any] = {}

    def bind(self, call: TorchCall, names: Sequence[str]) -> None:
        """Take over the arguments of a torch call; `names` names positional ones."""
        self.args = without_expressions(call.args)
        self._arguments = dict(zip(names, self.args, strict=False))
        self._arguments |= {
            name: without_expressions(value) for name, value in call.kwargs
        }

    def argument(self, name: str, default: Any = None) -> Any:
        """Return an argument of the torch call."""
        return self._arguments.get(name, default)

    def per_axis(self, name: str, default: Any = None) -> tuple[int, ...]:
        """Return an argument with one number for each spatial axis."""
        value = self.argument(name, default)
        return tuple(value) if isinstance(value, tuple) else (value,) * len(self.sizes)

    @property
    def x(self) -> OnnxValue:
        """The first input."""
        return self.inputs[0]

    @property
    def sizes(self) -> Shape:
        """Height and width of the first input."""
        return self.x.sizes

    @property
    def out_sizes(self) -> Shape:
        """Height and width of the output."""
        return tuple(int(n) for n in sizes(self.shape))

    @property
    def axes(self) -> list[int]:
        """The spatial axes of a map with its channels first."""
        return list(range(2, 2 + len(self.sizes)))

    def fixed(self, reason: str) -> None:
        """Refuse the layer if its input's height and width are not known.

        Raises:
            FixedSize: if they are not.
        """
        if any(value.free for value in self.inputs):
            raise FixedSize(self.path, reason)

    # ---- adding to the graph

    def op(self, type: str, *inputs: str | OnnxValue, **attributes: Any) -> str:
        """Add a node, and return the name of its output."""
        from onnx import helper

        given = [one.name if isinstance(one, OnnxValue) else one for one in inputs]
        name = self.graph.fresh(f"{self.path}/{type}")
        self.graph.nodes.append(
            helper.make_node(type, given, [name], name=name, **attributes)
        )
        return name

    def constant(self, values: Any, name: str, dtype: str = "float32") -> str:
        """Add a constant, and return its name."""
        import numpy as np

        found = self.graph.fresh(f"{self.path}/{name}")
        self.graph.constants[found] = np.asarray(values, dtype)
        return found

    def integers(self, values: Sequence[int], name: str) -> str:
        """Add integers, such as a shape, and return their name."""
        return self.constant([int(n) for n in values], name, "int64")

    def has(self, tensor: str) -> bool:
        """Return whether the layer owns a tensor, such as ``bias``."""
        return self._key(tensor) in self.graph.weights

    def weight(
        self,
        tensor: str,
        changed: Callable[[np.ndarray[Any, Any]], Array] | None = None,
        suffix: str = "",
    ) -> str:
        """Add a tensor of the layer unless it was added before, and return its name.

        Args:
            tensor: its name within the layer.
            changed: a function that is applied to it first.
            suffix: what is appended to the name of a changed tensor.
        """
        name = self._key(tensor) + suffix
        if name not in self.graph.constants:
            value = self._used(tensor)
            self.graph.constants[name] = value if changed is None else changed(value)
            self.graph.names.add(name)
        return name

    def _used(self, tensor: str) -> Array:
        """Return a tensor, or the weight that the layer computes from it."""
        if tensor != "weight" or not self.layer.baked:
            return self.graph.weights[self._key(tensor)]
        shapes = [value.shape for value in self.inputs]
        keys = {t.name: self._key(t.name) for t in self.layer.tensors(*shapes)}
        own = {n: self.graph.weights[k].astype("float64") for n, k in keys.items()}
        return self.layer.weight_of(own).astype("float32")

    def _key(self, tensor: str) -> str:
        return f"{self.key}.{tensor}" if tensor else self.key


def without_expressions(value: Any) -> Any:
    """Return an argument without the expressions that its numbers may carry."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, TorchCall):
        return TorchCall(*map(without_expressions, value))
    if isinstance(value, tuple | list):
        return tuple(without_expressions(part) for part in value)
    if isinstance(value, int):
        return int(value)
    return float(value) if isinstance(value, float) else value
