"""An expensive convolution without a bottleneck."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from archdsl.ir.graph import Node
from archdsl.layer import count
from archdsl.linter.net import Net, macs, params, percent, positions, saving, weight
from archdsl.linter.rule import Finding, Fix, Rule, Saving, net
from archdsl.values import ones, show_shape, sizes

# The narrowest layers for which He et al. use one (table 1, conv2_x of ResNet-50).
WIDE: Final = 256
SHARE: Final = 0.1


class MissingBottleneck(Rule):
    """A k x k convolution from many channels to many channels is often most of what a
    network costs. A bottleneck replaces it by three steps: a 1x1 convolution that
    reduces the channels to a quarter, the k x k convolution at this width, and a 1x1
    convolution back. With 256 channels and 3x3, that takes 69,632 weights instead of
    589,824.

    The rule reports a layer with at least 256 input and 256 output channels, the width
    at which He et al. start to use bottlenecks, if it has at least a tenth of the
    network's multiply-accumulates and does not follow a 1x1 convolution already. In a
    deep network, a layer reaches a tenth only if the work is unevenly distributed: each
    of VGG-16's widest layers has an eighth, each of ResNet-18's a sixteenth.

    The edit changes the network, so it needs `--unsafe`.

    Source: He et al. 2015, "Deep residual learning for image recognition", figure 5;
    Szegedy et al. 2014, "Going deeper with convolutions", section 4.
    """

    code = "W0102"
    name = "missing-bottleneck"
    title = "an expensive convolution without a bottleneck"
    bad = net(
        "conv 3x3 256 /2 -> bn -> relu",
        "conv 3x3 256 -> bn -> relu",
        "conv 1x1 10",
    )
    good = net(
        "conv 3x3 256 /2 -> bn -> relu",
        "conv 1x1 64 -> bn -> relu -> conv 3x3 64 -> bn -> relu",
        "conv 1x1 256 -> bn -> relu",
        "conv 1x1 10",
    )

    def check(self, net: Net) -> Iterator[Finding]:
        """Yield the layers that cost much and have no bottleneck."""
        for node in net.owners:
            if not _is_wide(node) or _is_reduced(net, node):
                continue
            spent = saving(net.uses(node), params(node), macs)
            saved = _saved(net, node)
            dear = spent.macs >= SHARE * net.macs
            if dear and saved.params > 0 and saved.macs > 0:
                yield _finding(net, node, spent, saved)


def _saved(net: Net, node: Node) -> Saving:
    """Return the saving of a bottleneck with a quarter of the output's channels.

    Each of its two narrow layers has a norm or a bias if this layer has one.
    """
    kernel = weight(node)
    assert kernel is not None
    before, after = node.input_shapes[0][0], node.shape[0]
    middle = after // 4
    first, last = middle * before, middle * after
    inner = middle * middle * count(kernel.shape[2:])
    new = first + inner + last + 2 * middle * net.per_channel(node)

    def products(use: Node) -> int:
        narrow = first * count(sizes(use.input_shapes[0]))
        return macs(use) - narrow - (inner + last) * positions(use)

    return saving(net.uses(node), count(kernel.shape) - new, products)


def _is_wide(node: Node) -> bool:
    kernel = weight(node)
    window = node.window
    if node.op.family != "conv" or kernel is None or window is None:
        return False
    full = kernel.shape[1] == node.input_shapes[0][0] and max(window.up) == 1
    wide = min(node.input_shapes[0][0], node.shape[0]) >= WIDE
    return full and wide and count(kernel.shape[2:]) >= 9


def _is_reduced(net: Net, node: Node) -> bool:
    """Whether the layer with weights before it is a 1x1 convolution."""
    maker = net.makers.get(node.inputs[0])
    while maker is not None and weight(maker) is None and len(maker.inputs) == 1:
        maker = net.makers.get(maker.inputs[0])
    kernel = None if maker is None else weight(maker)
    return kernel is not None and count(kernel.shape[2:]) == 1


def _finding(net: Net, node: Node, spent: Saving, saved: Saving) -> Finding:
    before, after = node.input_shapes[0][0], node.shape[0]
    once = _once(node)
    return Finding(
        node,
        f"a bottleneck around this convolution from {before} to {after} channels would "
        f"cut {percent(saved.macs, spent.macs)} of its MACs",
        saved,
        label=f"{percent(spent.macs, net.macs)} of the network's MACs, "
        f"{percent(spent.params, net.params)} of its weights",
        notes=(f"{once} to {after // 4} channels and back would save {saved}",),
        help=f"write `conv {once} {after // 4}`, this one with {after // 4} channels, "
        f"and `conv {once} {after}`, with nonlinearities between them",
        fix=_fix(net, node),
    )


def _once(node: Node) -> str:
    """Return a kernel of a single position for as many axes, such as ``1x1``."""
    return show_shape(ones(len(sizes(node.shape))))


def _fix(net: Net, node: Node) -> Fix | None:
    written = net.written(node)
    if written is None or written.call.guard or written.call.label:
        return None
    width, flag = written.argument("width", 1), written.argument("bias")
    if width is None or not width.value.span.text.isdigit() or flag is not None:
        return None
    norm = net.norm_behind(node)
    between = f" -> {norm.op.word} -> relu -> " if norm else " -> relu -> "
    middle, word = node.shape[0] // 4, node.op.word
    start, end = written.call.span.start, width.value.span.start
    inner = written.source.text[start:end] + str(middle)
    inner += written.source.text[width.value.span.end : written.call.span.end]
    once = _once(node)
    parts = (f"{word} {once} {middle}", inner, f"{word} {once} {node.shape[0]}")
    return Fix((written.replaced(between.join(parts)),))
