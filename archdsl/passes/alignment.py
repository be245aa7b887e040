"""Whether the branches that a layer joins are centred on the same positions.

Unit i of a map represents one place in the input: the centre of its receptive field.
Where maps are added, multiplied or concatenated, the units that meet should have the
same centre. They do not, for example, if one branch halves the size by a 2x2 pool,
whose first unit is centred between pixels, and another by a 3x3 convolution, whose
first unit is centred on a pixel.

Source: Araujo, Norris & Sim 2019, "Computing receptive fields of convolutional neural
networks", Distill, section "Arbitrary computation graphs".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from archdsl.ir.graph import Graph, Node
from archdsl.values import Window, sizes

from .receptive import AxisField, UnitFields, divide

if TYPE_CHECKING:
    from .receptive import Number

# With more shifts than this since two branches diverged, they are not listed.
_MOST_SHIFTS: Final = 64


class JoinedBranch(NamedTuple):
    """One of the maps that are joined; positions are in the first input.

    Attributes:
        layer: path of the layer that outputs it, or the name of the input.
        centre: centre of the first unit along each axis; None along an axis where it
            does not matter, as the unit sees everything or is repeated.
        last: centre of the last unit.
    """

    layer: str
    centre: tuple[Number | None, ...]
    last: tuple[Number | None, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the branch as plain data."""
        return {
            "layer": self.layer,
            "centre": [_plain(n) for n in self.centre],
            "last": [_plain(n) for n in self.last],
        }


