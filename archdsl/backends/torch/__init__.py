"""Networks as PyTorch: the text of a module, or the module itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from archdsl.backends.torch.check import check
from archdsl.backends.torch.modules import module_of, network_class
from archdsl.backends.torch.write import write
from archdsl.ir import Network

if TYPE_CHECKING:
    from torch import nn


class ForeignCode(Exception):
    """A spec's `op` would run Python code that is not ours.

    Attributes:
        names: the classes that it names.
    """

    def __init__(self, names: list[str]) -> None:
        self.names = names
        super().__init__(
            f"the spec imports {', '.join(names)}: "
            "pass allow_foreign=True if you trust that code"
        )


def emit(network: Network) -> str:
    """Return the text of a Python module that defines the network.

    Its only imports are torch and the standard library.
    """
    text = write(network)
    check(text, frozenset(foreign_names(network)))
    return text


def foreign_names(network: Network) -> list[str]:
    """Return the dotted names that the module imports for the spec's own `op`s."""
    names = set()
    for step in network.steps():
        form = step.op.torch(step.input_shapes, step.shape)
        if form.origin and form.module is not None:
            names.add(f"{form.origin}.{form.module.name}")
    return sorted(names)


def build(network: Network, *, allow_foreign: bool = False) -> nn.Module:
    """Return the network as a module, from the same text that `emit` gives.

    Args:
        network: what to build.
        allow_foreign: whether Python modules that the spec's `op`s name may be
            imported and run.

    Raises:
        ImportError: if torch, or a module of an `op`, is not installed.
        ForeignCode: if the spec names modules, and they were not allowed.
    """
    names = foreign_names(network)
    if names and not allow_foreign:
        raise ForeignCode(names)
    module = module_of(emit(network), network.name, tuple(names))
    made: nn.Module = network_class(module)()
    return made
