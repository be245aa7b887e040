"""Exporting networks as ExecuTorch programs, for phones and small devices."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from archdsl.backends.exported import Exported
from archdsl.backends.extras import need
from archdsl.backends.targets.program import exported, program_of
from archdsl.ir import Network


def export(
    network: Network,
    weights: Mapping[str, Any],
    *,
    fold: bool = True,
    batch: int | None = None,
) -> Exported:
    """Return a network in evaluation mode as an ExecuTorch program, in float32.

    XNNPACK runs the operators that it supports, and ExecuTorch's own kernels the rest.

    Args:
        network: the network.
        weights: its `state_dict`, as arrays or torch tensors.
        fold: as for a program of torch.export.
        batch: the batch size, which is fixed; 1 by default.

    Raises:
        MissingExtra: if torch or ExecuTorch is not installed.
        SpecError: if a layer is foreign code.
        WrongWeights: if the weights do not fit.
    """
    what = "a program of ExecuTorch"
    need(what, "torch", "torch")
    exir: Any = need(what, "executorch", "executorch", "executorch.exir")
    where = "executorch.backends.xnnpack.partition.xnnpack_partitioner"
    xnnpack: Any = need(what, "executorch", "executorch", where)
    batch = 1 if batch is None else batch
    program, used = program_of(network, weights, fold=fold, batch=batch)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own parts
        parts = [xnnpack.XnnpackPartitioner()]
        lowered = exir.to_edge_transform_and_lower(program, partitioner=parts)
        model = bytes(lowered.to_executorch().buffer)
    return exported(network, used, "executorch", program, model, batch)
