"""Lays out pieces again until they are tidy.

In a tidy piece, branches are in the spec's order, and no arrow crosses a title. No
option of an engine guarantees that. So the engine is run again with other attributes,
each of which helps some networks and harms others, and the tidiest result is kept.
"""

from __future__ import annotations

import re
from collections.abc import Sequence, Set
from itertools import product

from .options import Direction
from .order import BranchOrder, NodeRow, Pull, node_reads
from .pack import page_area
from .picture import Picture
from .piece import Piece, dodged, laid_out, mirrored, node_centres, struck

# In dot text before layout: a node, an arrow, and the side of titles.
_NODE = re.compile(r"^\t+(n\d+) \[", re.M)
_ARROW = re.compile(r"^\t(n\d+) -> (n\d+) .*\n", re.M)
_SIDE = re.compile(r"^(\t+)(labeljust=l|labelloc=t)$", re.M)
# An invisible arrow, after layout.
_PULL = re.compile(r'^\t*n\d+ -> n\d+\t\[pos="[^"]*",\s*style=invis,[^\]]*\];\n', re.M)
# The most nodes that are laid out again for one piece, summed over all runs: about a
# second.
_MOST = 2_000


def tidied(
    plain: Piece, source: str, drawn: Picture, ids: dict[int, str], direction: Direction
) -> Piece:
    """Return the tidiest piece that was found.

    Args:
        plain: the piece of the first run.
        source: the dot text that was laid out.
        drawn: the picture in it.
        ids: the nodes that make a value, by its number.
        direction: the direction of the picture.
    """
    names = _NODE.findall(source)
    tries = _MOST // (2 * len(names)) if names else 0
    if not tries:
        return plain
    arrows = {(m[1], m[2]): "lhead=" not in m[0] for m in _ARROW.finditer(source)}
    order = BranchOrder(names, arrows, node_reads(drawn, ids))
    axis, sign = (1, -1) if direction == "LR" else (0, 1)

    def wrong(piece: Piece) -> list[NodeRow]:
        places = node_centres(piece.text).items()
        return order.wrong({name: sign * at[axis] for name, at in places})

    def rated(piece: Piece) -> tuple[int, float, Piece]:
        piece = piece._replace(text=dodged(piece.text))
        return len(wrong(piece)) + struck(piece.text), page_area(piece.size), piece

    best = rated(plain)
    for backwards, ordering in product((False, True), repeat=2):
        # Each round changes more about the nodes that are still misplaced.
        pulls: dict[Pull, None] = {}
        late: set[str] = set()
        fewest: list[int] = []
        # It ends after two rounds without an improvement.
        while len(fewest) < 3 or fewest[-1] < fewest[-3]:
            if not best[0] or not tries:
                return best[-1]
            tries -= 1
            text = _in_other_words(source, [*pulls], late, backwards, ordering)
            found = min(rated(_again(plain, text, side)) for side in (None, axis))
            best = min(best, found)
            fewest.append(min([*fewest[-1:], found[0]]))
            faults = wrong(found[-1])
            if not faults:
                break
            pulls |= dict.fromkeys(order.pulls(faults))
            late ^= {row[-2] for row in faults}
    return best[-1]


def _again(plain: Piece, text: str, axis: int | None) -> Piece:
    """Return a piece laid out again; if an axis is given, mirrored along it."""
    if axis is not None:
        text = _SIDE.sub(lambda line: _other_side(line, axis), text)
    # Warnings are the same as in the first run.
    piece = laid_out(text, [], plain.joints)
    piece = piece._replace(text=_PULL.sub("", piece.text))
    return piece if axis is None else mirrored(piece, axis)


def _other_side(line: re.Match[str], axis: int) -> str:
    """Return a line that puts a title on the other side, which mirroring reverses."""
    turned = ("labeljust=r", "labelloc=b")[axis]
    same_kind = turned.partition("=")[0] == line[2].partition("=")[0]
    return f"{line[1]}{turned if same_kind else line[2]}"


def _in_other_words(
    source: str, pulls: Sequence[Pull], late: Set[str], backwards: bool, ordering: bool
) -> str:
    """Return dot text of the same graph that an engine may lay out differently.

    Args:
        source: the text.
        pulls: invisible arrows to add.
        late: nodes whose arrows are written after all others.
        backwards: whether arrows are written from the last to the first.
        ordering: whether the engine is asked to keep the order of arrows.
    """
    arrows = [*_ARROW.finditer(source)]
    written = sorted(arrows[::-1] if backwards else arrows, key=lambda m: m[2] in late)
    lines = [match[0] for match in written]
    lines += [f"\t{tail} -> {head} [style=invis weight=0]\n" for tail, head in pulls]
    if ordering:
        lines.insert(0, "\tordering=out\n")
    return "".join((source[: arrows[0].start()], *lines, source[arrows[-1].end() :]))
