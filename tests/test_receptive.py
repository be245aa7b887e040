"""Receptive fields, against published figures and against gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import archdsl
from archdsl.ir import Network
from archdsl.ir.graph import Graph, Node, flatten
from archdsl.passes.analysis import analyze
from archdsl.passes.receptive import (
    AxisField,
    ReceptiveField,
    UnitFields,
    fields,
    main_value,
    reports,
)
from archdsl.resources import specs_dir
from archdsl.values import Last, sizes
from tests.handmade import Sketch, chain
from tests.oracle import CASES, torchvision
from tests.seeing import ALONE, WINDOWED, brighten, seeing, thin
from tests.strategies import sketches


def _reported(
    size: int, jump: int, start: int, visible: int, share: float
) -> ReceptiveField:
    """Return the report of a field that is equal along both axes and all paths."""
    return ReceptiveField(
        size=(size, size),
        jump=(jump, jump),
        start=(start, start),
        visible=(visible, visible),
        exact=True,
        whole=False,
        interval=((start, start + size - 1),) * 2,
        minimum=(size, size),
        maximum=(size, size),
        share=share,
        smallest=(size, size),
        local=(size, size),
        local_smallest=(size, size),
    )


def _of(network: Network) -> ReceptiveField:
    field = analyze(network).receptive_field
    assert field is not None
    return field


# ---- published -----------------------------------------------------------------


# The fields of the last maps before global pooling, calculated by hand. For alexnet,
# vgg16 and the three Inceptions, the sizes equal Araujo, Norris & Sim 2019, table 1.
LAST_MAPS = {
    "alexnet": (195, -66, 128),
    "vgg16": (212, -90, 121),
    "vgg19": (268, -118, 149),
    "resnet50": (427, -213, 213),
    "googlenet": (379, -167, 211),
    "densenet121": (2071, -1021, 1049),
    "inception_v3": (1311, -618, 692),
    "inception_v4": (2071, -998, 1072),
    "inception_resnet_v2": (3039, -1482, 1556),
}


@pytest.mark.parametrize("name", LAST_MAPS)
def test_published_sizes(name: str) -> None:
    size, first, last = LAST_MAPS[name]
    field = _of(archdsl.load(name))
    assert field.size == field.maximum == (size, size)
    assert field.start == (first, first)
    assert field.interval == ((first, last), (first, last))
    assert field.jump == (32, 32)
    assert field.exact and not field.whole


# google-research/receptive_field, the library of the same authors: its table
# RECEPTIVE_FIELD_TABLE.md gives size, stride and padding at each end-point.
END_POINTS = {
    "inception_v3": {
        "Conv2d_1a_3x3": (3, 2, 0),
        "Conv2d_2a_3x3": (7, 2, 0),
        "Conv2d_2b_3x3": (11, 2, 2),
        "maxpool1": (15, 4, 2),
        "Conv2d_3b_1x1": (15, 4, 2),
        "Conv2d_4a_3x3": (23, 4, 2),
        "maxpool2": (31, 8, 2),
        "Mixed_5b": (63, 8, 18),
        "Mixed_5c": (95, 8, 34),
        "Mixed_5d": (127, 8, 50),
        "Mixed_6a": (159, 16, 58),
        "Mixed_6b": (351, 16, 154),
        "Mixed_6c": (543, 16, 250),
        "Mixed_6d": (735, 16, 346),
        "Mixed_6e": (927, 16, 442),
        "Mixed_7a": (1055, 32, 490),
        "Mixed_7b": (1183, 32, 554),
        "Mixed_7c": (1311, 32, 618),
    },
    "inception_v4": {
        "stem.conv1": (3, 2, 0),
        "stem.conv2": (7, 2, 0),
        "stem.conv3": (11, 2, 2),
        "stem.concat1": (15, 4, 2),
        "stem.concat2": (47, 4, 14),
        "stem.concat3": (55, 8, 14),
        "inception_a.0": (87, 8, 30),
        "inception_a.1": (119, 8, 46),
        "inception_a.2": (151, 8, 62),
        "inception_a.3": (183, 8, 78),
        "reduction_a": (215, 16, 86),
        "inception_b.0": (407, 16, 182),
        "inception_b.1": (599, 16, 278),
        "inception_b.6": (1559, 16, 758),
        "reduction_b": (1687, 32, 806),
        "inception_c.0": (1815, 32, 870),
        "inception_c.1": (1943, 32, 934),
        "inception_c.2": (2071, 32, 998),
    },
    "inception_resnet_v2": {
        "stem": (31, 8, 2),
        "mixed": (63, 8, 18),
        "reduction_a": (415, 16, 186),
        "inception_b": (2335, 16, 1146),
        "reduction_b": (2399, 32, 1162),
        "conv": (3039, 32, 1482),
    },
}


@pytest.mark.parametrize("name", END_POINTS)
def test_published_end_points(name: str) -> None:
    layers = analyze(archdsl.load(name)).layers
    for path, (size, stride, padding) in END_POINTS[name].items():
        own = [f for f in layers if f.name == path or f.name.startswith(f"{path}.")]
        field = own[-1].receptive_field
        assert field is not None
        assert field.size == (size, size), path
        assert field.jump == (stride, stride), path
        assert field.start == (-padding, -padding), path


# Araujo, Norris & Sim 2019, table 1: the stride on the first 1x1, as in the paper.
@pytest.mark.parametrize(
    ("layers", "size"),
    [("[3, 4, 6, 3]", 483), ("[3, 4, 23, 3]", 1027), ("[3, 8, 36, 3]", 1507)],
)
def test_published_sizes_with_the_papers_stride(layers: str, size: int) -> None:
    assert _of(_paper(layers)).size == (size, size)


def _paper(layers: str) -> Network:
    text = (specs_dir() / "resnet.arch").read_text(encoding="utf-8")
    text += f"preset paper = ResNet<bottleneck<first = true>, {layers}>\n"
    return archdsl.loads(text, preset="paper")


def test_every_preset_has_a_field_at_every_layer() -> None:
    for case in CASES.values():
        graph = flatten(case.load())
        known = fields(graph)
        assert all(node.output in known for node in graph.nodes), case.id


# ---- by hand -------------------------------------------------------------------


def test_two_small_kernels_see_what_a_large_one_sees() -> None:
    small = chain((1, 9, 9), *[("conv", {"kernel": (3, 3)})] * 2)
    large = chain((1, 9, 9), ("conv", {"kernel": (5, 5)}))
    assert _of(small) == _of(large)
    assert _of(large) == _reported(5, 1, -2, 5, 5 * 5 / (9 * 9))


def test_axes_are_apart() -> None:
    network = chain(
        (1, 16, 15),
        ("conv", {"kernel": (3, 1), "stride": (2, 1), "pad": (0, 0)}),
        ("maxpool", {"kernel": (2, 5), "stride": (2, 3), "pad": (1, 0)}),
    )
    field = _of(network)
    assert (field.size, field.jump, field.start) == ((5, 5), (4, 3), (-2, 0))


def test_dilation_spreads_the_taps() -> None:
    network = chain(
        (1, 32, 32),
        ("conv", {"kernel": (3, 3), "stride": (2, 2)}),
        ("conv", {"kernel": (3, 3), "dilation": (4, 4), "pad": (0, 0)}),
    )
    assert _of(network).size == (3 + 2 * 8,) * 2


def test_branches_are_united() -> None:
    sketch = Sketch((1, 16, 16))
    short = sketch.add("conv", 0, kernel=(1, 1))
    long = sketch.add("conv", 0, kernel=(5, 5))
    ahead = sketch.add("conv", 0, kernel=(3, 3), pad=(1, 1))
    sketch.add("concat", short, long, ahead)
    field = _of(sketch.network())
    assert (field.size, field.start, field.exact) == ((5, 5), (-2, -2), True)


def test_branches_that_lean_apart_are_united_to_their_hull() -> None:
    sketch = Sketch((1, 16, 16))
    # Both keep 17x17: one looks two positions back, the other one ahead.
    back = sketch.add("conv", 0, kernel=(2, 2), pad=(1, 1))
    wide = sketch.add("conv", back, kernel=(3, 3))
    sketch.add("add", back, wide)
    assert _of(sketch.network()).size == (4, 4)
    assert _of(sketch.network()).start == (-2, -2)


def test_branches_of_different_jump_are_united_unit_by_unit() -> None:
    sketch = Sketch((1, 3, 3))
    strided = sketch.add("maxpool", 0, kernel=(1, 1), stride=(2, 2))
    dense = sketch.add("maxpool", 0, kernel=(2, 2), stride=(1, 1))
    assert sketch.shape(strided) == sketch.shape(dense)
    sketch.add("add", strided, dense)
    field = _of(sketch.network())
    # Unit 0 sees 0 and 0 to 1, unit 1 sees 2 and 1 to 2.
    assert field.exact
    assert field.size == field.smallest == (2, 2)
    assert field.interval == ((0, 1), (0, 1))


def test_enlarging_divides_the_jump() -> None:
    network = chain(
        (1, 16, 16), ("maxpool", {"kernel": (2, 2)}), ("upsample", {"scale": (4, 2)})
    )
    field = _of(network)
    assert field.jump == (Fraction(1, 2), 1) and field.exact
    # Each unit repeats one of the pool, which sees two positions.
    assert field.size == field.smallest == (2, 2)
    assert field.as_dict()["jump"] == [0.5, 1]


def test_visible_is_what_lies_in_the_input() -> None:
    # Windows of 7 on 4 positions: the outer units see 3 or 4.
    network = chain((1, 4, 4), ("conv", {"kernel": (7, 7)}))
    assert _of(network).size == (7, 7)
    assert _of(network).visible == (4, 4)
    # A stride of 2 drops the last of 4 positions before the wide kernel.
    strided = chain(
        (1, 4, 4),
        ("conv", {"kernel": (1, 1), "stride": (2, 2)}),
        ("conv", {"kernel": (5, 5)}),
    )
    assert _of(strided).size == (9, 9)
    assert _of(strided).visible == (3, 3)


def test_global_layers_see_the_whole_input() -> None:
    network = chain(
        (3, 12, 10),
        ("conv", {"kernel": (3, 3), "width": 4}),
        ("adaptiveavgpool", {"size": (1, 1)}),
        "relu",
        "flatten",
        ("linear", {"width": 2}),
    )
    whole = ReceptiveField(
        size=(12, 10),
        jump=(0, 0),
        start=(0, 0),
        visible=(12, 10),
        exact=True,
        whole=True,
        interval=((0, 11), (0, 9)),
        minimum=(12, 10),
        maximum=(12, 10),
        share=1.0,
        smallest=(12, 10),
        local=None,
        local_smallest=None,
    )
    reports = [layer.receptive_field for layer in analyze(network).layers]
    assert reports[1:] == [whole] * 4
    # The network's field is that of the last map before the vector.
    assert _of(network) == reports[0] and _of(network).size == (3, 3)


def test_a_global_branch_makes_the_sum_whole() -> None:
    sketch = Sketch((3, 1, 1))
    one = sketch.add("adaptiveavgpool", 0, size=(1, 1))
    two = sketch.add("conv", 0, kernel=(1, 1))
    sketch.add("add", two, one)
    graph = flatten(sketch.network())
    assert fields(graph)[3].whole and not fields(graph)[two].whole


def test_vectors_have_no_field() -> None:
    network = chain((8,), ("linear", {"width": 4}), "relu")
    analysis = analyze(network)
    assert analysis.receptive_field is None
    assert [layer.receptive_field for layer in analysis.layers] == [None, None]


def test_fields_are_in_the_first_input() -> None:
    sketch = Sketch((1, 8, 8), (1, 8, 8))
    left = sketch.add("conv", 0, kernel=(3, 3))
    right = sketch.add("conv", 1, kernel=(5, 5))
    both = sketch.add("add", left, right)
    known = fields(flatten(sketch.network()))
    assert right not in known
    assert known[both] == known[left]


def test_auxiliary_heads_do_not_give_the_networks_field() -> None:
    sketch = Sketch((1, 16, 16))
    main = sketch.add("conv", kernel=(3, 3))
    head = sketch.add("conv", main, kernel=(7, 7), training=True)
    assert _of(sketch.network(main, training=[head])).size == (3, 3)


def test_a_network_without_layers_sees_each_position() -> None:
    field = _of(Sketch((3, 8, 8)).network(0))
    assert field == _reported(1, 1, 0, 1, 1 / (8 * 8))


# ---- path by path --------------------------------------------------------------


def _paths(graph: Graph, value: int) -> Iterator[list[tuple[Node, int]]]:
    """Yield each path from the input to a value: its layers, and what each reads."""
    if value == graph.inputs[0]:
        yield []
    for node in graph.nodes:
        if node.output == value:
            for read in node.inputs[: node.op.sources]:
                for path in _paths(graph, read):
                    yield [*path, (node, read)]


def _along(
    graph: Graph, path: list[tuple[Node, int]], axis: int, unit: int
) -> set[int]:
    """Return the positions that a unit sees along one path."""
    seen = {unit}
    for node, read in reversed(path):
        if not seen:
            return seen
        window = node.op.window(node.input_shapes, node.shape)
        if window is None:
            return {0, sizes(graph.shapes[graph.inputs[0]])[axis] - 1}
        kernel, stride, pad, dilation, up = (part[axis] for part in window)
        places = {
            unit * stride - pad + dilation * tap
            for unit in seen
            for tap in range(kernel)
        }
        seen = {place // up for place in places if place % up == 0}
        others = [sizes(shape)[axis] for shape in node.input_shapes[: node.op.sources]]
        if seen and sizes(graph.shapes[read])[axis] < max(others):
            seen = {0}  # its only unit is repeated
    return seen


@settings(max_examples=150, deadline=None)
@given(sketches(start=(2, 11, 12), most=8))
def test_minimum_and_maximum_are_those_of_single_paths(sketch: Sketch) -> None:
    graph = flatten(sketch.network())
    known = fields(graph)
    for value, report in reports(graph, known).items():
        if len(graph.shapes[value]) == 1:
            continue
        found = list(_paths(graph, value))
        for axis in (0, 1):
            along = [
                max(seen) - min(seen) + 1 if seen else 0
                for path in found
                for unit in range(sizes(graph.shapes[value])[axis])
                for seen in [_along(graph, path, axis, unit)]
            ]
            assert report.minimum[axis] == min(along)
            assert report.maximum[axis] == max(along)
            assert report.whole or report.maximum[axis] <= report.size[axis]


def test_the_narrowest_path_takes_every_shortcut() -> None:
    # 7 of the first convolution, 2 steps of 2 of the pool; projections are 1x1.
    assert _of(archdsl.load("resnet50")).minimum == (7 + 2 * 2,) * 2
    # Skipping the units of dense blocks; the transitions' 2x2 pools add a step each.
    assert _of(archdsl.load("densenet121")).minimum == (11 + 4 + 8 + 16,) * 2


def test_paths_beside_squeeze_and_excitation_go_on() -> None:
    layers = analyze(archdsl.load("efficientnet_b0")).layers
    last = next(f for f in layers if f.name == "features.8.2").receptive_field
    assert last is not None and last.whole
    # Along the body, a 3x3 kernel adds 2 steps and a 5x5 kernel 4, of this many pixels.
    strides = [(2, 1), (2, 2), (2, 2), (2, 4), (4, 4), (4, 8), (2, 8), (2, 16), (2, 16)]
    strides += [(4, 16)] * 3 + [(4, 16)] + [(4, 32)] * 3 + [(2, 32)]
    assert last.maximum == (1 + sum(taps * jump for taps, jump in strides),) * 2
    # A gate sees all 224 positions of the input.
    assert last.minimum == (224, 224)


def test_many_different_jumps_leave_bounds() -> None:
    sketch = Sketch((1, 60, 60))
    value = 0
    for size in range(58, 14, -2):
        dense = sketch.add("conv", value, kernel=(3, 3), pad=(0, 0))
        other = sketch.add(
            "upsample", value, size=(size, size), mode="bilinear", align=True
        )
        value = sketch.add("add", dense, other)
    graph = flatten(sketch.network())
    field = fields(graph)[value]
    assert all(len(spans) <= 16 for spans in field.spans)
    # Only the 3x3 kernels at jump 1 on the first path, 1 + 22 * 2, are certain.
    assert min(span.least for span in field.spans[0]) <= 22 * 2
    assert max(span.most for span in field.spans[0]) >= 22 * 2


# ---- by gradient ---------------------------------------------------------------


def _extent(image: Tensor, unit: Tensor) -> list[tuple[int, int] | None]:
    """Return the first and last position along each axis that a unit sees."""
    (gradient,) = torch.autograd.grad(unit, image, retain_graph=True)
    found: list[tuple[int, int] | None] = []
    for dim in (2, 3):
        others = tuple(d for d in range(4) if d != dim)
        nonzero = gradient.abs().sum(others).nonzero().flatten()
        found.append((int(nonzero[0]), int(nonzero[-1])) if len(nonzero) else None)
    return found


def _expected(axis: AxisField, unit: int) -> tuple[int, int]:
    return axis.visible(unit) or (1, 0)


def _check_value(
    image: Tensor, value: Tensor, field: UnitFields, *, exact: bool
) -> None:
    """Compare a field with the gradients of a value's first, last and middle units.

    Args:
        image: the network's input.
        value: the value.
        field: its field.
        exact: whether the extents must be equal.
    """
    height, width = value.shape[2:]
    for i in {0, 1, max(height, width) // 2, max(height, width) - 1}:
        at = min(i, height - 1), min(i, width - 1)
        extents = _extent(image, value[0, :, at[0], at[1]].sum())
        expected = [_expected(a, u) for a, u in zip(field.axes, at, strict=True)]
        if any(first > last for first, last in expected):
            assert extents == [None, None]  # it only sees padding
            continue
        if None in extents:
            # Units that only see padding have no gradient.
            assert extents == [None, None] and (field.whole or not exact)
            continue
        for (first, last), extent in zip(expected, extents, strict=True):
            assert extent is not None
            if exact:
                assert extent == (first, last)
            assert first <= extent[0] and extent[1] <= last


def _check(network: Network, *, exact: bool) -> None:
    """Compare every map's field with the gradients of its units."""
    graph = flatten(network)
    # A factor of almost 0 passes no gradient.
    assume(all(abs(getattr(node.op, "factor", 1)) > 1e-3 for node in graph.nodes))
    known = fields(graph)
    module = seeing(network)
    image = torch.rand(1, *graph.shapes[0], dtype=torch.float64).add(0.5)
    image.requires_grad_()
    values = module.values(image)
    for number, field in known.items():
        value = values[number]
        if isinstance(graph.shapes[number], Last):
            value = value.permute(0, 3, 1, 2)
        if value.dim() == 4 and value.requires_grad:
            _check_value(image, value, field, exact=exact and field.exact)


