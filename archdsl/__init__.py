"""Convolutional networks in a readable language, analysed and compiled to PyTorch.

The functions below load their parts on first use, so that importing the
package costs nothing.
"""

# Type checkers take it for typing's, whose import would be the most of ours.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from .api import analyze, build, compare, emit, format, load, loads, plot, render
    from .diagnostics import Diagnostic, SpecError
    from .ir import Network
    from .passes.analysis import Analysis
    from .passes.compare import Comparison

__version__ = "0.1.0"

__all__ = [
    "Analysis",
    "Comparison",
    "Diagnostic",
    "Network",
    "SpecError",
    "__version__",
    "analyze",
    "build",
    "compare",
    "emit",
    "format",
    "load",
    "loads",
    "plot",
    "render",
]

_HOMES = {
    "Analysis": "archdsl.passes.analysis",
    "Comparison": "archdsl.passes.compare",
    "Diagnostic": "archdsl.diagnostics",
    "Network": "archdsl.ir",
    "SpecError": "archdsl.diagnostics",
}


def __getattr__(name: str) -> object:
    """Return a public name, importing its module on first use."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(_HOMES.get(name, "archdsl.api")), name)
    globals()[name] = value
    return value


def load_ipython_extension(shell: object) -> None:
    """Add the cell magic `%%arch` to a notebook, for `%load_ext archdsl`."""
    from importlib import import_module

    import_module("archdsl.notebook").load_ipython_extension(shell)


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted([*__all__, *(n for n in globals() if n.startswith("__"))])
