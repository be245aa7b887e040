"""Batch norms become part of the layers before them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from archdsl.ir import Network, Step
from archdsl.ir.rewrite import rewrite
from archdsl.layer import Layer
from archdsl.transforms.base import Transformation, new_identity, numbered


@dataclass(frozen=True)
class FoldNorms(Transformation):
    """Fold each batch norm into the convolution or `linear` that it follows.

    In inference a batch norm multiplies each channel by a number and adds another,
    which the weight and the bias of the layer before it can do as well. So the network
    is for inference: trained further, it has no norms.

    A norm stays if something else reads what it reads, if that is an output, or if
    another kind of layer makes it. Layers with shared weights are folded if the same
    norm follows them wherever they stand. In a `seq`, an `identity` takes the norm's
    place, so that what follows keeps its name.
    """

    def rewrite(self, network: Network) -> Network:
        """Return the network without the norms that can be folded."""
        pairs = foldable(network)
        if not pairs:
            return network
        norms, kept = {norm: layer for layer, norm in pairs.items()}, numbered(network)
        ops: dict[int, Layer] = {}
        gone: set[int] = set()
        for step in network.steps():
            if step.path in pairs:
                ops[step.output] = step.op.replace(bias=True)
            elif step.path in kept and step.path in norms:
                ops[step.output] = new_identity()
            elif step.path in norms:
                gone.add(step.output)
        return rewrite(network, ops, gone)

    def weights(self, network: Network, state: Mapping[str, Any]) -> dict[str, Any]:
        """Return the `state_dict` of the folded network.

        Products are computed in double precision, and rounded once.

        Args:
            network: as it was before.
            state: its `state_dict`, of torch tensors or NumPy arrays, which stays as it
                is.

        Raises:
            KeyError: if the state lacks a tensor of a layer or norm.
        """
        pairs = foldable(network)
        norms = set(pairs.values())
        steps = {step.path: step for step in network.steps()}
        found: dict[str, Any] = {}
        for key, value in state.items():
            owner, _, name = key.rpartition(".")
            if owner in pairs:
                if name == "weight":
                    folded = _folded(steps[owner], steps[pairs[owner]], state)
                    found[key], found[f"{owner}.bias"] = folded
            elif owner not in norms:
                found[key] = value
        return found


def foldable(network: Network) -> dict[str, str]:
    """Return the norms that can be folded: each one's path by that of its layer."""
    readers: Counter[int] = Counter(port.value for port in network.outputs)
    made: dict[int, Step] = {}
    uses: defaultdict[str, list[Step]] = defaultdict(list)
    for step in network.steps():
        readers.update(step.inputs)
        made[step.output] = step
        uses[step.path].append(step)
    # For each norm the layer before it, at each of its uses; None where there is none.
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


def _folded(layer: Step, norm: Step, state: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return the weight and the bias of a layer that does what the norm did, too."""
    own = {
        tensor.name: _wide(state[f"{norm.path}.{tensor.name}"])
        for tensor in norm.op.tensors(*norm.input_shapes)
        if not tensor.integer
    }
    factors, sums = norm.op.channel_affine(own)
    weight = state[f"{layer.path}.weight"]
    names = [tensor.name for tensor in layer.op.tensors(*layer.input_shapes)]
    if "bias" in names:
        sums = sums + factors * _wide(state[f"{layer.path}.bias"])
    scaled = layer.op.scaled(_wide(weight), factors)
    return _as(weight.dtype, scaled), _as(weight.dtype, sums)


def _wide(tensor: Any) -> Any:
    """Return a tensor of torch, or an array of NumPy, in double precision."""
    return tensor.double() if hasattr(tensor, "double") else tensor.astype("float64")


def _as(dtype: Any, tensor: Any) -> Any:
    return tensor.to(dtype) if hasattr(tensor, "to") else tensor.astype(dtype)
