"""Further ways to write layers in torch, besides those that kinds declare."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple

from archdsl.backends.importer.calls import BATCH, RecordedCall
from archdsl.layer import count
from archdsl.padding import SIDES
from archdsl.values import CONTINUED, Last, Shape, ones, with_channels, with_sizes


class Synonym(NamedTuple):
    """A layer, as found in some calls.

    Attributes:
        word: its layer kind.
        values: its arguments.
        reads: the values that it reads.
        calls: how many of the calls it takes.
        place: index of its output among the results of the last of these calls.
    """

    word: str
    values: Mapping[str, Any]
    reads: tuple[int, ...]
    calls: int
    place: int = 0


def synonyms(
    calls: Sequence[RecordedCall], shapes: Mapping[int, Shape]
) -> tuple[Synonym, ...]:
    """Return the layers that the first of some calls make; empty if none is found.

    There are several if a call has several results.
    """
    for recognize in _KNOWN:
        found = recognize(calls, shapes)
        if found is not None:
            return (found,)
    return _split(calls, shapes)


def _split(
    calls: Sequence[RecordedCall], shapes: Mapping[int, Shape]
) -> tuple[Synonym, ...]:
    """Channels split into parts of any sizes."""
    first = calls[0]
    if first.name not in ("split", "split_with_sizes") or len(first.reads) != 1:
        return ()
    whole, rank = shapes[first.reads[0]], len(first.shapes[0])
    axis = dict(first.args).get("dim", 0)
    last = isinstance(whole, Last)
    if axis != 1 or last or rank != len(whole) + 1:
        return ()
    found, start = [], 0
    for place, shape in enumerate(first.shapes):
        values = {"start": start, "stop": start + shape[1]}
        found.append(Synonym("slice", values, first.reads, 1, place))
        start += shape[1]
    return tuple(found)


def _stochastic_depth(
    calls: Sequence[RecordedCall], shapes: Mapping[int, Shape]
) -> Synonym | None:
    """A product with one random number for each sample, as torchvision and timm do."""
    if calls[0].name not in ("empty", "new_empty"):
        return None
    shape = calls[0].shapes[0]
    if shape[0] != BATCH or any(n != 1 for n in shape[1:]):
        return None
    names = tuple(call.name for call in calls[:4])
    if names[1:] != ("bernoulli", "div", "mul") or not _follow(calls[:4]):
        return None
    survival = dict(calls[1].args).get("1")
    kept = dict(calls[2].args).get("other")
    reads = tuple(n for n in calls[3].reads if n not in calls[2].gives)
    if not isinstance(survival, float) or kept != survival or len(reads) != 1:
        return None
    values = {"p": round(1 - survival, 12)}
    return Synonym("stochasticdepth", values, reads, 4)


def _shuffle(
    calls: Sequence[RecordedCall], shapes: Mapping[int, Shape]
) -> Synonym | None:
    """A channel shuffle: two axes are exchanged (Zhang et al. 2018, section 3.1)."""
    names = tuple(call.name for call in calls[:3])
    if names != ("view", "transpose", "view") or not _follow(calls[:3]):
        return None
    (read,), split, back = calls[0].reads, calls[0].shapes[0], calls[2].shapes[0]
    swapped = calls[1].shapes[0]
    whole = shapes[read]
    if len(whole) != 3 or len(split) != 5 or back[1:] != tuple(whole):
        return None
    rows, columns = split[1:3]
    axes = sorted(v for k, v in calls[1].args if isinstance(v, int))
    if axes != [1, 2] or swapped[1:3] != (columns, rows) or rows * columns != whole[0]:
        return None
    return Synonym("shuffle", {"groups": rows}, (read,), 3)


def _mean(calls: Sequence[RecordedCall], shapes: Mapping[int, Shape]) -> Synonym | None:
    """A mean or maximum over all positions."""
    words = {
        "mean": ("adaptiveavgpool", "globalavgpool"),
        "amax": ("adaptivemaxpool", "globalmaxpool"),
    }
    first = calls[0]
    if first.name not in words or len(first.reads) != 1:
        return None
    whole = shapes[first.reads[0]]
    if len(whole) < 2 or not _over_positions(first, whole):
        return None
    once = ones(len(whole) - 1)
    keeps = first.shapes[0][1:] == (whole[0], *once)
    pool, flat = words[first.name]
    if keeps:
        return Synonym(pool, {"size": once}, first.reads, 1)
    if first.shapes[0][1:] == (whole[0],):
        return Synonym(flat, {}, first.reads, 1)
    return None


def _over_positions(call: RecordedCall, whole: Shape) -> bool:
    """Return whether the axes of a mean are those of all positions."""
    rank = len(whole) + 1
    for name, value in call.args:
        axes = value if isinstance(value, tuple) else (value,)
        if name in ("1", "dim", "axis") and all(type(a) is int for a in axes):
            return sorted(a % rank for a in axes) == [*range(2, rank)]
    return False


def _flatten(
    calls: Sequence[RecordedCall], shapes: Mapping[int, Shape]
) -> Synonym | None:
    """A map that other functions turn into a vector."""
    first = calls[0]
    if first.name not in ("view", "squeeze", "flatten", "__getitem__"):
        return None
    if len(first.reads) != 1:
        return None
    whole, found = shapes[first.reads[0]], first.shapes[0]
    if first.name == "squeeze" and len(calls) > 1 and len(found) == 3:
        second = calls[1]
        both = second.name == "squeeze" and _follow(calls[:2]) and len(whole) == 3
        if both and second.shapes[0] == (BATCH, whole[0]):
            return Synonym("flatten", {}, first.reads, 2)
    if len(whole) != 3 or len(found) != 2 or found[0] != BATCH:
        return None
    if first.name == "__getitem__" and whole[1:] != (1, 1):
        return None
    if found[1] == whole[0] * whole[1] * whole[2]:
        return Synonym("flatten", {}, first.reads, 1)
    return None


def _nothing(
    calls: Sequence[RecordedCall], shapes: Mapping[int, Shape]
) -> Synonym | None:
    """A function that does not change the shape, and so not the value."""
    first = calls[0]
    if first.name not in ("expand", "expand_as", "view", "flatten", "squeeze"):
        return None
    if not first.reads or first.shapes[0][1:] != tuple(shapes[first.reads[0]]):
        return None
    return Synonym("identity", {}, first.reads[:1], 1)


_POWERS: Final = {2: "square", 0.5: "sqrt", -0.5: "rsqrt", -1: "reciprocal"}


def _power(
    calls: Sequence[RecordedCall], shapes: Mapping[int, Shape]
) -> Synonym | None:
    """A square, a root or a reciprocal of one, written as a power."""
    first = calls[0]
    if first.name not in ("pow", "__pow__") or len(first.reads) != 1:
        return None
    exponents = [value for _, value in first.args if isinstance(value, int | float)]
    word = _POWERS.get(exponents[0]) if len(exponents) == 1 else None
    return Synonym(word, {}, first.reads, 1) if word else None


def _channel_mean(
    calls: Sequence[RecordedCall], shapes: Mapping[int, Shape]
) -> Synonym | None:
    """A mean over the channels that keeps the axis."""
    first = calls[0]
    if first.name != "mean" or len(first.reads) != 1:
        return None
    whole = shapes[first.reads[0]]
    last = isinstance(whole, Last)
    single = with_channels(whole, 1)
    axis = len(whole) if last else 1
    axes = [v for k, v in first.args if k in ("1", "dim", "axis")]
    over = axes and axes[0] in (axis, axis - len(whole) - 1, (axis,))
    if len(whole) < 2 or not over or first.shapes[0][1:] != tuple(single):
        return None
    return Synonym("channelmean", {}, first.reads, 1)


def _l2_pool(
    calls: Sequence[RecordedCall], shapes: Mapping[int, Shape]
) -> Synonym | None:
    """A Euclidean norm over all positions that keeps the axes."""
    first = calls[0]
    given = dict(first.args)
    if (
        first.name != "norm"
        or len(first.reads) != 1
        or given.get("p") not in (2, "fro")
    ):
        return None
    whole, axes = shapes[first.reads[0]], given.get("dim")
    start = 1 if isinstance(whole, Last) else 2
    over = (*range(start, start + len(whole) - 1),)
    kept = with_sizes(whole, ones(len(whole) - 1))
    if axes not in (over, list(over)) or first.shapes[0][1:] != tuple(kept):
        return None
    return Synonym("l2pool", {}, first.reads, 1)


def _sum_pool(
    calls: Sequence[RecordedCall], shapes: Mapping[int, Shape]
) -> Synonym | None:
    """A sum over all positions that keeps the axes."""
    first = calls[0]
    if first.name != "sum" or len(first.reads) != 1:
        return None
    whole = shapes[first.reads[0]]
    kept = with_sizes(whole, ones(len(whole) - 1))
    if len(whole) < 2 or not _over_positions(first, whole):
        return None
    if first.shapes[0][1:] != tuple(kept):
        return None
    return Synonym("sumpool", {}, first.reads, 1)


def _spatial_softmax(
    calls: Sequence[RecordedCall], shapes: Mapping[int, Shape]
) -> Synonym | None:
    """A softmax over positions: of a sequence, or of a map that is flattened to one."""
    first, *_ = some = calls[:3]
    if len(first.reads) != 1:
        return None
    whole = shapes[first.reads[0]]
    if isinstance(whole, Last) or len(whole) < 2:
        return None
    if len(whole) == 2 and _is_over_row(first):
        return Synonym("spatialsoftmax", {}, first.reads, 1)
    names = [call.name for call in some]
    row, back = ("flatten", "view", "reshape"), ("view", "reshape", "unflatten")
    if len(some) < 3 or names[0] not in row or names[2] not in back:
        return None
    flat = (whole[0], count(whole[1:]))
    turned = first.shapes[0][1:] == flat and some[2].shapes[0][1:] == tuple(whole)
    if not turned or not _is_over_row(some[1]) or not _follow(some):
        return None
    return Synonym("spatialsoftmax", {}, first.reads, 3)


def _is_over_row(call: RecordedCall) -> bool:
    """Return whether a call is a softmax over the last of three axes."""
    axes = [value for key, value in call.args if key in ("1", "dim")]
    return call.name == "softmax" and axes in ([2], [-1])


def _uneven_pad(
    calls: Sequence[RecordedCall], shapes: Mapping[int, Shape]
) -> Synonym | None:
    """A map padded beyond its border by more on one side than on another."""
    first = calls[0]
    given = dict(first.args)
    mode, sides = given.get("mode"), given.get("pad")
    if first.name != "pad" or mode not in CONTINUED or not isinstance(sides, tuple):
        return None
    whole = shapes[first.reads[0]]
    if len(sides) != 2 * (len(whole) - 1) or isinstance(whole, Last) or min(sides) < 0:
        return None
    pairs = list(zip(sides[::2], sides[1::2], strict=True))
    size = tuple([min(pair) for pair in reversed(pairs)])
    more = [n - min(pair) for pair in pairs for n in pair]
    values = {"size": size, "mode": mode, **dict(zip(SIDES, more, strict=False))}
    return Synonym("pad", values, first.reads, 1)


def _divided(
    calls: Sequence[RecordedCall], shapes: Mapping[int, Shape]
) -> Synonym | None:
    """A quotient by a number."""
    first = calls[0]
    number = dict(first.args).get("other")
    if first.name != "div" or not isinstance(number, int | float) or not number:
        return None
    if len(first.reads) != 1 or dict(first.args).get("rounding_mode") is not None:
        return None
    return Synonym("scale", {"factor": 1 / number}, first.reads, 1)


def _follow(calls: Sequence[RecordedCall]) -> bool:
    """Return whether each call reads the output of the one before it."""
    return all(set(a.gives) & set(b.reads) for a, b in pairwise(calls))


_Recognizer = Callable[[Sequence[RecordedCall], Mapping[int, Shape]], Synonym | None]
_KNOWN: Final[tuple[_Recognizer, ...]] = (
    _stochastic_depth,
    _shuffle,
    _mean,
    _flatten,
    _nothing,
    _power,
    _channel_mean,
    _l2_pool,
    _sum_pool,
    _spatial_softmax,
    _uneven_pad,
    _divided,
)
