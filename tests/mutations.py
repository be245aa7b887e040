"""Valid specs with random mistakes, and the expected result.

Each case is a number, the seed of a shipped spec and of mistakes in it. Whatever the
mistakes, the spec must be refused with messages that have places, or describe a network
whose module runs and has the shapes and parameters of the analysis. Either must happen
within two seconds.
"""

from __future__ import annotations

import ast
import re
import time
from collections.abc import Callable
from math import prod
from random import Random
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

import archdsl
from archdsl.backends.torch import foreign_names
from archdsl.diagnostics import Diagnostic
from archdsl.ir import Network
from archdsl.layer import all_kinds
from archdsl.limits import MAX_PARTS
from archdsl.passes.expect import check_expectations
from archdsl.resources import specs_dir
from archdsl.source import Source
from archdsl.syntax.format import format_source
from tests.comparing import emitted_once
from tests.generated import specimen
from tests.oracle import meta
from tests.timing import cpu_seconds, slowness

SPECS = {
    path.relative_to(specs_dir()).as_posix(): path.read_text("utf-8")
    for path in sorted(specs_dir().rglob("*.arch"))
}
NAMES = tuple(SPECS)
SECONDS = 2.0
# Layers above which a network may take longer, in proportion.
MANY = 3000
# Elements beyond which torch itself would overflow.
LARGE = 1 << 40
# Modules with at most as many MACs and elements also run on real tensors.
CHEAP = 3_000_000

_TOKEN = re.compile(r'"[^"\n]*"|#[^\n]*|\w+|->|//|\*\*|[<>=!]=|\s+|.')
ALL = sorted({t for text in SPECS.values() for t in _TOKEN.findall(text)})
NUMBERS = (
    "0 1 2 3 7 64 -1 0.5 1e9 1_000 2147483647 2147483648 99999999999 3x3 0x0 1x1x1"
)
TEMPLATES = (
    "conv 3x3 8",
    "relu",
    "x2",
    "-> bn",
    "@input",
    "if false",
    "residual { conv 3x3 }",
    "concat { | conv 1x1 4 | }",
    "a: seq { relu }",
    "{ relu } x3",
    "expect params > 0",
    "training output head: globalavgpool -> linear 3",
    "input other 3x8x8",
    "for i in range(3) { relu }",
)
NOISE = "\0\t\n\r\"#$%&'()*+,-./:;<=>?@[]^_`{|}~ \\aZ09é漢🙂\u00a0\u200b\u202e\ufeff×→"


FIELDS = {kind.word: tuple(kind.fields) for kind in all_kinds()}
ANY_FIELD = sorted({name for names in FIELDS.values() for name in names})

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
    """Replace a word by another one, often of the same kind."""
    words = [m for m in re.finditer(r"[A-Za-z_]\w*", text)]
    if not words:
        return text
    place, other = random.choice(words), random.choice(words)
    return text[: place.start()] + other[0] + text[place.end() :]


def misspell(text: str, random: Random) -> str:
    words = [m for m in re.finditer(r"[A-Za-z_]\w{2,}", text)]
    if not words:
        return text
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
    """Insert some lines of another spec."""
    other = random.choice(list(SPECS.values())).splitlines(keepends=True)
    at = random.randrange(len(other))
    lines = text.splitlines(keepends=True)
    place = random.randrange(len(lines) + 1)
    lines[place:place] = other[at : at + random.randint(1, 6)]
    return "".join(lines)


def insert(text: str, random: Random) -> str:
    """Insert something well-formed between two tokens."""
    found = tokens(text)
    at = random.randrange(len(found) + 1)
    return "".join([*found[:at], f" {random.choice(TEMPLATES)} ", *found[at:]])


def argue(text: str, random: Random) -> str:
    """Give a layer one more argument, or a call of anything."""
    words = [m for m in re.finditer(r"[a-z]\w*", text)]
    if not words:
        return text
    layers = [m for m in words if m[0] in FIELDS] or words
    place = random.choice(layers if random.randrange(4) else words)
    name = random.choice(FIELDS.get(place[0]) or ANY_FIELD)
    values = (*NUMBERS.split(), "true", "false", "same", "channels", '"text"', "[1, 2]")
    argument = f" {name}={random.choice(values)}"
    return text[: place.end()] + argument + text[place.end() :]


def replace_span(text: str, random: Random) -> str:
    """Put a few tokens of another spec in place of a few of this one."""
    found, other = tokens(text), tokens(random.choice(list(SPECS.values())))
    at, start = random.randrange(len(found)), random.randrange(len(other))
    end = at + random.randint(1, 5)
    return "".join([*found[:at], *other[start : start + 5], *found[end:]])


def shuffle_lines(text: str, random: Random) -> str:
    lines = text.splitlines(keepends=True)
    at = random.randrange(len(lines))
    part = lines[at : at + 6]
    random.shuffle(part)
    return "".join([*lines[:at], *part, *lines[at + 6 :]])


MISTAKES: list[Callable[[str, Random], str]] = [
    delete,
    double,
    swap,
    replace,
    replace_span,
    rename,
    rename,
    misspell,
    renumber,
    renumber,
    renumber,
    noise,
    drop_line,
    move_line,
    shuffle_lines,
    cut,
    graft,
    insert,
    argue,
    argue,
]


