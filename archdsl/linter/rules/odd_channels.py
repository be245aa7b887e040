"""Channels that tensor cores pad."""

from __future__ import annotations

from collections.abc import Iterator, Set
from typing import Final

from archdsl.ir.graph import Node
from archdsl.linter.net import Net, macs, percent, saving, weight
from archdsl.linter.rule import Finding, Fix, Rule, Saving, net
from archdsl.values import channels

UNIT: Final = 8


class OddChannels(Rule):
    """Tensor cores multiply 16-bit numbers in tiles. If the input or output channels of
    a convolution or linear layer are not a multiple of 8, libraries pad them with zeros
    to the next multiple and compute the padding, too; older versions do not use tensor
    cores at all. 58 channels cost as much as 64.

    The channels of the network's inputs and outputs are left out, since the task
    determines them. So are grouped and depthwise convolutions, which have specialised
    kernels.

    The rule applies if the padding at one place costs at least 1 % of the network's
    multiply-accumulates.

    If the width is written as a number, `--unsafe` replaces it by the next multiple of
    8.

    Source: NVIDIA, "Convolutional layers user's guide", section "Channels in and out":
    divisible by 8 for 16 bits, and by 4 for TF32.
    """

    code = "W0107"
    name = "odd-channels"
    title = "channels that are not a multiple of 8, which tensor cores pad"
    least = 0.01
    bad = net("conv 3x3 20 -> relu", "conv 3x3 20 /2 -> relu", "conv 1x1 10")
    good = net("conv 3x3 24 -> relu", "conv 3x3 24 /2 -> relu", "conv 1x1 10")

    def check(self, net: Net) -> Iterator[Finding]:
        """Yield the layers whose channels are padded."""
        fixed = _starts(net) | _ends(net)
        for owner in net.owners:
            if not macs(owner) or not _is_full(owner):
                continue
            # Uses can differ: one may read the image, or produce an output.
            pads = max(_pads(use, fixed) for use in net.uses(owner))
            cost = saving(net.uses(owner), 0, lambda n: _cost(n, _pads(n, fixed)))
            if cost.macs:
                yield _finding(net, owner, pads, cost)


def _starts(net: Net) -> set[int]:
    """Return the values whose channels are those of an input."""
    found = set(net.graph.inputs)
    for node in net.graph.nodes:
        if found.issuperset(node.inputs) and not macs(node):
            found.add(node.output)
    return found


def _ends(net: Net) -> set[int]:
    """Return the values whose channels are those of an output."""
    found = set(net.outputs)
    for node in reversed(net.graph.nodes):
        if node.output in found and not macs(node):
            found.update(node.inputs)
    return found


def _is_full(node: Node) -> bool:
    kernel = weight(node)
    if kernel is None or node.op.family not in ("conv", "linear"):
        return False
    pair = {channels(node.input_shapes[0]), channels(node.shape)}
    return pair == set(kernel.shape[:2])


def _pads(node: Node, fixed: Set[int]) -> tuple[int, int]:
    """Return the channels that are added to those of a layer's input and output."""
    before, after = channels(node.input_shapes[0]), channels(node.shape)
    return (
        0 if node.inputs[0] in fixed else -before % UNIT,
        0 if node.output in fixed else -after % UNIT,
    )


def _cost(node: Node, pads: tuple[int, int]) -> int:
    """Return the multiply-accumulates of the padding in one use of a layer."""
    before, after = channels(node.input_shapes[0]), channels(node.shape)
    padded = (before + pads[0]) * (after + pads[1])
    return macs(node) * padded // (before * after) - macs(node)


def _finding(net: Net, node: Node, pads: tuple[int, int], cost: Saving) -> Finding:
    both = channels(node.input_shapes[0]), channels(node.shape)
    parts = zip(("input", "output"), both, pads, strict=True)
    what = " and ".join(
        f"{n} {end} channels to {n + pad}" for end, n, pad in parts if pad
    )
    return Finding(
        node,
        f"in {node.step.path}, tensor cores pad {what}: "
        f"{percent(_cost(node, pads), macs(node))} more MACs",
        cost,
        label=f"{percent(cost.macs, net.macs)} of the network's MACs are padding here",
        help=f"make widths multiples of {UNIT}",
        fix=_fix(net, node) if pads[1] else None,
    )


def _fix(net: Net, node: Node) -> Fix | None:
    written = net.written(node)
    place = 0 if node.op.family == "linear" else 1
    width = written.argument("width", place) if written else None
    if written is None or width is None or not width.value.span.text.isdigit():
        return None
    number = int(width.value.span.text)
    return Fix((written.with_value(width, str(number + -number % UNIT)),))
