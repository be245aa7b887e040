"""Dropout before batch norm."""

from __future__ import annotations

from collections.abc import Iterator

from archdsl.linter.net import Net
from archdsl.linter.rule import Finding, Rule, net
from archdsl.passes.graph import Node


class DropoutBeforeNorm(Rule):
    """Dropout changes the variance of what it passes on: in training it is larger than
    in inference, by 1 / (1 - p) for values around zero. A batch norm after it measures
    the variance in training, and divides by that in inference, where it is not so. The
    shift grows through the layers between, and accuracy falls although each of the two
    helps alone.

    It applies to every dropout with a norm anywhere after it that has running
    statistics. Dropout after all norms, as before the last linear layer, is fine, and
    so are norms of a single sample, such as `layernorm`. Stochastic depth, which drops
    whole samples of a branch, and `alphadropout`, which keeps the variance, are not
    meant.

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
        f"{norm.step.path} takes its statistics after {node.step.path}, which makes "
        "them those of training only",
        label=f"values around zero vary {ratio:.2f} times as much in training",
        help="move it after the last norm, to the classifier, or drop it",
    )
