"""Emitted code of every layer kind: as functions, as modules and in blocks.

Specs are written from the declared fields of each kind: with its required arguments,
and with each other argument in turn, on every sort of shape that it accepts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import nn

import archdsl
from archdsl.backends.torch import modules
from archdsl.layer import REQUIRED, Field, Layer, Mismatch
from archdsl.values import Last, Shape, show_shape
from tests import test_emitted
from tests.conftest import ROOT
from tests.oracle import EMITTED
from tests.strategies import KINDS
from tests.test_emitted import BIN, run

BATCH = 2
# Statements that lead from the input, 8x6x6 or from `INPUTS`, to each sort of shape.
SORTS: dict[str, tuple[str, Shape]] = {
    "map": ("identity", (8, 6, 6)),
    "last": ("permute last", Last((6, 6, 8))),
    "vector": ("flatten", (288,)),
    "image": ("conv 1x1 3", (3, 6, 6)),
    "sequence": ("identity", (8, 6)),
    "volume": ("identity", (8, 4, 5, 6)),
}
INPUTS: dict[str, Shape] = {"sequence": (8, 6), "volume": (8, 4, 5, 6)}
# A class or function that exists for each number of spatial axes.
_RANKED = re.compile(r"[a-z][13]d\b")


class Probe(NamedTuple):
    """A network made of one kind.

    Attributes:
        word: the word of the kind.
        sort: the sort of its input's shape.
        layers: the kind with various arguments.
        text: the spec.
    """

    word: str
    sort: str
    layers: tuple[Layer, ...]
    text: str

    @property
    def id(self) -> str:
        return f"{self.word}_{self.sort}"


def input_of(sort: str) -> Shape:
    """Return the shape of the network's input for a sort."""
    return INPUTS.get(sort, (8, 6, 6))


def _candidates(field: Field, axes: int) -> list[Any]:
    """Return a few values for an argument, without its default."""
    windows: list[Shape] = [(3,) * axes, (2,) * axes, (1,) * axes]
    low = int(field.minimum or 0)
    known: dict[str, list[Any]] = {
        "int": [max(2, low), max(1, low), 4],
        "float": [0.25],
        "bool": [True, False],
        "window": windows + ([(2, 3, 1)[:axes]] if axes > 1 else []),
        "choice": [],
    }
    values = [*field.choices, *known[field.type]]
    return [value for value in values if value != field.default]


def _fits(layer: Layer, shape: Shape) -> bool:
    try:
        layer.shape(*[shape] * (layer.arity or 2))
    except Mismatch:
        return False
    return True


def _variants(word: str, shape: Shape) -> Iterator[Layer]:
    """Yield a kind with its required arguments, then with each other one added."""
    kind = KINDS[word]
    required = [f for f in kind.fields.values() if f.default is REQUIRED]
    axes = 2 if len(shape) == 1 else len(shape) - 1
    for values in product(*(_candidates(field, axes) for field in required)):
        base = kind(**{f.name: v for f, v in zip(required, values, strict=True)})
        if _fits(base, shape):
            break
    else:
        return
    yield base
    for field in kind.fields.values():
        values = _candidates(field, axes) if field not in required else []
        others = (base.replace(**{field.name: value}) for value in values)
        fitting = [layer for layer in others if _fits(layer, shape)]
        yield from fitting[: max(1, len(field.choices))]


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return show_shape(value) if isinstance(value, tuple) else str(value)


def _written(layer: Layer, axes: int, named: bool = False) -> str:
    """Return a layer as text, with names of arguments instead of numbers."""
    words = [layer.word]
    for name, field in layer.fields.items():
        value = getattr(layer, name)
        if _is_default(field, value):
            continue
        text = f"the_{name}" if named and not isinstance(value, str) else _shown(value)
        place = field.position
        words.append(f"/{text}" if place == "/" else f"{name}={text}")
    if layer.arity != 1:
        # If only the shape of the second input is read, it has another size.
        smaller = f"avgpool {show_shape((2,) * axes)}"
        words.append(f"{{ | {smaller} }}" if layer.sources else "{ | @start }")
    return " ".join(words)


def _block(number: int, layer: Layer, axes: int) -> str:
    """Return a block whose parameters are the layer's arguments."""
    names = [f"the_{n}" for n, v in vars(layer).items() if _is_parameter(layer, n, v)]
    text = _written(layer, axes, named=True).replace("@start", "")
    params = f"<{', '.join(names)}>" if names else ""
    return f"block unit{number}{params} {{ {text} }}"


def _is_parameter(layer: Layer, name: str, value: Any) -> bool:
    return not _is_default(layer.fields[name], value) and not isinstance(value, str)


def _is_default(field: Field, value: Any) -> bool:
    default = field.default
    if isinstance(default, tuple) and isinstance(value, tuple):
        default = default[:1] * len(value)
    return bool(value == default)


def _call(number: int, layer: Layer) -> str:
    values = [
        f"the_{n} = {_shown(v)}"
        for n, v in vars(layer).items()
        if _is_parameter(layer, n, v)
    ]
    return f"unit{number}<{', '.join(values)}>" if values else f"unit{number}"


