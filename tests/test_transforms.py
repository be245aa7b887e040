"""Transformations: their results compute the same, have the right form, and compile.

`check` compares the network with the original, by the interpreter of steps and by the
compiled module, whose text the compiler validates.
"""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
import torch
from torch import Tensor

import archdsl
from archdsl.ir import Network
from archdsl.ir.build import NetworkBuilder
from archdsl.ir.verify import problems
from archdsl.transforms import (
    PASSES,
    AsModules,
    FoldNorms,
    FoldNormsAhead,
    FoldScales,
    MergeBranches,
    MergeParallel,
    Pipeline,
    RemoveDead,
    RemoveIdentities,
    Transformation,
    names_of,
    pipeline,
)
from tests import generated, manual_specs
from tests.comparing import named_outputs, with_statistics
from tests.executor import draw_state, execute, keys


def net(*statements: str, input: str = "4x8x8", before: str = "") -> Network:
    body = "".join(f"    {line}\n" for line in statements)
    return archdsl.loads(
        f"arch 1\n{before}\nnetwork Net {{\n    input {input}\n{body}}}\n"
    )


def paths(network: Network) -> list[str]:
    return [step.path for step in network.steps()]


def words(network: Network) -> dict[str, str]:
    return {step.path: step.op.word for step in network.steps()}


def check(network: Network, transform: Transformation) -> Network:
    """Apply a transformation, check that the result computes the same, and return it.

    It is run step by step and as a compiled module, in float64.
    """
    before = paths(network)
    made = transform.apply(network)
    assert not problems(made)
    assert before == paths(network)  # the original is unchanged
    state = draw_state(network, 1)
    given = {key: value.clone() for key, value in state.items()}
    weights = transform.weights(network, state)
    assert list(weights) == list(keys(made))
    assert all(torch.equal(given[key], state[key]) for key in given)
    generator = torch.Generator().manual_seed(2)
    inputs = [
        torch.randn(2, *p.shape, generator=generator, dtype=torch.float64)
        for p in network.inputs
    ]
    module = archdsl.build(made).double().eval()
    module.load_state_dict(weights, strict=True)
    with torch.no_grad():
        wanted = execute(network, state, inputs, False)
        same(execute(made, weights, inputs, False), wanted, 1e-10)
        same(named_outputs(made, module(*inputs)), wanted, 1e-10)
    return made


def same(found: dict[str, Tensor], wanted: dict[str, Tensor], tolerance: float) -> None:
    assert list(found) == list(wanted)
    for name, value in wanted.items():
        error = (found[name] - value).abs().max() / value.abs().max().clamp(min=1)
        assert error <= tolerance, f"{name} is off by {error}"


# ---- folding on real networks -----------------------------------------------------

PRESETS = ["resnet18", "mobilenet_v2", "densenet121", "googlenet"]


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_compute_the_same(preset: str) -> None:
    network = archdsl.load(preset, input="3x64x64")
    fold = FoldNorms()
    folded = fold.apply(network)
    torch.manual_seed(0)
    module = with_statistics(archdsl.build(network))
    x = torch.randn(2, 3, 64, 64)
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-10)):
        state = module.to(dtype).state_dict()
        other = archdsl.build(folded).to(dtype).eval()
        other.load_state_dict(fold.weights(network, state), strict=True)
        with torch.no_grad():
            wanted = named_outputs(network, module(x.to(dtype)))
            same(named_outputs(folded, other(x.to(dtype))), wanted, tolerance)
    assert set(paths(folded)) <= set(paths(network))
    left = {step.path for step in folded.steps() if step.op.word == "bn"}
    if preset != "densenet121":
        assert not left
        return
    # Most norms read a concatenation or a pool. Only that of the stem and the second
    # one in each of the 58 layers follow a convolution.
    assert "features.denseblock1.denselayer1.norm1" in left
    assert "features.norm5" in left and "features.norm0" not in left
    assert len(left) == 58 + 3 + 1


