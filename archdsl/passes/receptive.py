"""What every unit sees of the network's input.

Along each axis, unit i of a value sees the input from ``start + i * jump`` to
``start + i * jump + size - 1``, cut off at the input's ends. Where paths meet, a
unit sees the hull of what it sees along each of them. What it sees along a single
path, the narrowest and the widest one, is followed beside that.

Source: Araujo, Norris & Sim 2019, "Computing receptive fields of convolutional
neural networks", Distill.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import ceil, floor, prod
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from archdsl.values import POINTWISE, Shape, Window, sizes

from .graph import Graph

if TYPE_CHECKING:
    from fractions import Fraction

    Number = int | Fraction

# Of paths that jump in more ways, and some networks have exponentially many, only a
# lower bound of the narrowest and an upper bound of the widest are kept.
_MOST_JUMPS: Final = 16


class Axis(NamedTuple):
    """What a value's units see along one axis of the input.

    Attributes:
        first: the first position that its unit 0 sees, padding included.
        last: the last.
        jump: positions from one unit's field to the next one's.
        low: the first position that any unit sees, layers' own padding aside.
        high: the last.
    """

    first: Number
    last: Number
    jump: Number
    low: int
    high: int


class Span(NamedTuple):
    """What a unit sees along one axis by single paths, of those that jump alike.

    Attributes:
        jump: positions from one unit's field to the next one's.
        least: from the first to the last position seen by the narrowest path.
        most: by the widest one.
    """

    jump: Number
    least: Number
    most: Number


Spans = tuple[Span, ...]
_T = TypeVar("_T")


class Field(NamedTuple):
    """What a value's units see of the input.

    Attributes:
        axes: along each axis, all paths together.
        spans: along each axis, path by path.
        exact: False if some units see less than these figures say.
        whole: whether every unit sees the whole input.
    """

    axes: tuple[Axis, ...]
    spans: tuple[Spans, ...]
    exact: bool = True
    whole: bool = False


class ReceptiveField(NamedTuple):
    """A receptive field as it is reported, each figure along each axis.

    Attributes:
        size: positions that a unit sees, beyond the input's ends too.
        jump: positions from one unit's field to the next one's, a fraction where
            layers enlarge; 0 if every unit sees the whole input.
        start: where unit 0's field starts, negative if in the padding.
        visible: most positions of the input itself that any unit sees.
        exact: False if some units see less than these figures say.
        whole: whether every unit sees the whole input.
        interval: first and last position that unit 0 sees.
        minimum: positions that a unit sees by the narrowest single path. Where every
            unit sees the whole input by global pooling beside other paths, as in
            squeeze and excitation, these go on.
        maximum: by the widest one; less than `size` where paths lean apart.
        share: share of the input's positions that a unit sees, of those that see most.
    """

    size: tuple[int, ...]
    jump: tuple[Number, ...]
    start: tuple[int, ...]
    visible: tuple[int, ...]
    exact: bool
    whole: bool
    interval: tuple[tuple[int, int], ...]
    minimum: tuple[int, ...]
    maximum: tuple[int, ...]
    share: float

    def as_dict(self) -> dict[str, Any]:
        """Return the figures as plain data."""
        return {
            "size": list(self.size),
            "jump": [n if isinstance(n, int) else float(n) for n in self.jump],
            "start": list(self.start),
            "visible": list(self.visible),
            "exact": self.exact,
            "whole": self.whole,
            "interval": [list(ends) for ends in self.interval],
            "minimum": list(self.minimum),
            "maximum": list(self.maximum),
            "share": self.share,
        }


def windows(graph: Graph) -> list[Window | None]:
    """Return the window of every node, None where a unit sees all of its input."""
    return [node.op.window(node.input_shapes, node.shape) for node in graph.nodes]


def fields(
    graph: Graph, seen_by: Sequence[Window | None] | None = None
) -> dict[int, Field]:
    """Return the field of every value in the network's first input.

    Values that do not depend on it have none, nor has any value if the first input
    is a vector.

    Args:
        graph: the network.
        seen_by: what `windows` gives, if it is known already.
    """
    image, shape = graph.inputs[0], graph.shapes[graph.inputs[0]]
    if len(shape) < 2:
        return {}
    size = sizes(shape)
    axes = tuple([Axis(0, 0, 1, 0, n - 1) for n in size])
    known = {image: Field(axes, ((Span(1, 0, 0),),) * len(axes))}
    seen_by = windows(graph) if seen_by is None else seen_by
    for node, window in zip(graph.nodes, seen_by, strict=True):
        seen = [
            _Seen(known[value], sizes(graph.shapes[value]))
            for value in node.inputs[: node.op.sources]
            if value in known
        ]
        if seen:
            known[node.output] = _through(window, seen, size, sizes(node.shape))
    return known


def reports(graph: Graph, known: Mapping[int, Field]) -> dict[int, ReceptiveField]:
    """Return the report of every value's field; many share one."""
    made: dict[tuple[int, Shape], ReceptiveField] = {}
    found = {}
    image = sizes(graph.shapes[graph.inputs[0]])
    for value, field in known.items():
        units = sizes(graph.shapes[value])
        key = id(field), units
        if key not in made:
            made[key] = describe(field, units, image)
        found[value] = made[key]
    return found


