"""How many bytes a network takes, by what for."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple, get_args

from archdsl.layer import count

from .costs import Cost
from .dtypes import COUNTER_BYTES, ITEM_BYTES
from .graph import Graph, Node
from .inplace import inplace

Optimizer = Literal["sgd", "momentum", "adam"]
OPTIMIZERS: Final[tuple[str, ...]] = get_args(Optimizer)


class Memory(NamedTuple):
    """Bytes for one batch of samples.

    Attributes:
        batch: samples in the batch.
        dtype: of parameters and activations.
        optimizer: ``sgd``, ``momentum`` or ``adam``.
        param_bytes: all parameters, those of auxiliary heads included.
        buffer_bytes: all buffers; counters are 64-bit integers.
        gradient_bytes: gradients of the trainable parameters.
        optimizer_bytes: what the optimiser keeps between steps: nothing, one
            momentum a parameter, or Adam's two moments and its count of steps, a
            32-bit float a tensor.
        saved_bytes: distinct tensors that autograd keeps in training between the
            forward and the backward pass, parameters and buffers apart. A copy that
            torch makes only because of the order of a map's axes in memory, as where
            `permute` or a norm over channels is followed by a flatten, is left out.
        forward_peak_bytes: most bytes of activations alive at once in a forward
            pass of the inference mode: the inputs, which the caller holds, and each
            value from when it is made until it was last read.
    """

    batch: int
    dtype: str
    optimizer: str
    param_bytes: int
    buffer_bytes: int
    gradient_bytes: int
    optimizer_bytes: int
    saved_bytes: int
    forward_peak_bytes: int

    @property
    def inference_bytes(self) -> int:
        """Parameters, buffers and the peak of the forward pass."""
        return self.param_bytes + self.buffer_bytes + self.forward_peak_bytes

    @property
    def training_bytes(self) -> int:
        """All that is held at the end of a training step's forward pass."""
        return (
            self.param_bytes
            + self.buffer_bytes
            + self.gradient_bytes
            + self.optimizer_bytes
            + self.saved_bytes
        )

    def as_dict(self) -> dict[str, int | str]:
        """Return the figures as plain data."""
        return {
            **self._asdict(),
            "inference_bytes": self.inference_bytes,
            "training_bytes": self.training_bytes,
        }


def memory(
    graph: Graph,
    cost: Cost,
    *,
    batch: int = 1,
    dtype: str = "float32",
    optimizer: str = "sgd",
) -> Memory:
    """Return the memory of a network whose layers together have that cost.

    Raises:
        ValueError: if the batch, dtype or optimiser is none.
    """
    if batch < 1:
        raise ValueError(f"batch must be 1 or more, not {batch}")
    if dtype not in ITEM_BYTES:
        raise ValueError(f"dtype must be one of {', '.join(ITEM_BYTES)}, not {dtype}")
    if optimizer not in OPTIMIZERS:
        names = ", ".join(OPTIMIZERS)
        raise ValueError(f"optimizer must be one of {names}, not {optimizer}")
    item = ITEM_BYTES[dtype]
    overwritten = inplace(graph)
    moments = {"sgd": 0, "momentum": 1, "adam": 2}[optimizer]
    steps = 4 * cost.tensors if optimizer == "adam" else 0
    return Memory(
        batch=batch,
        dtype=dtype,
        optimizer=optimizer,
        param_bytes=cost.params * item,
        buffer_bytes=(cost.buffers - cost.counters) * item
        + cost.counters * COUNTER_BYTES,
        gradient_bytes=cost.trainable * item,
        optimizer_bytes=moments * cost.trainable * item + steps,
        saved_bytes=_saved_bytes(graph, overwritten, batch, item),
        forward_peak_bytes=_peak_elements(graph, overwritten) * batch * item,
    )


def _storages(
    graph: Graph, overwritten: frozenset[int], *, training: bool
) -> dict[int, int]:
    """Return, for every value, the value in whose memory it stands."""
    home = {value: value for value in graph.inputs}
    for node in graph.run(training):
        made = node.output
        shared = made in overwritten or node.op.aliases(training)
        home[made] = home[node.inputs[0]] if shared else made
    return home


def _saved_bytes(
    graph: Graph, overwritten: frozenset[int], batch: int, item: int
) -> int:
    home = _storages(graph, overwritten, training=True)
    gets_gradient: set[int] = set()
    kept: set[int] = set()
    elements = fixed = shared = 0
    for node in graph.nodes:
        # Where no gradient flows back to, autograd keeps nothing.
        if not (gets_gradient.intersection(node.inputs) or _trains(node)):
            continue
        gets_gradient.add(node.output)
        saved = node.op.saved(node.input_shapes, node.shape)
        if saved.input:
            kept.update(node.inputs)
        if saved.output:
            kept.add(node.output)
        if saved.factors:
            factors, products = _kept_factors(node, gets_gradient)
            kept.update(factors)
            elements += products
        elements += saved.own_elements
        fixed += saved.own_bytes + saved.own_floats * max(item, 4)
        shared += saved.batch_elements * item + saved.batch_floats * max(item, 4)
    elements += sum(count(graph.shapes[value]) for value in {home[v] for v in kept})
    return batch * (elements * item + fixed) + shared


def _trains(node: Node) -> bool:
    return any(tensor.trainable for tensor in node.op.tensors(*node.input_shapes))


def _kept_factors(node: Node, gets_gradient: set[int]) -> tuple[set[int], int]:
    """Return the factors that a product keeps, and the elements of its own products."""
    left, *others = node.inputs
    left_gets = left in gets_gradient
    kept, products = set(), 0
    for place, value in enumerate(others):
        if value in gets_gradient and place == 0:
            kept.add(left)
        elif value in gets_gradient:
            products += count(node.op.shape(*node.input_shapes[: place + 1]))
        if left_gets:
            kept.add(value)
        left_gets = left_gets or value in gets_gradient
    return kept, products


def _peak_elements(graph: Graph, overwritten: frozenset[int]) -> int:
    nodes = graph.run(training=False)
    home = _storages(graph, overwritten, training=False)
    last_read = {home[node.output]: at for at, node in enumerate(nodes)}
    for at, node in enumerate(nodes):
        last_read.update((home[value], at) for value in node.inputs)
    held = {home[value] for value in (*graph.inputs, *graph.outputs(training=False))}

    freed: list[list[int]] = [[] for _ in nodes]
    for value, at in last_read.items():
        if value not in held:
            freed[at].append(value)
    alive = sum(count(graph.shapes[value]) for value in graph.inputs)
    peak = alive
    for at, node in enumerate(nodes):
        if home[node.output] == node.output:
            alive += count(node.shape)
        peak = max(peak, alive)
        alive -= sum(count(graph.shapes[value]) for value in freed[at])
    return peak
