"""Small frozen values that all stages share: shapes, windows, torch calls.

A shape is a tuple of ints without the batch: `(channels, height, width)` for a feature
map, `(features,)` for a vector.
"""

from __future__ import annotations

from typing import Any, NamedTuple

Shape = tuple[int, ...]


def show_shape(shape: Shape) -> str:
    """Return ``64x112x112``."""
    return "x".join(str(int(n)) for n in shape)


class Last(tuple[int, ...]):
    """Shape of a feature map whose channels come last: (height, width, channels)."""

    __slots__ = ()


def channels(shape: Shape) -> int:
    """Return the channels of a feature map, or the features of a vector."""
    return shape[-1] if isinstance(shape, Last) else shape[0]


def sizes(shape: Shape) -> Shape:
    """Return (height, width), or nothing for a vector."""
    return tuple(shape[:-1]) if isinstance(shape, Last) else tuple(shape[1:])


def with_channels(shape: Shape, count: int) -> Shape:
    """Return a shape with other channels; its sizes become plain integers."""
    plain = [int(n) for n in sizes(shape)]
    return Last((*plain, count)) if isinstance(shape, Last) else (count, *plain)


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
    """

    name: str
    shape: Shape
    trainable: bool = True
    integer: bool = False
    running: bool = False

    @property
    def elements(self) -> int:
        """Number of elements."""
        product = 1
        for n in self.shape:
            product *= n
        return product


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

    kernel: tuple[int, ...] = (1, 1)
    stride: tuple[int, ...] = (1, 1)
    pad: tuple[int, ...] = (0, 0)
    dilation: tuple[int, ...] = (1, 1)
    up: tuple[int, ...] = (1, 1)


POINTWISE = Window()


class Saved(NamedTuple):
    """What autograd keeps of a layer for its backward pass.

    Parameters and buffers are not counted, as they exist anyway.

    Attributes:
        input: the layer's inputs are kept.
        factors: the inputs are multiplied: the first two, then that product by the
            third and so on; a factor is kept if the other one gets a gradient.
        output: the layer's output is kept.
        own_elements: additional elements per sample, in the computing dtype.
        own_params: additional elements per sample, in the parameters' dtype.
        own_floats: additional numbers per sample, of 32 bits or more.
        own_bytes: additional bytes per sample that do not depend on the dtype, such as
            indices.
        batch_elements: additional elements for the whole batch, in the computing dtype.
        batch_floats: additional numbers for the whole batch, of 32 bits or more.
        what: what the additional tensors are, such as ``mask``.
    """

    input: bool = False
    factors: bool = False
    output: bool = False
    own_elements: int = 0
    own_params: int = 0
    own_floats: int = 0
    own_bytes: int = 0
    batch_elements: int = 0
    batch_floats: int = 0
    what: str = "copy"


class Kernel(NamedTuple):
    """The kernel of a convolution.

    Attributes:
        size: height and width.
        stride: along both axes.
        pad: zeros on each side, along both axes.
        dilation: distance between its taps, along both axes.
        groups: independent groups of channels.
    """

    size: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    pad: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1


class Scratch(NamedTuple):
    """Elements per sample that a layer allocates temporarily, and frees before it ends.

    They come in addition to what it reads, outputs and keeps. In the backward pass,
    they come in addition to what it kept, the gradient of its output, and the gradients
    that it computes.

    Attributes:
        forward: in training.
        inference: in inference; None if it is what training would keep.
        backward: in the backward pass.
    """

    forward: int = 0
    inference: int | None = None
    backward: int = 0


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
        inplace: whether `inplace=True` may be added.
        then: modules that the module form needs after `module`.
        helper: source of the class that `module` names, if torch has none.
        padded: shape of what the helper's function reads, if the helper pads its input.
        origin: Python module to import the name of `module` from, for a foreign layer.
    """

    module: TorchCall | None
    function: str | None = None
    kwargs: tuple[tuple[str, Any], ...] = ()
    inplace: bool = False
    then: tuple[TorchCall, ...] = ()
    helper: str = ""
    padded: Shape | None = None
    origin: str = ""
