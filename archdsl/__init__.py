"""Convolutional networks in a readable language, analysed and compiled to PyTorch.

The functions below load their parts on first use, so that importing the
package costs nothing.
"""

# Type checkers treat it as typing's, whose import would dominate ours.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from .api import (
        analyze,
        backbone,
        build,
        compare,
        emit,
        expand,
        export_executorch,
        export_onnx,
        export_openvino,
        export_torch,
        format,
        from_file,
        from_module,
        lean,
        lint,
        list_models,
        load,
        loads,
        plot,
        render,
    )
    from .backends.diagram import Options
    from .backends.exported import Exported
    from .backends.importer import Imported
    from .diagnostics import Diagnostic, SpecError
    from .ir import Network
    from .linter.check import Advice
    from .passes.analysis import Analysis
    from .passes.compare import Comparison
    from .passes.lean import Lean
    from .sweeps import sweep
    from .sweeps.result import Sweep

__version__ = "0.1.0"

__all__ = [
    "Advice",
    "Analysis",
    "Comparison",
    "Diagnostic",
    "Exported",
    "Imported",
    "Lean",
    "Network",
    "Options",
    "SpecError",
    "Sweep",
    "__version__",
    "analyze",
    "backbone",
    "build",
    "compare",
    "emit",
    "expand",
    "export_executorch",
    "export_onnx",
    "export_openvino",
    "export_torch",
    "format",
    "from_file",
    "from_module",
    "lean",
    "lint",
    "list_models",
    "load",
    "loads",
    "plot",
    "render",
    "sweep",
]

_HOMES = {
    "Advice": "archdsl.linter.check",
    "Analysis": "archdsl.passes.analysis",
    "Comparison": "archdsl.passes.compare",
    "Diagnostic": "archdsl.diagnostics",
    "Exported": "archdsl.backends.exported",
    "Imported": "archdsl.backends.importer",
    "Lean": "archdsl.passes.lean",
    "Network": "archdsl.ir",
    "Options": "archdsl.backends.diagram",
    "SpecError": "archdsl.diagnostics",
    "Sweep": "archdsl.sweeps.result",
    "sweep": "archdsl.sweeps",
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
