"""Transposed convolutions whose outputs are sums of different numbers of taps."""

from __future__ import annotations

from collections.abc import Iterator
from math import gcd, prod

from archdsl.ir.graph import Node
from archdsl.layer import count
from archdsl.linter.net import Net, percent, weight
from archdsl.linter.rule import Finding, Rule, net
from archdsl.values import Window, show_shape, sizes


class UnevenUpsampling(Rule):
    """A transposed convolution places a kernel at every `stride` positions of its
    output, and adds up where they overlap. If the kernel size is not a multiple of the
    stride, some outputs are sums of more products than their neighbours, in a pattern
    that repeats with the stride: a checkerboard. Training can learn weights that
    compensate for it, but in practice does not quite manage to. A kernel smaller than
    the stride leaves gaps: outputs that consist of the bias alone. So does a dilation
    that has a factor in common with the stride.

    `convtranspose 4x4 /2 pad=1` and `convtranspose 2x2 /2` are even, and so is
    `upsample 2x2` followed by a convolution. Outputs at the border always have fewer
    terms; they do not form a pattern, and are not counted.

    `convtranspose 3x3 /2 pad=1 out_pad=1` preserves the alignment of odd kernels, as
    W0115 recommends, but overlaps unevenly. If it is used for that reason, silence this
    rule by a comment.

    Source: Odena, Dumoulin & Olah 2016, "Deconvolution and checkerboard artifacts",
    Distill, section "Deconvolution & overlap".
    """

    code = "W0117"
    name = "uneven-upsampling"
    title = "a transposed convolution that overlaps unevenly, or leaves gaps"
    bad = net("conv 3x3 16 -> relu", "convtranspose 3x3 8 /2 -> relu", "conv 1x1 3")
    good = net(
        "conv 3x3 16 -> relu", "convtranspose 4x4 8 /2 pad=1 -> relu", "conv 1x1 3"
    )

    def check(self, net: Net) -> Iterator[Finding]:
        """Yield the transposed convolutions with such outputs."""
        for node in net.owners:
            window = node.window
            if weight(node) is None or window is None or max(window.up) == 1:
                continue
            axes = range(len(window.kernel))
            covered = [_covered(node, window, axis) for axis in axes]
            bare = count(sizes(node.shape)) - count(tuple(covered))
            if bare:
                yield _bare(node, window, bare)
                continue
            uneven = [_taps(node, window, axis) for axis in axes]
            if any(len(set(taps)) > 1 for taps in uneven):
                yield _uneven(node, window, uneven)


def _axis(node: Node, window: Window, axis: int) -> tuple[int, int, int, int, int, int]:
    """Return kernel, dilation, pad, enlargement, size and units along an axis."""
    return (
        window.kernel[axis],
        window.dilation[axis],
        window.pad[axis],
        window.up[axis],
        sizes(node.input_shapes[0])[axis],
        sizes(node.shape)[axis],
    )


def _covered(node: Node, window: Window, axis: int) -> int:
    """Return how many units along an axis depend on an input, through any tap."""
    kernel, dilation, pad, up, size, units = _axis(node, window, axis)
    # Input unit i contributes to the units i * up + each of these.
    reached = sorted({pad - dilation * tap for tap in range(kernel)})
    phases: dict[int, list[int]] = {}
    for first in reached:
        phases.setdefault(first % up, []).append(first)
    covered = 0
    for firsts in phases.values():
        end = 0  # the next unit of this phase that is not yet counted
        for first in firsts:
            low, high = max(first, end), min(first + (size - 1) * up, units - 1)
            low += (first - low) % up
            if low <= high:
                covered += (high - low) // up + 1
                end = low + ((high - low) // up + 1) * up
    return covered


def _taps(node: Node, window: Window, axis: int) -> tuple[int, int]:
    """Return the fewest and the most taps of an output away from the border."""
    kernel, dilation, _, up, size, units = _axis(node, window, axis)
    if min(size, units) == 1:
        return 1, 1  # nothing overlaps, or has a neighbour
    every = up // gcd(dilation, up)
    return kernel // every, -(-kernel // every)


def _bare(node: Node, window: Window, bare: int) -> Finding:
    path, whole = node.step.path, count(sizes(node.shape))
    return Finding(
        node,
        f"{percent(bare, whole)} of the outputs of {path} depend on no input",
        label=f"{bare:,} of {show_shape(sizes(node.shape))}; {_steps(window)}",
        help=_help(window),
    )


def _uneven(node: Node, window: Window, taps: list[tuple[int, int]]) -> Finding:
    least, most = map(prod, zip(*taps, strict=True))
    return Finding(
        node,
        f"the outputs of {node.step.path} are sums of {least} to {most} taps, in a "
        "repeating pattern",
        label=_steps(window),
        help=_help(window),
    )


def _steps(window: Window) -> str:
    kernel, stride = show_shape(window.kernel), show_shape(window.up)
    dilated = max(window.dilation) > 1
    far = f" with taps {show_shape(window.dilation)} apart" if dilated else ""
    return f"a kernel of {kernel}{far} every {stride} positions"


def _help(window: Window) -> str:
    pairs = zip(window.dilation, window.up, strict=True)
    if any(gcd(dilation, up) > 1 for dilation, up in pairs):
        return "choose a dilation that has no factor in common with the stride"
    even = [-(-k // s) * s for k, s in zip(window.kernel, window.up, strict=True)]
    return (
        f"use a kernel that the stride divides, such as {show_shape(tuple(even))}, "
        "or `upsample` and a convolution"
    )
