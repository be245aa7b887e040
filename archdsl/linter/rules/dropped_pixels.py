"""Positions of a map that nothing reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Final

from archdsl.ir.graph import Node
from archdsl.layer import count
from archdsl.linter.net import Net, macs, percent
from archdsl.linter.rule import Finding, Fix, Rule, Saving, net
from archdsl.values import show_shape, sizes

SHARE: Final = 0.05
MOST: Final = 1 << 14  # longest axis that is checked


class DroppedPixels(Rule):
    """A window with a stride larger than its kernel skips positions, and where the last
    window does not fit any more, rows and columns at the end remain unread. If no other
    layer reads these positions, the work of computing them is lost.

    A 1x1 convolution with stride 2 reads a quarter of its input. On the shortcut of a
    residual block that is no loss, since the body reads the rest. At the start of the
    body it is, which is why most implementations today put the stride on the 3x3
    convolution. A `maxpool 2x2` on a 7x7 map leaves 13 of its 49 positions unread.

    The rule applies if at least 5 % of the positions of a map are read by no layer. A
    single row out of 224 at the border of an image is not reported.

    Where a pool can round its size up, `--unsafe` writes `ceil=true`.

    Source: He et al. 2018, "Bag of tricks for image classification with convolutional
    neural networks", section 4.2.
    """

    code = "W0105"
    name = "dropped-pixels"
    title = "positions of a map that no layer reads"
    bad = net(
        "conv 3x3 16 /2 -> bn -> relu",
        "conv 1x1 32 /2 -> bn -> relu -> conv 3x3 32 -> bn -> relu",
        "conv 1x1 10",
    )
    good = net(
        "conv 3x3 16 /2 -> bn -> relu",
        "conv 1x1 32 -> bn -> relu -> conv 3x3 32 /2 -> bn -> relu",
        "conv 1x1 10",
    )

    def check(self, net: Net) -> Iterator[Finding]:
        """Yield the layers that leave much of their input unread."""
        passed = {node.output for node in net.graph.nodes if _passes_on(node)}
        for value, shape in net.graph.shapes.items():
            if value in passed:
                continue  # handled with the value that it was computed from
            readers = list(_windows(net, value))
            masks = [_masks(reader) for reader in readers if reader is not None]
            known = [mask for mask in masks if mask is not None]
            if not known or len(known) < len(readers):
                continue  # some layer reads all
            lost = unread(known)
            if lost >= SHARE * count(sizes(shape)):
                first = next(reader for reader in readers if reader is not None)
                yield _finding(net, value, first, known[0], lost)


def _passes_on(node: Node) -> bool:
    """Whether a layer reads each position for that position alone."""
    window = node.window
    plain = window is not None and window.is_pointwise
    return plain and len(node.inputs) == 1 and not macs(node)


def _windows(net: Net, value: int) -> Iterator[Node | None]:
    """Yield the layers that read a value, after those that pass it on.

    None stands for the caller, who gets it as an output.
    """
    values = [value]
    while values:
        value = values.pop()
        if value in net.outputs:
            yield None
        for reader in net.readers[value]:
            if _passes_on(reader):
                values.append(reader.output)
            else:
                yield reader


# Along each axis, which positions are read.
Masks = tuple[Sequence[bool], ...]


def _masks(node: Node) -> Masks | None:
    """Return what a layer's windows read of each axis, None if they read all."""
    window = node.window
    if node.op.family not in ("conv", "pool") or window is None:
        return None
    shape = sizes(node.input_shapes[0])
    if not shape or max(window.up) > 1:
        return None
    if max(shape) > MOST or count(shape[:-1]) > MOST:
        return None
    read = [
        read_along(*axis)
        for axis in zip(
            shape,
            sizes(node.shape),
            window.kernel,
            window.stride,
            window.pad,
            window.dilation,
            strict=True,
        )
    ]
    return None if all(map(all, read)) else tuple(read)


def read_along(
    size: int, units: int, kernel: int, stride: int, pad: int, dilation: int
) -> list[bool]:
    """Return which positions of an axis some window reads."""
    read = [False] * size
    if dilation == 1 and stride <= kernel:
        first, last = -pad, (units - 1) * stride - pad + kernel
        read[max(0, first) : last] = [True] * (min(size, last) - max(0, first))
        return read
    for unit in range(units):
        for tap in range(kernel):
            at = unit * stride - pad + dilation * tap
            if 0 <= at < size:
                read[at] = True
    return read


def unread(masks: Sequence[Masks]) -> int:
    """Return how many positions none of some layers reads."""
    last = [
        sum(1 << place for place, read in enumerate(mask[-1]) if read) for mask in masks
    ]
    columns, lost = len(masks[0][-1]), 0
    for at in product(*(range(len(axis)) for axis in masks[0][:-1])):
        seen = 0
        for mask, bits in zip(masks, last, strict=True):
            if all(axis[place] for axis, place in zip(mask, at, strict=False)):
                seen |= bits
        lost += columns - seen.bit_count()
    return lost


def _finding(net: Net, value: int, node: Node, masks: Masks, lost: int) -> Finding:
    shape = sizes(node.input_shapes[0])
    maker = net.makers.get(value)
    wasted = 0
    if maker is not None and not maker.training:
        wasted = macs(maker) * lost // count(shape)
    steps = any(_has_gaps(mask) for mask in masks)
    what = "its windows skip them" if steps else "its last window ends before them"
    help = (
        "give the stride to a layer with a larger kernel, or pool before it"
        if steps
        else "add padding, round the size up, or choose an input size that divides"
    )
    return Finding(
        node,
        f"no layer reads {percent(lost, count(shape))} of the {show_shape(shape)} "
        f"positions before {node.step.path}",
        Saving(macs=wasted),
        label=f"{lost:,} of {count(shape):,}: {what}",
        notes=(f"computing them took {wasted:,} MACs",) if wasted else (),
        help=help,
        fix=None if steps else _fix(net, node),
    )


def _has_gaps(mask: Sequence[bool]) -> bool:
    """Whether positions between others are left out, and not only the last ones."""
    read = [at for at, is_read in enumerate(mask) if is_read]
    return bool(read) and read[-1] - read[0] + 1 > len(read)


def _fix(net: Net, node: Node) -> Fix | None:
    written = net.written(node)
    if written is None or "ceil" not in node.op.fields or written.argument("ceil"):
        return None
    return Fix((written.with_argument("ceil=true"),))
