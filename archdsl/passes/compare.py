"""The comparison of networks that `archdsl compare` reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Unpack

from archdsl.display import shown
from archdsl.figures import BOUNDED, COMPARED, FIGURES, FigureValue
from archdsl.ir import Network

from .analysis import Analysis, analyze
from .diff import Diff, diff
from .setting import Given


class Delta(NamedTuple):
    """The difference of a figure from the first network's.

    Attributes:
        absolute: this value minus the first one; along each axis for a receptive field.
        percent: the same as a percentage of the first one; None if that is 0.
    """

    absolute: int | tuple[int, ...]
    percent: float | tuple[float | None, ...] | None

    def as_dict(self) -> dict[str, Any]:
        """Return the difference as plain data."""
        return {name: _data(value) for name, value in self._asdict().items()}


@dataclass(frozen=True, slots=True)
class Comparison:
    """Networks side by side.

    Attributes:
        names: a name for each.
        analyses: the figures of each; all are compared with the first.
        diffs: structural differences between the first one and each of the others.
    """

    names: tuple[str, ...]
    analyses: tuple[Analysis, ...]
    diffs: tuple[Diff, ...]

    def __repr__(self) -> str:
        return f"<Comparison of {', '.join(self.names)}>"

    def __str__(self) -> str:
        return shown(self)

    def figure(self, at: int, name: str) -> FigureValue:
        """Return one of the `COMPARED` figures of one of the networks."""
        return FIGURES[name].of(self.analyses[at])

    def bound(self, at: int, name: str) -> str | None:
        """Return ``at least`` or ``at most`` if a figure is only a bound."""
        return FIGURES[name].bound(self.analyses[at])

    def delta(self, at: int, name: str) -> Delta | None:
        """Return the difference of a figure from the first network's.

        None if only a bound of one of the two is known, if a network has no receptive
        field, or if one of them sees its whole input, which does not have a size beyond
        the borders.
        """
        if self.bound(0, name) or self.bound(at, name):
            return None
        if FIGURES[name].is_along_axes and not self._comparable(at, name):
            return None
        old, new = self.figure(0, name), self.figure(at, name)
        if isinstance(old, int) and isinstance(new, int):
            return Delta(new - old, _percent(old, new))
        if isinstance(old, tuple) and isinstance(new, tuple):
            pairs = list(zip(old, new, strict=True))
            return Delta(
                tuple(b - a for a, b in pairs), tuple(_percent(a, b) for a, b in pairs)
            )
        return None

    def _comparable(self, at: int, name: str) -> bool:
        """Return whether the sizes of two fields are comparable."""
        both = [self.analyses[0].receptive_field, self.analyses[at].receptive_field]
        fields = [field for field in both if field is not None]
        whole = {field.whole and name == "receptive_field" for field in fields}
        return len(fields) == 2 and len(whole) == 1

    def as_dict(self) -> dict[str, Any]:
        """Return the comparison as plain data, as `--json` prints it."""
        memory = self.analyses[0].memory
        return {
            "batch": memory.batch,
            "dtype": memory.dtype,
            "optimizer": memory.optimizer,
            "networks": [self._network(at) for at in range(len(self.names))],
        }

    def _network(self, at: int) -> dict[str, Any]:
        facts = self.analyses[at]
        field = facts.receptive_field
        deltas = {name: self.delta(at, name) for name in COMPARED}
        return {
            "name": self.names[at],
            "network": facts.name,
            "inputs": [port.as_dict() for port in facts.inputs],
            "outputs": [port.as_dict() for port in facts.outputs],
            "receptive_field": field and field.as_dict(),
            "figures": {name: _data(self.figure(at, name)) for name in COMPARED},
            "bounds": {name: self.bound(at, name) for name in BOUNDED},
            "difference": {
                name: None if delta is None else delta.as_dict()
                for name, delta in deltas.items()
            },
            "diff": self.diffs[at - 1].as_dict() if at else None,
        }


def compare(
    networks: Sequence[Network],
    *,
    names: Sequence[str] | None = None,
    **setting: Unpack[Given],
) -> Comparison:
    """Return networks side by side, and how their structure differs from the first
    one's.

    Args:
        networks: two or more; all are compared with the first.
        names: a name for each to show; the networks' own names if omitted.
        **setting: how they are run; see `Setting`.

    Raises:
        ValueError: if there are fewer than two networks, if the number of names
            differs, or if the batch, dtype or optimiser is invalid.
    """
    if len(networks) < 2:
        raise ValueError("there are not two networks to compare")
    called = [network.name for network in networks] if names is None else names
    if len(called) != len(networks):
        raise ValueError(f"{len(called)} names for {len(networks)} networks")
    analyses = [analyze(network, **setting) for network in networks]
    return Comparison(
        names=tuple(called),
        analyses=tuple(analyses),
        diffs=tuple(diff(analyses[0], other) for other in analyses[1:]),
    )


def _percent(old: int, new: int) -> float | None:
    if old == 0:
        return 0.0 if new == 0 else None
    return 100 * (new - old) / old


def _data(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
