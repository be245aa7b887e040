"""The figures of a whole network: the one list that everything else reads.

Claims, comparisons, sweeps and their conditions, JSON schemas, shell completion, help
texts and the manual take names, words and values from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple

# A number, one along each axis, or None if the network does not have the figure.
FigureValue = int | tuple[int, ...] | None


class Figure(NamedTuple):
    """One figure of a network.

    Attributes:
        name: its name in specs, options and JSON.
        unit: the unit of the number; ``positions`` and ``shape`` have one along each
            axis.
        help: what it is.
        path: the attributes that lead to it from an `Analysis`.
        depends: what decides it: the ``layers`` with their shapes, the ``wiring`` of
            weighted layers, what the ``windows`` of layers read, or the ``graph`` with
            all that is in it.
        adds: whether the network's is the sum over its layers.
        title: its row in `archdsl compare`; empty where only the JSON has it.
        beside: the figure whose row says the same where both are equal.
        bounded: the attributes that lead to what kind of bound it is, if it can be one.
    """

    name: str
    unit: Literal["elements", "operations", "layers", "positions", "bytes", "shape"]
    help: str
    path: str
    depends: Literal["layers", "wiring", "windows", "graph"]
    adds: bool = False
    title: str = ""
    beside: str = ""
    bounded: str = ""

    def of(self, analysis: Any) -> FigureValue:
        """Return its value in an analysis, or in what has the same attributes."""
        value: FigureValue = _follow(self.path, analysis)
        return value

    def bound(self, analysis: Any) -> str | None:
        """Return ``at least`` or ``at most`` if its value is only a bound there."""
        found: str | None = _follow(self.bounded, analysis) if self.bounded else None
        return found

    @property
    def is_claimed(self) -> bool:
        """Whether `expect` can claim it: no option of the command line changes it."""
        return self.unit != "bytes"

    @property
    def is_along_axes(self) -> bool:
        """Whether it is the size of a receptive field, a number along each axis."""
        return self.unit == "positions"


def _follow(path: str, found: Any) -> Any:
    """Return what attributes lead to; None if one of them is None."""
    for attribute in path.split("."):
        if found is None:
            return None
        found = getattr(found, attribute)
    return found


def _layers(
    name: str, unit: Any, help: str, title: str, path: str = "", beside: str = ""
) -> Figure:
    return Figure(name, unit, help, path or name, "layers", True, title, beside)


def _bytes(
    name: str, help: str, title: str = "", *, adds: bool = False, bounded: str = ""
) -> Figure:
    depends: Literal["layers", "graph"] = "layers" if adds else "graph"
    path = f"memory.{name}"
    return Figure(name, "bytes", help, path, depends, adds, title, bounded=bounded)


_ALL: Final = (
    _layers("params", "elements", "elements of all parameters", "params"),
    _layers(
        "trainable",
        "elements",
        "elements of the parameters that an optimiser updates",
        "trainable",
        beside="params",
    ),
    _layers(
        "buffers", "elements", "elements of all buffers, counters included", "buffers"
    ),
    _layers(
        "macs",
        "operations",
        "multiply-accumulates of inference for one sample",
        "MACs",
    ),
    _layers(
        "flops",
        "operations",
        "operations of inference for one sample: 2 x MACs and all others",
        "FLOPs",
    ),
    Figure(
        "depth",
        "layers",
        "weighted layers on the longest path to an output",
        "depth",
        "wiring",
        title="depth",
    ),
    _layers(
        "layers",
        "layers",
        "number of layers, auxiliary heads included",
        "layers",
        "number_of_layers",
    ),
    Figure("output", "shape", "shape of the main output", "output", "layers"),
    Figure(
        "receptive_field",
        "positions",
        "positions that a unit of the last map sees; all of the input's if it sees "
        "the whole input",
        "receptive_field.size",
        "windows",
        title="receptive field",
        bounded="receptive_field.bound",
    ),
    Figure(
        "local_field",
        "positions",
        "the same along local paths only",
        "receptive_field.local",
        "windows",
        title="  local paths",
        beside="receptive_field",
        bounded="receptive_field.bound",
    ),
    _bytes("param_bytes", "bytes of all parameters", adds=True),
    _bytes("buffer_bytes", "bytes of all buffers", adds=True),
    _bytes("gradient_bytes", "bytes of gradients", adds=True),
    _bytes("optimizer_bytes", "bytes of the optimiser's state", adds=True),
    _bytes("saved_bytes", "bytes that autograd keeps in training"),
    _bytes("forward_peak_bytes", "most bytes of activations at once in inference"),
    _bytes(
        "inference_bytes",
        "parameters, buffers and the peak of inference",
        "inference memory",
    ),
    _bytes(
        "training_bytes",
        "bytes in use at the end of a training step's forward pass",
    ),
    _bytes(
        "training_peak_bytes",
        "most bytes in use at once in a training step; at least these, if maps have "
        "their channels last",
        "training memory",
        bounded="memory.training_peak.bound",
    ),
)
FIGURES: Final[Mapping[str, Figure]] = {figure.name: figure for figure in _ALL}

# What `expect` can claim.
CLAIMED: Final = tuple(name for name, each in FIGURES.items() if each.is_claimed)
# Those that can be compared, ordered and swept: all but the shape of the output.
COMPARED: Final = tuple(n for n, each in FIGURES.items() if each.unit != "shape")
# Those that can be bounds.
BOUNDED: Final = tuple(name for name, each in FIGURES.items() if each.bounded)
# What each layer has a share of, in the order of the JSON: its cost for one sample.
OF_A_LAYER: Final = tuple(
    name for name, each in FIGURES.items() if each.adds and each.path == name
)
# Bytes of memory, in the order of the JSON.
BYTES: Final = tuple(name for name, each in FIGURES.items() if each.unit == "bytes")
