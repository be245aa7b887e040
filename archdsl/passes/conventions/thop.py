"""thop's `profile`: hooks on modules of exactly the classes that it lists.

Source: thop 0.1.1, `thop/profile.py` and `thop/vision/basic_hooks.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from archdsl.passes.written import Call, Written
from archdsl.values import channels, sizes

from .formulas import area, groups, inputs, linear, names, outputs, rule_of

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


def _convolution(call: Call) -> int:
    # The same for a transposed one, which multiplies its inputs instead.
    return outputs(call) * area(call) * (channels(call.input) // groups(call))


def _norm(call: Call) -> int:
    return inputs(call) * (4 if call.is_affine else 2)


def _adaptive_average(call: Call) -> int:
    share = 1.0
    for before, after in zip(sizes(call.input), sizes(call.output), strict=True):
        share *= before / after
    # In floats, and rounded down, as thop does it.
    return int((share + 1) * outputs(call))


def _softmax(call: Call) -> int:
    # Exponentials and divisions of all features, and the sums of all but one.
    features = (1, *call.input)[int(call.arguments["dim"])]
    return inputs(call) // features * (3 * features - 1)


_UPSAMPLING: Final = {"nearest": 1, "linear": 5, "bilinear": 11, "bicubic": 259}


def _upsample(call: Call) -> int:
    mode = str(call.arguments.get("mode", "nearest"))
    return outputs(call) * _UPSAMPLING.get(mode, 0)


_MODULES: Final[Mapping[str, Callable[[Call], int]]] = {
    "nn.AdaptiveAvgPool": _adaptive_average,
    "nn.AvgPool": outputs,
    "nn.BatchNorm": _norm,
    "nn.Conv": _convolution,
    "nn.ConvTranspose": _convolution,
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
    nn.ELU nn.Flatten nn.GELU nn.GroupNorm nn.Hardsigmoid nn.Hardswish nn.Identity
    nn.LeakyReLU nn.LocalResponseNorm nn.MaxPool nn.Mish nn.PixelShuffle
    nn.PixelUnshuffle nn.ReLU nn.ReLU6 nn.SELU nn.SiLU nn.Sigmoid nn.Tanh nn.ZeroPad
    nn.ReflectionPad nn.ReplicationPad nn.CircularPad
    """
)


def count(step: Written, training: bool) -> int:
    """Return the sum over the modules that thop knows."""
    if not step.known:
        return step.macs
    # It only hooks classes of torch.
    calls = [call for call in step.modules if not call.base]
    rules = [(rule_of(call.name, _MODULES, _NOTHING), call) for call in calls]
    return sum([rule(call) for rule, call in rules if rule])
