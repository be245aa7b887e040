"""A global pool that is written for one size."""

from __future__ import annotations

from collections.abc import Iterator

from archdsl.ir.graph import Node
from archdsl.linter.net import Net
from archdsl.linter.rule import Finding, Fix, Rule, net
from archdsl.linter.written import is_fixed
from archdsl.values import ones, show_shape, sizes, sliding


class FixedGlobalPool(Rule):
    """`avgpool 7x7` on a 7x7 map is a global pool, but for this size only. A larger
    input leaves a larger map, which no longer fits a linear layer after it; for a
    smaller input, the window does not fit. `adaptiveavgpool 1x1` computes the same for
    any size, and `globalavgpool` also flattens the result to a vector.

    The rule applies if the size is written as a number, the window covers the map
    exactly, and there is no padding. The edit is safe: for the present size, the
    network computes the same.

    Source: Lin et al. 2013, "Network in network", section 3.2.
    """

    code = "W0122"
    name = "fixed-global-pool"
    title = "a global pool that only works for one input size"
    bad = net("conv 3x3 16 /2 -> relu", "avgpool 16x16 -> conv 1x1 10")
    good = net("conv 3x3 16 /2 -> relu", "adaptiveavgpool 1x1 -> conv 1x1 10")

    def check(self, net: Net) -> Iterator[Finding]:
        """Yield the pools whose window is the whole map."""
        for node in net.graph.nodes:
            written = net.written(node)
            if written is None or not node.op.of_any_size or not is_fixed(written):
                continue
            window = node.window
            size = sizes(node.input_shapes[0])
            whole = window is not None and window._replace(stride=size) == sliding(
                kernel=size, stride=size
            )
            if whole and max(size) > 1 == max(sizes(node.shape)):
                pool = f"{node.op.of_any_size} {show_shape(ones(len(size)))}"
                yield _finding(node, pool, Fix((written.replaced(pool),), safe=True))


def _finding(node: Node, pool: str, fix: Fix) -> Finding:
    size = show_shape(sizes(node.input_shapes[0]))
    return Finding(
        node,
        f"{node.step.path} pools the whole map, but only for this input size",
        label=f"the map is {size}",
        help=f"write `{pool}`, which works for any size",
        fix=fix,
    )
