"""Random layers and networks, drawn from what the registered kinds declare."""

from __future__ import annotations

from functools import cache
from typing import Any

from hypothesis import strategies as st

from archdsl.layer import REQUIRED, Field, Layer, Mismatch, all_kinds
from archdsl.values import Last, Shape, sizes
from tests.handmade import Sketch

KINDS = {kind.word: kind for kind in all_kinds()}

# The number of spatial axes of maps and windows; most networks have two.
AXES = st.sampled_from((2, 1, 2, 3))
_CHANNELS = st.sampled_from((1, 2, 3, 4, 6, 8))


# Each strategy is made once, as making one takes longer than drawing from it.
@cache
def _shapes(axes: int) -> st.SearchStrategy[Shape]:
    """Return shapes of maps with some axes, of vectors, and maps with channels last."""
    sizes = [st.integers(1, 12 if axes < 3 else 6)] * axes
    maps = st.tuples(_CHANNELS, *sizes)
    # Maps twice, as most kinds take nothing else.
    last = st.tuples(*sizes, _CHANNELS).map(Last)
    return st.one_of(maps, maps, st.tuples(_CHANNELS), last)


_ANY_SHAPES = AXES.flatmap(_shapes)


def _argument(field: Field, axes: int) -> st.SearchStrategy[Any]:
    low, high = field.minimum, field.maximum
    ints = st.integers(int(low or 0), 8 if high is None else int(high))
    small = st.integers(int(low or 0), 4)
    floats = st.floats(0.0 if low is None else low, 2.0 if high is None else high)
    value: st.SearchStrategy[Any] = {
        "int": ints,
        "float": floats,
        "bool": st.booleans(),
        "window": st.tuples(*[small] * axes),
        "choice": st.sampled_from(field.choices or ("",)),
    }[field.type]
    if field.type != "choice" and field.choices:
        value = value | st.sampled_from(field.choices)
    if field.default is REQUIRED:
        return value
    default = field.default
    if field.type == "window" and isinstance(default, tuple):
        default = default[:1] * axes
    return st.just(default) | value


@cache
def layers(word: str, axes: int = 2) -> st.SearchStrategy[Layer]:
    """Return layers of a kind, with any arguments; windows have some axes."""
    fields = KINDS[word].fields.items()
    arguments = st.fixed_dictionaries({name: _argument(f, axes) for name, f in fields})
    return arguments.map(lambda values: KINDS[word](**values))


@cache
@st.composite
def _inputs(draw: st.DrawFn, word: str, axes: int) -> tuple[Shape, ...]:
    shapes = _shapes(axes)
    first = draw(shapes)
    arity = KINDS[word].arity or draw(st.integers(2, 3))
    alike = st.just(first) | st.sampled_from(_relatives(first))
    others = draw(st.sampled_from((alike, shapes, _ANY_SHAPES)))
    return (first, *(draw(others) for _ in range(arity - 1)))


def _relatives(shape: Shape) -> list[Shape]:
    """Return shapes that a merge might accept next to one: with one unit or channel."""
    if len(shape) == 1 or isinstance(shape, Last):
        return [shape]
    return [shape, (shape[0], *[1] * (len(shape) - 1)), (1, *shape[1:])]


@st.composite
def layers_with_inputs(draw: st.DrawFn, word: str) -> tuple[Layer, tuple[Shape, ...]]:
    """Return layers of a kind with input shapes that may or may not fit."""
    axes = draw(AXES)
    other = draw(st.sampled_from((axes, axes, axes, 2)))
    return draw(layers(word, axes)), draw(_inputs(word, other))


def _alike(one: Shape, other: Shape) -> bool:
    """Return whether a merge might accept both."""
    same_kind = type(one) is type(other) and len(one) == len(other)
    return same_kind and (sizes(one) == sizes(other) or max(sizes(other)) == 1)


@st.composite
def sketches(
    draw: st.DrawFn,
    words: tuple[str, ...] = tuple(KINDS),
    *,
    start: Shape | None = None,
    most: int = 8,
    axes: st.SearchStrategy[int] = AXES,
) -> Sketch:
    """Return a network of a few layers of some kinds, connected at random."""
    along = len(start) - 1 if start else draw(axes)
    sketch = Sketch(start or draw(_shapes(along)))
    values = [0]
    for _ in range(draw(st.integers(1, most))):
        word = draw(st.sampled_from(words))
        # The last value three times, so that chains are as common as branches.
        first = draw(st.sampled_from([*values, values[-1], values[-1]]))
        alike = [v for v in values if _alike(sketch.shape(v), sketch.shape(first))]
        arity = KINDS[word].arity or draw(st.integers(2, 3))
        others = [draw(st.sampled_from(alike)) for _ in range(arity - 1)]
        try:
            values.append(sketch.add(draw(layers(word, along or 2)), first, *others))
        except Mismatch:
            continue
    return sketch
