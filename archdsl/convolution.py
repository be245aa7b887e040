"""What convolutions have in common: their windows, their costs and their torch calls.

Kinds differ in how their weight is made; see `ops/conv.py`, `ops/wsconv.py` and
`spectral.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from .layer import (
    Layer,
    Mismatch,
    arg,
    conv_tensors,
    count,
    given,
    group_channels,
    need_axes,
    need_groups,
    output_size,
    same_pad,
    same_pads,
)
from .padding import need_room
from .values import (
    CONTINUED,
    Inner,
    Kernel,
    Saved,
    Scratch,
    Shape,
    Tensor,
    TorchCall,
    TorchForm,
    Window,
    ones,
    ranked,
    show_shape,
    sliding,
    zeros,
)

# How a class pads by the size of its input, by the number of axes.
PADS: Final = {
    1: """\
        k, s, d = self.kernel_size, self.stride, self.dilation
        more = self.missing(x.shape[-1], k[0], s[0], d[0])
        x = F.pad(x, (more // 2, more - more // 2))
""",
    2: """\
        height, width = x.shape[-2:]
        k, s, d = self.kernel_size, self.stride, self.dilation
        rows = self.missing(height, k[0], s[0], d[0])
        columns = self.missing(width, k[1], s[1], d[1])
        top, left = rows // 2, columns // 2
        x = F.pad(x, (left, columns - left, top, rows - top))
""",
    3: """\
        depth, height, width = x.shape[-3:]
        k, s, d = self.kernel_size, self.stride, self.dilation
        slices = self.missing(depth, k[0], s[0], d[0])
        rows = self.missing(height, k[1], s[1], d[1])
        columns = self.missing(width, k[2], s[2], d[2])
        front, top, left = slices // 2, rows // 2, columns // 2
        sides = (left, columns - left, top, rows - top, front, slices - front)
        x = F.pad(x, sides)
""",
}
# The method that tells such a class by how much.
MISSING: Final = """
    def missing(self, size: int, kernel: int, stride: int, dilation: int) -> int:
        reach = dilation * (kernel - 1)
        missing = reach - (size - 1) % stride
        # Windows that stand apart leave out what lies between them.
        return missing if reach + 1 >= stride else max(missing, 0)
"""


class Convolution(Layer):
    """Base of the convolutions.

    MACs: output elements x kernel area x input channels / groups.
    """

    family = "conv"
    autocast = "lower"
    weighted = True

    kernel: tuple[int, ...] = arg("window", at=0, minimum=1, help="kernel size, as 3x3")
    width: int | None = arg(
        "int", None, at=1, minimum=1, help="output channels; by default, the input's"
    )
    stride: tuple[int, ...] = arg(
        "window", (1, 1), at="/", minimum=1, help="stride, as /2"
    )
    pad: tuple[int, ...] | str | None = arg(
        "window",
        None,
        minimum=0,
        choices=("same",),
        help="zeros on each side; `same` pads to ceil(size / stride) outputs",
    )
    dilation: tuple[int, ...] = arg(
        "window", (1, 1), minimum=1, help="distance between taps"
    )
    groups: int = arg("int", 1, minimum=1, help="independent groups of channels")
    bias: bool | None = arg("bool", None, help="whether it has a bias")

    def pads(self, sizes: Sequence[int]) -> list[tuple[int, int]]:
        """Return the padding before and after the map, for each of its axes."""
        if isinstance(self.pad, str):
            axes = zip(sizes, self.kernel, self.stride, self.dilation, strict=True)
            return [same_pads(*axis) for axis in axes]
        pads = same_pad(self.kernel, self.dilation) if self.pad is None else self.pad
        return [(pad, pad) for pad in pads]

    def shape(self, *inputs: Shape) -> Shape:
        """Return the width, and the size along each axis."""
        channels, *sizes = need_axes(inputs[0], self)
        width = channels if self.width is None else self.width
        need_groups(self.word, channels, width, self.groups)
        axes = zip(
            sizes,
            self.kernel,
            self.stride,
            self.pads(sizes),
            self.dilation,
            strict=True,
        )
        return (width, *[output_size(self.word, *axis) for axis in axes])

    def tensors(self, *inputs: Shape) -> tuple[Tensor, ...]:
        """Return weight (out, in / groups, *kernel) and bias (out)."""
        channels = inputs[0][0]
        width = channels if self.width is None else self.width
        weight = (width, channels // self.groups, *self.kernel)
        return conv_tensors(weight, self.bias is not False, width)

    def macs(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        """Return output elements x kernel area x input channels / groups."""
        return count(output) * count(self.kernel) * (inputs[0][0] // self.groups)

    def elementwise(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        """Return the additions of the bias."""
        return count(output) if self.bias is not False else 0

    def window(self, inputs: tuple[Shape, ...], output: Shape) -> Window:
        """Return the kernel's window."""
        before = tuple([first for first, _ in self.pads(inputs[0][1:])])
        return sliding(self.kernel, self.stride, before, self.dilation)

    def saved(self, inputs: tuple[Shape, ...], output: Shape) -> Saved:
        """Return the input for the weight's gradient, or the copy that pads it."""
        padded = self.copied(inputs[0])
        if not padded:
            return Saved(input=True)
        return Saved(own_elements=padded, what="padded input")

    def scratch(
        self, inputs: tuple[Shape, ...], output: Shape, gradients: tuple[bool, ...]
    ) -> Scratch:
        """Return the gradient of the copy that pads the input, beyond the input's."""
        padded = self.copied(inputs[0])
        return Scratch(
            backward=padded - count(inputs[0]) if padded and gradients[0] else 0
        )

    def copied(self, shape: Shape) -> int:
        """Return the elements of the copy in which torch pads the input, if any."""
        if not isinstance(self.pad, str):
            return 0
        if self.pads_apart:
            return count(self.with_pads(shape))
        # torch's own `same` pads both ends equally, and copies only for an odd total.
        channels, *sizes = shape
        odd = [n + last - first for n, (first, last) in self._each(sizes)]
        return channels * count(tuple(odd)) if odd != sizes else 0

    @property
    def pads_apart(self) -> bool:
        """Whether padding is a separate call, as torch's `same` takes no stride."""
        once = ones(len(self.kernel))
        strided = self.stride != once and self.kernel != once
        return strided and isinstance(self.pad, str)

    def with_pads(self, shape: Shape) -> Shape:
        """Return the shape of a padded input."""
        channels, *sizes = shape
        return (channels, *(n + sum(pads) for n, pads in self._each(sizes)))

    def _each(self, sizes: Sequence[int]) -> Iterator[tuple[int, tuple[int, int]]]:
        return zip(sizes, self.pads(sizes), strict=True)

    def channels_read(
        self, some: Sequence[int], inputs: tuple[Shape, ...], output: Shape
    ) -> tuple[Sequence[int], ...]:
        """Return the input channels of the groups that they belong to."""
        return group_channels(some, self.groups, inputs[0][0], output[0])

    def kernel_of(self, own: Mapping[str, Any]) -> tuple[Any, Any | None]:
        """Return the weight that it uses, and its bias, if it has one."""
        return self.weight_of(own), own.get("bias")

    def arguments(self, inputs: tuple[Shape, ...]) -> tuple[tuple[str, Any], ...]:
        """Return what torch's constructors take behind the numbers of channels."""
        once, nothing = ones(len(self.kernel)), zeros(len(self.kernel))
        pad: Any = self.pad
        if not isinstance(pad, str):
            pad = tuple(before for before, _ in self.pads(inputs[0][1:]))
        elif self.stride != once:
            pad = nothing
        return given(
            ("kernel_size", self.kernel, None),
            ("stride", self.stride, once),
            ("padding", pad, nothing),
            ("dilation", self.dilation, once),
            ("groups", self.groups, 1),
            ("bias", self.bias is not False, True),
        )

    def label(self) -> str:
        """Return `conv 3x3, 64 /2`."""
        text = f"{self.word} {show_shape(self.kernel)}"
        if self.width is not None:
            text += f" {self.width}"
        if self.stride != ones(len(self.stride)):
            uneven = len(set(self.stride)) > 1
            text += f" /{show_shape(self.stride) if uneven else self.stride[0]}"
        return text


_HELPER: Final = '''
class SameConv{axes}d(nn.Conv{axes}d):
    """A convolution that pads for size / stride outputs, rounded up."""

    def forward(self, x: Tensor) -> Tensor:
{pads}        return F.conv{axes}d(x, self.weight, self.bias, s, 0, d, self.groups)
{missing}'''


class PaddedConvolution(Convolution):
    """Base of the convolutions that can pad with the map itself."""

    pad_mode: str = arg(
        "choice",
        "zeros",
        choices=("zeros", *CONTINUED),
        help="what the padding contains, as for `pad`",
    )

    def shape(self, *inputs: Shape) -> Shape:
        """Return the width, and the size along each axis."""
        found = super().shape(*inputs)
        if self.pad_mode != "zeros":
            if self.pads_apart:
                raise Mismatch(
                    f"{self.word}: `pad=same` with a stride can only pad with zeros",
                    help="give numbers, or put a `pad` before it",
                )
            ends = tuple(self.pads(inputs[0][1:]))
            need_room(self.word, self.pad_mode, inputs[0], ends, max(self.kernel))
        return found

    def window(self, inputs: tuple[Shape, ...], output: Shape) -> Window:
        """Return the kernel's window, which may go on beyond the border."""
        plain = super().window(inputs, output)
        if self.pad_mode == "zeros":
            return plain
        return CONTINUED[self.pad_mode](*plain)

    def copied(self, shape: Shape) -> int:
        """Return the elements of the copy in which torch pads the input, if any."""
        if self.pad_mode == "zeros":
            return super().copied(shape)
        return count(self.with_pads(shape))

    def saved(self, inputs: tuple[Shape, ...], output: Shape) -> Saved:
        """Return the copy that pads the input, or the input; see `Pad.saved`."""
        own = super().saved(inputs, output)
        return own._replace(tracked_input=self.pad_mode in ("reflect", "replicate"))

    def scratch(
        self, inputs: tuple[Shape, ...], output: Shape, gradients: tuple[bool, ...]
    ) -> Scratch:
        """Return the gradient of the copy that pads the input, beyond the input's.

        With circular padding, it is copied after the output's gradient was freed.
        """
        found = super().scratch(inputs, output, gradients)
        if self.pad_mode != "circular" or not gradients[0]:
            return found
        return found._replace(after=3 * self.copied(inputs[0]) - count(inputs[0]))

    def as_kernel(self, inputs: tuple[Shape, ...], output: Shape) -> Kernel | None:
        """Return its own kernel, unless the padding depends on the size."""
        if isinstance(self.pad, str) or self.pad_mode != "zeros":
            return None
        pads = tuple(before for before, _ in self.pads(inputs[0][1:]))
        return Kernel(self.kernel, self.stride, pads, self.dilation, self.groups)

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return `nn.Conv2d` or the like, or a class for `same` at a stride."""
        args, kwargs = (inputs[0][0], output[0]), self.arguments(inputs)
        kwargs += given(("padding_mode", self.pad_mode, "zeros"))
        if not self.pads_apart:
            return TorchForm(TorchCall(ranked("nn.Conv", output), args, kwargs))
        axes = len(self.kernel)
        return TorchForm(
            TorchCall(ranked("SameConv", output), args, kwargs),
            helper=_HELPER.format(axes=axes, pads=PADS[axes], missing=MISSING),
            inner=(Inner(ranked("F.conv", output), self.with_pads(inputs[0])),),
        )
