"""Padding zeros that a pool takes for its maximum."""

from __future__ import annotations

from collections.abc import Iterator

from archdsl.ir.graph import Node
from archdsl.linter.net import Net, zero_border
from archdsl.linter.rule import Finding, Rule, net
from archdsl.values import show_shape, sizes


class ZerosInMaximum(Rule):
    """A `maxpool` pads with minus infinity, so that padding is never the maximum. A
    `zeropad` before it adds zeros, and zero is larger than any negative value: if all
    values of a window are negative, its maximum is a zero that is not in the map. After
    a `relu` nothing is negative, and the two are the same.

    Frameworks differ here. `SAME` pooling in TensorFlow and the padded pools of Darknet
    leave padding out of the maximum. Converters that write an explicit pad before the
    pool get this wrong. `maxpool 2x2 /1 pad=same` pads as those frameworks do.

    The rule applies if a layer that takes a maximum reads a `zeropad` whose input may
    be negative. The network's inputs and the outputs of convolutions and norms may be.

    Source: TensorFlow, "tf.nn.max_pool2d" and "Notes on padding": pooling ignores the
    padded values; PyTorch, "MaxPool2d": "implicit negative infinity padding".
    """

    code = "W0124"
    name = "zeros-in-maximum"
    title = "zero padding that can be the maximum of a pool"
    bad = net(
        "conv 3x3 16 -> bn -> leakyrelu 0.1",
        "zeropad left=1 right=1 top=1 bottom=1 -> maxpool 3x3 /1",
        "conv 1x1 10",
    )
    good = net(
        "conv 3x3 16 -> bn -> leakyrelu 0.1",
        "maxpool 3x3 /1 pad=1",
        "conv 1x1 10",
    )

    def check(self, net: Net) -> Iterator[Finding]:
        """Yield the layers whose maximum can be such a zero."""
        for node in net.graph.nodes:
            maker = net.makers.get(node.inputs[0])
            if (
                not node.op.maximum
                or maker is None
                or not any(map(any, zero_border(maker)))
            ):
                continue
            if maker.inputs[0] not in net.positive:
                yield _finding(node, maker)


def _finding(node: Node, maker: Node) -> Finding:
    return Finding(
        node,
        f"the zeros of {maker.step.path} are the maximum in {node.step.path} wherever "
        "all values of a window are negative",
        label=f"it reads `{maker.op.label()}`",
        help=_help(node, maker),
    )


def _help(node: Node, maker: Node) -> str:
    """Return how to pad with values that are never the maximum."""
    path, pad = maker.step.path, _pad(node, maker)
    if pad is None:
        return f"remove {path}, or put it after a `relu`"
    return f"let the pool pad: remove {path}, and write `pad={pad}` in {node.step.path}"


def _pad(node: Node, maker: Node) -> str | None:
    """Return the padding of a pool that replaces a `zeropad`, if there is one."""
    window = node.window
    if "pad" not in node.op.fields or window is None or max(window.pad) > 0:
        return None
    added, kernel = zero_border(maker), window.kernel
    if all(
        ends == _same(n, k, s, d)
        for ends, n, k, s, d in zip(
            added,
            sizes(maker.input_shapes[0]),
            kernel,
            window.stride,
            window.dilation,
            strict=True,
        )
    ):
        return "same"
    even = all(before == after for before, after in added)
    if even and all(2 * p[0] <= k for p, k in zip(added, kernel, strict=True)):
        pads = tuple([before for before, _ in added])
        return show_shape(pads if len(set(pads)) > 1 else pads[:1])
    return None


def _same(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """Return how many positions TensorFlow's `SAME` adds at both ends of an axis.

    Source: TensorFlow, "Notes on padding": there are ceil(size / stride) units, and if
    the padding is odd, the larger part is at the end.
    """
    reach = dilation * (kernel - 1) + 1
    total = max(0, (-(-size // stride) - 1) * stride + reach - size)
    return total // 2, total - total // 2
