"""A softmax of values that are never negative."""

from __future__ import annotations

from collections.abc import Iterator

from archdsl.ir.graph import Node
from archdsl.linter.net import Net
from archdsl.linter.rule import Finding, Fix, Rule, net


class RectifiedLogits(Rule):
    """Softmax turns numbers of any sign into probabilities. Only their differences
    matter: a class is unlikely if its logit is far below the others. A rectifier before
    the softmax cuts off the negative half, so all classes with a logit below zero get
    the same probability, and no gradient. A sigmoid keeps all differences below 1, so
    that no probability is more than e times another; a second softmax has the same
    effect.

    The rule applies to a softmax whose input is the output of an activation that is
    never negative. The edit removes that activation. This changes the network, so it
    needs `--unsafe`.

    Source: Goodfellow, Bengio & Courville 2016, "Deep learning", section 6.2.2.3: a
    linear layer predicts the unnormalised log probabilities that softmax takes.
    """

    code = "W0121"
    name = "rectified-logits"
    title = "a softmax after an activation that is never negative"
    bad = net("conv 3x3 16 -> relu", "conv 1x1 10 -> relu -> softmax")
    good = net("conv 3x3 16 -> relu", "conv 1x1 10 -> softmax")

    def check(self, net: Net) -> Iterator[Finding]:
        """Yield the softmax layers after such an activation."""
        for node in net.graph.nodes:
            maker = net.makers.get(node.inputs[0])
            if not node.op.sums_to_one or maker is None:
                continue
            if maker.op.family == "activation" and maker.op.sign == "positive":
                yield _finding(net, node, maker)


def _finding(net: Net, node: Node, maker: Node) -> Finding:
    alone = net.next(maker) is node
    return Finding(
        node,
        f"{node.step.path} reads {maker.step.path}, which is never negative",
        label=f"its logits are the output of `{maker.op.label()}`",
        help=f"remove `{maker.op.label()}` before it",
        fix=_fix(net, maker) if alone else None,
    )


def _fix(net: Net, maker: Node) -> Fix | None:
    written = net.written(maker)
    edit = written.removed() if written else None
    return Fix((edit,)) if edit else None
