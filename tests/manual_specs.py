"""Random valid specs, written from the manual alone: docs/language.md, docs/layers.md.

The generator goes from the top down: a file has definitions and a network, a body has
statements, a statement is one of the forms in the manual. Of shapes, it only knows
whether a value is a map; statements that archdsl refuses are dropped. It is independent
of `tests.generated`.

A spec may be followed by a comment with values for its network's parameters.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from functools import cache
from random import Random
from typing import Any, Final, NamedTuple

import archdsl
from tests.registered import with_registered
from tests.sizes import runs_quickly

_MAP_KEEPS: Final = (
    "conv 3x3",
    "conv 3x3",
    "conv 1x1 -> bn",
    "conv 3x3 -> bn -> relu",
    "conv 5x5 groups=channels",
    "conv 2x2 pad=same",
    "conv 3x3 dilation=2 bias=false",
    "convtranspose 3x3 pad=1",
    "wsconv 3x3 gamma=1.5",
    "snconv 3x3",
    "snconvtranspose 3x3 pad=1",
    "conv 3x3 pad_mode=circular",
    "mul { | square -> channelmean -> shift 0.1 -> rsqrt }",
    "mul { l2pool | }",
    "add { | mul { | conv 1x1 1 -> spatialsoftmax } -> sumpool -> upsample 1x1 }",
    "layershift 0.1",
    "bn",
    "bn momentum=0.3",
    "groupnorm 1",
    "instancenorm affine=true",
    "layernorm",
    "layerscale 0.5",
    "relu",
    "relu",
    "tanh",
    "sigmoid",
    "gelu",
    "relu6",
    "leakyrelu 0.2",
    "prelu",
    "prelu per_channel=true",
    "softmax of=2",
    "lrn 3",
    "scale 0.5",
    "identity",
    "dropout 0.3",
    "dropout2d 0.3",
    "alphadropout 0.3",
    "stochasticdepth 0.4",
    "maxpool 3x3 /1 pad=1",
    "avgpool 3x3 /1 pad=1 count_pad=false",
    "shuffle channels",
    "concat { | relu } -> softmax of=2 -> groupsum 2",
    "permute last -> linear channels -> gelu -> permute first",
    "mul { | globalavgpool -> reshape sequence -> conv 3 1 -> flatten -> reshape map }",
)
_MAP_CHANGES: Final = (
    "conv 3x3 {w}",
    "conv 3x3 {w}",
    "conv 1x1 {w} bias=false",
    "conv 1x1 {w} -> bn -> relu",
    "conv 3x3 {w} /{s}",
    "conv 1x3 {w} /2x1 pad=0x1",
    "conv kernel={k} width={w}",
    "maxpool 2x2",
    "maxpool 3x3 /2 pad=1 ceil=true",
    "avgpool 2x2 ceil=true",
    "upsample 2x2",
    "upsample mode=bilinear align=true",
    "upsample size=5x4",
    "convtranspose 2x2 {w} /2",
    "convtranspose 3x3 /2 pad=1 out_pad=1",
    "adaptiveavgpool 1x1",
    "adaptivemaxpool 3x2",
    "zeropad right=1 bottom=1",
    "pixelshuffle 2",
    "pixelunshuffle 2",
    "slice 1",
    "slice 0 (channels // 2)",
    "chunk 2",
    "permute last -> layernorm -> linear {w} -> permute first",
)
_VECTOR_KEEPS: Final = (
    "linear channels",
    "linear channels -> relu",
    "snlinear channels",
    "bn",
    "relu",
    "tanh",
    "dropout",
    "layernorm",
    "layerscale 2",
    "softmax",
    "identity",
    "stochasticdepth 0.5",
    "reshape sequence -> conv 3 2 -> maxpool 1 -> globalmaxpool",
    "reshape map -> bn -> flatten",
)
_VECTOR_CHANGES: Final = ("linear {w}", "linear {w} bias=false -> bn -> relu")
_ENDS: Final = (
    "globalavgpool -> linear 5",
    "globalmaxpool",
    "flatten -> linear {w}",
    "conv 1x1 {w}",
    "bn",
    "conv 3x3",
)
# Values of parameters, by the first letter of their names.
_VALUES: Final = {
    "n": ("1", "0", "2", "3"),
    "w": ("4", "1", "2", "6", "8"),
    "s": ("1", "2"),
    "f": ("true", "false"),
    "k": ("3x3", "1x1", "1x3"),
    "a": ("relu", "gelu", "leakyrelu<slope = 0.3>"),
    "r": ("[4, 2]", "[6]", "[]", "[2, 2, 3]"),
}
_WIDTHS: Final = (
    "channels",
    "(2 * channels)",
    "(2 * {p})",
    "({p} + 1)",
    "(max({p}, channels))",
    "(4 if {f} else {p})",
    "(even({p}))",
)
_FUNCTION: Final = "fn even(n) = n + n % 2\n"
_NUMBERS: Final = (
    "{n}",
    "{n}",
    "{n}",
    "{n} - 1",
    "{n} + 1",
    "{n} // 2",
    "2 - {n}",
    "2 if {f} else {n}",
    "len({r})",
)
_TESTS: Final = (
    "channels > 3",
    "channels == 1",
    "channels % 2 == 0",
    "{f}",
    "not {f}",
    "{n} > 1",
    "{n} == 1",
    "{n} > 0 and {f}",
    "{p} != channels",
    "{p} == channels",
    "channels < {p} or {f}",
    "{n} in [1, 3]",
)
# Sizes of maps with two axes, and their counterparts for one and three axes.
_AXES: Final = {
    1: ((r"\b(\d)x(\d)x(\d)\b", r"\1x\3"), (r"\b(\d)x(\d)\b", r"\2")),
    2: (),
    3: (
        (r"\b(\d)x(\d)x(\d)\b", r"\1x3x\2x\3"),
        (r"\b(\d)x(\d)\b", r"\1x\1x\2"),
        (r"bilinear", "trilinear"),
    ),
}
_INPUTS: Final = (
    "3x8x8",
    "4x7x6",
    "2x9x5",
    "1x6x6",
    "2x1x1",
    "1x1x1",
    "3x1x5",
    "4x4x1",
)


class _Scope:
    """The names that a body can use.

    Attributes:
        params: the parameters of the definition, with their defaults.
        labels: the labels that taps can read.
        outputs: names of the outputs besides the main one.
        vector: whether the input is a vector.
        top: whether it is the network's own body.
    """

    def __init__(self, vector: bool, top: bool) -> None:
        self.params: dict[str, str] = {}
        self.labels: list[str] = []
        self.outputs: list[str] = []
        self.vector = vector
        self.top = top


class _Block(NamedTuple):
    """A block that can be called."""

    name: str
    params: dict[str, str]
    vector: bool
    takes: bool
    inputs: int = 1
    outputs: tuple[str, ...] = ()


@cache
def specimen(case: int) -> str:
    """Return the valid spec with a number; one in three has `register` statements."""
    random = Random(f"manual {case}")
    text = _Writer(random, several=case % 5 == 3, outputs=case % 5 == 4).file()
    if case % 3 == 1:
        text = with_registered(text, Random(f"registered {case}"), _load)
    return text


def params_of(text: str) -> dict[str, Any] | None:
    """Return the parameter values in the comment at the end of a spec."""
    _, found, values = text.rpartition("\n# with ")
    return json.loads(values) if found else None


class _Writer:
    """Writes one spec."""

    def __init__(self, random: Random, several: bool, outputs: bool) -> None:
        self.random = random
        # Whether blocks and labelled braces may have several outputs.
        self.outputs = outputs
        # Whether blocks may have several inputs.
        self.several = several
        self.definitions: list[str] = []
        self.blocks: list[_Block] = []
        self.scope = _Scope(vector=False, top=True)
        self.count = 0
        self.axes = self.some(1, 3, *[2] * 8)

    def file(self) -> str:
        for _ in range(self.some(0, 1, 2, 2)):
            self.block()
        self.scope = _Scope(vector=self.chance(12), top=True)
        shape = self.some("4", "1", "6") if self.scope.vector else self.some(*_INPUTS)
        lines = [f"input {shape}"]
        if self.chance(8):
            lines = [f"input one {shape}", f"input two {shape}", "add { | @two }"]
            self.scope.labels += ["one", "two"]
        self.grow(lines, self.random.randint(2, 6), self.network)
        for _ in range(4 if self.outputs else 0):
            self.attempt(lines, self.several_outputs, self.network)
        for _ in range(3):
            if self.attempt(lines, self.end, self.network):
                break
        if len(lines) == 1:
            lines.append("identity")
        return self.variant(self.network(lines))

    def end(self) -> str:
        return self.layer(_VECTOR_CHANGES if self.scope.vector else _ENDS)

    def variant(self, text: str) -> str:
        """Return a spec with a preset, with a comment of values, or unchanged."""
        names = [name for name in self.scope.params if self.chance(2)]
        drawn = {name: self.some(*self.values(name[0])) for name in names}
        given = ", ".join(f"{name} = {value}" for name, value in drawn.items())
        more = f"\ndefault preset other = Net<{given}>\n" if self.chance(2) else ""
        if not more:
            plain = {n: v for n, v in drawn.items() if n[0] in "nwsfr"}
            values = json.dumps({name: json.loads(v) for name, v in plain.items()})
            more = f"\n# with {values}"
        whole = text + more
        return whole if drawn and _load(whole) else text

    # ---- definitions

    def network(self, lines: Sequence[str]) -> str:
        return self.whole(self.braced("network Net" + self.params(), lines))

    def whole(self, *more: str) -> str:
        """Return a file with all definitions, and the function if one calls it."""
        text = "\n".join([*self.definitions, *more])
        for pattern, sizes in _AXES[self.axes]:
            text = re.sub(pattern, sizes, text)
        return "arch 1\n\n" + (f"{_FUNCTION}\n" if "even(" in text else "") + text

    def params(self) -> str:
        shown = ", ".join(f"{name} = {v}" for name, v in self.scope.params.items())
        return f"<{shown}>" if shown else ""

    def braced(self, head: str, lines: Sequence[str]) -> str:
        return f"{head} {{\n" + "".join(f"    {line}\n" for line in lines) + "}\n"

    def block(self) -> None:
        """Define a block, and keep it if it can be called."""
        self.scope = _Scope(vector=self.chance(10), top=False)
        vector, name, seq = self.scope.vector, self.fresh("unit"), self.chance(6)
        takes = self.chance(6)
        lines: list[str] = []
        inputs = self.some(2, 2, 3, 1) if self.several else 1
        takes = takes and inputs == 1
        names = [self.fresh("p") for _ in range(inputs)] if inputs > 1 else []
        self.scope.labels += names
        fed = ""
        if names:
            reading = [f"@{name}{self.some('', ' -> relu')}" for name in names]
            word = self.some("add", "concat", "mul", "residual"[: 8 * (inputs == 2)])
            lines.append(f"{word or 'add'} {{ {' | '.join(reading)} }}")
            more = " | ".join("identity" for _ in names[1:])
            fed = f" {{ relu | {more} }}".replace(
                "identity | identity", "identity | tanh"
            )

        def text(body: Sequence[str]) -> str:
            params = self.params()
            if takes:
                params = f"{params[:-1]}, " if params else "<"
                params += "body: block = identity>"
                body = [*body, "body"]
            ports = f"({', '.join(names)})" if names else ""
            head = f"block {name}{params}{ports}{' seq' if seq else ''}"
            shape = "4" if vector else "4x6x5"
            reads = [f"output @u.{name}" for name in self.scope.outputs]
            call = f"u: {name}{fed}" if reads else f"{name}{fed}"
            call = self.braced("network Net", [f"input {shape}", call, *reads])
            self.definition = self.braced(head, body)
            return self.whole(self.definition, call)

        self.grow(lines, self.random.randint(1, 4), text)
        for _ in range(3 if self.outputs and not seq else 0):
            if not self.scope.outputs:
                self.attempt(lines, lambda: self.further(2), text)
                self.grow(lines, 1, text)
        if lines and _load(text(lines)):
            self.definitions.append(self.definition)
            known = dict(self.scope.params)
            outputs = tuple(self.scope.outputs)
            self.blocks.append(_Block(name, known, vector, takes, inputs, outputs))

    def grow(
        self, lines: list[str], count: int, text: Callable[[Sequence[str]], str]
    ) -> None:
        for _ in range(count):
            self.attempt(lines, lambda: self.statement(self.some(2, 2, 3)), text)

    def attempt(
        self,
        lines: list[str],
        write: Callable[[], str],
        text: Callable[[Sequence[str]], str],
    ) -> bool:
        """Add a statement if the whole spec stays valid."""
        scope = self.scope
        params, labels = dict(scope.params), list(scope.labels)
        outputs = list(scope.outputs)
        line = write()
        network = _load(text([*lines, line]))
        if network is None:
            scope.params, scope.labels, scope.outputs = params, labels, outputs
            return False
        lines.append(line)
        scope.vector = len(network.outputs[0].shape) == 1
        return True

    # ---- statements

    def statement(self, depth: int) -> str:
        forms = [self.chain] * 4 + [
            self.tap,
            self.tap,
            self.again,
            self.call,
            self.call,
        ]
        forms += [self.let]
        if self.several:
            forms += [self.call] * 6
        if depth:
            forms += [self.braces, self.loop, self.condition, self.merge, self.residual]
            forms += [self.braces, self.loop, self.seq]
        if self.scope.top and depth > 1:
            forms += [self.output]
        if self.outputs:
            forms += [self.call] * 4 + [self.stage] * (2 if depth else 0)
            forms += [self.further] * (2 if depth > 1 and not self.scope.top else 0)
        return self.some(*forms)(depth)

    def body(self, depth: int, most: int = 3) -> str:
        lines = [self.statement(depth - 1) for _ in range(self.random.randint(1, most))]
        return "; ".join(lines)

    def chain(self, depth: int) -> str:
        known = len(self.scope.labels)
        parts = [self.part() for _ in range(self.some(1, 1, 2, 3))]
        # A repeat after a guard would be read as part of the guard.
        return " -> ".join(parts) + self.copies(0 if " if " in parts[-1] else 3, known)

    def part(self) -> str:
        guard = f" if {self.test()}" if self.chance(6) else ""
        layers = self.layer() if not guard else self.layer().split(" -> ")[0]
        return self.label(layers, 3) + guard

    def layer(self, options: Sequence[str] = ()) -> str:
        scope = self.scope
        changes = _VECTOR_CHANGES if scope.vector else _MAP_CHANGES
        keeps = _VECTOR_KEEPS if scope.vector else _MAP_KEEPS
        if not options and self.chance(8):
            return self.name_of(self.some("a", "a", "b"))
        text = self.some(*(options or (changes if self.chance(3) else keeps)))
        if text.startswith("globa") or text.startswith("flatten"):
            scope.vector = True
        return self.filled(text)

    def label(self, text: str, of: int) -> str:
        """Write a label before a layer, with probability 1 / `of`."""
        if not self.chance(of):
            return text
        self.scope.labels.append(self.fresh("v"))
        return f"{self.scope.labels[-1]}: {text}"

    def tap(self, depth: int) -> str:
        """Write a merge with an earlier value, with a label so that more can follow."""
        if not self.scope.labels:
            return self.chain(depth)
        word = self.some("add", "add", "concat", "concat", "mul", "resize", "crop")
        branches = [f"@{self.some(*self.scope.labels)}", self.branch(0)]
        if self.chance(3):
            branches[0] += f" -> {self.layer()}"
        if word in ("add", "concat") and self.chance(3):
            branches.append(f"@{self.some(*self.scope.labels)}")
        self.random.shuffle(branches)
        return self.some_copies(f"{word} {{ {' | '.join(branches)} }}", 2, 6)

    def again(self, depth: int) -> str:
        """Apply an earlier part again, alone or after other layers."""
        if not self.scope.labels:
            return self.label(self.layer(), 1) + f"; same {self.scope.labels[-1]}"
        before = self.some("", "", f"{self.layer()} -> ")
        return f"{before}same {self.some(*self.scope.labels)}" + self.copies(5)

    def call(self, depth: int, plain: bool = False) -> str:
        known = [block for block in self.blocks if block.vector == self.scope.vector]
        if plain:
            known = [block for block in known if not block.outputs]
        elif self.outputs and self.chance(2):
            known = [block for block in known if block.outputs] or known
        if not known:
            return self.chain(depth)
        if self.chance(3):  # rarely with a list
            known = [b for b in known if any(n[0] == "r" for n in b.params)] or known
        block = self.some(*known)
        names = [name for name in block.params if name[0] == "r" or self.chance(2)]
        given = ", ".join(f"{name} = {self.argument(name)}" for name in names)
        text = block.name + (f"<{given}>" if given else "")
        if block.takes and self.chance(2):
            text += f" {{ {self.branch(0) or 'identity'} }}"
        if block.inputs > 1:
            more = [self.branch(0) or self.part() for _ in range(block.inputs - 1)]
            text += f" {{ {' | '.join([self.some('', self.part()), *more])} }}"
        if block.outputs:
            return self.read(self.fresh("v"), text, block.outputs)
        return self.some_copies(text, 3, 5)

    def read(self, label: str, text: str, outputs: Sequence[str]) -> str:
        """Write a part with several outputs, or copies of it, and their readers."""
        copies = self.some(1, 1, 1, 1, 1, 2)
        parts = [f"{label}: {text}" + ("  x2" if copies > 1 else "")]
        labels = [label] if copies == 1 else [f"{label}1", f"{label}2"]
        if copies == 1 and self.chance(4):
            labels.append(self.fresh("v"))
            parts.append(f"{labels[-1]}: same {label}")
        self.scope.labels += labels
        for output in [f"{one}.{name}" for one in labels for name in outputs]:
            if self.chance(12):
                continue  # not read here; a later statement may read it
            self.scope.labels.append(output)
            parts.append(self.reading(output))
        return "; ".join(parts)

    def reading(self, output: str) -> str:
        if self.scope.vector:
            return self.some(f"concat {{ | @{output} }}", f"output @{output}")
        found = self.some(
            f"concat {{ | @{output} }}",
            f"concat {{ | resize {{ @{output} | }} }}",
            f"concat {{ relu | resize {{ @{output} -> {self.layer()} | }} }}",
            f"mul {{ | @{output} -> conv 1x1 1 -> adaptiveavgpool 1x1 -> sigmoid }}",
            f"output @{output}" if self.chance(2) else f"crop {{ | @{output} }}",
        )
        if found.startswith("output") and not self.scope.top:
            self.scope.outputs.append(output.rpartition(".")[2])
        return found

    def further(self, depth: int) -> str:
        """Write an additional output of the block."""
        plain = [n for n in self.scope.labels if n.isidentifier()]
        if plain and self.chance(2):
            self.scope.outputs.append(self.some(*plain))
            return f"output @{self.scope.outputs[-1]}"
        self.scope.outputs.append(self.fresh("o"))
        source = f"@{self.some(*self.scope.labels)} -> " if plain else ""
        return f"output {source}{self.scope.outputs[-1]}: {self.layer()}"

    def several_outputs(self) -> str:
        calls = [self.call] * sum(bool(block.outputs) for block in self.blocks)
        return self.some(self.stage, *calls)(2)

    def stage(self, depth: int) -> str:
        """Write labelled braces with additional outputs."""
        labels, around = list(self.scope.labels), list(self.scope.outputs)
        vector = self.scope.vector
        self.scope.outputs = []
        lines = [self.chain(0), self.further(0), self.statement(depth - 1)]
        if self.chance(3):
            lines.insert(2, self.further(0))
        inner, outputs = "; ".join(lines), self.scope.outputs
        self.scope.labels, self.scope.outputs = labels, around
        self.scope.vector = vector
        return self.read(self.fresh("g"), f"{{ {inner} }}", outputs)

    def argument(self, name: str) -> str:
        """Return a value for a block's parameter: another parameter, or a constant."""
        own = [other for other in self.scope.params if other[0] == name[0]]
        if name[0] == "r" and self.chance(2):
            # A list of the caller's parameters.
            w, n = self.name_of("w"), self.name_of("n")
            return self.some(f"[{w}, 2]", f"range({n})", f"[{n} + 1, {w}]")
        if own and self.chance(2):
            return self.some(*own)
        return self.some(*self.values(name[0]))

    def let(self, depth: int) -> str:
        name = self.fresh("m")
        return f"{name} = {self.filled(self.some(*_WIDTHS))}; conv 1x1 {name}"

    def braces(self, depth: int) -> str:
        before = list(self.scope.labels)
        inner = self.body(depth)
        label = ""
        if self.chance(2):
            self.scope.labels = [*before, self.fresh("g")]
            label = f"{self.scope.labels[-1]}: "
        guard = f" if {self.test()}" if self.chance(6) else ""
        copies = self.copies(0 if guard else 2, len(before))
        return f"{label}{{ {inner} }}{guard}{copies}"

    def seq(self, depth: int) -> str:
        before = list(self.scope.labels)
        parts = [self.layer() + self.copies(6) for _ in range(self.some(1, 2, 3))]
        if self.chance(4):
            parts.append(self.call(0, plain=True).rpartition(": ")[2])
        if self.chance(5):
            parts.append(f"{{ {self.layer()}; {self.layer()} }}{self.copies(2)}")
        if self.chance(4):
            parts.append(f"{self.layer().split(' -> ')[0]} if {self.test()}")
        self.scope.labels = [*before, self.fresh("q")]
        inner = "; ".join(parts)
        return f"{self.scope.labels[-1]}: seq {{ {inner} }}"

    def loop(self, depth: int) -> str:
        before = list(self.scope.labels)
        if self.chance(2):
            stem = self.fresh("k")
            item = self.some(
                "", f"{stem}_{{i}}: ", f"{stem}{{i}}_b: ", f"{stem}.{{i}}: "
            )
            head = f"i in range({self.number()})"
            inner = item + self.layer().split(" -> ")[0]
            before += [item[:-2].replace("{i}", "0")] if item else []
        else:
            head, inner = f"i, w in {self.value('r')}", "conv 1x1 w"
            if self.chance(2):
                inner = f"{self.fresh('k')}_{{i + 1}}: {inner}"
        if self.chance(2):
            inner += f" -> {self.layer()}"
        elif self.chance(2):
            inner += f"; {self.statement(0)}"
        self.scope.labels = before
        return f"for {head} {{ {inner} }}"

    def condition(self, depth: int) -> str:
        before = list(self.scope.labels)
        text = f"if {self.test()} {{ {self.body(1, 2)} }}"
        if self.chance(2):
            text += f" else {{ {self.body(1, 2)} }}"
        self.scope.labels = before
        return text

    def merge(self, depth: int) -> str:
        word = self.some("add", "concat", "mul", "concat", "add", "difference")
        count = self.some(2, 2, 3) if word != "difference" else 2
        branches = [self.branch(depth - 1) for _ in range(count)]
        if self.chance(5):
            branches[0] = f"{self.layer()} for i in range({self.number()})"
        return self.some_copies(f"{word} {{ {' | '.join(branches)} }}", 3, 5)

    def branch(self, depth: int) -> str:
        if self.chance(4):
            return ""
        if self.scope.labels and self.chance(5):
            return f"@{self.some('input', *self.scope.labels)}"
        if depth and self.chance(3):
            return self.statement(depth)
        if self.chance(5):
            return f"{self.layer()}  x({self.number()})"
        return self.part()

    def residual(self, depth: int) -> str:
        mode = self.some("", "", "identity", "projection", "optional", "optional")
        more = self.some("", "", "own")
        arguments = {
            "identity": "",
            "": ", projection = proj",
            "projection": ", before = true",
        }
        words = f"<shortcut = {mode or 'auto'}" if mode or self.chance(3) else ""
        if words:
            extra = arguments.get(mode, ", drop = 0.4") if self.chance(3) else ""
            words += f"{extra}>"
        parts = " -> ".join(self.branch(0) or "relu" for _ in range(self.some(1, 2)))
        inner = self.statement(depth - 1) if self.chance(3) else parts
        own = f" | {self.branch(0)}" if more and not words else ""
        return self.some_copies(f"residual{words} {{ {inner}{own} }}", 3, 5)

    def output(self, depth: int) -> str:
        training = self.some("", "training ")
        source = f"@{self.some(*self.scope.labels)} -> " if self.scope.labels else ""
        return f"{training}output {source}{self.fresh('out')}: {self.layer()}"

    # ---- expressions

    def name_of(self, letter: str) -> str:
        """Return an existing or new parameter with a first letter."""
        params = self.scope.params
        known = [name for name in params if name[0] == letter]
        if known and self.chance(2):
            return self.some(*known)
        name = self.fresh(letter)
        params[name] = self.some(*self.values(letter))
        return name

    def values(self, letter: str) -> Sequence[str]:
        """Return possible values of a parameter, of blocks those defined so far."""
        if letter != "b":
            return _VALUES[letter]
        known = ["tanh"]
        for block in self.blocks:
            if block.vector == self.scope.vector:
                given = [
                    f"{n} = {self.some(*_VALUES[n[0]])}"
                    for n in block.params
                    if n[0] != "b"
                ]
                known += [
                    block.name,
                    f"{block.name}<{given[0]}>" if given else block.name,
                ]
        return known

    def filled(self, text: str) -> str:
        """Replace placeholders in braces by parameters and expressions."""
        for letter in ("w", "s", "k", "n", "f", "r", "p"):
            while (place := f"{{{letter}}}") in text:
                text = text.replace(place, self.value(letter), 1)
        return text

    def value(self, letter: str) -> str:
        """Return a parameter, a plain value or, for a width, an expression."""
        if letter == "p" or letter in "nf" or self.chance(2):
            return self.name_of("w" if letter == "p" else letter)
        if letter == "w" and self.chance(2):
            return self.filled(self.some(*_WIDTHS))
        return self.some(*_VALUES[letter])

    def number(self) -> str:
        """Return a number of repetitions."""
        if self.chance(5):
            return self.some("1", "2", "0")
        return self.filled(self.some(*_NUMBERS))

    def copies(self, of: int = 3, known: int | None = None) -> str:
        """Write a repeat, with probability 1 / `of`; labels get the number of a copy.

        Args:
            of: the inverse of the probability; 0 for never.
            known: number of labels before the repeated part, if it has any.
        """
        if not of or not self.chance(of):
            return ""
        labels = self.scope.labels
        if known is not None:
            labels[known:] = [
                f"{label}{self.some(1, 1, 2)}" for label in labels[known:]
            ]
        return "  x2" if self.chance(3) else f"  x({self.number()})"

    def some_copies(self, text: str, label: int, of: int) -> str:
        """Write a layer with a label and a repeat, each with probability 1 / `of`."""
        known = len(self.scope.labels)
        return self.label(text, label) + self.copies(of, known)

    def test(self) -> str:
        return self.filled(self.some(*_TESTS))

    # ---- choice

    def some(self, *options: Any) -> Any:
        return self.random.choice(options)

    def chance(self, of: int) -> bool:
        """Return true with probability 1 / `of`."""
        return self.random.randrange(of) == 0

    def fresh(self, stem: str) -> str:
        self.count += 1
        return f"{stem}{self.count}"


def _load(text: str) -> archdsl.Network | None:
    try:
        network = archdsl.loads(text, name="drawn.arch", params=params_of(text))
    except archdsl.SpecError:
        return None
    return network if runs_quickly(network) else None
