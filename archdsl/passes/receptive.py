"""The receptive field of every unit in the network's input.

Along each axis, unit i of a value sees the input from ``start + i * jump`` to ``start +
i * jump + size - 1``, clipped to the input. After upsampling layers it depends on the
unit's phase, and is described by a period. Where paths join, a unit sees the hull of
what it sees along each of them. Also tracked are the fields along the narrowest and the
widest single path, and those along local paths alone, which exclude paths through
layers that see the whole input.

Source: Araujo, Norris & Sim 2019, "Computing receptive fields of convolutional neural
networks", Distill.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import ceil, floor, prod
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from archdsl.ir.graph import Graph, Node
from archdsl.values import Continued, Shape, Window, channels, sizes

from .channel_fields import ChannelFields
from .periodic import STEADY, Ends, Periodic, hull, limits, slide, together

if TYPE_CHECKING:
    from fractions import Fraction

    Number = int | Fraction

# Some networks have paths with exponentially many jumps. Beyond this number, only a
# lower bound of the narrowest path and an upper bound of the widest are kept.
_MOST_JUMPS: Final = 16


class AxisField(NamedTuple):
    """What the units of a value see along one axis of the input.

    The field of every unit lies within an outline that moves by a constant jump. The
    fields equal the outline, unless `ways` says otherwise.

    Attributes:
        first: first position that unit 0 sees, including padding.
        last: last position that unit 0 sees.
        jump: distance between the fields of neighbouring units.
        low: first position that any unit sees, without the layers' own padding.
        high: last position that any unit sees.
        ways: fields that alternate between units, if units see different amounts: a
            unit sees the union over all of these.
        seen: first and last position of the input itself that each unit sees, if that
            does not follow from the rest: near the ends, the outline may include
            positions that only units beyond the ends would see.
    """

    first: Number
    last: Number
    jump: Number
    low: int
    high: int
    ways: tuple[Periodic, ...] | None = None
    seen: tuple[Ends, ...] | None = None

    def unit(self, number: int) -> Ends:
        """Return the first and last position that a unit sees, including padding."""
        if self.ways is None:
            move = number * self.jump
            return int(self.first + move), int(self.last + move)
        if len(self.ways) == 1:
            return self.ways[0].unit(number)
        return hull([way.unit(number) for way in self.ways])

    def visible(self, number: int) -> Ends:
        """Return the same, clipped to what any unit sees."""
        if self.seen is not None:
            return self.seen[number]
        ends = self.unit(number)
        if ends is None:
            return None
        first, last = max(ends[0], self.low), min(ends[1], self.high)
        return (first, last) if first <= last else None


class PathFields(NamedTuple):
    """What a unit sees along one axis on single paths, for paths with the same jump.

    Attributes:
        jump: distance between the fields of neighbouring units.
        least: size of the field along the narrowest path.
        most: size of the field along the widest path.
        phases: if units alternate, the fields that they would have if unit 0 saw a
            single position, with their jumps.
    """

    jump: Number
    least: Number
    most: Number
    phases: Periodic | None = None


Spans = tuple[PathFields, ...]
_T = TypeVar("_T")


class UnitFields(NamedTuple):
    """What the units of a value see of the input.

    Attributes:
        axes: fields along each axis, over all paths together.
        spans: fields along each axis, for single paths.
        exact: False if units may see less, because it is not known what a layer reads.
        whole: whether every unit sees the whole input.
        local: fields along each axis, without the paths on which units see everything;
            None if the field is not whole, or no path is left.
        paths_exact: False if there are too many paths to follow, so that `spans` only
            bound the narrowest from below and the widest from above.
    """

    axes: tuple[AxisField, ...]
    spans: tuple[Spans, ...]
    exact: bool = True
    whole: bool = False
    local: tuple[AxisField, ...] | None = None
    paths_exact: bool = True


class ReceptiveField(NamedTuple):
    """A receptive field as it is reported, with each figure along each axis.

    Attributes:
        size: positions that a unit sees, including those beyond the input's ends, for
            the units that see most.
        jump: distance between the fields of neighbouring units, a fraction after
            upsampling layers; 0 if every unit sees the whole input.
        start: first position of unit 0's field, negative in the padding; None if unit 0
            sees nothing.
        visible: largest number of positions inside the input that any unit sees.
        exact: False if units may see less than these figures say, which are upper
            bounds then.
        whole: whether every unit sees the whole input.
        interval: first and last position that unit 0 sees; None if it sees nothing.
        minimum: positions that a unit sees along the narrowest single path. If every
            unit sees the whole input by global pooling next to other paths, as in
            squeeze and excitation, only the other paths count.
        maximum: positions along the widest single path; less than `size` if paths drift
            apart.
        share: share of the input's positions that a unit sees, for the units that see
            most.
        smallest: positions that a unit sees, for the units that see least; 0 if some
            see nothing.
        local: as `size`, along local paths alone, which exclude global pooling and the
            like; None if there are none, or it is not known.
        local_smallest: as `smallest`, along local paths.
        paths_exact: False if the narrowest path may be wider than `minimum`, and the
            widest one narrower than `maximum`.
    """

    size: tuple[int, ...]
    jump: tuple[Number, ...]
    start: tuple[int | None, ...]
    visible: tuple[int, ...]
    exact: bool
    whole: bool
    interval: tuple[Ends, ...]
    minimum: tuple[int, ...]
    maximum: tuple[int, ...]
    share: float
    smallest: tuple[int, ...]
    local: tuple[int, ...] | None
    local_smallest: tuple[int, ...] | None
    paths_exact: bool = True

    @property
    def bound(self) -> str | None:
        """``at most`` if units may see less than the figures say."""
        return None if self.exact else "at most"

    @property
    def even(self) -> bool:
        """Whether all units see the same amount."""
        return self.size == self.smallest

    def as_dict(self) -> dict[str, Any]:
        """Return the figures as plain data."""
        return {
            "size": list(self.size),
            "jump": [n if isinstance(n, int) else float(n) for n in self.jump],
            "start": list(self.start),
            "visible": list(self.visible),
            "exact": self.exact,
            "whole": self.whole,
            "interval": [ends and list(ends) for ends in self.interval],
            "minimum": list(self.minimum),
            "maximum": list(self.maximum),
            "share": self.share,
            "smallest": list(self.smallest),
            "local": _listed(self.local),
            "local_smallest": _listed(self.local_smallest),
            "bound": self.bound,
            "paths_exact": self.paths_exact,
        }


def _listed(values: tuple[int, ...] | None) -> list[int] | None:
    return None if values is None else list(values)


def windows(graph: Graph) -> list[Window | None]:
    """Return the window of every node, None where a unit sees all of its input."""
    return [node.window for node in graph.nodes]


def fields(
    graph: Graph, seen_by: Sequence[Window | None] | None = None
) -> dict[int, UnitFields]:
    """Return the field of every value in the network's first input.

    Values that do not depend on that input have none. If the input is a vector, no
    value has one.

    Args:
        graph: the network.
        seen_by: the result of `windows`, if it is already known.
    """
    image, shape = graph.inputs[0], graph.shapes[graph.inputs[0]]
    if len(shape) < 2:
        return {}
    size = sizes(shape)
    axes = tuple([AxisField(0, 0, 1, 0, n - 1) for n in size])
    known = {image: UnitFields(axes, ((PathFields(1, 0, 0),),) * len(axes))}
    seen_by = windows(graph) if seen_by is None else seen_by
    channel_fields = ChannelFields(
        graph,
        seen_by,
        known,
        lambda node, window, reads: _behind(node, window, reads, size),
        _bounded,
    )
    for node, window in zip(graph.nodes, seen_by, strict=True):
        if node.op.selects:
            field = channel_fields.field(node.output, range(channels(node.shape)))
        else:
            reads = [known.get(value) for value in node.inputs[: node.op.sources]]
            field = _behind(node, window, reads, size)
        if field is None:
            continue
        if node.op.scatters and not channel_fields.is_certain(node):
            field = _bounded(field)
        known[node.output] = field
    return known


def _behind(
    node: Node, window: Window | None, reads: Sequence[UnitFields | None], image: Shape
) -> UnitFields | None:
    """Return the field after a layer; None if its units see nothing.

    Args:
        node: the layer.
        window: its window.
        reads: the field of each input, None for an input that does not matter.
        image: size of the network's input.
    """
    seen = [
        _Seen(field, sizes(shape))
        for field, shape in zip(reads, node.input_shapes, strict=False)
        if field is not None
    ]
    if not seen:
        return None
    field = _through(node, window, seen, image)
    return field if _sees(field, sizes(node.shape)) else None


def _sees(field: UnitFields, units: Shape) -> bool:
    """Return whether any unit sees anything; only padding may be left."""
    if field.whole:
        return True
    ends = [_limits(axis, n) for axis, n in zip(field.axes, units, strict=True)]
    return all([first <= last for first, last in ends])


def reports(graph: Graph, known: Mapping[int, UnitFields]) -> dict[int, ReceptiveField]:
    """Return the reported field of every value; many values share one."""
    made: dict[tuple[int, Shape], ReceptiveField] = {}
    found = {}
    image = sizes(graph.shapes[graph.inputs[0]])
    for value, field in known.items():
        units = sizes(graph.shapes[value])
        key = id(field), units
        if key not in made:
            made[key] = reported_field(field, units, image)
        found[value] = made[key]
    return found


def main_value(graph: Graph, known: Mapping[int, UnitFields]) -> int | None:
    """Return the value whose field is the network's; None if there is none.

    It is the last map on the way to the main output. Vectors, values computed from
    vectors, and the output of a global pool are not maps in this sense.
    """
    needed = graph.behind(graph.outputs(training=False)[:1])
    for node in reversed(graph.nodes):
        value = node.output
        if value in needed and value in known and _is_map(known[value], node.shape):
            return value
    return graph.inputs[0] if graph.inputs[0] in known else None


def _is_map(field: UnitFields, shape: Shape) -> bool:
    """Return whether the units of a value represent places in the input."""
    if not field.whole:
        return True
    return len(shape) > 1 and (field.local is not None or not field.exact)


def reported_field(field: UnitFields, units: Shape, image: Shape) -> ReceptiveField:
    """Return the report of a value's field.

    Args:
        field: what its units see.
        units: number of units along each axis.
        image: size of the first input.
    """
    local: tuple[Any, ...] = None, None
    if field.whole:
        if field.local is not None:
            pairs = zip(field.local, units, strict=True)
            along_axes = [_sizes(axis, n) for axis, n in pairs]
            local = tuple(zip(*along_axes, strict=True))
        units = (1,) * len(field.axes)
    along: list[tuple[Any, ...]] = []
    parts: tuple[AxisField, Spans, int] | None = None
    for each in zip(field.axes, field.spans, units, strict=True):
        # Most networks treat all axes equally.
        along.append(along[-1] if each == parts else _along(*each))
        parts = each
    largest, smallest, jump, interval, visible, least, most = zip(*along, strict=True)
    if not field.whole:
        local = smallest, largest
        most = tuple(
            map(min, most, largest)
        )  # a bound can exceed the field over all paths
    return ReceptiveField(
        size=largest,
        jump=jump,
        start=tuple([ends and ends[0] for ends in interval]),
        visible=visible,
        exact=field.exact,
        whole=field.whole,
        interval=interval,
        minimum=least,
        maximum=most,
        share=prod(visible) / prod(image),
        smallest=smallest,
        local=local[1],
        local_smallest=local[0],
        paths_exact=field.paths_exact and field.exact,
    )


def _along(axis: AxisField, spans: Spans, units: int) -> tuple[Any, ...]:
    """Return the figures of a report along one axis."""
    smallest, largest = _sizes(axis, units)
    return (
        largest,
        smallest,
        axis.jump,
        axis.unit(0),
        _visible(axis, units),
        ceil(min([_extent(span, units, min) for span in spans])) + 1,
        floor(max([_extent(span, units, max) for span in spans])) + 1,
    )


def _sizes(axis: AxisField, units: int) -> tuple[int, int]:
    """Return the number of positions that the units with the smallest and largest field
    see.
    """
    if axis.ways is None:
        size = int(axis.last - axis.first) + 1
        return size, size
    if len(axis.ways) == 1:
        units = min(units, len(axis.ways[0].ends))
    found = [_size(axis.unit(n)) for n in range(units)]
    return min(found), max(found)


def _size(ends: Ends) -> int:
    return 0 if ends is None else ends[1] - ends[0] + 1


def _extent(
    span: PathFields, units: int, choose: Callable[[Iterable[Number]], Number]
) -> Number:
    """Return the extent of the narrowest or widest path, over alternating units."""
    own = span.least if choose is min else span.most
    if span.phases is None:
        return own
    phases = span.phases.ends[:units]
    return choose([-1 if e is None else own + e[1] - e[0] for e in phases])


def _visible(axis: AxisField, units: int) -> int:
    """Return the most positions between `low` and `high` that a unit sees."""
    if axis.ways is not None or axis.seen is not None:
        return max([_size(axis.visible(n)) for n in range(units)])
    tried = {0, units - 1}
    if axis.jump:
        # Clipping changes where an end of the field meets one of the limits.
        for way in (axis.low - axis.first, axis.high - axis.last):
            tried |= {int(way // axis.jump), -int(-way // axis.jump)}
    return max([_size(axis.visible(n)) for n in tried if 0 <= n < units])


# ---- one layer ------------------------------------------------------------------


def _bounded(field: UnitFields) -> UnitFields:
    """Return a field marked as an upper bound."""
    return field._replace(exact=False)


class _Seen(NamedTuple):
    """The field of one of a layer's inputs, and its number of units along each axis."""

    field: UnitFields
    units: tuple[int, ...]


