"""Pareto fronts: the points that no other point dominates."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

from archdsl.diagnostics import did_you_mean


class Objective(NamedTuple):
    """A figure that should be small or large.

    Attributes:
        name: name of a figure, or of a numeric axis.
        largest: whether larger is better.
    """

    name: str
    largest: bool

    def __str__(self) -> str:
        return f"-{self.name}" if self.largest else self.name


class ObjectiveError(ValueError):
    """An objective that is not valid; the message says why."""


def parse_objectives(
    texts: str | Iterable[str], known: Collection[str]
) -> tuple[Objective, ...]:
    """Return the objectives of ``params,-depth`` or ``min:params,max:depth``.

    Raises:
        ObjectiveError: if a name is unknown or occurs twice.
    """
    if isinstance(texts, str):
        texts = texts.split(",")
    found: list[Objective] = []
    for text in texts:
        name, largest = text.strip(), False
        for prefix, sense in (("min:", False), ("max:", True), ("-", True)):
            if name.startswith(prefix):
                name, largest = name.removeprefix(prefix).strip(), sense
                break
        if name not in known:
            hint = did_you_mean(name, known) or f"there are {', '.join(known)}"
            raise ObjectiveError(f"`{name}` is neither a figure nor an axis; {hint}")
        if any(objective.name == name for objective in found):
            raise ObjectiveError(f"`{name}` is given twice")
        found.append(Objective(name, largest))
    return tuple(found)


def front(points: Sequence[Sequence[float]]) -> list[int]:
    """Return the indices of the points that no other point dominates.

    A point dominates another if it is not larger in any coordinate, and smaller in one.
    Equal points do not dominate each other.

    Source: Kung et al. 1975, "On finding the maxima of a set of vectors".

    Args:
        points: coordinates of each; smaller is better.
    """
    order = sorted(range(len(points)), key=lambda at: tuple(points[at]))
    kept: list[int] = []
    if points and len(points[0]) == 2:
        return sorted(_in_the_plane(points, order))
    for at in order:
        # Sorted in this way, a point comes after all points that dominate it.
        if not any(_dominates(points[other], points[at]) for other in kept):
            kept.append(at)
    return sorted(kept)


def _in_the_plane(points: Sequence[Sequence[float]], order: Sequence[int]) -> list[int]:
    kept: list[int] = []
    for at in order:
        x, y = points[at]
        if not kept or y < points[kept[-1]][1] or [x, y] == [*points[kept[-1]]]:
            kept.append(at)
    return kept


def _dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    pairs = list(zip(one, other, strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def order_key(value: Any) -> tuple[int, Any]:
    """Return a sort key: numbers before texts, and None last."""
    if value is None:
        return 2, 0
    return (1, value) if isinstance(value, str) else (0, value)
