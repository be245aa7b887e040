"""The receptive field of every unit, traced through the calls of a module.

Instead of activations, tensors hold the positions of the input that a value depends on.
Each sample of the batch holds one bound: the first row, the last row, and the first and
the last column. The first ones are negated, so that joining is always a maximum. A
convolution then becomes a maximum over its window and channels, a sum is the maximum of
its terms, and padding, which depends on nothing, is minus infinity.

Every torch function that a layer calls is replaced by its effect on dependencies, for
the arguments that it is called with. Weights are not read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from archdsl.values import Last, Shape

if TYPE_CHECKING:
    from torch import Tensor

NOTHING: Final = float("-inf")
# Samples: first and last along each of two axes.
ENDS: Final = 4
# Weights of an interpolation up to this are rounding errors.
_ROUNDED: Final = 1e-5


class Blind(Exception):
    """A function whose dependencies are not known."""


def positions(shape: Sequence[int]) -> Tensor:
    """Return an image in which each unit depends only on its own position."""
    import torch

    channels, height, width = shape
    rows = torch.arange(height, dtype=torch.float32).view(1, -1, 1)
    columns = torch.arange(width, dtype=torch.float32).view(1, 1, -1)
    ends = [-rows, rows, -columns, columns]
    return torch.stack([end.expand(channels, height, width) for end in ends])


def nothing(shape: Sequence[int]) -> Tensor:
    """Return an input that does not depend on the first one."""
    import torch

    return torch.full((ENDS, *shape), NOTHING)


def look(
    func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Apply to dependencies what corresponds to a torch function on numbers.

    Raises:
        Blind: if it is not known what the function reads.
    """
    from torch import Tensor

    name = func.__name__
    if name in _MOVES:
        return func(*args, **kwargs)
    if name in _POINTWISE:
        return _joined([a for a in args if isinstance(a, Tensor)])
    if name in _KNOWN:
        return _KNOWN[name](*args, **kwargs)
    output = func(*args, **kwargs) if name in _ASKS else None
    if output is None or isinstance(output, Tensor):
        raise Blind(name)
    return output


# Functions that only move values, or already take a maximum.
_MOVES: Final = frozenset(
    (
        "__getitem__",
        "cat",
        "channel_shuffle",
        "chunk",
        "flatten",
        "native_channel_shuffle",
        "permute",
        "pixel_shuffle",
        "pixel_unshuffle",
    )
)
# Functions whose result depends on the numbers in the same place alone; those of them
# that draw at random or normalise do so as in inference.
_POINTWISE: Final = frozenset(
    (
        "__add__",
        "__mul__",
        "__radd__",
        "__rmul__",
        "__rsub__",
        "__sub__",
        "abs",
        "add",
        "alpha_dropout",
        "batch_norm",
        "dropout",
        "dropout2d",
        "elu",
        "gelu",
        "hardsigmoid",
        "hardswish",
        "hardtanh",
        "leaky_relu",
        "mish",
        "mul",
        "prelu",
        "relu",
        "relu6",
        "selu",
        "sigmoid",
        "silu",
        "sub",
        "tanh",
    )
)
# Attributes of a tensor that are not tensors themselves.
_ASKS: Final = frozenset(["__get__", "size", "dim"])


def _joined(tensors: list[Tensor]) -> Tensor:
    """Return the union of what tensors depend on; weights are on the meta device."""
    import torch

    found = [tensor for tensor in tensors if tensor.device.type == "cpu"]
    if len(found) == 1:
        return found[0]
    most = max(tensor.shape[1] for tensor in found)
    if all(_is_alike(tensor) for tensor in found):
        found = [_thin(tensor) for tensor in found]
    joined, *others = found
    for other in others:
        joined = torch.maximum(joined, other)
    return _widened(joined, most) if joined.shape[1] < most else joined


def _conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    most = _padded(_grouped(x, groups), padding, weight.shape[2:], dilation)
    most = _slid(most, weight.shape[2:], stride, dilation)
    return _widened(most, weight.shape[0])


