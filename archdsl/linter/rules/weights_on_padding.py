"""Weights that read nothing but padding."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from math import gcd
from typing import Final

from archdsl.ir.graph import Node
from archdsl.layer import count
from archdsl.linter.net import Net, macs, percent, saving, weight, zero_border
from archdsl.linter.rule import Finding, Rule, net
from archdsl.values import Continued, Window, show_shape, sizes

MOST: Final = 1 << 20  # largest number of taps that is checked


class WeightsOnPadding(Rule):
    """If a map is small for its kernel, some kernel positions (taps) lie on padding
    wherever the window is placed. They are only ever multiplied by zero: their gradient
    is exactly zero, and except for weight decay they keep their initial values. A 3x3
    kernel with a padding of 1 on a 1x1 map computes the same as a 1x1 kernel, and eight
    ninths of its weights are unused. Large dilations have the same effect: if the
    kernel reaches beyond the map on both sides, only its centre tap is used.

    The rule computes this from the windows: a tap is used if, for at least one unit, it
    meets a position of the map along both axes. The zeros of a `zeropad` right before
    the layer do not count as positions. Shared weights are used if they are in at least
    one of their uses.

    The usual cause is an input smaller than the one that a network was designed for,
    such as ResNet-18 on 32x32 images, whose last stage works on 1x1 maps: 59 % of all
    weights are unused. Use an input of the intended size, remove early strides, or
    write the smaller kernel. The savings are those of the smaller kernel, which
    computes the same. It changes shapes in the `state_dict`, so `--fix` does not do it.

    Source: Chen et al. 2017, "Rethinking atrous convolution for semantic image
    segmentation", section 3.3 and figure 4: with a growing dilation, "the number of
    valid filter weights" shrinks until a 3x3 filter is a 1x1 filter.
    """

    code = "W0116"
    name = "weights-on-padding"
    title = "weights that only read padding"
    bad = net(
        "conv 3x3 32 /2 -> relu -> conv 3x3 32 /2 -> relu",
        "conv 3x3 32 dilation=8 -> relu",
        "conv 1x1 10",
    )
    good = net(
        "conv 3x3 32 /2 -> relu -> conv 3x3 32 /2 -> relu",
        "conv 3x3 32 dilation=2 -> relu",
        "conv 1x1 10",
    )

    def check(self, net: Net) -> Iterator[Finding]:
        """Yield the layers some of whose weights never meet a position of the map."""
        idle = {}
        for node in net.owners:
            taps = _alive(net, node)
            if taps is not None:
                idle[node.output] = node, taps, _idle(node, taps)
        whole = sum(number for _, _, number in idle.values())
        layers = "1 layer" if len(idle) == 1 else f"{len(idle)} layers"
        note = (
            f"in {layers} of the network, {whole:,} of {net.params:,} weights "
            f"({percent(whole, net.params)}) only read padding"
        )
        for node, taps, number in idle.values():
            yield _finding(net, node, taps, number, note)


# Which taps are used, by their places along each axis.
Taps = dict[tuple[int, ...], bool]


def _alive(net: Net, node: Node) -> Taps | None:
    """Return the taps of a kernel that meet a position in some use; None if all do."""
    kernel = weight(node)
    if kernel is None or len(kernel.shape) < 3 or count(kernel.shape[2:]) > MOST:
        return None
    if node.op.baked:
        return None  # a norm of the whole kernel gives all of its weights gradients
    found: list[list[list[bool]]] = []
    for use in net.uses(node):
        window = use.window
        if window is None or window.kernel != tuple(kernel.shape[2:]):
            return None
        if isinstance(window, Continued):
            return None  # there is no padding: the map goes on
        axes = range(len(window.kernel))
        along = [_along(net, use, window, axis) for axis in axes]
        if all(map(all, along)):
            return None
        found.append(along)
    taps = {
        tap: any(all(axis[n] for axis, n in zip(a, tap, strict=True)) for a in found)
        for tap in product(*map(range, kernel.shape[2:]))
    }
    return None if all(taps.values()) else taps


def _along(net: Net, node: Node, window: Window, axis: int) -> list[bool]:
    """Return which taps meet a position along an axis."""
    kernel, stride = window.kernel[axis], window.stride[axis]
    pad, dilation, up = window.pad[axis], window.dilation[axis], window.up[axis]
    size, units = sizes(node.input_shapes[0])[axis], sizes(node.shape)[axis]
    maker = net.makers.get(node.inputs[0])
    before, after = (0, 0) if maker is None else zero_border(maker)[axis]
    return [
        meets(
            dilation * tap - pad - before * up,
            stride,
            up,
            units,
            size - before - after,
        )
        for tap in range(kernel)
    ]


def meets(first: int, stride: int, up: int, units: int, size: int) -> bool:
    """Return whether any unit of a window reads a position of a map along an axis.

    Unit u reads the position first + u * stride. If `up` is above 1, the positions of
    the map are spread out to the multiples of `up`. So the first u is wanted with
    first + u * stride = 0 modulo `up`, a linear congruence, and its position must lie
    inside the map.

    Args:
        first: the position that the first unit reads.
        stride: distance from there to the position that the next unit reads.
        up: distance between the map's positions; the first one is at 0.
        units: how many units there are.
        size: how many positions the map has.
    """
    common = gcd(stride, up)
    if first % common:
        return False
    # One unit in `every` reads a multiple of `up`: find the first such unit.
    every = up // common
    unit = -first // common * pow(stride // common, -1, every) % every
    least = -(first // stride)
    unit += max(0, -(-(least - unit) // every)) * every
    return unit < units and first + unit * stride <= (size - 1) * up


def _idle(node: Node, taps: Taps) -> int:
    """Return the number of weights of the taps that only read padding."""
    kernel = weight(node)
    assert kernel is not None
    dead = sum(not alive for alive in taps.values())
    return kernel.shape[0] * kernel.shape[1] * dead


def _finding(net: Net, node: Node, taps: Taps, number: int, note: str) -> Finding:
    kernel = weight(node)
    assert kernel is not None
    area = count(kernel.shape[2:])
    alive = [tap for tap, lives in taps.items() if lives]
    dead = area - len(alive)
    used = tuple([len(set(places)) for places in zip(*alive, strict=True)])
    size = show_shape(sizes(node.input_shapes[0]))
    saved = saving(net.uses(node), number, lambda use: macs(use) * dead // area)
    smaller = ""
    if alive and count(used) == len(alive):
        smaller = f", or write the {show_shape(used)} kernel that computes the same"
    return Finding(
        node,
        f"{dead} of the {area} taps of {node.step.path} only read padding: "
        f"{number:,} weights have no gradient",
        saved,
        label=f"the map before it is {size}",
        notes=(note,),
        help=f"use a larger input, or fewer strides before it{smaller}",
    )
