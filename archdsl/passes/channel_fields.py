"""Receptive fields of some of a value's channels, if its channels have different ones.

A layer that takes some channels sees what these channels see. They are traced back to
where they were joined, through layers that work on each channel separately, and through
layers that reorder or group channels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Generic, TypeVar

from archdsl.ir.graph import Graph, Node
from archdsl.values import Window, channels, sizes

# Channels are followed back through at most this many layers. Beyond that, the field of
# all channels together is used as an upper bound.
MOST_LAYERS: Final = 200

_Field = TypeVar("_Field")


class ChannelFields(Generic[_Field]):
    """Fields of some channels of a value, traced back to where these were joined.

    Args:
        graph: the network.
        seen_by: the window of each node.
        known: the field of each value, over all its channels.
        behind: computes the field after a layer from the fields of its inputs; an input
            that does not matter is None, and so is the result if its units see nothing.
        bounded: marks a field as an upper bound.
    """

    def __init__(
        self,
        graph: Graph,
        seen_by: Sequence[Window | None],
        known: Mapping[int, _Field],
        behind: Callable[[Node, Window | None, Sequence[_Field | None]], _Field | None],
        bounded: Callable[[_Field], _Field],
    ) -> None:
        pairs = zip(graph.nodes, seen_by, strict=True)
        self.makers = {node.output: (node, window) for node, window in pairs}
        self.known = known
        self.behind = behind
        self.bounded = bounded
        self._fields: dict[tuple[int, tuple[int, ...]], _Field | None] = {}
        self._alike: dict[int, bool] = {}

    def field(self, value: int, some: Sequence[int], depth: int = 0) -> _Field | None:
        """Return the field of some channels of a value; None if these see nothing."""
        key = value, tuple(some)
        if key not in self._fields:
            self._fields[key] = self._field(value, some, depth)
        return self._fields[key]

    def _field(self, value: int, some: Sequence[int], depth: int) -> _Field | None:
        node, window = self.makers.get(value, (None, None))
        field = self.known.get(value)
        if node is None or (field is None and not node.op.selects):
            return field
        if field is not None and (
            len(some) == channels(node.shape) or self.is_alike(value)
        ):
            return field
        if _scatters(node) or depth > MOST_LAYERS:
            return None if field is None else self.bounded(field)
        parts = node.op.channels_read(some, node.input_shapes, node.shape)
        pairs = zip(node.inputs[: node.op.sources], parts, strict=False)
        reads = [self.field(v, part, depth + 1) if part else None for v, part in pairs]
        return self.behind(node, window, reads)

    def is_certain(self, node: Node) -> bool:
        """Return whether it is certain what channels after a scattering layer see."""
        grows = channels(node.shape) < channels(node.input_shapes[0])
        return not grows or self.is_alike(node.inputs[0])

    def is_alike(self, value: int) -> bool:
        """Return whether all channels of a value see the same, as far as is known."""
        waiting = [value]
        while waiting:
            value = waiting[-1]
            if value not in self._alike:
                open_ = [v for v in self._sources(value) if v not in self._alike]
                if open_:
                    waiting += open_
                    continue
                self._alike[value] = self._is_alike(value)
            waiting.pop()
        return self._alike[value]

    def _sources(self, value: int) -> tuple[int, ...]:
        """Return the values that decide whether a value's channels see the same."""
        node, _ = self.makers.get(value, (None, None))
        if node is None or _mixes(node):
            return ()
        return node.inputs[: node.op.sources]

    def _is_alike(self, value: int) -> bool:
        node, _ = self.makers.get(value, (None, None))
        if node is None or _mixes(node):
            return True
        sources = self._sources(value)
        if not all([self._alike[source] for source in sources]):
            return False
        if _scatters(node):
            return False
        read = node.op.channels_read((0,), node.input_shapes, node.shape)
        fields = [self.known.get(source) for source in sources]
        together = all(read[: len(sources)])
        return together or all([field == fields[0] for field in fields])


def _mixes(node: Node) -> bool:
    """Return whether each output channel depends on all input channels."""
    if _scatters(node):
        return False
    read = node.op.channels_read((0,), node.input_shapes, node.shape)
    pairs = zip(read, node.input_shapes, strict=True)
    return all([len(part) == channels(shape) for part, shape in pairs])


def _scatters(node: Node) -> bool:
    """Return whether positions become channels, or channels positions."""
    places = (*sizes(node.input_shapes[0]), *sizes(node.shape))
    return node.op.scatters and max(places, default=1) > 1
