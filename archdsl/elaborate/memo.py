"""A cache for the networks of one spec: their layers, and the layers' outputs."""

from __future__ import annotations

from typing import Any, NamedTuple

from archdsl.elaborate.bind import fields_of, map_axes
from archdsl.elaborate.contexts import Context
from archdsl.elaborate.placed import Made
from archdsl.layer import Field, Layer, kind
from archdsl.syntax import tree as t

# A cache with more entries is emptied: a sweep may go on for days.
_MOST = 100_000


class KnownCall(NamedTuple):
    """A call of a layer kind that was seen before.

    Attributes:
        call: the call. It stays alive with its entry, as its id is the entry's key.
        layer: a layer that it described.
        varying: its arguments that may have other values.
        axes: spatial axes of the layer's windows; None if it has none.
        resized: whether windows are among them.
        steps: steps of work that the literals take.
    """

    call: t.Call
    layer: Layer
    varying: list[tuple[Field, t.Arg]]
    axes: int | None
    resized: bool
    steps: int

    def fits(self, context: Context) -> bool:
        """Return whether windows of the layer have the axes of the map that flows in.

        A number in place of sizes stands for all of them.
        """
        if self.axes is None:
            return not self.resized
        axes = map_axes(context)
        return axes == self.axes or not (axes or self.resized)


class Memo:
    """Layers, with one instance for equal arguments, and their outputs.

    It can serve any number of networks, one after the other, if their numbers are
    plain. Numbers that carry expressions would compare equal although they differ.
    """

    def __init__(self) -> None:
        self._calls: dict[int, KnownCall] = {}
        self._layers: dict[tuple[Any, ...], Layer] = {}
        self._made: dict[int, tuple[Layer, dict[Any, Made]]] = {}
        self._entries = 0

    def begin(self) -> None:
        """Make room for another network, if need be."""
        if self._entries > _MOST:
            self._calls.clear()
            self._layers.clear()
            self._made.clear()
            self._entries = 0

    def of_call(
        self, call: t.Call, wanted: type[Layer] | None, context: Context
    ) -> KnownCall | None:
        """Return what is known of a call.

        Args:
            call: the call.
            wanted: the kind that its word stands for here; None if it always does.
            context: its context.
        """
        known = self._calls.get(id(call))
        if known is None or (wanted is not None and type(known.layer) is not wanted):
            return None
        return known if known.fits(context) else None

    def keep_call(self, call: t.Call, layer: Layer) -> Layer:
        """Return the shared instance of a layer, and record it for the call."""
        if kind(layer.word) is not type(layer):
            return layer  # of a spec's own kind, which is another one in each network
        layer = self.one(layer)
        varying, literals = [], 0
        for field, argument in fields_of(call, type(layer)):
            if _is_literal(argument.value):
                literals += 1
            elif not _is_word(argument.value, field):
                varying.append((field, argument))
        resized = any([field.type == "window" for field, _ in varying])
        axes = layer.axes
        self._calls[id(call)] = KnownCall(call, layer, varying, axes, resized, literals)
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

    def made_by(self, layer: Layer) -> dict[Any, Made] | None:
        """Return the known outputs of a layer, to look up and to extend."""
        known = self._made.get(id(layer))
        if known is None or known[0] is not layer:
            return None
        return known[1]

    def keep(self, known: dict[Any, Made], key: Any, made: Made) -> Made:
        """Enter an output of a layer with those that are known; return it."""
        known[key] = made
        self._entries += 3  # with its decision and its use
        return made


def _is_word(expr: t.Expr, field: Field) -> bool:
    """Return whether an argument is one of the words that its field can be."""
    return isinstance(expr, t.Name) and expr.id in field.choices


def _is_literal(expr: t.Expr) -> bool:
    return isinstance(expr, t.Literal | t.DimsLiteral)
