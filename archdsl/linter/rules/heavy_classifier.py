"""A classifier that has most of the weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from archdsl.ir.graph import Node
from archdsl.layer import count
from archdsl.linter.net import Net, params, percent, saving, weight
from archdsl.linter.rule import Finding, Fix, Rule, net
from archdsl.values import is_map, sizes

SHARE: Final = 0.5


class Flattened(NamedTuple):
    """A layer that flattens a map for a linear layer.

    Attributes:
        node: the layer.
        behind: the layers that follow it, up to and including the linear layer.
    """

    node: Node
    behind: list[Node]


class HeavyClassifier(Rule):
    """A linear layer on a flattened map of C x H x W has C H W weights for each of its
    outputs. In AlexNet and VGG, it is where nine tenths of all weights are. A global
    pool before it keeps only C values, the average of each channel. It has no weights
    of its own, which also reduces overfitting, and the network then accepts images of
    any size.

    The rule applies if the linear layers that follow a flattened map have more than
    half of the network's weights, and the map has more than one position.

    If the spec contains the word `flatten` there, `--unsafe` replaces it by
    `globalavgpool`. This changes the network.

    Source: Lin et al. 2013, "Network in network", section 3.2.
    """

    code = "W0108"
    name = "heavy-classifier"
    title = "a classifier on a flattened map that has most of the weights"
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
        found: dict[str, list[Flattened]] = {}
        for node in net.graph.nodes:
            behind = _linear_behind(net, node) if _flattens(node) else []
            if behind:
                # Linear layers that share weights count once, whatever they read.
                uses = found.setdefault(behind[-1].step.path, [])
                uses.append(Flattened(node, behind))
        for uses in found.values():
            heavy = sum(params(each) for each in _linears(net, uses))
            if heavy > SHARE * net.params:
                yield _finding(net, uses, heavy)


def _flattens(node: Node) -> bool:
    before = node.input_shapes[0]
    flat = len(node.shape) == 1 and is_map(before) and node.op.family == "reshape"
    return flat and count(sizes(before)) > 1 and node.shape[0] == count(before)


def _linear_behind(net: Net, node: Node) -> list[Node]:
    """Return the layers after a flattened map, up to and including a linear layer."""
    passed = []
    after = net.next(node)
    while after is not None:
        passed.append(after)
        if weight(after) is not None:
            return passed if after.op.family == "linear" else []
        if after.shape != node.shape:
            break
        after = net.next(after)
    return []


def _linears(net: Net, uses: Sequence[Flattened]) -> Iterator[Node]:
    """Yield the linear layers that compute with flattened maps, each once."""
    behind = {use.node.output for use in uses}
    paths = set()
    for each in net.graph.nodes:
        if not behind.isdisjoint(each.inputs):
            behind.add(each.output)
            path = each.step.path
            if each.op.family == "linear" and path not in paths:
                paths.add(path)
                yield each


def _finding(net: Net, uses: Sequence[Flattened], heavy: int) -> Finding:
    node, behind = uses[0]
    before = node.input_shapes[0]
    inputs, kept = count(before), before[0]
    fewer = behind[-1].shape[0] * (inputs - kept)
    # A norm between them has fewer features, too.
    weights = fewer + sum(
        (inputs - kept) * params(each) // inputs for each in behind[:-1]
    )
    saved = saving([use.behind[-1] for use in uses], weights, lambda _: fewer)
    alone = len({use.node.step.span for use in uses}) == 1
    written = net.written(node) if alone else None
    return Finding(
        node,
        f"the linear layers after {node.step.path} have "
        f"{percent(heavy, net.params)} of the network's weights",
        saved,
        label=f"{inputs:,} features from {count(sizes(before))} positions",
        notes=(
            f"a global pool would leave {kept:,} features, and save {saved}, "
            f"{percent(weights, net.params)} of the network's weights",
        ),
        help="write `globalavgpool` instead",
        fix=Fix((written.replaced("globalavgpool"),)) if written else None,
    )
