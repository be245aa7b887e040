"""A head that averages units with too small a receptive field."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from archdsl.ir.graph import Node
from archdsl.layer import count
from archdsl.linter.net import Net, percent
from archdsl.linter.rule import Finding, Rule, net
from archdsl.passes.receptive import main_value, reported_field
from archdsl.values import show_shape, sizes

if TYPE_CHECKING:
    from archdsl.passes.receptive import Number


class NarrowView(Rule):
    """Before a global pool, every unit of the last map sees a part of the image, and
    the pool averages their outputs. If no unit sees the whole image, the network cannot
    relate things that are farther apart than one receptive field. Networks with larger
    fields tend to be more accurate, up to the size of the image and beyond it, since
    the border of a field contributes little.

    The rule looks at networks that turn a map into a vector by a global pool, and
    applies if the receptive field before the pool is smaller than the input along an
    axis. If it is below half of a side, there are units whose fields do not even
    overlap. A field that misses only the border loses little, as SqueezeNet 1.1 with
    207 of 224 positions shows; in such a case, silence the rule by a comment with the
    reason. Networks whose linear layers read the flattened map are not reported, as
    they relate distant positions there, nor are those with a gate such as squeeze and
    excitation, which sees the whole map.

    Each additional 3x3 convolution widens the field by twice the distance between
    neighbouring units, and an earlier stride widens everything after it.

    Source: Araujo et al. 2019, "Computing receptive fields of convolutional neural
    networks"; Luo et al. 2016, "Understanding the effective receptive field in deep
    convolutional neural networks".
    """

    code = "W0106"
    name = "narrow-view"
    title = "a receptive field before the head that is smaller than the input"
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
        """Yield the pool after the last map, if that sees less than the input."""
        graph = net.graph
        known = net.fields
        value = main_value(graph, known)
        if not net.classifies or value is None or value in graph.inputs:
            return
        if known[value].whole:
            return  # for example by a gate
        readers = net.readers[value]
        if len(readers) != 1 or readers[0].op.family != "pool":
            return
        image = sizes(graph.shapes[graph.inputs[0]])
        seen = reported_field(known[value], sizes(graph.shapes[value]), image)
        more = [
            _convolutions(n - size, jump)
            for n, size, jump in zip(image, seen.size, seen.jump, strict=True)
            if size < n
        ]
        if more:
            yield _finding(readers[0], seen.size, image, max(more))


def _convolutions(lacking: int, jump: Number) -> int:
    """Return how many 3x3 convolutions widen the field by some positions."""
    return -(-lacking // (2 * (jump or 1)))


def _area(seen: Sequence[int], image: Sequence[int]) -> int:
    """Return how many positions of the image a field has at most."""
    return count(tuple(min(a, b) for a, b in zip(seen, image, strict=True)))


def _finding(
    node: Node, seen: tuple[int, ...], image: tuple[int, ...], more: int
) -> Finding:
    area = _area(seen, image)
    which = "convolution" if more == 1 else "convolutions"
    three = show_shape((3,) * len(image))
    layers = f"{three} {which}" if len(image) > 1 else f"{which} over {three}"
    fewer = ", or fewer with another stride" if more > 1 else ""
    return Finding(
        node,
        f"the units before {node.step.path} see {show_shape(seen)} of the input's "
        f"{show_shape(image)} positions",
        label=f"{percent(area, count(image))} of the input; the pool only averages",
        help=f"{more} more {layers} before it would cover the input{fewer}",
    )
