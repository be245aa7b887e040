"""A norm that has one value to take mean and deviation of."""

from __future__ import annotations

from collections.abc import Iterator

from archdsl.linter.net import Net
from archdsl.linter.rule import Finding, Rule, net
from archdsl.passes.graph import Node
from archdsl.values import show_shape, sizes


class NormOfOneValue(Rule):
    """The mean of one value is that value, and its deviation is zero: what a norm
    leaves of it is 0, and after weight and bias the bias. The network computes the
    same for all inputs from there on.

    `groupnorm` with one channel a group does so in any mode, on a map of 1x1 or a
    vector, and so does `layernorm` of one channel. `bn` takes the values of the whole
    batch in training. On a map of 1x1 that is one value a sample for each channel. With
    a batch of 1 there is one value, and torch refuses it: "Expected more than 1 value
    per channel when training". The last batch of an epoch is often that small, and so
    is the share of one device; `drop_last=True` in the data loader leaves it out. With
    a batch of 2, each value is mapped to 1 or -1. In inference, `bn` uses its running
    statistics, and nothing is wrong. A `groupnorm` of one value is refused for a batch
    of 1 in any mode.

    For a `bn` it applies on maps of 1x1, as after a global pool, and on vectors, where
    nothing but the batch gives it values. A `bn` on vectors is common in the heads of
    self-supervised networks, which train with batches of hundreds: a comment with that
    reason settles it.

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
        help="train with batches of 2 or more, the last one too, or leave the norm out",
    )


def _always(node: Node) -> Finding:
    return Finding(
        node,
        f"{node.step.path} takes mean and deviation of one value: its output is the "
        "same for all inputs",
        label=f"its input is {_what(node)}",
        notes=tuple(_notes(node)),
        help="leave it out, or norm over more values",
    )


def _notes(node: Node) -> Iterator[str]:
    """Yield what torch says of a channel of one value; a `layernorm` it takes."""
    if node.op.cancels_bias(node.input_shapes):
        yield "with a batch of 1, torch refuses it, in inference, too"


def _what(node: Node) -> str:
    shape = show_shape(node.shape)
    return shape if sizes(node.shape) else f"a vector of {shape}"
