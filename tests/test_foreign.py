"""Layers of the reader's own: an `op` from the spec to a trained module."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import archdsl
from archdsl.backends.torch import ForeignCode, foreign_names
from archdsl.passes.expect import check_expectations
from archdsl.syntax.loader import read_source
from tests.conftest import ROOT
from tests.test_cli import Run, run
from tests.test_docs import refresh

__all__ = ["run"]  # a fixture

FOLDER = ROOT / "examples" / "foreign"
SPEC = FOLDER / "attentive.arch"
GUIDE = ROOT / "docs" / "guides" / "foreign.md"

# By hand: convolutions and norms of the stem, then of each unit with its projection,
# three weights of each attention, one exponent, the classifier.
PARAMS = (
    27 * 16
    + 32
    + (9 * 16 * 16 * 2 + 64 + 3)
    + (9 * 16 * 32 + 9 * 32 * 32 + 128 + 3 + 16 * 32 + 64)
    + (9 * 32 * 64 + 9 * 64 * 64 + 256 + 3 + 32 * 64 + 128)
    + 1
    + 65 * 10
)

MINE = """
from torch import nn


class Gate(nn.Module):
    def __init__(self, channels, width=None, kernel=1, bias=True, factor=1.0):
        super().__init__()
        width = width or channels
        self.conv = nn.Conv2d(channels, width, kernel, padding="same", bias=bias)
        self.factor = factor

    def forward(self, x):
        return self.factor * self.conv(x).sigmoid()


class Squash(nn.Module):
    def forward(self, x):
        return x.sigmoid()
