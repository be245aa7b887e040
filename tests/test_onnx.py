"""ONNX models compute what torch computes, and are valid.

There are two outside references: onnxruntime runs the models, and onnx checks them. The
expected outputs come from the interpreter of steps in float64, or from emitted modules.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

import archdsl
from archdsl.backends.onnx import OPSETS, Exported, WrongWeights, drawn, export, model
from archdsl.diagnostics import SpecError
from archdsl.ir import Network
from archdsl.layer import Layer, Mismatch
from archdsl.values import Last, Shape
from tests import generated, manual_specs
from tests.comparing import named_outputs, with_statistics
from tests.executor import draw_state, execute
from tests.handmade import Sketch
from tests.strategies import KINDS, layers_with_inputs
from tests.test_cli import folder, run

__all__ = ["folder", "run"]

BATCH = 3
TOLERANCE = 1e-5


def computed(path: bytes | Path, *inputs: Tensor) -> dict[str, Any]:
    """Return the outputs of a model in onnxruntime, by name."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options)
    names = [one.name for one in session.get_inputs()]
    values = [value.float().numpy() for value in inputs]
    found = session.run(None, dict(zip(names, values, strict=True)))
    return dict(zip([o.name for o in session.get_outputs()], found, strict=True))


def distance(found: Any, wanted: Tensor) -> float:
    """Return the largest difference as a share of the largest value."""
    assert found.shape == tuple(wanted.shape)
    # The maximum of a window that only contains padding is minus infinity in torch, and
    # the least finite number in onnxruntime.
    least = torch.finfo(torch.float32).min
    ours, theirs = torch.from_numpy(found).double(), wanted.double()
    empty = theirs == -torch.inf
    assert bool((ours[empty] <= least).all())
    # Roots of negative numbers are NaN in both.
    assert torch.equal(ours.isnan(), theirs.isnan())
    empty |= theirs.isnan()
    ours, theirs = ours.masked_fill(empty, 0), theirs.masked_fill(empty, 0)
    return float((ours - theirs).abs().max() / theirs.abs().max().clamp(min=1e-30))


def check(network: Network, **options: Any) -> Exported:
    """Check that a network's model computes the same in onnxruntime, and return it.

    The loss by float32 may be as large as in torch.
    """
    state = draw_state(network, 1)
    made = export(network, state, **options)
    generator = torch.Generator().manual_seed(2)
    inputs = [
        torch.randn(BATCH, *port.shape, generator=generator, dtype=torch.float64)
        for port in network.inputs
    ]
    found = computed(made.model, *inputs)
    wanted = execute(network, state, inputs, False)
    half = {k: v.float() if v.is_floating_point() else v for k, v in state.items()}
    single = execute(network, half, [x.float() for x in inputs], False)
    assert list(found) == list(wanted)
    for name, value in wanted.items():
        own = distance(single[name].numpy(), value)
        assert distance(found[name], value) <= max(TOLERANCE, 20 * own), name
    return made


def net(*statements: str, input: str = "4x8x8", before: str = "") -> Network:
    body = "".join(f"    {line}\n" for line in statements)
    return archdsl.loads(
        f"arch 1\n{before}\nnetwork Net {{\n    input {input}\n{body}}}\n"
    )


# ---- every kind of layer, and random networks -------------------------------------


@pytest.mark.parametrize("word", KINDS)
def test_every_kind_computes_the_same(word: str) -> None:
    accepted = []

    @settings(max_examples=30, deadline=None)
    @given(layers_with_inputs(word))
    def check_one(case: tuple[Layer, tuple[Shape, ...]]) -> None:
        layer, inputs = case
        # A network's inputs have their channels first.
        turned = [isinstance(shape, Last) for shape in inputs]
        sketch = Sketch(
            *((s[-1], *s[:-1]) if t else s for s, t in zip(inputs, turned, strict=True))
        )
        values = [
            sketch.add("permute", value, channels="last") if last else value
            for value, last in zip(sketch.inputs, turned, strict=True)
        ]
        try:
            value = sketch.add(layer, *values)
        except Mismatch:
            return
        accepted.append(case)
        # The oldest and the newest opset, with fixed and free sizes.
        oldest = len(accepted) % 2 == 0
        opset = OPSETS[0] if oldest else OPSETS[-1]
        fixed, folds = len(accepted) % 3 == 0, len(accepted) % 5 < 3
        check(sketch.network(value), opset=opset, fixed_size=fixed, fold=folds)

    check_one()
    assert accepted, "no example was accepted"


