"""Random valid specs as text: all kinds, merges, taps, repeats, blocks, outputs.

A spec grows statement by statement; a statement that archdsl refuses is dropped. The
result is valid, and small enough to be built and run in milliseconds.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from random import Random
from typing import Protocol, TypeVar

from hypothesis import strategies as st

import archdsl
from archdsl.layer import REQUIRED, Field
from archdsl.values import Shape, show_shape
from tests.registered import with_registered
from tests.sizes import runs_quickly
from tests.strategies import AXES, KINDS

T = TypeVar("T")

_SIZES = re.compile(r"(?<![\dx])(\d)x(\d)(?![\dx])")


class Chooser(Protocol):
    """The source of choices: a seed, or hypothesis, which can shrink its choices."""

    def integer(self, low: int, high: int) -> int: ...

    def pick(self, options: Sequence[T]) -> T: ...


class Rolled:
    """Choices from a seed."""

    def __init__(self, seed: str) -> None:
        self.random = Random(seed)

    def integer(self, low: int, high: int) -> int:
        return self.random.randint(low, high)

    def pick(self, options: Sequence[T]) -> T:
        return self.random.choice(options)


class Drawn:
    """Choices from hypothesis; they shrink to the first option."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw

    def integer(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))

    def pick(self, options: Sequence[T]) -> T:
        return options[self.draw(st.integers(0, len(options) - 1))]


@st.composite
def specs(draw: st.DrawFn) -> str:
    """Return valid specs."""
    text = spec(Drawn(draw), draw(AXES), draw(st.booleans()))
    if draw(st.booleans()):
        text = with_registered(text, Random(draw(st.integers(0, 99))), _load)
    return text


def spec(
    choose: Chooser, axes: int = 2, several: bool = False, parted: bool = False
) -> str:
    """Return a valid spec, of maps with some spatial axes.

    Args:
        choose: the source of choices.
        axes: number of spatial axes.
        several: whether blocks have several inputs.
        parted: whether labelled braces have several outputs.
    """
    return _Writer(choose, axes, several, parted).text()


@cache
def specimen(case: int) -> str:
    """Return the valid spec with a number.

    One in ten has one axis, one in ten has three; in one in five, blocks have several
    inputs; one in three has `register` statements.
    """
    axes = {7: 1, 9: 3}.get(case % 10, 2)
    text = spec(Rolled(f"spec {case}"), axes, several=case % 5 == 3)
    if case % 3 == 1:
        text = with_registered(text, Random(f"registered {case}"), _load)
    return text


def parted(case: int) -> str:
    """Return the valid spec with a number; most have braces with several outputs."""
    return spec(Rolled(f"parted {case}"), {4: 1, 9: 3}.get(case % 10, 2), parted=True)


_MERGES = ("concat", "add", "mul", "difference", "resize", "crop")
_COMMON = ("conv", "conv", "bn", "relu", "maxpool", "avgpool", "dropout")
_PLAIN = tuple(w for w in KINDS if w not in _MERGES)
_VECTOR = ("linear", "relu", "dropout", "layernorm", "gelu", "softmax", "identity")
_KEEPING = (
    "conv 3x3",
    "conv 1x1 -> bn -> relu",
    "bn",
    "relu",
    "conv 5x5 groups=channels",
    "maxpool 3x3 /1 pad=1x1",
    "sigmoid",
    "dropout 0.5",
    "layernorm",
    "conv 3x3 dilation=2x2",
    "scale 0.5",
    "identity",
)


