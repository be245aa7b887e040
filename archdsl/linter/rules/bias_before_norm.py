"""A bias that a norm cancels."""

from __future__ import annotations

from collections.abc import Iterator

from archdsl.linter.net import Net, bias
from archdsl.linter.rule import Finding, Fix, Rule, Saving, net
from archdsl.passes.graph import Node
from archdsl.syntax import tree as t


class BiasBeforeNorm(Rule):
    """Batch norm subtracts the mean of each channel. What a layer right before it adds
    to a channel goes with that mean: it has no influence, its gradient is zero up to
    rounding, and the norm has an offset of its own. `instancenorm` subtracts the mean
    of each channel, too, and so does a `groupnorm` with one channel a group; those with
    more, and `layernorm`, do not.

    The language leaves such a bias out by itself where a `bn` stands in the same block,
    and in the same copy of a repeat. So this finds where the spec says `bias=true`,
    where the norm stands outside of the block or the copy that ends with the layer, and
    where it is one of the other two.

    The edit is safe in a network that is trained from now on: it computes the same. A
    checkpoint from before has the key of the bias still. Subtract the bias from the
    `running_mean` of a `bn`, and drop it; `load_state_dict` refuses it otherwise.

    Source: Ioffe & Szegedy 2015, "Batch normalization: accelerating deep network
    training by reducing internal covariate shift", section 3.2; Ulyanov et al. 2016,
    "Instance normalization", equation 2.
    """

    code = "W0103"
    name = "bias-before-norm"
    title = "a bias that the norm after it cancels"
    bad = net("conv 3x3 32 bias=true -> bn -> relu", "conv 1x1 10")
    good = net("conv 3x3 32 -> bn -> relu", "conv 1x1 10")

    def check(self, net: Net) -> Iterator[Finding]:
        """Yield the layers whose bias nothing but norms reads."""
        uses: dict[str, list[Node]] = {}
        for node in net.graph.nodes:
            uses.setdefault(node.step.path, []).append(node)
        for first, *others in uses.values():
            added = bias(first)
            norms = [_norm_behind(net, node) for node in (first, *others)]
            if added and norms[0] and None not in norms:
                yield _finding(net, first, norms[0], added.elements)


def _norm_behind(net: Net, node: Node) -> Node | None:
    """Return a norm that reads a layer, if nothing but norms does."""
    readers = net.readers[node.output]
    absorbed = all(reader.op.cancels_bias(reader.input_shapes) for reader in readers)
    return (
        readers[0] if readers and absorbed and node.output not in net.outputs else None
    )


def _finding(net: Net, node: Node, norm: Node, elements: int) -> Finding:
    channels = "channel" if elements == 1 else "channels"
    return Finding(
        node,
        f"{norm.step.path} cancels the bias of {node.step.path} right before it",
        Saving(params=elements),
        label=f"a bias of {elements:,} {channels}",
        help=f"leave it out: `bias=false` saves {elements:,} weights",
        fix=_fix(net, node, norm),
    )


def _fix(net: Net, node: Node, norm: Node) -> Fix | None:
    written = net.written(node)
    if written is None:
        return None
    said = written.argument("bias")
    if said is None:
        edit = written.with_argument("bias=false")
    elif not isinstance(said.value, t.Literal) or said.value.value is not True:
        return None  # an expression decides it
    elif norm.op.absorbs_bias and written.is_before(norm.op.word):
        edit = written.without_argument(said)
    else:
        edit = written.with_value(said, "false")
    return Fix((edit,), safe=True, drops=frozenset({"bias"}))
