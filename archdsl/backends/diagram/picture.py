"""The contents of a diagram: nodes, boxes around them, and edges, independent of dot.

With folding, the steps of one chain share a node, consecutive copies that only differ
in names are drawn once, and a box around a single node becomes the heading of that
node. The edges of a step that is not drawn go to the step that represents it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from archdsl.ir import Group, Network, Parameter, Port, Step
from archdsl.values import Dims, Shape, sizes

# They are drawn in the node of the layer before them, or of the one after them at the
# start of a chain.
_LIGHT = frozenset({"norm", "activation", "dropout"})
_OWNS_NAMES = frozenset({"block", "group"})


class Heading(NamedTuple):
    """The name of a group.

    Attributes:
        path: its full name, that of this use if weights are shared; empty if it has
            none.
        last: the full name of the last copy that it represents; empty if there is only
            one.
        call: a block's call, such as ``unit<64>``, or ``same tower``.
        copies: the number of copies that it represents.
    """

    path: str = ""
    last: str = ""
    call: str = ""
    copies: int = 1


class PictureNode(NamedTuple):
    """One or more steps of a chain, with the heading of the group that they form."""

    steps: tuple[Step, ...]
    heading: Heading = Heading()

    @property
    def main(self) -> Step:
        """The step that gives the node its colour and name."""
        return next((s for s in self.steps if not _is_light(s)), self.steps[0])


class Box(NamedTuple):
    """A block, a named group or a run of equal copies, around its parts.

    Attributes:
        heading: its name. parts: its contents.
        training: whether it only serves outputs of the training mode.
        group: the first group that it represents.
        continued: whether its beginning is in another column.
    """

    heading: Heading
    parts: tuple[PicturePart, ...]
    training: bool
    group: Group
    continued: bool = False


class Closed(NamedTuple):
    """A box whose contents are not drawn.

    Attributes:
        heading: what it is called.
        box: the same box when open.
        steps: the drawn steps inside.
        times: the number of copies that it represents, including those of boxes around
            it.
    """

    heading: Heading
    box: Box
    steps: tuple[Step, ...]
    times: int


PicturePart = PictureNode | Box | Closed


class Edge(NamedTuple):
    """An edge between two nodes: a tensor.

    Attributes:
        tail: number of the value, at the step that is drawn for it.
        head: the drawn step that reads it, by its output's number, or the port.
        shape: the shape of the value.
        training: whether the head only serves outputs of the training mode.
        reference: whether the head reads the value's shape alone.
    """

    tail: int
    head: int | Port
    shape: Shape
    training: bool
    reference: bool = False


class Picture(NamedTuple):
    """A diagram that is laid out in one piece.

    Attributes:
        parts: the boxes and nodes between inputs and outputs.
        edges: the edges between inputs, parts and outputs.
        inputs: the input values.
        twins: the steps that each drawn step represents, by its output's number.
    """

    parts: tuple[PicturePart, ...]
    edges: tuple[Edge, ...]
    inputs: tuple[Port, ...]
    twins: Mapping[int, Sequence[Step]]

    def nodes(self) -> Iterator[PictureNode | Closed]:
        """Yield the nodes in boxes and outside."""
        return drawn_nodes(self.parts)

    def rows_crossed(self) -> int:
        """Return how many rows all edges cross, if each node is below its inputs.

        A layout engine's work grows faster than this number.
        """
        first = {s.output: n.steps[0].output for n in self.nodes() for s in n.steps}
        rows: dict[int, int] = {}
        ends: list[tuple[int, int]] = []
        for edge in self.edges:
            tail = first.get(edge.tail, edge.tail)
            below = rows.get(tail, 0) + 1
            if isinstance(edge.head, int):
                head = first[edge.head]
                rows[head] = max(rows.get(head, 0), below)
                ends.append((tail, head))
        return sum([rows[head] - rows.get(tail, 0) for tail, head in ends])


def drawn_nodes(parts: Iterable[PicturePart]) -> Iterator[PictureNode | Closed]:
    """Yield the nodes of parts, those in boxes included, in order."""
    stack = [*parts][::-1]
    while stack:
        part = stack.pop()
        if isinstance(part, Box):
            stack += part.parts[::-1]
        else:
            yield part


class Subject(NamedTuple):
    """A network or a part of one that is to be drawn.

    Attributes:
        name: its name in the title.
        root: the group whose children are drawn.
        inputs: values that are read from outside.
        outputs: values that are read outside.
    """

    name: str
    root: Group
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


def whole_network(network: Network) -> Subject:
    """Return all of a network as a subject."""
    return Subject(network.name, network.root, network.inputs, network.outputs)


def part_of(name: str, group: Group) -> Subject:
    """Return a group as a subject.

    A single output has no port, as it may have many readers; several have their names.
    """
    root = group.model_copy(update={"role": "network", "children": (group,)})
    shapes: dict[int, Shape] = {}
    for step in group.steps():
        shapes.update(zip(step.inputs, step.input_shapes, strict=True))
    made = {step.output for step in group.steps()}
    # The group's input comes first, even if another value is read before it.
    read = sorted((v for v in shapes if v not in made), key=lambda v: v != group.input)
    inputs = tuple(
        Port(
            name=f"in {place}" if place > 1 else "in", value=value, shape=shapes[value]
        )
        for place, value in enumerate(read, 1)
    )
    outputs: tuple[Port, ...] = ()
    if group.extras:
        main = Port(name="output", value=group.output, shape=group.shape)
        outputs = main, *group.extras
    return Subject(name, root, inputs, outputs)


def picture(subject: Network | Subject, *, fold: bool) -> Picture:
    """Return the picture of a subject, with every block open."""
    if isinstance(subject, Network):
        subject = whole_network(subject)
    sketch = _Folded(subject) if fold else _Sketch()
    parts = tuple(sketch.parts(subject.root.children))
    twins: dict[int, list[Step]] = {}
    for step in subject.root.steps():
        twins.setdefault(sketch.source(step.output), []).append(step)
    return Picture(parts, tuple(_edges(subject, sketch)), subject.inputs, twins)


def closed(drawn: Picture, depth: int) -> Picture:
    """Return a picture in which blocks are open down to a depth.

    Named groups that are not blocks stay open, unless the depth is below 0.
    """
    inside: dict[int, int] = {}
    parts = tuple(_closed(drawn.parts, depth, 1, inside))
    if not inside:
        return drawn
    edges: list[Edge] = []
    seen: set[Edge] = set()
    for edge in drawn.edges:
        head = edge.head
        if isinstance(head, int) and head in inside:
            if inside.get(edge.tail) == inside[head]:
                continue
            edge = edge._replace(head=inside[head])
            if edge in seen:
                continue
            seen.add(edge)
        edges.append(edge)
    return drawn._replace(parts=parts, edges=tuple(edges))


def is_block(box: Box) -> bool:
    """Return whether a box is a block of the spec, and not just a group with a name."""
    return box.group.role == "block" or _block_in(box.group)


def _block_in(group: Group) -> bool:
    """Return whether a copy of a repeat only contains a block."""
    found = _namesake(group) if group.role not in _OWNS_NAMES else None
    return found is not None and found.role == "block"


def _closed(
    parts: Iterable[PicturePart], depth: int, times: int, inside: dict[int, int]
) -> Iterator[PicturePart]:
    for part in parts:
        if not isinstance(part, Box):
            yield part
            continue
        copies = times * part.heading.copies
        if depth >= is_block(part) or not part.heading.path:
            # A closed box without a name would show nothing.
            below = depth - is_block(part)
            yield part._replace(parts=tuple(_closed(part.parts, below, copies, inside)))
        else:
            nodes = [*drawn_nodes(part.parts)]
            steps = tuple(step for node in nodes for step in node.steps)
            inside.update((step.output, steps[0].output) for step in steps)
            yield Closed(part.heading, part, steps, copies)


class _Sketch:
    """Draws every step of every copy.

    Attributes:
        drawn_as: for a value whose step is not drawn, the value of the step that
            represents it, which may not be drawn either.
        inside: values whose step follows another one in the same node.
    """

    def __init__(self) -> None:
        self.drawn_as: dict[int, int] = {}
        self.inside: set[int] = set()

    def parts(self, children: Iterable[Step | Group]) -> Iterator[PicturePart]:
        """Yield what stands for the children, in order."""
        for child in _flat(children, copies=False):
            if isinstance(child, Step):
                yield PictureNode((child,))
            else:
                parts = (*self.parts(child.children),)
                if parts:
                    yield Box(_heading([child]), parts, child.training, child)

    def source(self, value: int) -> int:
        """Return the number of the value at the step that is drawn for it."""
        while value in self.drawn_as:
            value = self.drawn_as[value]
        return value


class _Folded(_Sketch):
    """Draws equal copies once, and the steps of a chain as one node."""

    def __init__(self, subject: Subject) -> None:
        super().__init__()
        self.readers: dict[int, list[int]] = {}
        for step in subject.root.steps():
            for value in step.inputs:
                self.readers.setdefault(value, []).append(step.output)
        for port in subject.outputs:
            self.readers.setdefault(port.value, []).append(-1)

    def parts(self, children: Iterable[Step | Group]) -> Iterator[PicturePart]:
        """Yield what stands for the children, in order."""
        chain: list[Step] = []
        for run in self._runs(_flat(children, copies=True)):
            if isinstance(run, Step) and chain and self._joins(chain, run):
                chain.append(run)
                self.inside.add(run.output)
                continue
            if chain:
                yield PictureNode(tuple(chain))
            chain = []
            if isinstance(run, Step):
                chain.append(run)
            else:
                yield from self._box(run)
        if chain:
            yield PictureNode(tuple(chain))

    def _joins(self, chain: list[Step], step: Step) -> bool:
        last = chain[-1]
        return (
            step.statement == last.statement
            and step.inputs == (last.output,)
            and self.readers[last.output] == [step.output]
            and (_is_light(step) or all(map(_is_light, chain)))
        )

    def _box(self, run: list[Group]) -> Iterator[PicturePart]:
        first = run[0]
        for copy in run[1:]:
            for own, drawn in zip(copy.steps(), first.steps(), strict=True):
                self.drawn_as[own.output] = drawn.output
        heading = _heading(run)
        parts = tuple(self.parts(first.children))
        match parts:
            case [PictureNode(steps=steps, heading=Heading(path="", copies=1))]:
                yield PictureNode(steps, heading)
            case []:
                return
            case _:
                yield Box(heading, parts, first.training, first)

    def _runs(self, children: Iterable[Step | Group]) -> Iterator[Step | list[Group]]:
        """Yield steps, and runs of equal groups; and the parts of single copies."""
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
        """Return whether all readers of the group's output are in these two groups."""
        own = [step.output for step in group.steps()]
        allowed = {*own, *(step.output for step in heir.steps())}
        return all(allowed.issuperset(self.readers.get(value, ())) for value in own)