def test_figures_of_a_folded_resnet18_are_as_by_hand() -> None:
    folded = FoldNorms().apply(archdsl.load("resnet18"))
    found = archdsl.analyze(folded)
    # Five norms have 64 channels; each wider stage has four, and one for the
    # projection.
    assert found.params == 11_689_512 - 5 * (64 + 128 + 256 + 512)
    assert (found.macs, found.buffers) == (1_814_073_344, 0)


# ---- folding by hand --------------------------------------------------------------


def test_a_fold_by_hand() -> None:
    network = net("c: conv 1x1 2 bias=true -> n: bn eps=0.25", input="1x1x1")
    state: dict[str, Any] = {
        "c.weight": [[[[3.0]]], [[[5.0]]]],
        "c.bias": [1.0, 2.0],
        "n.weight": [2.0, 4.0],
        "n.bias": [7.0, 8.0],
        "n.running_mean": [0.5, 1.0],
        "n.running_var": [0.75, 3.75],
        "n.num_batches_tracked": 9,
    }
    state = {key: torch.tensor(value) for key, value in state.items()}
    # Deviations are 1 and 2, so factors are 2 and 2.
    folded = FoldNorms().weights(network, state)
    assert {key: value.flatten().tolist() for key, value in folded.items()} == {
        "c.weight": [6.0, 10.0],
        "c.bias": [2 * 0.5 + 7, 2 * 1.0 + 8],
    }


@pytest.mark.parametrize(
    "layer",
    [
        "conv 3x3 6 -> bn",
        "conv 3x3 6 bias=true -> bn eps=0.1",
        "conv 3x3 8 groups=2 -> bn",
        "conv 3x3 4 groups=4 -> bn",
        "conv 3x3 6 /2 pad=same -> bn",
        "convtranspose 2x2 6 /2 -> bn",
        "convtranspose 3x3 6 groups=2 -> bn",
        "convtranspose 3x3 4 groups=4 bias=true -> bn",
        "globalavgpool -> linear 5 -> bn",
    ],
)
def test_each_kind_of_layer_is_folded(layer: str) -> None:
    folded = check(net(layer, "relu"), FoldNorms())
    assert "bn" not in words(folded).values()


@pytest.mark.parametrize(
    "statements",
    [
        ("a: conv 3x3 -> bn", "add { relu | @a }"),  # others read it, too
        ("a: conv 3x3 -> bn", "output @a -> low: relu", "relu"),
        ("bn -> conv 3x3",),
        ("maxpool 2x2 -> bn -> relu",),
        ("concat { conv 3x3 | conv 1x1 } -> bn",),
        ("a: conv 3x3 bias=false", "n: bn", "same a", "relu"),  # once without the norm
        ("n: bn", "conv 3x3", "same n"),  # once behind another layer
        ("a: conv 3x3 bias=false", "bn", "same a", "bn"),  # two norms behind one
    ],
)
def test_what_cannot_be_folded_stays(statements: tuple[str, ...]) -> None:
    network = net(*statements)
    assert "bn" in words(network).values()
    assert FoldNorms().apply(network) is network


def test_a_norm_that_shares_its_place_with_others_is_left_alone() -> None:
    network = net("conv 3x3 -> bn -> relu", "b: conv 3x3 -> m: bn -> relu")
    assert "bn" not in words(check(network, FoldNorms())).values()
    network = net("conv 3x3 -> bn -> relu", "b: conv 3x3", "m: bn", "add { relu | @b }")
    folded = check(network, FoldNorms())
    assert {path for path, word in words(folded).items() if word == "bn"} == {"m"}


def test_shared_layers_with_one_norm_are_folded() -> None:
    network = net("u: { conv 3x3 -> bn; relu }", "same u", "conv 1x1 2")
    folded = check(network, FoldNorms())
    assert paths(folded) == ["u.conv1", "u.relu1", "u.conv1", "u.relu1", "conv1"]


def test_parts_of_a_seq_keep_their_numbers() -> None:
    folded = check(net("s: seq { conv 3x3; bn; relu; conv 1x1 2 }"), FoldNorms())
    assert words(folded) == {
        "s.0": "conv",
        "s.1": "identity",
        "s.2": "relu",
        "s.3": "conv",
    }


