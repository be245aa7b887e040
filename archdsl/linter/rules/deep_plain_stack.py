"""Many layers without a shortcut."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from archdsl.ir.graph import Node
from archdsl.linter.net import Net
from archdsl.linter.rule import Finding, Rule, net

DEEP: Final = 20


class DeepPlainStack(Rule):
    """Beyond about twenty layers, a plain network gets worse with depth, and not
    because it overfits: its training error rises, too. He et al. observed this from 20
    to 56 layers on CIFAR-10, and from 18 to 34 layers on ImageNet (28.5 % error for the
    deeper network, 27.9 % for the other). With shortcuts, the network with 34 layers
    had an error of 25.0 %.

    A stack is a run of layers in which each one is the only reader of the one before
    it. It ends where branches join, and where a second layer, such as a shortcut or an
    auxiliary head, reads the same value: there the gradient has a shorter way back.
    Only convolutions and linear layers count. The rule reports the first layer of the
    longest stack if that has more than 20 of them.

    Source: He et al. 2015, "Deep residual learning for image recognition", section 1,
    figure 1, and table 2.
    """

    code = "W0104"
    name = "deep-plain-stack"
    title = "more than 20 layers in a row without a shortcut"
    bad = net(
        "conv 3x3 16 -> bn -> relu",
        "conv 3x3 -> bn -> relu -> conv 3x3 -> bn -> relu  x10",
        "conv 1x1 10",
    )
    good = net(
        "conv 3x3 16 -> bn -> relu",
        "residual { conv 3x3 -> bn -> relu -> conv 3x3 -> bn } -> relu  x10",
        "conv 1x1 10",
    )

    def check(self, net: Net) -> Iterator[Finding]:
        """Yield the first layer of the longest stack, if it is too long."""
        stack = longest(net)
        if len(stack) > DEEP:
            yield _finding(stack)


def longest(net: Net) -> list[Node]:
    """Return the weighted layers of the longest run without a shortcut."""
    runs: dict[int, list[Node]] = {}
    best: list[Node] = []
    for node in net.graph.nodes:
        run = runs.pop(node.inputs[0], []) if _goes_on(net, node) else []
        if node.op.weighted:
            run.append(node)
        runs[node.output] = run
        best = max(best, run, key=len)
    return best


def _goes_on(net: Net, node: Node) -> bool:
    """Whether a layer is all that reads the one before it, and reads nothing else."""
    if len(node.inputs[: node.op.sources]) > 1:
        return False
    value = node.inputs[0]
    return len(net.readers[value]) == 1 and value not in net.outputs


def _finding(stack: list[Node]) -> Finding:
    first, last = stack[0], stack[-1]
    return Finding(
        first,
        f"{len(stack)} layers follow one another without a shortcut",
        label=f"from here to {last.step.path}",
        help="add shortcuts around every two or three layers: `residual { ... }`",
    )
