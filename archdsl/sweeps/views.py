"""What a figure depends on, so that a sweep computes it again only if that changes.

A view is all that a figure's pass may look at: of each layer, what its `Eye` takes from
it, and how the layers are wired. The pass runs on the view and sees nothing else of the
network, so networks with equal views have the same figure. Nothing says which parameter
affects which figure.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator, Sequence
from itertools import count
from typing import Any, Final, Generic, NamedTuple, TypeVar, cast

from archdsl.elaborate.layer_counts import CountedLines, LayerCounts, Use
from archdsl.ir import Port
from archdsl.ir.graph import Graph, Node
from archdsl.layer import Layer
from archdsl.passes.depth import Rung, depth_of
from archdsl.passes.receptive import ReceptiveField, fields, main_value, reported_field
from archdsl.values import Shape, Window, channels, sizes

# Beyond that, everything is forgotten: a sweep may go on for days.
_MOST: Final = 100_000

_Found = TypeVar("_Found")


class SeenLayer(NamedTuple):
    """A layer of a view, with the numbers that its values have in the network.

    Attributes:
        what: what the eye took from it.
        inputs: numbers of the values that it reads.
        output: number of the value that it defines.
        shortcut: whether it is on the shortcut of a residual.
    """

    what: Any
    inputs: tuple[int, ...]
    output: int
    shortcut: bool


class NetworkView(NamedTuple):
    """All that a figure may depend on of a network.

    Attributes:
        inputs: what the eye took from each input; they have the numbers from 0.
        layers: the layers that run in inference, in order.
        outputs: number of each output of inference, the main one first.
    """

    inputs: tuple[Any, ...]
    layers: list[SeenLayer]
    outputs: tuple[int, ...]


class Eye(ABC, Generic[_Found]):
    """Takes from networks what one figure depends on, and computes it once for each.

    Equal layers and blocks have one number, so that views are compared quickly.
    """

    def __init__(self) -> None:
        self._numbers: dict[Hashable, int] = {}
        self._contents: list[Any] = []
        self._known: dict[Hashable, _Found] = {}

    @abstractmethod
    def layer(self, use: Use) -> Hashable:
        """Return what the figure may depend on of a layer."""

    def input(self, shape: Shape) -> Hashable:
        """Return what it may depend on of an input."""
        return None

    @abstractmethod
    def compute(self, view: NetworkView) -> _Found:
        """Compute the figure from what was taken."""

    def figure(self, counts: LayerCounts) -> _Found:
        """Return the figure of a network."""
        if len(self._contents) > _MOST:
            Eye.__init__(self)
        inputs = tuple([self.input(shape) for shape in counts.inputs])
        key = self._number(counts.lines), inputs, counts.outputs
        if key not in self._known:
            self._known[key] = self.compute(self._view(*key))
        return self._known[key]

    def _view(
        self, number: int, inputs: tuple[Any, ...], outputs: tuple[int, ...]
    ) -> NetworkView:
        """Return the view that a key stands for."""
        names = {value: value for value in range(len(inputs))}
        layers = [*_Expansion(self._contents, len(inputs)).of(number, names)]
        return NetworkView(inputs, layers, tuple([names[value] for value in outputs]))

    def _number(self, part: Use | CountedLines) -> int:
        """Return the number of all layers or blocks with the same view as this one."""
        known = part.facts.get(self)
        if known is not None and known[0] is self._numbers:
            found: int = known[1]
            return found
        if isinstance(part, CountedLines):
            number = self._intern((self._lines(part), part.result))
        else:
            number = self._intern((None, self.layer(part)))
        part.facts[self] = self._numbers, number
        return number

    def _lines(self, lines: CountedLines) -> tuple[Any, ...]:
        return tuple(
            [
                (self._number(line.of), line.inputs, line.output, line.shortcut)
                for line in lines.items
                if not line.of.training
            ]
        )

    def _intern(self, content: Hashable) -> int:
        number = self._numbers.setdefault(content, len(self._contents))
        if number == len(self._contents):
            self._contents.append(content)
        return number


class _Expansion:
    """Writes out the blocks of a view, with fresh numbers for their values."""

    def __init__(self, contents: list[Any], first: int) -> None:
        self.contents = contents
        self.next = count(first)

    def of(
        self, number: int, names: dict[int, int], shortcut: bool = False
    ) -> Iterator[SeenLayer]:
        """Yield the layers of a list of lines.

        Args:
            number: of the list.
            names: the numbers in the network of those in the list; it is extended.
            shortcut: whether the whole list is on a shortcut.
        """
        view, _ = self.contents[number]
        for part, inputs, output, aside in view:
            read = tuple([names[value] for value in inputs])
            inner, result = self.contents[part]
            if inner is None:
                names[output] = next(self.next)
                yield SeenLayer(result, read, names[output], shortcut or aside)
            else:
                own = {0: read[0]}
                yield from self.of(part, own, shortcut or aside)
                names[output] = own[result]


# ---- the eyes of figures ----------------------------------------------------------


class DepthEye(Eye[int]):
    """For the depth: which layers have weights, and how they are wired."""

    def layer(self, use: Use) -> Hashable:
        """Return whether it has weights."""
        return use.op.weighted

    def compute(self, view: NetworkView) -> int:
        """Return the depth."""
        rungs = [
            Rung(seen.inputs, seen.output, seen.what and not seen.shortcut)
            for seen in view.layers
        ]
        return depth_of(range(len(view.inputs)), rungs, view.outputs)


class FieldEye(Eye[ReceptiveField | None]):
    """For receptive fields: what layers read of maps, without numbers of channels.

    If a layer takes or reorders channels, the pass asks for more than that, and gets
    everything.
    """

    def __init__(self) -> None:
        super().__init__()
        self._whole = _WholeEye()
        self._blind: set[int] = set()

    def figure(self, counts: LayerCounts) -> ReceptiveField | None:
        """Return the receptive field of the last map."""
        number = self._number(counts.lines)
        if number in self._blind:
            return self._whole.figure(counts)
        try:
            return super().figure(counts)
        except _Unseen:
            self._blind.add(number)
            return self._whole.figure(counts)

    def input(self, shape: Shape) -> Hashable:
        """Return its size."""
        return sizes(shape)

    def layer(self, use: Use) -> Hashable:
        """Return its window, and the sizes of maps."""
        op = use.op
        counted = op.scatters
        shapes = [_sight(shape, counted) for shape in use.input_shapes]
        return _Glimpse(
            op.window(use.input_shapes, use.shape),
            op.sources,
            op.selects,
            op.scatters,
            op.opaque(),
            tuple(shapes),
            _sight(use.shape, counted),
        )

    def compute(self, view: NetworkView) -> ReceptiveField | None:
        """Return the receptive field."""
        nodes, windows = [], []
        for what, inputs, output, _ in view.layers:
            op = cast(Layer, _Half(what))
            shapes = tuple([_shape(sight) for sight in what.input_shapes])
            nodes.append(_node(op, inputs, shapes, output, _shape(what.shape)))
            windows.append(what.window)
        starts = [(_UNSEEN, *size) for size in view.inputs]
        return _field(starts, nodes, windows, view.outputs)


class _WholeEye(Eye[ReceptiveField | None]):
    """For receptive fields that depend on channels: everything about each layer."""

    def input(self, shape: Shape) -> Hashable:
        return shape

    def layer(self, use: Use) -> Hashable:
        return use

    def compute(self, view: NetworkView) -> ReceptiveField | None:
        nodes, windows = [], []
        for use, inputs, output, _ in view.layers:
            nodes.append(_node(use.op, inputs, use.input_shapes, output, use.shape))
            windows.append(use.op.window(use.input_shapes, use.shape))
        return _field(view.inputs, nodes, windows, view.outputs)


class _Glimpse(NamedTuple):
    """What a receptive field depends on of a layer, if channels do not matter.

    Attributes:
        window: what a unit reads.
        sources: how many of its inputs it reads; None if all.
        selects: see `Layer`.
        scatters: see `Layer`.
        opaque: see `Layer`.
        input_shapes: sizes of its inputs, after the number of channels if it scatters.
        shape: that of its output.
    """

    window: Window | None
    sources: int | None
    selects: bool
    scatters: bool
    opaque: bool
    input_shapes: tuple[tuple[int | None, ...], ...]
    shape: tuple[int | None, ...]


def _sight(shape: Shape, counted: bool) -> tuple[int | None, ...]:
    return (channels(shape) if counted else None, *sizes(shape))


def _shape(sight: tuple[int | None, ...]) -> Shape:
    count, *size = sight
    return (cast(int, _UNSEEN) if count is None else count, *cast(list[int], size))


class _Unseen(Exception):
    """A pass asks for what its view does not have."""


class _Nothing:
    """A number that is not in a view: whatever is done with it is refused."""

    def _refuse(self, *_: object) -> Any:
        raise _Unseen

    __index__ = __int__ = __bool__ = __hash__ = _refuse
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = _refuse
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _refuse
    __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = __neg__ = _refuse


_UNSEEN: Final[Any] = _Nothing()


class _Half:
    """What a glimpse has of a layer; everything else is refused."""

    def __init__(self, seen: _Glimpse) -> None:
        self.sources = seen.sources
        self.selects = seen.selects
        self.scatters = seen.scatters
        self._opaque = seen.opaque

    def opaque(self) -> bool:
        return self._opaque

    def __getattr__(self, name: str) -> Any:
        raise _Unseen(name)


def _node(
    op: Layer,
    inputs: tuple[int, ...],
    input_shapes: tuple[Shape, ...],
    output: int,
    shape: Shape,
) -> Node:
    # What a view does not have is none, so that reading it fails.
    step: Any = None
    return Node(step, op, inputs, input_shapes, output, shape, False, False, ())


def _field(
    starts: Sequence[Shape],
    nodes: Sequence[Node],
    windows: Sequence[Window | None],
    outputs: Sequence[int],
) -> ReceptiveField | None:
    """Return the field of the last map, as `Analysis.receptive_field` does."""
    shapes = {**dict(enumerate(starts)), **{node.output: node.shape for node in nodes}}
    network: Any = _Ends(
        [Port(name="", value=number, shape=()) for number in range(len(starts))],
        [Port(name="", value=number, shape=()) for number in outputs],
    )
    graph = Graph(network, tuple(nodes), shapes)
    known = fields(graph, windows)
    main = main_value(graph, known)
    if main is None:
        return None
    image = sizes(starts[0])
    return reported_field(known[main], sizes(shapes[main]), image)


class _Ends(NamedTuple):
    """The inputs and outputs of a network whose layers are not known."""

    inputs: list[Port]
    outputs: list[Port]
