"""Positions of the input that layers do not read, against gradients."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

import archdsl
from archdsl.ir import Network
from archdsl.ir.graph import flatten
from archdsl.passes.coverage import Coverage, coverage
from archdsl.values import Last, sizes
from tests.handmade import Sketch, chain
from tests.seeing import ALONE, CLEAR, WINDOWED, seeing
from tests.strategies import sketches


def _of(network: Network) -> Coverage:
    found = coverage(flatten(network))
    assert found is not None
    return found


def _rows(*layers: tuple[str, dict[str, object]], rows: int) -> Coverage:
    return _of(chain((1, rows, 64), *layers))


# ---- by hand -------------------------------------------------------------------


def test_a_stride_larger_than_its_kernel_steps_over_rows() -> None:
    found = _rows(("conv", {"kernel": (1, 1), "stride": (3, 1)}), rows=8)
    # Rows 0, 3 and 6 are read.
    assert found.covered == (3, 64)
    assert found.dropped == (((1, 2), (4, 5), (7, 7)), ())
    assert found.share == pytest.approx(3 / 8)


def test_a_size_that_is_no_multiple_loses_its_last_rows() -> None:
    found = _rows(("maxpool", {"kernel": (2, 2)}), rows=9)
    assert found.covered == (8, 64)
    assert found.dropped == (((8, 8),), ())
    # As many as the whole network drops.
    network = _rows(*[("maxpool", {"kernel": (2, 1), "stride": (2, 1)})] * 3, rows=15)
    assert network.dropped == (((8, 14),), ())


def test_wide_kernels_read_what_others_step_over() -> None:
    sketch = Sketch((1, 8, 8))
    strided = sketch.add("conv", 0, kernel=(1, 1), stride=(2, 2))
    wide = sketch.add("conv", 0, kernel=(3, 3), stride=(2, 2))
    sketch.add("add", strided, wide)
    found = _of(sketch.network())
    assert found.covered == (8, 8) and found.dropped == ((), ())
    assert found.layers[strided].reads == (4, 4)
    assert found.layers[strided].share == pytest.approx(1 / 4)
    assert found.layers[wide].reads == (8, 8)


def test_holes_of_a_dilated_kernel_are_not_read() -> None:
    found = _rows(
        ("conv", {"kernel": (2, 1), "dilation": (4, 1), "pad": (0, 0)}), rows=6
    )
    # Two units read rows 0 and 4, 1 and 5.
    assert found.dropped == (((2, 3),), ())


def test_padding_is_no_part_of_the_input() -> None:
    sketch = Sketch((1, 1, 7))
    padded = sketch.add("zeropad", 0, bottom=1)
    last = sketch.add("conv", padded, kernel=(1, 1), stride=(1, 2))
    found = _of(sketch.network())
    assert found.covered == (1, 4)
    assert found.layers[padded].reads == found.layers[padded].of == (1, 7)
    assert found.layers[last].reads == (2, 4)


def test_units_that_nothing_needs_are_told() -> None:
    sketch = Sketch((1, 9, 9))
    first = sketch.add("conv", 0, kernel=(3, 3))
    last = sketch.add("conv", first, kernel=(1, 1), stride=(4, 4))
    aside = sketch.add("conv", 0, kernel=(1, 1))
    found = _of(sketch.network(last))
    # Rows 0, 4 and 8 of the first layer's output are read.
    assert found.layers[first].used == (3, 3)
    assert found.layers[last].used == found.layers[last].units == (3, 3)
    assert found.layers[aside].used == (0, 0)


def test_global_layers_read_all_and_gates_too() -> None:
    sketch = Sketch((2, 8, 8))
    strided = sketch.add("conv", 0, kernel=(1, 1), stride=(2, 2), width=2)
    pooled = sketch.add("globalavgpool", 0)
    assert len(sketch.shape(pooled)) == 1
    gate = sketch.add("adaptiveavgpool", 0, size=(1, 1))
    scaled = sketch.add("mul", gate, strided)
    assert _of(sketch.network(strided)).covered == (4, 4)
    assert _of(sketch.network(pooled)).covered == (8, 8)
    assert _of(sketch.network(scaled)).covered == (8, 8)


def test_only_the_size_of_a_second_branch_is_read() -> None:
    sketch = Sketch((1, 8, 8))
    small = sketch.add("maxpool", 0, kernel=(2, 2))
    other = sketch.add("maxpool", 0, kernel=(4, 4))
    resized = sketch.add("crop", small, other)
    # The middle two of four rows, each of two rows of the input.
    found = _of(sketch.network(resized))
    assert found.dropped == (((0, 1), (6, 7)),) * 2
    assert found.layers[other].used == (0, 0)


def test_the_shipped_networks_that_lose_pixels() -> None:
    # 11x11 /4 and 7x7 /2 without padding, on 224 rows: the last row is not read.
    for name in ("nin", "squeezenet1_0"):
        found = _of(archdsl.load(name))
        assert found.dropped == (((223, 223),),) * 2, name
    # 1x1 /2 projections read a quarter; the 3x3 in the other branch read everything.
    graph = flatten(archdsl.load("resnet50"))
    found = _of(graph.network)
    shares = {n.step.path: found.layers[n.output].share for n in graph.nodes[:-3]}
    assert found.share == 1
    assert {path for path, share in shares.items() if share < 1} == {
        f"layer{n}.0.downsample.0" for n in (2, 3, 4)
    }
    assert shares["layer2.0.downsample.0"] == pytest.approx(1 / 4)


def test_vectors_and_endless_padding_have_no_answer() -> None:
    assert coverage(flatten(chain((8,), ("linear", {"width": 4})))) is None
    far = {"kernel": (1, 1), "stride": (10**6, 1), "pad": (10**6, 0)}
    assert coverage(flatten(chain((1, 8, 8), ("conv", far)))) is None


def test_figures_are_plain_data() -> None:
    found = _rows(("conv", {"kernel": (1, 1), "stride": (4, 4)}), rows=8)
    ranges = [[n + 1, n + 3] for n in range(0, 64, 4)]
    assert found.as_dict() == {
        "of": [8, 64],
        "covered": [2, 16],
        "share": 1 / 16,
        "dropped": [ranges[:2], ranges],
    }
    assert found.layers[1].as_dict() == {
        "of": [8, 64],
        "reads": [2, 16],
        "share": 1 / 16,
        "units": [2, 16],
        "used": [2, 16],
    }


# ---- by gradient ---------------------------------------------------------------


def _nonzero(gradient: Tensor, dim: int) -> set[int]:
    """Return the positions along an axis at which a gradient is not zero."""
    others = tuple(d for d in range(4) if d != dim)
    return set(gradient.abs().sum(others).nonzero().flatten().tolist())


def _check(network: Network, *, exact: bool) -> None:
    """Compare covered positions with those where some gradient is not 0."""
    graph = flatten(network)
    assume(all(abs(getattr(node.op, "factor", 1)) > 1e-3 for node in graph.nodes))
    found = _of(network)
    module = seeing(network)
    shape = graph.shapes[graph.inputs[0]]
    image = torch.rand(1, *shape, dtype=torch.float64).add(0.5).requires_grad_()
    values = module.values(image)
    output = values[graph.outputs(training=False)[0]]
    if not output.requires_grad:
        return
    # Also, for each layer's output, the positions that the network's output depends on.
    wanted = [image, *(values[node.output] for node in graph.nodes)]
    gradients = torch.autograd.grad(
        output.sum(), wanted, allow_unused=True, materialize_grads=True
    )
    for axis, (n, runs) in enumerate(zip(sizes(shape), found.dropped, strict=True)):
        dropped = {i for first, last in runs for i in range(first, last + 1)}
        seen = _nonzero(gradients[0], axis + 2)
        assert seen <= set(range(n)) - dropped
        if exact:
            assert seen == set(range(n)) - dropped
    for node, gradient in zip(graph.nodes, gradients[1:], strict=True):
        alone = sum(value is values[node.output] for value in values.values()) == 1
        if len(node.shape) != 3 or node.output not in found.layers or not alone:
            continue  # some layers return their input itself
        first = 1 if isinstance(node.shape, Last) else 2
        for axis, used in enumerate(found.layers[node.output].used):
            seen = _nonzero(gradient, axis + first)
            assert len(seen) <= used
            if exact and values[node.output].all():  # relu passes nothing at 0
                assert len(seen) == used


@settings(max_examples=100, deadline=None)
@given(sketches(ALONE + 3 * WINDOWED, start=(2, 11, 12), most=6))
def test_chains_agree_with_gradients(sketch: Sketch) -> None:
    _check(sketch.network(), exact=True)


@settings(max_examples=100, deadline=None)
@given(sketches((*CLEAR, *WINDOWED, "add", "concat"), start=(2, 11, 12), most=8))
def test_gradients_stay_within_what_is_covered(sketch: Sketch) -> None:
    _check(sketch.network(), exact=False)


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_branches_agree_with_gradients(data: st.DataObject) -> None:
    sketch = Sketch((1, 13, 14))
    value = 0
    for _ in range(data.draw(st.integers(1, 4))):
        kernel = data.draw(st.sampled_from([(1, 1), (3, 3), (3, 1), (1, 5)]))
        stride = data.draw(st.sampled_from([(1, 1), (2, 2), (1, 2), (3, 1)]))
        one = sketch.add("conv", value, kernel=kernel, stride=stride)
        other = sketch.add("conv", value, kernel=(1, 1), stride=stride)
        value = sketch.add(data.draw(st.sampled_from(["add", "concat"])), one, other)
    _check(sketch.network(), exact=True)
