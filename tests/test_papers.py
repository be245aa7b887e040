"""Networks from papers that torchvision does not have.

timm is the reference for most counts; it has the authors' weights, or converted ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import archdsl
from tests import presets
from tests.oracle import fill, macs_of, meta


class Paper(NamedTuple):
    """A preset, and what is known about its network.

    Attributes:
        preset: name of the preset.
        params: parameters of the reference.
        reference: the implementation that the count is from, or its derivation.
        published: the number in the paper or on its authors' page, in millions.
        depth: the depth, if the name or the paper gives it.
        size: height and width of its images.
    """

    preset: str
    params: int
    reference: str
    published: str = ""
    depth: int | None = None
    size: int = 224


# Input channels, output channels and kernel area in the authors' Caffe model.
NIN = [
    *[(3, 96, 121), (96, 96, 1), (96, 96, 1)],
    *[(96, 256, 25), (256, 256, 1), (256, 256, 1)],
    *[(256, 384, 9), (384, 384, 1), (384, 384, 1)],
    *[(384, 1024, 9), (1024, 1024, 1), (1024, 1000, 1)],
]


def conv_mixer(h: int, d: int, k: int, p: int = 7, n: int = 1000) -> int:
    """Return the parameters by the formula of Trockman & Kolter 2022, section 2."""
    return h * (d * (k * k + h + 6) + 3 * p * p + n + 3) + n


CAFFE = sum((a * k + 1) * b for a, b, k in NIN)

PAPERS = [
    Paper("nin", CAFFE, "the authors' Caffe model", depth=12),
    Paper("xception", 22_855_952, "the paper's table 3", size=299),
    Paper("inception_v4", 42_679_816, "timm inception_v4", size=299),
    Paper("inception_resnet_v2", 55_843_464, "timm inception_resnet_v2", size=299),
    Paper("dpn92", 37_668_392, "timm dpn92", depth=92),
    Paper("res2net50", 25_699_120, "timm res2net50_26w_4s", "25.70"),
    Paper("dla34", 15_742_104, "timm dla34", depth=34),
    Paper("cspdarknet53", 27_642_184, "timm cspdarknet53", size=256),
    Paper("hrnet_w18", 21_299_004, "timm hrnet_w18", "21.3"),
    Paper("ghostnet", 5_182_508, "timm ghostnet_100", "5.2"),
    Paper("repvgg_a0", 9_108_968, "timm repvgg_a0"),
    Paper("repvgg_a0_deploy", 8_309_384, "timm repvgg_a0, merged", "8.3", 23),
    Paper("convmixer_768_32", conv_mixer(768, 32, 7), "the paper's formula", "21.1"),
    Paper("convmixer_1536_20", conv_mixer(1536, 20, 9), "the paper's formula", "51.6"),
]

every_paper = pytest.mark.parametrize("paper", PAPERS, ids=lambda p: p.preset)


@every_paper
def test_counts_are_those_of_the_reference(paper: Paper) -> None:
    network = presets.network(paper.preset)
    analysis = archdsl.analyze(network)
    assert analysis.input == (3, paper.size, paper.size)
    assert [tuple(port.shape) for port in network.outputs] == [(1000,)]
    assert analysis.params == paper.params
    digits = len(paper.published.partition(".")[2])
    if paper.published:
        assert f"{analysis.params / 1e6:.{digits}f}" == paper.published
    if paper.depth is not None:
        assert analysis.depth == paper.depth


@every_paper
def test_modules_are_what_was_analysed(paper: Paper) -> None:
    analysis = archdsl.analyze(presets.network(paper.preset))
    with meta():
        module = presets.built(paper.preset).eval()
        macs = macs_of(module, torch.empty(1, *analysis.input))
        batch = module.train()(torch.empty(2, *analysis.input))
    assert sum(p.numel() for p in module.parameters()) == analysis.params
    assert sum(b.numel() for b in module.buffers()) == analysis.buffers
    assert macs[""] == analysis.macs
    assert batch.shape == (2, 1000)


@every_paper
def test_emitted_modules_stand_alone(paper: Paper) -> None:
    text = presets.emitted(paper.preset)
    compile(text, f"{paper.preset}.py", "exec")
    imports = re.findall(r"^(?:import|from) (\w+)", text, re.M)
    assert set(imports) <= {"collections", "torch"}


def test_macs_that_the_authors_state() -> None:
    # The authors of HRNet count in units of 2^30.
    stated = {"dpn92": 6.5e9, "ghostnet": 141e6, "hrnet_w18": 3.99 * 2**30}
    for preset, macs in stated.items():
        found = archdsl.analyze(presets.network(preset)).macs
        assert found == pytest.approx(macs, rel=0.005), preset


# ---- values --------------------------------------------------------------------


def merged(block: nn.Module) -> tuple[Tensor, Tensor]:
    """Return the kernel and bias of the convolution that equals a RepVGG block.

    Source: Ding et al. 2021, section 3.3, equations 3 and 4.
    """
    kernel = torch.zeros(())
    bias = torch.zeros(())
    for weight, norm in kernels(block):
        mean, variance = norm.running_mean, norm.running_var
        assert mean is not None and variance is not None
        scale = norm.weight / torch.sqrt(variance + norm.eps)
        kernel = kernel + weight * scale[:, None, None, None]
        bias = bias + norm.bias - mean * scale
    return kernel, bias


def kernels(block: nn.Module) -> Iterator[tuple[Tensor, nn.BatchNorm2d]]:
    """Yield the kernel of each branch, as 3x3, and its norm."""
    for name, branch in block.named_children():
        if isinstance(branch, nn.BatchNorm2d):
            center = torch.eye(branch.num_features, dtype=torch.float64)
            yield F.pad(center[:, :, None, None], [1] * 4), branch
            continue
        weight = branch.get_parameter("conv.weight")
        norm = branch.get_submodule("bn")
        assert isinstance(norm, nn.BatchNorm2d)
        yield F.pad(weight, [1] * 4) if name == "rbr_1x1" else weight, norm


def test_both_forms_of_repvgg_give_the_same() -> None:
    with torch.device("meta"):
        trained = presets.built("repvgg_a0").double()
        merges = presets.built("repvgg_a0_deploy").double()
    fill(trained)
    fill(merges)
    weights = {
        name: value for name, value in trained.state_dict().items() if "linear" in name
    }
    with torch.no_grad():
        for name, block in trained.named_modules():
            if hasattr(block, "rbr_dense"):
                kernel, bias = merged(block)
                weights[f"{name}.rbr_reparam.weight"] = kernel
                weights[f"{name}.rbr_reparam.bias"] = bias
        merges.load_state_dict(weights)
        x = torch.randn(2, 3, 64, 64, dtype=torch.float64)
        torch.testing.assert_close(merges.eval()(x), trained.eval()(x))


# ---- features of the compiler that these networks need
# ---------------------------------------


def test_a_loop_leaves_the_input_for_the_shortcut() -> None:
    text = """arch 1

