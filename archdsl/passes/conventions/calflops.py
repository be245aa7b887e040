"""calflops: torch functions replaced by functions that count.

Source: calflops 0.3.2, `calflops/pytorch_ops.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from archdsl.passes.written import Call, Written
from archdsl.values import channels, sizes

from .formulas import (
    UNCOUNTED,
    Unknown,
    area,
    groups,
    inputs,
    linear,
    per_axis,
    positions,
    rule_of,
)

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


def _positions(call: Call) -> int:
    """Return the outputs of a channel, as calflops computes them."""
    kernel = per_axis(call, call.arguments["kernel_size"])
    stride = per_axis(call, call.arguments.get("stride", 1))
    dilation = per_axis(call, call.arguments.get("dilation", 1))
    padding = call.arguments.get("padding", 0)
    if isinstance(padding, str):
        reach = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        padding = tuple(r // 2 if padding == "same" else 0 for r in reach)
    total = 1
    pads = per_axis(call, padding)
    for n, k, s, d, p in zip(
        sizes(call.input), kernel, stride, dilation, pads, strict=True
    ):
        total *= (n + 2 * p - (d * (k - 1) + 1)) // s + 1
    return total


def _convolution(call: Call) -> int:
    wide = channels(call.output)
    window = area(call) * channels(call.input) * (wide // groups(call))
    sums = wide if call.has_bias else 0
    return (2 * window + sums) * _positions(call)


def _transposed(call: Call) -> int:
    # It takes the channels of a group for all of them, and the outputs for those of
    # a convolution.
    wide = channels(call.output) // groups(call)
    window = area(call) * inputs(call) * (wide // groups(call))
    return 2 * window + (wide * _positions(call) if call.has_bias else 0)


def _norm(call: Call) -> int:
    return inputs(call) * (5 if call.is_affine else 4)


def _batch_norm(call: Call) -> int:
    if call.arguments.get("training"):
        return _norm(call)
    return inputs(call) * (2 if call.is_affine else 1)


def _interpolation(call: Call) -> int:
    # With a factor it forgets it, and fails if there is one for each axis; with a size
    # it forgets the channels, and of a square size, which is given as one number, one
    # side.
    factor = call.arguments.get("scale_factor")
    if factor is not None:
        if len(set(per_axis(call, factor))) > 1:
            raise Unknown(f"{call.name} with a factor for each axis")
        return inputs(call)
    size = call.arguments.get("size")
    if size is not None and len(set(per_axis(call, size))) == 1:
        return per_axis(call, size)[0]
    return positions(call)


_FUNCTIONS: Final[Mapping[str, Callable[[Call], int]]] = {
    "F.adaptive_avg_pool": inputs,
    "F.adaptive_max_pool": inputs,
    "F.avg_pool": inputs,
    "F.batch_norm": _batch_norm,
    "F.conv": _convolution,
    "F.conv_transpose": _transposed,
    "F.elu": inputs,
    "F.gelu": inputs,
    "F.group_norm": _norm,
    "F.instance_norm": _norm,
    "F.interpolate": _interpolation,
    "F.layer_norm": _norm,
    "F.leaky_relu": inputs,
    "F.linear": lambda call: 2 * linear(call),
    "F.max_pool": inputs,
    "F.prelu": inputs,
    "F.relu": inputs,
    "F.relu6": inputs,
    "F.silu": inputs,
    "F.softmax": inputs,
    "Tensor.add": inputs,
    "Tensor.mul": inputs,
}


def count(step: Written, training: bool) -> int:
    """Return the sum over the functions that calflops knows."""
    if not step.known:
        return 2 * step.macs
    rules = [(rule_of(c.name, _FUNCTIONS, UNCOUNTED), c) for c in step.functions]
    return sum([rule(call) for rule, call in rules if rule])
