"""The receptive field of every unit, traced through the calls of a module.

Instead of activations, tensors hold the positions of the input that a value depends on.
Each sample of the batch holds one bound: the first and the last position along one
axis, then those along the next. The first ones are negated, so that joining is always a
maximum. A convolution then becomes a maximum over its window and channels, a sum is the
maximum of its terms, and padding, which depends on nothing, is minus infinity.

Every torch function that a layer calls is replaced by its effect on dependencies, for
the arguments that it is called with. Weights are not read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from archdsl.values import Last, Shape, without_axes

if TYPE_CHECKING:
    from torch import Tensor

NOTHING: Final = float("-inf")
# Weights of an interpolation up to this are rounding errors.
_ROUNDED: Final = 1e-5


class Blind(Exception):
    """A function whose dependencies are not known."""


def positions(shape: Sequence[int]) -> Tensor:
    """Return an image in which each unit depends only on its own position."""
    import torch

    ends = []
    for axis in range(1, len(shape)):
        places = torch.arange(shape[axis], dtype=torch.float32)
        along = places.view(*[-1 if axis == n else 1 for n in range(len(shape))])
        ends += [-along, along]
    return torch.stack([end.expand(*shape) for end in ends])


def nothing(shape: Sequence[int], axes: int) -> Tensor:
    """Return an input that does not depend on the first one, which has some axes."""
    import torch

    return torch.full((2 * axes, *shape), NOTHING)


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
    known = _KNOWN.get(without_axes(name))
    if known is not None:
        return known(*args, **kwargs)
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
        "unflatten",
        "view",
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
        "dropout1d",
        "dropout2d",
        "dropout3d",
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


def _conv(
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

    most, kernel = _grouped(x, groups), weight.shape[2:]
    steps = _per_axis(stride, kernel)
    size = [(n - 1) * s + 1 for n, s in zip(most.shape[2:], steps, strict=True)]
    apart = most.new_full((*most.shape[:2], *size), NOTHING)
    places = [slice(None, None, step) for step in (1, 1, *steps)]
    apart[tuple(places)] = most
    sides: list[int] = []
    for k, d, p, o in zip(
        kernel,
        _per_axis(dilation, kernel),
        _per_axis(padding, kernel),
        _per_axis(output_padding, kernel),
        strict=True,
    ):
        before = d * (k - 1) - p
        sides = [before, before + o, *sides]
    apart = functional.pad(apart, sides, value=NOTHING)
    most = _slid(apart, kernel, 1, dilation)
    return _widened(most, groups * weight.shape[1])


def _max_pool(x: Tensor, kernel_size: Any, *args: Any, **kwargs: Any) -> Tensor:
    from torch.nn import functional

    pool = getattr(functional, f"max_pool{x.dim() - 2}d")
    most = pool(_thin(x), kernel_size, *args, **kwargs)
    return _widened(most, x.shape[1])


def _avg_pool(
    x: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    stride = stride or kernel_size
    return _max_pool(x, kernel_size, stride, padding, ceil_mode=ceil_mode)


def _adaptive_pool(x: Tensor, output_size: Any, *_: Any, **__: Any) -> Tensor:
    from torch.nn import functional

    pool = getattr(functional, f"adaptive_max_pool{x.dim() - 2}d")
    most = pool(_thin(x), output_size)
    return _widened(most, x.shape[1])


def _pad(x: Tensor, pad: Any, mode: str = "constant", value: Any = None) -> Tensor:
    from torch.nn import functional

    if mode in ("reflect", "replicate", "circular"):
        return functional.pad(x, pad, mode)
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
    axes = x.dim() - 2
    for axis in range(2, x.dim()):
        n = x.shape[axis]
        # Each channel has a single unit along the axis.
        each = [1] * axes
        each[axis - 2] = n
        units = torch.eye(n, dtype=torch.float64).view(1, n, *each)
        wanted: Any = None
        if size is not None:
            wanted = [1] * axes
            wanted[axis - 2] = _per_axis(size, each)[axis - 2]
        scale: Any = None
        if scale_factor is not None:
            scale = [1.0] * axes
            scale[axis - 2] = float(_per_axis(scale_factor, each)[axis - 2])
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


def _sum(x: Tensor, dim: int) -> Tensor:
    return x.amax(dim)


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
    return x.amax(tuple(range(2, x.dim())), keepdim=True).expand_as(x)


def _local_response_norm(x: Tensor, size: int, *_: Any, **__: Any) -> Tensor:
    from torch.nn import functional

    around = (0, 0, size // 2, (size - 1) // 2)
    wide = functional.pad(x.flatten(2).unsqueeze(1), around, value=NOTHING)
    return functional.max_pool2d(wide, (size, 1), 1).view(x.shape)


# By names without the number of spatial axes.
_KNOWN: Final[dict[str, Callable[..., Any]]] = {
    "adaptive_avg_pool": _adaptive_pool,
    "adaptive_max_pool": _adaptive_pool,
    "avg_pool": _avg_pool,
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "group_norm": _group_norm,
    "instance_norm": _instance_norm,
    "interpolate": _interpolate,
    "layer_norm": _layer_norm,
    "linear": _linear,
    "local_response_norm": _local_response_norm,
    "max_pool": _max_pool,
    "pad": _pad,
    "softmax": _softmax,
    "sum": _sum,
}


# ---- details --------------------------------------------------------------------


def _per_axis(value: Any, axes: Sequence[Any]) -> tuple[Any, ...]:
    """Return a number for each of some axes; torch may be given one for all."""
    parts = tuple(value) if isinstance(value, tuple | list) else (value,)
    return parts if len(parts) == len(axes) else parts[:1] * len(axes)


def _is_alike(x: Tensor) -> bool:
    """Return whether all channels of a map share the same memory."""
    return x.dim() > 2 and (x.stride(1) == 0 or x.shape[1] == 1)


def _thin(x: Tensor) -> Tensor:
    """Return a single channel of a map if all are the same, which saves much work."""
    return x[:, :1] if _is_alike(x) else x


def _widened(x: Tensor, width: int) -> Tensor:
    """Return a map with more channels, repeating each of these for a group."""
    if x.shape[1] == width:
        return x
    if _is_alike(x):
        return _of_width(x, width)
    return x.repeat_interleave(width // x.shape[1], 1)


def _of_width(x: Tensor, width: int) -> Tensor:
    """Return a map whose channels are all the same, with as many as are wanted."""
    return _thin(x).expand(-1, width, *[-1] * (x.dim() - 2))


def _grouped(x: Tensor, groups: int) -> Tensor:
    """Return the union of what the channels of each group depend on."""
    if _is_alike(x):
        return _of_width(x, groups)
    batch, width, *rest = x.shape
    return x.reshape(batch, groups, width // groups, *rest).amax(2)


def _padded(x: Tensor, padding: Any, kernel: Sequence[int], dilation: Any) -> Tensor:
    from torch.nn import functional

    if isinstance(padding, str):
        if padding != "same":
            return x
        apart = _per_axis(dilation, kernel)
        reaches = [d * (k - 1) for d, k in zip(apart, kernel, strict=True)]
        sides = [s for r in reversed(reaches) for s in (r // 2, r - r // 2)]
    else:
        sides = [n for n in reversed(_per_axis(padding, kernel)) for _ in range(2)]
    return functional.pad(x, sides, value=NOTHING)


def _slid(x: Tensor, kernel: Sequence[int], stride: Any, dilation: Any) -> Tensor:
    from torch.nn import functional

    pool = getattr(functional, f"max_pool{len(kernel)}d")
    steps, apart = _per_axis(stride, kernel), _per_axis(dilation, kernel)
    # The maximum of a window is that of its rows, one axis after the other.
    for axis, window in enumerate(zip(kernel, steps, apart, strict=True)):
        along = [[n if at == axis else 1 for at in range(len(kernel))] for n in window]
        if window[:2] != (1, 1):
            x = pool(x, along[0], along[1], 0, along[2])
    return x


# ---- what was seen --------------------------------------------------------------

Ends = list[tuple[float, float]]


def summary(tensor: Tensor) -> tuple[Any, ...]:
    """Return the maximum of each sample at each position along each spatial axis."""
    tensor = _thin(tensor)
    if tensor.dim() < 3:
        return (tensor.flatten(1).amax(1, keepdim=True),)
    dims = range(1, tensor.dim())
    return tuple(tensor.amax([other for other in dims if other != dim]) for dim in dims)


def ends(summed: tuple[Any, ...], shape: Shape, axes: int) -> tuple[Ends, ...]:
    """Return the first and last position along each axis of the input that the units of
    a map depend on.

    Along each axis, a unit represents all units at the same position on it. For a unit
    that depends on nothing, the first position is after the last.

    Args:
        summed: the result of `summary`.
        shape: shape of the map, or of a vector, whose single unit depends on everything
            that any of it depends on.
        axes: number of spatial axes of the input.
    """
    if len(shape) == 1:
        summed = summed[:1] * axes
    else:
        start = 0 if isinstance(shape, Last) else 1
        summed = summed[start : start + axes]
    found = []
    for axis, along in enumerate(summed):
        first, last = (-along[2 * axis]).tolist(), along[2 * axis + 1].tolist()
        found.append(list(zip(first, last, strict=True)))
    return tuple(found)
