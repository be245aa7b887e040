"""A softmax of a single value."""

from __future__ import annotations

from collections.abc import Iterator

from archdsl.linter.net import Net
from archdsl.linter.rule import Finding, Rule, net
from archdsl.values import channels, show_shape


class SoftmaxOfOne(Rule):
    """Softmax over a single channel or feature is always 1: e^x / e^x. Nothing computed
    before it has any influence, or gets a gradient. To represent two classes by one
    number, use `sigmoid`. A softmax over the positions of a map is a different
    function; this one is over the channels.

    Source: the definition of this layer kind in the manual.
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
                    f"{node.step.path} is always 1, whatever its input",
                    label=f"one channel of {show_shape(node.shape)}"
                    if len(node.shape) > 1
                    else "one feature",
                    help="`sigmoid` gives one number between 0 and 1",
                )
