"""thop's `profile`: hooks on modules of exactly the classes that it lists.

Source: thop 0.1.1, `thop/profile.py` and `thop/vision/basic_hooks.py`.
"""

from __future__ import annotations

from typing import Final

from archdsl.torch.calls import Executed
from archdsl.torch.functions import tool_count

VERSION: Final = "thop 0.1.1.post2209072238"
UNIT: Final = "MACs"
EVALUATES: Final = True
NOTE: Final = (
    "MACs without biases; norms, average pools, softmax, upsampling of modules"
)
ABOUT: Final = (
    "thop hooks modules whose class it lists, and nothing else: no functions, and no "
    "class derived from one of those. It counts MACs without biases; 4 operations for "
    "each element of batch, instance and layer norm (2 without scale and shift); "
    "inputs and outputs of adaptive average pooling; outputs of average pooling. Group "
    "norm and activations, but for PReLU and softmax, count as nothing. For a "
    "transposed convolution it takes the products of one that is not."
)


def count(step: Executed, training: bool) -> int:
    """Return the sum over the modules that thop knows."""
    if not step.known:
        return step.macs
    # It only hooks classes of torch.
    return tool_count([call for call in step.modules if not call.base], "thop")
