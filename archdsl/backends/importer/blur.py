"""Reads blurs by fixed binomial weights as averages of two neighbours, several times.

A filter of size n with binomial coefficients as weights equals n - 1 averages of two
neighbours, one after the other (Zhang 2019, section 3.2). Such a filter is
not in the state_dict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import comb
from typing import TYPE_CHECKING

from archdsl.backends.importer.calls import OwnTensor, RecordedCall, TensorRef
from archdsl.layer import Layer, kind
from archdsl.values import Last, Shape, sizes

if TYPE_CHECKING:
    from torch import Tensor


def blur(
    calls: Sequence[RecordedCall],
    shapes: Mapping[int, Shape],
    buffers: Mapping[str, Tensor],
) -> tuple[int, list[Layer]]:
    """Return the number of calls of a blur, and its averages; 0 if it is not a blur.

    Args:
        calls: in order; the first may repeat the filter for each channel.
        shapes: the shapes of values, without the batch.
        buffers: those of the module, with their values.
    """
    found = next((n for n, one in enumerate(calls[:2]) if one.reads), None)
    if found is None or not calls[found].name.startswith("conv"):
        return 0, []
    conv = calls[found]
    given = dict(conv.args)
    value, own = given.get("input"), given.get("weight")
    if not isinstance(value, TensorRef):
        return 0, []
    if found and calls[0].name == "expand" and own == TensorRef(calls[0].gives[0]):
        own = calls[0].owns[0]
    before = shapes[value.number]
    plain = all(
        given.get(name, default) in (default, (default,) * len(sizes(before)))
        for name, default in (("padding", 0), ("dilation", 1), ("bias", None))
    )
    wide = int(before[0])
    alone = given.get("groups", 1) == wide == conv.shapes[0][1]
    if (
        not isinstance(own, OwnTensor)
        or not plain
        or not alone
        or isinstance(before, Last)
    ):
        return 0, []
    size = _binomial(buffers.get(own.key))
    if size < 2:
        return 0, []
    return found + 1, _averages(size, given.get("stride", 1), len(before) - 1)


def _averages(size: int, stride: int | tuple[int, ...], axes: int) -> list[Layer]:
    average = kind("avgpool")
    assert average is not None
    plain = {name: field.default_for(axes) for name, field in average.fields.items()}
    plain |= {"kernel": (2,) * axes, "stride": (1,) * axes}
    whole = stride if isinstance(stride, tuple) else (stride,) * axes
    return [average(**plain)] * (size - 2) + [average(**{**plain, "stride": whole})]


def _binomial(filters: Tensor | None) -> int:
    """Return the size of filters that all have binomial weights, or 0."""
    import torch

    if filters is None or filters.is_meta or filters.dim() < 3:
        return 0
    size = filters.shape[-1]
    if set(filters.shape[1:]) - {size} - {1} or filters.shape[1] != 1:
        return 0
    row = torch.tensor([comb(size - 1, n) / 2 ** (size - 1) for n in range(size)])
    wanted = torch.ones(())
    for _ in filters.shape[2:]:
        wanted = wanted.unsqueeze(-1) * row
    return size if torch.allclose(filters.cpu().float(), wanted, rtol=1e-5) else 0