def test_a_norm_outside_of_its_layer_s_block_is_folded() -> None:
    block = "block part { relu; conv 3x3 bias=false }"
    folded = check(net("p: part", "bn -> relu", before=block), FoldNorms())
    assert paths(folded) == ["p.relu1", "p.conv1", "relu1"]


def test_initialisations_of_what_is_gone_go_too_and_others_stay() -> None:
    network = net("conv 3x3 -> n: bn", "init bn weight=1", "init conv weight=0")
    folded = check(network, FoldNorms())
    assert [(one.kind, one.path) for one in folded.initializers] == [("conv", "")]


# ---- identities -------------------------------------------------------------------


def test_identities_are_taken_out() -> None:
    network = net(
        "identity -> conv 3x3 6",
        "a: identity",
        "add { identity -> relu | @a | identity }",
        "part: { identity -> tanh -> identity }",
        "dropout 0.5",
        "output @a -> low: identity",
        "globalavgpool -> flatten -> linear 3",
    )
    made = check(network, RemoveIdentities())
    assert "identity" not in words(made).values()
    assert {"dropout1", "part.tanh1", "conv1", "linear1"} <= set(paths(made))
    for_inference = check(network, RemoveIdentities(inference=True))
    assert set(paths(made)) - set(paths(for_inference)) == {"dropout1"}


def test_an_identity_stays_in_a_seq_and_takes_the_place_of_a_dropout() -> None:
    network = net("s: seq { identity; conv 3x3 6; dropout 0.5; relu }", "identity")
    made = check(network, RemoveIdentities())
    assert [*words(made).values()] == ["identity", "conv", "dropout", "relu"]
    made = check(network, RemoveIdentities(inference=True))
    assert words(made) == {
        "s.0": "identity",
        "s.1": "conv",
        "s.2": "identity",
        "s.3": "relu",
    }


def test_what_works_in_another_call_of_the_block_stays() -> None:
    text = """arch 1
block unit<p> { conv 3x3 4 -> dropout p -> inner<p> }
block inner<p> { dropout p -> scale 1 }
network Net { input 4x8x8; unit<0.0>; unit<0.5>; inner<0.0>; dropout 0 }
"""
    network = archdsl.loads(
        text.replace("; ", "\n    ").replace("{ input", "{\n    input")
    )
    made = check(network, RemoveIdentities())
    kept = ["unit1.dropout1", "unit1.inner1.dropout1", "inner1.dropout1"]
    assert {*kept} <= set(paths(made)) and "dropout1" not in paths(made)
    assert "scale" not in words(made).values()
    made = check(network, RemoveIdentities(inference=True))
    assert [*words(made).values()] == ["conv", "conv"]


def test_a_network_of_nothing_else_is_its_input() -> None:
    made = RemoveIdentities().apply(net("identity -> identity"))
    assert paths(made) == [] and made.outputs[0].value == made.inputs[0].value


def test_a_network_without_identities_is_left_as_it_is() -> None:
    network = net("conv 3x3 6 -> relu")
    assert RemoveIdentities().apply(network) is network


# ---- norms before their layers ----------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "bn -> conv 1x1 6",
        "bn -> conv 3x3 6 pad=0 /2",
        "bn -> conv 1x1 6 groups=2 bias=false",
        "bn -> conv 3x3 4 groups=4 pad=0",
        "globalavgpool -> bn eps=0.1 -> linear 5",
        "globalavgpool -> bn -> linear 5 bias=false",
    ],
)
def test_each_kind_of_layer_takes_the_norm_before_it(statement: str) -> None:
    made = check(net(statement, "relu"), FoldNormsAhead())
    assert "bn" not in words(made).values()


@pytest.mark.parametrize(
    "statements",
    [
        ("bn -> conv 3x3",),  # padding zeros are not normed
        ("bn -> conv 3x3 pad=same",),
        ("n: bn", "conv 1x1", "add { relu | @n }"),
        ("n: bn", "output @n -> low: relu", "conv 1x1"),
        ("bn -> relu -> conv 1x1",),
        ("bn -> c: conv 1x1", "same c"),
        ("bn -> convtranspose 2x2 /2",),
    ],
)
def test_norms_before_other_layers_stay(statements: tuple[str, ...]) -> None:
    network = net(*statements)
    assert FoldNormsAhead().apply(network) is network