def _conv_transpose2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    """Return a convolution of the input with empty rows and columns inserted."""
    from torch.nn import functional

    most, kernel = _grouped(x, groups), weight.shape[2:]
    (sv, sh), (pv, ph) = _pair(stride), _pair(padding)
    (ov, oh), (dv, dh) = _pair(output_padding), _pair(dilation)
    apart = most.new_full(
        (*most.shape[:2], (most.shape[2] - 1) * sv + 1, (most.shape[3] - 1) * sh + 1),
        NOTHING,
    )
    apart[:, :, ::sv, ::sh] = most
    top, left = dv * (kernel[0] - 1) - pv, dh * (kernel[1] - 1) - ph
    sides = (left, left + oh, top, top + ov)
    apart = functional.pad(apart, sides, value=NOTHING)
    most = _slid(apart, kernel, 1, dilation)
    return _widened(most, groups * weight.shape[1])


def _max_pool2d(x: Tensor, kernel_size: Any, *args: Any, **kwargs: Any) -> Tensor:
    from torch.nn import functional

    most = functional.max_pool2d(_thin(x), kernel_size, *args, **kwargs)
    return _widened(most, x.shape[1])


def _avg_pool2d(
    x: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    stride = stride or kernel_size
    return _max_pool2d(x, kernel_size, stride, padding, ceil_mode=ceil_mode)


def _adaptive_pool2d(x: Tensor, output_size: Any, *_: Any, **__: Any) -> Tensor:
    from torch.nn import functional

    most = functional.adaptive_max_pool2d(_thin(x), output_size)
    return _widened(most, x.shape[1])


def _pad(x: Tensor, pad: Any, mode: str = "constant", value: Any = None) -> Tensor:
    from torch.nn import functional

    if mode != "constant":
        raise Blind(f"pad of mode {mode}")
    return functional.pad(x, pad, value=NOTHING)


def _interpolate(
    x: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    **options: Any,
) -> Tensor:
    """Return which units are interpolated, found by resizing one unit at a time.

    Without interpolation, the unit is the one at floor(o n / m). torch rounds this
    position in 32 bits, so for some sizes, such as from 14 to 46, it takes the unit
    before. That is not counted as part of the field, nor is a weight that only comes
    from rounding.
    """
    import torch
    from torch.nn import functional

    width, x = x.shape[1], _thin(x)
    for axis in (2, 3):
        n = x.shape[axis]
        # Each channel has a single unit along the axis.
        units = torch.eye(n, dtype=torch.float64).view(1, n, n, 1)
        both = [1, 1]
        both[axis - 2] = n
        units = units.view(1, n, *both)
        wanted: Any = None
        if size is not None:
            wanted = [1, 1]
            wanted[axis - 2] = _pair(size)[axis - 2]
        scale: Any = None
        if scale_factor is not None:
            scale = [1.0, 1.0]
            scale[axis - 2] = float(_pair(scale_factor)[axis - 2])
        weights = functional.interpolate(
            units, wanted, scale, mode, align_corners=align_corners, **options
        )
        seen = weights.view(n, -1).abs() > _ROUNDED
        if mode == "nearest":
            made = seen.shape[1]
            seen = torch.arange(n).view(-1, 1) == torch.arange(made) * n // made
        places = torch.arange(n).view(-1, 1)
        first = torch.where(seen, places, n).amin(0)
        last = torch.where(seen, places, -1).amax(0)
        if bool((last - first > 1).any()):
            raise Blind(f"interpolate of mode {mode}")
        x = torch.maximum(x.index_select(axis, first), x.index_select(axis, last))
    return _widened(x, width)


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return x.amax(-1, keepdim=True).expand(*x.shape[:-1], weight.shape[0])


def _softmax(x: Tensor, dim: int | None = None, **_: Any) -> Tensor:
    if dim is None:
        raise Blind("softmax without a dimension")
    return x.amax(dim, keepdim=True).expand_as(x)


def _layer_norm(
    x: Tensor, normalized_shape: Sequence[int], *_: Any, **__: Any
) -> Tensor:
    dims = tuple(range(-len(normalized_shape), 0))
    return x.amax(dims, keepdim=True).expand_as(x)


def _group_norm(x: Tensor, num_groups: int, *_: Any, **__: Any) -> Tensor:
    groups = x.reshape(x.shape[0], num_groups, -1).amax(-1)
    most = groups.repeat_interleave(x.shape[1] // num_groups, 1)
    return most.view(*x.shape[:2], *[1] * (x.dim() - 2)).expand_as(x)


def _instance_norm(x: Tensor, *_: Any, **__: Any) -> Tensor:
    return x.amax((2, 3), keepdim=True).expand_as(x)


def _local_response_norm(x: Tensor, size: int, *_: Any, **__: Any) -> Tensor:
    from torch.nn import functional

    around = (0, 0, 0, 0, size // 2, (size - 1) // 2)
    wide = functional.pad(x.unsqueeze(1), around, value=NOTHING)
    return functional.max_pool3d(wide, (size, 1, 1), 1).squeeze(1)


_KNOWN: Final[dict[str, Callable[..., Any]]] = {
    "adaptive_avg_pool2d": _adaptive_pool2d,
    "adaptive_max_pool2d": _adaptive_pool2d,
    "avg_pool2d": _avg_pool2d,
    "conv2d": _conv2d,
    "conv_transpose2d": _conv_transpose2d,
    "group_norm": _group_norm,
    "instance_norm": _instance_norm,
    "interpolate": _interpolate,
    "layer_norm": _layer_norm,
    "linear": _linear,
    "local_response_norm": _local_response_norm,
    "max_pool2d": _max_pool2d,
    "pad": _pad,
    "softmax": _softmax,
}


# ---- details --------------------------------------------------------------------


def _pair(value: Any) -> tuple[Any, Any]:
    pair = tuple(value) if isinstance(value, tuple | list) else (value, value)
    return pair if len(pair) == 2 else (pair[0], pair[0])


def _is_alike(x: Tensor) -> bool:
    """Return whether all channels of a map share the same memory."""
    return x.dim() == 4 and (x.stride(1) == 0 or x.shape[1] == 1)


def _thin(x: Tensor) -> Tensor:
    """Return a single channel of a map if all are the same, which saves much work."""
    return x[:, :1] if _is_alike(x) else x


def _widened(x: Tensor, width: int) -> Tensor:
    """Return a map with more channels, repeating each of these for a group."""
    if x.shape[1] == width:
        return x
    if _is_alike(x):
        return _thin(x).expand(-1, width, -1, -1)
    return x.repeat_interleave(width // x.shape[1], 1)


def _grouped(x: Tensor, groups: int) -> Tensor:
    """Return the union of what the channels of each group depend on."""
    if _is_alike(x):
        return _thin(x).expand(-1, groups, -1, -1)
    batch, width, *rest = x.shape
    return x.reshape(batch, groups, width // groups, *rest).amax(2)


def _padded(x: Tensor, padding: Any, kernel: Sequence[int], dilation: Any) -> Tensor:
    from torch.nn import functional

    if isinstance(padding, str):
        if padding != "same":
            return x
        reaches = [d * (k - 1) for d, k in zip(_pair(dilation), kernel, strict=True)]
        sides = [s for r in reversed(reaches) for s in (r // 2, r - r // 2)]
    else:
        vertical, horizontal = _pair(padding)
        sides = [horizontal, horizontal, vertical, vertical]
    return functional.pad(x, sides, value=NOTHING)


def _slid(x: Tensor, kernel: Sequence[int], stride: Any, dilation: Any) -> Tensor:
    from torch.nn import functional

    return functional.max_pool2d(x, tuple(kernel), stride, 0, dilation)


# ---- what was seen --------------------------------------------------------------

Ends = list[tuple[float, float]]


def summary(tensor: Tensor) -> tuple[Any, ...]:
    """Return the maximum of each sample at each position along each spatial axis."""
    tensor = _thin(tensor)
    if tensor.dim() < 3:
        return (tensor.flatten(1).amax(1, keepdim=True),)
    dims = range(1, tensor.dim())
    return tuple(tensor.amax([other for other in dims if other != dim]) for dim in dims)


def ends(summed: tuple[Any, ...], shape: Shape) -> tuple[Ends, Ends]:
    """Return the first and last row and column that each unit of a map depends on.

    Along each axis, a unit represents all units at the same position on it. For a unit
    that depends on nothing, the first position is after the last.

    Args:
        summed: the result of `summary`.
        shape: shape of the map, or of a vector, whose single unit depends on everything
            that any of it depends on.
    """
    if len(shape) == 1:
        rows = columns = summed[0]
    else:
        axes = (0, 1) if isinstance(shape, Last) else (1, 2)
        rows, columns = (summed[axis] for axis in axes)
    found = []
    for along, sample in ((rows, 0), (columns, 2)):
        first, last = (-along[sample]).tolist(), along[sample + 1].tolist()
        found.append(list(zip(first, last, strict=True)))
    return found[0], found[1]
