"""Exporting networks as OpenVINO models: a file of operations, and one of weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from archdsl.backends import onnx
from archdsl.backends.exported import Exported
from archdsl.backends.extras import need
from archdsl.ir import Network


def export(
    network: Network,
    weights: Mapping[str, Any],
    *,
    fold: bool = True,
    batch: int | None = None,
    fixed_size: bool = False,
) -> Exported:
    """Return a network in evaluation mode as an OpenVINO model, in float32.

    OpenVINO converts the ONNX model, and keeps its names.

    Args:
        network: the network.
        weights: its `state_dict`, as arrays or torch tensors.
        fold: as for ONNX.
        batch: the batch size; None for any.
        fixed_size: whether height and width must be those of the spec.

    Raises:
        MissingExtra: if OpenVINO or onnx is not installed.
        SpecError: if a layer has no form in ONNX.
        WrongWeights: if the weights do not fit.
    """
    openvino: Any = need("a model of OpenVINO", "openvino", "openvino")
    with TemporaryDirectory() as folder:
        source = Path(folder, "model.onnx")
        made = onnx.export(
            network,
            weights,
            path=source,
            fold=fold,
            batch=batch,
            fixed_size=fixed_size,
        )
        made.save(source)
        # `openvino.convert_model` would do the same, but sends telemetry.
        model = openvino.Core().read_model(source)
        target = Path(folder, "model.xml")
        openvino.save_model(model, target, compress_to_fp16=False)
        return replace(
            made,
            format="openvino",
            opset=None,
            nodes=len(_operations(model)),
            model=target.read_bytes(),
            data=target.with_suffix(".bin").read_bytes(),
        )


def _operations(model: Any) -> list[Any]:
    """Return the operations of a model, without constants, parameters and results."""
    still = {"Parameter", "Constant", "Result"}
    return [one for one in model.get_ops() if one.get_type_name() not in still]