@pytest.mark.parametrize("folds", [True, False])
def test_random_specs_compute_the_same(folds: bool) -> None:
    free = 0
    for case in range(8):
        for specimens in (generated, manual_specs):
            text = specimens.specimen(case)
            network = archdsl.loads(text, params=manual_specs.params_of(text))
            made = check(network, fold=folds, fixed_size=case % 4 == 0)
            free += not made.fixed_by
    assert free > 8


# ---- shipped networks -------------------------------------------------------------

# One of each family, in sizes that are quick.
PRESETS = {
    "googlenet": "3x64x64",  # windows rounded up, training outputs
    "densenet121": "3x32x32",  # norms that cannot be folded
    "efficientnet_b0": "3x32x32",
    "shufflenet_v2_x0_5": "3x32x32",
    "mobilenet_v3_small": "3x32x32",
    "convnext_tiny": "3x32x32",  # channels last
    "lraspp_mobilenet_v3_large": "3x48x48",
    "unet": "1x188x188",
    "srgan_generator": "3x12x12",
    "siamese": None,
    "two_inputs": None,
    "m5": "1x2000",
    "r2plus1d_18": "3x4x16x20",
}


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_compute_the_same(preset: str, tmp_path: Path) -> None:
    """One model, at the spec's size and, if sizes are free, at another one."""
    params = {"width": 4} if preset == "unet" else None
    network = archdsl.load(preset, input=PRESETS[preset], params=params)
    torch.manual_seed(0)
    module = with_statistics(archdsl.build(network))
    path = tmp_path / "net.onnx"
    made = archdsl.export_onnx(network, path, weights=module.state_dict())
    onnx.checker.check_model(path, full_check=True)
    free = [
        any(isinstance(size, str) for size in shape[1:])
        for shape in made.inputs.values()
    ]
    assert any(free) == (preset != "siamese")
    for batch, more in ((1, 0), (2, 16)):
        inputs = [
            torch.randn(batch, p.shape[0], *(n + more * f for n in p.shape[1:]))
            for p, f in zip(network.inputs, free, strict=True)
        ]
        with torch.no_grad():
            wanted = named_outputs(network, module(*inputs))
        found = computed(path, *inputs)
        assert list(found) == list(wanted)
        for name, value in wanted.items():
            assert distance(found[name], value) <= TOLERANCE


def test_a_folded_resnet_has_the_operators_of_its_table() -> None:
    made = archdsl.export_onnx("resnet18", seed=0)
    graph = onnx.load_from_string(made.model).graph
    types = [node.op_type for node in graph.node]
    # He et al. 2016, table 1: 17 convolutions, three projections, a sum for each of the
    # eight blocks, a relu after the first of each, after each sum, and in the stem.
    counts = {type: types.count(type) for type in sorted(set(types))}
    assert counts == {
        "Add": 8,
        "Conv": 20,
        "Flatten": 1,
        "Gemm": 1,
        "GlobalAveragePool": 1,
        "MaxPool": 1,
        "Relu": 17,
    }
    assert made.folded == 20


# ---- sizes ------------------------------------------------------------------------


def test_the_branches_of_a_repvgg_are_merged() -> None:
    made = check(archdsl.load("repvgg_a0", input="3x32x32"))
    nodes = [node.op_type for node in onnx.load_from_string(made.model).graph.node]
    # 22 units and a classifier; units have norms in two branches, 17 in a third one.
    assert (nodes.count("Conv"), nodes.count("Gemm"), made.folded) == (22, 1, 61)
    assert not {"Add", "BatchNormalization"} & set(nodes)


@pytest.mark.parametrize(
    ("statements", "reason"),
    [
        (("flatten -> linear 3",), "flatten1 has as many features"),
        (("adaptiveavgpool 3x3",), "adaptiveavgpool1 pools to a given size"),
        (("upsample size=5x5",), "upsample1 selects pixels by its input's size"),
        (("conv 3x3 /2 pad=same dilation=2",), "conv1 pads by its input's size"),
        (("avgpool 3x3 /2 pad=1 ceil=true",), "avgpool1 rounds its output's size up"),
    ],
)
def test_why_sizes_are_fixed_is_said(statements: tuple[str, ...], reason: str) -> None:
    made = check(net(*statements))
    assert made.fixed_by.startswith(reason)
    assert list(made.inputs.values()) == [["batch", 4, 8, 8]]


