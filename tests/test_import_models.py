"""ONNX models are imported as specs, and invalid ones are refused in words."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

import archdsl
from archdsl.backends.importer import NotImported
from archdsl.backends.importer.nodes import NODES
from archdsl.ir import Network
from tests.oracle import fill
from tests.test_cli import Run, folder, run

__all__ = ["folder", "run"]

# Kinds that evaluation does not need, or that ONNX writes in another way.
pytestmark = pytest.mark.usefixtures("quick_on_meta")

_OTHERWISE = {"dropout", "identity", "flatten", "globalavgpool", "adaptiveavgpool"}


def weights_of(network: Network) -> dict[str, torch.Tensor]:
    module = on_meta(network)
    fill(module)
    return module.state_dict()


def on_meta(network: Network) -> nn.Module:
    """Return the module without values, which its own draws take long for."""
    with torch.device("meta"):
        return archdsl.build(network)


def weighted(network: Network) -> list[tuple[Any, ...]]:
    """Return the layers with weights, in order."""
    return [
        (
            *(step.path, step.op.word, step.input_shapes, step.shape),
            step.op.macs(step.input_shapes, step.shape),
            [(one.name, one.shape) for one in step.op.tensors(*step.input_shapes)],
        )
        for step in network.steps()
        if not step.training and step.op.tensors(*step.input_shapes)
    ]


def kinds(network: Network) -> Counter[str]:
    words = [step.op.word for step in network.steps() if not step.training]
    return Counter(word for word in words if word not in _OTHERWISE)


def round_trip(
    name: str, size: int, path: Path, **how: Any
) -> tuple[Network, Network, Any]:
    network = archdsl.load(name, input=(3, size, size))
    state = weights_of(network)
    archdsl.export_onnx(network, path, weights=state, fold=False, **how)
    found = archdsl.from_file(path)
    again = archdsl.loads(found.text)
    image = torch.randn(2, 3, size, size)
    built = on_meta(network).eval()
    built.load_state_dict(state, assign=True)
    other = on_meta(again).eval()
    own = other.state_dict()
    # Models have no heads for training.
    other.load_state_dict({key: state[key] for key in own}, assign=True)
    with torch.no_grad():
        assert torch.allclose(built(image), other(image), rtol=1e-5, atol=1e-5)
    return network, again, found


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("resnet18", 64),
        ("resnet50", 64),
        ("googlenet", 64),
        ("densenet121", 64),
        ("mobilenet_v2", 64),
        ("mobilenet_v3_small", 64),
        pytest.param("alexnet", 224, marks=pytest.mark.slow),
        pytest.param("vgg11_bn", 224, marks=pytest.mark.slow),
    ],
)
def test_what_archdsl_exports_comes_back(name: str, size: int, tmp_path: Path) -> None:
    network, again, found = round_trip(name, size, tmp_path / f"{name}.onnx")
    assert weighted(again) == weighted(network)
    assert kinds(again) == kinds(network)
    assert "onnxruntime" in found.compared[-1]
    # A network without batch norms looks like one in which they were folded.
    assert not found.notes or name == "alexnet"
    assert found.lines < 110


def test_a_fixed_batch_and_size(tmp_path: Path) -> None:
    network, again, _ = round_trip(
        "googlenet", 64, tmp_path / "g.onnx", batch=1, fixed_size=True
    )
    assert weighted(again) == weighted(network)


def test_folded_norms_are_noted(tmp_path: Path) -> None:
    network = archdsl.load("resnet18", input=(3, 64, 64))
    path = tmp_path / "r.onnx"
    archdsl.export_onnx(network, path, weights=weights_of(network))
    found = archdsl.from_file(path)
    (note,) = found.notes
    assert note.startswith("it has no batch norms")
    assert "bn" not in found.text and "bias=true" not in found.text.split("network")[0]
    convs = [s for s in archdsl.loads(found.text).steps() if s.op.word == "conv"]
    assert len(convs) == 20 and all(
        len(s.op.tensors(*s.input_shapes)) == 2 for s in convs
    )


# ---- models made by hand --------------------------------------------------------


def array(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def model(
    nodes: Sequence[Any],
    weights: dict[str, Any],
    path: Path,
    shape: Sequence[int | str] = (1, 3, 8, 8),
    **graph: Any,
) -> Path:
    stored = [numpy_helper.from_array(a, name) for name, a in weights.items()]
    made = helper.make_graph(
        nodes,
        graph.pop("name", "main_graph"),
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        stored,
    )
    opsets = [helper.make_opsetid("", 18)]
    path.write_bytes(
        helper.make_model(made, opset_imports=opsets, ir_version=9).SerializeToString()
    )
    return path


def node(
    type: str, inputs: str, outputs: str, name: str = "", **attributes: Any
) -> Any:
    given = [one if one != "-" else "" for one in inputs.split()]
    return helper.make_node(type, given, outputs.split(), name=name, **attributes)


def test_products_and_their_layout(tmp_path: Path) -> None:
    """A transposed weight, with its bias in a separate node."""
    nodes = [
        node("ReduceMean", "x axes", "v", keepdims=0),
        node("MatMul", "v onnx::MatMul_9", "p", "/head/head.0/MatMul"),
        node("Add", "head.0.bias p", "h", "/head/head.0/Add"),
        node("Sigmoid", "h", "s", "/head/head.1/Sigmoid"),
        node("Mul", "h s", "a", "/head/head.1/Mul"),
        node("Gemm", "a fc.weight fc.bias", "y", "/fc/Gemm"),
    ]
    weights = {
        "axes": np.array([2, 3]),
        "onnx::MatMul_9": array(3, 5),
        "head.0.bias": array(5, seed=1),
        "fc.weight": array(5, 4, seed=2),
        "fc.bias": array(4, seed=3),
    }
    found = archdsl.from_file(model(nodes, weights, tmp_path / "net-1.onnx"))
    assert "    globalavgpool\n    head: seq { linear 5 -> silu }\n" in found.text
    built = archdsl.build(archdsl.loads(found.text))
    assert list(built.state_dict()) == [
        *("head.0.weight", "head.0.bias", "fc.weight", "fc.bias")
    ]


def test_names_of_torch_exporters(tmp_path: Path) -> None:
    """Folded weights are named by numbers; names of nodes say where they belong."""
    nodes = []
    weights = {}
    value = "x"
    for n, place in enumerate(("/stem", "/layer1/layer1.0", "/layer1/layer1.1")):
        weights |= {
            f"onnx::Conv_{n}": array(3, 3, 3, 3, seed=n),
            f"onnx::Conv_b{n}": array(3, seed=n),
        }
        nodes += [
            node("Conv", f"{value} onnx::Conv_{n} onnx::Conv_b{n}", f"c{n}",
                 f"{place}/conv/Conv", pads=[1] * 4),
            node("Relu", f"c{n}", f"r{n}", f"{place}/act/Relu"),
        ]  # fmt: skip
        value = f"r{n}"
    nodes[-1].output[0] = "y"
    found = archdsl.from_file(model(nodes, weights, tmp_path / "net.onnx"))
    network = archdsl.loads(found.text)
    assert [s.path for s in network.steps() if s.op.word == "conv"] == [
        *("stem.conv", "layer1.0.conv", "layer1.1.conv")
    ]
    assert "x2" in found.text and found.blocks == 1


def test_classes_that_a_model_names(tmp_path: Path) -> None:
    nodes = [
        node("Conv", "x a.conv.weight", "c", "node_1", pads=[1] * 4),
        node("Relu", "c", "y", "node_2"),
    ]
    scopes = "['', 'a', 'a.conv', 'conv2d']", "['', 'a', 'a.act', 'relu']"
    kinds = "['my.net.Net', 'my.net.Unit', 'torch.nn.Conv2d', 'aten.conv2d.default']"
    for one, text in zip(nodes, scopes, strict=True):
        for key, value in (("name_scopes", text), ("class_hierarchy", kinds)):
            entry = one.metadata_props.add()
            entry.key, entry.value = f"pkg.torch.onnx.{key}", value
    path = model(nodes, {"a.conv.weight": array(4, 3, 3, 3)}, tmp_path / "n.onnx")
    text = archdsl.from_file(path).text
    assert "# Unit, of my.net." in text and "network Net {" in text


def test_a_gelu_in_pieces(tmp_path: Path) -> None:
    nodes = [
        node("Div", "x root", "d"),
        node("Erf", "d", "e"),
        node("Add", "e one", "p"),
        node("Mul", "x p", "m"),
        node("Mul", "m half", "g"),
        node("Conv", "g c.weight", "y"),
    ]
    weights = {
        **{n: np.float32(v) for n, v in (("root", 2**0.5), ("one", 1), ("half", 0.5))},
        "c.weight": array(2, 3, 1, 1),
    }
    text = archdsl.from_file(model(nodes, weights, tmp_path / "n.onnx")).text
    assert "gelu" in text and "mul" not in text


def test_sizes_that_are_open(tmp_path: Path) -> None:
    nodes = [node("Conv", "x c.weight", "y", pads=[1] * 4)]
    weights = {"c.weight": array(2, 3, 3, 3)}
    path = model(nodes, weights, tmp_path / "n.onnx", ("n", 3, "h", "w"))
    with pytest.raises(NotImported, match="may have any size: give --input"):
        archdsl.from_file(path)
    assert "input 3x9x7" in archdsl.from_file(path, "3x9x7").text


def test_weights_beside_the_model(tmp_path: Path) -> None:
    nodes = [node("Conv", "x c.weight", "y")]
    weight = array(2, 3, 3, 3)
    path = model(nodes, {"c.weight": weight}, tmp_path / "n.onnx")
    assert archdsl.from_file(external(path, "n.data", weight.tobytes())).layers == 1


def external(path: Path, where: str, data: bytes = b"", **more: str) -> Path:
    """Move a model's weights to another file, which is written if it is next to it."""
    made = onnx.load(path, load_external_data=False)
    (tensor,) = made.graph.initializer
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": where, **more}.items():
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    path.write_bytes(made.SerializeToString())
    if data:
        (path.parent / where).write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("where", "more", "message"),
    [
        ("../secret", {}, "outside the model's folder"),
        ("/etc/hostname", {}, "outside the model's folder"),
        ("a/../../secret", {}, "outside the model's folder"),
        ("link", {}, "outside the model's folder"),
        ("", {}, "outside the model's folder"),
        ("nope", {}, "the file 'nope' cannot be read"),
        (".", {}, "cannot be read"),
        ("small", {"offset": "1", "length": "999999999999"}, "beyond its file"),
        ("small", {"offset": "-5"}, "beyond its file"),
        ("small", {"length": "3"}, "does not have the size that it declares"),
        ("small", {"offset": "x"}, "not a readable model"),
    ],
)
def test_weights_elsewhere_are_not_read(
    where: str, more: dict[str, str], message: str, tmp_path: Path
) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    (tmp_path / "secret").write_bytes(bytes(216))
    (inner / "small").write_bytes(bytes(216))
    (inner / "link").symlink_to(tmp_path / "secret")
    nodes = [node("Conv", "x c.weight", "y")]
    path = model(nodes, {"c.weight": array(2, 3, 3, 3)}, inner / "n.onnx")
    with pytest.raises(NotImported, match=message):
        archdsl.from_file(external(path, where, **more))


