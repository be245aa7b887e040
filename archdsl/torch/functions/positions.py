"""Tensors of positions, on which functions are applied to see what outputs depend on.

Instead of activations, tensors hold the positions of the input that a value depends on.
Each sample of the batch holds one bound: the first and the last position along one
axis, then those along the next. The first ones are negated, so that joining is always a
maximum. A convolution then becomes a maximum over its window and channels, a sum is the
maximum of its terms, and padding, which depends on nothing, is minus infinity. Weights
are not read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from torch import Tensor

NOTHING: Final = float("-inf")


class UnknownDependence(Exception):
    """It is not known what the output of a function depends on."""


def per_axis(value: Any, axes: Sequence[Any]) -> tuple[Any, ...]:
    """Return a number for each of some axes; torch may be given one for all."""
    parts = tuple(value) if isinstance(value, tuple | list) else (value,)
    return parts if len(parts) == len(axes) else parts[:1] * len(axes)


def is_alike(x: Tensor) -> bool:
    """Return whether all channels of a map share the same memory."""
    return x.dim() > 2 and (x.stride(1) == 0 or x.shape[1] == 1)


def thin(x: Tensor) -> Tensor:
    """Return a single channel of a map if all are the same, which saves much work."""
    return x[:, :1] if is_alike(x) else x


def widened(x: Tensor, width: int) -> Tensor:
    """Return a map with more channels, repeating each of these for a group."""
    if x.shape[1] == width:
        return x
    if is_alike(x):
        return thin(x).expand(-1, width, *[-1] * (x.dim() - 2))
    return x.repeat_interleave(width // x.shape[1], 1)


def grouped(x: Tensor, groups: int) -> Tensor:
    """Return the union of what the channels of each group depend on."""
    if is_alike(x):
        return thin(x).expand(-1, groups, *[-1] * (x.dim() - 2))
    batch, width, *rest = x.shape
    return x.reshape(batch, groups, width // groups, *rest).amax(2)


def joined(tensors: Sequence[Tensor]) -> Tensor:
    """Return the union of what tensors depend on; weights are on the meta device."""
    import torch

    found = [tensor for tensor in tensors if tensor.device.type == "cpu"]
    if len(found) == 1:
        return found[0]
    most = max(tensor.shape[1] for tensor in found)
    if all(is_alike(tensor) for tensor in found):
        found = [thin(tensor) for tensor in found]
    union, *others = found
    for other in others:
        union = torch.maximum(union, other)
    return widened(union, most) if union.shape[1] < most else union


def slid(x: Tensor, kernel: Sequence[int], stride: Any, dilation: Any) -> Tensor:
    """Return the union of what the positions of a window depend on."""
    from torch.nn import functional

    pool = getattr(functional, f"max_pool{len(kernel)}d")
    steps, apart = per_axis(stride, kernel), per_axis(dilation, kernel)
    # The maximum of a window is that of its rows, one axis after the other.
    for axis, window in enumerate(zip(kernel, steps, apart, strict=True)):
        along = [[n if at == axis else 1 for at in range(len(kernel))] for n in window]
        if window[:2] != (1, 1):
            x = pool(x, along[0], along[1], 0, along[2])
    return x


def over_all(x: Tensor, dims: int | tuple[int, ...]) -> Tensor:
    """Return the union along some axes, at each position along them."""
    return x.amax(dims, keepdim=True).expand_as(x)
