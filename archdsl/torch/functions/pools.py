"""Pools."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from archdsl.layer import adaptive_taps
from archdsl.values import channels, sizes

from .function import Function, Module, ShapedCall
from .positions import thin, widened
from .rules import inputs, outputs, per_axis

if TYPE_CHECKING:
    from torch import Tensor

# ---- what outputs depend on


def _max_pool(x: Tensor, kernel_size: Any, *args: Any, **kwargs: Any) -> Tensor:
    from torch.nn import functional

    pool = getattr(functional, f"max_pool{x.dim() - 2}d")
    most = pool(thin(x), kernel_size, *args, **kwargs)
    return widened(most, x.shape[1])


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
    most = pool(thin(x), output_size)
    return widened(most, x.shape[1])


# ---- how tools count


def _fvcore_adaptive(call: ShapedCall) -> int:
    # It knows the operator for two axes alone.
    return inputs(call) if call.name.endswith("2d") else 0


def _thop_adaptive(call: ShapedCall) -> int:
    share = 1.0
    for before, after in zip(sizes(call.input), sizes(call.output), strict=True):
        share *= before / after
    # In floats, and rounded down, as thop does it.
    return int((share + 1) * outputs(call))


def _ultralytics_adaptive(call: ShapedCall) -> int:
    return adaptive_taps(call.input, call.output) + outputs(call)


def _ultralytics_average(call: ShapedCall) -> int:
    # One sum for each position that the windows cover, one division per output.
    kernel = per_axis(call, call.arguments["kernel_size"])
    stride = per_axis(call, call.arguments.get("stride", kernel))
    padding = per_axis(call, call.arguments.get("padding", 0))
    padded = call.arguments.get("count_include_pad", True)
    axes = zip(
        sizes(call.input), sizes(call.output), kernel, stride, padding, strict=True
    )
    taps = channels(call.input)
    for size, units, k, s, p in axes:
        low, high = (-p, size + p) if padded else (0, size)
        starts = [unit * s - p for unit in range(units)]
        taps *= sum([max(min(at + k, high) - max(at, low), 0) for at in starts])
    return taps + outputs(call)


_FUNCTION: Final = {"calflops": inputs, "ptflops_module": inputs}
_MODULE: Final = {"ptflops_module": inputs}
_WINDOW: Final = "kernel_size, stride=kernel_size, padding=0, "
_AVERAGE: Final = (
    f"{_WINDOW}ceil_mode=False, count_include_pad=True, divisor_override=None"
)

ENTRIES: Final = (
    Function(
        "F.max_pool",
        f"input, {_WINDOW}dilation=1, ceil_mode=False, return_indices=False",
        reads=_max_pool,
        counts=_FUNCTION,
    ),
    Module(
        "nn.MaxPool",
        f"{_WINDOW}dilation=1, return_indices=False, ceil_mode=False",
        "F.max_pool{axes}",
        _MODULE,
    ),
    Function("F.avg_pool", f"input, {_AVERAGE}", reads=_avg_pool, counts=_FUNCTION),
    Module(
        "nn.AvgPool",
        _AVERAGE,
        "F.avg_pool{axes}",
        {**_MODULE, "thop": outputs, "ultralytics_thop": _ultralytics_average},
    ),
    Function(
        "F.adaptive_max_pool",
        "input, output_size, return_indices=False",
        reads=_adaptive_pool,
        counts=_FUNCTION,
    ),
    Module(
        "nn.AdaptiveMaxPool",
        "output_size, return_indices=False",
        "F.adaptive_max_pool{axes}",
        _MODULE,
    ),
    Function(
        "F.adaptive_avg_pool",
        "input, output_size",
        reads=_adaptive_pool,
        counts={
            **_FUNCTION,
            "fvcore": _fvcore_adaptive,
        },
    ),
    Module(
        "nn.AdaptiveAvgPool",
        "output_size",
        "F.adaptive_avg_pool{axes}",
        {**_MODULE, "thop": _thop_adaptive, "ultralytics_thop": _ultralytics_adaptive},
    ),
)
