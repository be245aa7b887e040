"""Dropout before batch norm."""

from __future__ import annotations

from collections.abc import Iterator

from archdsl.ir.graph import Node
from archdsl.linter.net import Net
from archdsl.linter.rule import Finding, Rule, net


class DropoutBeforeNorm(Rule):
    """Dropout changes the variance of its output: for values around zero, it is larger
    in training than in inference by a factor of 1 / (1 - p). A batch norm after it
    measures the variance in training and divides by it in inference, where it is too
    large. This shift grows from layer to layer, and accuracy falls although dropout and
    batch norm each help on their own.

    The rule reports every dropout that is followed, at any distance, by a norm with
    running statistics. Dropout after all norms, for example before the last linear
    layer, is fine, and so are norms over a single sample, such as `layernorm`.
    Stochastic depth, which drops a branch for whole samples, and `alphadropout`, which
    preserves the variance, are not reported.

    Source: Li et al. 2018, "Understanding the disharmony between dropout and batch
    normalization by variance shift", section 3.
    """

    code = "W0111"
    name = "dropout-before-norm"
    title = "dropout with a batch norm after it"
    bad = net(
        "conv 3x3 16 -> bn -> relu -> dropout 0.5",
        "conv 3x3 32 /2 -> bn -> relu",
        "conv 1x1 10",
    )
    good = net(
        "conv 3x3 16 -> bn -> relu",
        "conv 3x3 32 /2 -> bn -> relu",
        "dropout 0.5 -> conv 1x1 10",
    )

    def check(self, net: Net) -> Iterator[Finding]:
        """Yield the dropouts that a norm with running statistics comes after."""
        after = _next_norm(net)
        for node in net.graph.nodes:
            norm = after.get(node.output)
            acts = node.op.shifts_variance and not node.op.aliases(training=True)
            if acts and norm is not None and not node.op.erases(training=True):
                yield _finding(node, norm)


def _next_norm(net: Net) -> dict[int, Node]:
    """Return for every value the first norm that its variance reaches."""
    found: dict[int, Node] = {}
    for node in reversed(net.graph.nodes):
        first = node if _has_statistics(node) else found.get(node.output)
        if first is not None:
            found.update(dict.fromkeys(node.inputs[: node.op.sources], first))
    return found


def _has_statistics(node: Node) -> bool:
    tensors = node.tensors
    return node.op.family == "norm" and any(not t.trainable for t in tensors)


def _finding(node: Node, norm: Node) -> Finding:
    dropped = float(vars(node.op)["p"])
    ratio = 1 / (1 - dropped)
    return Finding(
        node,
        f"{norm.step.path} takes its statistics after {node.step.path}, so they only "
        "hold in training",
        label=f"the variance around zero is {ratio:.2f} times as large in training",
        help="move it after the last norm, to the classifier, or remove it",
    )
