"""Foreign layers: an `op`, from the spec to a trained module."""

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
from archdsl.backends.torch.verification import agree
from archdsl.elaborate.foreign import Foreign
from archdsl.passes.expect import check_expectations
from archdsl.syntax.loader import read_source
from archdsl.transforms import pipeline
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
import torch
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


class DeformConv2d(nn.Conv2d):
    # Samples a 3x3 window at offset places, and weighs each sample.
    def forward(self, x, offset, mask):
        (n, _, high, wide), (*_, rows, columns) = x.shape, offset.shape
        row = torch.arange(rows).reshape(-1, 1) * self.stride[0]
        column = torch.arange(columns) * self.stride[1]
        total = self.bias.reshape(-1, 1, 1)
        for tap in range(9):
            y = row + tap // 3 - 1 + offset[:, 2 * tap]
            z = column + tap % 3 - 1 + offset[:, 2 * tap + 1]
            grid = torch.stack([2 * z / (wide - 1) - 1, 2 * y / (high - 1) - 1], 3)
            sampled = nn.functional.grid_sample(x, grid, align_corners=True)
            weight = self.weight[:, :, tap // 3, tap % 3]
            total = total + torch.einsum(
                "oi,nihw->nohw", weight, sampled * mask[:, tap : tap + 1]
            )
        return total
"""


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Make the example's module importable during a test."""
    monkeypatch.syspath_prepend(str(FOLDER))
    yield SPEC
    sys.modules.pop("attention", None)


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Make two modules that have a class of the same name."""
    names = ("mine_first", "mine_second")
    for name in names:
        (tmp_path / f"{name}.py").write_text(MINE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in names:
        sys.modules.pop(name, None)


def disagreements(network: archdsl.Network, module: nn.Module) -> list[str]:
    """Return the layers whose parameters or shapes differ from the spec."""
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


def test_the_tensors_of_an_op_stay_when_a_network_is_transformed() -> None:
    network = archdsl.loads(
        """arch 1

op widen<width: int> {
    torch = "torch.nn.Linear"
    args = [channels, width]
    shape = [width]
    params = (channels + 1) * width
}

network Net {
    input 3x8x8
    conv 3x3 4 -> bn -> relu
    globalavgpool -> wide: widen 5
}
"""
    )
    deploy = pipeline(inference=True)
    module = archdsl.build(network).eval()
    small = archdsl.build(deploy.apply(network), inference=True).eval()
    small.load_state_dict(deploy.weights(network, module.state_dict()))
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(small(x), module(x))


def test_the_command_line_says_what_is_imported(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "attentive.py"
    code, out, err = run("compile", SPEC, "-o", path)
    assert (code, out) == (0, "")
    note = "the module imports attention.ECA, attention.GeM, which must be importable"
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
    module(torch.randn(2, 3, 8, 8)).sum().backward()  # torch raises if it is wrong
    without = archdsl.analyze(archdsl.loads(text.replace(" -> squash", "")))
    # Input and output of each: 4 x 8 x 8 numbers of 4 bytes; but the second relu's
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


def test_an_op_comes_before_a_block_of_the_prelude() -> None:
    """By a call and as a value."""
    network = archdsl.loads(
        """arch 1

op dense {
    torch = "torch.nn.Softplus"
    pointwise = true
}

block unit<act: kind = relu> {
    conv 3x3 4 -> act
}

network Net {
    input 3x8x8
    conv 3x3 4 -> dense
    unit<act = dense>
}
"""
    )
    words = [step.op.word for step in network.steps()]
    assert words == ["conv", "dense", "conv", "dense"]
    assert archdsl.analyze(network).params == 112 + 148


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
        ("op x { torch = 'a.B'; family = 'norm' }", "A0204", "counts for the depth"),
        ("op x { torch = 'a.B'; stride = 2 }", "A0302", "a `stride`, and no `window`"),
        ("op x { torch = 'a.B'; window = 9 }", "A0303", "a window of 9 is larger"),
        ("op x { torch = 'a.B'; window = 3 }", "A0302", "its window gives a size of 6"),
        ("op x { torch = 'a.B'; window = 0 }", "A0302", "`window` would be 0"),
        ("op x { torch = 'a.B'; window = 3x3x3 }", "A0302", "`window` would be 3x3x3"),
        ("op x { torch = 'a.B'; window = 3; pad = true }", "A0302", "`pad` would be"),
        (
            "op x { torch = 'a.B'; window = 1; pointwise = true }",
            "A0302",
            "it is pointwise, and has a `window`",
        ),
        ("op x(a) { torch = 'a.B' }", "A0103", "the only input of `x` needs no name"),
        ("op x(a, a) { torch = 'a.B' }", "A0101", "`a` is declared twice"),
        ("op x<a = 1>(a, b) { torch = 'a.B' }", "A0101", "`a` is declared twice"),
        ("op x(channels, b) { torch = 'a.B' }", "A0103", "cannot name a parameter"),
        ("op x(in_height, b) { torch = 'a.B' }", "A0103", "a meaning of its own"),
        ("op x<in_depth = 1> { torch = 'a.B' }", "A0103", "a meaning of its own"),
        ("op x(a, b) { torch = 'a.B' }", "A0210", "`x` has 2 inputs, and no branches"),
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


# ---- several inputs, and convolutions -----------------------------------------------

DEFORMABLE = """arch 1

# Deformable convolution (Zhu et al. 2019, "Deformable ConvNets v2", equation 1).
op deform_conv<width: int, kernel = 3x3, step = 1>(x, offset, mask) {
    torch = "mine_first.DeformConv2d"
    args = [channels, width, kernel, step, kernel[0] // 2]
    shape = [width, offset[1], offset[2]]
    params = (channels * kernel[0] * kernel[1] + 1) * width
    macs = channels * kernel[0] * kernel[1] * width * offset[1] * offset[2]
    family = "conv"
}

block deformable<width, stride = 1> {
    conv: deform_conv width step=stride {
      | offset: conv 3x3 18 /stride
      | mask: conv 3x3 9 /stride -> sigmoid
    } -> bn -> relu
}

network Net {
    input 3x16x16
    stem: conv 3x3 8
    layer1: deformable<6, stride = 2>
    layer2: deformable<4>
}
"""


class Deformable(nn.Module):
    def __init__(self, before: int, width: int, stride: int) -> None:
        from mine_first import DeformConv2d  # type: ignore[import-not-found]

        super().__init__()
        self.offset = nn.Conv2d(before, 18, 3, stride, 1)
        self.mask = nn.Conv2d(before, 9, 3, stride, 1)
        self.conv = DeformConv2d(before, width, 3, stride, 1)
        self.bn1 = nn.BatchNorm2d(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x, self.offset(x), self.mask(x).sigmoid())
        result: torch.Tensor = self.bn1(x).relu()
        return result


def test_a_deformable_convolution_reads_offsets_and_a_mask(mine: Path) -> None:
    network = archdsl.loads(DEFORMABLE)
    module = archdsl.build(network, allow_foreign=True).eval()
    theirs = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), Deformable(8, 6, 2), Deformable(6, 4, 1)
    ).eval()
    weights = [torch.randn(p.shape) * 0.3 for p in theirs.parameters()]
    with torch.no_grad():
        for part in (module, theirs):
            for own, drawn in zip(part.parameters(), weights, strict=True):
                own.copy_(drawn)
    image = torch.randn(2, 3, 16, 16)
    assert torch.equal(module(image), theirs(image))
    assert disagreements(network, module) == []
    facts = archdsl.analyze(network)
    # The stem, and in each block the offsets or mask and the convolution.
    assert facts.depth == 5
    layers = {layer.name: layer for layer in facts.layers}
    assert layers["layer1.conv"].macs == 8 * 9 * 6 * 8 * 8
    assert layers["layer1.mask"].receptive_field.size == (5, 5)  # type: ignore[union-attr]
    field = facts.receptive_field
    assert field is not None and field.whole and not field.exact


INVOLUTION = """arch 1

op involution<kernel = 3x3, step = 1>(x, weights) {
    torch = "mine.Involution"
    shape = [channels, (in_height - 1) // step + 1, (in_width - 1) // step + 1]
    macs = channels * kernel[0] * kernel[1] * in_height * in_width
    window = kernel
    stride = step
    pad = kernel[0] // 2
    family = "conv"
}

block unit<act: kind> {
    act { | conv 1x1 9 }
}

network Net {
    input 8x16x16
    first: seq { conv 3x3; involution step=2 { | conv 1x1 } }
    second: involution 5x5 { relu | own: conv 1x1 }
    same second { | conv 1x1 -> relu }
    unit<involution>
    involution { | }
}
"""


def test_a_foreign_window_counts_for_receptive_fields() -> None:
    network = archdsl.loads(INVOLUTION)
    facts = archdsl.analyze(network)
    fields = {layer.name: layer.receptive_field for layer in facts.layers}
    first, second = fields["first.2"], fields["second"]
    assert first is not None and first.exact and first.size == (5, 5)
    assert second is not None and second.exact and second.size == (21, 21)
    # By hand: 3, 5, then steps of 2: + 8, + 8, + 4, + 4.
    field = facts.receptive_field
    assert field is not None and field.exact and field.size == (29, 29)
    assert facts.depth == 10
    code = archdsl.emit(network)
    assert "second = self.second(F.relu(first), self.own(first))" in code
    assert "x = self.second(second, x)" in code
    assert code.count("self.second = Involution(5, 1)") == 1


@pytest.mark.parametrize("text", [DEFORMABLE, INVOLUTION])
def test_ops_of_several_inputs_are_written_again(text: str) -> None:
    network = archdsl.loads(text)
    assert archdsl.format(text) == text
    again = archdsl.loads(archdsl.expand(network))
    assert archdsl.emit(again) == archdsl.emit(network)


@pytest.mark.parametrize(
    ("call", "code", "message"),
    [
        ("x { | }", "A0210", "`x` has 3 inputs, and 2 branches are given"),
        ("x { | | conv 3x3 /2 }", "A0302", "its inputs 3x8x8 and 3x4x4 differ in size"),
        ("x<1> { | | }", "A0201", "takes its arguments after the word"),
        ("l: x { | | }; same l", "A0210", "`x` has 3 inputs, and no branches"),
    ],
)
def test_refused_calls_of_several_inputs(call: str, code: str, message: str) -> None:
    op = 'op x(a, b, c) { torch = "m.X"; pointwise = true }'
    text = f"arch 1\n\n{op}\n\nnetwork n {{\n    input 3x8x8\n    {call}\n}}\n"
    with pytest.raises(archdsl.SpecError) as caught:
        archdsl.loads(text)
    (found,) = caught.value.diagnostics
    assert (found.code, message in found.message) == (code, True)


def test_a_parameter_cannot_hide_what_archdsl_asks_of_a_layer() -> None:
    text = """arch 1

op softplus<NAME = 2> {
    torch = "torch.nn.Softplus"
}

network n {
    input 3x8x8
    softplus NAME=3
}
"""
    declared = {"known", "path", "settings", "definition", "module"}
    asked = {name for name in dir(Foreign) if not name.startswith("_")} | declared
    for name in sorted(asked - {"torch"}):
        with pytest.raises(archdsl.SpecError) as caught:
            archdsl.loads(text.replace("NAME", name))
        (found,) = caught.value.diagnostics
        assert (found.code, found.span.line) == ("A0103", 3), name
        assert f"cannot be called `{name}`" in found.message


# ---- a computed weight --------------------------------------------------------------


def _shown(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Return the guide's code blocks by name, and make its class importable."""
    blocks = list(refresh.blocks(GUIDE.read_text(encoding="utf-8")))
    shown = {block.words[-1]: block.text for block in blocks if block.words}
    (folder / "weightnorm.py").write_text(shown["weightnorm.py"])
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "weightnorm", raising=False)
    return shown


def test_weight_norm_is_a_class_of_the_readers_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = _shown(tmp_path, monkeypatch)
    network = archdsl.loads(shown["flow.arch"])
    facts = archdsl.analyze(network)
    assert check_expectations(network, facts) == []
    module = archdsl.build(network, allow_foreign=True)
    parts = [nn.Conv2d(3, 64, 3, padding=1), nn.Conv2d(64, 64, 3, padding=1)]
    theirs = nn.Sequential()
    for number, part in enumerate(parts, 1):
        torch.nn.utils.parametrizations.weight_norm(part)
        theirs.add_module(f"conv{number}", part)
    assert [*module.state_dict()] == [*theirs.state_dict()]
    assert facts.params == sum(p.numel() for p in theirs.parameters())
    assert facts.macs == (27 * 64 + 64 * 9 * 64) * 32 * 32
    assert not agree(network, allow_foreign=True).differences


def test_wrong_buffers_of_an_op_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = _shown(tmp_path, monkeypatch)
    # The same class with spectral norm, whose vectors are buffers.
    text = shown["weightnorm.py"].replace("weight_norm", "spectral_norm")
    (tmp_path / "spectralnorm.py").write_text(text)
    spec = shown["flow.arch"].replace("weightnorm.", "spectralnorm.")
    spec = spec.replace("+ 2) * width", "+ 1) * width")
    size = "buffers = width + channels * kernel[0] * kernel[1]"
    right = spec.replace("    macs =", f"    {size}\n    macs =")
    network = archdsl.loads(right)
    theirs = archdsl.build(network, allow_foreign=True)
    assert archdsl.analyze(network).buffers == sum(b.numel() for b in theirs.buffers())
    assert not agree(network, allow_foreign=True).differences
    wrong = right.replace("buffers = width", "buffers = 2 * width")
    (found, *_) = agree(archdsl.loads(wrong), allow_foreign=True).differences
    assert (found.what, found.path, found.torch) == ("buffers", "conv1", "91")
    sys.modules.pop("spectralnorm", None)
