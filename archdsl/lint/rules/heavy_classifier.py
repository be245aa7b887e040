"""A classifier that has most of the weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from archdsl.layer import count
from archdsl.lint.net import Net, once, params, percent, positions, weight
from archdsl.lint.rule import Finding, Fix, Rule, Saving, net
from archdsl.passes.graph import Node
from archdsl.values import sizes

SHARE: Final = 0.5


class HeavyClassifier(Rule):
    """A linear layer on a flattened map of C x H x W has C H W weights for each of its
    outputs. In AlexNet and VGG, nine tenths of all weights stand there. A global pool
    before it leaves C, the average of each channel, and has no weights of its own,
    which acts against overfitting, too. The network then takes images of any size.

    It is said where the linear layers from a flattened map on have more than half of
    the network's weights, and that map has more than one position.

    Where the word `flatten` stands in the spec, `--unsafe` writes `globalavgpool` in
    its place. It is not the same network.

    Source: Lin et al. 2013, "Network in network", section 3.2.
    """

    code = "W0108"
    name = "heavy-classifier"
    title = "a classifier with most of the weights, for want of a global pool"
    bad = net(
        "conv 5x5 32 /2 -> bn -> relu",
        "conv 3x3 64 /2 -> bn -> relu",
        "conv 3x3 64 /2 -> bn -> relu -> conv 3x3 64 -> bn -> relu",
        "flatten",
        "linear 256 -> relu -> linear 10",
    )
    good = net(
        "conv 5x5 32 /2 -> bn -> relu",
        "conv 3x3 64 /2 -> bn -> relu",
        "conv 3x3 64 /2 -> bn -> relu -> conv 3x3 64 -> bn -> relu",
        "globalavgpool",
        "linear 256 -> relu -> linear 10",
    )

    def check(self, net: Net) -> Iterator[Finding]:
        """Yield the layers that flatten a map for linear layers with most weights."""
        for node in net.graph.nodes:
            if not _flattens(node):
                continue
            reader = _linear_behind(net, node)
            if reader is None:
                continue
            heavy = sum(params(each) for each in _linears(net, node))
            if heavy > SHARE * net.params:
                yield _finding(net, node, reader, heavy)


def _flattens(node: Node) -> bool:
    before = node.input_shapes[0]
    flat = len(node.shape) == 1 and len(before) == 3 and node.op.family == "reshape"
    return flat and count(sizes(before)) > 1 and node.shape[0] == count(before)


def _linear_behind(net: Net, node: Node) -> Node | None:
    """Return the first layer with weights behind a flattened map."""
    after = net.next(node)
    while after is not None and weight(after) is None:
        if after.shape != node.shape:
            return None
        after = net.next(after)
    return after if after is not None and after.op.family == "linear" else None


def _linears(net: Net, node: Node) -> Iterator[Node]:
    """Yield the linear layers that compute with what a layer makes."""
    behind = {node.output}
    for each in net.graph.nodes:
        if not behind.isdisjoint(each.inputs):
            behind.add(each.output)
            if each.op.family == "linear" and not each.step.shared:
                yield each


def _finding(net: Net, node: Node, reader: Node, heavy: int) -> Finding:
    before = node.input_shapes[0]
    inputs, kept = count(before), before[0]
    saved = reader.shape[0] * (inputs - kept)
    written = net.written(node)
    return Finding(
        node,
        f"the linear layers behind {node.step.path} have "
        f"{percent(heavy, net.params)} of the network's weights",
        once(node, Saving(params=saved, macs=saved * positions(reader))),
        label=f"{inputs:,} features of {count(sizes(before))} positions",
        notes=(
            f"a global pool would leave {kept:,} features, and save {saved:,} weights, "
            f"{percent(saved, net.params)} of the network's",
        ),
        help="write `globalavgpool` in its place",
        fix=Fix((written.replaced("globalavgpool"),)) if written else None,
    )
