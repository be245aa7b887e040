"""Which tensors of a checkpoint fit a network, as text and as plain data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from archdsl.elaborate.types import counted
from archdsl.ir.state import Wanted
from archdsl.values import show_shape

from .match import Match, Reshaped, Suggestion

# Lists are cut after this many lines; --json has all.
SHOWN: Final = 12

_One = TypeVar("_One")


def match_text(match: Match, spec: str) -> str:
    """Return the report that a person reads.

    Args:
        match: the match.
        spec: what the user calls the network.
    """
    held = match.checkpoint
    lines = [f"{held.path}: {_tensors(len(held.tensors))}{_inside(match)}"]
    if match.prefix:
        lines.append(f"  the prefix `{match.prefix}` is removed from their names")
    if match.rules is not None:
        about = f": {match.rules.about}" if match.rules.about else ""
        lines.append(f"  renamed by {match.rules.name}{about}")
    if match.older:
        lines.append("  under older names, which the spec gives with `renamed from`")
    reshaped = len(match.reshaped) + len(match.adapted)
    due = len(match.names) + len(match.missing) + reshaped
    lines += ["", f"{len(match.names):,} of the {_tensors(due)} that {spec} needs fit"]
    if match.left_out:
        lines.append(f"{_tensors(len(match.left_out))} left out, as you asked")
    if match.filled:
        lines.append(
            f"{counted(len(match.filled), 'counter')} of batch norms not in the file, "
            "which start at 0"
        )
    lines += _listed("missing", match.missing, _missing)
    lines += _listed("of another shape", match.reshaped, _reshaped)
    lines += _listed("adapted to other input channels", match.adapted, _reshaped)
    lines += _listed(
        "in the file only",
        match.extra,
        lambda name: f"{name}  {_shape(held.tensors[name].shape)}",
    )
    lines += _listed("may be the same", match.suggestions, _suggestion)
    return "\n".join(lines) + "\n"


def as_dict(match: Match) -> dict[str, object]:
    """Return the match as plain data, as `--json` prints it."""
    held = match.checkpoint
    return {
        "file": str(held.path),
        "tensors": len(held.tensors),
        "inside": held.inside,
        "others": [*held.others],
        "prefix": match.prefix,
        "rules": match.rules.name if match.rules is not None else None,
        "older": match.older,
        "complete": match.complete,
        "names": dict(match.names),
        "filled": [one.key for one in match.filled],
        "left_out": [one.key for one in match.left_out],
        "missing": [_wanted(one) for one in match.missing],
        "reshaped": [*map(_changed, match.reshaped)],
        "adapted": [*map(_changed, match.adapted)],
        "extra": [*match.extra],
        "suggestions": [
            {
                "source": one.source,
                "target": one.target,
                "names": dict(one.names),
                "among": one.among,
            }
            for one in match.suggestions
        ],
    }


def _wanted(one: Wanted) -> dict[str, object]:
    span = one.step.span
    return {
        "key": one.key,
        "shape": [*one.shape],
        "file": span.source.name,
        "line": span.line,
        "column": span.column,
    }


def _changed(one: Reshaped) -> dict[str, object]:
    return {**_wanted(one.tensor), "name": one.name, "found": [*one.shape]}


def _inside(match: Match) -> str:
    held = match.checkpoint
    found = f" in `{held.inside}`" if held.inside else ""
    if held.others:
        others = ", ".join(f"`{name}`" for name in held.others)
        found += f"; --part takes those in {others}"
    return found


def _missing(one: Wanted) -> str:
    return f"{one.key}  {_shape(one.shape)}  {_place(one)}"


def _reshaped(one: Reshaped) -> str:
    return (
        f"{one.tensor.key}  {_shape(one.shape)} in the file, "
        f"{_shape(one.tensor.shape)} in the network  {_place(one.tensor)}"
    )


def _suggestion(one: Suggestion) -> str:
    sure = "no other has these shapes"
    if one.among > 1:
        sure = f"paired in order, among {one.among:,} with these shapes"
    return f"{one.source} -> {one.target}  {sure}"


def _listed(
    title: str, items: Sequence[_One], show: Callable[[_One], str]
) -> list[str]:
    if not items:
        return []
    lines = ["", f"{title}:", *(f"  {show(one)}" for one in items[:SHOWN])]
    if len(items) > SHOWN:
        lines.append(f"  and {len(items) - SHOWN:,} more; --json lists all")
    return lines


def _tensors(n: int) -> str:
    return counted(n, "tensor")


def _shape(shape: Sequence[int]) -> str:
    return show_shape(tuple(shape)) if shape else "one number"


def _place(one: Wanted) -> str:
    span = one.step.span
    return f"{span.source.name}:{span.line}:{span.column}"
