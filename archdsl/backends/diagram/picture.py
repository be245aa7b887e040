"""What a diagram shows: nodes, boxes around them, and edges; no dot text yet.

With folding, the steps of one chain share a node, consecutive copies that are
the same up to names are drawn once, and a box around a single node becomes that
node's heading. A step that is not drawn lends its edges to the one drawn for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from archdsl.ir import Group, Network, Parameter, Port, Step
from archdsl.values import Dims, Shape, sizes

# They join the layer before them, or the one after them where they lead a chain.
_LIGHT = frozenset({"norm", "activation", "dropout"})
_OWNS_NAMES = frozenset({"block", "group"})


class Heading(NamedTuple):
    """What a group is called.

    Attributes:
        path: its full name; empty if it has none.
        last: that of the last copy it stands for; empty if there is only one.
        call: a block's call, such as ``unit<64>``.
        copies: how many it stands for.
    """

    path: str = ""
    last: str = ""
    call: str = ""
    copies: int = 1


class Node(NamedTuple):
    """Steps of one chain, at least one, under the heading of the group they fill."""

    steps: tuple[Step, ...]
    heading: Heading = Heading()

    @property
    def main(self) -> Step:
        """The step that gives the node its colour and name."""
        return next((s for s in self.steps if not _is_light(s)), self.steps[0])


class Box(NamedTuple):
    """A block, a named group or a run of equal copies, around its parts."""

    heading: Heading
    parts: tuple[Node | Box, ...]
    training: bool


class Edge(NamedTuple):
    """A tensor on its way.

    Attributes:
        tail: the value, as numbered where it is drawn.
        head: the drawn step that reads it, by its output's number, or the port.
        shape: of the value.
        training: whether the head only serves outputs of the training mode.
    """

    tail: int
    head: int | Port
    shape: Shape
    training: bool


class Picture(NamedTuple):
    """All that is drawn between the network's inputs and outputs."""

    parts: tuple[Node | Box, ...]
    edges: tuple[Edge, ...]

    def nodes(self) -> Iterator[Node]:
        """Yield the nodes in boxes and outside."""
        stack = [*self.parts]
        while stack:
            part = stack.pop()
            if isinstance(part, Node):
                yield part
            else:
                stack += part.parts

    def rows_crossed(self) -> int:
        """Return how many rows all edges cross, where each node stands below its tails.

        A layout engine's work grows with this, and faster than it.
        """
        first = {s.output: n.steps[0].output for n in self.nodes() for s in n.steps}
        rows: dict[int, int] = {}
        ends: list[tuple[int, int]] = []
        for edge in self.edges:
            tail = first.get(edge.tail, edge.tail)
            below = rows.get(tail, 0) + 1
            if isinstance(edge.head, int):
                rows[edge.head] = max(rows.get(edge.head, 0), below)
                ends.append((tail, edge.head))
        return sum([rows[head] - rows.get(tail, 0) for tail, head in ends])


def picture(network: Network, *, fold: bool) -> Picture:
    """Return what to draw of a network."""
    sketch = _Folded(network) if fold else _Sketch()
    parts = tuple(sketch.parts(network.root.children))
    return Picture(parts, tuple(_edges(network, sketch)))


class _Sketch:
    """Draws every step of every copy.

    Attributes:
        drawn_as: for a value whose step is not drawn, that of its likeness, which
            may not be drawn either.
        inside: values whose step stands behind another one in the same node.
    """

    def __init__(self) -> None:
        self.drawn_as: dict[int, int] = {}
        self.inside: set[int] = set()

    def parts(self, children: Iterable[Step | Group]) -> Iterator[Node | Box]:
        """Yield what stands for the children, in order."""
        for child in _flat(children, copies=False):
            if isinstance(child, Step):
                yield Node((child,))
            else:
                yield Box(
                    _heading([child]), (*self.parts(child.children),), child.training
                )

    def source(self, value: int) -> int:
        """Return the value as numbered where it is drawn."""
        while value in self.drawn_as:
            value = self.drawn_as[value]
        return value