def _flat(children: Iterable[Step | Group], *, copies: bool) -> Iterator[Step | Group]:
    """Yield steps, namespaces and, if asked, copies; and the parts of other groups."""
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
    """Return a key that groups share if they only differ in names and channels."""
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
        found.append((node.op.structure, sources, areas, node.training, node.shared))
        place[node.output] = len(place)
    return found


def _is_light(step: Step) -> bool:
    return step.op.family in _LIGHT


def _heading(run: list[Group]) -> Heading:
    first, last = _namesake(run[0]), _namesake(run[-1])
    if first is None or last is None:
        return Heading(copies=len(run))
    end = "" if last is first else path_of(last)
    call = _call(first, last) if first is run[0] else ""
    return Heading(path_of(first), end, call, len(run))


def _namesake(group: Group) -> Group | None:
    """Return the group whose name is shown: itself, or a copy's only named part."""
    if group.role in _OWNS_NAMES:
        return group
    parts = [p for p in _flat(group.children, copies=True) if isinstance(p, Group)]
    named = [part for part in parts if part.role in _OWNS_NAMES]
    return named[0] if len(named) == 1 else None


def path_of(part: Step | Group) -> str:
    """Return a part's full name; that of this use if its weights are shared."""
    if not part.alias:
        return part.path
    around, dot, _ = part.path.rpartition(".")
    return f"{around}{dot}{part.alias}"


