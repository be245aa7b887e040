"""The report of `archdsl analyze` for a terminal."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from itertools import groupby
from textwrap import wrap
from typing import Final, NamedTuple

from archdsl.ir import Group, Network, Step
from archdsl.values import show_shape

from . import fit
from .fit import wrapped
from .rows import Row, rows
from .text import align, span
from .views import VIEWS, Total, View, ViewFacts, view

_BOLD, _DIM, _BLUE, _OFF = "\033[1m", "\033[2m", "\033[34m", "\033[0m"
_NO_COLOR: Final = "\033[39m"
# A note next to a figure gets at least this many characters.
_LEAST_NOTE: Final = 24
_EIGHTHS: Final = " ▏▎▍▌▋▊▉█"


class ReportStyle(NamedTuple):
    """How a report looks.

    Attributes:
        width: characters per line; None for no limit.
        fold: whether consecutive equal copies share one row.
        depth: number of levels of names that have rows; None for all.
        bars: whether bars show shares: not at all, in ASCII, or in finer blocks.
        color: whether to use a terminal's colours, bold and dim text.
    """

    width: int | None = None
    fold: bool = False
    depth: int | None = None
    bars: str = ""
    color: bool = False


# For a pipe: everything, independent of any terminal.
PLAIN: Final = ReportStyle()


def report(
    network: Network,
    facts: ViewFacts,
    *,
    views: Sequence[str] = VIEWS[:1],
    style: ReportStyle = PLAIN,
) -> str:
    """Return tables of the network's layers, and its totals with their conventions.

    Args:
        network: the network.
        facts: the result of `Analysis.facts` or `Analysis.as_dict`.
        views: which tables, names of `archdsl.backends.views.VIEWS`.
        style: how they look.
    """
    ports = f"{network.name}: {_ports(facts['inputs'])} -> {_ports(facts['outputs'])}"
    lines = wrapped(ports, style.width, "  ")
    printed = _Report(network, facts, style)
    for name in views:
        lines += ["", *printed.table(view(name))]
    notes = [line for note in printed.notes() for line in wrapped(note, style.width)]
    lines += ["", *(_styled(note, _DIM, style.color) for note in notes)] * bool(notes)
    return "\n".join(lines) + "\n"


class _Report:
    """Tables of one network, and notes that apply to all of them."""

    def __init__(self, network: Network, facts: ViewFacts, style: ReportStyle) -> None:
        self._root = network.root
        self._facts = facts
        self._style = style
        # By value, since a layer that is used twice has only one name.
        steps = zip(network.steps(), facts["layers"], strict=True)
        self._layers = {step.output: layer for step, layer in steps}
        self._folded = False
        self._sheets: list[fit.FittedTable] = []

    def table(self, view: View) -> list[str]:
        """Return the lines of a table, and of its totals."""
        style = self._style
        shown = list(
            rows(
                self._root,
                content=_Content(view, self._layers) if style.fold else None,
                depth=style.depth,
            )
        )
        self._folded = self._folded or any(row.times > 1 for row in shown)
        header, *lines = self._sheet(view, shown)
        return [
            _styled(header, _DIM, style.color),
            *(
                _styled(line, _BOLD, style.color and isinstance(row.node, Group))
                for row, line in zip(shown, lines, strict=True)
            ),
            *_totals(view.totals(self._facts), style.width),
        ]

    def _sheet(self, view: View, shown: Sequence[Row]) -> list[str]:
        width = self._style.width
        sheet = fit.FittedTable(self._columns(view, shown))
        if width is not None:
            sheet.fit(width)
        self._sheets.append(sheet)
        return sheet.lines(self._bar)

    def _columns(self, view: View, shown: Sequence[Row]) -> list[fit.FittedColumn]:
        cells = [self._cells(view, row) for row in shown]
        heads = [
            fit.FittedColumn("layer", [row.title for row in shown]),
            fit.FittedColumn("kind", [_kind(row) for row in shown]),
            fit.FittedColumn("output", [show_shape(row.node.shape) for row in shown]),
        ]
        return heads + [
            fit.FittedColumn(
                column.title,
                [row[at] for row in cells],
                short=column.short,
                right=column.right,
                rank=column.rank,
                shares=self._shares(column.share, shown),
            )
            for at, column in enumerate(view.COLUMNS)
        ]

    def _cells(self, view: View, row: Row) -> tuple[str, ...]:
        node = row.node
        if isinstance(node, Step):
            return view.cells(self._layers[node.output])
        cells = view.group([self._layers[step.output] for step in node.steps()])
        last = self._layers.get(node.output)
        if not row.closed or last is None:
            return cells
        own = zip(view.COLUMNS, cells, view.cells(last), strict=True)
        return tuple(b if column.of_last else a for column, a, b in own)

    def _shares(self, fact: str, shown: Sequence[Row]) -> list[float | None]:
        """Return each row's share of the total of a figure, for a single copy."""
        if not fact or not self._style.bars:
            return []
        own = {value: layer[fact] or 0 for value, layer in self._layers.items()}
        total = sum(own.values())
        sums = (
            sum(own[step.output] for step in _steps(row.node)) if total else 0
            for row in shown
        )
        return [number / total if number else None for number in sums]

    def _bar(self, share: float, cells: int) -> str:
        style = self._style
        drawn = _blocks(share, cells) if style.bars != "#" else _hashes(share, cells)
        return f"{_BLUE}{drawn}{_NO_COLOR}" if style.color else drawn

    def notes(self) -> Iterator[str]:
        """Yield the notes that apply to all tables."""
        if self._folded:
            yield (
                "x2, x3, ...: number of consecutive equal copies; the figures are "
                "those of the first. --no-fold shows each."
            )
        width = self._style.width
        if width is not None and (said := fit.note(self._sheets, width)):
            yield said


