"""Joined maps whose units look at different places."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from archdsl.linter.net import Net
from archdsl.linter.rule import Finding, Rule, net
from archdsl.passes.alignment import Misalignment, Move, Origin, alignment, origins
from archdsl.passes.graph import Node

if TYPE_CHECKING:
    from archdsl.passes.receptive import Number

_AXES: Final = ("row", "column")
_SHOWN: Final = 3


class MisalignedBranches(Rule):
    """Each unit of a map stands for one place of the image: the centre of what it sees.
    Where maps are added, multiplied or concatenated, the units that meet should stand
    for the same place. If they do not, one branch tells what is here and another one
    what is beside it. That counts where positions do, as in segmentation and detection,
    and less for one class of a whole image.

    A window moves the centre if its size is even, or its padding is not half of what it
    reaches. So the first unit of a 2x2 pool looks between two pixels, and that of a 3x3
    convolution with stride 2 and a padding of 1 at a pixel. Repeating or interpolating
    units undoes 2x2 pools. It does not undo such convolutions, and is off by half a
    step of the larger map each time that it doubles one.

    To mend it, halve by windows of one kind in all branches, use odd kernels with
    `pad=same`, and enlarge by what undoes the halving: `upsample` or `convtranspose 2x2
    /2` after 2x2 pools, `convtranspose 3x3 /2 pad=1 out_pad=1` after odd kernels. It
    changes what the network computes, so `--fix` leaves it alone.

    That `convtranspose 3x3` overlaps unevenly, which W0117 is about; 2x2 pools and
    `convtranspose 2x2 /2` avoid both.

    The shortcut of ResNet-D pools, `avgpool 2x2`, beside a body that has its stride in
    a 3x3 convolution. It is reported for it, too, as it is so: unit 0 of the body
    looks at row 0, and unit 0 of the shortcut at row 0.5, half a position of the map
    before, as the gradients of both show. It is a quarter of a step of the new map, and
    each such stage adds its own. The published weights have learnt it; there, a comment
    settles it. A new network loses nothing by `avgpool 3x3 /2 pad=1`.

    It applies where maps come apart. A join further on is left out if it would be
    aligned, were those before it; `archdsl analyze --show fields` has them all.
    Branches that see the whole image have no place, and are not compared.

    Source: Araujo, Norris & Sim 2019, "Computing receptive fields of convolutional
    neural networks", Distill, section "Arbitrary computation graphs".
    """

    code = "W0115"
    name = "misaligned-branches"
    title = "joined maps whose units look at different places"
    bad = net(
        "conv 3x3 16 -> relu",
        "concat { conv 3x3 16 /2 -> relu | maxpool 2x2 }",
        "conv 1x1 10",
    )
    good = net(
        "conv 3x3 16 -> relu",
        "concat { conv 3x3 16 /2 -> relu | maxpool 3x3 /2 pad=1 }",
        "conv 1x1 10",
    )

    def check(self, net: Net) -> Iterator[Finding]:
        """Yield the joins where maps come apart, the worst first."""
        joins = alignment(net.graph, net.fields)
        causes = origins(net.graph, net.fields, net.windows, joins)
        for value in sorted(causes, key=lambda value: -max(joins[value].offset)):
            yield _finding(net.makers[value], joins[value], causes[value])


def _finding(node: Node, join: Misalignment, cause: Origin) -> Finding:
    # The branch that was moved more is the one to mend.
    moves = max(cause.moves, key=lambda moves: abs(_net(moves)))
    return Finding(
        node,
        f"{join.layer} joins maps whose units look {_positions(join.offset)} of the "
        "input apart",
        label=_furthest(join),
        notes=tuple(_notes(join, cause)),
        help=_help(max(moves, key=lambda move: abs(move.by)), cause.axis)
        if _net(moves)
        else "halve and enlarge by the same steps in all branches",
    )


def _net(moves: Sequence[Move]) -> Number:
    """Return how far some moves go together."""
    return sum([move.by for move in moves])


# ---- figures ------------------------------------------------------------------------


def _furthest(join: Misalignment) -> str:
    """Return where the two branches look that are furthest apart."""
    axis = join.offset.index(max(join.offset))
    firsts = [(b.layer, b.centre) for b in join.branches if b.centre[axis] is not None]
    lasts = [(b.layer, b.last) for b in join.branches if b.last[axis] is not None]
    found = []
    for which, ends in (("first", firsts), ("last", lasts)):
        ends.sort(key=lambda end: end[1][axis] or 0)
        apart = (ends[-1][1][axis] or 0) - (ends[0][1][axis] or 0)
        found.append((apart, which, ends[0], ends[-1]))
    _, which, (one, here), (other, there) = max(found, key=lambda each: each[0])
    there_too = f"that of {other} at {_place(there)}"
    return f"the {which} unit of {one} looks at {_place(here)}, {there_too}"


def _place(centre: Sequence[Number | None]) -> str:
    """Return ``row 0, column 0.5``."""
    named = zip(_AXES, centre, strict=True)
    return ", ".join(f"{axis} {_number(n)}" for axis, n in named if n is not None)


def _positions(offset: Sequence[Number]) -> str:
    """Return ``0.5 positions``, or ``0x1 positions`` where the axes differ."""
    text = "x".join(_number(n) for n in dict.fromkeys(offset))
    return f"{text} {'position' if text == '1' else 'positions'}"


def _number(number: Number) -> str:
    return f"{float(number):g}"


# ---- causes -------------------------------------------------------------------------


def _notes(join: Misalignment, cause: Origin) -> Iterator[str]:
    """Yield what moved each branch, and what part of it earlier joins have."""
    way = _AXES[cause.axis] if len(set(cause.offset)) > 1 else "position"
    for moves in cause.moves:
        # A pool, say, and what undoes it are not worth a word.
        if _net(moves):
            yield _told(moves, way)
    if cause.offset != join.offset:
        yield f"with those before it aligned, it would be {_positions(cause.offset)}"


def _told(moves: Sequence[Move], way: str) -> str:
    by = f"{_number(_net(moves))} {way}{'s' * (abs(_net(moves)) != 1)}"
    if len(moves) == 1:
        (move,) = moves
        word = move.node.op.label()
        return f"{move.node.step.path}, `{word}`, moves its units by {by}"
    parts = [f"{m.node.step.path} {_number(m.by)}" for m in reversed(moves)]
    rest = len(parts) - _SHOWN
    shown = ", ".join(parts[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
    return f"the units of one branch are moved by {by}: {shown}"


def _help(move: Move, n: int) -> str:
    """Return what keeps the centre in the layer's stead."""
    node = move.node
    path = node.step.path
    window = node.op.window(node.input_shapes, node.shape)
    assert window is not None
    kernel, pad = window.kernel[n], window.pad[n]
    if window.up[n] > 1:
        return (
            f"{path} undoes 2x2 pools; `convtranspose 3x3 /2 pad=1 out_pad=1` doubles "
            "what odd kernels halved"
        )
    if kernel == 1 and pad < 0:
        return "an input size that all strides divide needs no cut"
    if "kernel" not in node.op.fields:
        return f"let all branches have what {path} does to the size"
    reach = window.dilation[n] * (kernel - 1)
    if reach % 2:
        return (
            f"an odd kernel keeps the centre: {kernel + 1} with a padding of "
            f"{(reach + window.dilation[n]) // 2} in {path}"
        )
    return f"a padding of {reach // 2} at both ends keeps the centre in {path}"
