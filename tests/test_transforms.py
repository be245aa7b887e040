"""Transformations: what they make computes the same, is as it should be, and compiles.

`check` holds it against the network before, by the executor of steps and by the module
that is compiled from it, whose text the compiler proves.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import archdsl
from archdsl.ir import Network
from archdsl.ir.verify import problems
from archdsl.transforms import AsModules, FoldNorms, RemoveIdentities, Transformation
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
    """Return what a transformation makes, once it is found to compute the same.

    Both by its steps and by the module that is compiled from it, in float64.
    """
    before = paths(network)
    made = transform.apply(network)
    assert not problems(made)
    assert before == paths(network)  # the given one is as it was
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
    # A norm before a rectifier and a convolution reads a concatenation or a pool. Only
    # that of the stem and the second one in each of the 58 layers follow a convolution.
    assert "features.denseblock1.denselayer1.norm1" in left
    assert "features.norm5" in left and "features.norm0" not in left
    assert len(left) == 58 + 3 + 1


def test_figures_of_a_folded_resnet18_are_as_by_hand() -> None:
    folded = FoldNorms().apply(archdsl.load("resnet18"))
    found = archdsl.analyze(folded)
    # Norms follow 64 channels five times; a stage of more has four and a projection.
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


def test_a_network_of_nothing_else_is_its_input() -> None:
    made = RemoveIdentities().apply(net("identity -> identity"))
    assert paths(made) == [] and made.outputs[0].value == made.inputs[0].value


def test_a_network_without_identities_is_left_as_it_is() -> None:
    network = net("conv 3x3 6 -> relu")
    assert RemoveIdentities().apply(network) is network


def test_options_are_fields_and_transformations_are_values() -> None:
    assert RemoveIdentities() == RemoveIdentities(inference=False) != FoldNorms()
    assert hash(FoldNorms()) == hash(FoldNorms())


TRANSFORMATIONS = (FoldNorms(), RemoveIdentities(inference=True), AsModules())


def test_random_specs_compute_the_same() -> None:
    for case in range(12):
        for specimens in (generated, manual_specs):
            text = specimens.specimen(case)
            network = archdsl.loads(text, params=manual_specs.params_of(text))
            for transform in TRANSFORMATIONS:
                check(network, transform)
