"""fvcore's `FlopCountAnalysis`: the operators in a trace of the module.

Source: fvcore 0.1.5, `fvcore/nn/flop_count.py` and `jit_handles.py`.
"""

from __future__ import annotations

from typing import Final

from archdsl.torch.calls import Executed
from archdsl.torch.functions import tool_count

VERSION: Final = "fvcore 0.1.5.post20221221"
UNIT: Final = "MACs"
EVALUATES: Final = False
NOTE: Final = (
    "MACs without biases, plus batch norms, adaptive average pools, upsampling"
)
ABOUT: Final = (
    "fvcore traces the module and looks at the operators of the trace. It counts a MAC "
    "for each product of convolutions and linear layers, and no biases; 2 operations "
    "for each element of batch norm in evaluation mode (1 without scale and shift), "
    "but 5 in training and for layer, group and instance norm (4 without); each input "
    "of adaptive average pooling, but nothing of other pools; 1 an output of nearest "
    "upsampling, 4 of bilinear. A convolution with `pad=same` has an operator of its "
    "own, which it does not know and counts as nothing."
)


def count(step: Executed, training: bool) -> int:
    """Return the sum over the functions whose operators fvcore knows."""
    if not step.known:
        return step.macs
    return tool_count(
        [call._replace(training=training) for call in step.functions], "fvcore"
    )
