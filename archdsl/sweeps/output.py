"""Writes the rows of a sweep to files: CSV, JSON, JSON lines, Parquet, and a plot."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from archdsl.backends.extras import MissingExtra
from archdsl.diagnostics import did_you_mean

if TYPE_CHECKING:
    from .result import Point, Sweep

FORMATS: Final = ("csv", "json", "jsonl", "parquet")
PLOTS: Final = ("svg", "png", "pdf")
SCHEMA: Final = 1

# With more points, labels would overlap.
_LABELS: Final = 16


class UnknownFormat(ValueError):
    """A format that is not supported; the message lists those that are."""

    def __init__(self, format: str, known: Sequence[str]) -> None:
        hint = did_you_mean(format, known)
        what = f"unknown format `{format}`" if format else "the file has no suffix"
        listed = ", ".join(known)
        super().__init__(
            f"{what}: the known ones are {listed}" + (f"; {hint}" if hint else "")
        )


def encode_rows(sweep: Sweep, format: str) -> bytes:
    """Return the rows of a sweep in a format; the same bytes in every run.

    Raises:
        UnknownFormat: if there is no such format.
        MissingExtra: if a package that it needs is not installed.
    """
    writers = {"csv": _csv, "json": _json, "jsonl": _jsonl, "parquet": _parquet}
    if format not in writers:
        raise UnknownFormat(format, FORMATS)
    return writers[format](sweep)


def _csv(sweep: Sweep) -> bytes:
    import csv

    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(sweep.header)
    for record in sweep.records():
        writer.writerow([_cell(value) for value in record.values()])
    return out.getvalue().encode()


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else value


def _json(sweep: Sweep) -> bytes:
    found = {"schema": SCHEMA, **sweep.as_dict()}
    lines = []
    for key, part in found.items():
        text = json.dumps(part, ensure_ascii=False)
        if key == "points" and part:
            items = (json.dumps(item, ensure_ascii=False) for item in part)
            text = "[\n    " + ",\n    ".join(items) + "\n  ]"
        lines.append(f'  "{key}": {text}')
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode()


def _jsonl(sweep: Sweep) -> bytes:
    lines = (json.dumps(record, ensure_ascii=False) for record in sweep.records())
    return "".join(f"{line}\n" for line in lines).encode()


def _parquet(sweep: Sweep) -> bytes:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise MissingExtra("writing Parquet", "pyarrow", "sweep") from None
    records = list(sweep.records())
    columns = {
        name: _column(pyarrow, [record[name] for record in records])
        for name in sweep.header
    }
    out = io.BytesIO()
    parquet.write_table(pyarrow.table(columns), out)
    return out.getvalue()


def _column(pyarrow: Any, values: Sequence[Any]) -> Any:
    """Return a column of one type; strings if its values have several types."""
    kinds = {type(value) for value in values if value is not None}
    large = int in kinds and any(isinstance(v, int) and abs(v) >> 63 for v in values)
    if kinds == {int, float} or (large and kinds == {int}):
        return pyarrow.array([None if v is None else float(v) for v in values])
    if len(kinds) > 1:
        return pyarrow.array([None if v is None else str(_cell(v)) for v in values])
    type_ = {bool: pyarrow.bool_(), int: pyarrow.int64(), float: pyarrow.float64()}
    return pyarrow.array(values, type_.get(next(iter(kinds), str), pyarrow.string()))


# ---- the plot ---------------------------------------------------------------


def plot_points(sweep: Sweep, format: str) -> bytes:
    """Return a picture of all points, with those on the front marked and named.

    The first two objectives are the axes.

    Raises:
        UnknownFormat: if there is no such format.
        MissingExtra: if matplotlib is not installed.
        ValueError: if the sweep has fewer than two objectives.
    """
    if format not in PLOTS:
        raise UnknownFormat(format, PLOTS)
    if len(sweep.objectives) < 2:
        raise ValueError("a plot needs two objectives, such as --pareto params,macs")
    from archdsl.backends.plot import file

    try:
        with file.new_figure((8, 5.5)) as figure:
            _draw(figure.subplots(), sweep)
    except MissingExtra:
        raise MissingExtra("a plot", "matplotlib", "sweep") from None
    return file.encode_figure(figure, format)


def _draw(axes: Any, sweep: Sweep) -> None:
    from archdsl.backends.plot.labels import place_names

    across, up = sweep.objectives[:2]
    names = across.name, up.name
    marked = sorted((_pair(p.values, names), p) for p in sweep.front)
    others = []
    for label, look, points in _groups(sweep):
        pairs = [_pair(point.values, names) for point in points]
        pairs = [pair for pair in pairs if None not in pair]
        others += pairs
        if pairs:
            label = f"{len(pairs):,} {label}"
            axes.scatter(*zip(*pairs, strict=True), s=14, label=label, **look)
    front = [pair for pair, _ in marked]
    if marked:
        label = f"the front: {len(marked):,}"
        xs, ys = zip(*front, strict=True)
        axes.plot(xs, ys, "o-", color="tab:blue", markersize=5, label=label)
        axes.legend()
    for axis, objective in ((axes.xaxis, across), (axes.yaxis, up)):
        _format(axis, objective.name)
        axis.set_label_text(
            f"{objective.name}{' (more is better)' * objective.largest}"
        )
    axes.set_title(sweep.name)
    axes.grid(alpha=0.3)
    step = -(-len(marked) // _LABELS) or 1
    named = marked[::step]
    place_names(
        axes,
        [pair for pair, _ in named],
        [point.label for _, point in named],
        [front],
        others,
    )


def _groups(sweep: Sweep) -> Iterator[tuple[str, dict[str, Any], list[Point]]]:
    """Yield groups of points with the same style, with their label and the style."""
    fitting = {point.number for point in sweep.fitting}
    points = [point for point in sweep.points if not point.error]
    yield (
        "that do not satisfy the condition",
        {"color": "0.88"},
        [point for point in points if point.number not in fitting],
    )
    fit = [point for point in points if point.number in fitting]
    epochs = [point.figures.get("epochs") or 0 for point in fit]
    most = max(epochs, default=0)
    pairs = list(zip(fit, epochs, strict=True))
    whole = "trained in full" if most else "that fit"
    yield whole, {"color": "0.7"}, [point for point, number in pairs if number == most]
    yield (
        "stopped early",
        {"facecolor": "none", "edgecolor": "0.6"},
        [point for point, number in pairs if number < most],
    )


def _format(axis: Any, name: str) -> None:
    from matplotlib.ticker import EngFormatter, PercentFormatter

    percent = name == "accuracy"
    axis.set_major_formatter(PercentFormatter(1) if percent else EngFormatter(sep=""))


def _pair(values: Mapping[str, Any], names: tuple[str, str]) -> tuple[Any, Any]:
    return values[names[0]], values[names[1]]
