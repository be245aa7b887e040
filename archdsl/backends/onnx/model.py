"""Assembling, checking and writing ONNX models."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from archdsl.backends.onnx.convert import Converted
from archdsl.backends.onnx.graph import Array
from archdsl.ir import Network
from archdsl.values import show_shape

if TYPE_CHECKING:
    from onnx import ModelProto, TensorProto

# The size limit of protobuf messages; larger weights go to a second file.
MOST_BYTES: Final = 2**31 - 1
# More than nodes, names and shapes take, which are always in the message.
_REST: Final = 2**26
# Constants of more elements are left out when a model is checked.
_SMALL: Final = 64
# Runtimes map weights from a file into memory, page by page.
_PAGE: Final = 4096


class InvalidModel(Exception):
    """A model that ONNX's own checks refuse, which is a bug in archdsl."""


def assemble(network: Network, made: Converted, opset: int) -> ModelProto:
    """Return the model of a network, without its large constants.

    Large constants are inputs of the graph instead, so that a model of any size can be
    checked, and quickly; see `with_constants`.
    """
    from importlib.metadata import version

    from onnx import helper

    large = {n: a for n, a in made.constants.items() if a.size > _SMALL}
    graph = helper.make_graph(
        made.nodes,
        network.root.word or network.name,
        [
            *(_info(name, "float32", shape) for name, shape in made.inputs),
            *(_info(n, str(a.dtype), list(a.shape)) for n, a in large.items()),
        ],
        [_info(name, "float32", shape) for name, shape in made.outputs],
        [_tensor(n, a) for n, a in made.constants.items() if n not in large],
        doc_string=network.root.doc,
    )
    model = helper.make_model(
        graph,
        producer_name="archdsl",
        producer_version=version("archdsl"),
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=helper.find_min_ir_version_for([helper.make_opsetid("", opset)]),
    )
    helper.set_model_props(model, _metadata(network))
    return model


def check_model(network: Network, made: Converted, model: ModelProto) -> None:
    """Check a model by ONNX's own rules, and its shapes against the network's.

    Args:
        network: the network.
        made: the same as an ONNX graph.
        model: from `assemble`.

    Raises:
        InvalidModel: if there is a difference, which is a bug in archdsl.
    """
    import onnx

    trial = onnx.ModelProto()
    trial.CopyFrom(model)
    try:
        onnx.checker.check_model(model, full_check=True)
        # Checked with the spec's input size, for which the shape of every layer is
        # known.
        for entry, port in zip(trial.graph.input, network.inputs, strict=False):
            for place, size in enumerate(port.shape, 1):
                entry.type.tensor_type.shape.dim[place].dim_value = int(size)
        for exit in trial.graph.output:
            exit.type.tensor_type.ClearField("shape")
        inferred = onnx.shape_inference.infer_shapes(
            trial, check_type=True, strict_mode=True, data_prop=True
        )
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise InvalidModel(f"{network.name}: {error}") from error
    _check_shapes(network, made, inferred)


def _check_shapes(network: Network, made: Converted, inferred: ModelProto) -> None:
    graph = inferred.graph
    found = {
        one.name: [d.dim_value for d in one.type.tensor_type.shape.dim[1:]]
        for one in (*graph.value_info, *graph.output)
    }
    for value in made.values:
        sizes = found.get(value.name, [])
        # Shape inference leaves out what it can only learn by running an operator.
        if any(n and n != m for n, m in zip(sizes, value.shape, strict=False)):
            raise InvalidModel(
                f"{network.name}: {value.name} is {show_shape(value.shape)}, and "
                f"{show_shape(tuple(sizes))} in ONNX"
            )


def with_constants(
    model: ModelProto, constants: Mapping[str, Array], path: Path
) -> tuple[bytes, bytearray]:
    """Return the bytes of a model with all its constants, and those of a second file.

    Args:
        model: from `assemble`.
        constants: the constants of the graph, by name.
        path: the path of the model's file. A model cannot hold more than 2 GiB; beyond
            that, constants go to a second file with ``.data`` appended to the name.
    """
    import onnx

    whole = onnx.ModelProto()
    whole.CopyFrom(model)
    large = [one.name for one in model.graph.input if one.name in constants]
    kept = [one for one in model.graph.input if one.name not in constants]
    del whole.graph.input[:]
    whole.graph.input.extend(kept)
    data = bytearray()
    apart = sum(constants[name].nbytes for name in large) + _REST > MOST_BYTES
    for name in large:
        tensor = _tensor(name, constants[name])
        if apart:
            _move(tensor, data, f"{path.name}.data")
        whole.graph.initializer.append(tensor)
    return whole.SerializeToString(deterministic=True), data


def _move(tensor: TensorProto, data: bytearray, file: str) -> None:
    """Move the contents of a tensor to the end of a file's data."""
    from onnx import TensorProto

    data.extend(bytes(-len(data) % _PAGE))
    where = {"location": file, "offset": len(data), "length": len(tensor.raw_data)}
    data.extend(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in where.items():
        tensor.external_data.add(key=key, value=str(value))


def _info(name: str, dtype: str, shape: list[Any]) -> Any:
    from onnx import TensorProto, helper

    types = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64}
    return helper.make_tensor_value_info(name, types[dtype], shape)


def _tensor(name: str, value: Array) -> Any:
    from onnx import numpy_helper

    return numpy_helper.from_array(value, name)


def _metadata(network: Network) -> dict[str, str]:
    """Return the model's metadata: which network it was made from."""
    values = {one.name: str(one.value) for one in network.root.parameters}
    return {
        "archdsl.name": network.name,
        "archdsl.digest": network_digest(network),
        "archdsl.input": ",".join(show_shape(port.shape) for port in network.inputs),
        "archdsl.parameters": json.dumps(values),
    }


def network_digest(network: Network) -> str:
    """Return a digest of a network's layers, arguments, connections and names.

    It does not depend on the layout of the spec, its comments, or weights.
    """
    lines = [repr((port.name, port.value, port.shape)) for port in network.inputs]
    lines += [
        repr((step.path, step.op, step.inputs, step.output, step.shape))
        for step in network.steps()
    ]
    lines += [repr((port.name, port.value, port.training)) for port in network.outputs]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