def mutate(text: str, random: Random) -> str:
    for _ in range(random.choice((1, 1, 2, 3))):
        text = random.choice(MISTAKES)(text, random) or "\n"
    return text


def mutant(case: int) -> str:
    """Return the shipped spec with mistakes that has a number."""
    return mutate(SPECS[NAMES[case % len(NAMES)]], Random(f"mutant {case}"))


def offspring(case: int) -> str:
    """Return the random spec with mistakes that has a number; two for each spec."""
    return mutate(specimen(case // 2), Random(f"offspring {case}"))


# ---- checking the results -------------------------------------------------------

Fate = Literal["refused", "sound", "built", "ran"]


class Outcome(NamedTuple):
    """The result for a spec.

    Attributes:
        fate: ``refused``; ``sound``, a network that is too large for torch or runs
            foreign code; ``built``, run on the meta device only; or ``ran``, on real
            tensors, too.
        seconds: CPU time of everything except torch.
    """

    fate: Fate
    seconds: float


def examine(text: str) -> Outcome:
    """Check that a spec is refused with reasons, or describes a network that works."""
    with emitted_once():
        return _examine(text)


def _examine(text: str) -> Outcome:
    start = time.process_time()
    network, layers, code = _compile(text)
    seconds = time.process_time() - start
    limit = SECONDS * max(1.0, layers / MANY)
    if seconds >= limit:
        seconds = cpu_seconds(lambda: _compile(text)) / slowness()
    assert seconds < limit, f"took {seconds:.2f} s for {layers} layers"
    if network is None:
        return Outcome("refused", seconds)
    # Mistakes in unused parts do not change the module.
    key = code, tuple((port.name, port.shape) for port in network.inputs)
    if key not in _FATES:
        _FATES[key] = check_module(network)
    return Outcome(_FATES[key], seconds)


_FATES: dict[Any, Fate] = {}


def _compile(text: str) -> tuple[Network | None, int, str]:
    """Return the network of a spec, the number of layers made, and its module."""
    network, layers = _load(text)
    if network is None:
        return None, layers, ""
    analysis = archdsl.analyze(network)
    for refuted in check_expectations(network, analysis):
        check_diagnostic(refuted, text)
    code = archdsl.emit(network)
    ast.parse(code)
    source = Source("mutant.arch", text)
    assert format_source(Source("again", format_source(source)))
    return network, layers, code


def _load(text: str) -> tuple[Network | None, int]:
    """Return the network of a spec, and the number of layers constructed."""
    try:
        network = archdsl.loads(text, name="mutant.arch")
    except archdsl.SpecError as error:
        assert error.diagnostics
        for diagnostic in error.diagnostics:
            check_diagnostic(diagnostic, text)
        return None, MAX_PARTS if any(d.is_limit for d in error.diagnostics) else 0
    return network, sum(1 for _ in network.steps())


def check_module(network: Network) -> Fate:
    """Check that the module runs in both modes, and agrees with the analysis."""
    shapes = [shape for s in network.steps() for shape in (s.shape, *s.input_shapes)]
    analysis = archdsl.analyze(network)
    largest = max(map(prod, shapes), default=1)
    if foreign_names(network) or max(largest, analysis.params) > LARGE:
        return "sound"
    with torch.device("meta"):
        module = archdsl.build(network)
    with meta():
        for training in (False, True):
            run(network, module.train(training), "meta")
    assert sum(p.numel() for p in module.parameters()) == analysis.params
    assert sum(b.numel() for b in module.buffers()) == analysis.buffers
    if max(largest, analysis.params, analysis.macs + analysis.auxiliary.macs) > CHEAP:
        return "built"
    module = archdsl.build(network)
    for training in (False, True):
        run(network, module.train(training), "cpu")
    return "ran"


def run(network: Network, module: nn.Module, device: str) -> None:
    """Run a module, and check the shapes of its outputs."""
    inputs = [torch.ones(2, *port.shape, device=device) for port in network.inputs]
    with torch.no_grad():
        result: Any = module(*inputs)
    results = [result] if isinstance(result, Tensor) else [*result.values()]
    ports = [p for p in network.outputs if module.training or not p.training]
    assert [tuple(r.shape) for r in results] == [(2, *p.shape) for p in ports]


def check_diagnostic(diagnostic: Diagnostic, text: str) -> None:
    """Check that a message is complete, and has a place inside the text."""
    assert re.fullmatch(r"A0\d{3}", diagnostic.code)
    assert diagnostic.message and "\n" not in diagnostic.message
    span = diagnostic.span
    assert span is not None, f"no place: {diagnostic.message}"
    assert span.source.name
    assert 0 <= span.start <= span.end <= len(span.source.text) + 1
    if span.source.name == "mutant.arch":
        assert span.source.text == text
        assert span.start <= len(text)
        line, column = span.line, span.column
        assert 1 <= line <= text.count("\n") + 1
        assert 1 <= column <= len(span.source.line(line)) + 2
    shown = diagnostic.render().splitlines()
    assert any(f":{span.line}:{span.column}" in part for part in shown[:2])
    assert len(shown) < 80 and all(len(part) < 3000 for part in shown)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", "".join(shown))
    diagnostic.render(color=True)
    diagnostic.as_dict()
