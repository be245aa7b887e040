"""Shipped specs with random mistakes: refused in words or understood, nothing else.

The mistakes are drawn from seeds, so that every run tries the same. A longer hunt:
ARCHDSL_FUZZ=1000 pytest tests/test_fuzz.py -n auto
"""

from __future__ import annotations

import ast
import os
import re
import time
from collections.abc import Callable
from math import prod
from random import Random

import pytest
import torch
from torch import Tensor

import archdsl
from archdsl.backends.torch import foreign_names
from archdsl.diagnostics import Diagnostic
from archdsl.ir import Network
from archdsl.passes.expect import check_expectations
from archdsl.resources import specs_dir
from archdsl.source import Source
from archdsl.syntax.format import format_source

SPECS = {
    path.relative_to(specs_dir()).as_posix(): path.read_text("utf-8")
    for path in sorted(specs_dir().rglob("*.arch"))
}
CASES = int(os.environ.get("ARCHDSL_FUZZ", "14"))
SECONDS = 2.0
# Elements beyond which torch itself would overflow.
LARGE = 1 << 40

_TOKEN = re.compile(r'"[^"\n]*"|#[^\n]*|\w+|->|//|\*\*|[<>=!]=|\s+|.')
ALL = sorted({t for text in SPECS.values() for t in _TOKEN.findall(text)})
NUMBERS = (
    "0 1 2 3 7 64 -1 0.5 1e9 1_000 2147483647 2147483648 99999999999 3x3 0x0 1x1x1"
)
NOISE = "\0\t\n\r\"#$%&'()*+,-./:;<=>?@[]^_`{|}~ \\aZ09é漢🙂\u00a0\u200b\u202e\ufeff×→"


# ---- mistakes -------------------------------------------------------------------


def tokens(text: str) -> list[str]:
    return _TOKEN.findall(text)


def delete(text: str, random: Random) -> str:
    found = tokens(text)
    del found[random.randrange(len(found))]
    return "".join(found)


def double(text: str, random: Random) -> str:
    found = tokens(text)
    at = random.randrange(len(found))
    return "".join([*found[: at + 1], " ", *found[at:]])


def swap(text: str, random: Random) -> str:
    found = tokens(text)
    a, b = random.randrange(len(found)), random.randrange(len(found))
    found[a], found[b] = found[b], found[a]
    return "".join(found)


def replace(text: str, random: Random) -> str:
    found = tokens(text)
    found[random.randrange(len(found))] = random.choice(ALL)
    return "".join(found)


def rename(text: str, random: Random) -> str:
    """Let a word stand where another one stood, which is often of its kind."""
    words = [m for m in re.finditer(r"[A-Za-z_]\w*", text)]
    place, other = random.choice(words), random.choice(words)
    return text[: place.start()] + other[0] + text[place.end() :]


def misspell(text: str, random: Random) -> str:
    words = [m for m in re.finditer(r"[A-Za-z_]\w{2,}", text)]
    place = random.choice(words)
    at = random.randrange(place.start() + 1, place.end())
    return text[:at] + text[at + 1 :]


def renumber(text: str, random: Random) -> str:
    numbers = [m for m in re.finditer(r"(?<!\w)\d[\d_x.]*", text)]
    if not numbers:
        return text
    place = random.choice(numbers)
    number = random.choice(NUMBERS.split())
    return text[: place.start()] + number + text[place.end() :]


def noise(text: str, random: Random) -> str:
    at = random.randrange(len(text) + 1)
    return text[:at] + random.choice(NOISE) + text[at + random.randrange(2) :]


def drop_line(text: str, random: Random) -> str:
    lines = text.splitlines(keepends=True)
    del lines[random.randrange(len(lines))]
    return "".join(lines)


def move_line(text: str, random: Random) -> str:
    lines = text.splitlines(keepends=True)
    line = lines.pop(random.randrange(len(lines)))
    lines.insert(random.randrange(len(lines) + 1), line)
    return "".join(lines)