@pytest.mark.parametrize(
    "statements",
    [
        ("conv 3x3 /2 -> globalavgpool -> linear 3",),
        ("conv 3x3 /2 pad=same", "maxpool 3x3 /2 pad=same"),
        ("maxpool 3x3 /2 ceil=true", "avgpool 2x2 /2 ceil=true"),
        ("a: maxpool 2x2", "resize { upsample mode=bilinear | @a }"),
        ("crop { | conv 3x3 pad=0 }",),
        ("shuffle groups=2 -> groupnorm 2 -> pixelshuffle 2 -> pixelunshuffle 2",),
        ("upsample 2x2 mode=bilinear align=true", "permute last -> linear 5"),
    ],
)
def test_sizes_may_be_any(statements: tuple[str, ...]) -> None:
    network = net(*statements)
    state = draw_state(network, 1)
    made = export(network, state)
    assert not made.fixed_by
    for height, width in ((8, 8), (10, 16), (22, 14), (32, 6)):
        x = torch.randn(2, 4, height, width, dtype=torch.float64)
        (wanted,) = execute(network, state, [x], False).values()
        (found,) = computed(made.model, x).values()
        assert distance(found, wanted) <= TOLERANCE


def test_batch_and_sizes_can_be_fixed() -> None:
    made = check(net("conv 3x3 5"), batch=BATCH, fixed_size=True)
    assert made.inputs == {"x": [3, 4, 8, 8]}
    assert made.outputs == {"output": [3, 5, 8, 8]}
    assert check(net("conv 3x3 5"), batch=BATCH).inputs["x"][0] == 3


# ---- names ------------------------------------------------------------------------


def test_names_are_those_of_the_spec() -> None:
    network = net(
        "a: conv 3x3 6 -> relu",
        "stem: { conv 1x1 -> gelu }",
        "output @a -> low: relu",
        "same stem",
    )
    made = check(network)
    whole = onnx.load_from_string(made.model)
    nodes = {node.name: node for node in whole.graph.node}
    paths = {step.path for step in network.steps()}
    assert {name.partition("/")[0].removesuffix("_2") for name in nodes} == paths
    assert len(nodes) == len(whole.graph.node)
    assert list(made.outputs) == ["output", "low"]
    weights = {one.name for one in whole.graph.initializer if len(one.dims) > 0}
    assert weights == {"a.weight", "a.bias", "stem.conv1.weight", "stem.conv1.bias"}


def test_outputs_that_are_inputs_or_twice_there() -> None:
    check(net("a: relu", "output @a", "identity"))
    check(net("identity"))
    check(net("x: relu", "output @x -> output2: relu"))


def test_metadata_says_what_the_model_is_of() -> None:
    def props(network: Network) -> dict[str, str]:
        made = onnx.load_from_string(archdsl.export_onnx(network, seed=0).model)
        assert (made.producer_name, made.producer_version) == (
            "archdsl",
            archdsl.__version__,
        )
        return {one.key: one.value for one in made.metadata_props}

    found = props(archdsl.load("squeezenet1_1"))
    assert found["archdsl.name"] == "squeezenet1_1"
    same = props(archdsl.load("squeezenet1_1", symbolic=False))
    assert found == same
    other = props(archdsl.load("squeezenet1_1", classes=3))
    assert json.loads(other["archdsl.parameters"])["classes"] == "3"
    assert other["archdsl.digest"] != found["archdsl.digest"]


# ---- weights ----------------------------------------------------------------------


@pytest.fixture
def small() -> Network:
    return net("c: conv 3x3 6 -> n: bn -> relu", "globalavgpool -> fc: linear 3")


