"""torchinfo's `summary`: parameters, and for convolutions times positions.

Source: torchinfo 1.8.0, `torchinfo/layer_info.py`, `calculate_macs`.
"""

from __future__ import annotations

from typing import Final

from archdsl.passes.written import Call, Written

from .formulas import positions

UNIT: Final = "MACs"
EVALUATES: Final = False
NOTE: Final = (
    "weights and biases, those of convolutions once for each position of the output "
    "and all others once for a sample, whatever the size of the map"
)


def count(step: Written, training: bool) -> int:
    """Return the sum over the modules; functions and bare parameters have none."""
    if not step.known:
        return step.macs
    return sum([_module(call) for call in step.modules])


def _module(call: Call) -> int:
    parameters = sum(
        tensor.elements
        for tensor in call.tensors
        if "weight" in tensor.name or "bias" in tensor.name
    )
    return parameters * (positions(call) if "Conv" in call.name else 1)
