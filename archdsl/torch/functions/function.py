"""The descriptions of a function of torch, and of a module that calls it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

from archdsl.values import Shape, Tensor


class ShapedCall(NamedTuple):
    """A call of a module or function.

    Attributes:
        name: name of the class or function, such as ``nn.Conv2d`` or ``F.relu``; see
            `forms.called`.
        arguments: the arguments by name; missing ones have torch's defaults.
        input: shape of the first input.
        output: shape of the output.
        tensors: the parameters and buffers of a module.
        base: base class of a class in the emitted text, such as ``nn.Conv2d``.
        training: whether the module is in training mode.
    """

    name: str
    arguments: Mapping[str, Any]
    input: Shape
    output: Shape
    tensors: tuple[Tensor, ...] = ()
    base: str = ""
    training: bool = False

    @property
    def has_bias(self) -> bool:
        """Whether a convolution or linear layer adds a bias."""
        return bool(self.arguments.get("bias", True))

    @property
    def is_affine(self) -> bool:
        """Whether a norm scales and shifts its normalised values."""
        default = not self.name.startswith(("nn.InstanceNorm", "F.instance_norm"))
        given = self.arguments.get("affine", default)
        return bool(self.arguments.get("elementwise_affine", given))


class UnknownCount(Exception):
    """It is not known how a tool counts a function or module."""


CountingRule: TypeAlias = Callable[[ShapedCall], int]

# By tool, see `counting.TOOLS`; a tool that is left out counts nothing. None if it is
# not known what the tools do.
CountingRules: TypeAlias = Mapping[str, CountingRule] | None

# What an output depends on. "place": the numbers of all inputs in the same place, in
# inference if the modes differ. "moves": the function only moves values or takes a
# maximum, so that it can be applied to positions as it is. Otherwise a function of the
# same arguments that does to positions what torch's does to numbers; see `positions`.
Reads: TypeAlias = Literal["place", "moves"] | Callable[..., Any] | None


class Function(NamedTuple):
    """A function of torch, or several that are the same by other names.

    Attributes:
        names: its names, separated by spaces: ``F.conv``, ``torch.cat`` or
            ``Tensor.chunk``. A name without its number of axes is for any number.
        parameters: as Python declares them, where `stride=kernel_size` is a default
            that is another argument's value; None for functions that emitted code
            always calls in the same way.
        reads: what its output depends on, None if that is not known.
        counts: how the tools that watch functions or operators count it.
        inplace: what autograd keeps if it runs in place. "output": the output, if
            anything; "copies": a copy of the input. None if it never runs in place.
    """

    names: str
    parameters: str | None = None
    reads: Reads = None
    counts: CountingRules = None
    inplace: Literal["output", "copies"] | None = None


class Module(NamedTuple):
    """A class of torch.nn.

    Attributes:
        name: its name, such as ``nn.Conv``; without a number of axes, it is for any
            number.
        parameters: the parameters of its constructor, as Python declares them.
        calls: the function that it calls, where `{axes}` stands for the number of axes;
            empty for a module that calls none.
        counts: how the tools that watch modules count it.
        ordered: whether the output is in memory order whatever the input is.
    """

    name: str
    parameters: str
    calls: str
    counts: CountingRules = None
    ordered: bool = False
