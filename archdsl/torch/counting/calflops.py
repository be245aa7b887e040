"""calflops: torch functions replaced by functions that count.

Source: calflops 0.3.2, `calflops/pytorch_ops.py`.
"""

from __future__ import annotations

from typing import Final

from archdsl.torch.calls import Executed
from archdsl.torch.functions import tool_count

VERSION: Final = "calflops 0.3.2"
UNIT: Final = "FLOPs"
EVALUATES: Final = True
NOTE: Final = "2 x MACs, plus biases of convolutions, norms, activations and pools"
ABOUT: Final = (
    "calflops replaces functions, which the modules call, too. It counts two "
    "operations for each MAC, and says FLOPs; biases of convolutions, but not of "
    "linear layers; 2 for each element of batch norm, 5 of other norms; an operation "
    "for each input of pools and of some activations. ReLU6 as a module counts as "
    "nothing, since it calls another function."
)


def count(step: Executed, training: bool) -> int:
    """Return the sum over the functions that calflops knows."""
    if not step.known:
        return 2 * step.macs
    return tool_count(step.functions, "calflops")
