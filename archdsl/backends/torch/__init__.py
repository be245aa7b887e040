"""Networks as PyTorch: the text of a module, or the module itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...ir import Network
from .check import check
from .write import write

if TYPE_CHECKING:
    from torch import nn


def emit(network: Network) -> str:
    """Return the text of a Python module that defines the network.

    Its only imports are torch and the standard library.
    """
    text = write(network)
    check(text)
    return text


def build(network: Network) -> nn.Module:
    """Return the network as a module, from the same text that `emit` gives.

    Raises:
        ImportError: if torch is not installed.
    """
    name = f"archdsl.emitted.{network.name}"
    scope: dict[str, Any] = {"__name__": name}
    exec(compile(emit(network), f"<{network.name}>", "exec"), scope)
    made: nn.Module = _network_class(scope, name)()
    return made


def _network_class(scope: dict[str, Any], name: str) -> Any:
    """Return the class defined last: blocks come before the network."""
    classes = [
        v for v in scope.values() if isinstance(v, type) and v.__module__ == name
    ]
    return classes[-1]
