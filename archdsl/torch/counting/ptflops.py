"""ptflops with its backend `aten`: the operators that ATen executes.

Source: ptflops 0.7.5, `ptflops/aten_ops.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from archdsl.torch.calls import Call, Executed

from .formulas import (
    UNCOUNTED,
    bias,
    convolution,
    linear,
    names,
    rule_of,
    transposed,
)

VERSION: Final = "ptflops 0.7.5"
UNIT: Final = "MACs"
EVALUATES: Final = True
NOTE: Final = "MACs and biases of convolutions and linear layers, nothing else"
ABOUT: Final = (
    "ptflops with its backend `aten`, which its manual calls the default, looks at the "
    "operators that torch runs in the end. It counts MACs and biases of convolutions "
    "and linear layers, and nothing else. The bias of a linear layer that reads a "
    "permuted map is added by an operator that it does not know."
)

_FUNCTIONS: Final[Mapping[str, Callable[[Call], int]]] = {
    "F.conv": lambda call: convolution(call) + bias(call),
    "F.conv_transpose": lambda call: transposed(call) + bias(call),
    "F.linear": lambda call: linear(call) + bias(call),
}
_NOTHING: Final = UNCOUNTED | names(
    """
    F.adaptive_avg_pool F.adaptive_max_pool F.avg_pool F.batch_norm
    F.elu F.gelu F.group_norm F.instance_norm F.interpolate F.layer_norm F.leaky_relu
    F.max_pool F.prelu F.relu F.relu6 F.silu F.softmax Tensor.add Tensor.mul
    """
)


def count(step: Executed, training: bool) -> int:
    """Return the sum over the functions whose operators ptflops knows."""
    if not step.known:
        return step.macs
    total = 0
    for call in step.functions:
        rule = rule_of(call.name, _FUNCTIONS, _NOTHING)
        total += rule(call) if rule else 0
    if step.in_order:
        return total
    # If positions are not in memory order, the bias is a separate sum, not an `addmm`.
    return total - sum([bias(c) for c in step.functions if c.name == "F.linear"])
