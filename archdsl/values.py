"""Small frozen values that all stages share: shapes, windows, torch calls.

A shape is a tuple of ints without the batch: the channels and the sizes of a feature
map, or `(features,)` for a vector. A map has one to three spatial axes: `(channels,
length)`, `(channels, height, width)` or `(channels, depth, height, width)`.
"""

from __future__ import annotations

import re
from math import prod
from typing import Any, Final, NamedTuple

Shape = tuple[int, ...]

# The most spatial axes that a map can have.
MOST_AXES: Final = 3


def show_shape(shape: Shape) -> str:
    """Return ``64x112x112``."""
    return "x".join(str(int(n)) for n in shape)


class Last(tuple[int, ...]):
    """Shape of a feature map whose channels come last, as (height, width, channels)."""

    __slots__ = ()


def channels(shape: Shape) -> int:
    """Return the channels of a feature map, or the features of a vector."""
    return shape[-1] if isinstance(shape, Last) else shape[0]


def sizes(shape: Shape) -> Shape:
    """Return a map's size along each spatial axis, or nothing for a vector."""
    return tuple(shape[:-1]) if isinstance(shape, Last) else tuple(shape[1:])


def is_map(shape: Shape) -> bool:
    """Return whether a shape is that of a feature map, not of a vector."""
    return len(shape) > 1


_AXES: Final = re.compile(r"(?<=[a-z])[123]d\b")


def without_axes(name: str) -> str:
    """Return a name of torch without its number of spatial axes: ``nn.Conv``."""
    return _AXES.sub("", name)


# The letters of a map's spatial axes in torch's documentation, by their number.
AXES: Final = {1: ("L",), 2: ("H", "W"), 3: ("D", "H", "W")}


# What a position along an axis of a map is called, by the number of axes.
PLACES: Final = {1: ("position",), 2: ("row", "column"), 3: ("slice", "row", "column")}


def channels_last(axes: int) -> tuple[int, ...]:
    """Return the order that puts a batch's channels behind its spatial axes."""
    return (0, *range(2, axes + 2), 1)


def channels_first(axes: int) -> tuple[int, ...]:
    """Return the order that puts a batch's channels back before its spatial axes."""
    return (0, axes + 1, *range(1, axes + 1))


def ones(axes: int) -> Shape:
    """Return a 1 for each axis, the size of a single position."""
    return (1,) * axes


def zeros(axes: int) -> Shape:
    """Return a 0 for each axis."""
    return (0,) * axes


def ranked(name: str, shape: Shape) -> str:
    """Return torch's name of what works on maps of a shape: ``nn.Conv2d``."""
    return f"{name}{len(shape) - 1}d"


def with_channels(shape: Shape, count: int) -> Shape:
    """Return a shape with other channels; its sizes become plain integers."""
    plain = [int(n) for n in sizes(shape)]
    return Last((*plain, count)) if isinstance(shape, Last) else (count, *plain)


def with_sizes(shape: Shape, sizes: Shape) -> Shape:
    """Return the shape of a map with other sizes along its axes."""
    if isinstance(shape, Last):
        return Last((*sizes, channels(shape)))
    return (channels(shape), *sizes)


class Dims(tuple[int, ...]):
    """Sizes written with x in a spec, such as 3x3."""

    __slots__ = ()

    def __repr__(self) -> str:
        return show_shape(self)


class Tensor(NamedTuple):
    """A parameter or buffer that a layer owns.

    Attributes:
        name: the last part of its `state_dict` key.
        shape: its sizes.
        trainable: False for buffers.
        integer: True for counters, stored as 64-bit integers.
        running: True for buffers that a forward pass in training updates. Counters
            among them are not read in inference.
        made_into: what the layer makes of it and uses instead, such as ``weight``;
            empty if it uses the tensor itself.
        older: its name in checkpoints of older versions of torch, if it had another.
    """

    name: str
    shape: Shape
    trainable: bool = True
    integer: bool = False
    running: bool = False
    made_into: str = ""
    older: str = ""

    @property
    def used_as(self) -> str:
        """What `init` calls it: the name of what is made of it, or else its own."""
        return self.made_into or self.name

    @property
    def elements(self) -> int:
        """Number of elements, without the expression that it may have."""
        return prod(map(int, self.shape))


