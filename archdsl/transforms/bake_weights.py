"""Compute normalised weights once, for inference."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from archdsl.ir import Network, Step
from archdsl.ir.rewrite import rewrite
from archdsl.layer import Layer, kind
from archdsl.transforms.base import Transformation
from archdsl.transforms.recipe import TensorOrigin, as_before


@dataclass(frozen=True)
class BakeWeights(Transformation):
    """Compute the weights of `snconv`, `wsconv` and the like once.

    These layers compute their weight from a parameter in every call. They become the
    kind that has this weight, such as `conv`. The network is for inference: if it were
    trained further, its weights would not be normalised.
    """

    def rewrite(self, network: Network) -> Network:
        """Return the network with plain layers."""
        ops = {step.output: _plain(step.op) for step in _baked(network)}
        return rewrite(network, ops) if ops else network

    def recipe(self, network: Network) -> dict[str, TensorOrigin]:
        """Return which tensors come from which."""
        found = as_before(self.rewrite(network))
        for step in _baked(network):
            found[f"{step.path}.weight"] = _origin(step)
        return found


def _baked(network: Network) -> Iterator[Step]:
    return (step for step in network.steps() if step.op.baked)


def _plain(op: Layer) -> Layer:
    found = kind(op.baked)
    assert found is not None
    return found(**{n: v for n, v in vars(op).items() if n in found.fields})


def _origin(step: Step) -> TensorOrigin:
    """Return where the weight of a layer comes from."""
    tensors = step.op.tensors(*step.input_shapes)
    names = [tensor.name for tensor in tensors if tensor.name != "bias"]

    def weight(*own: Any) -> Any:
        return step.op.weight_of(dict(zip(names, own, strict=True)))

    return TensorOrigin(tuple([f"{step.path}.{name}" for name in names]), weight)
