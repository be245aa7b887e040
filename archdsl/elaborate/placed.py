"""Layers with their inputs and outputs, and in their places."""

from __future__ import annotations

from typing import Any

from archdsl.layer import Layer
from archdsl.source import Span
from archdsl.values import Shape, Window


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

    def with_bias(self, bias: bool) -> Made:
        """Return the same with a bias or without, which changes no shape."""
        known = self._decided.get(bias)
        if known is None:
            op = self.op.replace(bias=bias)
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


class Placed:
    """A layer in its place.

    Attributes:
        made: the layer, with the shapes of its inputs and its output.
        name: last part of its path.
        path: its full dotted name.
        labelled: whether the spec names it.
        inputs: numbers of the values that it reads.
        output: number of the value that it defines.
        training: whether it is only needed for outputs of the training mode.
        statement: number of the chain that it stands in.
        shared: whether it repeats an earlier layer, with the same weights.
        alias: what it is called then.
        span: its place in the source.
    """

    __slots__ = (
        "alias",
        "inputs",
        "labelled",
        "made",
        "name",
        "output",
        "path",
        "shared",
        "span",
        "statement",
        "training",
    )

    def __init__(
        self,
        made: Made,
        name: str,
        path: str,
        labelled: bool,
        inputs: tuple[int, ...],
        output: int,
        training: bool,
        statement: int,
        shared: bool,
        alias: str,
        span: Span,
    ) -> None:
        self.made = made
        self.name = name
        self.path = path
        self.labelled = labelled
        self.inputs = inputs
        self.output = output
        self.training = training
        self.statement = statement
        self.shared = shared
        self.alias = alias
        self.span = span

    @property
    def op(self) -> Layer:
        """The layer itself."""
        return self.made.op

    def reading(self, inputs: tuple[int, ...]) -> Placed:
        """Return a copy that reads other values."""
        return Placed(
            self.made,
            self.name,
            self.path,
            self.labelled,
            inputs,
            self.output,
            self.training,
            self.statement,
            self.shared,
            self.alias,
            self.span,
        )
