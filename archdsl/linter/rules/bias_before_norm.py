"""A bias that a norm cancels."""

from __future__ import annotations

from collections.abc import Iterator

from archdsl.ir.graph import Node
from archdsl.linter.net import Net, bias
from archdsl.linter.rule import Finding, Fix, Rule, Saving, net
from archdsl.syntax import tree as t


class BiasBeforeNorm(Rule):
    """Batch norm subtracts the mean of each channel, so a bias that the layer right
    before it adds to a channel is subtracted again. The bias has no influence, its
    gradient is zero up to rounding, and the norm has a bias of its own anyway.
    `instancenorm` also subtracts the mean of each channel, and so does a `groupnorm`
    with one channel per group; a `groupnorm` with larger groups and `layernorm` do not.

    archdsl omits such a bias by itself if a `bn` follows in the same block and the same
    copy of a repeat. This rule finds the other cases: the spec says `bias=true`, the
    norm follows after the end of the block or copy, or the norm is `instancenorm` or
    `groupnorm`.

    The edit is safe for a network that is trained from now on, as it computes the same.
    An existing checkpoint still has the key of the bias, and `load_state_dict` refuses
    it. To convert one, subtract the bias from the `running_mean` of the `bn` and delete
    the key.

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