class Operations(NamedTuple):
    """Operations other than MACs for one sample, by purpose.

    Attributes:
        bias: additions of biases in convolutions and linear layers.
        norm: normalisation.
        activation: element-wise functions, such as rectifiers.
        pool: maxima and averages of windows.
        add: sums and products of branches.
        other: everything else, such as interpolation, softmax and dropout.
        per_batch: additional operations that occur once per batch, whatever its size,
            such as updates of running statistics.
    """

    bias: int = 0
    norm: int = 0
    activation: int = 0
    pool: int = 0
    add: int = 0
    other: int = 0
    per_batch: int = 0


class Window(NamedTuple):
    """What one output unit sees of the input, along each spatial axis.

    Output unit o sees the positions ``o * stride - pad + dilation * t`` for each
    ``t < kernel``. Input unit i stands at position ``i * up``; the positions
    between are empty.

    Attributes:
        kernel: taps per axis.
        stride: positions per output step.
        pad: positions before the first input unit.
        dilation: positions between taps.
        up: positions per input step; more than 1 for layers that enlarge.
    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    pad: tuple[int, ...]
    dilation: tuple[int, ...]
    up: tuple[int, ...]

    @property
    def is_pointwise(self) -> bool:
        """Whether each unit sees only the unit at its own position."""
        return self is (own := _POINTWISE[len(self.kernel)]) or self == own

    @property
    def is_square(self) -> bool:
        """Whether it is the same along all axes."""
        return all([parts.count(parts[0]) == len(parts) for parts in self])


class Continued(Window):
    """A window of whose positions those beyond the map stand for others."""

    __slots__ = ()

    def source(self, place: int, units: int) -> int:
        """Return the unit that a position before or behind some units stands for."""
        raise NotImplementedError


class Reflected(Continued):
    """A map continued by its mirror image, without repeating the border."""

    __slots__ = ()

    def source(self, place: int, units: int) -> int:
        """Return the unit as far from the border, on the other side of it."""
        return units - 1 - abs(units - 1 - abs(place))


class Replicated(Continued):
    """A map continued by its border."""

    __slots__ = ()

    def source(self, place: int, units: int) -> int:
        """Return the unit at the border."""
        return min(max(place, 0), units - 1)


class Circular(Continued):
    """A map that begins again behind its end."""

    __slots__ = ()

    def source(self, place: int, units: int) -> int:
        """Return the unit as far from the other end."""
        return place % units


# How a map is continued beyond its border, by torch's name of the padding mode.
CONTINUED: Final[dict[str, type[Continued]]] = {
    "reflect": Reflected,
    "replicate": Replicated,
    "circular": Circular,
}


def sliding(
    kernel: tuple[int, ...],
    stride: tuple[int, ...] | None = None,
    pad: tuple[int, ...] | None = None,
    dilation: tuple[int, ...] | None = None,
    up: tuple[int, ...] | None = None,
) -> Window:
    """Return a window; what is left out is 1 along each axis, and the padding 0."""
    once = ones(len(kernel))
    return Window(
        kernel,
        once if stride is None else stride,
        zeros(len(kernel)) if pad is None else pad,
        once if dilation is None else dilation,
        once if up is None else up,
    )


# By the number of axes; a vector has none.
_POINTWISE: Final = tuple([sliding(ones(axes)) for axes in range(MOST_AXES + 1)])


def pointwise(shape: Shape) -> Window:
    """Return the window of a layer on shapes like this whose units see one position."""
    return _POINTWISE[len(shape) - 1]


class Saved(NamedTuple):
    """What autograd keeps of a layer for its backward pass.

    Parameters and buffers are not counted, as they exist anyway.

    Attributes:
        input: the layer's inputs are kept.
        tracked_input: those of them that get a gradient are kept, in their own dtype.
        factors: the inputs are multiplied: the first two, then that product by the
            third and so on; a factor is kept if the other one gets a gradient.
        output: the layer's output is kept.
        own_elements: additional elements per sample, in the computing dtype.
        own_params: additional elements per sample, in the parameters' dtype.
        own_floats: additional numbers per sample, of 32 bits or more.
        own_bytes: additional bytes per sample that do not depend on the dtype, such as
            indices.
        batch_elements: additional elements for the whole batch, in the computing dtype.
        batch_params: additional elements for the whole batch, in the parameters' dtype.
        batch_floats: additional numbers for the whole batch, of 32 bits or more.
        batch_tracked: additional elements for the whole batch, in the computing dtype,
            that are kept only if the input gets a gradient.
        what: what the additional tensors are, such as ``mask``.
    """

    input: bool = False
    tracked_input: bool = False
    factors: bool = False
    output: bool = False
    own_elements: int = 0
    own_params: int = 0
    own_floats: int = 0
    own_bytes: int = 0
    batch_elements: int = 0
    batch_params: int = 0
    batch_floats: int = 0
    batch_tracked: int = 0
    what: str = "copy"


class Kernel(NamedTuple):
    """The kernel of a convolution.

    Attributes:
        size: along each axis.
        stride: along each axis.
        pad: zeros on each side, along each axis.
        dilation: distance between its taps, along each axis.
        groups: independent groups of channels.
    """

    size: tuple[int, ...]
    stride: tuple[int, ...]
    pad: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int = 1


def pointwise_kernel(shape: Shape, groups: int = 1) -> Kernel:
    """Return the kernel of a single position on shapes like this.

    A vector counts as a map of 1x1.
    """
    axes = len(shape) - 1 or 2
    return Kernel(ones(axes), ones(axes), zeros(axes), ones(axes), groups)


class Scratch(NamedTuple):
    """Elements per sample that a layer allocates temporarily, and frees before it ends.

    They come in addition to what it reads, outputs and keeps. In the backward pass,
    they come in addition to what it kept, the gradient of its output, and the gradients
    that it computes.

    Attributes:
        forward: in training.
        inference: in inference; None if it is what training would keep.
        backward: in the backward pass.
        backward_bytes: bytes per sample there that do not depend on the dtype, such as
            masks.
        batch_inference: elements for the whole batch in inference, beside `inference`.
        batch_forward: elements for the whole batch in training, beside `forward`.
        before: before its output exists, in either mode.
        batch_before: elements for the whole batch then, beside `before`.
        after: in the backward pass when the gradient of its output and what it kept in
            the computing dtype are gone.
        batch_late: elements for the whole batch after that, when the gradients of its
            inputs have been summed, too.
        late: elements of its parameters whose gradients only come in the backward pass
            when the gradient of its output, or what is above, is gone.
    """

    forward: int = 0
    inference: int | None = None
    backward: int = 0
    backward_bytes: int = 0
    batch_inference: int = 0
    batch_forward: int = 0
    before: int = 0
    batch_before: int = 0
    after: int = 0
    batch_late: int = 0
    late: int = 0


class TorchCall(NamedTuple):
    """A call in emitted code, as values; it is turned into text later.

    Attributes:
        name: dotted name of a torch callable, from a declared layer kind.
        args: positional values.
        kwargs: named values, in the order in which they are written.
    """

    name: str
    args: tuple[Any, ...] = ()
    kwargs: tuple[tuple[str, Any], ...] = ()


class Inner(NamedTuple):
    """A call within a helper that does not read the helper's input as it is.

    Attributes:
        function: what is called, such as ``F.conv2d``.
        reads: shape of what it reads, such as the input with its padding.
        kwargs: its arguments; None if they are those of the helper's constructor.
    """

    function: str
    reads: Shape
    kwargs: tuple[tuple[str, Any], ...] | None = None


class TorchForm(NamedTuple):
    """How a layer is written in torch.

    Attributes:
        module: constructor of an equivalent module.
        function: the same as a function of its inputs, or None if it needs a module.
            `{0}` and `{1}` stand for the first and second input, `{*,}` for all of them
            separated by commas, `{*+}` and `{**}` for all of them joined by ``+`` or
            ``*``. `{self}` stands for the object that `module` constructs, for a bare
            parameter.
        kwargs: arguments of `function`. Each replaces its name in braces, or otherwise
            follows the first input.
        then: modules that the module form needs after `module`.
        helper: source of the class that `module` names, if torch has none.
        inner: calls of functions in the helper that read something else than its input.
        origin: Python module to import the name of `module` from, for a foreign layer.
    """

    module: TorchCall | None
    function: str | None = None
    kwargs: tuple[tuple[str, Any], ...] = ()
    then: tuple[TorchCall, ...] = ()
    helper: str = ""
    inner: tuple[Inner, ...] = ()
    origin: str = ""
