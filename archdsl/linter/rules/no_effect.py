"""Layers that pass their input on as it is."""

from __future__ import annotations

from collections.abc import Iterator

from archdsl.ir.graph import Node
from archdsl.linter.net import Net
from archdsl.linter.rule import Finding, Fix, Rule, net
from archdsl.linter.written import WrittenCall, is_fixed


class NoEffect(Rule):
    """With some arguments, a layer does nothing: `dropout 0`, `scale 1`, `maxpool 1x1`,
    `upsample 1x1`, `shuffle 1`, `flatten` of a vector, `identity`. A second `relu`
    right after a `relu` does nothing either. Such layers are left over from an edit, or
    are placeholders that were forgotten.

    The rule applies only to layers that are written this way in the spec. It does not
    apply if a parameter decides, as in `dropout drop`, if the layer has a label, or if
    a branch consists of nothing but `identity`.

    The edit removes the layer. It is safe, since the network computes the same; it is
    not made in a `seq` where other layers would be renumbered.

    Source: the definitions of these layer kinds in the manual.
    """

    code = "W0113"
    name = "no-effect"
    title = "a layer that changes nothing"
    bad = net("conv 3x3 16 -> relu -> dropout 0 -> relu", "conv 1x1 10")
    good = net("conv 3x3 16 -> relu", "conv 1x1 10")

    def check(self, net: Net) -> Iterator[Finding]:
        """Yield the layers without effect."""
        for node in net.graph.nodes:
            written = net.written(node)
            if written is None or written.call.label or not is_fixed(written):
                continue
            again = _earlier(net, node)
            if again is not None:
                yield _finding(node, written, f"{again.step.path} already did the same")
            elif node.op.passes(node.input_shapes, node.shape) and _is_extra(written):
                yield _finding(node, written, "its output is its input")


def _is_extra(written: WrittenCall) -> bool:
    """Whether it is more than the word that fills a branch."""
    return len(written.chain.steps) > 1 or len(written.body.statements) > 1


def _earlier(net: Net, node: Node) -> Node | None:
    """Return the layer right before an idempotent one that did what it does."""
    maker = net.makers.get(node.inputs[0]) if node.op.idempotent else None
    while maker is not None and maker.op != node.op:
        # Layers in between that only pass a value on do not matter.
        passed = maker.op.passes(maker.input_shapes, maker.shape)
        maker = net.makers.get(maker.inputs[0]) if passed else None
    return maker


def _finding(node: Node, written: WrittenCall, why: str) -> Finding:
    edit = written.removed()
    return Finding(
        node,
        f"`{node.op.label()}` changes nothing here",
        label=why,
        help="remove it",
        fix=Fix((edit,), safe=True) if edit else None,
    )
