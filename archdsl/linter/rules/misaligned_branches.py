"""Joined maps whose units are centred on different positions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from archdsl.ir.graph import Node
from archdsl.linter.net import Net
from archdsl.linter.rule import Finding, Rule, net
from archdsl.passes.alignment import (
    CentreShift,
    Misalignment,
    Origin,
    alignment,
    origins,
)
from archdsl.values import PLACES, show_shape

if TYPE_CHECKING:
    from archdsl.passes.receptive import Number

_SHOWN: Final = 3


class MisalignedBranches(Rule):
    """Each unit of a map represents one place in the image: the centre of its receptive
    field. Where maps are added, multiplied or concatenated, the units that meet should
    represent the same place. Otherwise one branch describes a place, and another one
    its neighbourhood. This matters where positions do, as in segmentation and
    detection, and less for classifying whole images.

    A window shifts the centre if its size is even or its padding is not half of its
    reach. For example, the first unit of a 2x2 pool is centred between two pixels, and
    that of a 3x3 convolution with stride 2 and a padding of 1 on a pixel. Upsampling by
    repetition or interpolation undoes the shift of 2x2 pools. It does not match such
    convolutions: each doubling of the size leaves a shift of half a position of the
    larger map.

    To align the branches, downsample all of them by windows of one kind, use odd
    kernels with `pad=same`, and upsample by the matching operation: `upsample` or
    `convtranspose 2x2 /2` after 2x2 pools, `convtranspose 3x3 /2 pad=1 out_pad=1` after
    odd kernels. This changes the network's result, so `--fix` does not do it.

    Note that this `convtranspose 3x3` overlaps unevenly, which W0117 reports; 2x2 pools
    with `convtranspose 2x2 /2` avoid both problems.

    ResNet-D is reported, too. Its shortcut has an `avgpool 2x2`, while the body has its
    stride in a 3x3 convolution: unit 0 of the body is centred on row 0, and unit 0 of
    the shortcut on row 0.5, which the gradients of both confirm. That is half a
    position of the block's input, a quarter of one of its output, and each such stage
    adds its own shift. The published weights have learnt to cope with it, so for them a
    comment can silence the rule. A new network loses nothing by `avgpool 3x3 /2 pad=1`.

    The rule reports the joins where a misalignment arises. A later join is left out if
    it would be aligned once the earlier ones are; `archdsl analyze --show fields` lists
    all. Branches that see the whole image have no position, and are not compared.

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
        """Yield the joins where a misalignment arises, the worst first."""
        joins = alignment(net.graph, net.fields)
        causes = origins(net.graph, net.fields, net.windows, joins)
        for value in sorted(causes, key=lambda value: -max(joins[value].offset)):
            yield _finding(net.makers[value], joins[value], causes[value])


def _finding(node: Node, join: Misalignment, cause: Origin) -> Finding:
    # The branch that is shifted more is the one to repair.
    shifts = max(cause.shifts, key=lambda shifts: abs(_total(shifts)))
    return Finding(
        node,
        f"{join.layer} joins maps whose units are {_positions(join.offset)} of the "
        "input apart",
        label=_furthest(join),
        notes=tuple(_notes(join, cause)),
        help=_help(max(shifts, key=lambda move: abs(move.by)), cause.axis)
        if _total(shifts)
        else "use the same downsampling and upsampling steps in all branches",
    )


def _total(shifts: Sequence[CentreShift]) -> Number:
    """Return the sum of some shifts."""
    return sum([move.by for move in shifts])


# ---- figures ------------------------------------------------------------------------


def _furthest(join: Misalignment) -> str:
    """Return the centres of the two branches that are furthest apart."""
    axis = join.offset.index(max(join.offset))
    firsts = [(b.layer, b.centre) for b in join.branches if b.centre[axis] is not None]
    lasts = [(b.layer, b.last) for b in join.branches if b.last[axis] is not None]
    found = []
    for which, ends in (("first", firsts), ("last", lasts)):
        ends.sort(key=lambda end: end[1][axis] or 0)
        apart = (ends[-1][1][axis] or 0) - (ends[0][1][axis] or 0)
        found.append((apart, which, ends[0], ends[-1]))
    _, which, (one, here), (other, there) = max(found, key=lambda each: each[0])
    there_too = f"that of {other} on {_place(there)}"
    return f"the {which} unit of {one} is centred on {_place(here)}, {there_too}"


def _place(centre: Sequence[Number | None]) -> str:
    """Return ``row 0, column 0.5``."""
    named = zip(PLACES[len(centre)], centre, strict=True)
    return ", ".join(f"{axis} {_number(n)}" for axis, n in named if n is not None)


def _positions(offset: Sequence[Number]) -> str:
    """Return ``0.5 positions``, or ``0x1 positions`` where the axes differ."""
    alike = len(set(offset)) == 1
    text = "x".join(_number(n) for n in (offset[:1] if alike else offset))
    return f"{text} {'position' if text == '1' else 'positions'}"


def _number(number: Number) -> str:
    return f"{float(number):g}"


# ---- causes -------------------------------------------------------------------------


def _notes(join: Misalignment, cause: Origin) -> Iterator[str]:
    """Yield what shifted each branch, and the offset without that of earlier joins."""
    axes = PLACES[len(cause.offset)]
    way = axes[cause.axis] if len(set(cause.offset)) > 1 else "position"
    for shifts in cause.shifts:
        # Shifts that cancel, such as a pool and its upsampling, are not mentioned.
        if _total(shifts):
            yield _described(shifts, way)
    if cause.offset != join.offset:
        yield f"with earlier joins aligned, it would be {_positions(cause.offset)}"


def _described(shifts: Sequence[CentreShift], way: str) -> str:
    by = f"{_number(_total(shifts))} {way}{'s' * (abs(_total(shifts)) != 1)}"
    if len(shifts) == 1:
        (move,) = shifts
        word = move.node.op.label()
        return f"{move.node.step.path}, `{word}`, shifts its units by {by}"
    parts = [f"{m.node.step.path} {_number(m.by)}" for m in reversed(shifts)]
    rest = len(parts) - _SHOWN
    shown = ", ".join(parts[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
    return f"the units of one branch are shifted by {by}: {shown}"


def _help(move: CentreShift, n: int) -> str:
    """Return a replacement for the layer that keeps the centre."""
    node = move.node
    path = node.step.path
    window = node.window
    assert window is not None
    kernel, pad = window.kernel[n], window.pad[n]
    if window.up[n] > 1:
        two, three = (show_shape((n,) * len(window.kernel)) for n in (2, 3))
        return (
            f"{path} matches {two} pools; `convtranspose {three} /2 pad=1 out_pad=1` "
            "matches downsampling by odd kernels"
        )
    if kernel == 1 and pad < 0:
        return "nothing needs to be cropped if all strides divide the input size"
    if "kernel" not in node.op.fields:
        return f"change the size in all branches as {path} does"
    reach = window.dilation[n] * (kernel - 1)
    if reach % 2:
        return (
            f"an odd kernel keeps the centre: {kernel + 1} with a padding of "
            f"{(reach + window.dilation[n]) // 2} in {path}"
        )
    return f"in {path}, a padding of {reach // 2} at both ends keeps the centre"