def test_weights_come_from_files_of_each_format(small: Network, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    module = with_statistics(archdsl.build(small))
    state = module.state_dict()
    save_file(state, tmp_path / "w.safetensors")
    torch.save(state, tmp_path / "w.pt")
    wrapped = {f"module.{key}": value for key, value in state.items()}
    torch.save({"epoch": 3, "state_dict": wrapped}, tmp_path / "checkpoint.ckpt")
    np.savez(tmp_path / "w.npz", **{k: v.numpy() for k, v in state.items()})
    x = torch.randn(2, 4, 8, 8)
    with torch.no_grad():
        wanted = module(x)
    for path in tmp_path.iterdir():
        made = archdsl.export_onnx(small, weights=path)
        assert distance(computed(made.model, x)["output"], wanted) <= TOLERANCE


def test_half_precision_is_read(small: Network, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    module = with_statistics(archdsl.build(small)).bfloat16()
    save_file(module.state_dict(), tmp_path / "w.safetensors")
    made = archdsl.export_onnx(small, weights=tmp_path / "w.safetensors")
    x = torch.randn(2, 4, 8, 8)
    with torch.no_grad():
        wanted = module.float()(x)
    assert distance(computed(made.model, x)["output"], wanted) <= TOLERANCE


def test_weights_of_another_network_are_refused(small: Network) -> None:
    state = drawn(small, 0)
    with pytest.raises(WrongWeights, match=r"they lack fc\.bias$"):
        export(small, {key: v for key, v in state.items() if key != "fc.bias"})
    with pytest.raises(WrongWeights, match=r"they have in addition head\.weight"):
        export(small, {**state, "head.weight": np.zeros(3)})
    with pytest.raises(WrongWeights, match=r"fc\.weight is 3x7, and the network's 3x6"):
        export(small, {**state, "fc.weight": np.zeros((3, 7))})
    with pytest.raises(WrongWeights, match=r"fc\.weight is not an array of numbers"):
        export(small, {**state, "fc.weight": "nothing"})


def test_what_only_training_needs_may_be_missing() -> None:
    network = archdsl.load("googlenet", input="3x64x64")
    state = drawn(network, 0)
    assert not any(key.startswith("aux") for key in state)
    assert list(export(network, state).outputs) == ["output"]


def test_random_weights_are_those_of_the_seed(small: Network) -> None:
    one, same, other = (archdsl.export_onnx(small, seed=n).model for n in (0, 0, 1))
    assert one == same != other


def test_weights_beyond_two_gib_go_to_a_file_beside_it(
    small: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = drawn(small, 0)
    x = torch.randn(2, 4, 8, 8)
    whole = export(small, state)
    monkeypatch.setattr(model, "MOST_BYTES", 2**26 + 100)
    path = tmp_path / "net.onnx"
    made = archdsl.export_onnx(small, path, weights=state)
    assert {p.name for p in tmp_path.iterdir()} == {"net.onnx", "net.onnx.data"}
    assert len(made.model) < len(whole.model)
    onnx.checker.check_model(path, full_check=True)
    (found,), (wanted,) = (computed(m, x).values() for m in (path, whole.model))
    assert np.array_equal(found, wanted)


# ---- what cannot be exported ------------------------------------------------------


def test_a_foreign_layer_is_refused_with_its_place() -> None:
    foreign = 'op mine { torch = "my.Own" }'
    with pytest.raises(SpecError) as caught:
        archdsl.export_onnx(net("conv 3x3 -> mine", before=foreign), seed=0)
    (error,) = caught.value.diagnostics
    assert error.code == "A0704" and error.label == "mine1 here"
    assert "`mine` has no form in ONNX" in error.message
    # Before its weights, whose names only its class knows.
    foreign = 'op mine { torch = "torch.nn.PReLU"\n params = 1 }'
    network = net("conv 3x3 -> mine", before=foreign)
    with pytest.raises(SpecError, match="no form in ONNX"):
        archdsl.export_onnx(network, weights=archdsl.build(network).state_dict())


def test_a_kind_without_a_form_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from archdsl.backends.onnx.forms import FORMS

    monkeypatch.delitem(FORMS, "nn.Tanh")
    with pytest.raises(SpecError) as caught:
        archdsl.export_onnx(net("tanh -> tanh -> relu"), seed=0)
    (error,) = caught.value.diagnostics
    assert error.help is not None and "`nn.Tanh` is missing" in error.help


def test_a_model_that_is_not_the_network_is_a_bug(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from archdsl.backends.onnx.forms import FORMS, OnnxForm

    tanh = FORMS["nn.Tanh"]
    turned = OnnxForm(lambda c: c.op("Transpose", c.x, perm=[0, 1, 3, 2]), ())
    monkeypatch.setitem(FORMS, "nn.Tanh", turned)
    network = net("tanh -> relu", input="4x8x6")
    with pytest.raises(model.InvalidModel, match="dimension 2"):
        archdsl.export_onnx(network, seed=0, fixed_size=True)
    # The network's sizes are known even if the model does not state them.
    with pytest.raises(model.InvalidModel, match="tanh1 is 4x8x6, and 4x6x8 in ONNX"):
        archdsl.export_onnx(network, seed=0)
    monkeypatch.setitem(FORMS, "nn.Tanh", tanh)
    archdsl.export_onnx(network, seed=0)


@pytest.mark.parametrize("pool", ["maxpool", "avgpool"])
def test_a_pool_whose_last_window_is_outside_fixes_the_size(pool: str) -> None:
    """Torch leaves that window out, and older versions of ONNX do not."""
    made = check(net(f"{pool} 1x1 /3 ceil=true", input="4x9x9"))
    assert made.fixed_by.startswith(f"{pool}1 rounds")
    made = check(net(f"{pool} 3x3 /2 ceil=true", input="4x8x8"))
    assert not made.fixed_by
