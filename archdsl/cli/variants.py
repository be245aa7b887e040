"""The networks that one file describes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from archdsl.syntax.loader import Module


def variants(module: Module) -> list[str]:
    """Return the presets of a file, and the networks that can do without one.

    A network that presets use counts where none of them is the default, since it is
    then what the file's name alone stands for.
    """
    presets = list(module.file.presets())
    used = {preset.network for preset in presets}
    has_default = any(preset.is_default for preset in presets)
    networks = [d for d in module.own.values() if d.is_network]
    alone = [
        d.name
        for d in networks
        if d.name not in used
        or (not has_default and all(p.default is not None for p in d.params))
    ]
    return [*(preset.name for preset in presets), *alone]
