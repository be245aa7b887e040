"""Receptive fields, by hand, by sets of positions and by gradients; and their time."""

from __future__ import annotations

import random
import tracemalloc
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

import archdsl
from archdsl.api import elaborate_module
from archdsl.backends.torch.verification import agree
from archdsl.cli import main
from archdsl.ir import Network
from archdsl.ir.graph import Graph, flatten
from archdsl.linter.check import lint
from archdsl.linter.rules.narrow_view import NarrowView
from archdsl.passes.alignment import alignment
from archdsl.passes.analysis import analyze
from archdsl.passes.compare import compare
from archdsl.passes.coverage import coverage
from archdsl.passes.expect import check_expectations
from archdsl.passes.paths import paths
from archdsl.passes.periodic import MOST_PHASES, Ends, Periodic, shortest, slide
from archdsl.passes.receptive import (
    ReceptiveField,
    UnitFields,
    fields,
    main_value,
    reports,
)
from archdsl.passes.smallest import smallest
from archdsl.syntax.loader import load_text
from archdsl.values import Continued, sizes
from tests.handmade import Sketch, chain
from tests.seeing import seeing, thin
from tests.strategies import sketches
from tests.timing import cpu_seconds

CASES = Path(__file__).parent / "cases"

# Ten times the size may take this many times as long; quadratic time would be 100.
TEN_TIMES = 30.0

DECODERS = (
    *("conv", "avgpool", "crop", "zeropad", "pixelshuffle", "adaptiveavgpool"),
    *3 * ("upsample", "convtranspose"),
)
JOINED = (*DECODERS, *3 * ("add", "concat", "mul"), "resize")


def _of(network: Network) -> ReceptiveField:
    field = analyze(network).receptive_field
    assert field is not None
    return field


def _main(network: Network) -> tuple[Graph, int, UnitFields]:
    graph = flatten(network)
    known = fields(graph)
    value = main_value(graph, known)
    assert value is not None
    return graph, value, known[value]


# ---- the cases -----------------------------------------------------------------


