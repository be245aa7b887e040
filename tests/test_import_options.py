"""Calls of a class that differ by a part are imported as one block with a guard."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import archdsl
from archdsl.backends.importer.options import fit, with_options
from archdsl.backends.importer.spec import (
    SpecBody,
    SpecBraces,
    SpecLine,
    SpecMerge,
    SpecTap,
    SpecWord,
)
from archdsl.backends.importer.trees import form_of


def text_of(*parts: nn.Module, channels: int = 4) -> str:
    """Import some parts in a row, and return the spec; the import verifies it."""
    found = archdsl.from_module(nn.Sequential(*parts), (channels, 16, 16))
    assert "order" in found.compared[0]
    return found.text.partition("block ")[2]


class Gate(nn.Module):
    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(channels, inner, 1)
        self.up = nn.Conv2d(inner, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean((2, 3), keepdim=True)
        return x * self.up(self.down(mean).relu()).sigmoid()


class Unit(nn.Module):
    """A residual unit with parts that not all calls have."""

    def __init__(
        self,
        channels: int,
        width: int,
        stride: int = 1,
        *,
        gate: int = 0,
        act: bool = True,
        inner: int = 1,
    ) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            nn.Conv2d(channels, width, 3, stride, 1, bias=False),
            nn.BatchNorm2d(width),
        )
        self.more = nn.Conv2d(width, width, 3, padding=1)
        if gate:
            self.gate = Gate(width, gate)
        if stride > 1 or channels != width:
            self.short = nn.Sequential(
                nn.AvgPool2d(stride) if stride > 1 else nn.Identity(),
                nn.Conv2d(channels, width, 1),
            )
        self.act = nn.ReLU() if act else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.more(self.convs(x))
        if hasattr(self, "gate"):
            y = self.gate(y)
        y = y + (self.short(x) if hasattr(self, "short") else x)
        return y if self.act is None else self.act(y)


def test_a_shortcut_depends_on_the_shape() -> None:
    text = text_of(Unit(4, 8), Unit(8, 8), Unit(8, 16, 2), Unit(16, 16))
    assert text.count("block ") == 0
    assert "} if stride > 1 or channels != width" in text
    assert "identity if" in text  # so that later numbers stay the same


def test_a_shortcut_for_strides() -> None:
    text = text_of(Unit(4, 8, 2), Unit(8, 8), Unit(8, 16, 2), Unit(16, 16))
    assert text.count("block ") == 0 and "} if stride > 1\n" in text


def test_a_width_of_nothing_is_no_part() -> None:
    text = text_of(Unit(4, 4), Unit(4, 4, gate=2), Unit(4, 4, gate=3))
    assert "gate: gate<gate_width> if gate_width > 0" in text
    assert "gate_width = 0" in text and "unit<gate_width = 3>" in text


def test_a_flag_is_named_for_its_part() -> None:
    text = text_of(*(Unit(4, 4, act=act) for act in (True, False, True)))
    assert "act = true" in text and "relu if act" in text
    assert "unit<act = false>" in text


class Choice(nn.Module):
    def __init__(self, *, large: bool) -> None:
        super().__init__()
        self.first = nn.Conv2d(4, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 4, 1) if large else nn.AvgPool2d(3, 1, 1)
        self.third = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.third(self.second(self.first(x)))
        return found


def test_one_of_two_ways_is_no_option() -> None:
    text = text_of(Choice(large=True), Choice(large=False))
    assert text.count("block ") == 1 and " if " not in text


class Half(nn.Module):
    def __init__(self, act: nn.Module) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), act)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.conv(x)
        return found


def test_no_activation_is_one_too() -> None:
    text = text_of(Half(nn.ReLU()), Half(nn.Identity()))
    assert "act: kind" in text and "half<identity>" in text


class Rounds(nn.Module):
    def __init__(self, count: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 1)
        for n in range(count):
            self.add_module(f"more{n + 1}", nn.Conv2d(4, 4, 3, padding=1))
        self.count = count

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        for n in range(self.count):
            x = self.get_submodule(f"more{n + 1}")(x)
        return x


@pytest.mark.parametrize(
    ("counts", "form"), [((0, 2, 3), "x(count)"), ((0, 1, 1), " if more1")]
)
def test_no_rounds(counts: tuple[int, ...], form: str) -> None:
    text = text_of(*map(Rounds, counts))
    assert text.count("block ") == 0 and form in text


# ---- bodies ------------------------------------------------------------------------


def body(text: str) -> SpecBody:
    """Return a body: letters are layers, `|` ends a line, brackets hold braces."""
    found: list[list[object]] = [[]]
    stack: list[list[list[object]]] = []
    for sign in text:
        if sign == "|":
            found.append([])
        elif sign == "(":
            stack.append(found)
            found = [[]]
        elif sign == ")":
            inner, found = _lines(found), stack.pop()
            found[-1].append(SpecBraces(inner, label="b"))
        else:
            found[-1].append(SpecWord("relu", (("p", ord(sign)),), label=sign))
    return _lines(found)


def _lines(found: list[list[object]]) -> SpecBody:
    return SpecBody(tuple(SpecLine(tuple(items)) for items in found if items))  # type: ignore[arg-type]


def test_random_bodies_fit_what_they_are_part_of() -> None:
    generator = torch.Generator().manual_seed(0)
    whole = "ab|c(de|f)g|h"
    together = 0
    for _ in range(200):
        kept = torch.rand(2, len(whole), generator=generator) < 0.8
        some = [
            body("".join(s for s, k in zip(whole, row, strict=True) if k or s in "()|"))
            for row in kept.tolist()
        ]
        groups = with_options(some)
        together += len(groups) == 1
        for places, made in groups:
            fitted = [fit(made, some[place]) for place in places]
            assert all(one is not None for one in fitted)
            forms = {repr(form_of(one)) for one in fitted if one is not None}
            assert forms == {repr(form_of(made))}
    assert together > 80


def test_what_reads_another_value_is_always_there() -> None:
    plain = body("abcd")
    tapped = SpecBody(
        (
            *plain.lines,
            SpecLine((SpecTap("a"), SpecMerge("add", (SpecBody(), SpecBody())))),
        )
    )
    assert len(with_options([plain, tapped])) == 2
