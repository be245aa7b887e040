"""Normalisation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from .function import CountingRule, Function, Module, ShapedCall
from .positions import NOTHING, over_all
from .rules import inputs

if TYPE_CHECKING:
    from torch import Tensor

# ---- what outputs depend on


def _layer_norm(
    x: Tensor, normalized_shape: Sequence[int], *_: Any, **__: Any
) -> Tensor:
    return over_all(x, tuple(range(-len(normalized_shape), 0)))


def _group_norm(x: Tensor, num_groups: int, *_: Any, **__: Any) -> Tensor:
    groups = x.reshape(x.shape[0], num_groups, -1).amax(-1)
    most = groups.repeat_interleave(x.shape[1] // num_groups, 1)
    return most.view(*x.shape[:2], *[1] * (x.dim() - 2)).expand_as(x)


def _instance_norm(x: Tensor, *_: Any, **__: Any) -> Tensor:
    return over_all(x, tuple(range(2, x.dim())))


def _local_response_norm(x: Tensor, size: int, *_: Any, **__: Any) -> Tensor:
    from torch.nn import functional

    around = (0, 0, size // 2, (size - 1) // 2)
    wide = functional.pad(x.flatten(2).unsqueeze(1), around, value=NOTHING)
    return functional.max_pool2d(wide, (size, 1), 1).view(x.shape)


# ---- how tools count


def _each(affine: int, plain: int) -> CountingRule:
    """Return a rule of operations for each element, with scale and shift or without."""
    return lambda call: inputs(call) * (affine if call.is_affine else plain)


def _of_batch(call: ShapedCall) -> int:
    """Return the operations of a batch norm, which may be those of training."""
    if call.training or call.arguments.get("training"):
        return _each(5, 4)(call)
    return _each(2, 1)(call)


_FUNCTION: Final = {"fvcore": _each(5, 4), "calflops": _each(5, 4)}
_NORM: Final = {"ptflops_module": _each(2, 1), "ultralytics_thop": _each(4, 2)}
_LISTED: Final = {**_NORM, "thop": _each(4, 2)}
_OPTIONS: Final = "num_features, eps=1e-5, momentum=0.1, affine={}, "

ENTRIES: Final = (
    # In inference, a batch norm is a scale and a shift.
    Function(
        "F.batch_norm",
        reads="place",
        counts={"fvcore": _of_batch, "calflops": _of_batch},
    ),
    Module(
        "nn.BatchNorm",
        f"{_OPTIONS.format(True)}track_running_stats=True",
        "F.batch_norm",
        _LISTED,
    ),
    Function("F.instance_norm", reads=_instance_norm, counts=_FUNCTION),
    Module(
        "nn.InstanceNorm",
        f"{_OPTIONS.format(False)}track_running_stats=False",
        "F.instance_norm",
        _LISTED,
    ),
    Function("F.group_norm", reads=_group_norm, counts=_FUNCTION),
    Module(
        "nn.GroupNorm",
        "num_groups, num_channels, eps=1e-5, affine=True",
        "F.group_norm",
        _NORM,
    ),
    Function("F.layer_norm", reads=_layer_norm, counts=_FUNCTION),
    Module(
        "nn.LayerNorm",
        "normalized_shape, eps=1e-5, elementwise_affine=True, bias=True",
        "F.layer_norm",
        # ptflops reads the attribute `affine`, which a layer norm does not have.
        {**_LISTED, "ptflops_module": inputs},
        ordered=True,
    ),
    Function(
        "F.local_response_norm",
        "input, size, alpha=1e-4, beta=0.75, k=1.0",
        reads=_local_response_norm,
        counts={},
    ),
    Module(
        "nn.LocalResponseNorm",
        "size, alpha=1e-4, beta=0.75, k=1.0",
        "F.local_response_norm",
        {},
    ),
)