def test_a_norm_in_a_seq_leaves_an_identity_to_the_layer_behind_it() -> None:
    made = check(net("s: seq { relu; bn; conv 1x1 2 }"), FoldNormsAhead())
    assert words(made) == {"s.0": "relu", "s.1": "identity", "s.2": "conv"}


# ---- branches ---------------------------------------------------------------------

# The blocks of the papers: RepVGG (Ding et al. 2021, figure 4), MobileOne (Vasu et al.
# 2023, figure 3) and RepGhost (Chen et al. 2022, figure 3).
REPVGG = """
block cb<width, kernel = 1x1, stride = 1> { conv kernel width /stride bias=false -> bn }
block rep<width> {
    add { bn | cb<width, 3x3> | cb<width> }
    relu
}
"""
MOBILEONE = """
block dw<kernel> { conv kernel groups=channels bias=false -> bn }
block unit<width> {
    add { dw<3x3> | dw<3x3> | dw<1x1> | bn }
    relu
    add { p: { conv 1x1 width bias=false -> bn } | q: { conv 1x1 width -> bn } }
    relu
}
"""


def test_the_units_of_repvgg_become_one_convolution() -> None:
    network = net("rep<4>", "rep<4>", before=REPVGG)
    made = check(network, Pipeline((FoldNorms(), MergeBranches())))
    assert [*words(made).values()] == ["conv", "relu"] * 2
    assert all(step.op.label() == "conv 3x3 4" for step in list(made.steps())[::2])


def test_the_units_of_mobileone_become_two_convolutions() -> None:
    network = net("unit<6>", before=MOBILEONE)
    made = check(network, Pipeline((FoldNorms(), MergeBranches())))
    assert [*words(made).values()] == ["conv", "relu", "conv", "relu"]
    first, _, second, _ = made.steps()
    assert (first.op.label(), first.op.groups) == ("conv 3x3", 4)
    # 4 kernels of 3x3 with 4 biases, and 6 of 4 with 6.
    assert archdsl.analyze(made).params == 4 * 9 + 4 + 6 * 4 + 6
    assert second.op.label() == "conv 1x1 6"


def test_a_preset_becomes_the_one_that_its_authors_deploy() -> None:
    network = archdsl.load("repvgg_a0", input="3x64x64")
    deployed = archdsl.load("repvgg_a0_deploy", input="3x64x64")
    passes = pipeline(inference=True)
    made = passes.apply(network)
    ours, theirs = archdsl.analyze(made), archdsl.analyze(deployed)
    assert (ours.params, ours.macs, ours.depth) == (8_309_384, theirs.macs, 23)
    torch.manual_seed(0)
    module = with_statistics(archdsl.build(network)).double()
    weights = passes.weights(network, module.state_dict())
    # The spec's deployed form, with the same weights in the same order.
    other = archdsl.build(deployed).double().eval()
    names = dict(zip(other.state_dict(), weights.values(), strict=True))
    other.load_state_dict(names, strict=True)
    own = archdsl.build(made).double().eval()
    own.load_state_dict(weights, strict=True)
    x = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        wanted = module(x)
        for found in (own(x), other(x)):
            assert (found - wanted).abs().max() <= 1e-10 * wanted.abs().max()


@pytest.mark.parametrize(
    ("branches", "left"),
    [
        # The number of values that the sum still adds.
        ("conv 3x3 | conv 1x1 | tanh", 2),
        ("conv 3x3 | conv 5x5 | conv 1x3 | ", 1),
        ("conv 3x3 pad=2x2 dilation=2 | conv 3x3 | conv 1x1", 2),
        ("conv 5x5 | conv 3x3 pad=2 dilation=2", 1),
        ("conv 3x3 groups=2 | conv 1x1 groups=4 | ", 1),
        ("conv 3x3 groups=2 | conv 1x1 | ", 2),  # 1x1 of another grouping
        ("conv 3x3 6 /2 | conv 1x1 6 /2", 1),
        ("conv 3x3 4 /2 | maxpool 2x2 /2", 2),
        ("conv 3x3 | convtranspose 1x1", 2),
    ],
)
def test_what_lies_in_a_larger_kernel_is_merged(branches: str, left: int) -> None:
    network = net(f"add {{ {branches} }}", "relu")
    made = check(network, MergeBranches())
    totals = [step for step in made.steps() if step.op.word == "add"]
    assert sum(len(step.inputs) for step in totals) == (left if left > 1 else 0)
    assert archdsl.analyze(made).macs <= archdsl.analyze(network).macs