def _through(
    node: Node, window: Window | None, seen: Sequence[_Seen], image: Shape
) -> UnitFields:
    """Return the field after a layer, from the fields of its inputs.

    Args:
        node: the layer.
        window: its window.
        seen: the fields of its inputs.
        image: size of the network's input.
    """
    (field, units), output = seen[0], sizes(node.shape)
    plain = window is not None and window.is_pointwise
    merges = plain and node.op.sources is None and len(node.inputs) > 1
    if merges or len(seen) > 1:
        # An input that is not tracked may determine how often the others are repeated.
        field = _union(seen, image, output if merges else None)
    if window is None:
        return _global(field, units, node, image)
    # Units can be added or removed at the end, which limits what later layers see.
    if plain and (merges or output == units):
        return field
    alike = window.is_square and len({*units}) == len({*output}) == 1
    both = tuple(zip(units, output, strict=True))
    if len(both) != len(field.axes):
        return field  # only what sees everything has other axes than the image
    spans = _each(_widen, field.spans, window, both, alike)
    if not field.whole:
        axes = _each(_slide, field.axes, window, both, alike)
        return field._replace(axes=axes, spans=spans)
    local = field.local and _each(_slide, field.local, window, both, alike)
    return field._replace(spans=spans, local=local)


def _global(field: UnitFields, units: Shape, node: Node, image: Shape) -> UnitFields:
    """Return the field after a layer whose units all see its whole input.

    If the number of units stays the same, as after a norm, each unit still represents
    its place.
    """
    exact = field.exact and not node.op.opaque()
    local = field.local if field.whole else field.axes
    if not exact or sizes(node.shape) != units:
        local = None
    if not field.whole:
        field = _whole([_Seen(field, units)], image)
    return field._replace(
        spans=_all_of(image), exact=exact, local=local, paths_exact=True
    )


