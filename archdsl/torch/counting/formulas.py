"""Formulas that several tools share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from archdsl.layer import count
from archdsl.torch.calls import Call
from archdsl.values import Shape, channels, sizes, without_axes

Rule = TypeVar("Rule", bound=Callable[..., int])


class Unknown(Exception):
    """A function or module of which it is not known how a tool counts it."""


def names(text: str) -> frozenset[str]:
    """Return the words of a text."""
    return frozenset(text.split())


# Functions that no tool counts, including what they call.
UNCOUNTED: Final = names(
    """
    F.alpha_dropout F.channel_shuffle F.dropout F.hardsigmoid F.hardswish
    F.hardtanh F.local_response_norm F.mish F.pad F.pixel_shuffle F.pixel_unshuffle
    F.selu torch.abs torch.cat torch.flatten torch.sigmoid torch.tanh
    Tensor.bernoulli_ Tensor.chunk Tensor.dim Tensor.div_ Tensor.flatten
    Tensor.new_empty Tensor.permute Tensor.reshape Tensor.sum Tensor.transpose
    torch.unflatten view
    """
)


def rule_of(
    name: str, rules: Mapping[str, Rule], nothing: frozenset[str]
) -> Rule | None:
    """Return how a tool counts a call, None if as nothing.

    Args:
        name: of the function, operator or module.
        rules: how the tool counts, by name; one without its number of axes, such as
            ``nn.Conv``, is for any number.
        nothing: the names of those that it does not count.

    Raises:
        Unknown: if neither has the name.
    """
    found = rules.get(name)
    if found is None and name not in nothing:
        general = without_axes(name)
        found = rules.get(general)
        if found is None and general not in nothing:
            raise Unknown(name)
    return found


def per_axis(call: Call, value: Any) -> Shape:
    """Return a number for each axis of a call's input; torch may be given one."""
    if isinstance(value, tuple | list):
        return tuple([int(n) for n in value])
    return (int(value),) * len(sizes(call.input))


def area(call: Call) -> int:
    """Return the elements of a convolution's window."""
    return count(per_axis(call, call.arguments["kernel_size"]))


def groups(call: Call) -> int:
    """Return into how many groups a convolution divides its channels."""
    return int(call.arguments.get("groups", 1))


def inputs(call: Call) -> int:
    """Return the elements of the input."""
    return count(call.input)


def outputs(call: Call) -> int:
    """Return the elements of the output."""
    return count(call.output)


def convolution(call: Call) -> int:
    """Return outputs x window x input channels of a group."""
    return outputs(call) * area(call) * (channels(call.input) // groups(call))


def transposed(call: Call) -> int:
    """Return inputs x window x output channels of a group."""
    return inputs(call) * area(call) * (channels(call.output) // groups(call))


def linear(call: Call) -> int:
    """Return inputs x output features."""
    return inputs(call) * channels(call.output)


def bias(call: Call) -> int:
    """Return a sum for each output, if there is a bias."""
    return outputs(call) if call.has_bias else 0


def positions(call: Call) -> int:
    """Return the positions of the output, 1 for a vector."""
    return count(sizes(call.output))
