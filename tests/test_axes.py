"""Maps with one and three spatial axes: networks, messages, causal convolutions."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import archdsl
from archdsl.layer import Mismatch, kind
from tests.oracle import torchvision

VIDEO = {
    # Billions of MACs, as published by torchvision with its weights.
    "r3d_18": 40.697,
    "mc3_18": 43.343,
    "r2plus1d_18": 40.519,
    "s3d": 17.979,
}
# The smallest videos, as frames x height x width, with odd sides where possible.
SMALL = {"s3d": (15, 209, 212)}


@cache
def _reference(name: str) -> nn.Module:
    with torch.device("meta"):
        model: nn.Module = torchvision.models.get_model(name, weights=None)
    return model.eval()


@pytest.mark.parametrize("name", VIDEO)
def test_keys_of_video_networks_are_torchvisions(name: str) -> None:
    with torch.device("meta"):
        ours = archdsl.build(name)
    theirs = _reference(name)

    def table(module: nn.Module) -> list[tuple[str, torch.Size, torch.dtype]]:
        return [(k, v.shape, v.dtype) for k, v in module.state_dict().items()]

    assert table(ours) == table(theirs)
    ours.load_state_dict(theirs.state_dict(), strict=True, assign=True)


@pytest.mark.parametrize("name", VIDEO)
def test_macs_of_video_networks_are_torchvisions(name: str) -> None:
    analysis = archdsl.analyze(name)
    counter = FlopCounterMode(display=False)
    with torch.device("meta"), torch.no_grad(), counter:
        _reference(name)(torch.empty(1, *analysis.inputs[0].shape))
    assert 2 * analysis.macs == counter.get_total_flops()
    assert round(analysis.macs / 1e9, 3) == VIDEO[name]


@pytest.mark.parametrize("name", VIDEO)
def test_outputs_of_video_networks_are_torchvisions(name: str) -> None:
    ours = archdsl.build(name).eval()
    theirs = torchvision.models.get_model(name, weights=None).eval()
    theirs.load_state_dict(ours.state_dict(), strict=True)
    x = torch.randn(1, 3, *SMALL.get(name, (3, 17, 20)))
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=0)


CAUSAL = """arch 1

network N {
    input 2x20
    zeropad left=4 -> conv 3 4 pad=0 dilation=2 -> relu
    zeropad left=2 -> conv 3 3 pad=0
}
"""


def test_padding_on_the_left_makes_convolutions_causal() -> None:
    module = archdsl.build(archdsl.loads(CAUSAL)).double()
    x = torch.randn(1, 2, 20, dtype=torch.float64)
    later = x.clone()
    later[..., 11:] += 1
    before, after = module(x), module(later)
    assert before.shape == (1, 3, 20)
    assert torch.equal(before[..., :11], after[..., :11])
    assert not torch.equal(before[..., 11], after[..., 11])


def test_a_first_unit_that_sees_only_the_past() -> None:
    field = archdsl.analyze(archdsl.loads(CAUSAL)).receptive_field
    assert field is not None
    # 1 + 2 * 2 + 2 positions, the last of which is the unit's own.
    assert (field.size, field.interval) == ((7,), ((-6, 0),))


@pytest.mark.parametrize(
    ("text", "stride"),
    [
        ("conv 3 8 /2", (2,)),
        ("conv 3x3x3 8 /2", (2, 2, 2)),
        ("conv 1x3x3 8 /1x2x2", (1, 2, 2)),
        ("conv 3x3 8 /2x1", (2, 1)),
    ],
)
def test_projections_have_the_strides_of_the_body(
    text: str, stride: tuple[int, ...]
) -> None:
    shape = "x".join(["4", *["12"] * len(stride)])
    body = f"    input {shape}\n    residual {{ {text} -> bn }}\n"
    network = archdsl.loads(f"arch 1\nnetwork N {{\n{body}}}\n")
    (projection,) = [s for s in network.steps() if s.path == "downsample.0"]
    assert projection.op.stride == stride


def test_a_block_whose_kernel_is_a_parameter_is_for_all_maps() -> None:
    text = """arch 1
block unit<width, k: int> {{ conv k width -> bn -> relu }}
network N {{
    input {}
    unit<8, 3> -> maxpool pad=1 kernel=3
}}
"""
    for shape in ("2x9", "2x9x9", "2x9x9x9"):
        network = archdsl.loads(text.format(shape))
        x = torch.rand(1, *network.inputs[0].shape)
        assert tuple(archdsl.build(network)(x).shape[1:]) == network.outputs[0].shape


def test_windows_made_in_code_must_fit_the_map() -> None:
    conv = kind("conv")
    assert conv is not None
    assert conv(kernel=(3,), width=4).shape((2, 9)) == (4, 9)
    with pytest.raises(Mismatch, match="`kernel` has 2 sizes, and its input has 1"):
        conv(kernel=(3, 3), width=4).shape((2, 9))
    with pytest.raises(Mismatch, match="`stride` has 2 sizes") as caught:
        conv(kernel=(3,), width=4, stride=(2, 2)).shape((2, 9))
    assert caught.value.help == "write one size for each axis: `2`"


@pytest.mark.parametrize(
    ("name", "params"),
    [
        # Kernels, norms and the classifier, by hand from the paper's table.
        (
            "m5",
            80 * 128
            + 3 * (128 * 128 + 128 * 256 + 256 * 512)
            + 2 * (128 + 128 + 256 + 512)
            + 512 * 10
            + 10,
        ),
        # A convolution, four units of two, and the classifier.
        (
            "ds_cnn_s",
            64 * 40 + 2 * 64 + 4 * (9 * 64 + 64 * 64 + 4 * 64) + 64 * 12 + 12,
        ),
    ],
)
def test_weights_of_networks_for_sound(name: str, params: int) -> None:
    assert archdsl.analyze(name).params == params
