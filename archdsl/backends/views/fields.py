"""The view of receptive fields: what each layer sees of the network's input and its
own.

Figures along several axes are written as height x width, or once if they are equal.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from archdsl.backends.text import show_field, show_local, show_per_axis
from archdsl.values import PLACES, show_shape

from . import Column, Total, ViewFacts

COLUMNS = (
    Column("receptive field", short="field", right=False, moves=True, of_last=True),
    Column("first unit sees", right=False, rank=1, moves=True, of_last=True),
    Column("single paths", right=False, rank=3, moves=True, of_last=True),
    Column("of input", rank=2, moves=True, of_last=True),
    Column("", right=False, rank=2),
)

# Number of joins that are named below the table; the others are only counted.
_MOST_JOINS: Final = 8


def cells(layer: ViewFacts) -> tuple[str, ...]:
    """Return the field, its interval, its range over paths, its share and remarks."""
    field = layer["receptive_field"]
    return (*(_field(field) if field else ("-",) * 4), _remark(layer))


def group(layers: Sequence[ViewFacts]) -> tuple[str, ...]:
    """Return nothing: a block sees what its last layer does."""
    return ("",) * len(COLUMNS)


def totals(facts: ViewFacts) -> list[Total]:
    """Return the network's field, the inputs it accepts, and what it leaves unread."""
    field, smallest = facts["receptive_field"], facts["smallest_input"]
    rows = list(_main(field)) if field else [("receptive field", "-", _NO_MAP)]
    if smallest:
        rows += _smallest(smallest, several=len(facts["inputs"]) > 1)
    if facts["coverage"]:
        rows.append(_coverage(facts["coverage"]))
    return [*rows, *_joins(facts["alignment"])]


_NO_MAP: Final = "there is no feature map"


def _field(field: ViewFacts) -> tuple[str, ...]:
    size, paths = show_field(field), _paths(field)
    share = f"{_bound(field)}{_percent(field['share'])}"
    if field["whole"]:
        return size, "", paths, share
    jump, interval = show_per_axis(field["jump"]), _interval(field["interval"])
    return f"{size} /{jump}", interval, paths, share


def _bound(field: ViewFacts) -> str:
    return "" if field["exact"] else "<= "


def _interval(interval: Sequence[Sequence[int] | None]) -> str:
    texts = [f"[{ends[0]}, {ends[1]}]" if ends else "nothing" for ends in interval]
    return " x ".join(texts if len(set(texts)) > 1 else texts[:1])


def _paths(field: ViewFacts) -> str:
    """Return the sizes along the narrowest and widest path, with bounds marked."""
    low, high = show_per_axis(field["minimum"]), show_per_axis(field["maximum"])
    if not field["paths_exact"]:
        return f">= {low} to <= {high}" if field["exact"] else f"<= {high}"
    return low if low == high else f"{low} to {high}"


def _remark(layer: ViewFacts) -> str:
    """Return what a layer leaves unread, or how its inputs are misaligned."""
    read, joined = layer["coverage"], layer["alignment"]
    remarks = []
    if read and read["share"] < 1:
        remarks.append(f"reads {show_shape(read['reads'])} of {show_shape(read['of'])}")
    if joined:
        remarks.append(f"joins maps offset by {show_per_axis(joined['offset'])}")
    return ", ".join(remarks)


def _percent(share: float) -> str:
    """Return a share in percent, with three digits; only the whole is shown as 100."""
    text = f"{100 * share:.3g}"
    return f"{'99.9' if text == '100' and share < 1 else text} %"


# ---- totals ---------------------------------------------------------------------


def _main(field: ViewFacts) -> Iterator[Total]:
    note = "of a unit of the last feature map"
    if not field["whole"]:
        note = (
            "of a unit of the last feature map; units are "
            f"{show_per_axis(field['jump'])} "
            f"apart, the first sees {_interval(field['interval'])}"
        )
    yield "receptive field", show_field(field), note
    if field["whole"] and field["local"] is not None:
        yield (
            "  local paths",
            show_local(field),
            "without global pooling and the like",
        )
    yield "single paths", _paths(field), "along the narrowest path and the widest one"
    yield (
        "of input",
        f"{_bound(field)}{_percent(field['share'])}",
        "of the input's positions lie in one such field",
    )


def _smallest(smallest: ViewFacts, *, several: bool) -> Iterator[Total]:
    notes = [_why(failure) for failure in smallest["below"] if failure]
    note = notes[0] if notes else "no layer needs more"
    yield "smallest input", show_shape(smallest["size"]), note
    if smallest["built"] != smallest["size"]:
        note = "the smallest that `--input` accepts; auxiliary heads are built, too"
        if several:
            note = "the smallest that can be built, with the other inputs scaled along"
        yield "  to build", show_shape(smallest["built"]), note
    if set(smallest["step"]) != {1}:
        yield _steps(smallest)
    if any(smallest["largest"]):
        largest = "x".join(str(n or "any") for n in smallest["largest"])
        notes = [_why(failure) for failure in smallest["above"] if failure]
        yield "largest input", largest, notes[0]


def _steps(smallest: ViewFacts) -> Total:
    """Return the steps in which fitting sizes repeat."""
    notes = [_why(failure) for failure in smallest["between"] if failure][:1]
    if set(smallest["run"]) != {1}:
        notes.insert(0, f"{show_per_axis(smallest['run'])} sizes in a row fit")
    known = None not in smallest["step"]
    step = f"of {show_per_axis(smallest['step'])}" if known else "none known"
    return "  in steps", step, "; ".join(notes)


def _why(failure: ViewFacts) -> str:
    size = show_shape(failure["size"])
    return f"{size} fails at {failure['layer']}: {failure['message']}"


def _coverage(coverage: ViewFacts) -> Total:
    axes = coverage["dropped"]
    lost = [
        f"{name}s {_runs(runs)}"
        for name, runs in zip(PLACES[len(axes)], axes, strict=True)
        if runs
    ]
    note = "of the input's positions reach the output"
    if lost:
        note += f"; {' and '.join(lost)} do not (counted from 0)"
    return "input read", _percent(coverage["share"]), note


def _runs(runs: Sequence[Sequence[int]]) -> str:
    """Return the first runs of positions, ``1, 3 to 5 and more``."""
    texts = [str(a) if a == b else f"{a} to {b}" for a, b in runs]
    return ", ".join(texts if len(texts) < 5 else [*texts[:3], "..."])


def _joins(joins: Sequence[ViewFacts]) -> list[Total]:
    """Return the layers that join misaligned maps, after a gap."""
    if not joins:
        return []
    rows = [
        (
            "misaligned",
            str(len(joins)),
            "layers join maps whose units have fields with different centres",
        )
    ]
    for join in joins[:_MOST_JOINS]:
        offset = f"by {show_per_axis(join['offset'])}"
        rows.append((f"  {join['layer']}", offset, _places(join["branches"])))
    if len(joins) > _MOST_JOINS:
        rows.append(("  ...", "", f"and {len(joins) - _MOST_JOINS} more"))
    return [("", "", ""), *rows]


def _places(branches: Sequence[ViewFacts]) -> str:
    """Return the centres of the first units of branches."""
    placed = [b for b in branches if any(n is not None for n in b["centre"])]
    texts = []
    for branch in placed:
        at = ["any" if n is None else f"{n:g}" for n in branch["centre"]]
        texts.append(f"{branch['layer']} at {', '.join(at)}")
    return "; ".join(texts)