"""


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Let the example's module be found, and forgotten afterwards."""
    monkeypatch.syspath_prepend(str(FOLDER))
    yield SPEC
    sys.modules.pop("attention", None)


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Make two modules that have a class of one name."""
    names = ("mine_first", "mine_second")
    for name in names:
        (tmp_path / f"{name}.py").write_text(MINE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in names:
        sys.modules.pop(name, None)


def disagreements(network: archdsl.Network, module: nn.Module) -> list[str]:
    """Return the layers whose parameters or shapes are not what the spec says."""
    facts = archdsl.analyze(network)
    parts = dict(module.named_modules())
    shapes: dict[str, tuple[int, ...]] = {}

    def watch(name: str) -> None:
        parts[name].register_forward_hook(
            lambda part, inputs, output: shapes.update({name: output.shape[1:]})
        )

    for layer in facts.layers:
        if layer.name in parts:
            watch(layer.name)
    inputs = [torch.zeros(2, *port.shape) for port in facts.inputs]
    module(*inputs)
    found = []
    for layer in facts.layers:
        if layer.name in parts:
            params = sum(p.numel() for p in parts[layer.name].parameters())
            if params != layer.params:
                found.append(f"{layer.name}: {layer.params} stated, {params} found")
            if shapes[layer.name] != layer.output:
                found.append(f"{layer.name}: {layer.output} stated")
    return found


# ---- the example --------------------------------------------------------------------


def test_the_guide_shows_the_example() -> None:
    blocks = list(refresh.blocks(GUIDE.read_text(encoding="utf-8")))
    shown = {block.words[-1]: block.text for block in blocks if block.words}
    for name in ("attention.py", "attentive.arch"):
        assert shown[name] == (FOLDER / name).read_text(encoding="utf-8")


def test_the_example_is_analysed_without_its_module() -> None:
    source = read_source(SPEC)
    assert archdsl.format(source.text) == source.text
    network = archdsl.load(SPEC)
    facts = archdsl.analyze(network)
    assert check_expectations(network, facts) == []
    assert facts.params == PARAMS
    layers = {layer.name: layer for layer in facts.layers}
    eca, gem = layers["unit3.eca1"], layers["gem1"]
    assert (eca.params, eca.macs, eca.output) == (3, 3 * 64, (64, 8, 8))
    assert (gem.params, gem.macs, gem.output) == (1, 0, (64,))
    assert eca.receptive_field is not None and eca.receptive_field.whole
    assert layers["unit1.conv2"].receptive_field is not None
    assert layers["unit1.conv2"].receptive_field.size == (7, 7)
    source_text = archdsl.render(network)
    assert "unit1.eca1: eca" in source_text
    assert "gem1: gem" in source_text
    assert "attention" not in sys.modules


def test_the_example_is_built_only_if_allowed(example: Path) -> None:
    network = archdsl.load(example)
    assert foreign_names(network) == ["attention.ECA", "attention.GeM"]
    with pytest.raises(ForeignCode, match=r"attention\.ECA, attention\.GeM.*allow_fo"):
        archdsl.build(network)
    assert "attention" not in sys.modules
    module = archdsl.build(network, allow_foreign=True)
    assert sum(p.numel() for p in module.parameters()) == PARAMS
    assert disagreements(network, module) == []


def test_the_example_learns(example: Path) -> None:
    torch.manual_seed(0)
    module = archdsl.build(archdsl.load(example), allow_foreign=True)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.05)
    images, classes = torch.randn(8, 3, 32, 32), torch.arange(8)
    losses = []
    for _ in range(12):
        loss = nn.functional.cross_entropy(module(images), classes)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 2
    assert all(p.grad is not None for p in module.parameters())


def test_the_command_line_says_what_is_imported(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "attentive.py"
    code, out, err = run("compile", SPEC, "-o", path)
    assert (code, out) == (0, "")
    note = "the module imports attention.ECA, attention.GeM, which must be found"
    assert err.startswith(note)
    code, out, err = run("compile", SPEC)
    assert (code, out) == (0, path.read_text(encoding="utf-8"))
    assert err.startswith(note)
    assert run("compile", "alexnet").err == ""
    for command in ("check", "analyze", "render"):
        assert run(command, SPEC)[::2] == (0, "")
    assert "attention" not in sys.modules

    def runs(python_path: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(path)],
            env={**os.environ, "PYTHONPATH": python_path},
            capture_output=True,
            text=True,
        )

    assert runs(str(FOLDER)).stdout == "(1, 10)\n"
    assert "No module named 'attention'" in runs("").stderr


# ---- what a spec may state ----------------------------------------------------------

GATED = """arch 1

op gate<width: int, kernel = 3x3, bias = true, factor = 1.0> {
    torch = "mine_first.Gate"
    args = [channels, width, kernel, bias, factor]
    shape = [width, in_height, in_width]
    params = width * (channels * kernel[0] * kernel[1] + (1 if bias else 0))
    macs = width * channels * kernel[0] * kernel[1] * in_height * in_width
}

block unit<width, kernel = 3x3, bias = true> {
    gate width kernel=kernel bias=bias -> relu
    gate (2 * channels) factor=0.5
}

network Net<classes = 5> {
    input 3x9x8
    unit<4>
    unit<6, kernel = 5x3, bias = false>
    last: seq { gate 7 kernel=1x1 -> relu -> gate 8 }
    globalavgpool
    linear classes
}
"""


def test_arguments_of_every_type(mine: Path) -> None:
    network = archdsl.loads(GATED)
    module = archdsl.build(network, allow_foreign=True)
    assert disagreements(network, module) == []
    facts = archdsl.analyze(network)
    assert facts.params == sum(p.numel() for p in module.parameters())
    gate = next(layer for layer in facts.layers if layer.name == "unit2.gate1")
    assert gate.macs == 6 * 8 * 15 * 9 * 8
    module(torch.randn(2, 3, 9, 8)).sum().backward()


@pytest.mark.parametrize(
    ("right", "wrong", "found"),
    [
        ("(1 if bias else 0)", "1", ["unit2.gate1: 726 stated, 720 found"]),
        ("[width, in_height,", "[width, in_height - 1,", ["last.2: (8, 3, 8) stated"]),
    ],
)
def test_a_wrong_statement_is_found(
    mine: Path, right: str, wrong: str, found: list[str]
) -> None:
    network = archdsl.loads(GATED.replace(right, wrong))
    module = archdsl.build(network, allow_foreign=True)
    assert set(found) <= set(disagreements(network, module))


def test_classes_of_one_name(mine: Path) -> None:
    text = """arch 1

