"""The cell magic `%%arch` for Jupyter notebooks."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from archdsl.api import analyze, elaborate_module
from archdsl.diagnostics import Diagnostic, SpecError

if TYPE_CHECKING:
    from archdsl.ir import Network


def load_ipython_extension(shell: Any) -> None:
    """Add `%%arch` to a notebook."""

    def arch(line: str, cell: str) -> Network | None:
        """Load the spec in this cell: `%%arch [NAME]`.

        Each preset of the spec, and each network without presets, becomes a variable
        with its name. The one called NAME is displayed, or else the default one. If the
        spec has errors, they are printed, and no variable changes.
        """
        try:
            networks, first = networks_of(cell, line.strip())
        except SpecError as error:
            _say(error.diagnostics)
            return None
        shell.push(networks)
        return networks[first]

    shell.register_magic_function(arch, "cell", "arch")


def networks_of(text: str, name: str = "") -> tuple[dict[str, Network], str]:
    """Return the networks of a spec by their names, and which one to show.

    Args:
        text: the spec; it can import libraries, but no files.
        name: which one to show; if omitted, the default one, or else the first.

    Raises:
        SpecError: with all errors in the spec or in its claims.
    """
    from archdsl.passes.expect import check_expectations
    from archdsl.syntax.loader import load_text
    from archdsl.variants import variants

    module = load_text(text, "<cell>")
    names = variants(module)
    if name and name not in names:
        known = ", ".join(names) or "none"
        message = f"the cell has no network `{name}`; it has {known}"
        raise SpecError([Diagnostic("A0601", message)])
    if not names:
        elaborate_module(module)  # which says what is missing
    networks = {each: elaborate_module(module, preset=each) for each in names}
    refuted = [
        diagnostic
        for network in networks.values()
        for diagnostic in check_expectations(network, analyze(network))
    ]
    if refuted:
        raise SpecError(refuted)
    defaults = [each for each in module.presets.values() if each.is_default]
    return networks, name or (defaults[0].name if defaults else names[0])


def _say(diagnostics: list[Diagnostic]) -> None:
    for diagnostic in diagnostics:
        print(f"{diagnostic.render()}\n", file=sys.stderr)