def _call(first: Group, last: Group) -> str:
    """Return ``bottleneck<64, stride = 2>``, without arguments that have their default.

    Arguments that differ between the first and the last copy are shown for both.
    """
    if first.alias:
        return "once more" if first.alias == first.name else f"same {first.name}"
    if first.role != "block":
        return ""
    # Channels of the inputs come first; they are shown at the layers that output them.
    inputs = len(first.ports) or 1
    pairs = first.parameters[inputs:], last.parameters[inputs:]
    arguments = ", ".join(_arguments(*pairs))
    return f"{first.word}<{arguments}>" if arguments else first.word


def _arguments(first: Iterable[Parameter], last: Iterable[Parameter]) -> Iterator[str]:
    optional = False
    for parameter, other in zip(first, last, strict=True):
        value, default = parameter.value, parameter.default
        optional = optional or default is not None
        if value == default == other.value:
            continue
        text = _value(value)
        if value != other.value:
            text += f"…{_value(other.value)}"
        if not optional:
            yield text
        # Optional layers of a block are visible in the drawing.
        elif isinstance(value, int | float | str | tuple):
            yield f"{parameter.name} = {text}"


def _value(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case int():
            return str(int(value))
        case float():
            return f"{float(value):.3g}"
        case Dims():
            return repr(value)
        case tuple():
            return f"[{', '.join(map(_value, value))}]"
        case _:  # a layer kind, a block, or layers in braces
            return str(value)


def _edges(subject: Subject, sketch: _Sketch) -> Iterator[Edge]:
    """Yield the edges between drawn nodes, in the order of their heads."""
    for step in subject.root.steps():
        if step.output in sketch.drawn_as or step.output in sketch.inside:
            continue
        reads = len(step.inputs) if step.op.sources is None else step.op.sources
        pairs = zip(step.inputs, step.input_shapes, strict=True)
        for place, (value, shape) in enumerate(pairs):
            source, reference = sketch.source(value), place >= reads
            yield Edge(source, step.output, shape, step.training, reference)
    for port in subject.outputs:
        yield Edge(sketch.source(port.value), port, port.shape, port.training)
