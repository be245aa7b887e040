"""Caches of figures: a sweep computes a figure again only if its inputs change.

A cache reduces each network to what its figure may depend on: some properties of each
layer, and the connections. The figure is computed from this reduced network alone, so
networks with equal reduced networks have the same figure. No list of which parameter
affects which figure is needed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator, Sequence
from itertools import count
from typing import Any, Final, Generic, NamedTuple, TypeVar, cast

from archdsl.elaborate.layer_counts import CountedLines, LayerCounts
from archdsl.elaborate.placed import Use
from archdsl.ir import Port
from archdsl.ir.graph import Graph, Node
from archdsl.layer import Layer
from archdsl.passes.depth import DepthNode, depth_of
from archdsl.passes.receptive import ReceptiveField, fields, main_value, reported_field
from archdsl.values import Shape, Window, channels, sizes

# A cache with more entries is emptied, to bound its memory in long sweeps.
_MOST: Final = 100_000

_Found = TypeVar("_Found")


class ReducedLayer(NamedTuple):
    """A layer of a reduced network, whose values are numbered.

    Attributes:
        properties: what `FigureCache.reduce_layer` returned for it.
        inputs: numbers of the values that it reads.
        output: number of the value that it defines.
        shortcut: whether it is on the shortcut of a residual.
    """

    properties: Any
    inputs: tuple[int, ...]
    output: int
    shortcut: bool


class ReducedNetwork(NamedTuple):
    """All properties of a network that a figure may depend on.

    Attributes:
        inputs: what `FigureCache.reduce_input` returned for each input; their values
            have the numbers from 0.
        layers: the layers that run in inference, in order.
        outputs: number of each output of inference, the main one first.
    """

    inputs: tuple[Any, ...]
    layers: list[ReducedLayer]
    outputs: tuple[int, ...]


class FigureCache(ABC, Generic[_Found]):
    """Computes one figure, once for all networks with the same reduced network.

    Equal layers and blocks share a number, so that comparing reduced networks is quick.
    """

    def __init__(self) -> None:
        # Parts store their numbers by it, so that older ones do not count.
        self._time = object()
        self._numbers: dict[Hashable, int] = {}
        self._contents: list[Any] = []
        self._known: dict[Hashable, _Found] = {}

    @abstractmethod
    def reduce_layer(self, use: Use) -> Hashable:
        """Return the properties of a layer that the figure may depend on."""

    def reduce_input(self, shape: Shape) -> Hashable:
        """Return the properties of an input that the figure may depend on."""
        return None

    @abstractmethod
    def compute(self, reduced: ReducedNetwork) -> _Found:
        """Compute the figure of a reduced network."""

    def figure(self, counts: LayerCounts) -> _Found:
        """Return the figure of a network."""
        if len(self._contents) > _MOST:
            FigureCache.__init__(self)
        inputs = tuple([self.reduce_input(shape) for shape in counts.inputs])
        key = self._number(counts.lines), inputs, counts.outputs
        if key not in self._known:
            self._known[key] = self.compute(self._reduced(*key))
        return self._known[key]

    def _reduced(
        self, number: int, inputs: tuple[Any, ...], outputs: tuple[int, ...]
    ) -> ReducedNetwork:
        """Return the reduced network that a key stands for."""
        names = {value: value for value in range(len(inputs))}
        layers = [*_Expansion(self._contents, len(inputs)).of(number, names)]
        numbers = tuple([names[value] for value in outputs])
        return ReducedNetwork(inputs, layers, numbers)

    def _number(self, part: Use | CountedLines) -> int:
        """Return the number of a layer or block, which its reduced form determines."""
        known: int | None = part.facts.get(self._time)
        if known is not None:
            return known
        if isinstance(part, CountedLines):
            numbers = [
                None
                if inner.training
                else inner.facts.get(self._time) or self._number(inner)
                for inner in part.parts
            ]
            number = self._intern((part.wiring, tuple(numbers)))
        else:
            number = self._intern((None, self.reduce_layer(part)))
        part.facts[self._time] = number
        return number

    def _intern(self, content: Hashable) -> int:
        number = self._numbers.setdefault(content, len(self._contents))
        if number == len(self._contents):
            self._contents.append(content)
        return number


class _Expansion:
    """Writes out the blocks of a reduced network, with new numbers for their values."""

    def __init__(self, contents: list[Any], first: int) -> None:
        self.contents = contents
        self.next = count(first)

    def of(
        self, number: int, names: dict[int, int], shortcut: bool = False
    ) -> Iterator[ReducedLayer]:
        """Yield the layers of a list of lines.

        Args:
            number: number of the list.
            names: the numbers of values in the network, by those in the list; it is
                extended.
            shortcut: whether the whole list is on a shortcut.
        """
        wiring, parts = self.contents[number]
        for part, (inputs, output, beside) in zip(parts, wiring.wires, strict=True):
            if part is None:
                continue  # it does not run in inference
            read = tuple([names[value] for value in inputs])
            aside = shortcut or beside
            inner, content = self.contents[part]
            if inner is None:
                names[output] = next(self.next)
                yield ReducedLayer(content, read, names[output], aside)
            else:
                own = {0: read[0]}
                yield from self.of(part, own, aside)
                names[output] = own[inner.result]


# ---- one cache for each figure ----------------------------------------------------


class DepthCache(FigureCache[int]):
    """The depth; it depends on connections, and on which layers have weights."""

    def reduce_layer(self, use: Use) -> Hashable:
        """Return whether a layer has weights."""
        return use.op.weighted

    def compute(self, reduced: ReducedNetwork) -> int:
        """Return the depth."""
        nodes = [
            DepthNode(
                layer.inputs, layer.output, layer.properties and not layer.shortcut
            )
            for layer in reduced.layers
        ]
        return depth_of(range(len(reduced.inputs)), nodes, reduced.outputs)


class ReceptiveFieldCache(FigureCache[ReceptiveField | None]):
    """Receptive fields; they depend on windows and sizes of maps, seldom on channels.

    The pass only needs channels if a layer selects or reorders some. In this case, it
    raises `_NotKept`, and a cache that keeps everything computes the network.
    """

    def __init__(self) -> None:
        super().__init__()
        self._with_channels = _WithChannels()
        self._needs_channels: set[int] = set()

    def figure(self, counts: LayerCounts) -> ReceptiveField | None:
        """Return the receptive field of the last map."""
        number = self._number(counts.lines)
        if number in self._needs_channels:
            return self._with_channels.figure(counts)
        try:
            return super().figure(counts)
        except _NotKept:
            self._needs_channels.add(number)
            return self._with_channels.figure(counts)

    def reduce_input(self, shape: Shape) -> Hashable:
        """Return the size of an input, without its channels."""
        return sizes(shape)

    def reduce_layer(self, use: Use) -> Hashable:
        """Return the window of a layer, and the sizes of its maps."""
        op = use.op
        counted = op.scatters
        shapes = [_reduced_shape(shape, counted) for shape in use.input_shapes]
        return _WithoutChannels(
            use.window,
            op.sources,
            op.selects,
            op.scatters,
            op.opaque(),
            tuple(shapes),
            _reduced_shape(use.shape, counted),
        )

    def compute(self, reduced: ReducedNetwork) -> ReceptiveField | None:
        """Return the receptive field."""
        nodes, windows = [], []
        for kept, inputs, output, _ in reduced.layers:
            op = cast(Layer, _PartialLayer(kept))
            shapes = tuple([_full_shape(each) for each in kept.input_shapes])
            nodes.append(_node(op, inputs, shapes, output, _full_shape(kept.shape)))
            windows.append(kept.window)
        starts = [(_NO_NUMBER, *size) for size in reduced.inputs]
        return _field(starts, nodes, windows, reduced.outputs)


class _WithChannels(FigureCache[ReceptiveField | None]):
    """Receptive fields that depend on channels: everything about a layer is kept."""

    def reduce_input(self, shape: Shape) -> Hashable:
        return shape

    def reduce_layer(self, use: Use) -> Hashable:
        return use

    def compute(self, reduced: ReducedNetwork) -> ReceptiveField | None:
        nodes, windows = [], []
        for use, inputs, output, _ in reduced.layers:
            nodes.append(_node(use.op, inputs, use.input_shapes, output, use.shape))
            windows.append(use.window)
        return _field(reduced.inputs, nodes, windows, reduced.outputs)


class _WithoutChannels(NamedTuple):
    """The properties of a layer that matter if numbers of channels do not.

    Attributes:
        window: the positions of the inputs that a unit of the output reads.
        sources: number of inputs that it reads; None for all.
        selects: see `Layer`.
        scatters: see `Layer`.
        opaque: see `Layer`.
        input_shapes: sizes of its inputs; with the number of channels if it scatters.
        shape: the same for its output.
    """

    window: Window | None
    sources: int | None
    selects: bool
    scatters: bool
    opaque: bool
    input_shapes: tuple[tuple[int | None, ...], ...]
    shape: tuple[int | None, ...]


def _reduced_shape(shape: Shape, counted: bool) -> tuple[int | None, ...]:
    if type(shape) is tuple and not counted:
        return (None, *shape[1:])
    return (channels(shape) if counted else None, *sizes(shape))


def _full_shape(shape: tuple[int | None, ...]) -> Shape:
    count, *size = shape
    return (cast(int, _NO_NUMBER) if count is None else count, *cast(list[int], size))


class _NotKept(Exception):
    """A pass reads a property that its reduced network does not have."""


class _NoNumber:
    """Stands for a number that was not kept: any operation on it raises `_NotKept`."""

    def _refuse(self, *_: object) -> Any:
        raise _NotKept

    __index__ = __int__ = __bool__ = __hash__ = _refuse
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = _refuse
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _refuse
    __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = __neg__ = _refuse


_NO_NUMBER: Final[Any] = _NoNumber()


class _PartialLayer:
    """A layer with the kept properties only; reading another one raises `_NotKept`."""

    def __init__(self, kept: _WithoutChannels) -> None:
        self.sources = kept.sources
        self.selects = kept.selects
        self.scatters = kept.scatters
        self._opaque = kept.opaque

    def opaque(self) -> bool:
        return self._opaque

    def __getattr__(self, name: str) -> Any:
        raise _NotKept(name)


def _node(
    op: Layer,
    inputs: tuple[int, ...],
    input_shapes: tuple[Shape, ...],
    output: int,
    shape: Shape,
) -> Node:
    # No step was kept; a pass that reads from it fails.
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
    network: Any = _NetworkPorts(
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


class _NetworkPorts(NamedTuple):
    """The inputs and outputs of a network, without its layers."""

    inputs: list[Port]
    outputs: list[Port]
