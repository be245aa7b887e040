"""ptflops with its backend `pytorch`: hooks on modules, and patched functions.

Source: ptflops 0.7.5, `ptflops/pytorch_ops.py` and `pytorch_engine.py`.
"""

from __future__ import annotations

from typing import Final

from archdsl.torch.calls import Executed
from archdsl.torch.functions import tool_count

VERSION: Final = "ptflops 0.7.5"
UNIT: Final = "MACs"
EVALUATES: Final = True
NOTE: Final = "MACs, biases, norms, activations, pools; modules often count twice"
ABOUT: Final = (
    "ptflops with its backend `pytorch`, which is taken when none is named, hooks "
    "modules and replaces functions. It counts MACs with biases, 2 operations for each "
    "element of batch norm, and an operation for each input of pools and of some "
    "activations. Since a module calls the function, those of ReLU, ELU, PReLU, GELU, "
    "pools and upsampling count twice as modules, and once as functions."
)


def count(step: Executed, training: bool) -> int:
    """Return the sum over modules and functions that ptflops knows."""
    if not step.known:
        return step.macs
    # It only hooks classes of torch.
    modules = [call for call in step.modules if not call.base]
    return tool_count([*modules, *step.functions], "ptflops_module")
