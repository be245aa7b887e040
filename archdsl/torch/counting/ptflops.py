"""ptflops with its backend `aten`: the operators that ATen executes.

Source: ptflops 0.7.5, `ptflops/aten_ops.py`.
"""

from __future__ import annotations

from typing import Final

from archdsl.torch.calls import Executed
from archdsl.torch.functions import tool_count
from archdsl.torch.functions.rules import bias

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


def count(step: Executed, training: bool) -> int:
    """Return the sum over the functions whose operators ptflops knows."""
    if not step.known:
        return step.macs
    total = tool_count(step.functions, "ptflops")
    if step.in_order:
        return total
    # If positions are not in memory order, the bias is a separate sum, not an `addmm`.
    return total - sum([bias(c) for c in step.functions if c.name == "F.linear"])