op first {
    torch = "mine_first.Gate"
    args = [channels]
}

op second {
    torch = "mine_second.Gate"
    args = [channels]
}

op third {
    torch = "mine_second.Squash"
}

network gate {
    input 3x8x8
    first
    second
    third
}
"""
    network = archdsl.loads(text)
    code = archdsl.emit(network)
    tree = ast.parse(code)
    assert "from mine_first import Gate\n" in code
    assert "from mine_second import Gate as Gate2, Squash\n" in code
    (named,) = [n.name for n in tree.body if isinstance(n, ast.ClassDef)]
    assert named == "GateNet"
    module = archdsl.build(network, allow_foreign=True)
    origins = [type(part).__module__ for part in module.children()]
    assert origins == ["mine_first", "mine_second", "mine_second"]
    assert module(torch.zeros(1, 3, 8, 8)).shape == (1, 3, 8, 8)


def test_many_imports_are_wrapped() -> None:
    ops = [f"Layer{letter * 12}" for letter in "ABCDE"]
    text = "arch 1\n"
    for number, name in enumerate(ops):
        text += f'\nop l{number} {{\n    torch = "mine.{name}"\n}}\n'
    calls = " -> ".join(f"l{number}" for number in range(5))
    code = archdsl.emit(archdsl.loads(f"{text}\nnetwork n {{ input 8\n {calls} }}"))
    wrapped = "".join(f"    {name},\n" for name in ops)
    assert f"from mine import (\n{wrapped})\n" in code
    assert max(map(len, code.splitlines())) <= 88


def test_nothing_is_overwritten_that_a_foreign_layer_may_need(mine: Path) -> None:
    text = """arch 1

op squash {
    torch = "mine_first.Squash"
}

network Net {
    input 3x8x8
    conv 3x3 4 -> squash -> relu
    conv 3x3 4 -> relu -> squash
}
"""
    network = archdsl.loads(text)
    module = archdsl.build(network, allow_foreign=True)
    module(torch.randn(2, 3, 8, 8)).sum().backward()  # torch says if it is
    without = archdsl.analyze(archdsl.loads(text.replace(" -> squash", "")))
    # Both ends of each: 4 x 8 x 8 numbers of 4 bytes each, but the second relu's
    # output was kept before.
    more = archdsl.analyze(network).memory.saved_bytes - without.memory.saved_bytes
    assert more == 3 * 4 * 64 * 4


def test_torchs_own_classes_need_no_permission() -> None:
    text = """arch 1

op softplus<beta = 2> {
    torch = "torch.nn.Softplus"
    pointwise = true
}

network Net {
    input 3x8x8
    conv 3x3 4 -> softplus
    conv 3x3 4 -> softplus 3
}
"""
    network = archdsl.loads(text)
    assert foreign_names(network) == []
    module = archdsl.build(network)
    betas = [m.beta for m in module.modules() if isinstance(m, nn.Softplus)]
    assert betas == [2, 3]
    field = archdsl.analyze(network).receptive_field
    assert field is not None and field.size == (5, 5)


def test_a_map_is_needed_where_its_size_is_read() -> None:
    op = 'op x { torch = "a.B"; macs = in_height }'
    with pytest.raises(archdsl.SpecError) as caught:
        archdsl.loads(f"arch 1\n\n{op}\n\nnetwork n {{\n    input 8\n    x\n}}\n")
    (found,) = caught.value.diagnostics
    assert found.message == "x needs a feature map, but its input is a vector of 8"


VALUES = """arch 1

