"""Chooses the depth, columns and insets with which a network fits a page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

from archdsl.ir import Step

from .bend import bottom
from .columns import cut
from .measure import Measured, Size, estimate_size
from .options import PAGES, Options
from .pack import pack, scale
from .picture import (
    Box,
    Closed,
    Picture,
    PicturePart,
    Subject,
    closed,
    is_block,
    part_of,
    picture,
)

LEGEND = Size(120, 190)
# The most columns; rows are so low that more of them fit.
_COLUMNS = 3
_ROWS = 8
# The largest share of the page's height for an inset; a taller one is drawn closed.
_INSET = 0.45


class Sheet(NamedTuple):
    """The contents of a page.

    Attributes:
        main: the picture of the whole subject.
        insets: the blocks that are closed in it, each drawn once.
        kinds: the names of these blocks.
        ways: for each of them, the option that draws it alone.
        depth: the number of levels of blocks that are open.
        lowest: the node at the bottom of the U, if it is drawn as one.
    """

    main: Picture
    insets: tuple[Picture, ...]
    kinds: tuple[str, ...]
    ways: tuple[str, ...]
    depth: int
    lowest: int | None = None


def sheet(subject: Subject, options: Options, below: int | None = None) -> Sheet:
    """Return the contents of a subject's page.

    Args:
        subject: a network or a part of one.
        options: how to draw; a depth that they contain is used unchanged.
        below: only consider depths below this one.
    """
    drawn = picture(subject, fold=options.fold)
    deepest = _levels(drawn.parts)
    if options.depth is not None:
        return _filled(drawn, min(options.depth, deepest), options)
    if not options.fold and below is None:
        return Sheet(drawn, (), (), (), deepest)
    if below is None and _may_bend(options):
        for depth in (0, -1):
            one = _filled(drawn, depth, options)
            if one.lowest is not None:
                return one
    top = deepest if below is None else min(deepest, below - 1)
    some = None
    for depth in range(max(top, -1), -2, -1):
        one = _filled(drawn, depth, options)
        room = _room_for(one, options)
        if room == len(one.insets):
            return one
        some = one if some is None and room >= 0 else some
    return some or one


def _filled(drawn: Picture, depth: int, options: Options) -> Sheet:
    """Return a picture at a depth, with one block of each kind that is closed."""
    main = closed(drawn, depth)
    wanted = [*_kinds(main, options)] if options.insets else []
    lowest = bottom(main) if _may_bend(options) else None
    names = tuple(common_kind(box) for box, _ in wanted)
    ways = tuple(_way(box) for box, _ in wanted)
    insets = tuple(inset for _, inset in wanted)
    return Sheet(main, insets, names, ways, depth, lowest)


def most(options: Options) -> int:
    """Return the most columns or rows that a picture may have."""
    return _ROWS if options.direction == "LR" else _COLUMNS


def _may_bend(options: Options) -> bool:
    return options.style != "graph" and options.direction == "TB"


def _room_for(one: Sheet, options: Options) -> int:
    """Return the number of insets that fit; -1 if the picture itself does not."""
    whole = estimate_size(one.main, options)
    beside = [estimate_size(inset, options).size for inset in one.insets]
    if options.legend:
        beside.insert(0, LEGEND)
    best = -1
    for number in range(1, most(options) + 1):
        columns = _column_sizes(one.main, whole, number)
        places, size = pack(columns, beside, options)
        if scale(size, options) >= 1:
            put = sum(place is not None for place in places)
            best = max(best, put - len(columns) - options.legend)
    return best


def _column_sizes(main: Picture, whole: Measured, number: int) -> list[Size]:
    if number == 1:
        return [whole.size]
    pieces = cut(main, whole.bottoms, number)
    starts = [start for _, start in pieces]
    pairs = pairwise([*starts, whole.size.height])
    return [Size(whole.size.width, end - start + 50) for start, end in pairs]


def _kinds(main: Picture, options: Options) -> Iterator[tuple[Box, Picture]]:
    """Yield a closed box of each kind, including those that its own drawing closes."""
    limit = _INSET * PAGES[options.page][1]
    found: set[str] = set()
    shapes: list[object] = []
    waiting = [*_closed_boxes(main)]
    while waiting:
        box = waiting.pop(0)
        name = common_kind(box)
        if name in found:
            continue
        found.add(name)
        if box.group.role != "block":
            # Groups have different names, even if many are equal.
            shape = [*map(_word, box.group.steps())]
            if shape in shapes:
                continue
            shapes.append(shape)
        same = [box, *(other for other in waiting if common_kind(other) == name)]
        # A block with a projection shows more than one without.
        box = max(same, key=lambda other: sum(1 for _ in other.group.steps()))
        drawn = picture(part_of(name, box.group), fold=options.fold)
        levels = _levels(drawn.parts)
        inset = drawn
        while levels > 0 and estimate_size(inset, options).size.height > limit:
            levels -= 1
            inset = closed(drawn, max(levels, 1))
        waiting += _closed_boxes(inset)
        yield box, inset


def common_kind(box: Box) -> str:
    """Return a key that blocks of one kind share: the word, or else the path."""
    return box.group.word if box.group.role == "block" else box.heading.path


def _way(box: Box) -> str:
    """Return the option of `archdsl render` that draws such a box alone."""
    return f"{'--block' if box.group.role == 'block' else '--only'} {common_kind(box)}"


def _word(step: Step) -> tuple[object, ...]:
    return (step.op.word, *map(len, (step.inputs, step.shape)))


def _closed_boxes(drawn: Picture) -> Iterator[Box]:
    for node in drawn.nodes():
        if isinstance(node, Closed):
            yield node.box


def _levels(parts: Iterable[PicturePart]) -> int:
    """Return how deep blocks are nested."""
    deepest = 0
    stack = [(part, 0) for part in parts]
    while stack:
        part, around = stack.pop()
        if isinstance(part, Box):
            inside = around + is_block(part)
            deepest = max(deepest, inside)
            stack += [(child, inside) for child in part.parts]
    return deepest
