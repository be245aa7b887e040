"""Whether the branches that a layer joins look at the same places.

Unit i of a map stands for one place of the input: the centre of what it sees. Where
maps are added, multiplied or concatenated, the units that meet should have one centre.
They do not where, say, one branch halves the size by 2x2 pooling, whose first unit
looks between pixels, and another by a 3x3 convolution, whose first unit looks at one.

Source: Araujo, Norris & Sim 2019, "Computing receptive fields of convolutional neural
networks", Distill, section "Arbitrary computation graphs".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from archdsl.values import sizes

from .graph import Graph, Node
from .receptive import Axis, Field, divide

if TYPE_CHECKING:
    from fractions import Fraction

    Number = int | Fraction


class Branch(NamedTuple):
    """One of the maps that are joined; positions are those of the first input.

    Attributes:
        layer: path of the layer that makes it, or the name of the input.
        centre: where the first unit looks, along each axis; None along an axis where
            it has no say, as it sees all or its only unit is repeated.
        last: where the last unit looks, likewise.
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
    """A layer that joins maps whose units look at different places.

    Attributes:
        layer: its path.
        offset: the most positions of the input that two units that meet look apart,
            along each axis.
        branches: what it joins.
    """

    layer: str
    offset: tuple[Number, ...]
    branches: tuple[Branch, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the misalignment as plain data."""
        return {
            "layer": self.layer,
            "offset": [_plain(n) for n in self.offset],
            "branches": [branch.as_dict() for branch in self.branches],
        }


def alignment(graph: Graph, known: Mapping[int, Field]) -> dict[int, Misalignment]:
    """Return the layers whose branches are not aligned, by the value they make.

    A branch whose units see the whole input is not compared, nor one whose only unit
    along an axis is repeated for all. What interpolation and other enlarging layers
    see is taken as a whole: repeating each unit twice is aligned with what was halved
    by 2x2 pooling, since both halves together look at the middle of the two.

    Args:
        graph: the network.
        known: what `archdsl.passes.receptive.fields` gives.
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


def _differ(one: Field, other: Field) -> bool:
    """Return whether centres or jumps differ along an axis."""
    return one is not other and any(
        a.first + a.last != b.first + b.last or a.jump != b.jump
        for a, b in zip(one.axes, other.axes, strict=True)
    )


def _compare(
    node: Node,
    inputs: Sequence[tuple[int, Field | None]],
    graph: Graph,
    makers: Mapping[int, str],
) -> Misalignment:
    """Return how far apart the units look that a layer joins."""
    units = sizes(node.shape)
    branches = []
    for value, field in inputs:
        own = sizes(graph.shapes[value])
        ends = [_ends(field, n, own, most) for n, most in enumerate(units)]
        firsts, lasts = zip(*ends, strict=True)
        branches.append(Branch(makers[value], firsts, lasts))
    offset = tuple([_apart(branches, n) for n in range(len(units))])
    return Misalignment(node.step.path, offset, tuple(branches))


def _apart(branches: Sequence[Branch], n: int) -> Number:
    """Return how far the centres of branches are apart along axis number n."""
    most: Number = 0
    # Jumps are constant, so at one of the ends it is furthest.
    for ends in ([b.centre[n] for b in branches], [b.last[n] for b in branches]):
        centres = [centre for centre in ends if centre is not None]
        if centres:
            most = max(most, max(centres) - min(centres))
    return most


def _ends(
    field: Field | None, n: int, own: Sequence[int], units: int
) -> tuple[Number | None, Number | None]:
    """Return where the first and last unit of a branch look along axis number n."""
    if field is None or field.whole or units == 1 or own[n] != units:
        return None, None
    axis = field.axes[n]
    centre = _centre(axis)
    return centre, centre + (units - 1) * axis.jump


def _centre(axis: Axis) -> Number:
    """Return the middle of what unit 0 sees."""
    return divide(axis.first + axis.last, 2)


def _makers(graph: Graph) -> dict[int, str]:
    """Return the name of the input or the path of the layer that makes each value."""
    makers = {port.value: port.name for port in graph.network.inputs}
    makers.update((node.output, node.step.path) for node in graph.nodes)
    return makers


def _plain(number: Number | None) -> float | None:
    if number is None or number.denominator > 1:
        return None if number is None else float(number)
    return int(number)
