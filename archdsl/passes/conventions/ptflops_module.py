"""ptflops with its backend `pytorch`: hooks on modules, and patched functions.

Source: ptflops 0.7.5, `ptflops/pytorch_ops.py` and `pytorch_engine.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from archdsl.passes.written import Call, Written

from .formulas import (
    UNCOUNTED,
    bias,
    convolution,
    inputs,
    linear,
    names,
    outputs,
    rule_of,
    transposed,
)

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


def _norm(call: Call) -> int:
    # It reads the attribute `affine`, which a layer norm does not have.
    doubled = call.is_affine and call.name != "nn.LayerNorm"
    return inputs(call) * (2 if doubled else 1)


_MODULES: Final[Mapping[str, Callable[[Call], int]]] = {
    "nn.AdaptiveAvgPool": inputs,
    "nn.AdaptiveMaxPool": inputs,
    "nn.AvgPool": inputs,
    "nn.BatchNorm": _norm,
    "nn.Conv": lambda call: convolution(call) + bias(call),
    "nn.ConvTranspose": lambda call: transposed(call) + bias(call),
    "nn.ELU": outputs,
    "nn.GELU": outputs,
    "nn.GroupNorm": _norm,
    "nn.InstanceNorm": _norm,
    "nn.LayerNorm": _norm,
    "nn.LeakyReLU": outputs,
    "nn.Linear": lambda call: linear(call) + bias(call),
    "nn.MaxPool": inputs,
    "nn.PReLU": outputs,
    "nn.ReLU": outputs,
    "nn.ReLU6": outputs,
    "nn.Upsample": outputs,
}
_FUNCTIONS: Final[Mapping[str, Callable[[Call], int]]] = {
    "F.adaptive_avg_pool": inputs,
    "F.adaptive_max_pool": inputs,
    "F.avg_pool": inputs,
    "F.elu": inputs,
    "F.gelu": inputs,
    "F.interpolate": outputs,
    "F.max_pool": inputs,
    "F.prelu": inputs,
    "F.relu": inputs,
    "F.relu6": inputs,
    "F.silu": inputs,
    "F.softmax": inputs,
    "Tensor.add": inputs,
    "Tensor.mul": inputs,
}
_NOTHING: Final = names(
    """
    nn.AlphaDropout nn.ChannelShuffle nn.Dropout nn.Flatten nn.Hardsigmoid
    nn.Hardswish nn.Identity nn.LocalResponseNorm nn.Mish nn.PixelShuffle
    nn.PixelUnshuffle nn.SELU nn.SiLU nn.Sigmoid nn.Softmax nn.Tanh nn.ZeroPad
    nn.ReflectionPad nn.ReplicationPad nn.CircularPad
    """
)
_NO_FUNCTIONS: Final = UNCOUNTED | names(
    """
    F.batch_norm F.conv F.conv_transpose F.group_norm F.instance_norm F.layer_norm
    F.leaky_relu F.linear
    """
)


def count(step: Written, training: bool) -> int:
    """Return the sum over modules and functions that ptflops knows."""
    if not step.known:
        return step.macs
    total = 0
    for call in step.modules:
        # It only hooks classes of torch.
        rule = None if call.base else rule_of(call.name, _MODULES, _NOTHING)
        total += rule(call) if rule else 0
    for call in step.functions:
        rule = rule_of(call.name, _FUNCTIONS, _NO_FUNCTIONS)
        total += rule(call) if rule else 0
    return total