def _part(number: int, layer: Layer, axes: int) -> str:
    """Return the layer in a container, where it is a module if possible."""
    shapes = [shape for _, shape in SORTS.values() if _fits(layer, shape)]
    bare = not all(tensor.name for tensor in layer.tensors(shapes[0]))
    text = _written(layer, axes)
    return f"part{number}: {text}" if bare else f"part{number}: seq {{ {text} }}"


def _spec(layers: tuple[Layer, ...], entry: str, shape: Shape) -> str:
    axes = len(shape) - 1
    numbered = list(enumerate(layers))
    branches = [
        *(f"@start -> {_written(layer, axes)}" for layer in layers),
        *(f"@start -> {_part(n, layer, axes)}" for n, layer in numbered),
        *(f"@start -> {_call(n, layer)}" for n, layer in numbered),
    ]
    blocks = "\n".join(_block(n, layer, axes) for n, layer in numbered)
    joined = "\n      | ".join(f"{branch} -> flatten" for branch in branches)
    return f"""arch 1
{blocks}
network Probe {{
    input {show_shape(shape)}
    start: {entry}
    concat {{
        {joined}
    }}
}}
"""


def _probes() -> Iterator[Probe]:
    for word in KINDS:
        for sort, (entry, shape) in SORTS.items():
            layers = tuple(_variants(word, shape))
            if layers and _is_needed(layers[0], sort, shape):
                yield Probe(word, sort, layers, _spec(layers, entry, input_of(sort)))


def _is_needed(layer: Layer, sort: str, shape: Shape) -> bool:
    """Return whether a sort covers something of a kind that the others do not."""
    if sort == "image":
        return not _fits(layer, SORTS["map"][1])
    if sort in INPUTS:
        inputs = (shape,) * (layer.arity or 2)
        form = layer.torch(inputs, layer.shape(*inputs))
        return bool(layer.windows or _RANKED.search(f"{form}"))
    return True


PROBES = {probe.id: probe for probe in _probes()}
every_probe = pytest.mark.parametrize("probe", PROBES.values(), ids=PROBES)


@cache
def network_of(probe: Probe) -> archdsl.Network:
    return archdsl.loads(probe.text)


@cache
def text_of(probe: Probe) -> str:
    return archdsl.emit(network_of(probe))


def built(probe: Probe) -> nn.Module:
    """Return a new, freshly initialised module."""
    python = modules.module_of(text_of(probe), network_of(probe).name)
    module: nn.Module = modules.network_class(python)()
    return module


def test_every_kind_is_probed() -> None:
    assert {probe.word for probe in PROBES.values()} == set(KINDS)


@every_probe
def test_gives_the_predicted_shape_in_every_form(probe: Probe) -> None:
    network, module = network_of(probe), built(probe).eval()
    with torch.no_grad():
        output = module(torch.rand(BATCH, *input_of(probe.sort)))
    assert tuple(output.shape) == (BATCH, *network.outputs[0].shape)
    if not any(layer.tensors(SORTS[probe.sort][1]) for layer in probe.layers):
        function, in_seq, in_block = output.chunk(3, 1)
        torch.testing.assert_close(in_seq, function, rtol=0, atol=0)
        torch.testing.assert_close(in_block, function, rtol=0, atol=0)


@every_probe
def test_compile(probe: Probe) -> None:
    module = built(probe).train()
    torch.compiler.reset()
    compiled = torch.compile(module, fullgraph=True, backend="eager")
    x = torch.rand(BATCH, *input_of(probe.sort))
    with torch.no_grad():
        torch.manual_seed(0)
        # A run may affect the next one.
        expected = deepcopy(module)(x)
        torch.manual_seed(0)
        found = compiled(x)
    torch.testing.assert_close(found, expected)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return the emitted modules as files of one folder."""
    folder = tmp_path_factory.mktemp("kinds")
    paths = []
    for probe in PROBES.values():
        paths.append(folder / f"{probe.id}.py")
        paths[-1].write_text(text_of(probe), encoding="utf-8")
    return paths


@pytest.mark.parametrize("config", ["--isolated", f"--config={ROOT}/pyproject.toml"])
def test_ruff(files: list[Path], config: str) -> None:
    run(BIN / "ruff", "format", "--check", "--no-cache", config, *files)
    options = ["--ignore=TID", "--extend-select=SIM"]
    run(BIN / "ruff", "check", "--no-cache", config, *options, *files)


@pytest.mark.slow
def test_mypy(files: list[Path], tmp_path: Path) -> None:
    """In one run with the modules of presets, as torch's types take most time.

    The options are the project's, which are strict, so that the cache of `make lint`
    serves here, too.
    """
    for name, emitted in EMITTED.items():
        files = [*files, tmp_path / f"{name}.py"]
        files[-1].write_text(test_emitted.text_of(emitted), encoding="utf-8")
    options = [
        f"--config-file={ROOT / 'pyproject.toml'}",
        f"--cache-dir={ROOT / '.mypy_cache'}",
    ]
    run(BIN / "mypy", *options, *files)
