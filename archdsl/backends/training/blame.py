"""Finding the layer with the first output that is not finite."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from archdsl.diagnostics import Diagnostic
from archdsl.ir import Network

if TYPE_CHECKING:
    from torch import Tensor, nn


def blame(
    network: Network,
    module: nn.Module,
    images: Tensor,
    step: int,
    again: Callable[[], Any],
) -> Diagnostic:
    """Return the error for a loss that is not finite, at the layer where it began.

    Args:
        network: the network.
        module: its module.
        images: the module's input.
        step: the number of the step, from 1.
        again: repeats the module's forward pass exactly.
    """
    message = f"the loss of step {step:,} is not finite"
    help = (
        "lower `optimizer.lr`, warm up with `schedule.warmup_epochs`, or clip "
        "gradients with `clip_norm`"
    )
    if not images.isfinite().all():
        return Diagnostic(
            "A1106", message, label="an image has values that are not finite"
        )
    notes = []
    broken = [
        name for name, one in module.named_parameters() if not one.isfinite().all()
    ]
    if broken:
        more = f" and those of {len(broken) - 1:,} more" if len(broken) > 1 else ""
        notes.append(
            f"these weights were not finite after the step before: {broken[0]}{more}"
        )
    path = _first(module, {step.path for step in network.steps()}, again)
    if path is None:
        notes.append("all modules have finite outputs; the loss itself is not finite")
        return Diagnostic("A1106", message, notes=notes, help=help)
    notes.insert(0, f"the first output that is not finite is that of `{path}`")
    at = next((step.span for step in network.steps() if step.path == path), None)
    label = "this output is not finite" if at is not None else ""
    return Diagnostic("A1106", message, at, label=label, notes=notes, help=help)


def _first(module: nn.Module, layers: set[str], again: Callable[[], Any]) -> str | None:
    """Return the path of the layer with the first output that is not finite."""
    found: list[str] = []

    def look(path: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_: nn.Module, __: Any, output: Any) -> None:
            if (
                not found
                and hasattr(output, "isfinite")
                and not output.isfinite().all()
            ):
                found.append(path)

        return hook

    with ExitStack() as hooks:
        for path, one in module.named_modules():
            if path in layers:
                handle = one.register_forward_hook(look(path))
                hooks.callback(handle.remove)
        again()
    return found[0] if found else None
