"""The cookbook: its specs are built and trained, and its advice is checked."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor, nn

import archdsl
from archdsl.syntax.loader import load_text
from tests.conftest import ROOT
from tests.test_docs import refresh

PAGE = (ROOT / "docs" / "cookbook.md").read_text(encoding="utf-8")
SECTIONS = {
    title: text
    for title, text in re.findall(r"^## (.+)\n((?:(?!^## ).*\n?)*)", PAGE, re.M)
}
SPECS = {
    title: next(b.text for b in refresh.blocks(text) if b.language == "arch")
    for title, text in SECTIONS.items()
}


def fragment(text: str) -> archdsl.Network:
    lines = "".join(f"    {line}\n" for line in text.strip().splitlines())
    return archdsl.loads(f"arch 1\n\nnetwork n {{\n    input 8x16x16\n{lines}}}\n")


def variants(text: str) -> list[str | None]:
    presets = [preset.name for preset in load_text(text, "page").file.presets()]
    return [*presets] or [None]


def outputs(result: Tensor | dict[str, Tensor]) -> list[Tensor]:
    return [result] if isinstance(result, Tensor) else [*result.values()]


# ---- the specs ----------------------------------------------------------------------


def test_each_pattern_has_a_spec_and_a_warning() -> None:
    assert len(SECTIONS) >= 15
    for title, text in SECTIONS.items():
        (_,) = [b for b in refresh.blocks(text) if b.language == "arch"]
        assert len(re.findall(r"^Watch: ", text, re.M)) == 1, title
        slug = title.lower().replace(" ", "-")
        assert f"(#{slug})" in PAGE.partition("\n## ")[0], title


@pytest.mark.parametrize("title", SPECS)
def test_a_pattern_is_canonical_and_trains(title: str) -> None:
    text = SPECS[title]
    assert archdsl.format(text) == text
    for preset in variants(text):
        network = archdsl.loads(text, preset=preset)
        module = archdsl.build(network)
        torch.manual_seed(0)
        inputs = [torch.randn(2, *port.shape) for port in network.inputs]
        made = outputs(module(*inputs))
        assert [tuple(o.shape[1:]) for o in made] == [p.shape for p in network.outputs]
        sum(o.square().mean() for o in made).backward()
        assert all(p.grad is not None for p in module.parameters()), preset
        facts = archdsl.analyze(network)
        assert sum(p.numel() for p in module.parameters()) == facts.params


# ---- its advice ---------------------------------------------------------


def test_global_pooling_gives_no_map() -> None:
    with pytest.raises(archdsl.SpecError, match=r"A030[12]"):
        fragment("mul { | globalavgpool -> linear 8 -> sigmoid }")


def test_an_ordinary_residual_is_projected() -> None:
    text = SPECS["Inverted residual"]
    plain = text.replace("residual<shortcut = optional>", "residual")
    assert "downsample" in archdsl.emit(archdsl.loads(plain))
    assert "downsample" not in archdsl.emit(archdsl.loads(text))


def test_a_projection_by_rule_has_a_norm() -> None:
    made = fragment("residual { bn -> relu -> conv 3x3 16 /2 bias=false }")
    kinds = [s.op.word for s in made.steps() if s.path.startswith("downsample")]
    assert kinds == ["conv", "bn"]


def test_groups_must_divide_both() -> None:
    for text in ("conv 3x3 12 groups=8", "conv 3x3 -> conv 3x3 16 groups=3"):
        with pytest.raises(archdsl.SpecError, match="A0304"):
            fragment(text)


def test_a_pools_size() -> None:
    assert fragment("maxpool 3x3").outputs[0].shape == (8, 5, 5)
    assert fragment("maxpool 3x3 /1 pad=1").outputs[0].shape == (8, 16, 16)


def test_a_dense_block_adds_growth_a_layer() -> None:
    text = SPECS["Dense block"]
    shapes = {s.path: s.shape for s in archdsl.loads(text).steps()}
    assert shapes["transition1.bn1"] == (96, 32, 32)
    assert shapes["bn1"] == (48 + 6 * 12, 16, 16)


def test_halves_and_other_parts() -> None:
    with pytest.raises(archdsl.SpecError):
        fragment("conv 3x3 9 -> chunk 1")
    assert fragment("slice 0 3").outputs[0].shape == (3, 16, 16)


def test_a_tap_reads_its_layer_not_its_chain() -> None:
    parts = {
        "a: conv 3x3 8 -> relu\nconv 1x1 8\nadd { | @a }": "conv",
        "conv 3x3 8 -> a: relu\nconv 1x1 8\nadd { | @a }": "relu",
        "a: { conv 3x3 8 -> relu }\nconv 1x1 8\nadd { | @a }": "relu",
    }
    for text, word in parts.items():
        steps = list(fragment(text).steps())
        producers = {step.output: step.op.word for step in steps}
        assert producers[steps[-1].inputs[1]] == word


def test_a_skip_between_other_sizes() -> None:
    text = SPECS["U-Net skip"].replace("3x64x64", "3x63x57")
    text = text.replace("    expect output 2x64x64\n", "")
    with pytest.raises(archdsl.SpecError, match="A0301"):
        archdsl.loads(text)
    resized = "concat { @down{level} | resize { | @down{level} } }"
    network = archdsl.loads(text.replace("concat { @down{level} | }", resized))
    assert network.outputs[0].shape == (2, 63, 57)


def test_dilation_keeps_the_size() -> None:
    assert fragment("conv 3x3 8 dilation=5").outputs[0].shape == (8, 16, 16)


def test_how_transposed_convolutions_double() -> None:
    def size(text: str) -> int:
        return fragment(f"convtranspose {text}").outputs[0].shape[1]

    assert size("4x4 8 /2 pad=1") == 32
    assert size("3x3 8 /2 pad=1") == 31
    assert size("3x3 8 /2 pad=1 out_pad=1") == 32


def test_what_an_auxiliary_head_adds() -> None:
    network = archdsl.loads(SPECS["Auxiliary head"])
    module = archdsl.build(network)
    images = torch.zeros(2, 3, 32, 32)
    assert list(module(images)) == ["output", "aux1"]
    assert isinstance(module.eval()(images), Tensor)
    facts = archdsl.analyze(network)
    without = archdsl.analyze(
        archdsl.loads(SPECS["Auxiliary head"], params={"aux": 0 > 1})
    )
    assert facts.params - without.params == 33 * 10
    assert (facts.macs, facts.depth) == (without.macs, without.depth)


def test_shared_weights_count_once_and_run_twice() -> None:
    facts = archdsl.analyze(archdsl.loads(SPECS["Shared weights"]))
    convs = 14 * 14 * 9 * 8 + 7 * 7 * 9 * 8 * 16
    assert facts.macs == 2 * convs + 16
    text = SPECS["Shared weights"].replace("right 1x28x28", "right 2x28x28")
    with pytest.raises(archdsl.SpecError, match="A0302"):
        archdsl.loads(text)


def test_where_stochastic_depth_drops() -> None:
    module = archdsl.build(archdsl.loads(SPECS["Stochastic depth"]))
    rates = [m.p for m in module.modules() if type(m).__name__ == "StochasticDepth"]
    assert rates == pytest.approx([0.2 * i / 5 for i in range(1, 6)])
    widened = SPECS["Stochastic depth"].replace(
        "    for i in", "    unit<24, 0.5>\n    unit<16, 0.5>\n    for i in"
    )
    module = archdsl.build(archdsl.loads(widened))
    rates = [m.p for m in module.modules() if type(m).__name__ == "StochasticDepth"]
    assert len(rates) == 5


def test_repeats_of_nothing() -> None:
    text = SPECS["Stage by a loop"].replace("[16, 2, 1]", "[16, 1, 1]")
    text = text.replace("(2 + 3 + 3)", "(1 + 3 + 3)")
    archdsl.loads(text)
    with pytest.raises(archdsl.SpecError, match="A0209"):
        archdsl.loads(text.replace("x(count - 1)", "x0"))


def test_an_activation_from_outside() -> None:
    text = SPECS["Norm and activation as parameters"]
    module = archdsl.build(archdsl.loads(text, params={"act": "silu"}))
    assert "silu" in archdsl.emit(archdsl.loads(text, params={"act": "silu"}))
    norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]
    assert {norm.eps for norm in norms} == {0.001}