def test_behind_upsampling_every_unit_sees_19(
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = CASES / "field_behind_upsampling.arch"
    field = _of(archdsl.load(path))
    assert field.size == field.smallest == (19, 19)
    assert main(["check", str(path)]) == 1
    assert "the network has 19x19" in capsys.readouterr().err


def test_the_true_claim_behind_upsampling_is_proven(tmp_path: Path) -> None:
    text = (CASES / "field_behind_upsampling.arch").read_text("utf-8")
    path = tmp_path / "net.arch"
    path.write_text(text.replace("21x21", "19x19"), "utf-8")
    assert main(["check", str(path)]) == 0


def test_behind_a_global_branch_the_whole_input_is_seen(
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = CASES / "field_behind_global_branch.arch"
    field = _of(archdsl.load(path))
    assert field.whole and field.exact
    # Two 3x3 kernels, if the norm used fixed statistics.
    assert field.local == field.local_smallest == (5, 5)
    assert main(["check", str(path)]) == 1
    assert "the whole input" in capsys.readouterr().err
    assert main(["analyze", str(path)]) == 1


def test_chained_taps_end(capsys: pytest.CaptureFixture[str]) -> None:
    path = CASES / "chained_taps.arch"
    seconds = cpu_seconds(lambda: main(["check", str(path)]), 1)
    assert seconds < 5
    assert _of(archdsl.load(path)).size == (1, 1)


# ---- by hand -------------------------------------------------------------------


def test_the_units_of_the_published_unet() -> None:
    _, _, field = _main(archdsl.load("unet"))
    for axis in field.axes:
        seen = [axis.unit(n) for n in range(388)]
        assert all(seen)
        assert Counter(b - a + 1 for a, b in filter(None, seen)) == {188: 100, 204: 288}
        assert seen[0] == (0, 187)
        # It has no padding, so nothing outside of the 572 positions is seen.
        assert seen[-1] == (384, 571)
    report = _of(archdsl.load("unet"))
    assert (report.smallest, report.size) == ((188, 188), (204, 204))
    assert report.interval == ((0, 187), (0, 187))
    assert report.exact


def test_the_unet_by_gradient() -> None:
    # Everything along one axis; the other is as short as the network accepts.
    network = thin(archdsl.load("unet"), 572, 188)
    module = seeing(network)
    graph, value, field = _main(network)
    image = torch.rand(1, *graph.shapes[0], dtype=torch.float64).add(0.5)
    image.requires_grad_()
    made = module.values(image)[value]
    for unit in (*range(17), 100, 193, 371, 387):
        assert _rows(image, made[0, :, unit].sum()) == field.axes[0].unit(unit)


def _rows(image: Tensor, unit: Tensor) -> Ends:
    (gradient,) = torch.autograd.grad(unit, image, retain_graph=True)
    seen = gradient.abs().sum((0, 1, 3)).nonzero().flatten()
    return (int(seen[0]), int(seen[-1])) if len(seen) else None


def test_parts_of_the_channels_see_what_these_see() -> None:
    network = archdsl.load(CASES / "field_of_parts.arch")
    graph = flatten(network)
    known = reports(graph, fields(graph))
    found = {node.step.path: known[node.output] for node in graph.nodes}
    sizes_ = {path: field.size[0] for path, field in found.items()}
    assert (sizes_["both.concat1"], sizes_["mixed"]) == (7, 7)
    # Channels 0 and 1 come from the 3x3, 2 to 5 from the 5x5.
    assert (sizes_["narrow"], sizes_["wide"], sizes_["bn1"]) == (3, 5, 5)
    # A 7x7, then 2x2, and then 3x3 at stride 2: 7 + 1 + 2 * 2.
    assert (sizes_["each"], sizes_["last"]) == (12, 12)
    # In two groups of four, shuffled: channels 0, 4, 1 and 5.
    assert sizes_["first"] == 5
    # A dense convolution mixes all channels; within a vector, positions are not
    # followed.
    assert (sizes_["dense"], sizes_["part"]) == (7, 7)
    inexact = {path for path, field in found.items() if not field.exact}
    assert inexact == {"bound", "linear1"}
    assert agree(network).differences == ()


def test_a_kernel_below_its_stride_leaves_units_bare() -> None:
    network = chain((1, 4, 4), ("convtranspose", {"kernel": (1, 1), "stride": (3, 2)}))
    _, _, field = _main(network)
    rows = [field.axes[0].unit(n) for n in range(10)]
    assert rows == [
        (0, 0), None, None, (1, 1), None, None, (2, 2), None, None, (3, 3)
    ]  # fmt: skip
    report = _of(network)
    assert (report.smallest, report.size) == ((0, 0), (1, 1))


def test_a_first_unit_that_is_bare_sees_nothing() -> None:
    layer = "convtranspose", {"kernel": (2, 2), "stride": (4, 4), "pad": (2, 2)}
    field = _of(chain((1, 4, 4), layer))
    assert (field.start, field.interval) == ((None, None), (None, None))
    assert field.as_dict()["interval"] == [None, None]


def test_odd_and_even_units_behind_a_transposed_convolution() -> None:
    # Dumoulin & Visin 2016, section 4.2: a 3x3 kernel over units one apart.
    layer = "convtranspose", {"kernel": (3, 3), "stride": (2, 2), "pad": (1, 1)}
    _, _, field = _main(chain((1, 5, 5), layer))
    assert [field.axes[0].unit(n) for n in range(4)] == [(0, 0), (0, 1), (1, 1), (1, 2)]
    assert _of(chain((1, 5, 5), layer)).size == (2, 2)
    assert _of(chain((1, 5, 5), layer)).smallest == (1, 1)


# ---- by sets of positions ------------------------------------------------------

See = Callable[[int, int, int], set[int]]


def _sets(graph: Graph, *, padded: bool) -> See:
    """Return a function that gives the positions that a unit sees along an axis.

    Args:
        graph: the network.
        padded: whether units beyond a map's ends see as if the map continued.
    """
    makers = {node.output: node for node in graph.nodes}
    visible = fields(graph)
    known: dict[tuple[int, int, int], set[int]] = {}

    def see(value: int, axis: int, unit: int) -> set[int]:
        if value == graph.inputs[0]:
            return {unit}
        if (value, axis, unit) in known:
            return known[value, axis, unit]
        node = makers[value]
        window = node.op.window(node.input_shapes, node.shape)
        assert window is not None
        if value not in visible:
            return set()  # blind along one axis means blind along all
        kernel, stride, pad, dilation, up = (part[axis] for part in window)
        taps = [unit * stride - pad + dilation * tap for tap in range(kernel)]
        read = node.inputs[: node.op.sources]
        found: set[int] = set()
        for source in read:
            units = sizes(graph.shapes[source])[axis]
            own = [tap // up for tap in taps if tap % up == 0]
            if len(read) > 1 and units < sizes(node.shape)[axis]:
                own = [0]  # the only unit is repeated
            if isinstance(window, Continued) and not padded:
                own = [window.source(n, units) for n in own]
            for n in own:
                if padded or 0 <= n < units:
                    found |= see(source, axis, n)
        known[value, axis, unit] = found
        return found

    return see


def _hull(positions: set[int]) -> Ends:
    return (min(positions), max(positions)) if positions else None


@settings(max_examples=200, deadline=None)
@given(sketches(JOINED, start=(2, 9, 10), most=10))
def test_units_see_what_sets_of_positions_say(sketch: Sketch) -> None:
    graph = flatten(sketch.network())
    known = fields(graph)
    assume(not any(field.whole for field in known.values()))
    beyond, within = _sets(graph, padded=True), _sets(graph, padded=False)
    found = reports(graph, known)
    for value, field in known.items():
        units = sizes(graph.shapes[value])
        if max(units) > 64:
            continue
        for n, axis in enumerate(field.axes):
            seen = [_hull(beyond(value, n, unit)) for unit in range(units[n])]
            assert [axis.unit(unit) for unit in range(units[n])] == seen
            extents = [ends[1] - ends[0] + 1 if ends else 0 for ends in seen]
            assert found[value].size[n] == max(extents)
            assert found[value].smallest[n] == min(extents)
            assert found[value].interval[n] == seen[0]
            for unit in range(units[n]):
                assert axis.visible(unit) == _hull(within(value, n, unit))


@settings(max_examples=60, deadline=None)
@given(sketches(DECODERS, start=(1, 7, 8), most=4))
def test_sets_of_positions_are_those_of_gradients(sketch: Sketch) -> None:
    network = sketch.network()
    graph = flatten(network)
    value = graph.nodes[-1].output if graph.nodes else 0
    assume(max(sizes(graph.shapes[value])) <= 48)
    assume(fields(graph)[value].whole is False)
    within = _sets(graph, padded=False)
    image = torch.rand(1, *graph.shapes[0], dtype=torch.float64).add(0.5)
    image.requires_grad_()
    made = seeing(network).values(image)[value]
    rows, columns = sizes(graph.shapes[value])
    some = [n for n in range(columns) if within(value, 1, n)]
    for unit in range(rows):
        # In a column that sees something; otherwise nothing is seen at all.
        across = some[len(some) // 2] if some else 0
        wanted = _hull(within(value, 0, unit)) if some else None
        if made.requires_grad:
            assert _rows(image, made[0, :, unit, across].sum()) == wanted


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.none() | st.tuples(st.integers(0, 3), st.integers(0, 4)),
        min_size=1,
        max_size=4,
    ),
    st.integers(4, 9),
    st.tuples(*[st.integers(1, 5)] * 2, st.integers(-3, 4), *[st.integers(1, 4)] * 2),
)
def test_a_window_over_units_by_turns(
    parts: list[tuple[int, int] | None],
    more: int,
    window: tuple[int, int, int, int, int],
) -> None:
    ends = [part and (part[0], part[0] + part[1]) for part in parts]
    seen = Periodic(tuple(ends), more)
    kernel, stride, pad, dilation, up = window
    found = slide(seen, *window)
    assert found == shortest(found)
    for unit in range(-9, 20):
        taps = [unit * stride - pad + dilation * tap for tap in range(kernel)]
        read = [seen.unit(tap // up) for tap in taps if tap % up == 0]
        known = [each for each in read if each is not None]
        wanted = (min(a for a, _ in known), max(b for _, b in known)) if known else None
        assert found.unit(unit) == wanted


def test_sizes_that_do_not_divide_are_exact_unit_by_unit() -> None:
    # The period would be 13 x 29 x 61 units, longer than the map.
    sketch = Sketch((1, 7, 7))
    for size in (13, 29, 61):
        sketch.add("upsample", size=(size, size), mode="bilinear")
        sketch.add("conv", kernel=(3, 3), pad=(0, 0))
    network = sketch.network()
    _, value, field = _main(network)
    assert field.exact
    image = torch.rand(1, 1, 7, 7, dtype=torch.float64).add(0.5).requires_grad_()
    made = seeing(network).values(image)[value]
    for unit in range(59):
        assert _rows(image, made[0, :, unit, 30].sum()) == field.axes[0].visible(unit)


@pytest.mark.parametrize("seed", range(12))
def test_what_lies_beyond_a_table_widens_nothing(seed: int) -> None:
    # With aligned corners, the period is the number of units less one, and a window at
    # the edge reads beyond it.
    drawn = random.Random(seed)
    sketch = Sketch((1, drawn.randint(5, 8), 7))
    for _ in range(4):
        sketch.add("upsample", mode="bilinear", align=True)
        kernel, pad = drawn.choice([(1, 0), (2, 0), (3, 1), (5, 2)])
        sketch.add("conv", kernel=(kernel, kernel), pad=(pad, pad), width=1)
    graph, value, field = _main(sketch.network())
    within, axis = _sets(graph, padded=False), field.axes[0]
    units = sizes(graph.shapes[value])[0]
    assert units > MOST_PHASES
    seen = [_hull(within(value, 0, unit)) for unit in range(units)]
    assert [axis.visible(unit) for unit in range(units)] == seen


def test_sizes_that_do_not_divide_take_no_time() -> None:
    # Each resize multiplies the period, to 10^20 units in the end.
    body = "".join(
        f"upsample size={n}x{n}\nconv 3x3\nresize {{ maxpool 3x3 /2 | @a }}\n"
        for n in (83, 89, 97, 101, 103, 107, 109, 113, 127, 131)
    )
    text = f"arch 1\n\nnetwork Net {{\n    input 2x79x73\n    a: conv 3x3\n{body}}}\n"
    network = archdsl.loads(text)
    assert cpu_seconds(lambda: archdsl.analyze(network).receptive_field) < 2.0


@pytest.mark.parametrize(
    "options", ["mode=nearest", "mode=bilinear", "mode=bilinear align=true"]
)
@pytest.mark.parametrize(("before", "after"), [(14, 46), (7, 13), (40, 26), (5, 64)])
def test_resized_maps_agree_unit_by_unit(before: int, after: int, options: str) -> None:
    # For the first pair, torch selects another unit because of rounding.
    text = f"""arch 1

network Net {{
    input 1x{before}x{before}
    conv 3x3 2
    upsample size={after}x{after} {options}
    conv 3x3 2
}}
"""
    found = agree(archdsl.loads(text))
    assert found.differences == ()
    assert not found.skipped


# ---- the network's own field ---------------------------------------------------


@pytest.mark.parametrize(
    ("name", "local"),
    [
        # By hand, as in test_receptive.py: the field of the body, without the gates.
        ("efficientnet_b0", 851),
        ("regnet_y_400mf", None),
        ("mobilenet_v3_large", None),
        ("ghostnet", None),
        ("deeplabv3_resnet50", None),
    ],
)
def test_networks_with_gates_see_the_whole_input(name: str, local: int | None) -> None:
    field = _of(archdsl.load(name))
    assert field.whole and field.exact
    assert field.local is not None and field.local > (35, 35)
    if local is not None:
        assert field.local == (local, local)


class _Gated(nn.Module):
    """A body of two 3x3 kernels at stride 2, a gate, and a 3x3 kernel after it."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(1, 2, 3, 2, 1)
        self.last = nn.Conv2d(2, 2, 3, 1, 1)

    def forward(self, x: Tensor, gated: bool) -> Tensor:
        x = self.body(x)
        gate = functional.adaptive_avg_pool2d(x, 1)
        out: Tensor = self.last(x * (gate if gated else gate.detach()))
        return out


def test_local_paths_leave_the_gate_out() -> None:
    sketch = Sketch((1, 32, 32))
    body = sketch.add("conv", 0, kernel=(3, 3), stride=(2, 2))
    gate = sketch.add("adaptiveavgpool", body, size=(1, 1))
    scaled = sketch.add("mul", body, gate)
    sketch.add("conv", scaled, kernel=(3, 3))
    field = _of(sketch.network())
    image = torch.rand(1, 1, 32, 32, dtype=torch.float64).add(0.5).requires_grad_()
    module = _Gated().double()
    with torch.no_grad():
        for weight in module.parameters():
            weight.abs_()
    for gated, wanted in ((True, (0, 31)), (False, (13, 19))):
        made = module(image, gated)
        assert _rows(image, made[0, :, 8, 8].sum()) == wanted
    assert field.whole and field.size == (32, 32)
    assert field.local == (7, 7)


@pytest.mark.parametrize(("norm", "found"), [("bn", True), ("instancenorm", False)])
def test_a_map_that_sees_all_is_not_told_to_see_more(norm: str, found: bool) -> None:
    text = f"""arch 1

network Net {{
    input 3x32x32
    conv 3x3 16 -> {norm} -> relu
    globalavgpool; linear 10
}}
"""
    module = load_text(text, "net.arch")
    advice = lint(
        module.file, [elaborate_module(module)], codes=[NarrowView.code]
    ).advice
    assert bool(advice) == found


def test_whole_inputs_are_not_compared_with_patches() -> None:
    found = compare([archdsl.load("resnet50"), archdsl.load("efficientnet_b0")])
    assert found.delta(1, "receptive_field") is None
    local = found.delta(1, "local_field")
    assert local is not None and local.absolute == (851 - 427, 851 - 427)


# ---- claims --------------------------------------------------------------------


def _claims(network: Network) -> list[str]:
    return [d.code for d in check_expectations(network, analyze(network))]


@pytest.mark.parametrize(
    ("op", "size", "code"),
    [
        # Units see 1 or 2 positions along each axis.
        ("==", 1, "A0401"),
        ("==", 2, "A0401"),
        ("<=", 2, None),
        ("<", 2, "A0401"),
        (">=", 1, None),
        (">=", 2, "A0401"),
        ("!=", 1, None),
        ("!=", 3, None),
    ],
)
def test_claims_are_about_every_unit(op: str, size: int, code: str | None) -> None:
    sketch = Sketch((1, 5, 5))
    sketch.add("convtranspose", kernel=(3, 3), stride=(2, 2), pad=(1, 1))
    network = sketch.network(expect=[("receptive_field", op, size)])
    assert _claims(network) == ([code] if code else [])


OPAQUE = """arch 1

op clip {{
    torch = "torch.nn.Hardtanh"
}}

network Net {{
    input 3x32x32
    conv 3x3 8
    clip
    conv 3x3 8
    expect {claim}
}}
"""


@pytest.mark.parametrize(
    ("claim", "code"),
    [
        ("receptive_field == 5x5", "A0403"),
        ("receptive_field != 5x5", "A0403"),
        ("receptive_field >= 5", "A0403"),
        ("receptive_field < 32", "A0403"),
        ("receptive_field <= 32", None),
        ("receptive_field < 33", None),
        ("receptive_field == 33", "A0401"),
        ("receptive_field != 33", None),
        ("receptive_field > 32", "A0401"),
        ("receptive_field >= 33", "A0401"),
        ("local_field == 5", "A0403"),
    ],
)
def test_a_bound_proves_in_its_direction_alone(claim: str, code: str | None) -> None:
    network = archdsl.loads(OPAQUE.format(claim=claim))
    assert _claims(network) == ([code] if code else [])


def test_a_bound_is_shown_as_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "net.arch"
    path.write_text(OPAQUE.format(claim="depth == 2"), "utf-8")
    for options in ([], ["--show", "fields"]):
        assert main(["analyze", str(path), *options]) == 0
        assert "<= whole input" in capsys.readouterr().out
    facts = _of(archdsl.load(path)).as_dict()
    assert (facts["exact"], facts["bound"]) == (False, "at most")
    assert main(["compare", "resnet18", str(path)]) == 0
    row = [
        line
        for line in capsys.readouterr().out.splitlines()
        if line.startswith("receptive field")
    ]
    assert "<= whole input" in row[0] and "%" not in row[0]


# ---- the smallest input --------------------------------------------------------

LENET = """arch 1

network Net {
    input 1x32x32
    conv 5x5 6 pad=0 -> maxpool 2x2
    conv 5x5 16 pad=0
    flatten; linear 10
}
"""


@pytest.mark.parametrize(
    ("name", "size", "built"),
    [("inception_v3", 75, 299), ("googlenet_paper", 31, 79), ("net.arch", 32, 14)],
)
def test_the_smallest_input_that_is_built_for_is_what_the_command_takes(
    name: str, size: int, built: int, tmp_path: Path
) -> None:
    if name == "net.arch":
        # 14 rows become 10, 5 and 1, and 13 become 9, 4 and none.
        (tmp_path / name).write_text(LENET, "utf-8")
        name = str(tmp_path / name)
    network = archdsl.load(name)
    found = smallest(flatten(network))
    assert found is not None
    assert (found.size, found.built) == ((size, size), (built, built))
    channels = network.inputs[0].shape[0]
    archdsl.load(name, input=(channels, built, built))
    with pytest.raises(archdsl.SpecError):
        archdsl.load(name, input=(channels, built - 1, built - 1))


# ---- time ----------------------------------------------------------------------


def _sums(n: int) -> Sketch:
    sketch = Sketch((3, 64, 64))
    value = sketch.add("conv", kernel=(3, 3), stride=(2, 2), width=4)
    for _ in range(n):
        value = sketch.add("add", value, sketch.add("conv", value, kernel=(3, 3)))
    return sketch


def _ladder(n: int) -> Sketch:
    sketch = Sketch((3, 64, 64))
    left = sketch.add("conv", kernel=(3, 3), stride=(2, 2), width=4)
    right = sketch.add("conv", left, kernel=(3, 3))
    for _ in range(n // 2):
        left = sketch.add("add", sketch.add("conv", left, kernel=(3, 3)), right)
        right = sketch.add("add", sketch.add("conv", right, kernel=(3, 3)), left)
    return sketch


def _nested(n: int) -> Sketch:
    """Return nested sums; the last one merges the ends of all."""
    sketch = Sketch((3, 64, 64))
    values = [sketch.add("conv", kernel=(3, 3), stride=(2, 2), width=4)]
    for _ in range(n // 2):
        values.append(sketch.add("conv", values[-1], kernel=(3, 3)))
    inner = values.pop()
    while values:
        inner = sketch.add("add", values.pop(), inner)
    return sketch


def _decoder(n: int) -> Sketch:
    """Return sums of units that alternate in what they see, with larger strides."""
    sketch = Sketch((3, 16, 16))
    narrow = sketch.add("conv", kernel=(3, 3), stride=(2, 2), width=4)
    value = sketch.add("convtranspose", narrow, kernel=(2, 2), stride=(2, 2))
    other = sketch.add("upsample", narrow, size=(16, 16), mode="bilinear", align=True)
    for at in range(n // 2):
        conv = sketch.add("conv", value, kernel=(3, 3))
        value = sketch.add("add", conv, other if at % 9 == 0 else value)
    return sketch


@pytest.mark.parametrize("make", [_sums, _ladder, _nested, _decoder])
def test_taps_cost_time_and_memory_in_proportion(
    make: Callable[[int], Sketch],
) -> None:
    def run(n: int) -> Callable[[], object]:
        graph = flatten(make(n).network())
        return lambda: _passes(graph)

    run(10)()
    small, large = run(50), run(500)
    assert cpu_seconds(large, 1) < TEN_TIMES * cpu_seconds(small, 3)
    assert _peak(large) < TEN_TIMES * _peak(small)


def _passes(graph: Graph) -> None:
    known = fields(graph)
    reports(graph, known)
    alignment(graph, known)
    coverage(graph)
    paths(graph)


def _peak(action: Callable[[], object]) -> int:
    """Return the peak memory of an action, in bytes."""
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_ten_thousand_sums_are_no_limit() -> None:
    graph = flatten(_sums(10_000).network())
    last = fields(graph)[graph.nodes[-1].output]
    assert last.axes[0].unit(0) == (-1 - 2 * 10_000, 1 + 2 * 10_000)


HEAD = ("arch 1", "", "network Net {", "    input 3x64x64")


def _dense(n: int) -> str:
    """Return a dense block with taps, one line for each layer."""
    lines = [
        "arch 1",
        "",
        "network Net {",
        "    input 3x64x64",
        "    a0: conv 3x3 8 /2",
    ]
    for at in range(1, n + 1):
        taps = " | ".join(f"@a{k}" for k in range(at))
        start = f"concat {{ {taps} }} -> " if at > 1 else ""
        lines.append(f"    {start}bn -> relu -> conv 1x1 16")
        lines.append(f"    bn -> relu; a{at}: conv 3x3 4")
    return "\n".join([*lines, "}", ""])


def _ghosts(n: int) -> str:
    """Return ghost modules with their shortcuts, some lines each."""
    lines = [
        "arch 1",
        "",
        "network Net {",
        "    input 3x64x64",
        "    a0: conv 3x3 16 /2",
    ]
    for at in range(1, n // 4 + 1):
        lines += [
            f"    p{at}: conv 1x1 8 bias=false -> bn -> relu",
            "    conv 3x3 8 groups=8 bias=false -> bn -> relu",
            f"    g{at}: concat {{ @p{at} | }}",
            f"    a{at}: add {{ @g{at} | @a{at - 1} }}",
        ]
    return "\n".join([*lines, "}", ""])


def test_a_dense_network_written_flat_costs_what_its_edges_do() -> None:
    def seconds(n: int) -> float:
        text = _dense(n)
        return cpu_seconds(lambda: _all_of(text), 2)

    seconds(5)
    # Nine times the edges.
    assert seconds(120) < TEN_TIMES * seconds(40)


def test_a_ghostnet_written_flat_takes_time_and_memory_in_proportion() -> None:
    _all_of(_ghosts(20))
    small, large = _ghosts(50), _ghosts(500)
    many = cpu_seconds(lambda: _all_of(large), 1)
    assert many < TEN_TIMES * cpu_seconds(lambda: _all_of(small), 3)
    assert _peak(lambda: _all_of(large)) < TEN_TIMES * _peak(lambda: _all_of(small))


def _all_of(text: str) -> None:
    analyze(archdsl.loads(text)).as_dict()
