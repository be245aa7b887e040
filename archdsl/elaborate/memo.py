"""A cache for the networks of one spec: their layers, and the layers' outputs."""

from __future__ import annotations

from typing import Any, NamedTuple

from archdsl.elaborate.bind import fields_of
from archdsl.layer import Field, Layer, kind
from archdsl.syntax import tree as t
from archdsl.values import Shape, Window

# A cache with more entries is emptied: a sweep may go on for days.
_MOST = 100_000


class Use:
    """Layers of a network that are equal in everything that their cost depends on.

    Attributes:
        op: the layer.
        input_shapes: shapes of their inputs.
        shape: shape of their outputs.
        window: what a unit of the output sees, as for `Layer.window`.
        training: whether they are only needed for outputs of the training mode.
        shared: whether they repeat earlier layers, with the same weights.
        facts: results that callers store for them.
    """

    __slots__ = (
        "facts",
        "input_shapes",
        "op",
        "shape",
        "shared",
        "training",
        "window",
    )

    def __init__(self, made: Made, training: bool, shared: bool) -> None:
        self.op = made.op
        self.input_shapes = made.input_shapes
        self.shape = made.shape
        self.window = made.window
        self.training = training
        self.shared = shared
        self.facts: dict[Any, Any] = {}


class Made:
    """A layer for inputs of some shapes, with its output.

    Attributes:
        op: the layer.
        input_shapes: shapes of its inputs.
        shape: shape of its output.
        window: what a unit of the output sees, as for `Layer.window`.
        stride: the layer's stride; 1 if it has none.
    """

    __slots__ = (
        "_decided",
        "_uses",
        "input_shapes",
        "op",
        "shape",
        "stride",
        "window",
    )

    def __init__(
        self,
        op: Layer,
        input_shapes: tuple[Shape, ...],
        shape: Shape,
        window: Window | None,
    ) -> None:
        self.op = op
        self.input_shapes = input_shapes
        self.shape = shape
        self.window = window
        self.stride = window.stride[0] if window is not None and window.stride else 1
        self._decided: dict[bool, Made] = {}
        self._uses: dict[tuple[bool, bool], Use] = {}

    def with_bias(self, bias: bool, memo: Memo | None) -> Made:
        """Return the same with a bias or without, which changes no shape."""
        known = self._decided.get(bias)
        if known is None:
            op = self.op.replace(bias=bias)
            op = op if memo is None else memo.one(op)
            known = Made(op, self.input_shapes, self.shape, self.window)
            self._decided[bias] = known
        return known

    def use(self, training: bool, shared: bool) -> Use:
        """Return the shared instance of equal uses of it."""
        key = training, shared
        known = self._uses.get(key)
        if known is None:
            known = self._uses[key] = Use(self, training, shared)
        return known


class KnownCall(NamedTuple):
    """A call of a layer kind that was seen before.

    Attributes:
        call: the call. It stays alive with its entry, as its id is the entry's key.
        layer: a layer that it described.
        varying: its arguments that are no literals, which may have other values.
    """

    call: t.Call
    layer: Layer
    varying: tuple[tuple[Field, t.Arg], ...]


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
        self, call: t.Call, wanted: type[Layer], axes: int | None
    ) -> KnownCall | None:
        """Return what is known of a call.

        Args:
            call: the call.
            wanted: the kind that its word stands for here.
            axes: how many spatial axes its input has; 0 for a vector, None if it is not
                known. A number in place of sizes stands for all of them.
        """
        known = self._calls.get(id(call))
        if known is None or type(known.layer) is not wanted:
            return None
        if axes and wanted.windows and known.layer.axes not in (None, axes):
            return None
        return known

    def keep_call(self, call: t.Call, layer: Layer) -> Layer:
        """Return the shared instance of a layer; record it for the call, unless windows
        are computed there.
        """
        layer = self.one(layer)
        if call.body is None:
            given = fields_of(call, type(layer))
            varying = tuple([one for one in given if not _is_literal(one[1].value)])
            if not any([field.type == "window" for field, _ in varying]):
                self._calls[id(call)] = KnownCall(call, layer, varying)
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
        self._entries += 1
        return made


def _is_literal(expr: t.Expr) -> bool:
    return isinstance(expr, t.Literal | t.DimsLiteral)
