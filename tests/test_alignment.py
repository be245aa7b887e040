"""Where merged branches look, against hand calculations and gradients."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import archdsl
from archdsl.ir import Network
from archdsl.ir.graph import flatten
from archdsl.passes.alignment import Misalignment, alignment
from archdsl.passes.receptive import fields
from archdsl.resources import shipped_specs
from tests.handmade import Sketch
from tests.seeing import seeing


def _of(network: Network) -> dict[str, Misalignment]:
    graph = flatten(network)
    found = alignment(graph, fields(graph)).values()
    return {each.layer: each for each in found}


# ---- by hand -------------------------------------------------------------------


def test_a_pool_beside_a_convolution_looks_between_pixels() -> None:
    sketch = Sketch((1, 8, 10))
    pooled = sketch.add("avgpool", 0, kernel=(2, 2))
    strided = sketch.add("conv", 0, kernel=(3, 3), stride=(2, 2))
    sketch.add("add", pooled, strided)
    (found,) = _of(sketch.network()).values()
    assert found.layer == "add4"
    # The centre of the first 2x2 window is at 0.5, that of the first 3x3 window at 0.
    assert found.offset == (0.5, 0.5)
    assert [branch.layer for branch in found.branches] == ["avgpool2", "conv3"]
    assert found.branches[0].centre == (0.5, 0.5)
    assert found.branches[1].centre == (0, 0)
    # The centres of the last windows are 3 and 4 steps of 2 further on.
    assert found.branches[0].last == (6.5, 8.5)
    assert found.branches[1].last == (6, 8)


def test_centred_kernels_are_aligned() -> None:
    sketch = Sketch((1, 9, 9))
    narrow = sketch.add("conv", 0, kernel=(1, 1), stride=(2, 2))
    wide = sketch.add("conv", 0, kernel=(5, 5), stride=(2, 2))
    pooled = sketch.add("maxpool", 0, kernel=(3, 3), stride=(2, 2), pad=(1, 1))
    sketch.add("concat", narrow, wide, pooled)
    assert not _of(sketch.network())


def test_padding_at_one_end_shifts_one_axis() -> None:
    sketch = Sketch((1, 9, 9))
    padded = sketch.add("zeropad", 0, left=2)
    shifted = sketch.add("conv", padded, kernel=(1, 3), pad=(0, 0))
    sketch.add("add", shifted, 0)
    (found,) = _of(sketch.network()).values()
    assert found.offset == (0, 1)
    assert [branch.layer for branch in found.branches] == ["conv3", "input0"]


def test_maps_of_other_jumps_drift_apart() -> None:
    sketch = Sketch((1, 9, 9))
    half = sketch.add("conv", 0, kernel=(3, 3), stride=(2, 2))
    # With aligned corners, 9 units made from 5 are half a step, i.e. one pixel, apart.
    exact = sketch.add("upsample", half, size=(9, 9), mode="bilinear", align=True)
    aligned = sketch.add("add", exact, 0)
    smaller = sketch.add("conv", 0, kernel=(3, 3), stride=(2, 2))
    cut = sketch.add("conv", smaller, kernel=(2, 2))
    assert sketch.shape(cut) == (1, 4, 4)
    # From 4 units at 1, 3, 5 and 7 follow 9 units from 1 to 7, 6 / 8 of a pixel apart.
    drifting = sketch.add("upsample", cut, size=(9, 9), mode="bilinear", align=True)
    last = sketch.add("add", drifting, aligned)
    found = _of(sketch.network(last))
    assert set(found) == {f"add{last + 1}"}
    (other,) = found.values()
    assert other.branches[0].centre == (1, 1) and other.branches[0].last == (7, 7)
    assert other.offset == (1, 1)


def test_repeated_units_are_aligned_with_pools_and_not_with_strides() -> None:
    for kind, offset in (("avgpool", 0), ("conv", 0.5)):
        sketch = Sketch((1, 8, 8))
        # Both copies of an upsampled unit look at the middle of two pixels; a unit of a
        # strided convolution looks at the first of them.
        kernel = (2, 2) if kind == "avgpool" else (3, 3)
        half = sketch.add(kind, 0, kernel=kernel, stride=(2, 2))
        double = sketch.add("upsample", half)
        sketch.add("add", double, 0)
        offsets = [each.offset for each in _of(sketch.network()).values()]
        assert offsets == ([(offset, offset)] if offset else [])


def test_branches_without_a_place_are_not_compared() -> None:
    sketch = Sketch((2, 8, 8))
    gate = sketch.add("adaptiveavgpool", 0, size=(1, 1))
    scaled = sketch.add("mul", gate, 0)
    # A gate of one position per row is compared along the rows only.
    pooled = sketch.add("conv", 0, kernel=(8, 8), pad=(0, 0), width=2)
    sketch.add("mul", pooled, scaled)
    assert not _of(sketch.network())


def test_vectors_are_not_compared() -> None:
    sketch = Sketch((2, 8, 8), (5,))
    vector = sketch.add("globalavgpool", 0)
    sketch.add("concat", vector, 1)
    assert not _of(sketch.network())


def test_figures_are_plain_data() -> None:
    sketch = Sketch((1, 8, 8))
    pooled = sketch.add("avgpool", 0, kernel=(2, 2))
    strided = sketch.add("conv", 0, kernel=(1, 1), stride=(2, 2))
    sketch.add("add", pooled, strided)
    (found,) = _of(sketch.network()).values()
    assert found.as_dict() == {
        "layer": "add4",
        "offset": [0.5, 0.5],
        "branches": [
            {"layer": "avgpool2", "centre": [0.5, 0.5], "last": [6.5, 6.5]},
            {"layer": "conv3", "centre": [0, 0], "last": [6, 6]},
        ],
    }


# ---- shipped -------------------------------------------------------------------

# DLA: shortcuts are 2x2 pools next to 3x3 convolutions of stride 2, which differ by
# half a step of the halved map, where a step is 2, 4, 8 or 16 pixels. FPN: a map whose
# first unit looks at pixel 0 is upsampled by repetition; its copies are centred half a
# finer step earlier, at -8 pixels for the last map, then 4 and 2 more. HRNet does the
# same at many levels. U-Net, for an input that 16 does not divide: the larger map is
# cropped in the middle, but the pools dropped positions at the end only.
MISALIGNED = {
    "dla34": ("stage3.left.add1", 1),
    "hrnet_w18": ("stage2.0.add1", 2),
    "resnet18_fpn": ("lateral3.add1", 8),
    "unet_padded": ("concat2", 4),
}


def test_these_shipped_networks_are_not_aligned() -> None:
    found = {}
    for spec in (*shipped_specs(), "unet_padded"):
        network = archdsl.load(spec)
        misaligned = _of(network)
        if misaligned:
            found[network.name] = next(iter(misaligned.values()))
    assert set(found) == set(MISALIGNED)
    for preset, (layer, offset) in MISALIGNED.items():
        assert found[preset].layer == layer
        assert found[preset].offset == (offset, offset)


def test_every_pyramid_level_adds_half_a_step() -> None:
    offsets = [each.offset for each in _of(archdsl.load("resnet18_fpn")).values()]
    assert offsets == [(8, 8), (8 + 4, 8 + 4), (8 + 4 + 2, 8 + 4 + 2)]


def test_a_padded_unet_is_aligned_where_16_divides_its_input() -> None:
    assert not _of(archdsl.load("unet_padded", input=(1, 576, 576)))


# ---- by gradient ---------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_offsets_are_those_of_gradients(data: st.DataObject) -> None:
    # Two branches of windows; the larger result is cropped to the size of the other.
    sketch = Sketch((1, 40, 40))
    strides = data.draw(st.lists(st.integers(1, 2), min_size=1, max_size=3))
    ends = []
    for _ in range(2):
        value = 0
        for stride in strides:
            kernel = data.draw(st.integers(1, 4))
            pad = data.draw(st.integers(0, kernel // 2))
            value = sketch.add(
                data.draw(st.sampled_from(["conv", "avgpool"])),
                value,
                kernel=(kernel, kernel),
                stride=(stride, stride),
                pad=(pad, pad),
            )
        ends.append(value)
    ends.sort(key=sketch.shape, reverse=True)
    ends[0] = sketch.add("crop", *ends)
    sketch.add("add", *ends)
    network = sketch.network()
    graph = flatten(network)
    known = fields(graph)
    unit = sketch.shape(ends[0])[1] // 2
    image = torch.rand(1, 1, 40, 40, dtype=torch.float64).add(0.5).requires_grad_()
    values = seeing(network).values(image)
    middles = []
    for end in ends:
        axis = known[end].axes[0]
        # The gradient shows less of a field that is cut off, or begins or ends with a
        # hole.
        assume(axis.low <= axis.first + unit * axis.jump)
        assume(axis.last + unit * axis.jump <= axis.high)
        seen = values[end][0, :, unit, unit].sum()
        (gradient,) = torch.autograd.grad(seen, image, retain_graph=True)
        rows = gradient.abs().sum((0, 1, 3)).nonzero().flatten().tolist()
        middles.append((rows[0] + rows[-1]) / 2)
    offsets = [each.offset[0] for each in _of(network).values()]
    apart = abs(middles[0] - middles[1])
    assert offsets == ([pytest.approx(apart)] if apart else [])