class _Content:
    """What layers with equal rows have in common, except for their position."""

    def __init__(self, view: View, layers: Mapping[int, ViewFacts]) -> None:
        self._view = view
        self._layers = layers
        self._fixed = [at for at, c in enumerate(view.COLUMNS) if not c.moves]

    def __call__(self, step: Step) -> Hashable:
        layer = self._layers[step.output]
        cells = self._view.cells(layer)
        inputs = tuple(tuple(shape) for shape in layer["inputs"])
        figures = tuple(cells[at] for at in self._fixed)
        own = step.op.structure, step.shape, step.shared, step.training
        return *own, inputs, figures


def _steps(node: Step | Group) -> Iterator[Step]:
    return iter((node,)) if isinstance(node, Step) else node.steps()


def _totals(totals: Sequence[Total], width: int | None) -> Iterator[str]:
    """Yield the lines of the totals; those after a gap have columns of their own."""
    for is_gap, group in groupby(totals, lambda total: not any(total)):
        if not is_gap:
            yield ""
            yield from _table_of(list(group), width)


def _table_of(totals: Sequence[Total], width: int | None) -> Iterator[str]:
    lines = align(totals, right=(1,))
    if width is None or max(map(len, lines)) <= width:
        yield from lines
        return
    figures = align([(name, figure, "") for name, figure, _ in totals], right=(1,))
    at = max(map(len, figures)) + 2
    # If there is no room next to a figure, its note is printed below.
    beside = width - at >= _LEAST_NOTE
    indent = " " * (at if beside else 4)
    for line, (name, figure, note) in zip(figures, totals, strict=True):
        first, *others = wrap(note, width - len(indent)) or [""]
        if beside:
            yield f"{line:{at}}{first}".rstrip()
        else:
            # A truncated number would be a different number.
            yield line if len(line) <= width else f"{name}  {figure}".rstrip()[:width]
            others = [first] * bool(first) + others
        yield from (indent + other for other in others)


def _kind(row: Row) -> str:
    """Return the kind of a layer or block; a block says if it only runs in training."""
    node = row.node
    if isinstance(node, Step):
        assert isinstance(row.last, Step)
        return span(node.op.label(), row.last.op.label())
    word = node.word if node.role == "block" else ""
    return f"{word} (training only)".lstrip() if row.marked else word


def _ports(ports: Sequence[ViewFacts]) -> str:
    named = len(ports) > 1
    return ", ".join(
        (f"{port['name']} " if named else "")
        + show_shape(port["shape"])
        + (" (training only)" if port["training"] else "")
        for port in ports
    )


# ---- bars -----------------------------------------------------------------------


def _blocks(share: float, cells: int) -> str:
    """Return a bar in eighths of characters; anything above 0 gets at least one."""
    full, rest = divmod(max(1, round(8 * cells * share)), 8)
    return f"{_EIGHTHS[-1] * full}{_EIGHTHS[rest] if rest else ''}".ljust(cells)


def _hashes(share: float, cells: int) -> str:
    return ("#" * round(cells * share)).ljust(cells)


def _styled(line: str, style: str, color: bool) -> str:
    return f"{style}{line}{_OFF}" if color else line
