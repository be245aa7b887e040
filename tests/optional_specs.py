"""Random valid specs whose blocks have optional parts, and are called in several ways.

Flags, numbers and named values decide what a call leaves out or replaces, so most of
these networks have a class that serves calls with different code.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from random import Random
from typing import Final

import archdsl
from tests.registered import with_registered
from tests.sizes import runs_quickly

# Conditions on parameters, and on names that the body defines.
_TESTS: Final = (
    "deep",
    "wide",
    "not deep",
    "stride > 1",
    "stride == 1 and wide",
    "ratio > 0",
    "grown",
    "even != channels",
    "hidden != channels",
    "drop > 0",
)
_LETS: Final = (
    "hidden = 2 * width",
    "even = int(width / 2) * 2",
    "grown = width != channels",
    "inner = hidden if wide else width",
)
_NUMBERS: Final = (
    "width",
    "hidden",
    "inner",
    "even",
    "(hidden if {t} else width)",
    "(width if {t} else 4)",
    "channels",
)
_KEEPING: Final = (
    "relu",
    "bn",
    "conv 3x3",
    "conv 1x1 bias=false",
    "scale 0.5",
    "gelu",
    "dropout 0.3",
    "maxpool 3x3 /1 pad=1",
    "squeeze_excite<4>",
)
_CHANGING: Final = (
    "conv 1x1 {n}",
    "conv 3x3 {n} /{s}",
    "conv 3x3 {n} -> bn -> relu",
    "conv {k} {n} pad=same",
    "conv 3x3 {n} /{s} groups=1 bias=false",
    "maxpool 2x2",
)
_STRIDES: Final = ("1", "stride", "(stride if {t} else 1)", "2")
_KERNELS: Final = ("3x3", "1x1", "(3x3 if {t} else 1x1)")
_WIDTHS: Final = ("4", "8", "6")
_PARAMS: Final = {
    "width": "",
    "stride": "1",
    "deep": "false",
    "wide": "true",
    "ratio": "0",
    "drop": "0.0",
}
_VALUES: Final = {
    "stride": ("1", "2"),
    "deep": ("true", "false"),
    "wide": ("true", "false"),
    "ratio": ("0", "4"),
    "drop": ("0.0", "0.5"),
}
_WORD: Final = re.compile(r"\w+")


class _Writer:
    """Writes one spec, by a seed."""

    def __init__(self, seed: str) -> None:
        self.random = Random(seed)
        self.labels: list[str] = []
        # The parameters of each block.
        self.params: dict[str, list[str]] = {}
        self.count = 0

    def pick(self, options: Sequence[str]) -> str:
        """Return a random text, with its placeholders filled."""
        text = self.random.choice(options)
        for place, inside in (
            ("{n}", _NUMBERS),
            ("{s}", _STRIDES),
            ("{k}", _KERNELS),
            ("{t}", _TESTS),
        ):
            while place in text:
                text = text.replace(place, self.pick(inside), 1)
        return text

    def odds(self, one_in: int) -> bool:
        return not self.random.randrange(one_in)

    def label(self) -> str:
        self.count += 1
        return f"part{self.count}"

    def layer(self) -> str:
        return self.pick(_KEEPING if self.odds(2) else _CHANGING)

    def statement(self, seq: bool) -> str:
        kind = self.random.randrange(10)
        layer, test = self.layer(), self.pick(_TESTS)
        chain = " -> ".join(self.layer() for _ in range(self.random.randint(1, 2)))
        if kind == 0:
            return chain
        if kind <= 2:
            name = "" if seq or self.odds(3) else self.label()
            self.labels += [name] if name else []
            return f"{name}: {layer} if {test}" if name else f"{layer} if {test}"
        if kind == 3:
            return f"if {test} {{ {chain} }}"
        if kind == 4:
            return f"if {test} {{ {chain} }} else {{ {layer} }}"
        if kind == 5:
            drop = ", drop = drop" if self.odds(2) else ""
            mode = self.random.choice(("", "", f"<shortcut = optional{drop}>"))
            return f"residual{mode} {{ {chain} -> {layer} }}"
        if kind == 6 and not seq:
            inside = "; ".join([f"{layer} if {test}", chain])
            return f"{self.label()}: seq {{ {inside} }}"
        if kind == 7 and self.labels and not seq:
            tap = f"@{self.random.choice(self.labels)}"
            merge = self.random.choice(("add", "concat"))
            return f"if {test} {{ {merge} {{ | {tap} }} }}"
        if kind == 8 and not seq:
            second = f" -> {self.pick(_KEEPING)} if {test}"
            return f"concat {{ {layer}{second} | conv 1x1 4 }}"
        if kind == 9 and not seq:
            return self.shortcuts(test)
        return f"{layer} -> {self.pick(_KEEPING)} if {test}"

    def shortcuts(self, test: str) -> str:
        """Return residuals, one of which has an explicit shortcut."""
        width, stride = self.pick(_NUMBERS), self.pick(_STRIDES)
        body = f"conv 3x3 {width} /{stride} -> {self.pick(_KEEPING)}"
        name = "downsample: seq" if self.odds(2) else ""
        inside = (
            f"conv 1x1 {width} /{stride} -> {self.random.choice(('bn', 'identity'))}"
        )
        written = f"residual {{ {body} | {name} {{ {inside} }} }}"
        sides = [f"residual {{ {body} }}", written]
        self.random.shuffle(sides)
        return f"if {test} {{ {sides[0]} }} else {{ {sides[1]} }}"

    def block(self, name: str) -> str:
        seq = self.odds(4)
        self.labels = []
        lines = [self.statement(seq) for _ in range(self.random.randint(2, 4))]
        for let in reversed(_LETS):
            if let.partition(" ")[0] in _words(lines):
                lines.insert(0, let)
        used = _words(lines)
        self.params[name] = [param for param in _PARAMS if param in used]
        shown = [f"{p} = {_PARAMS[p]}" if _PARAMS[p] else p for p in self.params[name]]
        arguments = f"<{', '.join(shown)}>" if shown else ""
        head = f"block {name}{arguments}"
        body = "".join(f"    {line}\n" for line in lines)
        return f"{head}{' seq' if seq else ''} {{\n{body}}}\n"

    def call(self, name: str) -> str:
        given = []
        for param in self.params[name]:
            if param == "width":
                given.append(self.random.choice(_WIDTHS))
            elif self.odds(2):
                given.append(f"{param} = {self.random.choice(_VALUES[param])}")
        return f"{name}<{', '.join(given)}>" if given else name

    def text(self) -> str:
        blocks = "\n".join(self.block(name) for name in ("unit", "other"))
        lines: list[str] = []
        for _ in range(self.random.randint(3, 6)):
            call = self.call(self.random.choice(("unit", "unit", "other")))
            call += self.random.choice(("", "", "", "  x2"))
            if loads(_spec(blocks, [*lines, call])) is not None:
                lines.append(call)
        return _spec(blocks, lines or ["relu"])


def _words(lines: Sequence[str]) -> set[str]:
    return {word for line in lines for word in _WORD.findall(line)}


def _spec(blocks: str, lines: Sequence[str]) -> str:
    body = "".join(f"    {line}\n" for line in lines)
    return f"arch 1\n\n{blocks}\nnetwork Net {{\n    input 4x16x16\n{body}}}\n"


def loads(text: str) -> archdsl.Network | None:
    """Return the network of a spec; None if it is refused or too large to run."""
    try:
        network = archdsl.loads(text, name="drawn.arch")
    except archdsl.SpecError:
        return None
    return network if runs_quickly(network) else None


@cache
def specimen(case: int) -> str:
    """Return the valid spec with a number; one in three has `register` statements."""
    text = _Writer(f"optional {case}").text()
    if case % 3 == 1:
        text = with_registered(text, Random(f"registered {case}"), loads)
    return text