def _check_published(
    size: int, first: int, last: int, last_map: Callable[[Tensor], Tensor]
) -> None:
    """Compare the units of a network's last map with the interval of the first one."""
    # The first unit whose field is inside of the input, on a larger input.
    inside = -(first // 32)
    image = torch.rand(1, 3, last + 32 * (inside + 2), 32, dtype=torch.float64)
    image.add_(0.5).requires_grad_()
    value = last_map(image)
    for unit, extent in (
        (0, (0, last)),
        (inside, (first + 32 * inside, last + 32 * inside)),
    ):
        assert _extent(image, value[0, :, unit].sum())[0] == extent
    assert last - first + 1 == size


def _last_map(network: Network) -> Callable[[Tensor], Tensor]:
    """Return a function from an image to the last map of a thinned network."""
    # Inception needs at least 75 columns; there are as many rows as in the image.
    network = thin(network, 10_000, 96)
    module = seeing(network)
    graph = flatten(network)
    main = main_value(graph, fields(graph))
    assert main is not None
    return lambda image: module.values(image[:, :1].repeat(1, 1, 1, 3))[main]


@pytest.mark.parametrize("name", LAST_MAPS)
def test_published_sizes_by_gradient(name: str) -> None:
    _check_published(*LAST_MAPS[name], _last_map(archdsl.load(name)))


def test_the_papers_stride_by_gradient() -> None:
    # All kernels are odd and padded evenly, so that the first unit looks at pixel 0.
    _check_published(483, -241, 241, _last_map(_paper("[3, 4, 6, 3]")))


@pytest.mark.parametrize("name", ["alexnet", "googlenet", "resnet50", "densenet121"])
def test_torchvisions_networks_see_as_much(name: str) -> None:
    options = (
        {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
    )
    model = getattr(torchvision.models, name)(weights=None, **options)
    if hasattr(model, "features"):
        layers = nn.Sequential(model.features)
    else:
        parts = dict(model.named_children())
        ends = {"aux1", "aux2", "avgpool", "dropout", "fc"}
        layers = nn.Sequential(*[m for n, m in parts.items() if n not in ends])
    brighten(layers)
    # AlexNet needs 63 columns.
    _check_published(*LAST_MAPS[name], lambda image: layers(image.repeat(1, 1, 1, 2)))


@settings(max_examples=150, deadline=None)
@given(sketches(ALONE + 3 * WINDOWED, start=(2, 11, 12), most=6))
def test_chains_agree_with_gradients(sketch: Sketch) -> None:
    _check(sketch.network(), exact=True)


@settings(max_examples=80, deadline=None)
@given(sketches((*ALONE, *WINDOWED, "add", "concat"), start=(2, 11, 12), most=8))
def test_gradients_stay_within_the_fields_of_any_network(sketch: Sketch) -> None:
    _check(sketch.network(), exact=False)


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_branches_agree_with_gradients(data: st.DataObject) -> None:
    # Kernels that keep the size, so that no position at the end is dropped.
    sketch = Sketch((1, 13, 14))
    value = 0
    for _ in range(data.draw(st.integers(1, 4))):
        ends = [value]
        for _ in range(data.draw(st.integers(1, 3))):
            kernel = data.draw(st.sampled_from([(1, 1), (3, 3), (3, 1), (1, 5)]))
            ends.append(sketch.add("conv", ends[-1], kernel=kernel))
        value = sketch.add(data.draw(st.sampled_from(["add", "concat"])), *ends[-2:])
        if data.draw(st.booleans()):
            value = sketch.add("avgpool", value, kernel=(2, 2), stride=(1, 1))
    network = sketch.network()
    assume(min(sketch.shape(value)[1:]) > 2)
    _check(network, exact=True)


@settings(max_examples=80, deadline=None)
@given(
    st.tuples(st.integers(2, 13), st.integers(2, 13)),
    st.tuples(st.integers(1, 16), st.integers(1, 16)),
    st.sampled_from(
        [
            {"mode": "nearest"},
            {"mode": "bilinear"},
            {"mode": "bilinear", "align": True},
        ]
    ),
)
def test_resizing_agrees_with_gradients(
    before: tuple[int, int], after: tuple[int, int], options: dict[str, Any]
) -> None:
    sketch = Sketch((1, *before))
    conv = sketch.add("conv", 0, kernel=(3, 3))
    other = sketch.add("adaptiveavgpool", 0, size=after)
    resized = sketch.add("resize", conv, other, **options)
    network = sketch.network()
    assert sketch.shape(resized) == (1, *after)
    _check(network, exact=True)


def test_only_the_first_branch_of_a_resize_is_seen() -> None:
    sketch = Sketch((1, 8, 8))
    narrow = sketch.add("conv", 0, kernel=(1, 1))
    wide = sketch.add("conv", 0, kernel=(7, 7), stride=(2, 2))
    resized = sketch.add("resize", narrow, wide, mode="nearest")
    field = fields(flatten(sketch.network()))[resized]
    assert [(a.first, a.last, a.jump) for a in field.axes] == [(0, 0, 2)] * 2


def test_a_gate_is_seen_by_every_position() -> None:
    sketch = Sketch((1, 5, 5))
    body = sketch.add("conv", 0, kernel=(3, 3))
    gate = sketch.add("conv", 0, kernel=(5, 5), pad=(0, 0))
    assert sketch.shape(gate) == (1, 1, 1)
    scaled = sketch.add("mul", gate, body)
    field = fields(flatten(sketch.network()))[scaled]
    # Unit o sees o - 1 to o + 1 and, through the gate, 0 to 4.
    seen = [(-1, 4), (0, 4), (0, 4), (0, 4), (0, 5)]
    assert [[a.unit(o) for o in range(5)] for a in field.axes] == [seen] * 2
    assert field.exact


def test_squeeze_and_excitation_sees_the_whole_input() -> None:
    sketch = Sketch((1, 6, 6))
    gate = sketch.add("adaptiveavgpool", 0, size=(1, 1))
    scaled = sketch.add("mul", gate, 0)
    assert fields(flatten(sketch.network()))[scaled].whole