def main_value(graph: Graph, known: Mapping[int, Field | ReceptiveField]) -> int | None:
    """Return the value whose field is the network's.

    It is the last one on the way to the main output that does not see the whole
    input by its nature, as global pooling and linear layers do; None if there is
    no field at all.
    """
    needed = graph.behind(graph.outputs(training=False)[:1])
    for node in reversed(graph.nodes):
        value = node.output
        if value in needed and value in known and not known[value].whole:
            return value
    return graph.inputs[0] if graph.inputs[0] in known else None


def describe(field: Field, units: Shape, image: Shape) -> ReceptiveField:
    """Return the report of a value's field.

    Args:
        field: what its units see.
        units: how many it has along each axis.
        image: how many positions the first input has.
    """
    if field.whole:
        units = (1,) * len(field.axes)
    along: list[tuple[Any, ...]] = []
    parts: tuple[Axis, Spans, int] | None = None
    for each in zip(field.axes, field.spans, units, strict=True):
        # Most networks are alike along both axes.
        along.append(along[-1] if each == parts else _along(*each))
        parts = each
    size, jump, start, visible, interval, least, most = zip(*along, strict=True)
    return ReceptiveField(
        size=size,
        jump=jump,
        start=start,
        visible=visible,
        exact=field.exact,
        whole=field.whole,
        interval=interval,
        minimum=least,
        maximum=most,
        share=prod(visible) / prod(image),
    )


def _along(axis: Axis, spans: Spans, units: int) -> tuple[Any, ...]:
    """Return the figures of a report along one axis, in its order."""
    start, end = ceil(axis.first), floor(axis.last)
    return (
        floor(axis.last - axis.first) + 1,
        axis.jump,
        start,
        _visible(axis, units),
        (start, end),
        floor(min([span.least for span in spans])) + 1,
        floor(max([span.most for span in spans])) + 1,
    )


