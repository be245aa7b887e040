"""The gradient norm of each layer when training starts, measured by a run in torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from archdsl.ir import Network, Step
from archdsl.ir.graph import Node, flatten

from . import build

if TYPE_CHECKING:
    from torch import Tensor, nn


class LayerGradient(NamedTuple):
    """Norms of one convolution or linear layer, one per run.

    Attributes:
        step: the layer.
        shortcut: whether it is a projection on a shortcut.
        norms: Frobenius norms of the gradient of its weights.
        weight_norms: Frobenius norms of the weights.
    """

    step: Step
    shortcut: bool
    norms: tuple[float, ...]
    weight_norms: tuple[float, ...]

    @property
    def norm(self) -> float:
        """The median norm of the gradient."""
        return median(self.norms)

    @property
    def weight_norm(self) -> float:
        """The median norm of the weights."""
        return median(self.weight_norms)

    def as_dict(self) -> dict[str, Any]:
        """Return the norms as plain data."""
        return {
            "name": self.step.path,
            "kind": self.step.op.word,
            "shortcut": self.shortcut,
            "norms": list(self.norms),
            "weight_norms": list(self.weight_norms),
        }


class Gradients(NamedTuple):
    """The result of runs of a freshly initialised network; see `gradients`.

    Attributes:
        batch: samples in each run.
        seeds: one per run.
        layers: in execution order, without layers that the loss of the main output does
            not reach, such as auxiliary heads.
    """

    batch: int
    seeds: tuple[int, ...]
    layers: tuple[LayerGradient, ...]

    @property
    def convs(self) -> list[LayerGradient]:
        """The convolutions, without projections on shortcuts."""
        found = self.layers
        return [n for n in found if n.step.op.family == "conv" and not n.shortcut]

    @property
    def growth(self) -> tuple[float, ...]:
        """The first convolution's norm divided by the last one's, for each run.

        Empty if there are fewer than two, or if the last one gets no gradient.
        """
        convs = self.convs
        if len(convs) < 2 or not all(convs[-1].norms):
            return ()
        pairs = zip(convs[0].norms, convs[-1].norms, strict=True)
        return tuple([first / last for first, last in pairs])

    def as_dict(self) -> dict[str, Any]:
        """Return the norms as plain data."""
        return {
            "batch": self.batch,
            "seeds": list(self.seeds),
            "growth": list(self.growth),
            "layers": [layer.as_dict() for layer in self.layers],
        }


def gradient_norms(
    network: Network,
    *,
    batch: int = 8,
    seeds: Sequence[int] = (0,),
    allow_foreign: bool = False,
) -> Gradients:
    """Return the norms of all layers' gradients at initialisation.

    For each seed, the network is initialised in 64-bit floats and training mode, and
    runs forward and backward once. The inputs have a normal distribution, and the
    labels are random. The loss is the cross entropy of the main output: over its
    channels, at every position if it is a map. An output with a single channel is taken
    as the logit of two classes. Random numbers elsewhere in the process are not
    affected.

    Args:
        network: the network.
        batch: batch size; batch norm needs two or more if maps are 1x1.
        seeds: one per run.
        allow_foreign: as for `build`.

    Raises:
        ImportError: if torch is not installed.
        ForeignCode: if the spec names modules, and `allow_foreign` is not set.
        ValueError: if a layer cannot train on such a batch.
    """
    graph = flatten(network)
    runs = [_run(network, graph.nodes, batch, seed, allow_foreign) for seed in seeds]
    layers = []
    for node in graph.nodes:
        found = [run[node.step.path] for run in runs if node.step.path in run]
        if found and not node.step.shared:
            norms, weights = zip(*found, strict=True)
            layers.append(LayerGradient(node.step, node.shortcut, norms, weights))
    return Gradients(batch, tuple(seeds), tuple(layers))


def _run(
    network: Network,
    nodes: Sequence[Node],
    batch: int,
    seed: int,
    allow_foreign: bool,
) -> dict[str, tuple[float, float]]:
    """Return the norms of each layer's gradient and weights, by path."""
    import torch

    with torch.random.fork_rng(devices=()), _doubles():
        torch.manual_seed(seed)
        module = build(network, allow_foreign=allow_foreign).train()
        inputs = [torch.randn(batch, *port.shape) for port in network.inputs]
        outputs = module(*inputs)
        # With heads it is a dictionary, the main output first.
        main = next(iter(outputs.values())) if isinstance(outputs, dict) else outputs
        if not main.requires_grad:
            return {}  # nothing on the way to it is trained
        torch.autograd.backward(_loss(main))
    found = {}
    for node in nodes:
        weights = _weights(module, node)
        if weights is not None and weights.grad is not None:
            norms = float(weights.grad.norm()), float(weights.detach().norm())
            found[node.step.path] = norms
    return found


@contextmanager
def _doubles() -> Iterator[None]:
    """Make torch create 64-bit floats within a context.

    In 32 bits, processors draw weights that differ in the last digit, which a deep
    plain stack amplifies to a percent of its gradient.
    """
    import torch

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _loss(output: Tensor) -> Tensor:
    """Return the cross entropy of logits and random labels."""
    import torch
    from torch.nn import functional as F

    classes = output.shape[1]
    shape = output.shape[:1] + output.shape[2:]
    labels = torch.randint(max(classes, 2), shape)
    if classes == 1:
        return F.binary_cross_entropy_with_logits(output[:, 0], labels.to(output.dtype))
    return F.cross_entropy(output, labels)


def _weights(module: nn.Module, node: Node) -> nn.Parameter | None:
    """Return the weights of a convolution or linear layer, None for other layers."""
    if not node.op.weighted:
        return None
    owned = (t.name for t in node.tensors if t.trainable and t.name != "bias")
    name = next(owned, None)
    return module.get_parameter(f"{node.step.path}.{name}") if name else None
