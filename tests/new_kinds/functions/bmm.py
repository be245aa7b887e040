"""Products of matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .function import Function, ShapedCall
from .rules import outputs

if TYPE_CHECKING:
    from torch import Tensor


def _bmm(input: Tensor, mat2: Tensor) -> Tensor:
    import torch

    rows, columns = input.amax(2, keepdim=True), mat2.amax(1, keepdim=True)
    shape = (len(input), input.shape[1], mat2.shape[2])
    return torch.maximum(rows.expand(shape), columns.expand(shape))


def _products(call: ShapedCall) -> int:
    return outputs(call)  # of a column and a row


# calflops does not patch this function, and thop and torchinfo only see modules.
_TOOLS = ("fvcore", "ptflops", "ptflops_module", "ultralytics_thop")

ENTRIES = (
    Function(
        "torch.bmm",
        "input, mat2",
        _bmm,
        counts=dict.fromkeys(_TOOLS, _products),
    ),
)