_Units = tuple[int, int]  # along an axis, before and after a layer


def _each(
    move: Callable[[_T, Window, int, _Units], _T],
    values: tuple[_T, ...],
    window: Window,
    units: Sequence[_Units],
    alike: bool,
) -> tuple[_T, ...]:
    """Return the effect of a window on each axis, computed once if they are equal."""
    first = move(values[0], window, 0, units[0])
    if alike and values.count(values[0]) == len(values):
        return (first,) * len(values)
    rest = range(1, len(values))
    return (first, *[move(values[n], window, n, units[n]) for n in rest])


_Parts = tuple[int, int, int, int, int]  # those of a window along an axis


def _parts(window: Window, n: int) -> _Parts:
    """Return a window's parameters along axis n, as `periodic.slide` takes them."""
    kernel, stride, pad, dilation, up = window
    return kernel[n], stride[n], pad[n], dilation[n], up[n]


def _slide(axis: AxisField, window: Window, n: int, units: _Units) -> AxisField:
    """Return what a window sees that slides along axis n."""
    jump = divide(axis.jump, window.up[n])
    before, reach = window.pad[n], window.dilation[n] * (window.kernel[n] - 1)
    outline = AxisField(
        axis.first - before * jump,
        axis.last + (reach - before) * jump,
        _tidy(window.stride[n] * jump),
        *_limits(axis, units[0]),
    )
    parts = _parts(window, n)
    if isinstance(window, Continued):
        ways = [slide(way, *parts, units[1]) for way in _ways(axis)]
        found = _with_ways(outline, together(ways, units[1]))
        return _seen_as(found, _continued(axis, window, parts, units))
    if window.up[n] == 1 and axis.ways is None:
        return _seen_through(axis, outline, parts, units)
    ways = [slide(way, *parts, units[1]) for way in _ways(axis)]
    found = _with_ways(outline, together(ways, units[1]))
    return _seen_through(axis, found, parts, units)


