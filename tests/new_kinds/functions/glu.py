"""Gated linear units."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .function import Function, Module
from .positions import joined

if TYPE_CHECKING:
    from torch import Tensor


def _glu(x: Tensor, dim: int = -1) -> Tensor:
    return joined(x.chunk(2, dim))


ENTRIES = (
    Function("F.glu", "input, dim=-1", _glu, counts={}),
    Module("nn.GLU", "dim=-1", "F.glu", counts={}),
)
