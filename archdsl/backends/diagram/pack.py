"""The arrangement of columns and insets on a page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from .measure import Size
from .options import PAGES, Options

# In points: the space between columns, between insets, for the title, and around
# everything.
GAP: Final = 26.0
APART: Final = 18.0
HEAD: Final = 70.0
MARGIN: Final = 16.0
# The margin that an engine may leave around everything.
EDGE: Final = 30.0

Position = tuple[float, float]


def rooms(options: Options) -> list[Size]:
    """Return the sizes that a picture may have; paper can be rotated."""
    width, height = PAGES[options.page]
    return [Size(width, height)] + [Size(height, width)] * (options.page == "a4")


def scale(size: Size, options: Options) -> float:
    """Return the factor by which a picture is scaled to fill a page.

    At 1, text has exactly the minimum size; below 1, the picture does not fit.
    """
    return max(
        min(room.width / (size.width + EDGE), room.height / (size.height + EDGE))
        for room in rooms(options)
    )


def page_area(size: Size) -> float:
    """Return the area of a size, in square points."""
    return size.width * size.height


def pack(
    columns: Sequence[Size], beside: Sequence[Size], options: Options
) -> tuple[list[Position | None], Size]:
    """Return the positions of everything, from the top left, and the total size.

    Columns are placed side by side, rows below each other, and the rest wherever there
    is room. A position is None if there is no room.

    Args:
        columns: sizes of the columns or rows of the whole.
        beside: sizes of the rest, the legend first if there is one.
        options: their direction decides between columns and rows, and their page sets
            limits.
    """
    found = []
    for room in rooms(options):
        # The smaller the layout, the larger its text can be.
        for share in (0.6, 0.75, 0.87, 1.0):
            around = MARGIN + EDGE
            limit = Size(room.width * share - around, room.height * share - around - 14)
            for order in _orders(beside):
                found.append(_packed(columns, beside, order, limit, options))

    def worth(it: tuple[list[Position | None], Size]) -> tuple[float, ...]:
        places, size = it
        fits = scale(size, options)
        put = zip(beside, places[len(columns) :], strict=True)
        shown = sum(page_area(size) for size, place in put if place is not None)
        legend = not options.legend or places[len(columns)] is not None
        return (min(fits, 1), legend, shown, fits)

    return max(found, key=worth)


def _orders(beside: Sequence[Size]) -> list[list[int]]:
    """Return the orders in which to look for room: large ones first.

    Small ones fit between them, except for the legend, which comes first in the list
    and may have to be placed before all others or after the largest.
    """
    order = sorted(range(len(beside)), key=lambda at: -page_area(beside[at]))
    rest = [at for at in order if at]
    return [order, [0, *rest], [*rest[:1], 0, *rest[1:]]] if beside else [order]


def _packed(
    columns: Sequence[Size],
    beside: Sequence[Size],
    order: Sequence[int],
    limit: Size,
    options: Options,
) -> tuple[list[Position | None], Size]:
    taken: list[tuple[float, float, float, float]] = []
    x, y = MARGIN, HEAD
    for size in columns:
        taken.append((x, y, x + size.width, y + size.height))
        if options.direction == "LR":
            y += size.height + GAP
        else:
            x += size.width + GAP
    # The connectors run around the columns.
    near = GAP - APART
    blocks = [(a - near, b - near, c + near, d + near) for a, b, c, d in taken]
    places: list[Position | None] = [(a, b) for a, b, *_ in taken]
    places += [None] * len(beside)
    for at in order:
        size = beside[at]
        spot = next(_spots(blocks, size, limit), None)
        if spot is None:
            continue
        places[len(columns) + at] = spot
        x, y = spot
        blocks.append((x, y, x + size.width, y + size.height))
        taken.append(blocks[-1])
    right = max(block[2] for block in taken)
    bottom = max(block[3] for block in taken)
    return places, Size(right + MARGIN, bottom + MARGIN + 14)


def _spots(
    blocks: Sequence[tuple[float, float, float, float]], size: Size, limit: Size
) -> Iterator[Position]:
    """Yield the free places at the edges of placed blocks, the leftmost first."""
    rights = sorted({MARGIN, *(block[2] + APART for block in blocks)})
    bottoms = sorted({HEAD, *(block[3] + APART for block in blocks)})
    for x in rights:
        for y in bottoms:
            right, bottom = x + size.width, y + size.height
            inside = right <= limit.width and bottom <= limit.height
            if inside and not any(
                x < c + APART - 1
                and right > a - APART + 1
                and y < d + APART - 1
                and bottom > b - APART + 1
                for a, b, c, d in blocks
            ):
                yield (x, y)
