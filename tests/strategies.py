"""Random layers and networks, drawn from what the registered kinds declare."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from archdsl.layer import REQUIRED, Field, Layer, Mismatch, all_kinds
from archdsl.values import Last, Shape, sizes
from tests.handmade import Sketch

KINDS = {kind.word: kind for kind in all_kinds()}

_SIZES = st.integers(1, 12)
_CHANNELS = st.sampled_from((1, 2, 3, 4, 6, 8))
_MAPS = st.tuples(_CHANNELS, _SIZES, _SIZES)
_SHAPES = st.one_of(
    # Twice, as most kinds take nothing else.
    _MAPS,
    _MAPS,
    st.tuples(_CHANNELS),
    st.tuples(_SIZES, _SIZES, _CHANNELS).map(Last),
)


def _argument(field: Field) -> st.SearchStrategy[Any]:
    low, high = field.minimum, field.maximum
    ints = st.integers(int(low or 0), 8 if high is None else int(high))
    small = st.integers(int(low or 0), 4)
    floats = st.floats(0.0 if low is None else low, 2.0 if high is None else high)
    value: st.SearchStrategy[Any] = {
        "int": ints,
        "float": floats,
        "bool": st.booleans(),
        "window": st.tuples(small, small),
        "pads": st.tuples(small, small),
        "choice": st.sampled_from(field.choices or ("",)),
    }[field.type]
    if field.type != "choice" and field.choices:
        value = value | st.sampled_from(field.choices)
    if field.default is REQUIRED:
        return value
    return st.just(field.default) | value


def layers(word: str) -> st.SearchStrategy[Layer]:
    """Return layers of a kind, with any arguments."""
    fields = KINDS[word].fields.items()
    arguments = st.fixed_dictionaries({name: _argument(f) for name, f in fields})
    return arguments.map(lambda values: KINDS[word](**values))


@st.composite
def _inputs(draw: st.DrawFn, word: str) -> tuple[Shape, ...]:
    first = draw(_SHAPES)
    arity = KINDS[word].arity or draw(st.integers(2, 3))
    alike = st.just(first) | st.sampled_from(_relatives(first))
    others = draw(st.sampled_from((alike, _SHAPES)))
    return (first, *(draw(others) for _ in range(arity - 1)))


def _relatives(shape: Shape) -> list[Shape]:
    """Return shapes that a merge might take beside one: of one unit or channel."""
    if len(shape) == 1 or isinstance(shape, Last):
        return [shape]
    return [shape, (shape[0], 1, 1), (1, *shape[1:])]


def layers_with_inputs(
    word: str,
) -> st.SearchStrategy[tuple[Layer, tuple[Shape, ...]]]:
    """Return layers of a kind with shapes that they may or may not fit."""
    return st.tuples(layers(word), _inputs(word))


def _alike(one: Shape, other: Shape) -> bool:
    """Return whether a merge might take both."""
    same_kind = type(one) is type(other) and len(one) == len(other)
    return same_kind and (sizes(one) == sizes(other) or max(sizes(other)) == 1)


@st.composite
def sketches(
    draw: st.DrawFn,
    words: tuple[str, ...] = tuple(KINDS),
    *,
    start: Shape | None = None,
    most: int = 8,
) -> Sketch:
    """Return a network of up to that many layers of some kinds, joined at random."""
    sketch = Sketch(start or draw(_SHAPES))
    values = [0]
    for _ in range(draw(st.integers(1, most))):
        word = draw(st.sampled_from(words))
        # The last value three times, so that chains are as common as branches.
        first = draw(st.sampled_from([*values, values[-1], values[-1]]))
        alike = [v for v in values if _alike(sketch.shape(v), sketch.shape(first))]
        arity = KINDS[word].arity or draw(st.integers(2, 3))
        others = [draw(st.sampled_from(alike)) for _ in range(arity - 1)]
        try:
            values.append(sketch.add(draw(layers(word)), first, *others))
        except Mismatch:
            continue
    return sketch
