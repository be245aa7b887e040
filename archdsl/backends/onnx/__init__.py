"""Networks as ONNX models, written from the IR without torch.

forms     what torch's callables are in ONNX, one function for each
graph     the graph under construction, and what those functions add to it
convert   from the network to the graph
weights   weights from files, or at random
model     from the graph to a checked model and its files
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from archdsl.backends.extras import MissingExtra, need
from archdsl.backends.onnx.convert import convert
from archdsl.backends.onnx.model import (
    InvalidModel,
    assemble,
    check,
    save,
    with_constants,
)
from archdsl.backends.onnx.weights import WrongWeights, drawn, fitting, read
from archdsl.ir import Network
from archdsl.transforms import FoldNorms

__all__ = [
    "DEFAULT_OPSET",
    "OPSETS",
    "Exported",
    "InvalidModel",
    "MissingExtra",
    "WrongWeights",
    "drawn",
    "export",
    "fitting",
    "read",
]

# 18 is the first whose resizing leaves batch and channels alone, and whose norms of
# layers and activations suffice; the last is the newest that onnxruntime runs.
OPSETS: Final = range(18, 27)
DEFAULT_OPSET: Final = 18


@dataclass(frozen=True)
class Exported:
    """A network as an ONNX model.

    Attributes:
        name: of the network.
        opset: version of the operators.
        nodes: number of nodes.
        folded: number of batch norms that became part of the layer before them.
        inputs: dimensions of each input by name; a dimension that may be any has a
            name.
        outputs: the same of each output.
        fixed_by: the layer because of which height and width cannot be any, and why.
        model: the contents of the model's file.
        data: the contents of the file beside it with its weights, if those exceed the
            two GiB that a model's file can hold.
    """

    name: str
    opset: int
    nodes: int
    folded: int
    inputs: dict[str, list[int | str]]
    outputs: dict[str, list[int | str]]
    fixed_by: str
    model: bytes
    data: bytes | bytearray

    def save(self, path: Path) -> None:
        """Write the model to the file that it was made for.

        Raises:
            OSError: if it cannot be written.
        """
        save(path, self.model, self.data)

    def __repr__(self) -> str:
        return f"<Exported {self.name}: opset {self.opset}, {self.nodes:,} nodes>"


def export(
    network: Network,
    weights: Mapping[str, Any],
    *,
    path: Path = Path("model.onnx"),
    opset: int = DEFAULT_OPSET,
    fold: bool = True,
    batch: int | None = None,
    fixed_size: bool = False,
) -> Exported:
    """Return a network in evaluation mode as a checked ONNX model.

    Args:
        network: the network.
        weights: its `state_dict`, as arrays or torch tensors.
        path: the file that it is for, after which that of large weights is named.
        opset: version of the operators, from `OPSETS`.
        fold: whether batch norms become part of the layer before them.
        batch: the batch size; None for any.
        fixed_size: whether height and width must be those of the spec; otherwise they
            may be any, if all layers allow that.

    Raises:
        InvalidModel: if the model is not valid, which is a bug in archdsl.
        MissingExtra: if onnx is not installed.
        SpecError: if a layer has no form in ONNX.
        WrongWeights: if the weights do not fit.
    """
    need("an ONNX model", "onnx", "onnx")
    if opset not in OPSETS:
        raise ValueError(f"opset is from {OPSETS[0]} to {OPSETS[-1]}, not {opset}")
    own, given = fitting(network, weights), network
    if fold:
        transform = FoldNorms()
        network, own = transform.apply(given), transform.weights(given, own)
    own = {key: value.astype("float32", copy=False) for key, value in own.items()}
    made = convert(network, own, opset=opset, batch=batch, fixed_size=fixed_size)
    lean = assemble(given, made, opset)
    check(network, made, lean)
    model, data = with_constants(lean, made.constants, path)
    return Exported(
        name=network.name,
        opset=opset,
        nodes=len(made.nodes),
        folded=_norms(given) - _norms(network),
        inputs=dict(made.inputs),
        outputs=dict(made.outputs),
        fixed_by=made.fixed_by,
        model=model,
        data=data,
    )


def _norms(network: Network) -> int:
    return len({step.path for step in network.steps() if step.op.pools_batch})
