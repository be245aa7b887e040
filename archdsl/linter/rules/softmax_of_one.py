"""A softmax of a single value."""

from __future__ import annotations

from collections.abc import Iterator

from archdsl.linter.net import Net
from archdsl.linter.rule import Finding, Rule, net
from archdsl.values import channels, show_shape


class SoftmaxOfOne(Rule):
    """Softmax over a single channel or feature is 1, whatever it was: e^x / e^x. All
    that is computed before it has no influence and no gradient. For two classes as one
    number, `sigmoid` is meant; a softmax over the positions of a map is another
    function than this one, which is over the channels.

    Source: the arithmetic of the kind, as its page has it.
    """

    code = "W0120"
    name = "softmax-of-one"
    title = "a softmax of a single value, which is always 1"
    bad = net("conv 3x3 16 -> relu", "conv 1x1 1 -> softmax")
    good = net("conv 3x3 16 -> relu", "conv 1x1 1 -> sigmoid")

    def check(self, net: Net) -> Iterator[Finding]:
        """Yield the softmax layers of one channel."""
        for node in net.graph.nodes:
            if node.op.sums_to_one and channels(node.shape) == 1:
                yield Finding(
                    node,
                    f"{node.step.path} is 1 everywhere, whatever stands before it",
                    label=f"one channel of {show_shape(node.shape)}"
                    if len(node.shape) > 1
                    else "one feature",
                    help="`sigmoid` gives one number between 0 and 1",
                )
