"""The report of `archdsl compare`, for a terminal or a pull request."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from archdsl.figures import FIGURES, Figure
from archdsl.ir import Group
from archdsl.passes.analysis import Analysis
from archdsl.passes.compare import Comparison, Delta
from archdsl.passes.diff import (
    Change,
    Diff,
    LayerRun,
    NetworkDifference,
    fold,
    runs,
    tensors,
)
from archdsl.values import Last, Shape, show_shape

from .fit import FittedColumn, FittedTable, note, wrapped
from .text import show_bytes, show_field, show_local

_COLORS: Final = {"+": "\033[32m", "-": "\033[31m", "~": "\033[33m"}
_DIM, _BOLD, _OFF = "\033[2m", "\033[1m", "\033[0m"
# Limit of a list in Markdown: a pull request comment has at most 65,536 characters.
_MOST_ITEMS: Final = 50
# Characters of a SPEC in a column header, if lines are short.
_LONG_NAME: Final = 16

_NOTHING: Final = "no difference: same layers, same connections, same keys"


class _Item(NamedTuple):
    """One line of a list.

    Attributes:
        sign: ``+``, ``-`` or ``~``.
        name: name of a layer, a namespace or a key.
        cells: its figures.
    """

    sign: str
    name: str
    cells: tuple[str, ...]


class _Section(NamedTuple):
    """A list under a title."""

    title: str
    items: tuple[_Item, ...]


def comparison_text(
    comparison: Comparison, *, color: bool = False, width: int | None = None
) -> str:
    """Return the comparison for a terminal: totals first, then differences.

    Args:
        comparison: the result of `compare`.
        color: whether to use a terminal's colours, bold and dim text.
        width: characters per line; None for no limit.
    """
    sheets = [_totals(comparison, few=width is not None)]
    sections = list(_sections(comparison))
    sheets += [_items(section) for section in sections]
    if width is not None:
        for sheet in sheets:
            sheet.fit(width)
    header, *lines = sheets[0].lines(_no_bar)
    lines = [_styled(header, _DIM, color), *lines, ""]
    lines += [each for note in _notes(comparison) for each in wrapped(note, width)]
    for section, sheet in zip(sections, sheets[1:], strict=True):
        titles = wrapped(section.title, width, "  ")
        lines += ["", *(_styled(line, _BOLD, color) for line in titles)]
        styles = [_COLORS[item.sign] for item in section.items]
        rows = sheet.lines(_no_bar)[1:]
        lines += [_styled(*row, color) for row in zip(rows, styles, strict=True)]
    if width is not None and (said := note(sheets, width)):
        lines += ["", *(_styled(line, _DIM, color) for line in wrapped(said, width))]
    return "\n".join(lines) + "\n"


def _totals(comparison: Comparison, few: bool) -> FittedTable:
    """Return the totals as columns; differences are left out if there is no room.

    Args:
        comparison: the comparison.
        few: whether additional inputs and outputs are only counted.
    """
    columns = []
    for at, cells in enumerate(zip(*_table(comparison, few), strict=True)):
        title, *rows = cells
        kind = (at - 2) % 3 if at > 1 else 0  # a figure, its difference, in percent
        columns.append(
            FittedColumn(
                title,
                rows,
                short=title if len(title) <= _LONG_NAME else f"..{title[-14:]}",
                called=("", "differences", "differences in percent")[kind],
                right=at > 0,
                rank=kind,
            )
        )
    return FittedTable(columns)


def _items(section: _Section) -> FittedTable:
    rows = [(f"  {item.sign} {item.name}", *item.cells) for item in section.items]
    columns = [list(column) for column in zip(*rows, strict=True)] or [[]]
    # Which layers differ matters more than how, so the last details are dropped first.
    return FittedTable(
        [
            FittedColumn("", column, called="details", rank=at)
            for at, column in enumerate(columns)
        ]
    )


def _no_bar(share: float, cells: int) -> str:
    return ""


def markdown(comparison: Comparison) -> str:
    """Return the comparison as Markdown, for a pull request."""
    first, *others = _table(comparison)
    header = [_code(cell).replace("|", r"\|") if cell else "" for cell in first]
    rule = ["---", *("---:" for _ in first[1:])]
    lines = [_pipes(row) for row in (header, rule, *others)]
    lines += ["", *_notes(comparison)]
    for section in _sections(comparison):
        lines += ["", f"**{section.title}**"] if section.items else ["", section.title]
        shown = section.items[:_MOST_ITEMS]
        lines += [""] if shown else []
        lines += [_bullet(item) for item in shown]
        left = len(section.items) - len(shown)
        lines += [f"- and {left} more"] if left else []
    return "\n".join(lines) + "\n"


# ---- totals -------------------------------------------------------------------


def _table(comparison: Comparison, few: bool = False) -> list[list[str]]:
    """Return the rows of the totals, the header first."""
    head = ["", comparison.names[0]]
    for name in comparison.names[1:]:
        head += [name, "", ""]
    rows = [head, *(_ports_row(comparison, what, few) for what in ("input", "output"))]
    rows += [_figure_row(comparison, each) for each in FIGURES.values() if each.title]
    return [row for row in rows if row]


def _ports_row(comparison: Comparison, what: str, few: bool) -> list[str]:
    analyses = comparison.analyses
    shown = [_ports(facts, what) for facts in analyses]
    texts = [
        _first_port(facts, what) if few else _ports(facts, what) for facts in analyses
    ]
    row = [what, texts[0]]
    for text, ports in zip(texts[1:], shown[1:], strict=True):
        row += [text, "" if ports == shown[0] else "differs", ""]
    return row


def _first_port(facts: Analysis, what: str) -> str:
    """Return the shape of the main input or output, and the number of others."""
    first, *others = facts.inputs if what == "input" else facts.outputs
    return show_shape(first.shape) + (f" +{len(others)}" if others else "")


def _ports(facts: Analysis, what: str) -> str:
    ports = facts.inputs if what == "input" else facts.outputs
    return ", ".join(
        show_shape(port.shape) + (" (training only)" if port.training else "")
        for port in ports
    )


def _figure_row(comparison: Comparison, figure: Figure) -> list[str]:
    """Return a row; nothing if another row says the same."""
    row = [figure.title, _figure(comparison, 0, figure)]
    for at in range(1, len(comparison.names)):
        delta = comparison.delta(at, figure.name)
        row += [_figure(comparison, at, figure), *_delta(delta, figure)]
    other = FIGURES.get(figure.beside)
    if other and row[1:] == _figure_row(comparison, other)[1:]:
        return []
    return row


def _figure(comparison: Comparison, at: int, figure: Figure) -> str:
    value = comparison.figure(at, figure.name)
    if value is None:
        return "-"
    if isinstance(value, int):
        bound = comparison.bound(at, figure.name)
        return " ".join(filter(None, (bound, _number(value, figure))))
    field = comparison.analyses[at].receptive_field
    assert field is not None
    shown = show_field if figure.name == "receptive_field" else show_local
    return shown(field.as_dict())


def _number(value: int, figure: Figure) -> str:
    return show_bytes(value) if figure.unit == "bytes" else f"{value:,}"


def _delta(delta: Delta | None, figure: Figure) -> tuple[str, str]:
    """Return the absolute and relative difference, once if the axes agree."""
    if delta is None:
        return "", ""
    number, relative = delta
    absolute = number if isinstance(number, tuple) else (number,)
    percent = relative if isinstance(relative, tuple) else (relative,)
    pairs = list(zip(absolute, percent, strict=True))
    pairs = pairs if len(set(pairs)) > 1 else pairs[:1]
    if not any(absolute):
        return "=", ""
    return (
        ", ".join(_signed(n, figure) for n, _ in pairs),
        ", ".join(_percent(p) for _, p in pairs),
    )


def _signed(number: int, figure: Figure) -> str:
    return ("-" if number < 0 else "+") + _number(abs(number), figure)


def _percent(value: float | None) -> str:
    if not value:
        return ""
    return f"{value:+,.1f} %" if abs(value) >= 0.05 else f"{value:+.1g} %"


def _notes(comparison: Comparison) -> list[str]:
    memory = comparison.analyses[0].memory
    return [
        f"Peaks of memory for a batch of {memory.batch} in {memory.dtype}, "
        f"trained with {memory.optimizer}; all other figures are for one sample."
    ]


# ---- what differs in structure --------------------------------------------------


def _sections(comparison: Comparison) -> Iterator[_Section]:
    first, *others = comparison.names
    for at, name in enumerate(others, 1):
        diff = comparison.diffs[at - 1]
        if len(others) > 1:
            yield _Section(f"{_code(name)} against {_code(first)}", ())
        if diff.empty:
            yield _Section(_NOTHING, ())
        else:
            yield from _of_layers(diff, comparison.analyses[0], comparison.analyses[at])
            yield _of_keys(diff, comparison, at)


def _of_layers(diff: Diff, old: Analysis, new: Analysis) -> Iterator[_Section]:
    if diff.added:
        title = f"added: {_count(diff.added, 'layer')}"
        yield _Section(title, (*_parts("+", diff.added, new),))
    if diff.removed:
        title = f"removed: {_count(diff.removed, 'layer')}"
        yield _Section(title, (*_parts("-", diff.removed, old),))
    if diff.changed:
        title = f"changed: {_count(diff.changed, 'layer')}"
        items = [_Item("~", c.name, (_change(c),)) for c in diff.changed]
        yield _Section(title, tuple(items))
    if diff.moved:
        title = f"output shape changed: {_count(diff.moved, 'layer')}"
        yield _Section(title, (*_moved(diff.moved, new),))
    if diff.rewired:
        yield _rewired(diff, {*runs(old)} & {*runs(new)})


def _parts(sign: str, found: Sequence[LayerRun], whole: Analysis) -> Iterator[_Item]:
    """Yield layers; all layers of a block or group are shown as one."""
    own = {run.name: run for run in found}
    blocks = _blocks(whole.network.root)
    for name, members in fold(own, runs(whole)).items():
        last = own[members[-1]]
        params = sum(own[member].facts.params for member in members)
        if len(members) == 1:
            kind, layers = last.op.label(), ""
        else:
            kind, layers = blocks.get(name, ""), _count(members, "layer")
        size = f"{params:,} params" if params else ""
        yield _Item(sign, name, (kind, layers, show_shape(last.output), size))


def _blocks(root: Group) -> dict[str, str]:
    """Return the words of all blocks by path."""
    found = {}
    stack = [root]
    while stack:
        group = stack.pop()
        if group.role == "block":
            found[group.path] = group.word
        stack += [child for child in group.children if isinstance(child, Group)]
    return found


def _change(change: Change) -> str:
    old, new = change.old, change.new
    if old.op.word != new.op.word:
        return f"{old.op.label()} -> {new.op.label()}"
    parts = [
        f"{a.name} {_value(a.old)} -> {_value(a.new)}" for a in change.arguments
    ] + [f"{t.name} {_shape(t.old)} -> {_shape(t.new)}" for t in change.tensors]
    return f"{new.op.word}: {', '.join(parts)}"


def _moved(found: Sequence[NetworkDifference], new: Analysis) -> Iterator[_Item]:
    own = {moved.name: moved for moved in found}
    for name, members in fold(own, runs(new)).items():
        last = own[members[-1]]
        layers = "" if len(members) == 1 else _count(members, "layer")
        shapes = f"{_shape(last.old)} -> {_shape(last.new)}"
        yield _Item("~", name, (shapes, layers))


def _rewired(diff: Diff, common: set[str]) -> _Section:
    """Return the layers whose inputs changed, except as a result of added layers."""
    known = [
        d
        for d in diff.rewired
        if not d.old or not d.new or common.issuperset((*d.old, *d.new))
    ]
    left = len(diff.rewired) - len(known)
    title = f"inputs changed: {_count(diff.rewired, 'layer or output')}"
    note = (
        f", {left:,} of them only because layers were added or removed" if left else ""
    )
    items = tuple(_Item("~", d.name, (_sources(d),)) for d in known)
    return _Section(title + note, items)


def _sources(rewired: NetworkDifference) -> str:
    if rewired.old is None:
        return f"new, reads {_listed(rewired.new)}"
    if rewired.new is None:
        return f"gone, read {_listed(rewired.old)}"
    gone = [name for name in rewired.old if name not in rewired.new]
    come = [name for name in rewired.new if name not in rewired.old]
    if gone and come:
        return f"{_listed(gone)} -> {_listed(come)}"
    if gone or come:
        return f"{'no longer' if gone else 'also'} {_listed(gone or come)}"
    return f"{_listed(rewired.old)} -> {_listed(rewired.new)}"


def _of_keys(diff: Diff, comparison: Comparison, at: int) -> _Section:
    """Return what happens to a checkpoint of the first network in another one."""
    keys, old, new = diff.keys, comparison.names[0], comparison.names[at]
    lost = len(keys.missing) + len(keys.unexpected) + len(keys.reshaped)
    load = f"{keys.loaded:,} " + ("key loads" if keys.loaded == 1 else "keys load")
    title = f"checkpoint of {_code(old)} in {_code(new)}: {load}"
    if not lost:
        return _Section(f"{title}, none is left over", ())
    both = comparison.analyses[0], comparison.analyses[at]
    everything = [tensors(runs(facts).values()) for facts in both]
    items = [
        *_folded_keys("+", "missing", keys.missing, everything[1]),
        *_folded_keys("-", "unexpected", keys.unexpected, everything[0]),
        *(
            _Item(
                "~", key.name, ("reshaped", f"{_shape(key.old)} -> {_shape(key.new)}")
            )
            for key in keys.reshaped
        ),
    ]
    parts = (
        f"{len(keys.missing):,} missing",
        f"{len(keys.unexpected):,} unexpected",
        f"{len(keys.reshaped):,} with another shape",
    )
    return _Section(f"{title}, {', '.join(parts)}", tuple(items))


def _folded_keys(
    sign: str, word: str, keys: Sequence[str], all_keys: Mapping[str, Shape]
) -> Iterator[_Item]:
    for name, members in fold(keys, all_keys).items():
        if members == [name]:
            yield _Item(sign, name, (word, ""))
        else:
            yield _Item(sign, f"{name}.*", (word, _count(members, "key")))


# ---- words ----------------------------------------------------------------------


def _value(value: Any) -> str:
    if value is None:
        return "by rule"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        whole = all(isinstance(part, int) for part in value)
        return "x".join(map(str, value)) if whole else str(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _shape(shape: Shape | None) -> str:
    if shape is None:
        return "none"
    last = " (channels last)" if isinstance(shape, Last) else ""
    return (show_shape(shape) or "scalar") + last


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


def _count(found: Sequence[object], word: str) -> str:
    number = len(found)
    plural = word if number == 1 else " or ".join(f"{w}s" for w in word.split(" or "))
    return f"{number:,} {plural}"


def _styled(line: str, style: str, color: bool) -> str:
    return f"{style}{line}{_OFF}" if color else line


def _bullet(item: _Item) -> str:
    said = ", ".join(cell for cell in item.cells if cell)
    return f"- {_code(item.name)}" + (f": {said}" if said else "")


def _code(text: str) -> str:
    return "`" + text.replace("`", "'").replace("\n", " ") + "`"


def _pipes(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
