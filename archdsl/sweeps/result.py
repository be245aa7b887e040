"""The result of a sweep."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from archdsl.files import write

from . import axes as ax
from . import output
from .figures import Evaluator, PointRow, Task
from .front import Objective, front, order_key
from .where import Condition


class Point:
    """One variant.

    Attributes:
        number: index of the point in the product of all axes, from 0.
    """

    # There can be millions of points, so they only store what cannot be computed.
    __slots__ = ("_row", "_task", "number")

    def __init__(self, number: int, task: Task, row: PointRow) -> None:
        self.number = number
        self._task = task
        self._row = row

    def __repr__(self) -> str:
        return f"Point({self.label})"

    @property
    def setting(self) -> dict[str, Any]:
        """The values of the axes, as plain data."""
        return ax.shown_point(self._task.axes, self.number)

    @property
    def figures(self) -> dict[str, Any]:
        """The computed figures, by name; empty for a network that is refused.

        A figure is None if the network does not have it.
        """
        if isinstance(self._row, str):
            return {}
        row = self._row[len(self._task.bounded) :]
        return dict(zip(self._task.columns, row, strict=True))

    @property
    def bounds(self) -> dict[str, str]:
        """``at least`` or ``at most`` for each of the figures that is only a bound."""
        if isinstance(self._row, str):
            return {}
        words = zip(self._task.bounded, self._row, strict=False)
        return {name: str(word) for name, word in words if word}

    @property
    def error(self) -> str:
        """The code of the first error, empty if there is none."""
        return self._row if isinstance(self._row, str) else ""

    @property
    def values(self) -> dict[str, Any]:
        """The values of axes and figures by their names, axes first."""
        return {**self.figures, **self.setting}

    @property
    def label(self) -> str:
        """The point as text: ``width=64, layers=[2,2,2,2]``."""
        parts = (
            f"{name}={show_axis_value(value)}" for name, value in self.setting.items()
        )
        return ", ".join(parts)


class SweepOptions(NamedTuple):
    """Which points are kept, and how they are shown.

    Attributes:
        where: condition that points must satisfy, if any.
        objectives: only points that no other point dominates in these are kept.
        sort: figures or axes to sort by, the most important first.
        top: how many to keep after that.
        columns: figures to show besides the axes.
        everything: whether records contain all points, not only those kept.
    """

    where: Condition | None = None
    objectives: tuple[Objective, ...] = ()
    sort: tuple[Objective, ...] = ()
    top: int | None = None
    columns: tuple[str, ...] = ()
    everything: bool = False


class Refusal(NamedTuple):
    """Points that the language refuses for the same reason.

    Attributes:
        code: code of their first error.
        points: number of points.
        first: the first of them.
        message: the message for that one.
    """

    code: str
    points: int
    first: Point
    message: str

    def as_dict(self) -> dict[str, Any]:
        """Return the refusal as plain data."""
        return {
            "code": self.code,
            "points": self.points,
            "first": self.first.setting,
            "message": self.message,
        }


class Sweep:
    """The points of a sweep, in the order of the axes, and those that are kept.

    Attributes:
        name: name of the spec.
        axes: the axes.
        total: number of points that were requested.
    """

    def __init__(
        self,
        name: str,
        task: Task,
        numbers: Sequence[int],
        rows: Mapping[int, PointRow],
        options: SweepOptions,
    ) -> None:
        self.name = name
        self.axes = task.axes
        self.total = len(numbers)
        self._task = task
        self._numbers = numbers
        self._rows = rows
        self._options = options

    def __repr__(self) -> str:
        axes = ", ".join(axis.name for axis in self.axes)
        numbers = f"{len(self.points):,} points, {len(self.kept):,} kept"
        return f"<Sweep of {self.name} over {axes}: {numbers}>"

    # ---- points

    @cached_property
    def points(self) -> tuple[Point, ...]:
        """Every point that was computed, in order."""
        rows = self._rows
        return tuple(
            Point(number, self._task, rows[at])
            for at, number in enumerate(self._numbers)
            if at in rows
        )

    @cached_property
    def fitting(self) -> tuple[Point, ...]:
        """The points that are valid networks and satisfy the condition.

        Raises:
            ConditionError: if it cannot be computed.
        """
        where = self._options.where
        networks = (point for point in self.points if not point.error)
        return tuple(p for p in networks if where is None or where.holds(p.values))

    @cached_property
    def front(self) -> tuple[Point, ...]:
        """Those that no other point dominates; empty without objectives."""
        wanted = self._options.objectives
        if not wanted:
            return ()
        names = [objective.name for objective in wanted]
        signs = [-1 if objective.largest else 1 for objective in wanted]
        able, coordinates = [], []
        for point in self.fitting:
            values = point.values
            if all(_is_number(values[name]) for name in names):
                able.append(point)
                pairs = zip(signs, names, strict=True)
                coordinates.append(tuple(sign * values[name] for sign, name in pairs))
        return tuple(able[at] for at in front(coordinates))

    @cached_property
    def kept(self) -> tuple[Point, ...]:
        """The points that the options keep, sorted."""
        options = self._options
        found = list(self.front if options.objectives else self.fitting)
        for objective in reversed(options.sort or options.objectives[:1]):
            _sort(found, objective)
        return tuple(found if options.top is None else found[: options.top])

    @property
    def where(self) -> Condition | None:
        """The condition that points must satisfy."""
        return self._options.where

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """The objectives of the front."""
        return self._options.objectives

    @cached_property
    def refused(self) -> tuple[Refusal, ...]:
        """Why the language refuses points, the most frequent reason first."""
        firsts: dict[str, Point] = {}
        counts: Counter[str] = Counter()
        for point in self.points:
            if point.error:
                firsts.setdefault(point.error, point)
                counts[point.error] += 1
        evaluator = Evaluator(self._task) if firsts else None
        found = []
        for code, count in counts.most_common():
            why = evaluator and evaluator.refusal(firsts[code].number)
            message = why.diagnostics[0].message if why else ""
            found.append(Refusal(code, count, firsts[code], message))
        return tuple(found)

    # ---- records

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The figures of a record.

        A figure that is only a bound for some of the points is followed by a column
        that says for which, such as ``receptive_field_bound``.
        """
        shown = self.points if self._options.everything else self.kept
        bounded = {name for point in shown for name in point.bounds}
        found: list[str] = []
        for name in self._options.columns:
            found += [name, _bound_of(name)] if name in bounded else [name]
        return tuple(found)

    @property
    def header(self) -> tuple[str, ...]:
        """The names of the columns of a record."""
        names = (*(axis.name for axis in self.axes), *self.columns)
        return (*names, "kept", "error") if self._options.everything else names

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield the kept points, or all, as plain data by column."""
        columns = self.columns
        everything = self._options.everything
        kept = {point.number for point in self.kept} if everything else set()
        for point in self.points if everything else self.kept:
            bounds = {_bound_of(name): word for name, word in point.bounds.items()}
            record, figures = point.setting, {**point.figures, **bounds}
            record.update((name, figures.get(name)) for name in columns)
            if everything:
                record["kept"] = point.number in kept
                record["error"] = point.error or None
            yield record

    def as_dict(self) -> dict[str, Any]:
        """Return the result as plain data."""
        where = self._options.where
        return {
            "spec": self.name,
            "axes": {axis.name: list(axis.shown) for axis in self.axes},
            "where": where.text if where else None,
            "pareto": [str(objective) for objective in self.objectives],
            "total": self.total,
            "done": len(self.points),
            "fitting": len(self.fitting),
            "kept": len(self.kept),
            "refused": [refusal.as_dict() for refusal in self.refused],
            "points": list(self.records()),
        }

    def to_csv(self, path: str | Path) -> None:
        """Write the records as comma-separated values."""
        write(Path(path), output.encode_rows(self, "csv"))

    def to_json(self, path: str | Path) -> None:
        """Write the result of `as_dict`."""
        write(Path(path), output.encode_rows(self, "json"))

    def to_jsonl(self, path: str | Path) -> None:
        """Write each record as a line of JSON."""
        write(Path(path), output.encode_rows(self, "jsonl"))

    def to_parquet(self, path: str | Path) -> None:
        """Write the records as Parquet.

        Raises:
            MissingExtra: if pyarrow is not installed.
        """
        write(Path(path), output.encode_rows(self, "parquet"))

    def plot(self, path: str | Path) -> None:
        """Draw the points and the front, in the format given by the suffix.

        Raises:
            MissingExtra: if matplotlib is not installed.
            UnknownFormat: if the suffix is not that of svg, png or pdf.
            ValueError: if there are fewer than two objectives.
        """
        format = Path(path).suffix.removeprefix(".")
        write(Path(path), output.plot_points(self, format))


def show_axis_value(value: Any) -> str:
    """Return a value in the notation of axes."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _bound_of(name: str) -> str:
    """Return the name of the column that says whether a figure is a bound."""
    return f"{name}_bound"


def _sort(points: list[Point], objective: Objective) -> None:
    name = objective.name
    points.sort(key=lambda p: order_key(p.values.get(name)), reverse=objective.largest)
    # Points without the figure come last in either order.
    points.sort(key=lambda p: p.values.get(name) is None)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
