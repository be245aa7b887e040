"""Fold batch norms into the layers before them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from archdsl.ir import Network, Step
from archdsl.transforms.base import Transformation, without_layers
from archdsl.transforms.recipe import TensorOrigin, as_before


@dataclass(frozen=True)
class FoldNorms(Transformation):
    """Fold each batch norm into the convolution or `linear` that it follows.

    In inference, a batch norm multiplies each channel by a number and adds another.
    Both can be merged into the weight and bias of the layer before it. The network is
    then for inference: if it were trained further, its norms would be missing.

    A norm stays if its input is also read by another layer, is an output, or comes from
    another kind of layer. A layer with shared weights is folded if the same norm
    follows all of its uses. In a `seq`, an `identity` takes the norm's place, so that
    what follows keeps its name.
    """

    def rewrite(self, network: Network) -> Network:
        """Return the network without the norms that can be folded."""
        pairs = foldable(network)
        steps, norms = list(network.steps()), set(pairs.values())
        ops = {s.output: s.op.replace(bias=True) for s in steps if s.path in pairs}
        return without_layers(network, [s for s in steps if s.path in norms], ops)

    def recipe(self, network: Network) -> dict[str, TensorOrigin]:
        """Return from which old tensors each new one comes."""
        steps = {step.path: step for step in network.steps()}
        found = as_before(self.rewrite(network))
        for layer, norm in foldable(network).items():
            found |= _folded(steps[layer], steps[norm])
        return found


def foldable(network: Network) -> dict[str, str]:
    """Return the norms that can be folded: their paths by the paths of the layers."""
    readers: Counter[int] = Counter(port.value for port in network.outputs)
    made: dict[int, Step] = {}
    uses: defaultdict[str, list[Step]] = defaultdict(list)
    for step in network.steps():
        readers.update(step.inputs)
        made[step.output] = step
        uses[step.path].append(step)
    # For each norm, the layer before each of its uses; None where there is none.
    before: defaultdict[str, set[str | None]] = defaultdict(set)
    behind: defaultdict[str, set[str]] = defaultdict(set)
    for step in network.steps():
        if not (step.op.channelwise and step.op.pools_batch):
            continue
        layer = made.get(step.inputs[0])
        fits = (
            layer is not None
            and layer.op.scales
            and readers[layer.output] == 1
            and layer.training == step.training
        )
        before[step.path].add(layer.path if fits and layer is not None else None)
        if layer is not None:
            behind[layer.path].add(step.path)
    pairs: dict[str, str] = {}
    for norm, layers in before.items():
        (path, *others) = layers
        if path is None or others or behind[path] != {norm}:
            continue
        if len(uses[path]) == len(uses[norm]):
            pairs[path] = norm
    return pairs


def _folded(layer: Step, norm: Step) -> dict[str, TensorOrigin]:
    """Return the origins of a layer's weight and bias, with a norm folded in."""
    names = [
        tensor.name
        for tensor in norm.op.tensors(*norm.input_shapes)
        if not tensor.integer
    ]
    own = [tensor.name for tensor in layer.op.tensors(*layer.input_shapes)]
    keys = [f"{norm.path}.{name}" for name in names]

    def affine(tensors: Sequence[Any]) -> tuple[Any, Any]:
        return norm.op.channel_affine(dict(zip(names, tensors, strict=True)))

    def weight(before: Any, *tensors: Any) -> Any:
        return layer.op.scaled(before, affine(tensors)[0])

    def bias(_: Any, *tensors: Any) -> Any:
        return affine(tensors)[1]

    def more_bias(before: Any, *tensors: Any) -> Any:
        factors, sums = affine(tensors)
        return sums + factors * before

    at, to = f"{layer.path}.weight", f"{layer.path}.bias"
    # A bias that is new has the dtype of its weight.
    new = TensorOrigin((at, *keys), bias)
    return {
        at: TensorOrigin((at, *keys), weight),
        to: TensorOrigin((to, *keys), more_bias) if "bias" in own else new,
    }
