"""Exporting networks as torch.export programs, which run without archdsl."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from archdsl.backends.checkpoints import wanted
from archdsl.backends.exported import Exported, Format
from archdsl.backends.extras import need
from archdsl.backends.onnx import needed_tensors, norms
from archdsl.backends.torch import build
from archdsl.diagnostics import Diagnostic, SpecError
from archdsl.ir import Network
from archdsl.transforms import FOLDING, RemoveDead

if TYPE_CHECKING:
    from torch import nn


def export(
    network: Network,
    weights: Mapping[str, Any],
    *,
    fold: bool = True,
    batch: int | None = None,
) -> Exported:
    """Return a network in evaluation mode as a torch.export program.

    Height and width are those of the spec.

    Args:
        network: the network.
        weights: its `state_dict`, as arrays or torch tensors.
        fold: whether batch norms are folded into neighbouring layers, and parallel
            convolutions whose outputs are added are merged.
        batch: the batch size; None for any.

    Raises:
        MissingExtra: if torch is not installed.
        SpecError: if a layer is foreign code.
        WrongWeights: if the weights do not fit.
    """
    torch: Any = need("a program of torch.export", "torch", "torch")
    program, used = program_of(network, weights, fold=fold, batch=batch)
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch about its own parts
        torch.export.save(program, file)
    return exported(network, used, "torch", program, file.getvalue(), batch)


def program_of(
    network: Network, weights: Mapping[str, Any], *, fold: bool, batch: int | None
) -> tuple[Any, Network]:
    """Return the program of a network, and the transformed network.

    Raises:
        SpecError: if a layer is foreign code.
        WrongWeights: if the weights do not fit.
    """
    import torch

    refuse_foreign(network)
    module, used = evaluation_module(network, weights, fold=fold)
    inputs = [torch.zeros(batch or 2, *map(int, p.shape)) for p in network.inputs]
    free = torch.export.Dim("batch", min=1)
    dynamic = tuple({0: free} for _ in inputs) if batch is None else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch about its own parts
        program = torch.export.export(module, tuple(inputs), dynamic_shapes=dynamic)
    for node in program.graph.nodes:
        # Stack traces name files of this machine, which are of no use elsewhere.
        node.meta.pop("stack_trace", None)
    return program, used


def exported(
    network: Network,
    used: Network,
    format: Format,
    program: Any,
    model: bytes,
    batch: int | None,
) -> Exported:
    """Describe a file with a program.

    Args:
        network: the network.
        used: the transformed network, from which the program was made.
        format: the format of the file.
        program: the program of torch.export.
        model: the contents of the file.
        batch: the batch size; None for any.
    """
    first: list[int | str] = ["batch" if batch is None else batch]
    nodes = [node for node in program.graph.nodes if node.op == "call_function"]
    return Exported(
        name=network.name,
        format=format,
        opset=None,
        nodes=len(nodes),
        folded=norms(network) - norms(used),
        inputs={port.name: [*first, *map(int, port.shape)] for port in used.inputs},
        outputs={port.name: [*first, *map(int, port.shape)] for port in used.outputs},
        fixed_by="torch.export is traced with the spec's input",
        model=model,
    )


def evaluation_module(
    network: Network, weights: Mapping[str, Any], *, fold: bool
) -> tuple[nn.Module, Network]:
    """Return a network's module in evaluation mode with its weights, in float32.

    Parts that only training needs are removed.

    Returns:
        The module, and the network that it was built from.

    Raises:
        WrongWeights: if the weights do not fit.
    """
    import torch

    own: dict[str, Any] = dict(needed_tensors(network, weights))
    used = RemoveDead(inference=True).apply(network)
    if fold:
        used, own = FOLDING.apply(used), FOLDING.weights(used, own)
    module = build(used).eval()
    state = {key: torch.from_numpy(a.astype("float32")) for key, a in own.items()}
    # Counters of batch norms may be missing, as evaluation does not read them.
    counters = {one.key: torch.tensor(0) for one in wanted(used) if one.counter}
    module.load_state_dict({**state, **counters})
    return module, used


def refuse_foreign(network: Network) -> None:
    """Refuse a network with foreign layers, whose code is not run here.

    Raises:
        SpecError: naming each such kind once.
    """
    found: dict[str, Diagnostic] = {}
    for step in network.steps():
        if step.op.opaque():
            found.setdefault(
                step.op.word,
                Diagnostic(
                    "A0704",
                    f"`{step.op.word}` is an `op`, which an export does not run",
                    step.span,
                    label=f"{step.path} here",
                    help="`archdsl compile` writes a module that imports it",
                ),
            )
    if found:
        raise SpecError(found.values())