def test_parts_of_a_seq_keep_their_numbers_when_branches_merge() -> None:
    network = net("s: seq { add { conv 3x3 | conv 1x1 }; relu; conv 1x1 2 }")
    assert [step.path for step in network.steps()][-2:] == ["s.1", "s.2"]
    made = check(network, MergeBranches())
    assert [*words(made).items()][1:] == [("s.1", "relu"), ("s.2", "conv")]


def test_the_input_counts_as_often_as_it_is_added() -> None:
    made = check(net("add { conv 3x3 | | }", "relu"), MergeBranches())
    assert [*words(made).values()] == ["conv", "relu"]


def test_parallel_linears_are_merged() -> None:
    network = net("globalavgpool", "add { linear 4 | linear 4 bias=false | bn | }")
    made = check(network, MergeBranches())
    assert [*words(made).values()] == ["globalavgpool", "linear"]


@pytest.mark.parametrize(
    "statements",
    [
        ("a: tanh", "relu", "add { conv 1x1 | @a -> conv 1x1 }"),  # of two inputs
        ("relu", "residual { conv 3x3 -> relu }"),
        ("add { a: conv 3x3 | conv 1x1 }", "output @a -> low: relu", "relu"),
        ("add { c: conv 3x3 | conv 3x3 -> same c }", "relu"),
        ("concat { conv 3x3 | conv 1x1 }", "relu"),
    ],
)
def test_other_branches_stay(statements: tuple[str, ...]) -> None:
    network = net(*statements)
    assert MergeBranches().apply(network) is network


def test_a_merge_by_hand() -> None:
    network = net("add { a: conv 3x3 | b: conv 1x1 | n: bn eps=0.25 | }", input="1x1x1")
    state: dict[str, Any] = {
        "a.weight": [[[[1.0, 2, 3], [4, 5, 6], [7, 8, 9]]]],
        "a.bias": [10.0],
        "b.weight": [[[[100.0]]]],
        "b.bias": [20.0],
        "n.weight": [2.0],
        "n.bias": [7.0],
        "n.running_mean": [0.5],
        "n.running_var": [0.75],
        "n.num_batches_tracked": 9,
    }
    state = {key: torch.tensor(value) for key, value in state.items()}
    # The deviation is 1, so the norm doubles and adds 7 - 1; the input is added once.
    made = MergeBranches().weights(network, state)
    assert {key: value.flatten().tolist() for key, value in made.items()} == {
        "a.weight": [1, 2, 3, 4, 5 + 100 + 2 + 1, 6, 7, 8, 9],
        "a.bias": [10 + 20 + 7 - 1],
    }


# ---- layers side by side ------------------------------------------------------------


@pytest.mark.parametrize(
    ("preset", "shape", "number", "options"),
    [
        ("googlenet", "3x64x64", "9", {"aux": False}),
        ("inception_v3", "3x75x75", "10", {"aux": False}),
        ("cspdarknet53", "3x32x32", "5", {}),
    ],
)
def test_modules_of_inception_get_one_convolution(
    preset: str, shape: str, number: str, options: dict[str, Any]
) -> None:
    network = archdsl.load(preset, input=shape, classes=4, **options)
    made = check(network, MergeParallel())
    merged = [path for path in paths(made) if path.endswith(".merged1")]
    assert len(merged) == int(number)
    before, after = archdsl.analyze(network), archdsl.analyze(made)
    assert (before.params, before.macs) == (after.params, after.macs)