def _continued(
    axis: AxisField, window: Continued, parts: _Parts, units: _Units
) -> list[Ends]:
    """Return what each unit of a window sees of a map that is continued beyond its
    border.

    Args:
        axis: what the units of the map see.
        window: the window.
        parts: its parameters along the axis.
        units: number of units.
    """
    kernel, stride, pad, dilation, _ = parts
    before, after = units
    reach = dilation * (kernel - 1) + 1
    found = []
    for start in range(-pad, after * stride - pad, stride):
        places = range(start, start + reach, dilation)
        read = {window.source(place, before) for place in places}
        found.append(hull([axis.visible(place) for place in read]))
    return found


def _ways(axis: AxisField) -> tuple[Periodic, ...]:
    """Return what the units along an axis see along each path, in periods."""
    if axis.ways is not None:
        return axis.ways
    return (Periodic(((int(axis.first), int(axis.last)),), int(axis.jump)),)


def _with_ways(outline: AxisField, ways: tuple[Periodic, ...]) -> AxisField:
    """Return an axis with the fields of its units, if these differ from the outline."""
    plain = Periodic(((outline.first, outline.last),), outline.jump)  # type: ignore[arg-type]
    return outline if ways == (plain,) else outline._replace(ways=ways)


def _seen_through(
    axis: AxisField, found: AxisField, parts: _Parts, units: _Units
) -> AxisField:
    """Return what a window sees, corrected for the units that actually exist.

    Only windows that reach beyond an end, or that read units in the padding, need a
    correction: such units see nothing, but the outline includes their positions.

    Args:
        axis: what the units see along which the window slides.
        found: what the window sees if these units continued beyond the ends.
        parts: parameters of the window.
        units: number of units.
    """
    kernel, stride, pad, dilation, up = parts
    before, after = units
    if axis.seen is None:
        start, end = _core(axis, before)
        low = min(after, -(-(pad + start * up) // stride))
        inside = (end - 1) * up + pad - dilation * (kernel - 1)
        high = max(low, inside // stride + 1)
        edges = (*range(low), *range(high, after))
        if all([_read(axis, n, parts, before) == found.visible(n) for n in edges]):
            return found
    seen = [_read(axis, n, parts, before) for n in range(after)]
    return _seen_as(found, seen)


def _seen_as(axis: AxisField, seen: Sequence[Ends]) -> AxisField:
    """Return an axis with what its units actually see, if that needs to be stored."""
    if all([axis.visible(n) == ends for n, ends in enumerate(seen)]):
        return axis
    return axis._replace(seen=tuple(seen))


def _read(axis: AxisField, number: int, parts: _Parts, units: int) -> Ends:
    """Return what a unit of a window sees through the units that exist."""
    kernel, stride, pad, dilation, up = parts
    start = number * stride - pad
    end = start + dilation * (kernel - 1)
    first = start + max(0, -(start // dilation)) * dilation
    last = end - max(0, -((units * up - up - end) // dilation)) * dilation
    places = range(first, last + 1, dilation)
    read = places if up == 1 else [place // up for place in places if place % up == 0]
    if axis.ways is not None or axis.seen is not None:
        return hull([axis.visible(unit) for unit in read])
    # What an outline sees moves on evenly: its ends are those of the first and the
    # last unit that see anything.
    ends = (_first_seen(axis, read), _first_seen(axis, reversed(read)))
    return hull(ends)


def _first_seen(axis: AxisField, units: Iterable[int]) -> Ends:
    seen = (axis.visible(unit) for unit in units)
    return next((ends for ends in seen if ends is not None), None)


def _core(axis: AxisField, units: int) -> tuple[int, int]:
    """Return a range of units none of which sees only padding, along any path.

    Units before its start or after its end may.
    """
    if _every_unit_sees(axis, units):
        return 0, units
    along = [_core_along(way, axis, units) for way in _ways(axis)]
    starts, ends = zip(*along, strict=True)
    return max(starts), min(ends)


def _every_unit_sees(axis: AxisField, units: int) -> bool:
    """Return whether every unit of an outline sees some of the input, not only padding.

    Those at both ends do then, and what lies between them moves on evenly.
    """
    if axis.ways is not None:
        return False
    start = axis.first + (units - 1) * axis.jump
    return axis.last >= axis.low and start <= axis.high


def _core_along(way: Periodic, axis: AxisField, units: int) -> tuple[int, int]:
    """Return that range for one way."""
    period = len(way.ends)
    start, end = 0, units
    for phase, ends in enumerate(way.ends[:units]):
        if ends is None:
            continue
        first, last = ends
        if way.jump:
            # Periods that lie before the input, and the first one that lies beyond it.
            before = -((last - axis.low) // way.jump)
            behind = (axis.high - first) // way.jump + 1
        else:
            before = units if last < axis.low else 0
            behind = 0 if first > axis.high else units
        if before > 0:
            start = max(start, (before - 1) * period + phase + 1)
        end = min(end, max(0, behind) * period + phase)
    return min(start, units), end


def _limits(axis: AxisField, units: int) -> tuple[int, int]:
    """Return the first and last position of the input that some units see."""
    nothing = axis.high + 1, axis.high
    if axis.seen is not None:
        return hull(axis.seen) or nothing
    if _every_unit_sees(axis, units):
        move = (units - 1) * axis.jump
        return max(axis.low, int(axis.first)), min(axis.high, int(axis.last + move))
    core = _core(axis, units)
    if core[0] >= core[1] or (axis.ways is not None and core != (0, units)):
        return hull([axis.visible(n) for n in range(units)]) or nothing
    if axis.ways is None:
        first, last = axis.visible(core[0]), axis.visible(core[1] - 1)
        return hull((first, last)) or nothing
    ends = limits(axis.ways, units)
    if ends is None:
        return nothing
    return max(axis.low, ends[0]), min(axis.high, ends[1])


def _whole(seen: Sequence[_Seen], image: Shape) -> UnitFields:
    """Return the field of a unit that sees all units of some values."""
    ends = [
        [_limits(axis, n) for axis, n in zip(field.axes, units, strict=True)]
        if not field.whole
        else [(axis.low, axis.high) for axis in field.axes]
        for field, units in seen
    ]
    axes = []
    for size, *along in zip(image, *ends, strict=True):
        low = min(first for first, _ in along)
        axes.append(AxisField(0, size - 1, 0, low, max(last for _, last in along)))
    exact = all(each.field.exact for each in seen)
    return UnitFields(tuple(axes), _all_of(image), exact, whole=True)


# ---- where paths meet -----------------------------------------------------------


def _union(
    seen: Sequence[_Seen], image: Shape, units: Shape | None = None
) -> UnitFields:
    """Return the hull of what a unit sees along several paths.

    Args:
        seen: the fields that are joined.
        image: size of the network's input.
        units: number of units along each axis; by default that of the inputs.
    """
    fields = [each.field for each in seen]
    if units is None:
        units = tuple(map(max, zip(*(each.units for each in seen), strict=True)))
    if all(each == seen[0] for each in seen) and seen[0].units == units:
        return fields[0]
    if len(units) != len(image):
        units = ()  # what has other axes than the image sees everything
    joined = [_together(seen, n, most) for n, most in enumerate(units)]
    spans = tuple([each for each, _ in joined]) or _all_of(image)
    paths_exact = all(field.paths_exact for field in fields) and all(
        exact for _, exact in joined
    )
    if not any(field.whole for field in fields):
        exact = all(field.exact for field in fields)
        return UnitFields(_hulls(seen, units), spans, exact, paths_exact=paths_exact)
    local = [
        each._replace(field=each.field._replace(axes=axes))
        for each in seen
        if (axes := each.field.local if each.field.whole else each.field.axes)
    ]
    whole = _whole(seen, image)
    return whole._replace(
        spans=spans,
        local=_hulls(local, units) if local and whole.exact else None,
        paths_exact=paths_exact,
    )


def _hulls(seen: Sequence[_Seen], units: Sequence[int]) -> tuple[AxisField, ...]:
    """Return what a unit sees along several paths, along each axis."""
    along = list(zip(*(_repeated(each, units) for each in seen), strict=True))
    axes: list[AxisField] = []
    for place, (each, n) in enumerate(zip(along, units, strict=True)):
        again = place and each == along[0] and n == units[0]
        axes.append(axes[0] if again else _hull(each, n))
    return tuple(axes)


def _repeated(seen: _Seen, units: Sequence[int]) -> list[AxisField]:
    """Return the field of a value whose only unit along an axis is repeated for all
    units.

    It is clipped at the end of its own last unit, since another value may see further.
    """
    found = []
    for axis, own, most in zip(seen.field.axes, seen.units, units, strict=True):
        low, high = _limits(axis, own)
        axis = axis._replace(low=low, high=high)
        if own != most:
            ways = axis.ways and (Periodic((axis.unit(0),), 0),)
            real = axis.seen and axis.seen * most
            axis = axis._replace(jump=0, ways=ways, seen=real)
        found.append(axis)
    return found


def _hull(axes: Sequence[AxisField], units: int) -> AxisField:
    """Return what a unit sees along several paths, along one axis."""
    jump = next((axis.jump for axis in axes if axis.jump), axes[0].jump)
    drift = [(units - 1) * (axis.jump - jump) for axis in axes]
    firsts = [axis.first + min(0, d) for axis, d in zip(axes, drift, strict=True)]
    lasts = [axis.last + max(0, d) for axis, d in zip(axes, drift, strict=True)]
    outline = AxisField(
        min(firsts),
        max(lasts),
        jump,
        min(axis.low for axis in axes),
        max(axis.high for axis in axes),
    )
    if any([axis.ways is not None or axis.jump != jump for axis in axes]):
        # Many branches may have the same field.
        ways = dict.fromkeys([way for axis in axes for way in _ways(axis)])
        outline = _with_ways(outline, together(list(ways), units))
    if all([_is_cut_alike(axis, outline, units) for axis in axes]):
        return outline
    return _seen_as(
        outline, [hull([axis.visible(n) for axis in axes]) for n in range(units)]
    )


def _is_cut_alike(axis: AxisField, joined: AxisField, units: int) -> bool:
    """Return whether each unit sees something, clipped in the same way as the whole."""
    limits = (axis.low, axis.high) == (joined.low, joined.high)
    return limits and axis.seen is None and _every_unit_sees(axis, units)


# ---- path by path ---------------------------------------------------------------


def _widen(spans: Spans, window: Window, n: int, units: _Units) -> Spans:
    """Return what a window that slides along axis n sees on single paths."""
    parts = kernel, stride, _, dilation, up = _parts(window, n)
    reach = dilation * (kernel - 1)
    found = []
    for jump, least, most, phases in spans:
        if up == 1 and phases is None:
            more = reach * jump
            found.append(PathFields(stride * jump, least + more, most + more))
        elif isinstance(jump, int):
            start = Periodic(((0, 0),), jump) if phases is None else phases
            found.append(_over_phases(slide(start, *parts, units[1]), least, most))
        else:  # a bound, as there are too many paths to follow
            pace, low, high = _bounds(slide(STEADY, *parts))
            found.append(
                PathFields(jump * pace, least + jump * low, most + jump * high)
            )
    return tuple(found)


def _over_phases(seen: Periodic, least: Number, most: Number) -> PathFields:
    """Return the span of alternating units, one of which saw a single position before.

    Args:
        seen: what they would see in that case.
        least: what the narrowest path adds.
        most: what the widest path adds.
    """
    ends = next((ends for ends in seen.ends if ends is not None), None)
    if ends is None:
        return PathFields(0, -1, -1)
    more = ends[1] - ends[0]
    phases = seen.moved(-ends[0], -ends[1]) if len(seen.ends) > 1 else None
    return PathFields(seen.jump, least + more, most + more, phases)


def _bounds(phases: Periodic) -> tuple[Number, Number, Number]:
    """Return the pace of alternating units, and how much less and more some of them
    see.
    """
    pace = divide(phases.jump, len(phases.ends))
    ends = [(e[0] - n * pace, e[1] - n * pace) for n, e in enumerate(phases.ends) if e]
    firsts, lasts = zip(*ends, strict=True) if ends else ((0,), (0,))
    return pace, min(lasts) - max(firsts), max(lasts) - min(firsts)


def _all_of(image: Shape) -> tuple[Spans, ...]:
    """Return the spans of a unit that sees all positions."""
    return tuple([(PathFields(0, n - 1, n - 1),) for n in image])


def _together(seen: Sequence[_Seen], n: int, units: int) -> tuple[Spans, bool]:
    """Return the spans of several values along axis n, merged if they have the same
    jump.

    Returns:
        The spans, and whether they are exact instead of bounds for too many paths.
    """
    found: dict[tuple[Number, Periodic | None], PathFields] = {}
    for field, own in seen:
        for span in field.spans[n]:
            if own[n] != units:
                # The only unit along an axis is repeated for all units.
                span = PathFields(0, _extent(span, 1, min), _extent(span, 1, max))
            key = span.jump, span.phases
            if key in found:
                _, low, high, _ = found[key]
                least, most = min(span.least, low), max(span.most, high)
                span = span._replace(least=least, most=most)
            found[key] = span
    if len(found) <= _MOST_JUMPS:
        return tuple(found.values()), True
    even = [_evened(span) for span in found.values()]
    least = min(span.least for span in even)
    most = max(span.most for span in even)
    paces = [span.jump for span in even]
    return (
        PathFields(min(paces), least, least),
        PathFields(max(paces), most, most),
    ), False


def _evened(span: PathFields) -> PathFields:
    """Return a span without alternation that bounds one with it."""
    if span.phases is None:
        return span
    pace, low, high = _bounds(span.phases)
    return PathFields(pace, span.least + low, span.most + high)


def divide(number: Number, parts: int) -> Number:
    """Return an exact quotient, as an int if it is an integer."""
    if parts == 1:
        return number
    from fractions import Fraction  # costs more to import than most networks need

    return _tidy(Fraction(number) / parts)


def _tidy(number: Number) -> Number:
    """Return an integer as an int."""
    return int(number) if number.denominator == 1 else number
