"""Fold factors of channels into the layers before them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from archdsl.ir import Network, Step
from archdsl.transforms.base import Transformation, without_layers
from archdsl.transforms.recipe import TensorOrigin, as_before
from archdsl.values import channels, sizes


@dataclass(frozen=True)
class FoldScales(Transformation):
    """Fold factors of channels into the convolution or `linear` that they follow.

    The factors are those of a fixed `scale`, as after the branches of Inception-ResNet,
    or of a trained `layerscale`, as in ConvNeXt. Layers that change no value in
    inference, such as `permute` or a dropout, may stand in between. The network is then
    for inference, since its gradients differ.

    Factors stay if another layer reads the values before them, or if weights are
    shared.
    """

    def rewrite(self, network: Network) -> Network:
        """Return the network without the factors that can be folded."""
        return without_layers(network, [step for _, step in _pairs(network)], {})

    def recipe(self, network: Network) -> dict[str, TensorOrigin]:
        """Return from which old tensors each new one comes."""
        found = as_before(self.rewrite(network))
        for layer, step in _pairs(network):
            found |= _folded(layer, step)
        return found


def _pairs(network: Network) -> list[tuple[Step, Step]]:
    """Return the layers that factors can be folded into, each with its factors."""
    readers: Counter[int] = Counter(port.value for port in network.outputs)
    uses: Counter[str] = Counter()
    made: dict[int, Step] = {}
    for step in network.steps():
        uses[step.path] += 1
        readers.update(step.inputs)
        made[step.output] = step
    found = []
    taken: set[str] = set()
    for step in network.steps():
        if not step.op.multiplies or uses[step.path] > 1:
            continue
        before = made.get(step.inputs[0])
        while before is not None and readers[before.output] == 1 and _is_still(before):
            before = made.get(before.inputs[0])
        if (
            before is not None
            and before.op.scales
            and readers[before.output] == uses[before.path] == 1
            and before.training == step.training
            and before.path not in taken
        ):
            taken.add(before.path)
            found.append((before, step))
    return found


def _is_still(step: Step) -> bool:
    """Return whether a layer neither changes values nor moves channels in inference."""
    shape = step.input_shapes[0]
    same = channels(shape) == channels(step.shape) and sizes(shape) == sizes(step.shape)
    return same and step.op.aliases(False)


def _folded(layer: Step, step: Step) -> dict[str, TensorOrigin]:
    """Return the origins of a layer's weight and bias, with factors folded in."""
    factors = [
        f"{step.path}.{tensor.name}".rstrip(".")
        for tensor in step.op.tensors(*step.input_shapes)
    ]

    wide = int(channels(layer.shape))

    def factor(before: Any, *tensors: Any) -> Any:
        # A tensor of torch or an array of numpy, with at least one number for each
        # channel.
        return step.op.multipliers(before.reshape(-1)[:wide] * 0 + 1, *tensors)

    def weight(before: Any, *tensors: Any) -> Any:
        return layer.op.scaled(before, factor(before, *tensors))

    def bias(before: Any, *tensors: Any) -> Any:
        return before * factor(before, *tensors)

    makers = {"weight": weight, "bias": bias}
    return {
        f"{layer.path}.{tensor.name}": TensorOrigin(
            (f"{layer.path}.{tensor.name}", *factors), makers[tensor.name]
        )
        for tensor in layer.op.tensors(*layer.input_shapes)
    }