class _Writer:
    """Writes one spec."""

    def __init__(self, choose: Chooser, axes: int, several: bool, parted: bool) -> None:
        self.choose = choose
        self.parted = parted
        self.axes = axes
        self.several = several
        # The number of inputs of blocks, and of labels that stand for calls of them.
        self.inputs: dict[str, int] = {}
        self.blocks: list[str] = []
        self.body: list[str] = []
        self.labels: list[str] = []
        self.calls: list[str] = []
        self.shape: Shape = ()
        self.count = 0
        # Whether the parts of the current block are named by number.
        self.seq = False
        # The names and defaults of the current block's parameters.
        self.params: list[tuple[str, str]] | None = None

    def text(self) -> str:
        choose = self.choose
        channels = choose.pick((4, 3, 2, 8, 1))
        height, width = choose.pick((8, 6, 12, 5, 1)), choose.pick((8, 9, 12, 5, 1))
        vector = choose.integer(0, 9) == 9
        sizes = {1: (3 * width,), 2: (height, width), 3: (4, height, width)}[self.axes]
        self.shape = (channels,) if vector else (channels, *sizes)
        shown = show_shape(self.shape)
        if choose.integer(0, 4) == 4:
            self.body = [f"input one {shown}", f"input two {shown}"]
            merge = choose.pick(("add", "concat", "mul", "difference"))
            first = self._attempt(f"{merge} {{ | @two -> {self._keeping()} }}")
            if not first:
                self._attempt("concat { | @two }")
        else:
            self.body = [f"input {shown}"]
        for _ in range(choose.integer(1, 7)):
            self._attempt(self._statement(2))
            if choose.integer(0, 11) == 11:
                self._output()
        if not any(self._attempt(t) for t in self._endings()):
            self._attempt("identity")
        for _ in range(choose.pick((0, 0, 1, 2))):
            self._output()
        return self._spec()

    def _spec(self, more: Sequence[str] = ()) -> str:
        inputs = [line for line in self.body if line.startswith("input ")]
        layers = [*self.body[len(inputs) :], *more]
        written = [*inputs, *(_with_axes(line, self.axes) for line in layers)]
        lines = "".join(f"    {line}\n" for line in written)
        blocks = "".join(f"{_with_axes(b, self.axes)}\n" for b in self.blocks)
        return f"arch 1\n\n{blocks}network Net {{\n{lines}}}\n"

    def _attempt(self, statement: str) -> bool:
        """Add a statement if it is valid there."""
        network = _load(self._spec([statement]))
        if network is None:
            return False
        self.body.append(statement)
        shape = network.outputs[0].shape
        self.shape = type(shape)(int(n) for n in shape)
        return True

    def _endings(self) -> list[str]:
        if self.choose.integer(0, 1):
            return []
        return ["globalavgpool -> linear 3", "flatten -> linear 2", "linear 3"]

    def _output(self) -> None:
        if not self.labels:
            return
        training = self.choose.pick(("", "training "))
        source, name = self.choose.pick(self.labels), self._name("out")
        chain = self.choose.pick(("relu", "conv 1x1 2", "flatten", "identity", "bn"))
        statement = f"{training}output @{source} -> {name}: {chain}"
        self._attempt(statement)

    # ---- statements

    def _statement(self, depth: int) -> str:
        kind = self.choose.integer(0, 15)
        if self.several and depth and kind in (1, 2, 3):
            return self._call(depth)
        if self.parted and depth and kind in (1, 2, 3) and not self.seq:
            return self._stage(depth)
        if kind <= 4 or depth == 0:
            return self._chain()
        if kind == 5:
            return self._merge(depth)
        if kind == 6:
            return self._residual(depth)
        if kind == 7:
            return self._repeat()
        if kind == 8:
            return self._loop()
        if kind == 9:
            return self._braces(depth)
        if kind == 10:
            return self._condition(depth)
        if kind == 11:
            return self._tap()
        return self._call(depth)

    def _name(self, stem: str) -> str:
        self.count += 1
        return f"{stem}{self.count}"

    def _labelled(self, part: str) -> str:
        if self.seq or self.choose.integer(0, 2):
            return part
        label = self._name("l")
        self.labels.append(label)
        return f"{label}: {part}"

    def _chain(self) -> str:
        parts = [self._layer() for _ in range(self.choose.integer(1, 3))]
        place = self.choose.integer(0, len(parts) - 1)
        parts[place] = self._labelled(parts[place])
        return " -> ".join(parts)

    def _keeping(self) -> str:
        return self.choose.pick(_KEEPING)

    def _branch(self, depth: int) -> str:
        kind = self.choose.integer(0, 5)
        if kind == 0:
            return ""
        if kind <= 2:
            return self._keeping()
        if kind == 3 and self.labels:
            use = self.choose.pick(("@", "@", "same "))
            return f"{use}{self.choose.pick(self.labels)}"
        if kind == 4 and depth > 1:
            return self._merge(depth - 1)
        return self._layer()

    def _merge(self, depth: int) -> str:
        word = self.choose.pick((*_MERGES, "concat", "add"))
        several = word in ("concat", "add", "mul")
        count = self.choose.integer(2, 3 if several else 2)
        branches = [self._branch(depth) for _ in range(count)]
        words = self._arguments(word)
        return self._labelled(f"{words} {{ {' | '.join(branches)} }}")

    def _residual(self, depth: int) -> str:
        body = " -> ".join(self._branch(0) or "relu" for _ in range(2))
        if self.choose.integer(0, 5) == 5:
            body = f"{self._keeping()}  {self._times()}"
        mode = self.choose.pick(("", "", "projection", "optional", "identity"))
        arguments = f"<shortcut = {mode}>" if mode else ""
        own = self.choose.pick(("", "", " | conv 1x1", " | short: conv 1x1 4"))
        return f"residual{arguments} {{ {body}{own if not mode else ''} }}"

    def _repeat(self) -> str:
        times = self._times()
        if self.choose.integer(0, 1):
            return f"{self._keeping()}  {times}"
        name = "" if self.seq else self.choose.pick(("", self._name("r")))
        label = f"{name}: " if name else ""
        self.labels += [f"{name}1"] if name else []
        return f"{label}{{ {self._keeping()} -> {self._layer()} }}  {times}"

    def _times(self) -> str:
        """Return a number of copies; in a block, it may be a parameter."""
        if self.params is None or self.choose.integer(0, 2) == 0:
            return f"x{self.choose.integer(1, 3)}"
        param = f"times_{len(self.params)}"
        self.params.append((param, self.choose.pick(("2", "1", "0"))))
        return self.choose.pick((f"x({param})", f"x({param} + 1)", f"x({param} - 1)"))

    def _loop(self) -> str:
        width = self._name("w")
        layer = self.choose.pick((f"conv 3x3 {width}", f"conv 1x1 (2 * {width}) -> bn"))
        label = "" if self.seq else self.choose.pick(("", f"{self._name('f')}_{{i}}: "))
        values = self.choose.pick(("[4, 6]", "range(1, 4)", "[2 ** k for k in [1, 3]]"))
        head = f"for i, {width} in {values}" if label else f"for {width} in {values}"
        if self.params is not None and self.choose.integer(0, 1):
            label = label and f"{self._name('f')}_{{{width}}}: "
            head = f"for {width} in range({self._times()[2:].rstrip(')') or '2'})"
            layer = self._keeping()
        return f"{head} {{ {label}{layer} }}"

    def _braces(self, depth: int) -> str:
        before, self.labels = self.labels, list(self.labels)
        inner = "; ".join(
            self._statement(depth - 1) for _ in range(self.choose.integer(1, 3))
        )
        self.labels = before
        if self.choose.integer(0, 1):
            parts = [self._layer() for _ in range(self.choose.integer(1, 3))]
            return f"{self._name('s')}: seq {{ {' -> '.join(parts)} }}"
        return f"{self._name('g')}: {{ {inner} }}"

    def _stage(self, depth: int) -> str:
        """Write labelled braces with several outputs, and their readers."""
        before, self.labels = self.labels, list(self.labels)
        name, outputs = self._name("g"), [self._name("o")]
        outputs += [self._name("o")] * self.choose.integer(0, 1)
        lines = [self._statement(depth - 1)]
        for output in outputs:
            last = self.choose.pick(("relu", "conv 1x1", "bn", "conv 3x3 4"))
            source = self.choose.pick(("", f"{self._keeping()} -> "))
            lines.append(f"output {source}{output}: {last}")
            lines.append(self._statement(depth - 1))
        self.labels = before
        labels, parts = [name], [f"{name}: {{ {'; '.join(lines)} }}"]
        if self.choose.integer(0, 3) == 3:
            labels = [f"{name}1", f"{name}2"]
            parts = [f"{parts[0]}  x2"]
        elif self.choose.integer(0, 3) == 3:
            labels.append(self._name("g"))
            parts.append(f"{labels[1]}: same {name}")
        self.labels += labels
        for read in [f"@{label}.{output}" for label in labels for output in outputs]:
            found = self.choose.pick(
                ("concat { | % }", "crop { | % }", "resize { % | }")
            )
            if found.startswith("resize"):
                found = f"concat {{ {self._keeping()} | {found} }}"
            parts.append(found.replace("%", read))
        return "; ".join(parts)

    def _condition(self, depth: int) -> str:
        tests = ["channels > 3", "channels % 2 == 0", "true", "channels == 1"]
        if self.params is not None and self.choose.integer(0, 1):
            self.params.append((f"deep_{len(self.params)}", "true"))
            tests = [self.params[-1][0], f"not {self.params[-1][0]}"]
        test = self.choose.pick(tests)
        then, other = self._keeping(), self._layer()
        if self.choose.integer(0, 1):
            return f"{then} if {test}"
        return f"if {test} {{ {then} }} else {{ {other} }}"

    def _tap(self) -> str:
        if not self.labels:
            return self._chain()
        if self.choose.integer(0, 3) == 0:
            label = self.choose.pick(self.labels)
            return f"{self._keeping()} -> same {label}{self._fed(label)}"
        merge = self.choose.pick(("concat", "add", "mul", "resize", "crop"))
        left = f"@{self.choose.pick(self.labels)}"
        if self.choose.integer(0, 1):
            left += f" -> {self._keeping()}"
        right = self.choose.pick(("", self._keeping()))
        branches = self.choose.pick(((left, right), (right, left)))
        return f"{merge} {{ {branches[0]} | {branches[1]} }}"

    # ---- blocks

    def _call(self, depth: int) -> str:
        if self.params is None and (not self.calls or self.choose.integer(0, 1)):
            self._block(depth)
        if not self.calls:
            return self._chain()
        call = self.choose.pick(self.calls)
        times = self.choose.pick(("", "", "  x2"))
        again = self.choose.pick(("", f" -> {self._feeding()}"))
        known = len(self.labels)
        labelled = self._labelled(call + self._fed(call.partition("<")[0]))
        for label in self.labels[known:]:
            self.inputs[label] = self.inputs.get(call.partition("<")[0], 1)
        return f"{labelled}{again}{times}"

    def _feeding(self) -> str:
        """Return a call of a block, with its further inputs."""
        call = self.choose.pick(self.calls)
        return call + self._fed(call.partition("<")[0])

    def _fed(self, name: str) -> str:
        """Return the inputs for a block with several; empty for others."""
        count = self.inputs.get(name, 1)
        if count == 1:
            return ""
        more = [self._branch(1) or "relu" for _ in range(count - 1)]
        branches = [self._branch(1), *more]
        return f" {{ {' | '.join(branches)} }}"

    def _block(self, depth: int) -> None:
        """Write a block, and calls that set all of its parameters, or few."""
        outer, self.labels, self.params = self.labels, [], []
        name, self.seq = self._name("unit"), self.choose.integer(0, 3) == 3
        lines: list[str] = []
        probe = name
        if self.several:
            lines.append(self._joined(name))
            probe += f" {{ {'| conv 1x1 ' * (self.inputs[name] - 1)}}}"
        for _ in range(self.choose.integer(1, 4)):
            params, labels = list(self.params), list(self.labels)
            line = self._layer() if self.seq else self._statement(depth - 1)
            if self.seq and self.choose.integer(0, 1):
                line = self._repeat()
            self.blocks.append(self._definition(name, [*lines, line]))
            if _load(self._spec([probe])) is None:
                self.params, self.labels = params, labels
            else:
                lines.append(line)
            self.blocks.pop()
        params = self.params
        counts = [param for param, value in params if value.isdigit()]
        if lines and counts:
            # A name that depends on the call.
            line = f"end_{{{self.choose.pick(counts)}}}: {self._keeping()}"
            self.blocks.append(self._definition(name, [*lines, line]))
            if _load(self._spec([probe])) is not None:
                lines.append(line)
            self.blocks.pop()
        if lines:
            self.blocks.append(self._definition(name, lines))
            self.calls += self._calls_of(name, params)
        self.labels, self.params, self.seq = outer, None, False

    def _joined(self, name: str) -> str:
        """Give a block two or three inputs, and return a line that reads them all."""
        self.inputs[name] = count = self.choose.integer(2, 3)
        self.labels += [f"in_{place}" for place in range(count)]
        words = ("concat", "add", "mul", "residual")[: 3 if count == 3 else 4]
        word = self.choose.pick(words)
        branches = ["", *(f"@in_{place}" for place in range(1, count))]
        if self.choose.integer(0, 1):
            branches[1] += f" -> {self._keeping()}"
        return f"{word} {{ {' | '.join(branches)} }}"

    def _definition(self, name: str, lines: Sequence[str]) -> str:
        shown = ", ".join(f"{param} = {value}" for param, value in self.params or ())
        inputs = ", ".join(f"in_{place}" for place in range(self.inputs.get(name, 0)))
        head = f"block {name}{f'<{shown}>' if shown else ''}"
        head += f"{f'({inputs})' if inputs else ''}{' seq' if self.seq else ''}"
        return f"{head} {{\n{''.join(f'    {line}{chr(10)}' for line in lines)}}}\n"

    def _calls_of(self, name: str, params: Sequence[tuple[str, str]]) -> list[str]:
        calls = {name}
        for param, value in params:
            others = [{"true": "false", "false": "true"}.get(value, value)]
            if value.isdigit():
                others = [f"{int(value) * 2}"]
            if param.startswith("times"):
                others = ["0", "1", "2"]
            calls.update(f"{name}<{param} = {other}>" for other in (value, *others))
        return sorted(calls)

    # ---- layers

    def _layer(self) -> str:
        vector = len(self.shape) == 1 and self.choose.integer(0, 2)
        words = _VECTOR if vector else self.choose.pick((_COMMON, _PLAIN))
        return self._arguments(self.choose.pick(words))

    def _arguments(self, word: str) -> str:
        """Return a layer with its required arguments, and some others."""
        words = [word]
        for name, field in KINDS[word].fields.items():
            required = field.default is REQUIRED
            wanted = word == "conv" and name in ("width", "stride")
            if not required and self.choose.integer(0, 2 if wanted else 6) != 1:
                continue
            value = self._value(name, field)
            if field.position == "/":
                words.append(f"/{value}")
            elif required and isinstance(field.position, int):
                words.append(value)
            else:
                words.append(f"{name}={value}")
        return " ".join(words)

    def _value(self, name: str, field: Field) -> str:
        value = self._plain(name, field)
        if self.params is None or field.type == "choice" or self.choose.integer(0, 2):
            return value
        if value in ("channels", "same") or value.startswith("("):
            return value
        param = f"{name}_{len(self.params)}"
        self.params.append((param, value))
        return param

    def _plain(self, name: str, field: Field) -> str:
        pick = self.choose.pick
        if field.type == "window":
            if "same" in field.choices and self.choose.integer(0, 2) == 2:
                return "same"
            odd = pick(("3x3", "1x1", "2x2", "1x3", "3x1", "5x5", "4x2"))
            small = pick(("1x1", "2x2", "1x2", "2x1", "3x3"))
            none = pick(("0x0", "1x1", "1x0", "2x2"))
            return none if not field.minimum else odd if name == "kernel" else small
        if field.type == "int":
            if name == "groups":
                return pick(("1", "2", "channels", "4"))
            least = int(field.minimum or 0)
            values = [v for v in (4, 2, 8, 3, 1, 6, 5, 0) if v >= least]
            computed = ["(channels // 2)", "channels"] if name == "width" else []
            return pick([*map(str, values), *computed])
        options: dict[str, tuple[str, ...]] = {
            "bool": ("true", "false"),
            "choice": field.choices,
            "float": ("0.5", "0.1", "0.25", "0.9", "0.001"),
        }
        return pick(options[field.type])


def _with_axes(text: str, axes: int) -> str:
    """Return layers for images, rewritten for maps with one or three axes."""
    if axes == 2:
        return text
    text = text.replace("bilinear", "linear" if axes == 1 else "trilinear")
    return _SIZES.sub(r"\1" if axes == 1 else r"\1x\1x\2", text)


def _load(text: str) -> archdsl.Network | None:
    try:
        network = archdsl.loads(text, name="drawn.arch")
    except archdsl.SpecError:
        return None
    return network if runs_quickly(network) else None
