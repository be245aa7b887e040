"""Operations by purpose, backward MACs and bytes moved, against torch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor, nn

import archdsl
from archdsl.backends.views import costs as view
from archdsl.ir.graph import Graph, flatten
from archdsl.layer import Layer, kind
from archdsl.passes.analysis import analyze
from archdsl.passes.costs import Cost, Costs, cost, costs, total
from archdsl.passes.traffic import Traffic, total_traffic, traffic
from archdsl.resources import shipped_presets
from archdsl.torch.gradient import backward_macs, gradient_values
from archdsl.values import Operations, Shape, TorchForm
from tests import handmade, operations, presets
from tests.handmade import Sketch, chain
from tests.operations import PURPOSES, Macs
from tests.oracle import CASES, Case, every_case, meta, tensors
from tests.strategies import sketches

BATCH = 2

modes = pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])


def run(graph: Graph, training: bool) -> Cost:
    """Return the cost of what runs in a mode."""
    return total(cost(node, training=training) for node in graph.run(training))


# ---- against torchvision ---------------------------------------------------------


@every_case
def test_operations_are_those_that_torch_runs(case: Case) -> None:
    graph = flatten(case.load())
    theirs = case.on_meta().theirs
    with meta():
        x = torch.empty(BATCH, 3, case.size, case.size)
        # In inference, one network per family is enough.
        for training in (False, True) if case.gradients else (True,):
            with operations.Operations() as counter:
                output = theirs.train(training)(x)
            ours = run(graph, training)
            assert ours.macs * BATCH == counter.macs
            assert {name: n * BATCH for name, n in ours.ops.items()} == {
                name: counter.counts[name] for name in PURPOSES
            }
            assert ours.per_batch == counter.counts["per_batch"]
        with Macs() as counted:
            torch.stack([t.sum() for t in tensors(output).values()]).sum().backward()
    assert sum(backward_macs(graph)) * BATCH == counted.macs
    assert_sums_in_both_modes(graph)


def test_auxiliary_heads_add_their_own() -> None:
    graph = flatten(archdsl.load("googlenet"))
    inference, training = (costs(graph, training=mode) for mode in (False, True))
    assert inference.whole.cost.macs == 1_498_376_192
    assert training.whole.cost.macs == 1_506_748_416
    # By hand, each head: 4x4 averages, a 1x1 convolution to 128, 2048 to 1024 to 1000.
    head = 128 * 16 * 512, 128 * 16 * 528
    linear = 2048 * 1024 + 1024 * 1000
    for found in (inference, training):
        assert found.auxiliary.cost.macs == sum(head) + 2 * linear
        assert found.auxiliary.cost.bias == 2 * (1024 + 1000)
        # The input of a head gets a gradient, and so do all weights.
        assert found.auxiliary.backward_macs == 2 * found.auxiliary.cost.macs


LEAVES = (
    *(nn.Conv2d, nn.Linear, nn.BatchNorm2d, nn.MaxPool2d, nn.AvgPool2d, nn.Dropout),
    *(nn.ReLU, nn.ReLU6, nn.SiLU, nn.GELU, nn.Hardswish, nn.Hardsigmoid, nn.Sigmoid),
    *(nn.AdaptiveAvgPool2d, nn.Flatten, nn.LayerNorm),
)


@modes
@pytest.mark.parametrize(
    "name",
    ["alexnet", "vgg11_bn", "googlenet", "resnet50", "densenet121", "convnext_tiny"],
)
def test_modules_move_what_their_hooks_see(name: str, training: bool) -> None:
    case = CASES[name]
    theirs = case.on_meta().theirs.train(training)
    with meta():
        x = torch.empty(BATCH, 3, case.size, case.size)
        expected = moved(theirs, x)
    found = {
        node.step.path: traffic(node, batch=BATCH, training=training)
        for node in flatten(case.load()).run(training)
    }
    shared = found.keys() & expected.keys()
    assert len(shared) > len(expected) * 0.6  # in our modules, the others are functions
    assert {n: found[n] for n in shared} == {n: expected[n] for n in shared}


def moved(owner: nn.Module, x: Tensor) -> dict[str, Traffic]:
    """Return the bytes that each leaf reads and writes, by hooks."""
    found = {}

    def note(path: str) -> Any:
        def hook(leaf: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
            found[path] = _moved(leaf, inputs[0], output)

        return hook

    hooks = [
        leaf.register_forward_hook(note(path))
        for path, leaf in owner.named_modules()
        if isinstance(leaf, LEAVES)
    ]
    owner(x)
    for hook in hooks:
        hook.remove()
    return found


def _moved(leaf: nn.Module, x: Tensor, output: Tensor) -> Traffic:
    dropout = isinstance(leaf, nn.Dropout)
    if isinstance(leaf, nn.Flatten) or (dropout and not leaf.training):
        return Traffic()
    read = 4 * (x.numel() + sum(p.numel() for p in leaf.parameters()))
    written = 4 * output.numel()
    if isinstance(leaf, nn.BatchNorm2d):
        statistics = 2 * 4 * leaf.num_features
        read += statistics
        if leaf.training:
            # The batch's statistics for the backward pass, the running ones, a counter.
            written += 2 * statistics + 8
            read += 8
    if leaf.training and isinstance(leaf, nn.MaxPool2d):
        written += 8 * output.numel()
    if leaf.training and dropout:
        written += 4 * output.numel()
    if leaf.training and isinstance(leaf, nn.LayerNorm):
        written += 2 * 4 * output.numel() // leaf.normalized_shape[0]
    return Traffic(read, written)


# ---- totals ------------------------------------------------------------------------


def assert_sums(graph: Graph, found: Costs) -> None:
    """Check that a network's figures are the sums over its layers."""
    rows = [
        row
        for row, node in zip(found.layers, graph.nodes, strict=True)
        if found.training or not node.training
    ]
    whole = found.whole
    for name in ("macs", *PURPOSES, "per_batch"):
        assert getattr(whole.cost, name) == sum(getattr(r.cost, name) for r in rows)
    for name in ("params", "trainable", "buffers", "counters", "tensors"):
        everything = [getattr(r.cost, name) for r in found.layers]
        assert getattr(whole.cost, name) == sum(everything)
    assert whole.backward_macs == sum(r.backward_macs for r in rows)
    assert whole.traffic.read == sum(r.traffic.read for r in rows)
    assert whole.traffic.written == sum(r.traffic.written for r in rows)
    assert whole.batch_flops == sum(r.batch_flops for r in rows)
    for row in (whole, found.auxiliary, *rows):
        assert row.cost.elementwise == sum(row.cost.ops.values())
        assert row.cost.flops == 2 * row.cost.macs + row.cost.elementwise
        assert row.batch_flops == row.batch * row.cost.flops + row.cost.per_batch


