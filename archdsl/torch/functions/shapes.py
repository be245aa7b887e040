"""Functions that move values, or reduce them along axes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from .function import Function, Module
from .positions import UnknownDependence

if TYPE_CHECKING:
    from torch import Tensor


def _reduced(x: Tensor, dim: Any = None, keepdim: bool = False, **_: Any) -> Tensor:
    if dim is None:
        raise UnknownDependence("a mean or sum over the whole batch")
    return x.amax(dim, keepdim)


def _norm(
    x: Tensor, p: Any = "fro", dim: Any = None, keepdim: bool = False, **_: Any
) -> Tensor:
    return _reduced(x, dim, keepdim)


ENTRIES: Final = (
    Function("torch.cat", "tensors, dim=0", "moves", {}),
    Function("torch.chunk Tensor.chunk", "input, chunks, dim=0", "moves", {}),
    Function(
        "torch.flatten Tensor.flatten", "input, start_dim=0, end_dim=-1", "moves", {}
    ),
    Module("nn.Flatten", "start_dim=1, end_dim=-1", "", {}),
    Function("torch.unflatten Tensor.unflatten", None, "moves", {}),
    Function("Tensor.permute Tensor.transpose", None, "moves", {}),
    Function("Tensor.squeeze Tensor.unsqueeze", None, "moves", {}),
    Function("Tensor.reshape", None, None, {}),
    Function("Tensor.view view", None, "moves", {}),
    Function("Tensor.__getitem__", None, "moves"),
    Function(
        "F.channel_shuffle torch.native_channel_shuffle", "input, groups", "moves", {}
    ),
    Module("nn.ChannelShuffle", "groups", "F.channel_shuffle", {}),
    Function("F.pixel_shuffle", "input, upscale_factor", "moves", {}),
    Module("nn.PixelShuffle", "upscale_factor", "F.pixel_shuffle", {}),
    Function("F.pixel_unshuffle", "input, downscale_factor", "moves", {}),
    Module("nn.PixelUnshuffle", "downscale_factor", "F.pixel_unshuffle", {}),
    Function("Tensor.sum", None, _reduced, {}),
    Function("torch.sum", "input, dim=None, keepdim=False", _reduced, {}),
    Function("torch.mean", "input, dim=None, keepdim=False", _reduced, {}),
    Function("torch.norm", "input, p='fro', dim=None, keepdim=False", _norm, {}),
    Module("nn.Identity", "", "", {}),
)