class Misalignment(NamedTuple):
    """A layer that joins maps whose units are centred on different positions.

    Attributes:
        layer: its path.
        offset: largest distance between the centres of two units that meet, in
            positions of the input along each axis.
        branches: the maps that it joins.
    """

    layer: str
    offset: tuple[Number, ...]
    branches: tuple[JoinedBranch, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the misalignment as plain data."""
        return {
            "layer": self.layer,
            "offset": [_plain(n) for n in self.offset],
            "branches": [branch.as_dict() for branch in self.branches],
        }


def alignment(graph: Graph, known: Mapping[int, UnitFields]) -> dict[int, Misalignment]:
    """Return the layers whose branches are not aligned, by the value that they output.

    A branch whose units see the whole input is not compared, nor is one whose only unit
    along an axis is repeated for all. The outputs of interpolation and other upsampling
    layers are compared as a whole: repeating each unit twice is aligned with a
    preceding 2x2 pool, since the two copies together have the same centre.

    Args:
        graph: the network.
        known: the result of `archdsl.passes.receptive.fields`.
    """
    makers: dict[int, str] = {}
    found = {}
    for node in graph.nodes:
        values = node.inputs[: node.op.sources]
        fields = [known[v] for v in values if v in known and not known[v].whole]
        if len(fields) > 1 and any(_differ(fields[0], each) for each in fields[1:]):
            makers = makers or _makers(graph)
            compared = _compare(
                node, [(v, known.get(v)) for v in values], graph, makers
            )
            if any(compared.offset):
                found[node.output] = compared
    return found


def _differ(one: UnitFields, other: UnitFields) -> bool:
    """Return whether centres or jumps differ along an axis."""
    return one is not other and any(
        a.first + a.last != b.first + b.last or a.jump != b.jump
        for a, b in zip(one.axes, other.axes, strict=True)
    )


def _compare(
    node: Node,
    inputs: Sequence[tuple[int, UnitFields | None]],
    graph: Graph,
    makers: Mapping[int, str],
) -> Misalignment:
    """Return the offset between the centres of the units that a layer joins."""
    units = sizes(node.shape)
    branches = []
    for value, field in inputs:
        own = sizes(graph.shapes[value])
        ends = [_ends(field, n, own, most) for n, most in enumerate(units)]
        firsts, lasts = zip(*ends, strict=True)
        branches.append(JoinedBranch(makers[value], firsts, lasts))
    offset = tuple([_apart(branches, n) for n in range(len(units))])
    return Misalignment(node.step.path, offset, tuple(branches))


def _apart(branches: Sequence[JoinedBranch], n: int) -> Number:
    """Return how far apart the centres of branches are along axis n."""
    # Jumps are constant, so the largest distance is at one of the ends.
    ends = [b.centre[n] for b in branches], [b.last[n] for b in branches]
    return max(_spread([c for c in end if c is not None]) for end in ends)


def _spread(centres: Sequence[Number]) -> Number:
    return max(centres) - min(centres) if centres else 0


def _ends(
    field: UnitFields | None, n: int, own: Sequence[int], units: int
) -> tuple[Number | None, Number | None]:
    """Return the centres of the first and last unit of a branch along axis n."""
    if field is None or field.whole or units == 1 or own[n] != units:
        return None, None
    axis = field.axes[n]
    centre = _centre(axis)
    return centre, centre + (units - 1) * axis.jump


def _centre(axis: AxisField) -> Number:
    """Return the centre of the receptive field of unit 0."""
    return divide(axis.first + axis.last, 2)


def _makers(graph: Graph) -> dict[int, str]:
    """Return the name of the input or the path of the layer that defines each value."""
    makers = {port.value: port.name for port in graph.network.inputs}
    makers.update((node.output, node.step.path) for node in graph.nodes)
    return makers


def _plain(number: Number | None) -> float | None:
    if number is None or number.denominator > 1:
        return None if number is None else float(number)
    return int(number)


# ---- the causes of a misalignment ------------------------------------------------


class CentreShift(NamedTuple):
    """A layer that shifts the centres of units.

    Attributes:
        node: the layer.
        by: how many positions of the input it shifts the centre of unit 0.
        before: the previous shift on the way from the input.
        number: how many shifts there are so far, including this one.
    """

    node: Node
    by: Number
    before: CentreShift | None
    number: int


class Origin(NamedTuple):
    """The cause of a misaligned join, assuming that all joins before it were aligned.

    Attributes:
        offset: largest distance between the centres of two units that would then meet,
            in positions of the input along each axis.
        axis: index of the axis where it is largest.
        shifts: for the two branches that are farthest apart on that axis, the shifts
            since they diverged, the last ones first; none if there are too many to
            list.
    """

    offset: tuple[Number, ...]
    axis: int
    shifts: tuple[tuple[CentreShift, ...], tuple[CentreShift, ...]]


class _Centres(NamedTuple):
    """The centres of the units of a value along an axis, if all joins were aligned."""

    centre: Number
    jump: Number
    shifts: CentreShift | None

    def last(self, units: int) -> Number:
        return self.centre + (units - 1) * self.jump


def origins(
    graph: Graph,
    known: Mapping[int, UnitFields],
    seen_by: Sequence[Window | None],
    found: Mapping[int, Misalignment],
) -> dict[int, Origin]:
    """Return the misaligned joins that would be misaligned even if earlier ones were
    not.

    After a misaligned join, units have two centres. It is treated as if it had been
    repaired, so that all its branches have the centre of the one that sees least and so
    took the shortest way. Then only joins with a cause of their own remain misaligned.

    Args:
        graph: the network.
        known: the result of `archdsl.passes.receptive.fields`.
        seen_by: the result of `archdsl.passes.receptive.windows`.
        found: the result of `alignment`.
    """
    if not found:
        return {}
    image = graph.inputs[0]
    start = _Centres(0, 1, None)
    centres = {image: (start,) * len(known[image].axes)}
    causes = {}
    for node, window in zip(graph.nodes, seen_by, strict=True):
        values = [v for v in node.inputs[: node.op.sources] if v in centres]
        if window is None or not values:
            continue
        here = centres[values[0]]
        if len(values) > 1:
            units = sizes(node.shape)
            met = [_met(values, graph, known, n, most) for n, most in enumerate(units)]
            along = [[centres[v][n] for v in own] for n, own in enumerate(met)]
            if node.output in found:
                origin = _origin(along, units)
                if any(origin.offset):
                    causes[node.output] = origin
            here = tuple([each[0] for each in along])
        centres[node.output] = tuple(
            [_shifted(look, node, window, n) for n, look in enumerate(here)]
        )
    return causes


def _met(
    values: Sequence[int],
    graph: Graph,
    known: Mapping[int, UnitFields],
    n: int,
    units: int,
) -> list[int]:
    """Return the values that meet along axis n, the one that sees least first."""

    def reach(value: int) -> Number:
        axis = known[value].axes[n]
        return axis.last - axis.first

    # All others have a single unit there, which is repeated.
    own = [value for value in values if sizes(graph.shapes[value])[n] == units]
    return sorted(own or values[:1], key=reach)


def _shifted(look: _Centres, node: Node, window: Window, n: int) -> _Centres:
    """Return the centres of the units of a layer along axis n."""
    jump = divide(look.jump, window.up[n])
    uneven = window.dilation[n] * (window.kernel[n] - 1) - 2 * window.pad[n]
    centre, shifts = look.centre, look.shifts
    if uneven:
        by = divide(uneven * jump, 2)
        centre += by
        shifts = CentreShift(node, by, shifts, shifts.number + 1 if shifts else 1)
    return _Centres(centre, window.stride[n] * jump, shifts)


def _origin(met: Sequence[Sequence[_Centres]], units: Sequence[int]) -> Origin:
    """Return how far apart the branches of a join are along each axis, and why."""
    ends = [
        max(
            ([look.centre for look in centres], [look.last(most) for look in centres]),
            key=_spread,
        )
        for centres, most in zip(met, units, strict=True)
    ]
    # A single unit along an axis is not compared.
    offset = tuple(
        [_spread(at) if n > 1 else 0 for at, n in zip(ends, units, strict=True)]
    )
    axis = offset.index(max(offset))
    at = ends[axis]
    pair = [met[axis][at.index(end)].shifts for end in (min(at), max(at))]
    return Origin(offset, axis, _parted(*pair))


def _parted(
    one: CentreShift | None, other: CentreShift | None
) -> tuple[tuple[CentreShift, ...], tuple[CentreShift, ...]]:
    """Return the shifts of two branches since they diverged."""
    here: list[CentreShift] = []
    there: list[CentreShift] = []
    while one is not other:
        if len(here) + len(there) == _MOST_SHIFTS:
            return (), ()
        if other is None or (one is not None and one.number >= other.number):
            assert one is not None
            here.append(one)
            one = one.before
        else:
            there.append(other)
            other = other.before
    return tuple(here), tuple(there)
