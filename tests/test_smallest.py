"""The smallest input of a network, against modules run at that size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

import archdsl
from archdsl.ir import Network
from archdsl.ir.graph import flatten
from archdsl.passes.smallest import Smallest, smallest
from archdsl.resources import specs_dir
from tests import handmade, presets
from tests.handmade import Sketch, chain
from tests.oracle import CASES, torchvision
from tests.strategies import sketches


def _of(network: Network, *, training: bool = False) -> Smallest:
    found = smallest(flatten(network), training=training)
    assert found is not None
    return found


# ---- by hand -------------------------------------------------------------------


def test_smallest_inputs_are_those_that_torchvision_states() -> None:
    for case in CASES.values():
        weights = torchvision.models.get_model_weights(case.model)
        (stated,) = {entry.meta["min_size"] for entry in weights}
        if case.model.startswith("efficientnet_v2"):
            # More than is needed: `test_torchvision_states_more_than_is_needed`.
            assert stated == (33, 33)
            stated = (1, 1)
        found = _of(case.load())
        assert found.size == stated, case.id
        assert [each.step for each in found.along] == [1, 1]


def test_torchvision_states_more_than_is_needed() -> None:
    with torch.device("meta"):
        model = torchvision.models.efficientnet_v2_s(weights=None).eval()
        assert model(torch.empty(1, 3, 1, 1)).shape == (1, 1000)


def test_what_fails_below_is_named() -> None:
    below = _of(archdsl.load("vgg16")).along[0].below
    assert below is not None
    assert below.layer == "features.30"
    assert below.size == (31, 224)
    assert (
        below.message == "maxpool: a window of 2 is larger than the padded input of 1"
    )
    assert _of(archdsl.load("resnet50")).along[0].below is None


def test_axes_are_apart() -> None:
    found = _of(
        chain(
            (1, 30, 40),
            ("conv", {"kernel": (5, 2), "pad": (0, 0)}),
            ("maxpool", {"kernel": (1, 3), "stride": (1, 3)}),
        )
    )
    assert found.size == (5, 4)
    assert found.along[0].below is not None and found.along[1].below is not None
    assert found.along[0].below.layer == "conv2"
    assert found.along[1].below.layer == "maxpool3"


def test_a_norm_over_positions_needs_more_than_one_along_either_axis() -> None:
    halves = ("conv", {"kernel": (3, 3), "stride": (2, 2), "width": 4})
    found = _of(chain((1, 18, 14), halves, ("instancenorm", {})))
    assert found.size == (1, 3) and [each.first for each in found.along] == [1, 1]
    assert found.along[0].below is None and found.along[1].below is not None
    assert found.along[1].below.layer == "instancenorm3"
    assert found.along[1].below.size == (1, 2)


def test_a_linear_layer_takes_one_size_of_map() -> None:
    found = _of(
        chain(
            (3, 32, 32),
            ("maxpool", {"kernel": (4, 4)}),
            "flatten",
            ("linear", {"width": 10}),
        )
    )
    # 32 to 35 rows become 8.
    for along in found.along:
        assert (along.first, along.last, along.step) == (32, 35, 1)
    below = found.along[0].below
    assert below is not None
    assert below.layer == "linear4"
    assert below.message == (
        "linear: its weights are for an input of 192, but this one is 168"
    )


def test_a_gate_that_is_made_by_a_window_has_a_largest_input() -> None:
    sketch = Sketch((1, 14, 20))
    gate = sketch.add("avgpool", 0, kernel=(14, 20))
    sketch.add("mul", gate, 0)
    found = _of(sketch.network())
    # From 28 rows on, and 40 columns, the gate has two.
    assert (found.along[0].first, found.along[0].last) == (14, 27)
    assert (found.along[1].first, found.along[1].last) == (20, 39)


def test_only_one_axis_may_have_a_largest_size() -> None:
    sketch = Sketch((2, 14, 20))
    rows = sketch.add("avgpool", 0, kernel=(14, 1))
    other = sketch.add("conv", 0, kernel=(14, 1), pad=(0, 0))
    sketch.add("add", rows, other)
    found = _of(sketch.network())
    # From 14 rows, both have one row; from 15, the convolution has two.
    assert (found.along[0].first, found.along[0].last) == (14, 14)
    assert found.along[0].above is not None and found.along[0].above.layer == "add4"
    assert (found.along[1].first, found.along[1].last) == (1, None)


def test_published_sizes_of_koch_et_al() -> None:
    # 105 rows are 96, 48, 42, 21, 18, 9 and 6; 112 are the most that are 6 at the end.
    found = _of(archdsl.load("siamese"))
    assert found.size == (105, 105)
    assert found.along[0].last == found.along[1].last == 112


def test_a_network_that_joins_what_it_halved_takes_multiples() -> None:
    found = _of(archdsl.load(specs_dir() / "templates" / "unet.arch"))
    # Three levels of 2x2 pools.
    for along in found.along:
        assert (along.first, along.step, along.run) == (8, 8, 1)
        assert along.between is not None
        # From 9 rows, the lower level returns 8.
        assert along.between.layer == "concat3"


def test_branches_that_round_differently_take_some_sizes() -> None:
    # DLA-34: 2x2 pools round down, 3x3 convolutions of stride 2 up. The first of these
    # has no pool beside it, and makes 16 n rows of 32 n - 1, too.
    found = _of(archdsl.load("dla34"))
    assert (found.along[0].first, found.along[0].step, found.along[0].run) == (
        31,
        32,
        2,
    )
    # HRNet: two convolutions round up to a quarter, which must be a multiple of 8.
    found = _of(archdsl.load("hrnet_w18"))
    assert (found.along[0].first, found.along[0].step, found.along[0].run) == (
        29,
        32,
        4,
    )


def test_other_inputs_are_scaled() -> None:
    sketch = Sketch((1, 32, 32), (1, 16, 16), (7,))
    half = sketch.add("maxpool", 0, kernel=(2, 2))
    sketch.add("add", half, 1)
    found = _of(sketch.network())
    # 3 rows are halved to 1, but the other input would have 2.
    assert (found.along[0].first, found.along[0].step, found.along[0].run) == (2, 2, 1)


def test_vectors_have_no_sizes() -> None:
    assert smallest(flatten(chain((8,), ("linear", {"width": 4})))) is None


def test_only_training_runs_auxiliary_heads() -> None:
    network = archdsl.load("googlenet_paper")
    # Four pools 3x3 /2 round up: 31 rows become 16, 8, 4, 2 and 1, and 30 become 15, 7,
    # 3, 1 and none.
    assert _of(network).along[0].first == 31
    # A head has weights for 4 rows, which 5x5 pooling at stride 3 makes from 14 to 16
    # rows after the third pool. These come from 28 to 33, 56 to 67, 112 to 135 and 223
    # to 270 rows.
    heads = _of(network, training=True).along[0]
    assert (heads.first, heads.last) == (223, 270)
    assert heads.below is not None and heads.below.layer == "aux1.fc1"


def test_figures_are_plain_data() -> None:
    found = _of(chain((1, 9, 9), ("conv", {"kernel": (3, 4), "pad": (0, 0)})))
    assert found.as_dict() == {
        "size": [3, 4],
        "built": [3, 4],
        "step": [1, 1],
        "run": [1, 1],
        "largest": [None, None],
        "below": [
            {
                "size": [2, 9],
                "layer": "conv2",
                "message": "conv: a window of 3 is larger than the padded input of 2",
            },
            {
                "size": [9, 3],
                "layer": "conv2",
                "message": "conv: a window of 4 is larger than the padded input of 3",
            },
        ],
        "between": [None, None],
        "above": [None, None],
    }


# ---- by running ----------------------------------------------------------------


def _inputs(network: Network, size: tuple[int, ...]) -> list[Tensor]:
    """Return inputs on the meta device, the first one of that height and width."""
    height, width = network.inputs[0].shape[1:]
    inputs = []
    for port in network.inputs:
        shape = tuple(port.shape)
        if len(shape) == 3:
            scaled = (-(-shape[1] * size[0] // height), -(-shape[2] * size[1] // width))
            shape = (shape[0], *scaled)
        # Two samples, as batch norm refuses to train on a single value per channel.
        inputs.append(torch.empty(2, *shape, device="meta"))
    return inputs


def _runs(run: Callable[..., Any], network: Network, size: tuple[int, ...]) -> bool:
    """Return whether a function accepts an input of this height and width."""
    try:
        with torch.no_grad():
            run(*_inputs(network, size))
    except (RuntimeError, ValueError):
        return False
    return True


# One for each kind of behaviour; torchvision states the sizes of most others.
RUN = (
    "alexnet",
    "convmixer",
    "cspdarknet",
    "dcgan",
    "deeplab",
    "dla",
    "dpn",
    "fpn",
    "ghostnet",
    "googlenet",
    "googlenet_paper",
    "hrnet",
    "inception",
    "nin",
    "repvgg",
    "siamese",
    "squeezenet",
    "srgan",
    "tutorial/depth",
    "two_inputs",
    "unet",
    "unet_padded",
    "vgg",
    "xception",
)


@pytest.mark.parametrize("name", RUN)
def test_modules_run_at_the_smallest_size_and_not_below(name: str) -> None:
    network = presets.network(name)
    with torch.device("meta"):
        module = presets.built(name)
    training = any(port.training for port in network.outputs)
    module.train(training)
    height, width = network.inputs[0].shape[1:]
    found = _of(network, training=training)
    assert _runs(module, network, found.size)
    assert found.along[1].first == 1 or not _runs(
        module, network, (height, found.along[1].first - 1)
    )
    rows = found.along[0]
    assert rows.step is not None
    for n in {rows.first - 1, rows.first + 1, rows.first + rows.run} - {0}:
        fits = n >= rows.first and (n - rows.first) % rows.step < rows.run
        assert _runs(module, network, (n, width)) == fits, n
    if rows.last is not None:
        assert _runs(module, network, (rows.last, width))
        assert not _runs(module, network, (rows.last + 1, width))


def test_every_size_of_a_template_is_told_from_those_that_fail() -> None:
    network = archdsl.load(specs_dir() / "templates" / "unet.arch")
    with torch.device("meta"):
        module = archdsl.build(network).eval()
    for n in range(1, 70):
        assert _runs(module, network, (n, n)) == (n % 8 == 0)


@settings(max_examples=80, deadline=None)
@given(sketches(start=(2, 11, 12), most=8))
def test_random_networks_agree_with_torch(sketch: Sketch) -> None:
    network = sketch.network()
    with torch.device("meta"):
        module = handmade.Interpreted(network).eval()

    def run(*inputs: Tensor) -> None:
        # torch allows transposed convolutions to return maps without rows.
        if not all(value.numel() for value in module.values(*inputs).values()):
            raise ValueError("empty")

    found = _of(network)
    for n in range(1, found.along[0].first + 1):
        assert _runs(run, network, (n, 12)) == (n == found.along[0].first), n
    for n in range(1, found.along[1].first + 1):
        assert _runs(run, network, (11, n)) == (n == found.along[1].first), n
    assert _runs(run, network, found.size)
    for axis, (size, along) in enumerate(zip(found.size, found.along, strict=True)):
        less = (*found.size[:axis], size - 1, *found.size[axis + 1 :])
        assert size == 1 or not _runs(run, network, less)
        assert (along.below is None) == (size == 1)
