"""The rows of a table of layers: blocks above their parts, equal copies shown once."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from archdsl.ir import Group, Step

StepOrGroup = Step | Group
# A layer or block, or all of those that one copy of a repeat consists of.
_Part = StepOrGroup | tuple["_Part", ...]
# The attributes that two layers with equal rows share.
Content = Callable[[Step], Hashable]

_NUMBERED = re.compile(r"(.*?)(\d+)")


class Row(NamedTuple):
    """One row.

    Attributes:
        node: the layer or block, or the first one of several.
        last: the last one; the same if there is only one.
        name: its name relative to the block that contains it.
        level: how many blocks contain it.
        times: how many consecutive equal ones it represents.
        closed: whether it is a block whose parts have no rows.
        marked: whether it only runs in training, but what contains it does not.
    """

    node: StepOrGroup
    last: StepOrGroup
    name: str
    level: int
    times: int = 1
    closed: bool = False
    marked: bool = False

    @property
    def title(self) -> str:
        """The name, indented, with the number of copies."""
        times = f" x{self.times}" if self.times > 1 else ""
        return "  " * self.level + self.name + times


def rows(
    root: Group, *, content: Content | None = None, depth: int | None = None
) -> Iterator[Row]:
    """Yield the rows of a network, in execution order.

    Args:
        root: root group of the network.
        content: determines which layers are equal, so that consecutive equal copies
            share a row; nothing is folded if omitted.
        depth: number of levels of names that have rows; all if omitted.
    """
    parts = _parts(root)
    yield from _Rows(content, depth).of(parts, parts, 0, 1, root.training)


class _Rows:
    def __init__(self, content: Content | None, depth: int | None) -> None:
        self._content = content
        self._depth = depth
        # Equal contents get the same number, so that comparing them is fast.
        self._numbers: dict[Hashable, int] = {}
        self._known: dict[int, int] = {}

    def of(
        self,
        parts: Sequence[_Part],
        ends: Sequence[_Part],
        level: int,
        times: int,
        training: bool,
    ) -> Iterator[Row]:
        """Yield the rows of parts inside a block.

        Args:
            parts: parts of the first of some equal copies.
            ends: parts of the last one.
            level: how many blocks contain them.
            times: how many copies there are.
            training: whether they only run in training.
        """
        at = 0
        for run in self._runs(parts):
            at += len(run)
            first, end, number = run[0], ends[at - 1], times * len(run)
            if isinstance(first, tuple) or isinstance(end, tuple):
                assert isinstance(first, tuple) and isinstance(end, tuple)
                yield from self.of(first, end, level, number, training)
                continue
            name = _span(_name(first), _name(run[-1]))
            if isinstance(first, Step) or isinstance(end, Step):
                yield Row(first, end, name, level, number)
                continue
            closed = level + 1 == self._depth
            marked = first.training > training
            yield Row(first, end, name, level, number, closed, marked)
            if not closed:
                inner = _parts(first), _parts(end)
                yield from self.of(*inner, level + 1, 1, first.training)

    def _runs(self, parts: Sequence[_Part]) -> Iterator[list[_Part]]:
        """Yield runs of equal parts."""
        if self._content is None:
            yield from ([part] for part in parts)
        else:
            yield from (list(run) for _, run in groupby(parts, self._number))

    def _number(self, part: _Part) -> int:
        """Return a number that is the same for equal parts."""
        known = self._known.get(id(part))
        if known is None:
            content = self._whole(part)
            known = self._numbers.setdefault(content, len(self._numbers))
            if not isinstance(part, tuple):  # these do not live as long as the network
                self._known[id(part)] = known
        return known

    def _whole(self, part: _Part) -> Hashable:
        if isinstance(part, tuple):
            return tuple(self._number(each) for each in part)
        if isinstance(part, Step):
            assert self._content is not None
            return self._content(part)
        inner = [(_name(each), self._number(each)) for each in _parts(part)]
        return part.role, part.word, part.training, *inner


def _parts(group: Group) -> list[_Part]:
    """Return the contents of a group; groups that are not namespaces are expanded."""
    found: list[_Part] = []
    for child in group.children:
        if isinstance(child, Step) or child.role in ("block", "group"):
            found.append(child)
        elif child.role == "copy":
            inner = _parts(child)
            found += inner if len(inner) == 1 else [tuple(inner)]
        else:
            found += _parts(child)
    return found


def _name(part: _Part) -> str:
    """Return a name; of what stands once more, that of this use and of the weights'."""
    if isinstance(part, tuple):
        return ""
    is_other = part.alias not in ("", part.name)
    return f"{part.alias}: same {part.name}" if is_other else part.name


def _span(first: str, last: str) -> str:
    """Return one name for a run: ``1-5``, ``layer2-6`` or ``first..last``."""
    if first == last:
        return first
    one, other = _NUMBERED.fullmatch(first), _NUMBERED.fullmatch(last)
    if one and other and one[1] == other[1]:
        return f"{first}-{other[2]}"
    return f"{first}..{last}"
