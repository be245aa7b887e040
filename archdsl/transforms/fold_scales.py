"""Factors of channels become part of the layers before them."""

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

    These are a fixed `scale`, as behind the branches of Inception-ResNet, and the
    trained ones of `layerscale`, as in ConvNeXt. Between both may stand what changes no
    value in inference, such as `permute` or a dropout. The network is for inference, as
    its gradients are others.

    Factors stay where something else reads the values before them, or weights are
    shared.
    """

    def rewrite(self, network: Network) -> Network:
        """Return the network without the factors that can be folded."""
        return without_layers(network, [step for _, step in _pairs(network)], {})

    def recipe(self, network: Network) -> dict[str, TensorOrigin]:
        """Return which tensors come from which."""
        found = as_before(self.rewrite(network))
        for layer, step in _pairs(network):
            found |= _folded(layer, step)
        return found


def _pairs(network: Network) -> list[tuple[Step, Step]]:
    """Return the layers that can take factors, each with these."""
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
    """Return whether a layer changes no value in inference, and no channel."""
    shape = step.input_shapes[0]
    same = channels(shape) == channels(step.shape) and sizes(shape) == sizes(step.shape)
    return same and step.op.aliases(False)


def _folded(layer: Step, step: Step) -> dict[str, TensorOrigin]:
    """Return where weight and bias come from of a layer that multiplies as well."""
    factors = [
        f"{step.path}.{tensor.name}".rstrip(".")
        for tensor in step.op.tensors(*step.input_shapes)
    ]

    wide = int(channels(layer.shape))

    def factor(before: Any, *tensors: Any) -> Any:
        # Of torch or numpy; each channel has at least one number.
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
