"""ptflops with its backend `aten`: the operators that ATen runs.

Source: ptflops 0.7.5, `ptflops/aten_ops.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from archdsl.passes.written import Call, Written

from .formulas import bias, convolution, linear, transposed

UNIT: Final = "MACs"
EVALUATES: Final = True
NOTE: Final = "convolutions and linear layers with their biases, and nothing else"
ABOUT: Final = (
    "ptflops with its backend `aten`, which its manual calls the default, looks at the "
    "operators that torch runs in the end. It counts MACs and biases of convolutions "
    "and linear layers, and nothing else. The bias of a linear layer that reads a "
    "permuted map is added by an operator that it does not know."
)

_FUNCTIONS: Final[Mapping[str, Callable[[Call], int]]] = {
    "F.conv2d": lambda call: convolution(call) + bias(call),
    "F.conv_transpose2d": lambda call: transposed(call) + bias(call),
    "F.linear": lambda call: linear(call) + bias(call),
}


def count(step: Written, training: bool) -> int:
    """Return the sum over the functions whose operators ptflops knows."""
    if not step.known:
        return step.macs
    calls = [c for c in step.functions if c.name in _FUNCTIONS]
    total = sum([_FUNCTIONS[call.name](call) for call in calls])
    if step.in_order:
        return total
    # Over positions that are not in order, the bias is a sum of its own: no `addmm`.
    return total - sum([bias(call) for call in calls if call.name == "F.linear"])
