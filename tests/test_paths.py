"""Paths of the gradient, against closed formulas, enumeration and torch's gradients."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import reduce
from itertools import product
from math import comb, sqrt
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import archdsl
from archdsl.ir import Network
from archdsl.ir.graph import Graph, flatten
from archdsl.passes.paths import GradientPaths, Paths, paths
from archdsl.resources import specs_dir
from tests.handmade import Interpreted, Sketch, chain
from tests.strategies import sketches

Lengths = dict[int, int]


def _of(network: Network) -> GradientPaths:
    return paths(flatten(network))


def _lengths(network: Network) -> Lengths:
    """Return how many paths from output to input have each length."""
    found = _of(network).lengths
    assert found is not None
    return dict(found)


def _in_a_row(*parts: Lengths) -> Lengths:
    """Return the lengths of paths through several parts, one after the other."""
    return reduce(_two_in_a_row, parts, {0: 1})


def _two_in_a_row(one: Lengths, other: Lengths) -> Lengths:
    found: Counter[int] = Counter()
    for (a, n), (b, m) in product(one.items(), other.items()):
        found[a + b] += n * m
    return dict(found)


def _plain(layers: int) -> Lengths:
    return {layers: 1}


def _unit(layers: int, shortcut: int = 0) -> Lengths:
    """Return the paths through or around some layers."""
    return dict(Counter({layers: 1}) + Counter({shortcut: 1}))


# ---- closed forms --------------------------------------------------------------


@pytest.mark.parametrize("name", ["alexnet", "vgg16", "vgg19", "nin", "plain56"])
def test_a_plain_network_has_one_path_as_long_as_it_is_deep(name: str) -> None:
    analysis = archdsl.analyze(archdsl.load(name))
    assert _lengths(analysis.network) == {analysis.depth: 1}


def test_resnet50_by_closed_form() -> None:
    # The stem and the classifier; sixteen bottlenecks of three layers, four of which
    # have a projection of one on their shortcut.
    lengths = _lengths(archdsl.load("resnet50"))
    units = [_unit(3, 1)] * 4 + [_unit(3)] * 12
    assert lengths == _in_a_row(_plain(1), *units, _plain(1))
    assert sum(lengths.values()) == 2**16
    found = _of(archdsl.load("resnet50")).input
    assert found is not None
    assert (found.shortest, found.longest) == (2 + 4, 50)
    assert found.mean == 2 + 12 * 3 / 2 + 4 * (3 + 1) / 2
    # As for coins that give 0 or 3, and 1 or 3.
    assert found.deviation == pytest.approx(sqrt(12 * 9 / 4 + 4 * 4 / 4))


def test_a_residual_network_is_spread_like_coins_that_are_tossed() -> None:
    # Veit, Wilber & Belongie 2016, section 3 and figure 6: the 54 units of ResNet-110
    # give 2^54 paths, and the number of units on them is binomially distributed. With
    # projection shortcuts, two units add a layer if they are skipped.
    text = (specs_dir() / "tutorial" / "depth.arch").read_text(encoding="utf-8")
    text += "preset residual110 = Cifar<residual_unit, 18>\n"
    network = archdsl.loads(text, preset="residual110")
    lengths = _lengths(network)
    coins = {2 * n: comb(52, n) for n in range(53)}
    assert lengths == _in_a_row(_plain(2), coins, *[_unit(2, 1)] * 2)
    assert sum(lengths.values()) == 2**54
    found = _of(network).input
    assert found is not None
    assert (found.shortest, found.longest) == (4, 110)
    # One in 2^54 paths has the full length; half of all have 57 or less.
    assert lengths[110] == 1
    assert sum(n for length, n in lengths.items() if length <= 57) > 2**53


def test_what_skip_connections_do() -> None:
    # As stated in specs/tutorial/depth.arch.
    plain, residual = (_of(archdsl.load(f"{k}56")) for k in ("plain", "residual"))
    assert plain.input is not None and residual.input is not None
    assert plain.input == Paths(1, 56, 56**2, 56, 56)
    assert residual.input.number == 2**27 == 134_217_728
    assert (residual.input.shortest, residual.input.longest) == (4, 56)
    assert residual.input.mean == 2 + 25 * 2 / 2 + 2 * 3 / 2 == 30


def test_a_dense_block_joins_all_subsets_of_its_layers() -> None:
    # Unit i reads the input and every unit before it, and so do the transition and the
    # last norm. So each subset of the units is a path, with two layers per unit.
    blocks = [{2 * n: comb(k, n) for n in range(k + 1)} for k in (6, 12, 24, 16)]
    lengths = _lengths(archdsl.load("densenet121"))
    # A stem, three transitions and a classifier.
    assert lengths == _in_a_row(*blocks, _plain(5))
    assert sum(lengths.values()) == 2**58


def test_googlenet_by_closed_form() -> None:
    # Three convolutions, and nine modules of paths of 1, 2, 2 and 1 layers.
    lengths = _lengths(archdsl.load("googlenet"))
    assert lengths == _in_a_row(_plain(3), *[{1: 2, 2: 2}] * 9, _plain(1))


def test_unet_by_closed_form() -> None:
    # A path that crosses at level i has 2 i + 2 convolutions before, then two at each
    # of levels i to 0, i transposed ones between them, and the head.
    lengths = _lengths(archdsl.load("unet"))
    sides = Counter(2 * i + 2 + 2 * (i + 1) + i + 1 for i in range(4))
    bottom = 4 * 2 + 2 + 4 * 3 + 1
    assert lengths == dict(sides + Counter([bottom]))


# ---- by hand -------------------------------------------------------------------


def test_each_layer_has_the_paths_up_to_it() -> None:
    sketch = Sketch((1, 8, 8))
    first = sketch.add("conv", 0, kernel=(1, 1))
    second = sketch.add("conv", first, kernel=(1, 1))
    relu = sketch.add("relu", second)
    joined = sketch.add("add", relu, first)
    last = sketch.add("conv", joined, kernel=(1, 1))
    main = _of(sketch.network()).main
    assert main[last] == Paths(1, 1, 1, 1, 1)
    assert main[joined] == main[relu] == Paths(1, 1, 1, 1, 1)
    assert main[second] == Paths(1, 2, 4, 2, 2)
    # Through the second, 1 + 1 + 1, and around it, 1 + 1.
    assert main[first] == Paths(2, 5, 13, 2, 3)
    assert main[first].mean == 2.5
    assert main[first].deviation == 0.5


def test_heads_have_losses_of_their_own() -> None:
    sketch = Sketch((1, 8, 8))
    first = sketch.add("conv", 0, kernel=(1, 1))
    middle = sketch.add("conv", first, kernel=(1, 1))
    head = sketch.add("conv", first, kernel=(1, 1), training=True)
    last = sketch.add("conv", middle, kernel=(1, 1))
    found = _of(sketch.network(last, training=[head]))
    assert found.main[first] == Paths(1, 3, 9, 3, 3)
    assert found.heads[first] == Paths(1, 2, 4, 2, 2)
    assert head not in found.main and middle not in found.heads
    assert found.of(head) == {
        "count": 0,
        "shortest": None,
        "longest": None,
        "mean": None,
        "deviation": None,
        "heads": {
            "count": 1,
            "shortest": 1,
            "longest": 1,
            "mean": 1.0,
            "deviation": 0.0,
        },
    }
    # GoogLeNet's first head: two linear layers and a convolution after inception4a.
    graph = flatten(archdsl.load("googlenet"))
    at = {node.step.path: node.output for node in graph.nodes}
    found = paths(graph)
    assert found.heads[at["conv1.conv"]].shortest == 3 + 3 + 3
    assert found.main[at["conv1.conv"]].shortest == 3 + 9 + 1


def test_a_size_that_is_read_gets_no_gradient() -> None:
    sketch = Sketch((1, 8, 8))
    small = sketch.add("conv", 0, kernel=(1, 1))
    other = sketch.add("conv", 0, kernel=(1, 1))
    sketch.add("resize", small, other)
    found = _of(sketch.network())
    assert found.of(other) is None
    assert found.lengths == ((1, 1),)


def test_a_value_that_is_read_twice_is_on_two_paths() -> None:
    sketch = Sketch((1, 8, 8))
    first = sketch.add("conv", 0, kernel=(1, 1))
    sketch.add("add", first, first)
    assert _lengths(sketch.network()) == {1: 2}


def test_an_input_that_nothing_reads_has_no_path() -> None:
    sketch = Sketch((1, 8, 8), (1, 8, 8))
    sketch.add("conv", 1, kernel=(1, 1))
    found = _of(sketch.network())
    assert found.input is None and found.lengths is None
    assert found.as_dict() is None


def test_figures_are_plain_data() -> None:
    sketch = Sketch((4,))
    first = sketch.add("linear", 0, width=4)
    sketch.add("add", first, 0)
    assert _of(sketch.network()).as_dict() == {
        "count": 2,
        "shortest": 0,
        "longest": 1,
        "mean": 0.5,
        "deviation": 0.5,
        "lengths": [[0, 1], [1, 1]],
    }


def test_numbers_too_large_to_print_are_left_out() -> None:
    sketch = Sketch((4,))
    value = 0
    for _ in range(15_000):
        value = sketch.add("add", value, value)
    found = _of(sketch.network())
    assert found.input is not None
    assert found.input.number == 2**15_000
    figures = found.as_dict()
    assert figures is not None
    assert figures["count"] is None and figures["lengths"] is None
    assert figures["mean"] == figures["longest"] == 0


# ---- by enumeration ------------------------------------------------------------


def _enumerated(graph: Graph, value: int, target: int) -> Iterator[int]:
    """Yield the length of each path from a value to one that it depends on."""
    if value == target:
        yield 0
    for node in graph.nodes:
        if node.output == value:
            for read in node.inputs[: node.op.sources]:
                for length in _enumerated(graph, read, target):
                    yield length + node.op.weighted


@settings(max_examples=100, deadline=None)
@given(sketches(most=9))
def test_random_networks_agree_with_enumeration(sketch: Sketch) -> None:
    network = sketch.network()
    graph = flatten(network)
    found = paths(graph)
    (output,) = graph.outputs(training=False)
    for node in graph.nodes:
        each = [
            length + node.op.weighted
            for length in _enumerated(graph, output, node.output)
        ]
        report = found.main.get(node.output)
        assert (report is not None) == bool(each)
        if report is not None:
            assert report == Paths(
                len(each), sum(each), sum(n * n for n in each), min(each), max(each)
            )
    counted = Counter(_enumerated(graph, output, 0))
    assert dict(found.lengths or ()) == dict(counted)


# ---- by torch ------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_gradients_are_sums_over_paths(data: st.DataObject) -> None:
    # A 1x1 convolution with one channel multiplies by its weight, here 3, and a sum
    # adds the gradients of its branches. So the gradient is the sum of 3^length over
    # all paths.
    sketch = Sketch((1, 1, 1))
    values: list[int] = [0]
    for _ in range(data.draw(st.integers(1, 30))):
        word: Any = data.draw(st.sampled_from(["conv", "add", "identity"]))
        one, other = (data.draw(st.sampled_from(values[-3:])) for _ in range(2))
        if word == "add":
            values.append(sketch.add("add", one, other))
        elif word == "conv":
            values.append(sketch.add("conv", one, kernel=(1, 1), bias=False))
        else:
            values.append(sketch.add("identity", one))
    network = sketch.network()
    module = Interpreted(network).double()
    with torch.no_grad():
        for weight in module.parameters():
            weight.fill_(3)
    image = torch.ones(1, 1, 1, 1, dtype=torch.float64, requires_grad=True)
    (output,) = module(image)
    (gradient,) = torch.autograd.grad(output, image, allow_unused=True)
    lengths = dict(_of(network).lengths or ())
    expected = sum(number * 3**length for length, number in lengths.items())
    assert (0 if gradient is None else int(gradient)) == expected


def test_a_chain_of_linear_layers() -> None:
    network = chain((4,), *[("linear", {"width": 4}), "relu"] * 5)
    assert _lengths(network) == {5: 1}
