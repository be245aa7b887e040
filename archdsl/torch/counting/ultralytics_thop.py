"""ultralytics-thop's `profile`: hooks on modules, and on matrix products.

Source: ultralytics-thop 2.2.3, `thop/profile.py` and `thop/vision/basic_hooks.py`.
"""

from __future__ import annotations

from typing import Final

from archdsl.torch.calls import Executed
from archdsl.torch.functions import tool_count

_TOOL: Final = "ultralytics_thop"
VERSION: Final = "ultralytics-thop 2.2.3"
UNIT: Final = "MACs"
EVALUATES: Final = True
NOTE: Final = "MACs without biases; norms, average pools, softmax, upsampling"
ABOUT: Final = (
    "ultralytics-thop is the successor of thop, a module of the same name. It hooks "
    "classes derived from those it lists, too. Unlike thop it counts the inputs of a "
    "transposed convolution, 4 operations for each element of group norm, every input "
    "that average pools read besides a division for each output, and nothing for "
    "nearest upsampling. Of functions it counts products of matrices alone."
)


def count(step: Executed, training: bool) -> int:
    """Return the sum over the modules that ultralytics-thop knows."""
    if not step.known:
        return step.macs
    modules = [call._replace(name=call.base or call.name) for call in step.modules]
    # It counts no functions inside modules that it counts.
    return tool_count(modules, "ultralytics_thop") or tool_count(
        step.functions, "ultralytics_thop"
    )
