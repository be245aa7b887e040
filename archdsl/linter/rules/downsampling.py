"""Resolutions with too much or too little of the work."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from archdsl.ir.graph import Node
from archdsl.linter.net import Net, macs, percent
from archdsl.linter.rule import Finding, Rule, net
from archdsl.values import show_shape, sizes

LATE: Final = 0.5
LEAST_SIDE: Final = 64
EARLY: Final = 0.1
EARLY_SCALE: Final = 16


class Downsampling(Rule):
    """How a network distributes its work over the resolutions is a design choice. This
    rule looks at networks that turn a map into a vector, and reports two cases.

    Too late: more than half of the multiply-accumulates are spent on maps with at least
    half the side of the input and at least 64 positions per side. Neighbouring
    positions of such maps are nearly redundant, and each stride of 2 before them would
    make the rest four times as cheap. VGG-16 spends 30 % there, ResNet-50 3 %.

    Too early: the map has shrunk to a sixteenth of the input's side before a tenth of
    the work is done. Details that the first layers have not encoded by then are lost.

    Source: He & Sun 2015, "Convolutional neural networks at constrained time cost",
    section 3; Szegedy et al. 2015, "Rethinking the Inception architecture for computer
    vision", section 2; Iandola et al. 2016, "SqueezeNet", section 3.1.
    """

    code = "W0112"
    name = "downsampling"
    title = "downsampling too late or too early"
    bad = net(
        "conv 3x3 32 -> relu -> conv 3x3 64 -> relu  x2",
        "maxpool 4x4 /4",
        "conv 3x3 128 -> relu -> maxpool 4x4 /4",
        "globalavgpool; linear 10",
        size="3x128x128",
    )
    good = net(
        "conv 3x3 32 /2 -> relu -> maxpool 3x3 /2 pad=1",
        "conv 3x3 64 -> relu -> conv 3x3 64 -> relu  x2",
        "conv 3x3 128 /2 -> relu -> conv 3x3 128 /2 -> relu",
        "conv 3x3 256 /2 -> relu -> conv 3x3 256 -> relu",
        "globalavgpool; linear 10",
        size="3x128x128",
    )

    def check(self, net: Net) -> Iterator[Finding]:
        """Yield the layer that costs most at a size, or that makes it small early."""
        image = sizes(net.graph.shapes[net.graph.inputs[0]])
        if not net.classifies or not net.macs:
            return
        nodes = [
            node
            for node in net.graph.run(training=False)
            if len(sizes(node.shape)) == len(image)
        ]
        spent = by_size(nodes)
        notes = (_shares(spent, net.macs),)
        late = sum(n for size, n in spent.items() if _is_large(size, image))
        if late > LATE * net.macs:
            large = [n for n in nodes if _is_large(sizes(n.shape), image)]
            most = max(large, key=macs)
            yield Finding(
                most,
                f"{percent(late, net.macs)} of the MACs are spent on maps of half the "
                "input's side or more",
                label=f"{percent(macs(most), net.macs)} here, at "
                f"{show_shape(sizes(most.shape))}",
                notes=notes,
                help="give an earlier layer a stride, or pool earlier",
            )
        yield from _early(net, nodes, image, notes)


def by_size(nodes: list[Node]) -> Mapping[tuple[int, ...], int]:
    """Return the multiply-accumulates for maps of each size, the largest map first."""
    spent: dict[tuple[int, ...], int] = {}
    for node in nodes:
        size = sizes(node.shape)
        spent[size] = spent.get(size, 0) + macs(node)
    return dict(sorted(spent.items(), reverse=True))


def _is_large(size: tuple[int, ...], image: tuple[int, ...]) -> bool:
    half = all(2 * n >= whole for n, whole in zip(size, image, strict=True))
    return half and min(size) >= LEAST_SIDE


def _early(
    net: Net, nodes: list[Node], image: tuple[int, ...], notes: tuple[str, ...]
) -> Iterator[Finding]:
    """Yield the layer that leaves a sixteenth before a tenth of the work."""
    main = net.graph.behind(net.graph.outputs(training=False)[:1])
    scale = [n // EARLY_SCALE for n in image]
    before = 0
    for node in nodes:
        shape = sizes(node.shape)
        before += macs(node)
        gates = min(shape) == 1 < min(scale)
        small = all(n <= most for n, most in zip(shape, scale, strict=True))
        if node.output not in main or gates or not small or min(scale) < 2:
            continue
        if before - macs(node) < EARLY * net.macs:
            yield Finding(
                node,
                f"{node.step.path} reduces {show_shape(image)} to {show_shape(shape)} "
                f"after only {percent(before - macs(node), net.macs)} of the MACs",
                label="nearly all work is done at a sixteenth of the input's side",
                notes=notes,
                help="move the strides later, with layers between them",
            )
        return


def _shares(spent: Mapping[tuple[int, ...], int], whole: int) -> str:
    parts = [f"{show_shape(s)} {percent(n, whole)}" for s, n in spent.items() if n]
    return f"MACs at each size: {', '.join(parts[:8])}"