def assert_sums_in_both_modes(graph: Graph) -> None:
    for training in (False, True):
        assert_sums(graph, costs(graph, batch=3, dtype="bfloat16", training=training))


# Presets with a model in torchvision are checked together with that.
@pytest.mark.parametrize("name", sorted(shipped_presets().keys() - CASES.keys()))
def test_totals_are_sums_of_the_layers(name: str) -> None:
    assert_sums_in_both_modes(flatten(presets.network(name)))


@settings(max_examples=60, deadline=None)
@given(sketches())
def test_totals_of_random_networks_are_sums_of_the_layers(sketch: Sketch) -> None:
    assert_sums_in_both_modes(flatten(sketch.network()))


def test_of_nothing() -> None:
    assert total([]) == Cost() and total_traffic([]) == Traffic()


# ---- backward ----------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(sketches())
def test_backward_macs_of_random_networks(sketch: Sketch) -> None:
    network = sketch.network()
    graph = flatten(network)
    with torch.device("meta"):
        module = handmade.Interpreted(network)
        (output,) = module(*handmade.example(network, BATCH))
        with Macs() as counted:
            if output.requires_grad:
                output.sum().backward()
    assert sum(backward_macs(graph)) * BATCH == counted.macs
    assert bool(gradient_values(graph)) == output.requires_grad


def test_backward_macs_by_hand() -> None:
    sketch = Sketch((3, 8, 8))
    first = sketch.add("conv", kernel=(3, 3), width=4)
    second = sketch.add("conv", kernel=(1, 1), width=2, groups=2)
    sketch.add("conv", first, kernel=(1, 1), width=8)  # nothing reads it
    sketch.add("globalavgpool", second)
    sketch.add("linear", width=10)
    forward = 64 * 9 * 3 * 4, 64 * 2 * 2, 2 * 10
    # The image gets no gradient; the convolution that nothing reads computes none.
    assert backward_macs(flatten(sketch.network())) == (
        forward[0],
        2 * forward[1],
        0,
        0,
        2 * forward[2],
    )


