"""Which steps can overwrite their input with their output."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence, Set

from archdsl.ir import OWNERS, Group, Step
from archdsl.ir.graph import Graph, Node
from archdsl.values import Saved

from .calls import is_function
from .functions import copies_input, runs_in_place
from .gradient import tracked


def inplace(
    graph: Graph, *, inference: bool = False, read_again: Set[int] = frozenset()
) -> frozenset[int]:
    """Return the outputs of the steps that can run in place, in either mode.

    A step can if its layer supports it, if no other step reads the memory of its input,
    even under the name of another value, and if the backward pass does not need the
    overwritten value. All iterations of a repeat behave in the same way.

    Args:
        graph: the network.
        inference: whether there is no backward pass that would need a value.
        read_again: what the parts read that the backward pass runs again; see
            `archdsl.passes.recompute`.
    """
    readers = Counter(value for node in graph.nodes for value in node.inputs)
    # Values whose memory the caller owns, another step reads, or autograd keeps.
    taken = {*graph.inputs, *graph.outputs(training=True), *read_again}
    taken.update(value for value, count in readers.items() if count > 1)
    entries = _entries(graph)
    found = set()
    for node in graph.nodes:
        saved = node.op.saved(node.input_shapes, node.shape)
        if inference:
            saved = Saved()
        if node.output not in entries and _overwrites(node, taken):
            found.add(node.output)
            if saved.input and not copies_input(node.step.form):
                taken.add(node.output)  # it is kept instead of the input
        if _shares(node) and not taken.isdisjoint(node.inputs):
            taken.add(node.output)
        if saved.output or node.op.is_view(node.input_shapes, node.shape):
            taken.add(node.output)
    return _agreed(found, _together(graph))


def copying(graph: Graph, overwriting: Set[int]) -> frozenset[int]:
    """Return those of the steps that run in place for which autograd copies the input.

    Training then needs the memory of input and output, as if they did not run in place.

    Args:
        graph: the network.
        overwriting: the outputs of the steps that run in place.
    """
    found = [n.output for n in graph.nodes if copies_input(n.step.form)]
    return tracked(graph).intersection(found) & overwriting


def _agreed(found: set[int], together: Sequence[Sequence[int]]) -> frozenset[int]:
    """Return those steps that can run in place and whose companions all can, too."""
    places: dict[int, list[int]] = {}
    for place, some in enumerate(together):
        for output in some:
            places.setdefault(output, []).append(place)
    kept, seen = set(found), set[int]()
    stack = [output for output in places if output not in found]
    while stack:
        for place in places[stack.pop()]:
            if place not in seen:
                seen.add(place)
                stack += kept.intersection(together[place])
                kept.difference_update(together[place])
    return frozenset(kept)


def _together(graph: Graph) -> list[Sequence[int]]:
    """Return groups of steps that either all run in place or none does.

    One module serves all uses of a shared layer, so running in place must be right for
    each. And the iterations of a repeat are the same, so that reading one of them is
    reading all.
    """
    shared: dict[str, list[int]] = {}
    for node in graph.nodes:
        shared.setdefault(node.step.path, []).append(node.output)
    found: list[Sequence[int]] = [some for some in shared.values() if len(some) > 1]
    stack: list[Step | Group] = [graph.network.root]
    while stack:
        part = stack.pop()
        if isinstance(part, Step):
            continue
        stack += part.children
        if part.role == "repeat":
            rounds = [_own_steps(copy) for copy in part.children]
            # Iterations of different lengths do not correspond.
            if len({len(steps) for steps in rounds}) == 1:
                found += zip(*rounds, strict=True)
    return found


def _own_steps(copy: Step | Group) -> list[int]:
    """Return the outputs of the steps of a copy, without those of the classes that it
    calls.
    """
    found = []
    stack = [copy]
    while stack:
        part = stack.pop()
        if isinstance(part, Step):
            found.append(part.output)
        elif part.role not in OWNERS:
            stack.extend(reversed(part.children))
    return found


def _entries(graph: Graph) -> set[int]:
    """Return the outputs of functions that read an argument of `forward`.

    A class never overwrites its arguments.
    """
    found = set()
    stack = [part for part in graph.network.root.children if isinstance(part, Group)]
    while stack:
        group = stack.pop()
        stack += [part for part in group.children if isinstance(part, Group)]
        if group.role in OWNERS:
            made: set[int] = set()
            for step in group.steps():
                if step.inputs[0] not in made and is_function(step):
                    found.add(step.output)
                made.add(step.output)
    return found


def _overwrites(node: Node, taken: set[int]) -> bool:
    able = runs_in_place(node.step.form) and len(node.inputs) == 1
    return able and node.inputs[0] not in taken


def _shares(node: Node) -> bool:
    """Return whether the output shares the input's memory in some mode."""
    return node.op.aliases(training=True) or node.op.aliases(training=False)
