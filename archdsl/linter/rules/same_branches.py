"""Branches that are all the same."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Any

from archdsl.ir.graph import Node
from archdsl.linter.net import Net
from archdsl.linter.rule import Finding, Rule, net
from archdsl.values import channels, show_shape


class SameBranches(Rule):
    """Two branches of a merge that compute the same add nothing: `concat` has the
    channels twice, `add` doubles them, and their `difference` is zero. Layers with
    weights always differ, and so do two dropouts, since they draw separate random
    numbers. Branches without either are the same if they apply the same layers to the
    same value; an empty branch is the input itself.

    `mul` is not reported, as it computes a square, nor are layers that the spec makes
    share weights (`same`) but applies to different inputs.

    Source: the definitions of these layer kinds in the manual.
    """

    code = "W0114"
    name = "same-branches"
    title = "branches of a merge that compute the same"
    bad = net(
        "conv 3x3 16",
        "concat { relu | relu }",
        "conv 3x3 16 -> relu",
        "conv 1x1 10",
    )
    good = net(
        "conv 3x3 16",
        "relu",
        "conv 3x3 16 -> relu",
        "conv 1x1 10",
    )

    def check(self, net: Net) -> Iterator[Finding]:
        """Yield the merges that read one result more than once."""
        known: dict[Hashable, int] = {}
        same: dict[int, int] = {value: value for value in net.graph.inputs}
        for node in net.graph.nodes:
            inputs = tuple(same[value] for value in node.inputs)
            if _is_linear_merge(node) and len(set(inputs)) < len(inputs):
                yield _finding(node, inputs)
            same[node.output] = known.setdefault(_result_key(node, inputs), node.output)


def _is_linear_merge(node: Node) -> bool:
    """Whether a merge gains nothing from reading the same value twice."""
    merges = node.op.family == "merge" and len(node.inputs) > 1
    return merges and not node.op.saved(node.input_shapes, node.shape).factors


def _result_key(node: Node, inputs: tuple[int, ...]) -> Hashable:
    """Return a key that equal results share: the layer and what it reads."""
    own: Any = () if _is_function(node) else node.output
    return type(node.op), tuple(vars(node.op).items()), inputs, own


def _is_function(node: Node) -> bool:
    """Whether a layer's output depends on nothing but its input."""
    known = node.op.family not in ("dropout", "other")
    return known and not node.tensors


def _finding(node: Node, inputs: tuple[int, ...]) -> Finding:
    copies = len(inputs) - len(set(inputs))
    twice = [n for n, value in enumerate(inputs) if inputs.index(value) < n]
    extra = sum(channels(node.input_shapes[n]) for n in twice)
    branches = "1 branch" if copies == 1 else f"{copies} branches"
    verb = "copies" if copies == 1 else "copy"
    what = "what another one computes" if copies == 1 else "what others compute"
    return Finding(
        node,
        f"{branches} of {node.step.path} {verb} {what}",
        label=f"{extra} channels of {show_shape(node.shape)} are a copy",
        help="remove the copy, or make the branches differ",
    )
