"""ultralytics-thop's `profile`: hooks on modules, and on matrix products.

Source: ultralytics-thop 2.2.3, `thop/profile.py` and `thop/vision/basic_hooks.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from archdsl.layer import adaptive_taps
from archdsl.passes.written import Call, Written
from archdsl.values import channels, sizes

from .formulas import (
    UNCOUNTED,
    convolution,
    inputs,
    linear,
    names,
    outputs,
    per_axis,
    rule_of,
    transposed,
)

VERSION: Final = "ultralytics-thop 2.2.3"
UNIT: Final = "MACs"
EVALUATES: Final = True
NOTE: Final = "MACs without biases; norms, average pools, softmax, upsampling"
ABOUT: Final = (
    "ultralytics-thop is what thop has become, a module of the same name. It hooks "
    "classes derived from those it lists, too. Unlike thop it counts the inputs of a "
    "transposed convolution, 4 operations for each element of group norm, every input "
    "that average pools read besides a division for each output, and nothing for "
    "nearest upsampling. Of functions it counts products of matrices alone."
)


def _norm(call: Call) -> int:
    return inputs(call) * (4 if call.is_affine else 2)


def _average(call: Call) -> int:
    # One sum for each position that the windows cover, one division per output.
    kernel = per_axis(call, call.arguments["kernel_size"])
    stride = per_axis(call, call.arguments.get("stride", kernel))
    padding = per_axis(call, call.arguments.get("padding", 0))
    padded = call.arguments.get("count_include_pad", True)
    axes = zip(
        sizes(call.input), sizes(call.output), kernel, stride, padding, strict=True
    )
    taps = channels(call.input)
    for size, units, k, s, p in axes:
        low, high = (-p, size + p) if padded else (0, size)
        starts = [unit * s - p for unit in range(units)]
        taps *= sum([max(min(at + k, high) - max(at, low), 0) for at in starts])
    return taps + outputs(call)


def _adaptive_average(call: Call) -> int:
    return adaptive_taps(call.input, call.output) + outputs(call)


def _softmax(call: Call) -> int:
    # Exponentials and divisions of all features, and the sums of all but one.
    features = (1, *call.input)[int(call.arguments["dim"])]
    return inputs(call) // features * (3 * features - 1)


_UPSAMPLING: Final = {"nearest": 0, "linear": 5, "bilinear": 11, "bicubic": 259}


def _upsample(call: Call) -> int:
    mode = str(call.arguments.get("mode", "nearest"))
    return outputs(call) * _UPSAMPLING.get(mode, 0)


_MODULES: Final[Mapping[str, Callable[[Call], int]]] = {
    "nn.AdaptiveAvgPool": _adaptive_average,
    "nn.AvgPool": _average,
    "nn.BatchNorm": _norm,
    "nn.Conv": convolution,
    "nn.ConvTranspose": transposed,
    "nn.GroupNorm": _norm,
    "nn.InstanceNorm": _norm,
    "nn.LayerNorm": _norm,
    "nn.Linear": linear,
    "nn.PReLU": inputs,
    "nn.Softmax": _softmax,
    "nn.Upsample": _upsample,
}
_NOTHING: Final = names(
    """
    nn.AdaptiveMaxPool nn.AlphaDropout nn.ChannelShuffle nn.Dropout
    nn.ELU nn.Flatten nn.GELU nn.Hardsigmoid nn.Hardswish nn.Identity nn.LeakyReLU
    nn.LocalResponseNorm nn.MaxPool nn.Mish nn.Module nn.PixelShuffle
    nn.PixelUnshuffle nn.ReLU nn.ReLU6 nn.SELU nn.SiLU nn.Sigmoid nn.Tanh nn.ZeroPad
    nn.ReflectionPad nn.ReplicationPad nn.CircularPad
    """
)
_FUNCTIONS: Final[Mapping[str, Callable[[Call], int]]] = {}
_NO_FUNCTIONS: Final = UNCOUNTED | names(
    """
    F.adaptive_avg_pool F.adaptive_max_pool F.avg_pool F.elu F.gelu
    F.interpolate F.leaky_relu F.max_pool F.prelu F.relu F.relu6 F.silu F.softmax
    Tensor.add Tensor.mul
    """
)


def count(step: Written, training: bool) -> int:
    """Return the sum over the modules that ultralytics-thop knows."""
    if not step.known:
        return step.macs
    names = [call.base or call.name for call in step.modules]
    rules = [rule_of(name, _MODULES, _NOTHING) for name in names]
    if not any(rules):
        # It counts no functions inside modules that it counts.
        for call in step.functions:
            rule_of(call.name, _FUNCTIONS, _NO_FUNCTIONS)
    calls = zip(rules, step.modules, strict=True)
    return sum([rule(call) for rule, call in calls if rule])