block unit {
    residual { relu -> conv{}: conv 3x3  x3 }
}

network net {
    input 4x8x8
    unit: unit
}
"""
    module = archdsl.build(archdsl.loads(text)).eval()
    fill(module)
    x = torch.randn(2, 4, 8, 8)
    expected = x
    for n in (1, 2, 3):
        conv = module.get_submodule(f"unit.conv{n}")
        expected = conv(F.relu(expected))
    torch.testing.assert_close(module(x), expected + x)


def test_one_class_for_shortcuts_with_layers_and_without() -> None:
    text = """arch 1

block unit<width> {
    residual {
        body: seq { conv 3x3 width -> relu }
      | shortcut: seq { conv 1x1 width if width != channels }
    }
}

network net {
    input 4x8x8
    first: unit<4>
    second: unit<6>
}
"""
    network = archdsl.loads(text)
    assert re.findall(r"^class (\w+)", archdsl.emit(network), re.M) == ["Unit", "Net"]

    module = archdsl.build(network).eval()
    fill(module)
    x = torch.randn(2, 4, 8, 8)
    first = module.get_submodule("first.body")(x) + x
    second = module.get_submodule("second.body")(first)
    shortcut = module.get_submodule("second.shortcut")(first)
    torch.testing.assert_close(module(x), second + shortcut)


def test_one_class_for_loops_of_one_round_and_of_more() -> None:
    text = """arch 1

block stage<count> {
    units: seq { conv 3x3  x(count) }
    relu
}

network net {
    input 4x8x8
    stage<1>
    stage<3>
}
"""
    code = archdsl.emit(archdsl.loads(text))
    assert re.findall(r"^class (\w+)", code, re.M) == ["Stage", "Net"]
    assert "for _ in range(count)" in code


def test_ranges_of_channels_read_what_the_class_keeps() -> None:
    text = """arch 1

block unit<width, more = 1> {
    concat {
        slice 0 width -> width: conv 3x3
      | slice width (width + more)
      | slice (2 * more) -> relu
    }
}

network net {
    input 8x6x6
    first: unit<2, more = 3>
    second: unit<5>
}
"""
    network = archdsl.loads(text)
    code = archdsl.emit(network)
    assert re.findall(r"^class (\w+)", code, re.M) == ["Unit", "Net"]
    assert "self.width_ = width" in code and "self.more = more" in code
    assert "x[:, self.width_ : self.width_ + self.more]" in code

    module = archdsl.build(network).eval()
    fill(module)
    x = torch.randn(2, 8, 6, 6)
    expected = x
    for name, width, more in [("first", 2, 3), ("second", 5, 1)]:
        conv = module.get_submodule(f"{name}.width")(expected[:, :width])
        kept = expected[:, width : width + more]
        rest = F.relu(expected[:, 2 * more :])
        expected = torch.cat([conv, kept, rest], 1)
    torch.testing.assert_close(module(x), expected)