class _Folded(_Sketch):
    """Draws equal copies once, and the steps of a chain as one node."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.readers: dict[int, list[int]] = {}
        for step in network.steps():
            for value in step.inputs:
                self.readers.setdefault(value, []).append(step.output)
        for port in network.outputs:
            self.readers.setdefault(port.value, []).append(-1)

    def parts(self, children: Iterable[Step | Group]) -> Iterator[Node | Box]:
        """Yield what stands for the children, in order."""
        chain: list[Step] = []
        for run in self._runs(_flat(children, copies=True)):
            if isinstance(run, Step) and chain and self._joins(chain, run):
                chain.append(run)
                self.inside.add(run.output)
                continue
            if chain:
                yield Node(tuple(chain))
            chain = []
            if isinstance(run, Step):
                chain.append(run)
            else:
                yield self._box(run)
        if chain:
            yield Node(tuple(chain))

    def _joins(self, chain: list[Step], step: Step) -> bool:
        last = chain[-1]
        return (
            step.statement == last.statement
            and step.inputs == (last.output,)
            and self.readers[last.output] == [step.output]
            and (_is_light(step) or all(map(_is_light, chain)))
        )

    def _box(self, run: list[Group]) -> Node | Box:
        first = run[0]
        for copy in run[1:]:
            for own, drawn in zip(copy.steps(), first.steps(), strict=True):
                self.drawn_as[own.output] = drawn.output
        heading = _heading(run)
        parts = tuple(self.parts(first.children))
        match parts:
            case [Node(steps=steps, heading=Heading(path="", copies=1))]:
                return Node(steps, heading)
            case _:
                return Box(heading, parts, first.training)

    def _runs(self, children: Iterable[Step | Group]) -> Iterator[Step | list[Group]]:
        """Yield steps, and groups by runs of equals; lone copies are opened up."""
        run: list[Group] = []
        for child in children:
            if isinstance(child, Group) and run and self._repeats(run[-1], child):
                run.append(child)
                continue
            yield from self._opened(run)
            run = []
            if isinstance(child, Group):
                run.append(child)
            else:
                yield child
        yield from self._opened(run)

    def _opened(self, run: list[Group]) -> Iterator[Step | list[Group]]:
        if len(run) == 1 and run[0].role == "copy":
            yield from self._runs(_flat(run[0].children, copies=True))
        elif run:
            yield run

    def _repeats(self, last: Group, group: Group) -> bool:
        return (
            group.input == last.output
            and _likeness(group) == _likeness(last)
            and self._feeds_only(last, group)
        )

    def _feeds_only(self, group: Group, heir: Group) -> bool:
        """Return whether all readers of what the group makes are in these two."""
        own = [step.output for step in group.steps()]
        allowed = {*own, *(step.output for step in heir.steps())}
        return all(allowed.issuperset(self.readers.get(value, ())) for value in own)


def _flat(children: Iterable[Step | Group], *, copies: bool) -> Iterator[Step | Group]:
    """Yield steps, groups that own names and, if asked, copies; open up the rest."""
    for child in children:
        if isinstance(child, Step) or child.role in _OWNS_NAMES:
            yield child
        elif child.role == "copy" and copies:
            only = tuple(_flat(child.children, copies=True))
            alone = len(only) == 1 and isinstance(only[0], Group)
            yield only[0] if alone else child
        else:
            yield from _flat(child.children, copies=copies)


def _likeness(group: Group) -> list[object]:
    """Return what is equal in groups that are the same up to names and channels."""
    place = {group.input: 0}
    found: list[object] = []
    stack: list[Step | Group] = [group]
    while stack:
        node = stack.pop()
        if isinstance(node, Group):
            found.append((node.role, node.word, len(node.children), node.training))
            stack.extend(reversed(node.children))
            continue
        sources = [place.get(value, ("outside", value)) for value in node.inputs]
        areas = [sizes(shape) for shape in (*node.input_shapes, node.shape)]
        found.append((node.op, sources, areas, node.training))
        place[node.output] = len(place)
    return found


def _is_light(step: Step) -> bool:
    return step.op.family in _LIGHT


def _heading(run: list[Group]) -> Heading:
    first, last = _namesake(run[0]), _namesake(run[-1])
    if first is None or last is None:
        return Heading(copies=len(run))
    end = "" if last is first else last.path
    call = _call(first) if first is run[0] else ""
    return Heading(first.path, end, call, len(run))


def _namesake(group: Group) -> Group | None:
    """Return what a group is known by: itself, or a copy's only part with a name."""
    if group.role in _OWNS_NAMES:
        return group
    parts = [p for p in _flat(group.children, copies=True) if isinstance(p, Group)]
    named = [part for part in parts if part.role in _OWNS_NAMES]
    return named[0] if len(named) == 1 else None


def _call(group: Group) -> str:
    """Return ``bottleneck<64, stride = 2>``, without what is left at its default."""
    if group.role != "block":
        return ""
    arguments = ", ".join(_arguments(group.parameters))
    return f"{group.word}<{arguments}>" if arguments else group.word


def _arguments(parameters: Iterable[Parameter]) -> Iterator[str]:
    optional = False
    for parameter in parameters:
        value, default = parameter.value, parameter.default
        optional = optional or default is not None
        # The channels that flow in stand on the edge.
        if parameter.name == "in_channels" or value == default:
            continue
        if not optional:
            yield _value(value)
        # The layers of a block that may be left out are seen in the drawing.
        elif isinstance(value, int | float | str | tuple):
            yield f"{parameter.name} = {_value(value)}"


def _value(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case int():
            return str(int(value))
        case float():
            return f"{float(value):g}"
        case Dims():
            return repr(value)
        case tuple():
            return f"[{', '.join(map(_value, value))}]"
        case _:  # a layer kind, a block, or layers in braces
            return str(value)


def _edges(network: Network, sketch: _Sketch) -> Iterator[Edge]:
    """Yield the edges between what is drawn, in the order of their heads."""
    for step in network.steps():
        if step.output in sketch.drawn_as or step.output in sketch.inside:
            continue
        for value, shape in zip(step.inputs, step.input_shapes, strict=True):
            yield Edge(sketch.source(value), step.output, shape, step.training)
    for port in network.outputs:
        yield Edge(sketch.source(port.value), port, port.shape, port.training)