def test_weights_of_merged_layers_stand_behind_each_other() -> None:
    network = net("concat { a: conv 1x1 1 bias=false | tanh | b: conv 1x1 2 }")
    state: dict[str, Any] = {
        "a.weight": [[[[1.0]], [[2.0]]]],
        "b.weight": [[[[3.0]], [[4.0]]], [[[5.0]], [[6.0]]]],
        "b.bias": [7.0, 8.0],
    }
    state = {key: torch.tensor(value) for key, value in state.items()}
    made = MergeParallel().weights(network, state)
    assert {key: value.flatten().tolist() for key, value in made.items()} == {
        "merged1.weight": [1, 2, 3, 4, 5, 6],
        "merged1.bias": [0, 7, 8],
    }
    assert [*words(check(network, MergeParallel())).values()] == [
        *("conv", "slice", "slice", "tanh", "concat")
    ]


@pytest.mark.parametrize(
    ("statements", "number"),
    [
        (("a: conv 3x3 2", "concat { @input -> conv 3x3 2 bias=false | @a }"), 1),
        (("concat { conv 1x1 2 /2 | u: { conv 1x1 3 /2 -> bn -> relu } }",), 1),
        (("concat { conv 1x1 2 | s: seq { conv 1x1 3; relu } | conv 3x3 }",), 1),
        (("globalavgpool", "concat { linear 3 | linear 4 -> relu | tanh }"), 1),
        (("add { conv 1x1 | residual { conv 1x1 } | conv 1x1 -> conv 1x1 }",), 1),
        (("concat { conv 1x1 | conv 3x3 }", "relu"), 0),  # other windows
        (("c: conv 1x1", "concat { conv 1x1 -> same c | conv 1x1 -> relu }"), 1),
        (("concat { c: conv 1x1 | relu } -> conv 1x1 4", "same c"), 0),  # shared
        (("concat { conv 1x1 groups=2 | conv 1x1 groups=2 }",), 0),
        (("concat { u: { concat { conv 1x1 | tanh } } | conv 1x1 }",), 0),
    ],
)
def test_layers_of_one_input_and_window_are_merged(
    statements: tuple[str, ...], number: int
) -> None:
    network = net(*statements)
    made = check(network, MergeParallel()) if number else MergeParallel().apply(network)
    assert (made is network) == (number == 0)
    own = [path for path in paths(made) if path.startswith("merged")]
    assert sum("_" not in path for path in own) == number
    assert archdsl.analyze(made).macs == archdsl.analyze(network).macs


PARALLEL = (
    "conv KxK W",
    "conv KxK W bias=false -> bn -> relu",
    "unit<W, KxK>",
    "u: { conv KxK W -> tanh }",
    "seq { unit<W, KxK>; conv 3x3 W }",
    "residual { conv 1x1 }",
    "tanh",
    "concat { conv KxK W | unit<W, KxK> -> bn }",
    "halved",
)
BLOCKS = """
block unit<width, kernel = 1x1> { conv kernel width -> bn -> relu }
block halved { conv 1x1 (channels // 2) -> relu }
block pair<left, right> { concat { unit<left> | unit<right> -> conv 3x3 | conv 1x1 2 } }
"""


def test_random_layers_side_by_side_compute_the_same() -> None:
    number = 0
    for seed in range(16):
        draw = Random(seed)
        chosen = []
        for branch in draw.choices(PARALLEL, k=draw.randint(2, 4)):
            label = f"u{len(chosen)}:" if branch.startswith("u:") else ""
            text = branch.replace("u:", label)
            text = text.replace("KxK", draw.choice(("1x1", "1x1", "3x3")))
            chosen.append(text.replace("W", str(draw.randint(1, 4))))
        network = net(
            f"concat {{ {' | '.join(chosen)} }}",
            f"pair<{draw.randint(1, 4)}, 2>" + "  x2" * draw.randint(0, 1),
            "conv 3x3 4",
            before=BLOCKS,
        )
        made = check(network, MergeParallel())
        number += sum(path.endswith("merged1") for path in paths(made))
        check(network, Pipeline((*pipeline(inference=True).steps, MergeParallel())))
    assert number > 20


