"""Matplotlib figures, and the files that they are written to."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from archdsl.backends.extras import MissingExtra
from archdsl.diagnostics import did_you_mean

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS: Final = ("pdf", "png", "svg")

# Defaults would contain the time, so that files differ in each run.
_METADATA: Final[dict[str, dict[str, None]]] = {
    "svg": {"Date": None},
    "pdf": {"CreationDate": None},
    "png": {},
}
_SETTINGS: Final = {
    "svg.hashsalt": "archdsl",
    # Text stays text: it is smaller, searchable, and readable by screen readers.
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
    "text.parse_math": False,
    "font.size": 9,
    "axes.titlesize": 9.5,
    "hatch.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_DPI: Final = 150


class UnknownFormat(ValueError):
    """A format that no plot can be written in; the message lists the known ones."""

    def __init__(self, format: str) -> None:
        known, hint = ", ".join(FORMATS), did_you_mean(format, FORMATS)
        what = f"unknown format `{format}`" if format else "no format and no suffix"
        super().__init__(f"{what}: known are {known}" + (f"; {hint}" if hint else ""))


@contextmanager
def new_figure(size: tuple[float, float]) -> Iterator[Figure]:
    """Yield an empty figure, within a context that has the settings of all plots.

    Pyplot is not used, so that no window opens and no backend is chosen.

    Args:
        size: width and height in inches.

    Raises:
        MissingExtra: if matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtra("a plot", "matplotlib", "plot") from None
    # Defaults, as a user's matplotlibrc could enlarge labels that have to fit.
    with matplotlib.rc_context({**matplotlib.rcParamsDefault, **_SETTINGS}):
        figure: Figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        yield figure


def encode_figure(figure: Any, format: str) -> bytes:
    """Return a figure in a format, the same bytes in every run.

    Args:
        figure: a figure from `new_figure`.
        format: one of `FORMATS`.
    """
    import matplotlib

    out = io.BytesIO()
    with matplotlib.rc_context(_SETTINGS):
        figure.savefig(out, format=format, metadata=_METADATA[format], dpi=_DPI)
    return out.getvalue()