op softplus<beta = 1> {
    torch = "torch.nn.Softplus"
    pointwise = true
}

op squash {
    torch = "mine_first.Squash"
}

block unit<width, act: kind = softplus> {
    conv 3x3 width -> bn -> act
}

network Net<act: kind = relu> {
    input 3x8x8
    unit<4>
    unit<4, softplus<beta = 3>>
    unit<4, act>
    tail: seq { conv 3x3 4 -> squash -> relu }
    first: squash
    again: same first
}

default preset plain = Net
preset soft = Net<softplus<beta = 2>>
preset squashed = Net<squash>
"""


@pytest.mark.parametrize(
    ("chosen", "kind"),
    [
        ({"preset": "plain"}, "ReLU"),
        ({"preset": "soft"}, "Softplus"),
        ({"preset": "squashed"}, "Squash"),
        ({"params": {"act": "squash"}}, "Squash"),
    ],
)
def test_foreign_layers_as_values(
    mine: Path, chosen: dict[str, Any], kind: str
) -> None:
    network = archdsl.loads(VALUES, **chosen)
    module = archdsl.build(network, allow_foreign=True)
    assert disagreements(network, module) == []
    betas = [part.beta for part in module.modules() if isinstance(part, nn.Softplus)]
    assert betas == [1, 3, 2] if kind == "Softplus" else [1, 3]
    code = archdsl.emit(network)
    assert kind in code or kind.lower() in code
    module(torch.randn(2, 3, 8, 8)).sum().backward()


@pytest.mark.parametrize(
    ("op", "code", "message"),
    [
        ("op relu { torch = 'a.B' }", "A0103", "`relu` is a layer kind"),
        ("op x { torch = 'a.class' }", "A0103", "cannot name a class"),
        ("op x { torch = 'a.self' }", "A0103", "cannot name a class"),
        ("op x { torch = 'import.B' }", "A0103", "cannot name a module"),
        ("op x { torch = 'B' }", "A0204", "must name a class in a module"),
        ("op x { torch = 'a.__b' }", "A0204", "must name a class in a module"),
        ("op x { params = 3 }", "A0202", "does not name its torch class"),
        ("op x { torch = 'a.B'; colour = 3 }", "A0201", "no setting `colour`"),
        ("op x { torch = 'a.B'; params = 1; params = 2 }", "A0206", "given twice"),
        ("op x<n: list = [1]> { torch = 'a.B' }", "A0204", "is of type int, float"),
        ("op x<n = 1> { torch = 'a.B'; args = [] }", "A0105", "`n` of `x` is never"),
        ("op x { torch = 'a.B'; params = chanels }", "A0104", "`chanels` is not"),
        ("op x { torch = 'a.B'; params = 1.5 }", "A0302", "`params` would be 1.5"),
        ("op x { torch = 'a.B'; macs = -1 }", "A0302", "`macs` would be -1"),
        (
            "op x { torch = 'a.B'; shape = [3, 4, 5, 6, 7] }",
            "A0302",
            "which is not a shape",
        ),
        ("op x { torch = 'a.B'; pointwise = 3 }", "A0302", "`pointwise` would be 3"),
        (
            "op x { torch = 'a.B'; pointwise = true; shape = [3, 4, 4] }",
            "A0302",
            "its output 3x4x4 differs in size from its input 3x8x8",
        ),
    ],
)
def test_refused_declarations(op: str, code: str, message: str) -> None:
    text = f"arch 1\n\n{op}\n\nnetwork n {{\n    input 3x8x8\n    x\n}}\n"
    if "op relu" in op:
        text = text.replace("    x\n", "    relu\n")
    with pytest.raises(archdsl.SpecError) as caught:
        archdsl.loads(text.replace("'", '"'))
    (found,) = caught.value.diagnostics
    assert found.code == code
    assert message in found.message
