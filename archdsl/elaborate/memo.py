"""A cache for the networks of one spec: their layers, and the layers' outputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from archdsl.layer import Layer, kind
from archdsl.syntax import tree as t
from archdsl.values import Shape

# A cache with more entries is emptied: a sweep may go on for days.
_MOST = 100_000


class MemoEntry(NamedTuple):
    """The output of a layer for inputs of some shapes.

    Attributes:
        shape: the output's shape, in plain numbers.
        stride: the layer's stride; 1 if it has none.
    """

    shape: Shape
    stride: int


class Memo:
    """Layers, with one instance for equal arguments, and their outputs.

    It can serve any number of networks, one after the other, if their numbers are
    plain. Numbers that carry expressions would compare equal although they differ.
    """

    def __init__(self) -> None:
        # A call stays alive with its entry, so that its id is not given again.
        self._calls: dict[int, tuple[t.Call, Layer]] = {}
        self._layers: dict[tuple[Any, ...], Layer] = {}
        self._made: dict[int, tuple[Layer, dict[Any, MemoEntry]]] = {}
        self._entries = 0

    def begin(self) -> None:
        """Make room for another network, if need be."""
        if self._entries > _MOST:
            self._calls.clear()
            self._layers.clear()
            self._made.clear()
            self._entries = 0

    def of_call(
        self, call: t.Call, wanted: type[Layer], axes: int | None
    ) -> Layer | None:
        """Return the layer that a call of literals described before.

        Args:
            call: the call.
            wanted: the kind that its word stands for here.
            axes: how many spatial axes its input has; 0 for a vector, None if it is not
                known. A number in place of sizes stands for all of them.
        """
        known = self._calls.get(id(call))
        if known is None or type(known[1]) is not wanted:
            return None
        if axes and wanted.windows and known[1].axes not in (None, axes):
            return None
        return known[1]

    def keep_call(self, call: t.Call, layer: Layer) -> Layer:
        """Return the shared instance of a layer; record it for the call if that is
        constant.
        """
        layer = self.one(layer)
        if call.body is None and all([_is_literal(arg.value) for arg in call.args]):
            self._calls[id(call)] = call, layer
            self._entries += 1
        return layer

    def one(self, layer: Layer) -> Layer:
        """Return the shared instance of all layers equal to this one."""
        if kind(layer.word) is not type(layer):
            return layer  # of a spec's own kind, whose shapes cost work of its budget
        values = vars(layer)
        key = (type(layer), *values.values(), *map(type, values.values()))
        known = self._layers.setdefault(key, layer)
        if known is layer:
            self._made[id(layer)] = layer, {}
            self._entries += 1
        return known

    def made_by(self, layer: Layer) -> dict[Any, MemoEntry] | None:
        """Return the known outputs of a layer, to look up and to extend."""
        known = self._made.get(id(layer))
        if known is None or known[0] is not layer:
            return None
        self._entries += 1
        return known[1]

    def new(self, layer: type[Layer], values: Mapping[str, Any]) -> Layer:
        """Return the shared instance of a kind with some arguments."""
        return self.one(layer(**values))


def _is_literal(expr: t.Expr) -> bool:
    return isinstance(expr, t.Literal | t.DimsLiteral)
