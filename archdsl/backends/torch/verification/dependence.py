"""The receptive field of every unit, traced through the calls of a module.

Tensors hold positions of the input (`torch.functions.positions`), and every torch
function that a layer calls is replaced by its effect on these, for the arguments that
it is called with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from archdsl.torch.functions import reads
from archdsl.torch.functions.positions import NOTHING, UnknownDependence, joined, thin
from archdsl.values import Last, Shape

if TYPE_CHECKING:
    from torch import Tensor


def position_image(shape: Sequence[int]) -> Tensor:
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


def dependencies(
    func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Return the dependencies of a torch function's output, given those of its inputs.

    Raises:
        UnknownDependence: if it is not known what the function reads.
    """
    from torch import Tensor

    name = func.__name__
    known = reads(name)
    read = [a for a in args if isinstance(a, Tensor)]
    # Weights have no values here, and do not depend on the input.
    if known == "moves" or (read and all(one.is_meta for one in read)):
        return func(*args, **kwargs)
    if known == "place":
        return joined(read)
    if callable(known):
        return known(*args, **kwargs)
    output = func(*args, **kwargs) if name in _ASKS else None
    if output is None or isinstance(output, Tensor):
        raise UnknownDependence(name)
    return output


# Attributes of a tensor that are not tensors themselves.
_ASKS: Final = frozenset(["__get__", "size", "dim"])


# ---- what was seen --------------------------------------------------------------

UnitEnds = list[tuple[float, float]]


def maxima(tensor: Tensor) -> tuple[Any, ...]:
    """Return the maximum of each sample at each position along each spatial axis."""
    tensor = thin(tensor)
    if tensor.dim() < 3:
        return (tensor.flatten(1).amax(1, keepdim=True),)
    dims = range(1, tensor.dim())
    return tuple(tensor.amax([other for other in dims if other != dim]) for dim in dims)


def ends(summed: tuple[Any, ...], shape: Shape, axes: int) -> tuple[UnitEnds, ...]:
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
