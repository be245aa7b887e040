"""Rules for counting a call that several tools share."""

from __future__ import annotations

from typing import Any

from archdsl.layer import count
from archdsl.values import Shape, channels, sizes

from .function import ShapedCall


def per_axis(call: ShapedCall, value: Any) -> Shape:
    """Return a number for each axis of a call's input; torch may be given one."""
    if isinstance(value, tuple | list):
        return tuple([int(n) for n in value])
    return (int(value),) * len(sizes(call.input))


def window_elements(call: ShapedCall) -> int:
    """Return the elements of a convolution's window."""
    return count(per_axis(call, call.arguments["kernel_size"]))


def groups(call: ShapedCall) -> int:
    """Return the number of groups of a convolution."""
    return int(call.arguments.get("groups", 1))


def inputs(call: ShapedCall) -> int:
    """Return the elements of the input."""
    return count(call.input)


def outputs(call: ShapedCall) -> int:
    """Return the elements of the output."""
    return count(call.output)


def convolution(call: ShapedCall) -> int:
    """Return outputs x window x input channels of a group."""
    return (
        outputs(call) * window_elements(call) * (channels(call.input) // groups(call))
    )


def transposed(call: ShapedCall) -> int:
    """Return inputs x window x output channels of a group."""
    return (
        inputs(call) * window_elements(call) * (channels(call.output) // groups(call))
    )


def linear(call: ShapedCall) -> int:
    """Return inputs x output features."""
    return inputs(call) * channels(call.output)


def bias(call: ShapedCall) -> int:
    """Return a sum for each output, if there is a bias."""
    return outputs(call) if call.has_bias else 0


def positions(call: ShapedCall) -> int:
    """Return the positions of the output, 1 for a vector."""
    return count(sizes(call.output))
