"""Builds networks in code, layer by layer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from archdsl.diagnostics import did_you_mean
from archdsl.ir.nodes import Group, Network, Parameter, Port, Step
from archdsl.ir.verify import verify
from archdsl.layer import REQUIRED, Layer, kind, words
from archdsl.source import Source, Span
from archdsl.values import Shape, channels


class NetworkBuilder:
    """Makes a network step by step; values are numbers that it hands out.

        build = NetworkBuilder("Small")
        x = build.input((3, 32, 32))
        with build.group("stem", x):
            x = build.add("conv", x, kernel=(3, 3), width=16, bias=False)
            x = build.add("bn", x)
        y = build.add("conv", x, kernel=(3, 3))
        x = build.add("add", x, y)
        network = build.network(x)

    Layers without a name are called as in a spec: `conv1`, `conv2`, in each group anew.

    Args:
        name: the name of the network.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._span = Span(Source(f"<{name}>", ""), 0, 0)
        self._inputs: list[Port] = []
        self._outputs: list[Port] = []
        self._shapes: dict[int, Shape] = {}
        self._path = ""
        self._parts: list[Step | Group] = []
        self._numbers: Counter[str] = Counter()
        self._statements = 0

    def input(self, shape: Shape, name: str = "x") -> int:
        """Add an input, and return its value.

        Args:
            shape: without the batch: (channels, *sizes) or (features,).
            name: the name of the argument of `forward`, if there are several.
        """
        value = self._new_value(shape)
        self._inputs.append(Port(name=name, value=value, shape=shape))
        return value

    def add(
        self,
        layer: str | Layer,
        *inputs: int,
        name: str = "",
        training: bool = False,
        shortcut: bool = False,
        **arguments: Any,
    ) -> int:
        """Add a layer, and return the value that it makes.

        Args:
            layer: a layer, or the word of its kind: ``"conv"``.
            *inputs: values that it reads.
            name: last part of its path; it makes a functional layer a module.
            training: whether it only serves outputs of the training mode.
            shortcut: whether it projects a residual's input, so that the depth does
                not count it.
            **arguments: of the kind, by name; windows have a size for each axis.

        Raises:
            Mismatch: if the layer does not fit its inputs.
            TypeError: if the kind has no such argument, or needs one that is missing.
            ValueError: if there is no such kind or value, or an argument is out of
                bounds.
        """
        op = _layer(layer, arguments)
        shapes = self._shapes_of(inputs)
        shape = op.shape(*shapes)
        step = self._step(op, name or self._number(op.word), bool(name), inputs, shape)
        step = step.model_copy(update={"training": training})
        if not shortcut:
            self._parts.append(step)
            return step.output
        around = self._group("shortcut", "", self._path, inputs[0], step.output, [step])
        self._parts.append(around)
        return step.output

    def again(self, name: str, *inputs: int) -> int:
        """Add an earlier layer of this group once more, with the same weights.

        Args:
            name: the name of the layer, as given to `add` or as numbered.
            *inputs: values that it reads.

        Raises:
            Mismatch: if the layer does not fit its inputs.
            ValueError: if there is no such layer or value.
        """
        steps = {part.name: part for part in self._parts if isinstance(part, Step)}
        if name not in steps:
            raise ValueError(f"no earlier layer is named {name!r} in this group")
        first = steps[name]
        shape = first.op.shape(*self._shapes_of(inputs))
        step = self._step(first.op, name, first.labelled, inputs, shape)
        self._parts.append(step.model_copy(update={"shared": True}))
        return step.output

    @contextmanager
    def group(self, name: str, value: int) -> Iterator[None]:
        """Make what is added meanwhile the parts of a group that owns their names.

        The value made last flows out of it; no other can be read from outside.

        Args:
            name: last part of the group's path.
            value: what flows in.
        """
        around = self._path, self._parts, self._numbers
        path = f"{self._path}.{name}" if self._path else name
        self._path, self._parts, self._numbers = path, [], Counter()
        self._shapes_of((value,))
        try:
            yield
            parts = self._parts
        finally:
            self._path, self._parts, self._numbers = around
        output = parts[-1].output if parts else value
        self._parts.append(self._group("group", name, path, value, output, parts))

    def output(self, value: int, name: str, *, training: bool = False) -> None:
        """Make a value a further output, besides that of the network.

        Args:
            value: which one.
            name: the output's.
            training: whether it exists only in training mode.
        """
        (shape,) = self._shapes_of((value,))
        port = Port(name=name, value=value, shape=shape, training=training)
        self._outputs.append(port)

    def network(self, value: int) -> Network:
        """Return the network, verified.

        Args:
            value: its main output.

        Raises:
            InvalidNetwork: if it is not valid: for example, if a value is never read,
                or two layers have the same name.
            ValueError: if there is no input or no such value.
        """
        if not self._inputs:
            raise ValueError("a network has an input: call `input` first")
        (shape,) = self._shapes_of((value,))
        first = self._inputs[0].value
        root = self._group("network", "", "", first, value, self._parts)
        main = Port(name="output", value=value, shape=shape)
        further = sorted(self._outputs, key=lambda port: port.training)
        return verify(
            Network(
                name=self._name,
                inputs=tuple(self._inputs),
                outputs=(main, *further),
                root=root.model_copy(update={"word": self._name, "parameters": ()}),
            )
        )

    def _new_value(self, shape: Shape) -> int:
        value = len(self._shapes) + 1
        self._shapes[value] = shape
        return value

    def _shapes_of(self, values: tuple[int, ...]) -> tuple[Shape, ...]:
        for value in values:
            if value not in self._shapes:
                raise ValueError(f"there is no value {value!r} yet")
        return tuple([self._shapes[value] for value in values])

    def _number(self, word: str) -> str:
        taken = {part.name for part in self._parts}
        self._numbers[word] += 1
        while f"{word}{self._numbers[word]}" in taken:
            self._numbers[word] += 1
        return f"{word}{self._numbers[word]}"

    def _step(
        self, op: Layer, name: str, named: bool, inputs: tuple[int, ...], shape: Shape
    ) -> Step:
        self._statements += 1
        return Step(
            name=name,
            path=f"{self._path}.{name}" if self._path else name,
            labelled=named,
            op=op,
            inputs=inputs,
            input_shapes=self._shapes_of(inputs),
            output=self._new_value(shape),
            shape=shape,
            training=False,
            statement=self._statements,
            span=self._span,
        )

    def _group(
        self,
        role: Any,
        name: str,
        path: str,
        entry: int,
        end: int,
        parts: list[Step | Group],
    ) -> Group:
        entry_shape = self._shapes[entry]
        known = Parameter(name="in_channels", value=int(channels(entry_shape)))
        return Group(
            role=role,
            name=name,
            path=path,
            children=tuple(parts),
            parameters=(known,) if role == "group" else (),
            input=entry,
            input_shape=entry_shape,
            output=end,
            shape=self._shapes[end],
            training=bool(parts) and all(part.training for part in parts),
            statement=self._statements,
            span=self._span,
        )


def _layer(layer: str | Layer, arguments: dict[str, Any]) -> Layer:
    """Return a layer of a kind, its arguments checked."""
    if isinstance(layer, Layer):
        return layer.replace(**arguments) if arguments else layer
    found = kind(layer)
    if found is None:
        hint = did_you_mean(layer, words())
        raise ValueError(f"there is no layer kind {layer!r}" + f"; {hint}" * bool(hint))
    unknown = arguments.keys() - found.fields.keys()
    if unknown:
        raise TypeError(f"{layer} has no argument {sorted(unknown)[0]!r}")
    for name, field in found.fields.items():
        if field.default is REQUIRED and name not in arguments:
            raise TypeError(f"{layer} needs {name!r}: {field.help}")
        why = field.refusal(arguments[name]) if name in arguments else ""
        if why:
            raise ValueError(f"{layer}: {name!r} {why}")
    return found(**arguments)