def _visible(axis: Axis, units: int) -> int:
    """Return the most positions between `low` and `high` that one unit sees."""
    tried = {0, units - 1}
    if axis.jump:
        # Where an end of the field meets one of the limits, the cut-off changes.
        for way in (axis.low - axis.first, axis.high - axis.last):
            tried |= {way // axis.jump, -(-way // axis.jump)}
    best = 0
    for unit in tried:
        if 0 <= unit < units:
            first = max(ceil(axis.first + unit * axis.jump), axis.low)
            last = min(floor(axis.last + unit * axis.jump), axis.high)
            best = max(best, last - first + 1)
    return best


# ---- one layer ------------------------------------------------------------------


class _Seen(NamedTuple):
    """The field of one of a layer's inputs, and its units along each axis."""

    field: Field
    units: tuple[int, ...]


def _through(
    window: Window | None, seen: Sequence[_Seen], image: Shape, output: Shape
) -> Field:
    """Return the field behind a layer, from those of its inputs.

    Args:
        window: of the layer.
        seen: the fields of its inputs.
        image: sizes of the network's input.
        output: sizes of what it gives.
    """
    field, units = seen[0]
    if len(seen) > 1:
        field = _union(seen, image)
    if window is None:
        if field.whole:
            return field._replace(spans=_all_of(image))
        return _whole([_Seen(field, units)], image)
    # Units may come on at the end or go, and then limit what the next layers see.
    if window == POINTWISE and (len(seen) > 1 or output == units):
        return field
    alike = _is_square(window) and len(set(units)) == 1
    spans = _each(_widen, field.spans, window, (1,) * len(units), alike)
    if field.whole:
        return field._replace(spans=spans)
    axes = _each(_slide, field.axes, window, units, alike)
    return Field(axes, spans, field.exact and window.exact)


def _is_square(window: Window) -> bool:
    """Return whether a window is alike along both axes."""
    return all([parts[0] == parts[1] for parts in window[:5]])


def _each(
    move: Callable[[_T, Window, int, int], _T],
    values: tuple[_T, ...],
    window: Window,
    units: Sequence[int],
    alike: bool,
) -> tuple[_T, ...]:
    """Return what a window makes of a value of each axis, once if all is alike."""
    first = move(values[0], window, 0, units[0])
    if alike and values[0] == values[1]:
        return first, first
    return first, move(values[1], window, 1, units[1])


def _widen(spans: Spans, window: Window, n: int, _units: int) -> Spans:
    """Return what a window sees, path by path, that slides along axis number n."""
    reach, stride = window.dilation[n] * (window.kernel[n] - 1), window.stride[n]
    found = []
    for jump, least, most in spans:
        jump = divide(jump, window.up[n])
        more = reach * jump
        found.append(Span(_tidy(stride * jump), least + more, most + more))
    return tuple(found)


def _all_of(image: Shape) -> tuple[Spans, ...]:
    """Return the spans of a unit that sees all positions."""
    return tuple([(Span(0, n - 1, n - 1),) for n in image])


def _slide(axis: Axis, window: Window, n: int, units: int) -> Axis:
    """Return what a window sees that slides along axis number n of some units."""
    jump = divide(axis.jump, window.up[n])
    before, reach = window.pad[n], window.dilation[n] * (window.kernel[n] - 1)
    return Axis(
        axis.first - before * jump,
        axis.last + (reach - before) * jump,
        _tidy(window.stride[n] * jump),
        *_limits(axis, units),
    )


def _limits(axis: Axis, units: int) -> tuple[int, int]:
    """Return the first and last position of the input that some units see."""
    end = floor(axis.last + (units - 1) * axis.jump)
    return max(axis.low, ceil(axis.first)), min(axis.high, end)


def _whole(seen: Sequence[_Seen], image: Shape) -> Field:
    """Return the field of a unit that sees all units of some values."""
    limits = [
        [_limits(axis, n) for axis, n in zip(field.axes, units, strict=True)]
        if not field.whole
        else [(axis.low, axis.high) for axis in field.axes]
        for field, units in seen
    ]
    axes = []
    for size, *along in zip(image, *limits, strict=True):
        low = min(first for first, _ in along)
        axes.append(Axis(0, size - 1, 0, low, max(last for _, last in along)))
    exact = all(each.field.exact for each in seen)
    return Field(tuple(axes), _all_of(image), exact, whole=True)


def _union(seen: Sequence[_Seen], image: Shape) -> Field:
    """Return the hull of what a unit sees along several paths."""
    fields = [each.field for each in seen]
    if all(each == seen[0] for each in seen):
        return fields[0]
    units = [max(counts) for counts in zip(*(each.units for each in seen), strict=True)]
    # A vector has no units along the axes, and sees all.
    joined = tuple([_together(seen, n, most) for n, most in enumerate(units)])
    spans = joined or _all_of(image)
    if any(field.whole for field in fields):
        return _whole(seen, image)._replace(spans=spans)
    along = list(zip(*(_repeated(each, units) for each in seen), strict=True))
    axes = [_hull(each, n) for each, n in zip(along, units, strict=True)]
    alike = all(len({axis.jump for axis in each}) == 1 for each in along)
    return Field(tuple(axes), spans, alike and all(field.exact for field in fields))


def _together(seen: Sequence[_Seen], n: int, units: int) -> Spans:
    """Return the spans of several values along axis number n, joined by their jump."""
    found: dict[Number, Span] = {}
    for field, own in seen:
        for jump, least, most in field.spans[n]:
            # The only unit along an axis is repeated for all.
            jump = jump if own[n] == units else 0
            if jump in found:
                _, low, high = found[jump]
                least, most = min(least, low), max(most, high)
            found[jump] = Span(jump, least, most)
    if len(found) <= _MOST_JUMPS:
        return tuple(found.values())
    least = min(span.least for span in found.values())
    most = max(span.most for span in found.values())
    return Span(min(found), least, least), Span(max(found), most, most)


def _repeated(seen: _Seen, units: Sequence[int]) -> list[Axis]:
    """Return the field of a value, its only unit along an axis repeated for all.

    It is cut off where its own last unit ends: another value may see further.
    """
    found = []
    for axis, own, most in zip(seen.field.axes, seen.units, units, strict=True):
        low, high = _limits(axis, own)
        jump = axis.jump if own == most else 0
        found.append(axis._replace(jump=jump, low=low, high=high))
    return found


def _hull(axes: Sequence[Axis], units: int) -> Axis:
    """Return what a unit sees along several paths, bounded if they jump apart."""
    jump = next((axis.jump for axis in axes if axis.jump), axes[0].jump)
    drift = [(units - 1) * (axis.jump - jump) for axis in axes]
    firsts = [axis.first + min(0, d) for axis, d in zip(axes, drift, strict=True)]
    lasts = [axis.last + max(0, d) for axis, d in zip(axes, drift, strict=True)]
    return Axis(
        min(firsts),
        max(lasts),
        jump,
        min(axis.low for axis in axes),
        max(axis.high for axis in axes),
    )


def divide(number: Number, parts: int) -> Number:
    """Return an exact quotient, as an int if it is one."""
    if parts == 1:
        return number
    from fractions import Fraction  # costs more to import than most networks need

    return _tidy(Fraction(number) / parts)


def _tidy(number: Number) -> Number:
    """Return a whole number as an int."""
    return int(number) if number.denominator == 1 else number