def cut(text: str, random: Random) -> str:
    return text[: random.randrange(len(text))]


def graft(text: str, random: Random) -> str:
    """Put some lines of another spec somewhere."""
    other = random.choice(list(SPECS.values())).splitlines(keepends=True)
    at = random.randrange(len(other))
    lines = text.splitlines(keepends=True)
    place = random.randrange(len(lines) + 1)
    lines[place:place] = other[at : at + random.randint(1, 6)]
    return "".join(lines)


MISTAKES: list[Callable[[str, Random], str]] = [
    delete,
    double,
    swap,
    replace,
    rename,
    rename,
    misspell,
    renumber,
    renumber,
    noise,
    drop_line,
    move_line,
    cut,
    graft,
]


def spoil(text: str, random: Random) -> str:
    for _ in range(random.choice((1, 1, 2, 3))):
        text = random.choice(MISTAKES)(text, random) or "\n"
    return text


# ---- what becomes of them -------------------------------------------------------


def check(text: str) -> bool:
    """Check a spec whatever it is; return whether it is one."""
    start = time.process_time()
    try:
        network = archdsl.loads(text, name="spoilt.arch")
    except archdsl.SpecError as error:
        network = None
        assert error.diagnostics
        for diagnostic in error.diagnostics:
            check_diagnostic(diagnostic, text)
    assert time.process_time() - start < SECONDS
    if network is None:
        return False
    for refuted in check_expectations(network, archdsl.analyze(network)):
        check_diagnostic(refuted, text)
    ast.parse(archdsl.emit(network))
    check_module(network)
    source = Source("spoilt.arch", text)
    assert format_source(Source("again", format_source(source)))
    return True


def check_module(network: Network) -> None:
    """Check that the module has the parameters and shapes that it should have."""
    sizes = [shape for s in network.steps() for shape in (s.shape, *s.input_shapes)]
    analysis = archdsl.analyze(network)
    if foreign_names(network) or max(map(prod, sizes), default=1) > LARGE:
        return
    if analysis.params > LARGE:
        return
    with torch.device("meta"):
        module = archdsl.build(network).eval()
        result = module(*(torch.empty(2, *port.shape) for port in network.inputs))
    results = [result] if isinstance(result, Tensor) else [*result]
    ports = [port for port in network.outputs if not port.training]
    assert [tuple(r.shape) for r in results] == [(2, *p.shape) for p in ports]
    assert sum(p.numel() for p in module.parameters()) == analysis.params


def check_diagnostic(diagnostic: Diagnostic, text: str) -> None:
    """Check that a message is complete, and its place inside the text."""
    assert re.fullmatch(r"A0\d{3}", diagnostic.code)
    assert diagnostic.message and "\n" not in diagnostic.message
    span = diagnostic.span
    if span is not None and span.source.name == "spoilt.arch":
        assert 0 <= span.start <= span.end <= len(text) + 1
        assert span.start <= len(text)
        line, column = span.line, span.column
        assert 1 <= line <= text.count("\n") + 1
        assert 1 <= column <= len(span.source.line(line)) + 2
    shown = diagnostic.render().splitlines()
    assert len(shown) < 80 and all(len(part) < 3000 for part in shown)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", "".join(shown))
    diagnostic.render(color=True)
    diagnostic.as_dict()


@pytest.mark.parametrize("name", SPECS)
def test_spoilt_specs(name: str) -> None:
    for case in range(CASES):
        text = spoil(SPECS[name], Random(f"{name}:{case}"))
        try:
            check(text)
        except Exception as error:
            error.add_note(f"in case {case} of {name}:\n{text}")
            raise


def test_mistakes_are_made_and_found() -> None:
    """Most mistakes matter, and some leave a spec as good as before."""
    understood = [
        check(spoil(SPECS["vgg.arch"], Random(f"vgg:{case}"))) for case in range(40)
    ]
    assert 2 < sum(understood) < 30
