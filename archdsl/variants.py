"""The networks that a file describes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from archdsl.diagnostics import Diagnostic, SpecError
from archdsl.limits import MAX_CHECKED, NETWORK_PARTS

if TYPE_CHECKING:
    from archdsl.ir import Network
    from archdsl.syntax.loader import LoadedFile


def variants(module: LoadedFile) -> list[str]:
    """Return the presets of a file, and its networks that need no arguments.

    A network with presets is included if none of them is the default, because the
    file's name alone then refers to it.
    """
    presets = module.presets.values()
    used = {preset.network for preset in presets}
    has_default = any(preset.is_default for preset in presets)
    alone = [
        d.name
        for d in module.networks.values()
        if d.name not in used
        or (not has_default and all(p.default is not None for p in d.params))
    ]
    return [*(preset.name for preset in presets), *alone]


class Allowance:
    """How much of a file's networks can still be checked at once."""

    def __init__(self, spec: str, names: Sequence[str]) -> None:
        self._spec = spec
        self._left = MAX_CHECKED - NETWORK_PARTS * len(names)
        self._few = len(names) == 1
        self._check()

    def take(self, network: Network) -> None:
        """Count a network.

        Raises:
            SpecError: if the file has too much.
        """
        self._left -= sum(1 for _ in network.steps())
        self._check()

    def _check(self) -> None:
        if self._left < 0 and not self._few:
            message = f"{self._spec} has more networks than can be checked at once"
            help = f"check one by its name: `{self._spec}:NAME`"
            raise SpecError([Diagnostic("A0909", message, help=help)])
