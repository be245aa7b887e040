"""Layers whose result cannot influence an output."""

from __future__ import annotations

from collections.abc import Iterator, Set
from typing import Final

from archdsl.ir.graph import Node
from archdsl.linter.net import Net, macs, params, saving
from archdsl.linter.rule import Finding, Rule, net

MOST: Final = 100


class DeadBranch(Rule):
    """A result that no layer reads is already an error (A0305). This rule finds results
    that are read but then erased: multiplied by zero (`scale 0`), or always dropped in
    training (`dropout 1.0`, `stochasticdepth 1.0`). With `scale 0`, the computation
    before it is always wasted. With the others, the layers before them get no gradient,
    so inference uses weights that were never trained.

    Layers that also reach an output by another path are not counted.

    Source: the definitions of these layer kinds in the manual.
    """

    code = "W0109"
    name = "dead-branch"
    title = "layers whose result is erased before it reaches an output"
    bad = net(
        "conv 3x3 16 -> relu",
        "add { conv 3x3 -> relu | conv 5x5 -> scale 0 }",
        "conv 1x1 10",
    )
    good = net(
        "conv 3x3 16 -> relu",
        "conv 3x3 -> relu",
        "conv 1x1 10",
    )

    def check(self, net: Net) -> Iterator[Finding]:
        """Yield the layers that erase a result, and what that makes useless."""
        reached = _alive(net, net.graph.nodes, erasing=frozenset())
        for node in _erasers(net):
            modes = [mode for mode in (False, True) if node.op.erases(mode)]
            if node.output not in reached:
                continue
            alive = _alive(net, net.graph.nodes, erasing=frozenset({node.output}))
            dead = [
                each
                for each in net.graph.nodes
                if each.output in reached and each.output not in alive
            ]
            yield _finding(net, node, dead, always=modes[0] is False)


def _erasers(net: Net) -> list[Node]:
    """Return the layers that erase their input; only the first ones of very many."""
    found = [n for n in net.graph.nodes if n.op.erases(False) or n.op.erases(True)]
    return found[:MOST]


def _alive(net: Net, nodes: tuple[Node, ...], erasing: Set[int]) -> set[int]:
    """Return the values that an output depends on, if some values are constant."""
    constant = set(erasing)
    for node in nodes:
        if node.inputs and constant.issuperset(node.inputs):
            constant.add(node.output)
    found = {value for value in net.outputs if value not in constant}
    for node in reversed(nodes):
        if node.output in found:
            found.update(value for value in node.inputs if value not in constant)
    return found | (set(erasing) if erasing & found else set())


def _finding(net: Net, node: Node, dead: list[Node], always: bool) -> Finding:
    before = [each for each in dead if each.output != node.output]
    values = {each.output for each in dead}
    # Weights that are also used elsewhere do not count.
    owned = [
        each
        for each in before
        if not each.step.shared
        and values.issuperset(use.output for use in net.uses(each))
    ]
    saved = saving(before, sum(params(each) for each in owned), macs)
    weights, products, _ = saved
    word = node.op.label()
    layers = "1 layer" if len(before) == 1 else f"{len(before)} layers"
    if not before:
        message = f"`{word}` outputs nothing but zeros"
        label, help = "always zero", "remove it"
    elif always:
        message = f"`{word}` erases the results of {layers} before it"
        label = f"{weights:,} weights and {products:,} MACs without effect"
        help = "remove the branch, or use another factor"
    else:
        message = f"`{word}` leaves {layers} before it without a gradient"
        label = f"{weights:,} weights without a gradient"
        help = "remove the branch, or use a probability below 1"
    return Finding(node, message, saved, label=label, help=help)
