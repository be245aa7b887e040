"""A norm that the norm after it undoes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from archdsl.ir.graph import Node
from archdsl.layer import count
from archdsl.linter.net import Net, params
from archdsl.linter.rule import Finding, Fix, Rule, Saving, net
from archdsl.passes.saved import bytes_of, own_size

_FLOAT: Final = 4


class NormOnNorm(Rule):
    """A norm that normalises each channel separately gives it mean 0 and deviation 1,
    whatever they were before. So it undoes everything that another norm right before it
    did to the channel as a whole: its normalisation, its scale except for the sign, and
    its bias. The weights of the first norm get no gradient, apart from the effect of
    epsilon.

    The rule applies if the second norm is `bn`, `instancenorm`, or `groupnorm` with one
    channel per group, and the first only scales and shifts a channel of a sample: a
    `bn`, or, before one of the other two, any of the three. An `instancenorm` before a
    `bn` is not reported, because it makes samples equal that `bn` alone would keep
    apart.

    With `--unsafe`, the first norm is removed. This is not safe, since layers may be
    renumbered, and a running variance close to epsilon makes a difference in inference.

    Source: Ioffe & Szegedy 2015, "Batch normalization", section 3.3, BN(Wu) =
    BN((aW)u); Ulyanov et al. 2016, "Instance normalization", equation 2.
    """

    code = "W0119"
    name = "norm-on-norm"
    title = "a norm that the norm after it undoes"
    bad = net("conv 3x3 32 -> bn -> bn -> relu", "conv 1x1 10")
    good = net("conv 3x3 32 -> bn -> relu", "conv 1x1 10")

    def check(self, net: Net) -> Iterator[Finding]:
        """Yield the norms that another one undoes."""
        for node in net.owners:
            after = net.next(node)
            alone = after is not None and len(net.uses(node)) == 1
            if after is not None and alone and undoes(after, node):
                yield _finding(net, node, after)


def undoes(after: Node, node: Node) -> bool:
    """Whether a norm undoes all that a norm before it has done."""
    both = [
        each.op.family == "norm" and each.op.cancels_bias(each.input_shapes)
        for each in (node, after)
    ]
    return all(both) and (node.op.pools_batch or not after.op.pools_batch)


def _finding(net: Net, node: Node, after: Node) -> Finding:
    before, own, saved = node.step.path, params(node), _saved(node)
    # A convolution before it has no bias because of it.
    help = "remove it"
    if node.op.absorbs_bias and not after.op.absorbs_bias:
        help += ", and write `bias=false` in a convolution before it"
    return Finding(
        node,
        f"{after.step.path} undoes what {before} does right before it",
        saved,
        label=f"{own:,} weights without effect" if own else "without effect",
        help=f"{help}; that saves {saved}",
        fix=_fix(net, node) if after.op.absorbs_bias else None,
    )


def _saved(node: Node) -> Saving:
    """Return its weights, its output, and what it keeps beside its input."""
    own = own_size(node.op.saved(node.input_shapes, node.shape), _FLOAT)
    kept = count(node.shape) * _FLOAT + bytes_of(own, batch=1)
    return Saving(params(node), bytes=kept)


def _fix(net: Net, node: Node) -> Fix | None:
    written = net.written(node)
    edit = written.removed() if written else None
    return Fix((edit,)) if edit else None
