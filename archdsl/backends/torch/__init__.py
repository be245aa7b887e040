"""Networks in PyTorch: the source of a module, or the module itself."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from archdsl.backends.torch.check import check_text
from archdsl.backends.torch.modules import module_of, network_class
from archdsl.backends.torch.style import Style
from archdsl.backends.torch.validate import parse_module, validate
from archdsl.backends.torch.write import write_module
from archdsl.ir import Network, Step
from archdsl.passes.recompute import RecomputeChoice

if TYPE_CHECKING:
    from torch import nn


class ForeignCode(Exception):
    """A spec's `op` would run foreign Python code, which was not allowed.

    Attributes:
        names: the classes that it names.
    """

    def __init__(self, names: list[str]) -> None:
        self.names = names
        super().__init__(
            f"the spec imports {', '.join(names)}: "
            "pass allow_foreign=True if you trust that code"
        )


class ForeignImport(ImportError):
    """A class that a spec's `op` names, and that cannot be imported.

    Attributes:
        step: the first layer of that class.
    """

    def __init__(self, name: str, step: Step, error: BaseException) -> None:
        why = str(error) or type(error).__name__
        if not isinstance(error, ImportError | AttributeError):
            why = f"{type(error).__name__}: {error}"
        super().__init__(f"`{name}` cannot be imported: {why}")
        self.step = step


def emit(
    network: Network,
    note: str = "",
    *,
    as_modules: bool = False,
    recompute: RecomputeChoice = False,
    inference: bool = False,
    packed: bool = False,
) -> str:
    """Return the source of a Python module that defines the network.

    It only imports torch and the standard library, and the classes of foreign layers.

    Args:
        network: the network.
        note: a paragraph for the module's docstring.
        as_modules: whether every layer that torch has a module for becomes one, which
            hooks see. None of them then overwrites its input, as hooks may keep it.
        recompute: whether the backward pass runs blocks again, so that only their
            inputs are kept, or the paths of those; see `archdsl.passes.recompute`.
        inference: whether the module is for inference, so that layers may overwrite
            what a backward pass would need.
        packed: whether convolutions call oneDNN on a CPU, together with activations;
            see `archdsl.transforms.Pack`.

    Raises:
        Miscompiled: if the source does not match the network, which is a bug in
            archdsl.
    """
    if as_modules:
        from archdsl.transforms import AsModules

        network = AsModules().apply(network)
    if packed:
        from archdsl.transforms import Pack

        network = Pack().apply(network)
    style = Style(not as_modules, inference, recompute)
    text = write_module(network, note, style)
    tree = parse_module(text)
    check_text(tree, frozenset(foreign_names(network)))
    validate(tree, network, style)
    return text


def foreign_names(network: Network) -> list[str]:
    """Return the dotted names that the module imports for the spec's own `op`s."""
    return sorted(n for n in _classes(network) if not n.startswith("torch.nn."))


def _classes(network: Network) -> dict[str, Step]:
    """Return the first layer of each class that is imported, by its dotted name."""
    found: dict[str, Step] = {}
    for step in network.steps():
        form = step.form
        call = form.module
        # Any other class is defined in the module's own text.
        if call is not None and (form.origin or call.name.startswith("nn.")):
            found.setdefault(f"{form.origin or 'torch'}.{call.name}", step)
    return found


def _import_classes(network: Network) -> None:
    """Import the classes of layers, so that each failure can be reported with its
    place.

    Raises:
        ForeignImport: naming the class and its layer.
    """
    for name, step in _classes(network).items():
        origin, _, attribute = name.rpartition(".")
        try:
            getattr(import_module(origin), attribute)
        except (Exception, SystemExit) as error:  # arbitrary code can raise anything
            raise ForeignImport(name, step, error) from error


def build(
    network: Network,
    *,
    allow_foreign: bool = False,
    as_modules: bool = False,
    recompute: RecomputeChoice = False,
    inference: bool = False,
    packed: bool = False,
) -> nn.Module:
    """Return the network as a module, from the same source that `emit` returns.

    Args:
        network: the network.
        allow_foreign: whether Python modules that the spec's `op`s name may be imported
            and run.
        as_modules: as for `emit`.
        recompute: as for `emit`.
        inference: as for `emit`.
        packed: as for `emit`.

    Raises:
        ImportError: if torch is not installed.
        ForeignImport: if the class of an `op` cannot be imported.
        ForeignCode: if the spec names modules, and `allow_foreign` is not set.
    """
    names = foreign_names(network)
    if names and not allow_foreign:
        raise ForeignCode(names)
    import torch  # noqa: F401 (without it, no foreign class could be imported either)

    _import_classes(network)
    text = emit(
        network,
        as_modules=as_modules,
        recompute=recompute,
        inference=inference,
        packed=packed,
    )
    module = module_of(text, network.name, tuple(names))
    made: nn.Module = network_class(module)()
    return made