def changed(change: Callable[[Any], Any], tmp_path: Path) -> Path:
    nodes = [
        node("Conv", "x c.weight", "c", "first", pads=[1] * 4),
        node("Relu", "c", "y", "second"),
    ]
    path = model(nodes, {"c.weight": array(2, 3, 3, 3)}, tmp_path / "n.onnx")
    made = onnx.load(path)
    change(made.graph)
    path.write_bytes(made.SerializeToString())
    return path


def sizes(*dims: int) -> Callable[[Any], Any]:
    def change(graph: Any) -> None:
        shape = graph.input[0].type.tensor_type.shape
        for dim, size in zip(shape.dim, dims, strict=True):
            dim.dim_value = size

    return change


def dims(*given: int) -> Callable[[Any], Any]:
    return lambda graph: graph.initializer[0].dims.__setitem__(slice(None), given)


BAD: dict[str, tuple[Callable[[Any], Any], str]] = {
    "a cycle": (
        lambda g: g.node[0].input.__setitem__(0, "y"),
        "`first` reads `y`, which is not computed",
    ),
    "a value from nowhere": (
        lambda g: g.node[1].input.__setitem__(0, "gone"),
        "`second` reads `gone`, which is not computed",
    ),
    "an output from nowhere": (
        lambda g: g.output[0].__setattr__("name", "gone"),
        "reads `gone`, which is not computed",
    ),
    "an operator of another library": (
        lambda g: g.node[1].__setattr__("domain", "com.evil"),
        "`com.evil:Relu`, the node 'second', is not a layer kind",
    ),
    "an unknown operator": (
        lambda g: g.node[1].__setattr__("op_type", "Loop"),
        "`Loop`, the node 'second', is not a layer kind",
    ),
    "an absurd input": (sizes(1, 3, 2**31, 2**31), "not a batch of maps or vectors"),
    "a negative input": (sizes(1, 3, -8, 8), "not a batch of maps or vectors"),
    "channels that differ": (sizes(1, 4, 8, 8), "`first` cannot be run"),
    "an absurd weight": (dims(2**40, 2**40, 3, 3), "has an impossible shape"),
    "a negative weight": (dims(-2, 3, 3, 3), "has an impossible shape"),
    "a weight beyond its bytes": (
        dims(200, 3, 3, 3),
        "does not have the size that it declares",
    ),
    "a computed weight": (
        lambda g: g.node[0].input.__setitem__(1, "x"),
        "its input 2 is computed",
    ),
    "absurd padding": (
        lambda g: g.node[0].attribute[0].ints.__setitem__(slice(None), [2**40] * 4),
        "`first` (cannot be run|has a result of more)",
    ),
    "padding of too few sides": (
        lambda g: g.node[0].attribute[0].ints.__setitem__(slice(None), [1]),
        "its padding is",
    ),
    "no input": (lambda g: g.input.__delitem__(0), "it has no input"),
    "no nodes": (lambda g: g.node.__delitem__(slice(None)), "without nodes"),
    "no output": (lambda g: g.output.__delitem__(0), "without nodes"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_models_are_refused_in_a_sentence(what: str, tmp_path: Path) -> None:
    change, message = BAD[what]
    with pytest.raises(NotImported, match=message) as raised:
        archdsl.from_file(changed(change, tmp_path))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("content", [b"", b"\xff" * 100, b"arch 1\n", b"\x08\x09"])
def test_files_that_are_no_model(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "n.onnx"
    path.write_bytes(content)
    with pytest.raises(NotImported, match="it is not an ONNX model"):
        archdsl.from_file(path)


def test_names_are_only_names(tmp_path: Path) -> None:
    evil = "x\n}\nnetwork Evil {"

    def change(graph: Any) -> None:
        graph.name = graph.node[0].name = evil
        graph.initializer[0].name = f"{evil}.weight"
        graph.node[0].input[1] = f"{evil}.weight"

    assert "Evil" not in archdsl.from_file(changed(change, tmp_path)).text


def test_the_command_with_a_model(folder: Path, run: Run) -> None:
    nodes = [node("Conv", "x c.weight", "y")]
    model(nodes, {"c.weight": array(2, 3, 3, 3)}, folder / "n.onnx")
    code, out, err = run("import", "n.onnx", "-o", "n.arch")
    assert code == 0, err
    assert "1 layer" in out or "1 layers" in out
    assert "equal in names, order and shapes of the weights, outputs in" in out


def test_without_onnxruntime_the_reference_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    nodes = [node("Conv", "x c.weight", "y", pads=[1] * 4)]
    path = model(nodes, {"c.weight": array(2, 3, 3, 3)}, tmp_path / "n.onnx")
    assert "onnx's reference" in archdsl.from_file(path).compared[-1]


def test_another_result_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A form that misreads a node is noticed."""
    nodes = [
        node("Conv", "x c.weight", "c", pads=[1] * 4),
        node("LeakyRelu", "c", "y", alpha=0.3),
    ]
    path = model(nodes, {"c.weight": array(2, 3, 3, 3)}, tmp_path / "n.onnx")
    monkeypatch.setitem(NODES, "LeakyRelu", NODES["Relu"])
    with pytest.raises(NotImported, match="an output in evaluation differs by"):
        archdsl.from_file(path)