def test_no_gradient_to_what_only_lends_its_shape() -> None:
    sketch = Sketch((3, 8, 8))
    size = sketch.add("conv", kernel=(3, 3), width=2)
    resized = sketch.add("resize", 0, size)
    last = sketch.add("conv", resized, kernel=(1, 1), width=2)
    weights = 64 * 3 * 2
    assert backward_macs(flatten(sketch.network())) == (0, 0, weights)
    # That `size` gets a gradient from elsewhere does not change the other figures.
    sketch.add("add", last, size)
    assert backward_macs(flatten(sketch.network())) == (9 * weights, 0, weights, 0)


class Outer(Layer):
    """The products of two vectors' features: a kind with two factors, no weight."""

    word = "outer"
    arity = None

    def shape(self, *inputs: Shape) -> Shape:
        return (inputs[0][0] * inputs[1][0],)

    def macs(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        return output[0]

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        text = "torch.bmm({0}.unsqueeze(2), {1}.unsqueeze(1)).flatten(1)"
        return TorchForm(None, text)


@pytest.mark.parametrize("trained", [(), (0,), (1,), (0, 1)])
def test_each_input_has_a_gradient_of_its_own(trained: tuple[int, ...]) -> None:
    sketch = Sketch((5,), (7,))
    values = [sketch.add("layerscale", n) if n in trained else n for n in (0, 1)]
    sketch.add(Outer(), *values)
    network = sketch.network()
    with torch.device("meta"):
        (output,) = handmade.Interpreted(network)(*handmade.example(network, BATCH))
        with Macs() as counted:
            if trained:
                output.sum().backward()
    macs = sum(backward_macs(flatten(network)))
    assert macs == len(trained) * 35 and macs * BATCH == counted.macs


# ---- operations by hand ------------------------------------------------------------


def _layer(word: str, **arguments: Any) -> Layer:
    found = kind(word)
    assert found is not None
    return found(**arguments)


@pytest.mark.parametrize(
    ("layer", "inputs", "expected"),
    [
        (_layer("conv", kernel=(3, 3), width=4), [(3, 8, 8)], Operations(bias=256)),
        (_layer("linear", width=10), [(32,)], Operations(bias=10)),
        (_layer("bn"), [(3, 4, 4)], Operations(norm=96)),
        (_layer("layerscale"), [(3, 4, 4)], Operations(other=48)),
        (_layer("relu"), [(3, 4, 4)], Operations(activation=48)),
        (_layer("softmax"), [(10,)], Operations(other=50)),
        (_layer("maxpool", kernel=(2, 2)), [(3, 4, 4)], Operations(pool=36)),
        (_layer("add"), [(3, 4, 4)] * 2, Operations(add=48)),
        (_layer("mul"), [(3, 4, 4)] * 2, Operations(add=48)),
        (_layer("difference"), [(3, 4, 4)] * 2, Operations(add=96)),
        (_layer("upsample", mode="bilinear"), [(3, 4, 4)], Operations(other=7 * 192)),
        (_layer("scale", factor=0.2), [(3, 4, 4)], Operations(other=48)),
        (_layer("dropout"), [(3, 4, 4)], Operations()),
    ],
    ids=lambda value: value.label() if isinstance(value, Layer) else "",
)
def test_what_operations_are_for(
    layer: Layer, inputs: list[Shape], expected: Operations
) -> None:
    output = layer.shape(*inputs)
    assert layer.operations(tuple(inputs), output, training=False) == expected


def test_batch_norm_in_training_by_hand() -> None:
    # 7 for each of 3 x 4 x 4 elements; per channel 5 for the batch's statistics and 7
    # for the running ones; a counter.
    found = _layer("bn").operations(((3, 4, 4),), (3, 4, 4), training=True)
    assert found == Operations(norm=7 * 48, per_batch=3 * 12 + 1)
    graph = flatten(chain((3, 4, 4), "bn"))
    (row,) = costs(graph, batch=8, training=True).layers
    assert row.batch_flops == 8 * 7 * 48 + 37


@pytest.mark.parametrize("p", [0.0, 0.25, 1.0])
@pytest.mark.parametrize(
    "word", ["dropout", "dropout2d", "alphadropout", "stochasticdepth"]
)
def test_dropout_in_training_is_torchs(word: str, p: float) -> None:
    graph = flatten(chain((6, 5, 4), (word, {"p": p})))
    (node,) = graph.nodes
    made = handmade.module(node.op.torch(node.input_shapes, node.shape))
    assert made is not None
    for training in (False, True):
        with torch.device("meta"), operations.Operations() as counter:
            made.train(training)(torch.empty(BATCH, 6, 5, 4))
        found = cost(node, training=training)
        assert found.other * BATCH == sum(counter.counts.values())
        assert found.elementwise == found.other


# ---- bytes by hand -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "item"),
    [("float64", 8), ("float32", 4), ("bfloat16", 2), ("float16", 2)],
)
@pytest.mark.parametrize("batch", [1, 5])
def test_bytes_by_hand(dtype: str, item: int, batch: int) -> None:
    network = chain(
        (3, 8, 8),
        ("conv", {"kernel": (3, 3), "width": 4}),
        "bn",
        ("maxpool", {"kernel": (2, 2)}),
        "flatten",
        "dropout",
    )
    stat = max(item, 4)  # batch norm keeps its statistics in 32 bits or more
    conv = Traffic((batch * 192 + 4 * 27 + 4) * item, batch * 256 * item)
    inference = [
        conv,
        Traffic((batch * 256 + 4 * 4) * item, batch * 256 * item),
        Traffic(batch * 256 * item, batch * 64 * item),
        Traffic(),
        Traffic(),
    ]
    training = [
        conv,
        Traffic(
            (batch * 256 + 4 * 4) * item + 8,
            (batch * 256 + 2 * 4) * item + 8 + 2 * 4 * stat,
        ),
        # An index for each maximum.
        Traffic(batch * 256 * item, batch * 64 * (item + 8)),
        Traffic(),
        # The mask.
        Traffic(batch * 64 * item, batch * 64 * 2 * item),
    ]
    graph = flatten(network)
    for mode, expected in ((False, inference), (True, training)):
        found = costs(graph, batch=batch, dtype=dtype, training=mode)
        assert [row.traffic for row in found.layers] == expected
        assert found.layers[0].intensity == (
            batch * (2 * 256 * 27 + 256) / (conv.read + conv.written)
        )
        assert found.layers[3].intensity is None


