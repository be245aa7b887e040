"""A norm over a single value."""

from __future__ import annotations

from collections.abc import Iterator

from archdsl.ir.graph import Node
from archdsl.linter.net import Net
from archdsl.linter.rule import Finding, Rule, net
from archdsl.values import show_shape, sizes


class NormOfOneValue(Rule):
    """The mean of a single value is that value, and its deviation is zero. So a norm
    over one value returns 0, or the bias if it has one, and from there on the network
    computes the same for all inputs.

    `groupnorm` with one channel per group does this in any mode on a 1x1 map or a
    vector, and so does `layernorm` over one channel. In training, `bn` normalises over
    the whole batch. On a 1x1 map that is one value per sample for each channel. With a
    batch of 1 there is a single value, and torch raises "Expected more than 1 value per
    channel when training". The last batch of an epoch can be that small, and so can the
    share of one device; `drop_last=True` in the data loader avoids it. With a batch of
    2, each value becomes 1 or -1. In inference, `bn` uses its running statistics, and
    there is no problem. A `groupnorm` over one value is refused for a batch of 1 in any
    mode.

    A `bn` is reported on 1x1 maps, for example after a global pool, and on vectors,
    where only the batch provides several values. `bn` on vectors is common in the heads
    of self-supervised networks, which are trained with batches of hundreds: silence the
    rule there by a comment with that reason.

    Source: Wu & He 2018, "Group normalization", section 3.1, for what each norm takes
    its statistics of; PyTorch, "BatchNorm2d".
    """

    code = "W0123"
    name = "norm-of-one-value"
    title = "a norm over a single value"
    bad = net("conv 3x3 16 -> relu", "adaptiveavgpool 1x1 -> conv 1x1 10 -> bn")
    good = net("conv 3x3 16 -> relu", "adaptiveavgpool 1x1 -> conv 1x1 10")

    def check(self, net: Net) -> Iterator[Finding]:
        """Yield the norms with one value of a sample for each mean."""
        for node in net.graph.nodes:
            if node.op.normed(node.input_shapes) == 1:
                yield _in_a_batch(node) if node.op.pools_batch else _always(node)


def _in_a_batch(node: Node) -> Finding:
    return Finding(
        node,
        f"training with a batch of 1 fails at {node.step.path}: it has one value for "
        "each channel",
        label=f"its input is {_what(node)}",
        help="train with batches of 2 or more, including the last one, or remove the "
        "norm",
    )


def _always(node: Node) -> Finding:
    return Finding(
        node,
        f"{node.step.path} normalises a single value: its output is the same for all "
        "inputs",
        label=f"its input is {_what(node)}",
        notes=tuple(_notes(node)),
        help="remove it, or normalise over more values",
    )


def _notes(node: Node) -> Iterator[str]:
    """Yield torch's error for a channel with a single value, which only `layernorm`
    accepts."""
    if node.op.cancels_bias(node.input_shapes):
        yield "with a batch of 1, torch refuses it even in inference"


def _what(node: Node) -> str:
    shape = show_shape(node.shape)
    return shape if sizes(node.shape) else f"a vector of {shape}"
