"""fvcore's `FlopCountAnalysis`: the operators in a trace of the module.

Source: fvcore 0.1.5, `fvcore/nn/flop_count.py` and `jit_handles.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from archdsl.passes.written import Call, Written
from archdsl.values import ranked

from .formulas import (
    UNCOUNTED,
    convolution,
    inputs,
    linear,
    names,
    outputs,
    rule_of,
    transposed,
)

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


def _operator(call: Call) -> str:
    """Return the name that a function has in the trace."""
    if call.name == "F.interpolate":
        mode = call.arguments.get("mode", "nearest")
        return ranked(f"aten::upsample_{mode}", call.output)
    zeros = call.arguments.get("padding_mode", "zeros") == "zeros"
    if isinstance(call.arguments.get("padding"), str) and zeros:
        return "aten::_convolution_mode"
    return _NAMES.get(call.name, call.name)


_NAMES: Final[Mapping[str, str]] = {
    "F.adaptive_avg_pool2d": "aten::adaptive_avg_pool2d",
    "F.batch_norm": "aten::batch_norm",
    "F.conv1d": "aten::_convolution",
    "F.conv2d": "aten::_convolution",
    "F.conv3d": "aten::_convolution",
    "F.conv_transpose1d": "aten::_convolution, transposed",
    "F.conv_transpose2d": "aten::_convolution, transposed",
    "F.conv_transpose3d": "aten::_convolution, transposed",
    "F.group_norm": "aten::group_norm",
    "F.instance_norm": "aten::instance_norm",
    "F.layer_norm": "aten::layer_norm",
    "F.linear": "aten::linear",
}


_NOTHING: Final = UNCOUNTED | names(
    """
    F.adaptive_avg_pool F.adaptive_max_pool F.avg_pool F.elu F.gelu F.leaky_relu
    F.max_pool F.prelu F.relu F.relu6 F.silu F.softmax Tensor.add Tensor.mul
    aten::_convolution_mode aten::upsample_bicubic aten::upsample_linear
    aten::upsample_nearest aten::upsample_trilinear
    """
)


def _norm(call: Call, training: bool) -> int:
    return inputs(call) * (5 if call.is_affine else 4)


def _batch_norm(call: Call, training: bool) -> int:
    if training or call.arguments.get("training"):
        return _norm(call, training)
    return inputs(call) * (2 if call.is_affine else 1)


_OPERATORS: Final[Mapping[str, Callable[[Call, bool], int]]] = {
    "aten::_convolution": lambda call, _: convolution(call),
    "aten::_convolution, transposed": lambda call, _: transposed(call),
    "aten::adaptive_avg_pool2d": lambda call, _: inputs(call),
    "aten::batch_norm": _batch_norm,
    "aten::group_norm": _norm,
    "aten::instance_norm": _norm,
    "aten::layer_norm": _norm,
    "aten::linear": lambda call, _: linear(call),
    "aten::upsample_bilinear2d": lambda call, _: 4 * outputs(call),
    "aten::upsample_nearest2d": lambda call, _: outputs(call),
}


def count(step: Written, training: bool) -> int:
    """Return the sum over the operators that fvcore knows."""
    if not step.known:
        return step.macs
    total = 0
    for call in step.functions:
        rule = rule_of(_operator(call), _OPERATORS, _NOTHING)
        total += rule(call, training) if rule else 0
    return total