def test_operands_are_read_once() -> None:
    sketch = Sketch((3, 4, 4))
    twice = sketch.add("add", 0, 0)
    sketch.add("resize", 0, twice)
    one, other = flatten(sketch.network()).nodes
    assert traffic(one) == Traffic(48 * 4, 48 * 4)
    # Only the size of the second branch is read.
    assert traffic(other) == Traffic(48 * 4, 48 * 4)


def test_shared_weights_are_read_by_each() -> None:
    network = archdsl.loads(
        "arch 1\nnetwork N {\n    input 8x4x4\n    a: conv 1x1\n    relu\n"
        "    same a\n}\n"
    )
    first, _, second = costs(flatten(network)).layers
    assert (first.cost.params, second.cost.params) == (72, 0)
    assert first.traffic == second.traffic == Traffic(4 * (128 + 72), 4 * 128)


def test_refuses_an_unknown_dtype() -> None:
    with pytest.raises(ValueError, match="float16, not int8"):
        costs(flatten(chain((3, 4, 4), "relu")), dtype="int8")


# ---- the table -----------------------------------------------------------------------


@modes
def test_table(training: bool) -> None:
    network = archdsl.load("googlenet")
    facts = analyze(network, batch=8, mode="train" if training else "eval").as_dict()
    layers = facts["layers"]
    titles = [column.title for column in view.COLUMNS]
    rows = [dict(zip(titles, view.cells(layer), strict=True)) for layer in layers]
    whole = dict(zip(titles, view.group(layers), strict=True))
    # By hand: 7x7 taps of 3 channels; a batch of 8 images and the weights.
    first = {"MACs": f"{49 * 3 * 64 * 112 * 112:,}", "bias": "-", "read": "4.6 MiB"}
    assert rows[0].items() >= first.items()
    assert [row["add"] for row in rows] == ["-"] * len(rows)
    assert whole["MACs"] == "1,506,748,416"
    assert whole["bias"] == "5,048"
    totals = {name.strip(): (figure, note) for name, figure, note in view.totals(facts)}
    macs, heads = totals["MACs"]
    assert macs == ("1,506,748,416" if training else "1,498,376,192")
    share = "of them" if training else "more"
    assert heads.endswith(f"; 8,372,224 {share} in auxiliary heads")
    assert ("for statistics" in totals["FLOPs"][1]) == training