def test_merged_layers_train_as_ever() -> None:
    network = net(
        "concat { conv 1x1 2 -> bn -> relu | conv 1x1 3 -> bn } -> conv 3x3 2"
    )
    merge = MergeParallel()
    one = archdsl.build(network).double().train()
    other = archdsl.build(merge.apply(network)).double().train()
    other.load_state_dict(merge.weights(network, one.state_dict()), strict=True)
    x = torch.randn(3, 4, 8, 8, dtype=torch.float64)
    assert torch.allclose(one(x), other(x), rtol=0, atol=1e-12)
    one(x).square().sum().backward()
    other(x).square().sum().backward()
    found = other.get_parameter("merged1.weight").grad
    parts = [one.get_parameter(f"conv{n}.weight").grad for n in (1, 2)]
    assert found is not None
    assert torch.allclose(found, torch.cat(parts), rtol=0, atol=1e-12)  # type: ignore[arg-type]


# ---- factors ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "statements",
    [
        ("conv 3x3 6 bias=false", "scale 0.2", "relu"),
        ("conv 3x3 6", "dropout 0.1", "layerscale 0.5", "relu"),
        ("conv 3x3 6", "layerscale 0.5 form=batch"),
        ("conv 3x3 6", "layerscale 0.5 form=scalar"),
        ("convtranspose 2x2 6 /2 groups=2", "layerscale 0.5 form=vector"),
        ("convtranspose 2x2 6 /2", "scale 0.5"),
        ("permute last -> linear 6", "permute first", "layerscale 0.3 -> relu"),
        ("permute last -> linear 6", "layerscale 0.3 -> permute first"),
        ("residual { conv 3x3 4 -> bn -> scale 0.1 }", "relu"),
        ("globalavgpool -> linear 5 -> scale (-2)",),
        ("seq { conv 1x1 6; scale 0.5; relu }",),
    ],
)
def test_factors_become_part_of_the_layer_before(statements: tuple[str, ...]) -> None:
    network = net(*statements)
    made = check(network, Pipeline((FoldNorms(), FoldScales())))
    assert not {"scale", "layerscale"} & set(words(made).values())
    assert len(list(made.steps())) <= len(list(network.steps()))


@pytest.mark.parametrize(
    "statements",
    [
        ("a: conv 3x3 4", "scale 0.2", "add { | @a }"),
        ("a: conv 3x3 4", "scale 0.2", "output @a"),
        ("a: conv 3x3 4 -> relu", "same a", "scale 0.2"),
        ("conv 3x3 4", "maxpool 2x2", "scale (-1)"),
        ("conv 3x3 4", "flatten", "scale 3"),
        ("scale 2", "conv 3x3 4"),
    ],
)
def test_factors_of_what_else_is_read_stay(statements: tuple[str, ...]) -> None:
    network = net(*statements)
    assert FoldScales().apply(network) is network


def test_of_two_factors_one_is_folded() -> None:
    made = check(net("conv 3x3 6", "scale 2", "layerscale 0.5"), FoldScales())
    assert list(words(made).values()) == ["conv", "layerscale"]


def test_networks_with_factors_have_none_for_inference() -> None:
    for name, count in (("convnext_tiny", 18), ("inception_resnet_v2", 39)):
        network = archdsl.load(name)
        made = FoldScales().apply(network)
        before, after = len(paths(network)), len(paths(made))
        assert before - after == count, name


# ---- the pipeline -----------------------------------------------------------------


def test_levels_are_what_they_are_said_to_be() -> None:
    assert names_of(0) == names_of(0, inference=True) == []
    assert names_of() == names_of(1) == names_of(2)
    assert names_of() == ["remove-dead", "remove-identities"]
    for_inference = ["bake-weights", "fold-norms", "fold-scales"]
    assert names_of(1, inference=True) == [*names_of(1), *for_inference]
    most = [name for name in PASSES if name != "merge-parallel"]
    assert names_of(inference=True) == names_of(2, inference=True) == most
    assert pipeline(0).steps == ()
    assert pipeline().steps == pipeline(1).steps == (RemoveDead(), RemoveIdentities())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"level": 3}, "from 0 to 2, not 3"),
        ({"level": 1, "passes": ["remove-dead"]}, "either a level or passes"),
        ({"passes": ["fold"]}, "no pass `fold`: the passes are remove-dead, "),
        ({"passes": ["fold-norms"]}, "fold-norms is for inference"),
    ],
)
def test_wrong_passes_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pipeline(**options)


