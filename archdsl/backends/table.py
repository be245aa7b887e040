"""A network and its facts as text for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from archdsl.ir import Group, Network, Step
from archdsl.values import show_shape

from .text import align
from .views import VIEWS, Facts, Total, View, view

_BOLD, _DIM, _OFF = "\033[1m", "\033[2m", "\033[0m"
_HEADER = ("layer", "kind", "output")


def report(
    network: Network,
    facts: Facts,
    *,
    views: Sequence[str] = VIEWS[:1],
    color: bool = False,
) -> str:
    """Return tables of the network's layers, and its totals with their conventions.

    Args:
        network: what was analysed.
        facts: what `Analysis.facts` or `Analysis.as_dict` gives.
        views: which tables, names of `archdsl.backends.views.VIEWS`.
        color: whether to use a terminal's bold and dim letters.
    """
    parts = [f"{network.name}: {_ports(facts['inputs'])} -> {_ports(facts['outputs'])}"]
    for name in views:
        parts += ["", *_table(network, facts, view(name), color)]
    return "\n".join(parts) + "\n"


def _table(network: Network, facts: Facts, view: View, color: bool) -> list[str]:
    # By value, as a layer that is there twice has one name.
    steps = zip(network.steps(), facts["layers"], strict=True)
    layers = {step.output: layer for step, layer in steps}
    rows = list(_rows(network.root, layers, view, 0))
    first = len(_HEADER)
    right = [first + at for at in view.RIGHT]
    lines = align([(*_HEADER, *view.HEADER), *(row.cells for row in rows)], right)
    return [
        _styled(lines[0], _DIM, color),
        *(
            _styled(line, _BOLD, color and row.is_group)
            for row, line in zip(rows, lines[1:], strict=True)
        ),
        *_totals(view.totals(facts)),
    ]


def _totals(totals: Sequence[Total]) -> Iterator[str]:
    """Yield the lines of the totals; those behind a gap have columns of their own."""
    for is_gap, rows in groupby(totals, lambda total: not any(total)):
        if not is_gap:
            yield ""
            yield from align(list(rows), right=(1,))


class _Row(NamedTuple):
    cells: tuple[str, ...]
    is_group: bool


def _rows(
    group: Group, layers: Mapping[int, Facts], view: View, level: int
) -> Iterator[_Row]:
    for child in group.children:
        if isinstance(child, Step):
            head = (
                "  " * level + child.name,
                child.op.label(),
                show_shape(child.shape),
            )
            yield _Row((*head, *view.cells(layers[child.output])), is_group=False)
        elif child.role in ("block", "group"):
            own = [layers[step.output] for step in child.steps()]
            kind = _kind(child, child.training > group.training)
            head = ("  " * level + child.name, kind, show_shape(child.shape))
            yield _Row((*head, *view.group(own)), is_group=True)
            yield from _rows(child, layers, view, level + 1)
        else:  # the others name nothing, so they are not seen in the paths
            yield from _rows(child, layers, view, level)


def _kind(group: Group, marked: bool) -> str:
    """Return a block's name; `marked` says that it only runs in training."""
    word = group.word if group.role == "block" else ""
    return f"{word} (training only)".lstrip() if marked else word


def _ports(ports: Sequence[Facts]) -> str:
    named = len(ports) > 1
    return ", ".join(
        (f"{port['name']} " if named else "")
        + show_shape(port["shape"])
        + (" (training only)" if port["training"] else "")
        for port in ports
    )


def _styled(line: str, style: str, color: bool) -> str:
    return f"{style}{line}{_OFF}" if color else line
