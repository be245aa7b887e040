"""A head that averages what sees too little."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from archdsl.layer import count
from archdsl.lint.net import Net, percent
from archdsl.lint.rule import Finding, Rule, net
from archdsl.passes.graph import Node
from archdsl.passes.receptive import describe, fields, main_value
from archdsl.values import show_shape, sizes


class NarrowView(Rule):
    """Before a global pool, every unit of the last map sees a part of the image, and
    the pool averages what they say. If no unit sees the whole image, nothing in the
    network ever relates what lies farther apart than a receptive field. Networks with
    larger fields are more accurate, up to the size of the image and beyond, since the
    border of a field counts little.

    It is said of networks that turn a map into a vector by a global pool, if a unit
    before it sees less than half of the input's height or width: then there are units
    that have nothing in common. A field that only misses the rim loses little. A
    network whose linear layers read the flattened map joins distant positions there.

    Each 3x3 convolution more widens the field by twice the distance between the units,
    and a stride earlier in the network widens all that follows.

    Source: Araujo et al. 2019, "Computing receptive fields of convolutional neural
    networks"; Luo et al. 2016, "Understanding the effective receptive field in deep
    convolutional neural networks".
    """

    code = "W0106"
    name = "narrow-view"
    title = "a receptive field smaller than the input at the head"
    bad = net(
        "conv 3x3 16 -> relu",
        "conv 3x3 32 /2 -> relu",
        "conv 3x3 32 -> relu",
        "globalavgpool; linear 10",
    )
    good = net(
        "conv 3x3 16 -> relu",
        "conv 3x3 32 /2 -> relu",
        "conv 3x3 64 /2 -> relu",
        "conv 3x3 64 /2 -> relu",
        "conv 3x3 64 -> relu",
        "globalavgpool; linear 10",
    )

    def check(self, net: Net) -> Iterator[Finding]:
        """Yield the pool behind the last map, if that sees less than the input."""
        graph = net.graph
        known = fields(graph)
        value = main_value(graph, known)
        if not net.classifies or value is None or value in graph.inputs:
            return
        readers = net.readers[value]
        if len(readers) != 1 or readers[0].op.family != "pool":
            return
        image = sizes(graph.shapes[graph.inputs[0]])
        seen = describe(known[value], sizes(graph.shapes[value]), image)
        lacking = [n - size for n, size in zip(image, seen.size, strict=True)]
        if any(2 * size < n for n, size in zip(image, seen.size, strict=True)):
            jump = max(int(step) for step in seen.jump) or 1
            yield _finding(readers[0], seen.size, image, max(lacking), jump)


def _area(seen: Sequence[int], image: Sequence[int]) -> int:
    """Return how many positions of the image a field has at most."""
    return count(tuple(min(a, b) for a, b in zip(seen, image, strict=True)))


def _finding(
    node: Node, seen: tuple[int, ...], image: tuple[int, ...], lacking: int, jump: int
) -> Finding:
    more = -(-lacking // (2 * jump))
    area = _area(seen, image)
    convolutions = "convolution" if more == 1 else "convolutions"
    return Finding(
        node,
        f"the units before {node.step.path} see {show_shape(seen)} of the input's "
        f"{show_shape(image)} positions",
        label=f"{percent(area, count(image))} of the input; the pool only averages",
        help=f"{more} more 3x3 {convolutions} before it would see all, or a stride "
        "more and fewer of them",
    )