def test_a_recipe_says_what_a_tensor_is_made_of() -> None:
    network = net("conv 3x3 -> bn -> relu", "dropout 0.1", "u: conv 1x1 2")
    recipe = pipeline(inference=True).recipe(network)
    norm = [f"bn1.{name}" for name in ("weight", "bias", "running_mean", "running_var")]
    assert {key: list(origin.keys) for key, origin in recipe.items()} == {
        "conv1.weight": ["conv1.weight", *norm],
        "conv1.bias": ["conv1.weight", *norm],
        "u.weight": ["u.weight"],
        "u.bias": ["u.bias"],
    }
    assert recipe["u.weight"].make is None


def test_weights_of_numpy_and_torch_are_the_same() -> None:
    network = net("rep<4>", "bn -> conv 1x1 3", before=REPVGG)
    state = draw_state(network, 1)
    passes = pipeline(inference=True)
    wanted = passes.weights(network, state)
    found = passes.weights(network, {key: v.numpy() for key, v in state.items()})
    assert list(found) == list(wanted)
    for key, value in wanted.items():
        torch.testing.assert_close(torch.from_numpy(found[key]), value)
    single = passes.weights(network, {key: v.float() for key, v in state.items()})
    assert all(value.dtype == torch.float32 for value in single.values())


# ---- dead parts -------------------------------------------------------------------


def test_what_only_training_needs_is_taken_out() -> None:
    network = archdsl.load("googlenet", input="3x64x64")
    made = check(network, RemoveDead(inference=True))
    assert set(paths(network)) - set(paths(made)) == {
        path for path in paths(network) if path.startswith(("aux1", "aux2"))
    }
    assert [port.name for port in made.outputs] == ["output"]
    # The published count without the heads.
    assert archdsl.analyze(made).params == 6_624_904
    assert RemoveDead().apply(network) is network
    assert RemoveDead(inference=True).apply(made) is made


def test_a_shared_part_whose_first_use_goes_is_there_where_it_stays() -> None:
    build = NetworkBuilder("Net")
    x = build.input((4, 8, 8))
    first = build.add("conv", x, name="u", kernel=(3, 3), training=True)
    build.output(first, "aux", training=True)
    made = check(build.network(build.again("u", x)), RemoveDead(inference=True))
    assert [(step.path, step.shared) for step in made.steps()] == [("u", False)]


def test_a_group_ends_where_its_last_part_does() -> None:
    build = NetworkBuilder("Net")
    x = build.input((4, 8, 8))
    with build.group("part", x):
        seen = build.add("conv", x, kernel=(1, 1))
        last = build.add("relu", seen, training=True)
    build.output(last, "aux", training=True)
    build.output(seen, "seen")
    network = build.network(build.add("tanh", x))
    made = check(network, RemoveDead(inference=True))
    assert paths(made) == ["part.conv1", "tanh1"]
    (part, _) = made.root.children
    assert part.output == seen


def test_options_are_fields_and_transformations_are_values() -> None:
    assert RemoveIdentities() == RemoveIdentities(inference=False) != FoldNorms()
    assert hash(FoldNorms()) == hash(FoldNorms())


def test_random_specs_compute_the_same() -> None:
    for case in range(12):
        for specimens in (generated, manual_specs):
            text = specimens.specimen(case)
            network = archdsl.loads(text, params=manual_specs.params_of(text))
            each = (
                AsModules(),
                FoldNorms(),
                FoldNormsAhead(),
                FoldScales(),
                MergeBranches(),
                MergeParallel(),
                RemoveIdentities(inference=True),
                RemoveDead(inference=True),
                pipeline(inference=True),
            )
            for transform in each[case % 2 :: 2]:
                check(network, transform)
