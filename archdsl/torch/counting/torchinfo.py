"""torchinfo's `summary`: the number of parameters, times positions for convolutions.

Source: torchinfo 1.8.0, `torchinfo/layer_info.py`, `calculate_macs`.
"""

from __future__ import annotations

from typing import Final

from archdsl.torch.calls import Executed
from archdsl.torch.functions import ShapedCall
from archdsl.torch.functions.rules import positions

VERSION: Final = "torchinfo 1.8.0"
UNIT: Final = "MACs"
EVALUATES: Final = False
NOTE: Final = "weights and biases, those of convolutions once per output position"
ABOUT: Final = (
    "torchinfo multiplies parameters: weights and biases of a convolution by the "
    "positions of its output, those of any other module by nothing. So a batch norm "
    "counts as two operations a channel, whatever the size of the map, and a linear "
    "layer that works on each position of a map as if there were one. For transposed "
    "convolutions, too, it takes the positions of the output. Functions, and "
    "parameters that stand beside submodules, count as nothing."
)


def count(step: Executed, training: bool) -> int:
    """Return the sum over the modules; functions and bare parameters have none."""
    if not step.known:
        return step.macs
    return sum([_module(call) for call in step.modules])


def _module(call: ShapedCall) -> int:
    parameters = sum(
        tensor.elements
        for tensor in call.tensors
        if "weight" in tensor.name or "bias" in tensor.name
    )
    return parameters * (positions(call) if "Conv" in call.name else 1)
