"""Fold batch norms into the layers after them, where that is exact."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from archdsl.ir import Network, Step
from archdsl.transforms.base import Transformation, without_layers
from archdsl.transforms.recipe import TensorOrigin, as_before


@dataclass(frozen=True)
class FoldNormsAhead(Transformation):
    """Fold each batch norm into the convolution or `linear` that is its only reader.

    This is for norms that `FoldNorms` leaves because no such layer comes before them.
    The weights of the layer after the norm are multiplied by the norm's factors, one
    for each input channel, and its bias absorbs what the norm adds. With padding, this
    would not be exact: the layer pads with zeros, but the norm would have mapped zeros
    to its shift. So norms before padded convolutions stay, and so do those before
    layers with shared weights. The network is then for inference.
    """

    def rewrite(self, network: Network) -> Network:
        """Return the network without the norms that can be folded."""
        pairs = _pairs(network)
        ops = {layer.output: layer.op.replace(bias=True) for _, layer in pairs}
        return without_layers(network, [norm for norm, _ in pairs], ops)

    def recipe(self, network: Network) -> dict[str, TensorOrigin]:
        """Return from which old tensors each new one comes."""
        found = as_before(self.rewrite(network))
        for norm, layer in _pairs(network):
            found |= _folded(norm, layer)
        return found


def _pairs(network: Network) -> list[tuple[Step, Step]]:
    """Return the norms that can be folded, each with the layer after it."""
    outputs = {port.value for port in network.outputs}
    readers: defaultdict[int, list[Step]] = defaultdict(list)
    uses: Counter[str] = Counter()
    for step in network.steps():
        uses[step.path] += 1
        for value in step.inputs:
            readers[value].append(step)
    found = []
    for norm in network.steps():
        behind = readers[norm.output]
        if not (norm.op.channelwise and norm.op.pools_batch) or len(behind) != 1:
            continue
        (layer,) = behind
        kernel = layer.op.as_kernel(layer.input_shapes, layer.shape)
        if (
            layer.op.scales
            and kernel is not None
            and not any(kernel.pad)
            and norm.output not in outputs
            and uses[norm.path] == uses[layer.path] == 1
            and norm.training == layer.training
        ):
            found.append((norm, layer))
    return found


def _folded(norm: Step, layer: Step) -> dict[str, TensorOrigin]:
    """Return the origins of a layer's weight and bias, with a norm folded in."""
    names = [
        tensor.name
        for tensor in norm.op.tensors(*norm.input_shapes)
        if not tensor.integer
    ]
    own = [tensor.name for tensor in layer.op.tensors(*layer.input_shapes)]
    kernel = layer.op.as_kernel(layer.input_shapes, layer.shape)
    assert kernel is not None
    groups = kernel.groups

    def made(tensors: Sequence[Any]) -> tuple[Any, Any]:
        before = dict(zip(own, tensors, strict=False))
        weight, bias = layer.op.kernel_of(before)
        norms = dict(zip(names, tensors[len(own) :], strict=True))
        factors, sums = norm.op.channel_affine(norms)
        # Axes: group, output channel and input channel in the group, then the kernel's.
        parts = weight.reshape(groups, -1, *weight.shape[1:])
        aligned = (groups, 1, -1, *(1 for _ in weight.shape[2:]))
        scaled = parts * factors.reshape(aligned)
        summed = tuple(range(2, len(parts.shape)))
        more = (parts * sums.reshape(aligned)).sum(summed).reshape(-1)
        total = more if bias is None else more + bias
        return layer.op.of_kernel(scaled.reshape(*weight.shape)), total

    keys = [f"{layer.path}.{name}" for name in own]
    keys += [f"{norm.path}.{name}" for name in names]
    return {
        f"{layer.path}.weight": TensorOrigin(
            tuple(keys), lambda *given: made(given)[0]
        ),
        f"{layer.path}.bias": TensorOrigin(tuple(keys), lambda *given: made(given)[1]),
    }
