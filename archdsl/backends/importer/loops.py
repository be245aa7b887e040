"""Writes repeated parts of a spec as repeats and loops."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from archdsl.backends.importer.spec import (
    BareItem,
    SpecBody,
    SpecBraces,
    SpecItem,
    SpecLine,
    SpecMerge,
    SpecSame,
    SpecTap,
    SpecWord,
)


def repeated(body: SpecBody) -> SpecBody:
    """Return a body in which repeated lines are one line with a count.

    Lines whose labels end in a number become iterations of a loop, even a single line,
    so that bodies with different numbers of iterations have the same form.
    """
    lines: list[SpecLine] = []
    stem: SpecLine | None = None
    start, flow = 0, ""
    for line in body:
        line = replace(line, items=tuple(_repeated_within(i, flow) for i in line.items))
        flow = _label(line.items[-1]) if len(line.items) == 1 else ""
        last = lines[-1] if lines else None
        if last is not None and _is_again(last, line):
            lines[-1] = replace(_both(last, line), times=last.times + 1)
            continue
        if last is not None and stem is not None:
            again = _round(line, start + last.times, start)
            if again == stem and again is not None:
                stem = _both(stem, again)
                lines[-1] = replace(stem, times=last.times + 1)
                continue
        number = _number_of(line)
        start = 0 if number is None else number
        stem = None if number is None else _round(line, start, start)
        alone = stem is not None and not _has_merge(line)
        lines.append(stem if alone and stem is not None else line)
    return SpecBody(tuple(_in_turns([_with_branches(line) for line in lines])))


def _repeated_within(item: SpecItem, flow: str) -> SpecItem:
    """Return an item whose contents are written with repeats.

    Args:
        item: the item.
        flow: label of its input, if it has one.
    """
    if isinstance(item, SpecBraces):
        return replace(item, body=repeated(item.body))
    if isinstance(item, SpecMerge) and len(item.branches) > 2:
        return replace(item, branches=_with_ranges(item.branches, flow))
    return item


def _with_branches(line: SpecLine) -> SpecLine:
    """Return a line with repeats inside the branches of its merges."""
    items = (
        replace(item, branches=tuple(map(repeated, item.branches)))
        if isinstance(item, SpecMerge)
        else item
        for item in line.items
    )
    return replace(line, items=tuple(items))


def _with_ranges(branches: Sequence[SpecBody], flow: str) -> tuple[SpecBody, ...]:
    """Return branches in which taps with consecutive labels (a.0, a.1) are a loop."""
    names = [flow if not body.lines else _tap_of(body) for body in branches]
    found: list[SpecBody] = []
    place = 0
    while place < len(branches):
        number = _NUMBER.search(names[place])
        count = 1
        if number is not None:
            stem = names[place][: number.start()]
            first = int(number[0])
            while names[place + count : place + count + 1] == [
                f"{stem}{first + count}"
            ]:
                count += 1
        if count > 1:
            tap = SpecTap(f"{stem}{_counted(first)}")
            found.append(SpecBody((SpecLine((tap,), times=count, loop=True),)))
        else:
            found.append(branches[place])
        place += count
    return tuple(found)


def _tap_of(body: SpecBody) -> str:
    """Return the name that a branch reads, if it only consists of a tap."""
    items = [item for line in body for item in line.items]
    return items[0].name if len(items) == 1 and isinstance(items[0], SpecTap) else ""


def _has_merge(line: SpecLine) -> bool:
    return any(isinstance(item, SpecMerge) for item in line.items)


def _counted(start: int) -> str:
    """Return the end of a label in a loop whose first iteration has a given number."""
    return f"{{i + {start}}}" if start else "{i}"


def unrolled(body: SpecBody) -> SpecBody:
    """Return a body whose loops are repeats, or written out if that is not longer."""
    taps = [name for line in body for item in _items(line) for name in _taps(item)]
    return _unrolled(body, frozenset(COUNTED.sub("", name) for name in taps))


def _taps(item: SpecItem) -> Iterator[str]:
    """Yield the labels that an item reads; that of a call also without its output."""
    names = [item.name] if isinstance(item, SpecTap) else []
    if isinstance(item, SpecWord | SpecSame):
        names += item.inputs
    for name in names:
        yield name
        yield name.rpartition(".")[0]


COUNTED: Final = re.compile(r"(\{i(?: \+ (\d+))?\}|\d+)$")


def written_out(bodies: Mapping[str, SpecBody]) -> dict[str, SpecBody]:
    """Return bodies without those loops that have a single iteration in all of them."""
    loops = {
        (tuple(map(_label, _items(line))), line.times)
        for body in bodies.values()
        for line in _all_lines(body)
        if line.loop
    }
    several = {labels for labels, times in loops if times != 1}

    def change(line: SpecLine) -> SpecLine:
        labels = tuple(map(_label, _items(line)))
        if not line.loop or labels in several:
            return line
        start = str(_start_of(next(filter(None, labels))))
        return _relabelled(line, partial(COUNTED.sub, start), loop=False)

    return {name: _with_lines(body, change) for name, body in bodies.items()}


def _all_lines(body: SpecBody) -> Iterator[SpecLine]:
    for line in body:
        yield line
        for item in line.items:
            for inner in _bodies(item):
                yield from _all_lines(inner)


def _bodies(item: SpecItem) -> tuple[SpecBody, ...]:
    if isinstance(item, SpecBraces):
        return (item.body,)
    return item.branches if isinstance(item, SpecMerge) else ()


def _with_lines(body: SpecBody, change: Callable[[SpecLine], SpecLine]) -> SpecBody:
    """Return a body with each line changed, the innermost first."""

    def within(item: SpecItem) -> SpecItem:
        if isinstance(item, SpecBraces):
            return replace(item, body=_with_lines(item.body, change))
        if isinstance(item, SpecMerge):
            some = tuple(_with_lines(branch, change) for branch in item.branches)
            return replace(item, branches=some)
        return item

    lines = [replace(line, items=tuple(map(within, line.items))) for line in body]
    return SpecBody(tuple(map(change, lines)))


def _unrolled(body: SpecBody, tapped: frozenset[str]) -> SpecBody:
    lines: list[SpecLine] = []
    for line in body:
        items = tuple(_unrolled_within(item, tapped) for item in line.items)
        line = replace(line, items=items)
        if not line.loop:
            lines.append(line)
            continue
        labels = [label for item in _items(line) if (label := _label(item))]
        stems = [COUNTED.sub("", label) for label in labels]
        start = _start_of(labels[0])
        plain = not _has_merge(line)
        bare = plain and start == 1 and not any("." in stem for stem in stems)
        if line.times != 1 and bare and not tapped.intersection(stems):
            lines.append(_relabelled(line, partial(COUNTED.sub, ""), loop=False))
        elif line.times == 1 or (line.times == 2 and plain):
            for number in range(start, start + line.times):
                once = _relabelled(line, partial(COUNTED.sub, str(number)), loop=False)
                lines.append(replace(once, times=1))
        else:
            lines.append(line)
    return SpecBody(tuple(lines))


def _start_of(label: str) -> int:
    """Return the number of the first iteration in a label of a loop."""
    found = COUNTED.search(label)
    return int(found[2] or 0) if found is not None else 0


def _unrolled_within(item: SpecItem, tapped: frozenset[str]) -> SpecItem:
    if isinstance(item, SpecBraces):
        return replace(item, body=unrolled(item.body))
    if isinstance(item, SpecMerge):
        branches: list[SpecBody] = []
        for branch in item.branches:
            name = _tap_of(branch)
            times = branch.lines[0].times if name else 0
            if name.endswith("}") and times in (2, 3):
                for number in range(_start_of(name), _start_of(name) + times):
                    tap = SpecTap(COUNTED.sub(str(number), name))
                    branches.append(SpecBody((SpecLine((tap,)),)))
            else:
                branches.append(branch if name else _unrolled(branch, tapped))
        return replace(item, branches=tuple(branches))
    return item


def _in_turns(lines: Sequence[SpecLine]) -> list[SpecLine]:
    """Join alternating lines, such as a, b, a, b, into repeated chains (a -> b)."""
    found: list[SpecLine] = []
    rest = list(lines)
    while rest:
        for length in (2, 3, 4):
            part, count = rest[:length], 1
            if len(part) < length or not all(map(_takes_turns, part)):
                continue
            while rest[count * length : (count + 1) * length] == part:
                part = list(map(_both, part, rest[count * length :]))
                count += 1
            if count > 1:
                items = tuple(item for line in part for item in line.items)
                found.append(SpecLine(items, times=count))
                del rest[: count * length]
                break
        else:
            found.append(rest.pop(0))
    return found


def _takes_turns(line: SpecLine) -> bool:
    return line.times == 1 and _has_no_names(line)


def _both(first: SpecLine, second: SpecLine) -> SpecLine:
    """Return one of two equal lines, without the input channels that differ.

    If the input channels of a part differ, none of its arguments is left out.
    """

    def body(one: SpecBody, other: SpecBody) -> SpecBody:
        return SpecBody(tuple(map(_both, one.lines, other.lines)))

    items: list[SpecItem] = []
    for one, other in zip(first.items, second.items, strict=True):
        if (
            isinstance(one, SpecWord)
            and isinstance(other, SpecWord)
            and one.flow != other.flow
        ):
            one = replace(one, flow=0)
        elif isinstance(one, SpecBraces) and isinstance(other, SpecBraces):
            one = replace(one, body=body(one.body, other.body))
        elif isinstance(one, SpecMerge) and isinstance(other, SpecMerge):
            some = map(body, one.branches, other.branches)
            one = replace(one, branches=tuple(some))
        items.append(one)
    return replace(first, items=tuple(items))


def _is_again(last: SpecLine, line: SpecLine) -> bool:
    """Return whether a line is equal to the one before it."""
    return replace(last, times=1) == line and _has_no_names(line)


def _has_no_names(line: SpecLine) -> bool:
    """Return whether a line can be repeated unchanged, since it has no labels."""
    if line.output or line.loop:
        return False
    return not any(isinstance(i, BareItem) or _label(i) for i in _items(line))


_NUMBER: Final = re.compile(r"(?<![0-9])(?:0|[1-9][0-9]*)$")


def _number_of(line: SpecLine) -> int | None:
    """Return the number that the labels of a line end in; None if there is none."""
    for item in _items(line):
        found = _NUMBER.search(_label(item))
        if found is not None:
            return int(found[0])
    return None


def _round(line: SpecLine, number: int, start: int) -> SpecLine | None:
    """Return a line as an iteration of a loop; None if that is not possible.

    Args:
        line: the line.
        number: the number at the end of its labels.
        start: the number at the end of those of the first iteration.
    """
    end = str(number)
    labels = [label for item in _items(line) if (label := _label(item))]
    if not labels or line.output or line.times != 1:
        return None
    if any(isinstance(item, BareItem) for item in _items(line)):
        return None
    if not all(label.endswith(end) and label != end for label in labels):
        return None
    if any(label[-len(end) - 1].isdigit() for label in labels):
        return None
    return _relabelled(
        line, lambda label: label.removesuffix(end) + _counted(start), loop=True
    )


def _relabelled(
    line: SpecLine, rename: Callable[[str], str], *, loop: bool
) -> SpecLine:
    """Return a line with other labels; parts in braces keep theirs."""

    def change(item: SpecItem) -> SpecItem:
        if isinstance(item, SpecMerge):
            branches = tuple(
                SpecBody(
                    tuple(_relabelled(one, rename, loop=one.loop) for one in branch)
                )
                for branch in item.branches
            )
            item = replace(item, branches=branches)
        if isinstance(item, SpecWord | SpecBraces | SpecMerge) and item.label:
            return replace(item, label=rename(item.label))
        return item

    return replace(line, items=tuple(map(change, line.items)), loop=loop)


def _label(item: SpecItem) -> str:
    return item.label if isinstance(item, SpecWord | SpecBraces | SpecMerge) else ""


def _items(line: SpecLine) -> Iterator[SpecItem]:
    """Yield all items of a line except those in braces with names of their own."""
    for item in line.items:
        yield item
        if isinstance(item, SpecMerge):
            for branch in item.branches:
                for inner in branch:
                    yield from _items(inner)
