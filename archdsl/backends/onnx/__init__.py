"""Networks as ONNX models, written from the IR without torch.

forms     what torch's callables are in ONNX, one function for each
graph     the graph under construction, and what those functions add to it
convert   from the network to the graph
weights   weights from files, or at random
model     from the graph to a checked model and its files
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from archdsl.backends.exported import Exported
from archdsl.backends.extras import need
from archdsl.backends.onnx.convert import convert, refuse_unknown
from archdsl.backends.onnx.model import (
    InvalidModel,
    assemble,
    check_model,
    with_constants,
)
from archdsl.backends.onnx.weights import (
    WrongWeights,
    drawn,
    needed_tensors,
    read_tensors,
)
from archdsl.ir import Network
from archdsl.transforms import FOLDING

__all__ = [
    "DEFAULT_OPSET",
    "OPSETS",
    "Exported",
    "InvalidModel",
    "WrongWeights",
    "drawn",
    "export",
    "needed_tensors",
    "norms",
    "read_tensors",
]

# From 18 on, a resize can leave batch and channels alone, and there are operators for
# layer norms and activations. 26 is the newest that onnxruntime runs.
OPSETS: Final = range(18, 27)
DEFAULT_OPSET: Final = 18


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
        path: the file of the model; a second file, for large weights, is named after
            it.
        opset: version of the operators, from `OPSETS`.
        fold: whether batch norms are folded into neighbouring layers, and parallel
            convolutions whose outputs are added are merged.
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
    refuse_unknown(network)
    own, given = needed_tensors(network, weights), network
    if fold:
        network, own = FOLDING.apply(given), FOLDING.weights(given, own)
    own = {key: value.astype("float32", copy=False) for key, value in own.items()}
    made = convert(network, own, opset=opset, batch=batch, fixed_size=fixed_size)
    lean = assemble(given, made, opset)
    check_model(network, made, lean)
    model, data = with_constants(lean, made.constants, path)
    return Exported(
        name=network.name,
        format="onnx",
        opset=opset,
        nodes=len(made.nodes),
        folded=norms(given) - norms(network),
        inputs=dict(made.inputs),
        outputs=dict(made.outputs),
        fixed_by=made.fixed_by,
        model=model,
        data=data,
    )


def norms(network: Network) -> int:
    """Return the number of batch norms that a network has."""
    return len({step.path for step in network.steps() if step.op.pools_batch})
