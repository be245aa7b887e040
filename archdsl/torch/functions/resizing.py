"""Interpolation, and padding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from archdsl.values import CONTINUED

from .function import Function, Module, ShapedCall, UnknownCount
from .positions import NOTHING, UnknownDependence, per_axis, thin, widened
from .rules import inputs, outputs, positions
from .rules import per_axis as numbers

if TYPE_CHECKING:
    from torch import Tensor

# ---- what outputs depend on

# Weights of an interpolation up to this are rounding errors.
_ROUNDED: Final = 1e-5


def _pad(x: Tensor, pad: Any, mode: str = "constant", value: Any = None) -> Tensor:
    from torch.nn import functional

    if mode in CONTINUED:
        return functional.pad(x, pad, mode)
    if mode != "constant":
        raise UnknownDependence(f"pad of mode {mode}")
    return functional.pad(x, pad, value=NOTHING)


def _interpolate(
    x: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    **options: Any,
) -> Tensor:
    """Return the positions of an interpolation, found by resizing one unit at a time.

    Without interpolation, the unit is the one at floor(o n / m). torch rounds this
    position in 32 bits, so for some sizes, such as from 14 to 46, it takes the unit
    before. That is not counted as part of the field, nor is a weight that only comes
    from rounding.
    """
    import torch
    from torch.nn import functional

    width, x = x.shape[1], thin(x)
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
            wanted[axis - 2] = per_axis(size, each)[axis - 2]
        scale: Any = None
        if scale_factor is not None:
            scale = [1.0] * axes
            scale[axis - 2] = float(per_axis(scale_factor, each)[axis - 2])
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
            raise UnknownDependence(f"interpolate of mode {mode}")
        x = torch.maximum(x.index_select(axis, first), x.index_select(axis, last))
    return widened(x, width)


# ---- how tools count


def _mode(call: ShapedCall) -> str:
    return str(call.arguments.get("mode", "nearest"))


def _fvcore(call: ShapedCall) -> int:
    # It knows two of the operators, which are for two axes.
    if len(call.output) != 3:
        return 0
    return {"nearest": 1, "bilinear": 4}.get(_mode(call), 0) * outputs(call)


def _calflops(call: ShapedCall) -> int:
    # With a factor, it ignores the factor, and fails if there is one for each axis.
    # With a size, it ignores the channels, and one side of a square size given as one
    # number.
    factor = call.arguments.get("scale_factor")
    if factor is not None:
        if len(set(numbers(call, factor))) > 1:
            raise UnknownCount(f"{call.name} with a factor for each axis")
        return inputs(call)
    size = call.arguments.get("size")
    if size is not None and len(set(numbers(call, size))) == 1:
        return numbers(call, size)[0]
    return positions(call)


_EACH: Final[Mapping[str, int]] = {"linear": 5, "bilinear": 11, "bicubic": 259}


def _ultralytics(call: ShapedCall) -> int:
    return outputs(call) * _EACH.get(_mode(call), 0)


def _thop(call: ShapedCall) -> int:
    return outputs(call) if _mode(call) == "nearest" else _ultralytics(call)


_OPTIONS: Final = (
    "size=None, scale_factor=None, mode='nearest', align_corners=None, "
    "recompute_scale_factor=None"
)

ENTRIES: Final = (
    Function(
        "F.interpolate",
        f"input, {_OPTIONS}, antialias=False",
        _interpolate,
        {"fvcore": _fvcore, "calflops": _calflops, "ptflops_module": outputs},
    ),
    Module(
        "nn.Upsample",
        _OPTIONS,
        "F.interpolate",
        {"ptflops_module": outputs, "thop": _thop, "ultralytics_thop": _ultralytics},
    ),
    Function("F.pad", None, _pad, {}),
    Module("nn.ZeroPad", "padding", "F.pad", {}),
    Module("nn.ReflectionPad", "padding", "F.pad", {}),
    Module("nn.ReplicationPad", "padding", "F.pad", {}),
    Module("nn.CircularPad", "padding", "F.pad", {}),
)
