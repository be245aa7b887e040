"""Convolutions, transposed ones, and linear layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from archdsl.spectral import WRAPPER
from archdsl.values import channels, sizes

from .function import Function, Module, ShapedCall
from .positions import NOTHING, grouped, per_axis, slid, widened
from .rules import (
    bias,
    convolution,
    groups,
    inputs,
    linear,
    outputs,
    transposed,
    window_elements,
)
from .rules import per_axis as numbers

if TYPE_CHECKING:
    from torch import Tensor

# ---- what outputs depend on


def _conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    most = _padded(grouped(x, groups), padding, weight.shape[2:], dilation)
    most = slid(most, weight.shape[2:], stride, dilation)
    return widened(most, weight.shape[0])


def _padded(x: Tensor, padding: Any, kernel: Sequence[int], dilation: Any) -> Tensor:
    from torch.nn import functional

    if isinstance(padding, str):
        if padding != "same":
            return x
        apart = per_axis(dilation, kernel)
        reaches = [d * (k - 1) for d, k in zip(apart, kernel, strict=True)]
        sides = [s for r in reversed(reaches) for s in (r // 2, r - r // 2)]
    else:
        sides = [n for n in reversed(per_axis(padding, kernel)) for _ in range(2)]
    return functional.pad(x, sides, value=NOTHING)


def _conv_transpose(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    """Return a convolution of the input with empty positions inserted."""
    from torch.nn import functional

    most, kernel = grouped(x, groups), weight.shape[2:]
    steps = per_axis(stride, kernel)
    size = [(n - 1) * s + 1 for n, s in zip(most.shape[2:], steps, strict=True)]
    apart = most.new_full((*most.shape[:2], *size), NOTHING)
    places = [slice(None, None, step) for step in (1, 1, *steps)]
    apart[tuple(places)] = most
    sides: list[int] = []
    for k, d, p, o in zip(
        kernel,
        per_axis(dilation, kernel),
        per_axis(padding, kernel),
        per_axis(output_padding, kernel),
        strict=True,
    ):
        before = d * (k - 1) - p
        sides = [before, before + o, *sides]
    apart = functional.pad(apart, sides, value=NOTHING)
    most = slid(apart, kernel, 1, dilation)
    return widened(most, groups * weight.shape[1])


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return x.amax(-1, keepdim=True).expand(*x.shape[:-1], weight.shape[0])


# ---- how tools count


def _fvcore(call: ShapedCall) -> int:
    # `padding="same"` is an operator of its own, which it does not know.
    same = isinstance(call.arguments.get("padding"), str)
    zeros = call.arguments.get("padding_mode", "zeros") == "zeros"
    return 0 if same and zeros else convolution(call)


def _positions(call: ShapedCall) -> int:
    """Return the outputs of a channel, as calflops computes them."""
    kernel = numbers(call, call.arguments["kernel_size"])
    stride = numbers(call, call.arguments.get("stride", 1))
    dilation = numbers(call, call.arguments.get("dilation", 1))
    padding = call.arguments.get("padding", 0)
    if isinstance(padding, str):
        reach = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        padding = tuple(r // 2 if padding == "same" else 0 for r in reach)
    total = 1
    pads = numbers(call, padding)
    for n, k, s, d, p in zip(
        sizes(call.input), kernel, stride, dilation, pads, strict=True
    ):
        total *= (n + 2 * p - (d * (k - 1) + 1)) // s + 1
    return total


def _calflops(call: ShapedCall) -> int:
    wide = channels(call.output)
    window = window_elements(call) * channels(call.input) * (wide // groups(call))
    sums = wide if call.has_bias else 0
    return (2 * window + sums) * _positions(call)


def _calflops_transposed(call: ShapedCall) -> int:
    # It uses the channels of one group instead of all, and the output size of a
    # convolution that is not transposed.
    wide = channels(call.output) // groups(call)
    window = window_elements(call) * inputs(call) * (wide // groups(call))
    return 2 * window + (wide * _positions(call) if call.has_bias else 0)


def _with_biases(call: ShapedCall) -> int:
    return convolution(call) + bias(call)


def _transposed_with_biases(call: ShapedCall) -> int:
    return transposed(call) + bias(call)


def _linear_with_biases(call: ShapedCall) -> int:
    return linear(call) + bias(call)


def _not_transposed(call: ShapedCall) -> int:
    # The products of a convolution, though a transposed one multiplies its inputs.
    return (
        outputs(call) * window_elements(call) * (channels(call.input) // groups(call))
    )


_OPTIONS: Final = "in_channels, out_channels, kernel_size, stride=1, padding=0, "

ENTRIES: Final = (
    Function(
        "F.conv",
        reads=_conv,
        counts={"fvcore": _fvcore, "calflops": _calflops, "ptflops": _with_biases},
    ),
    Module(
        "nn.Conv",
        f"{_OPTIONS}dilation=1, groups=1, bias=True, padding_mode='zeros'",
        "F.conv{axes}",
        counts={
            "ptflops_module": _with_biases,
            "thop": convolution,
            "ultralytics_thop": convolution,
        },
    ),
    Function(
        "F.conv_transpose",
        reads=_conv_transpose,
        counts={
            "fvcore": transposed,
            "calflops": _calflops_transposed,
            "ptflops": _transposed_with_biases,
        },
    ),
    Module(
        "nn.ConvTranspose",
        f"{_OPTIONS}output_padding=0, groups=1, bias=True, dilation=1, "
        "padding_mode='zeros'",
        "F.conv_transpose{axes}",
        counts={
            "ptflops_module": _transposed_with_biases,
            "thop": _not_transposed,
            "ultralytics_thop": transposed,
        },
    ),
    Function(
        "F.linear",
        reads=_linear,
        counts={
            "fvcore": linear,
            "calflops": lambda call: 2 * linear(call),
            "ptflops": _linear_with_biases,
        },
    ),
    Module(
        "nn.Linear",
        "in_features, out_features, bias=True",
        "F.linear",
        counts={
            "ptflops_module": _linear_with_biases,
            "thop": linear,
            "ultralytics_thop": linear,
        },
        ordered=True,
    ),
    Module(
        WRAPPER,
        "module, name='weight', n_power_iterations=1, eps=1e-12, dim=None",
        "",
        {},
    ),
)
