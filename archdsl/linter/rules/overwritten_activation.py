"""Values that are overwritten before the backward pass needs them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from typing import Final

from archdsl.elaborate.foreign import Foreign
from archdsl.ir.graph import Node
from archdsl.layer import count
from archdsl.linter.net import Net
from archdsl.linter.rule import Edit, Finding, Fix, Rule, net
from archdsl.syntax import tree as t
from archdsl.torch.functions import copies_input, kept_in_place, parameter_names
from archdsl.torch.inplace import inplace

_FLOAT: Final = 4


class OverwrittenActivation(Rule):
    """A layer that runs in place writes its output over its input. If autograd saved
    that input for the backward pass, training fails with "one of the variables needed
    for gradient computation has been modified by an inplace operation". The usual case
    is a `relu`, which saves its output, followed by a dropout that runs in place.

    For its own layer kinds, the compiler decides which layers run in place, and this
    rule checks that decision: it replays the forward pass and counts, as autograd does,
    how often each tensor's memory was written since it was saved. It has never found
    anything there; a finding would be a bug in archdsl.

    A spec can, however, declare a foreign layer whose torch class runs in place:
    `torch.nn.Dropout` with `args = [0.5, true]`. The compiler does not know what such a
    class does. The rule assumes that it runs in place if it is one of the classes of
    `torch.nn` whose last argument is `inplace`, and that argument is `true`. The edit
    sets it to `false`, which is safe.

    Source: PyTorch, "Autograd mechanics", section "In-place operations with autograd".
    """

    code = "W0110"
    name = "overwritten-activation"
    title = "an in-place layer that overwrites a value the backward pass needs"
    bad = net(
        "conv 3x3 16 -> relu -> drop",
        "conv 1x1 10",
        before='op drop {\n    torch = "torch.nn.Dropout"\n'
        "    args = [0.5, true]\n    pointwise = true\n}",
    )
    good = net("conv 3x3 16 -> relu -> dropout 0.5", "conv 1x1 10")

    def check(self, net: Net) -> Iterator[Finding]:
        """Yield the layers that overwrite what was kept."""
        planned = inplace(net.graph)
        nodes = net.graph.nodes
        foreign = {n.output: name for n in nodes if (name := _foreign_inplace(n))}
        # A mask has memory of its own, and so has a copy.
        apart = {value for value, name in foreign.items() if keeps_apart(name)}
        for node, keeper in overwritten(nodes, {*planned, *foreign}, apart):
            kept = count(node.input_shapes[0]) * _FLOAT
            yield Finding(
                node,
                f"{node.step.path} runs in place and overwrites what "
                f"{keeper.step.path} keeps for the backward pass",
                label=f"{kept:,} bytes per sample are kept there; training fails",
                help="set `inplace` to false, so that it writes to memory of its own",
                fix=_fix(net, node),
            )


def keeps_apart(name: str) -> bool:
    """Return whether such a class keeps nothing in the memory that it overwrites."""
    return "Dropout" in name or kept_in_place(name) == "copies"


def _foreign_inplace(node: Node) -> str:
    """Return the name of a class of torch that a spec has run in place."""
    form = node.step.form
    call = form.module
    if call is None or form.origin or not call.name.startswith("nn."):
        return ""
    names = parameter_names(call.name)
    last = names[len(call.args) - 1] if 0 < len(call.args) <= len(names) else ""
    return call.name if last == "inplace" and call.args[-1] is True else ""


def _fix(net: Net, node: Node) -> Fix | None:
    """Return the edit of a foreign layer's declaration that this spec has."""
    op = node.op
    if not isinstance(op, Foreign) or op.definition.span.source is not net.source:
        return None
    args = op.settings["args"].value if "args" in op.settings else None
    last = args.items[-1] if isinstance(args, t.ListExpr) and args.items else None
    if not isinstance(last, t.Literal) or last.value is not True:
        return None
    return Fix((Edit(last.span.start, last.span.end, "false"),), safe=True)


def overwritten(
    nodes: Sequence[Node], writers: Set[int], apart: Set[int] = frozenset()
) -> Iterator[tuple[Node, Node]]:
    """Yield each node that overwrites what another keeps, and that other.

    Args:
        nodes: in the order in which they run in training.
        writers: the outputs of those that run in place.
        apart: the outputs of those that keep nothing in the memory that they overwrite.
    """
    home: dict[int, int] = {}
    kept: dict[int, Node] = {}
    for node in nodes:
        places = [home.setdefault(value, value) for value in node.inputs]
        writes = node.output in writers
        if writes and places[0] in kept:
            yield node, kept[places[0]]
        shares = writes or node.op.aliases(training=True)
        home[node.output] = places[0] if shares else node.output
        saved = node.op.saved(node.input_shapes, node.shape)
        if node.output in apart or (writes and copies_input(node.step.form)):
            continue
        if saved.input or saved.factors:
            # In place, it keeps its output, which has replaced the input.
            kept.update(dict.fromkeys(places, node))
        if saved.output:
            kept[home[node.output]] = node
