"""Checking that an exported model computes what the emitted module does."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from archdsl.backends.exported import Exported
from archdsl.backends.extras import need
from archdsl.backends.onnx.graph import Array
from archdsl.backends.targets.program import evaluation_module, refuse_foreign
from archdsl.ir import Network

if TYPE_CHECKING:
    from torch import Tensor

# The error that float32 may cause, as a share of the largest value. If the module's own
# error is larger, an engine that sums in another order may have a few times as much.
_TOLERANCE: Final = 1e-5
_TIMES_OWN: Final = 20
_SEED: Final = 0


class Check(NamedTuple):
    """How a model's outputs differ from those of the emitted module.

    Attributes:
        difference: the largest difference from the module in float64, as a share of the
            largest absolute output.
        own: the same for the module in float32, which shows the effect of rounding.
        agrees: whether rounding explains the difference.
    """

    difference: float
    own: float
    agrees: bool


def check_export(
    path: Path, made: Exported, network: Network, weights: Mapping[str, Any]
) -> Check:
    """Compare an exported file with the emitted module on random inputs.

    The module is that of the given network, with batch norms not folded. A model in
    int8 does not agree; the difference says by how much.

    Args:
        path: the file.
        made: its contents.
        network: the network that it was made from.
        weights: its `state_dict`, as arrays or torch tensors.

    Raises:
        MissingExtra: if torch or the engine is not installed.
        SpecError: if a layer is foreign code.
    """
    torch: Any = need("the check of a model", "torch", "torch")
    refuse_foreign(network)
    module, used = evaluation_module(network, weights, fold=False)
    generator = torch.Generator().manual_seed(_SEED)
    batch = next(iter(made.inputs.values()))[0]
    number = batch if isinstance(batch, int) else 2
    inputs = [
        torch.randn(number, *map(int, port.shape), generator=generator)
        for port in used.inputs
    ]
    names = [port.name for port in used.outputs]
    with torch.no_grad():
        single = _by_name(names, module(*inputs))
        module.double()
        exact = _by_name(names, module(*[one.double() for one in inputs]))
    arrays = [one.numpy() for one in inputs]
    found = _RUNS[made.format](path, made, arrays)
    difference = _distance(found, exact)
    own = _distance(single, exact)
    agrees = difference <= max(_TOLERANCE, _TIMES_OWN * own)
    return Check(difference, own, agrees)


def _by_name(names: Sequence[str], result: Any) -> dict[str, Array]:
    """Return a module's outputs by name."""
    tensors: Mapping[str, Tensor]
    tensors = result if isinstance(result, dict) else {names[0]: result}
    return {name: tensor.numpy() for name, tensor in tensors.items()}


def _distance(found: Mapping[str, Array], exact: Mapping[str, Array]) -> float:
    """Return the largest difference, as a share of the output's largest value."""
    import numpy as np

    assert list(found) == list(exact)
    worst = 0.0
    for name, wanted in exact.items():
        if found[name].shape != wanted.shape:
            return float("inf")
        size = float(np.abs(wanted).max()) or 1.0
        difference = float(np.abs(found[name].astype(np.float64) - wanted).max())
        # NaN counts as an infinite difference.
        worst = max(worst, difference / size if difference == difference else np.inf)
    return worst


def _by_onnxruntime(
    path: Path, made: Exported, inputs: Sequence[Array]
) -> dict[str, Array]:
    runtime: Any = need("the check of a model", "onnxruntime", "onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    providers = ["CPUExecutionProvider"]
    session = runtime.InferenceSession(path, options, providers=providers)
    found = session.run([*made.outputs], dict(zip(made.inputs, inputs, strict=True)))
    return dict(zip(made.outputs, found, strict=True))


def _by_openvino(
    path: Path, made: Exported, inputs: Sequence[Array]
) -> dict[str, Array]:
    openvino: Any = need("the check of a model", "openvino", "openvino")
    # Otherwise it would use bfloat16 on processors that have it.
    options = {"INFERENCE_PRECISION_HINT": "f32"}
    model = openvino.Core().compile_model(path, "CPU", options)
    found = model(dict(zip(made.inputs, inputs, strict=True)))
    return {name: found[name] for name in made.outputs}


def _by_torch(path: Path, made: Exported, inputs: Sequence[Array]) -> dict[str, Array]:
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch about its own code
        program = torch.export.load(path).module()
        with torch.no_grad():
            result = program(*map(torch.from_numpy, inputs))
    return _by_name([*made.outputs], result)


def _by_executorch(
    path: Path, made: Exported, inputs: Sequence[Array]
) -> dict[str, Array]:
    import torch

    where = "executorch.runtime"
    runtime: Any = need("the check of a model", "executorch", "executorch", where)
    method = runtime.Runtime.get().load_program(path).load_method("forward")
    found = method.execute([torch.from_numpy(one) for one in inputs])
    return {name: one.numpy() for name, one in zip(made.outputs, found, strict=True)}


_RUNS: Final = {
    "onnx": _by_onnxruntime,
    "openvino": _by_openvino,
    "torch": _by_torch,
    "executorch": _by_executorch,
}
