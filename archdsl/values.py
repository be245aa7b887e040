"""Small frozen values that every stage shares: shapes, windows, code.

A shape is a tuple of ints without the batch: `(channels, height, width)` for a
feature map, `(features,)` for a vector.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

Shape = tuple[int, ...]

# What `expect` can claim, in the order of the report.
MEASURES: Final = (
    "params",
    "trainable",
    "buffers",
    "macs",
    "flops",
    "depth",
    "layers",
    "output",
    "receptive_field",
    "local_field",
)


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
    """Return a shape with other channels; its sizes become plain numbers."""
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
        trainable: False for buffers, which are not parameters.
        integer: True for counters, stored as 64-bit integers.
        running: True for buffers that a forward pass in training updates; of those,
            counters are not read in inference.
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
    """Operations besides the MACs, by what they are for, for one sample.

    Attributes:
        bias: sums of the biases of convolutions and linear layers.
        norm: normalisation.
        activation: functions of one element, such as rectifiers.
        pool: maxima and averages of windows.
        add: sums and products of branches.
        other: all others, such as interpolation, softmax and dropout.
        per_batch: further ones, once for each batch whatever its size, such as those
            that make running statistics.
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
    """What autograd keeps of a layer until its backward pass.

    Parameters and buffers, which exist anyway, are left out.

    Attributes:
        input: the layer's inputs are kept.
        factors: the inputs are multiplied, the first two, then that product with
            the third and so on; a factor is kept if the other one gets a gradient.
        output: the layer's output is kept.
        own_elements: further elements a sample, of the computing dtype.
        own_params: further elements a sample, of the parameters' dtype.
        own_floats: further numbers a sample, of 32 bits or more.
        own_bytes: further bytes a sample, whatever the dtype, such as indices.
        batch_elements: further elements for the whole batch, of the computing dtype.
        batch_floats: further numbers for the whole batch, of 32 bits or more.
        what: what those further ones are, such as ``mask``.
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


class Scratch(NamedTuple):
    """Elements a sample that a layer has for a while, and frees again by its end.

    They come on top of what it reads, makes and keeps. Those of the backward pass come
    on top of what it kept, its output's gradient, and the gradients that it makes.

    Attributes:
        forward: in training.
        inference: in inference; None if they are what training keeps.
        backward: in the backward pass.
    """

    forward: int = 0
    inference: int | None = None
    backward: int = 0


class TorchCall(NamedTuple):
    """A call as it stands in emitted code: values only, rendered later.

    Attributes:
        name: dotted name of a torch callable, from a declared layer kind.
        args: positional values.
        kwargs: named values in the order they are to be written.
    """

    name: str
    args: tuple[Any, ...] = ()
    kwargs: tuple[tuple[str, Any], ...] = ()


class TorchForm(NamedTuple):
    """How a layer is written in torch.

    Attributes:
        module: constructor of an equivalent module.
        function: the same as a function of its inputs, or None where it needs a
            module. `{0}` and `{1}` stand for the first and second input, `{*,}` for
            all of them separated by commas, `{*+}` and `{**}` for all of them joined
            by ``+`` or ``*``, and `{self}` for what `module` makes, for a bare
            parameter.
        kwargs: arguments of `function`: each stands where the function has its name
            in braces, or else follows the first input.
        inplace: whether `inplace=True` may be added.
        then: modules that the module form needs after `module`.
        helper: text of the class that `module` names, where torch has none.
        padded: shape of what the helper's function reads, if the helper pads its input.
        origin: Python module to import what `module` names from, for a foreign one.
    """

    module: TorchCall | None
    function: str | None = None
    kwargs: tuple[tuple[str, Any], ...] = ()
    inplace: bool = False
    then: tuple[TorchCall, ...] = ()
    helper: str = ""
    padded: Shape | None = None
    origin: str = ""
