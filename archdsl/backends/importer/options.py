"""Merges bodies that only differ by parts that some of them lack.

The items of two bodies that have the same form are aligned; the others become optional,
with a guard. Bodies are only merged if most of their layers are aligned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from archdsl.backends.importer.spec import (
    SpecBody,
    SpecBraces,
    SpecItem,
    SpecLine,
    SpecMerge,
    SpecRegister,
    SpecWord,
)
from archdsl.backends.importer.trees import (
    MISSING,
    all_items,
    form_of,
    is_optional,
    is_slot,
    with_guard,
)

# The most optional parts that one block may have.
_MOST_OPTIONS: Final = 3
# The share of the merged layers that each body must have.
_COMMON: Final = 0.5


def with_options(bodies: Sequence[SpecBody]) -> list[tuple[list[int], SpecBody]]:
    """Return which bodies of different forms can be merged, and the merged bodies.

    Args:
        bodies: one of each form.

    Returns:
        Indices of the bodies in each group, and a body that has all of their parts.
    """
    groups: list[tuple[list[int], SpecBody]] = []
    for place, body in enumerate(bodies):
        for number, (places, whole) in enumerate(groups):
            made = _common(whole, body)
            if made is None:
                continue
            members = [*places, place]
            fitted = [fit(made, bodies[one]) for one in members]
            if all(f is not None for f in fitted) and _is_plain(made, fitted):
                groups[number] = members, made
                break
        else:
            groups.append(([place], body))
    return groups


def alike(one: SpecBody, other: SpecBody) -> bool:
    """Return whether two bodies can be merged, with optional parts."""
    return len(with_options((one, other))) == 1


def fit(whole: SpecBody, body: SpecBody) -> SpecBody | None:
    """Return a body with all parts of another; those that it lacks are marked absent.

    None if it has parts that the other lacks.
    """
    said = _registered(whole)
    if _registered(body) not in (said, ()):
        return None
    pairs = _aligned(_tokens(whole), _tokens(body))
    lines: list[list[SpecItem]] = []
    times: list[Any] = []
    for mine, other in pairs:
        if mine is None:
            return None
        lacks = other is None and mine.repeats and not any(map(is_optional, mine.items))
        items = list(map(_without_numbers, mine.items)) if lacks else None
        if not lacks:
            items = _fitted(mine, other)
        if items is None:
            return None
        if mine.begins:
            lines.append([])
            times.append(0 if lacks else MISSING)
        lines[-1] += items
        if other is not None and times[-1] is MISSING:
            times[-1] = other.line.times
    rest = whole.lines[len(said) :]
    fitted = [
        replace(line, items=tuple(items), times=count)
        for line, items, count in zip(rest, lines, times, strict=True)
    ]
    return SpecBody((*said, *fitted))


def _registered(body: SpecBody) -> tuple[SpecLine, ...]:
    """Return the `register` line, if there is one."""
    first = body.lines[:1]
    return first if first and isinstance(first[0].items[0], SpecRegister) else ()


# ---- tokens, which are compared ------------------------------------------------------


@dataclass(frozen=True)
class _Token:
    """An item, or all items of a line that is repeated as a whole.

    Attributes:
        items: the items.
        line: the line that it stands on.
        begins: whether the line begins with it.
    """

    items: tuple[SpecItem, ...]
    line: SpecLine
    begins: bool

    @property
    def form(self) -> Any:
        """A key that aligned tokens share."""
        whole = len(self.items) > 1
        return whole, self.line.output, self.line.loop, tuple(map(_form, self.items))

    @property
    def repeats(self) -> bool:
        """Whether it is a whole line with a count, even if the count is 1."""
        return self.line.loop or self.line.times != 1

    @property
    def can_lack(self) -> bool:
        """Whether it can be left out."""
        plain = not self.line.output and len(self.items) == 1
        return plain and isinstance(self.items[0], SpecWord | SpecBraces | SpecMerge)


def _tokens(body: SpecBody) -> list[_Token]:
    found: list[_Token] = []
    for line in body.lines[len(_registered(body)) :]:
        if len(line.items) > 1 and (line.times != 1 or line.loop):
            found.append(_Token(line.items, line, True))
        else:
            for n, item in enumerate(line.items):
                found.append(_Token((item,), line, n == 0))
    return found


def _form(item: SpecItem) -> Any:
    """Return the form of an item; braces and residuals without their contents."""
    match item:
        case SpecWord():
            return form_of(SpecBody((SpecLine((replace(item, guard=None),)),)))
        case SpecBraces():
            return "braces", item.label, item.indexed
        case SpecMerge(word="residual"):
            return "residual", item.label, bool(_given(item))
        case SpecMerge():
            return item.word, item.label, item.args, len(item.branches)
        case _:
            return item


def _given(item: SpecMerge) -> list[str]:
    """Return the arguments of a residual, except the name of its projection."""
    return [name for name, _ in item.args if name != "projection"]


# ---- alignment -----------------------------------------------------------------------

_Pairs = list[tuple[_Token | None, _Token | None]]


def _aligned(one: Sequence[_Token], other: Sequence[_Token]) -> _Pairs:
    """Return the tokens of two bodies side by side, with most of them aligned."""
    left, right = ([token.form for token in some] for some in (one, other))
    rows, columns = len(one), len(other)
    best = [[0] * (columns + 1) for _ in range(rows + 1)]
    for i in reversed(range(rows)):
        for j in reversed(range(columns)):
            best[i][j] = max(best[i + 1][j], best[i][j + 1])
            if left[i] == right[j]:
                both = _likeness(one[i], other[j]) + best[i + 1][j + 1]
                best[i][j] = max(best[i][j], both)
    pairs: _Pairs = []
    i = j = 0
    while i < rows or j < columns:
        if i == rows or (j < columns and best[i][j] == best[i][j + 1]):
            pairs.append((None, other[j]))
            j += 1
        elif j == columns or best[i][j] == best[i + 1][j]:
            pairs.append((one[i], None))
            i += 1
        else:
            pairs.append((one[i], other[j]))
            i, j = i + 1, j + 1
    return pairs


def _likeness(one: _Token, other: _Token) -> int:
    """Return how many layers two tokens of the same form have in common, at least 1."""
    total = 1
    for mine, its in zip(one.items, other.items, strict=True):
        for left, right in _inner(mine, its) or ():
            pairs = _aligned(_tokens(left), _tokens(right))
            total += sum(
                _likeness(a, b) for a, b in pairs if a is not None and b is not None
            )
    return total


def _inner(one: SpecItem, other: SpecItem) -> list[tuple[SpecBody, SpecBody]] | None:
    """Return pairs of bodies in two items of the same form.

    None if their bodies cannot be paired.
    """
    if isinstance(one, SpecBraces) and isinstance(other, SpecBraces):
        return [(one.body, other.body)]
    if isinstance(one, SpecMerge) and isinstance(other, SpecMerge):
        mine, its = _side_by_side(one, other)
        if len(mine) != len(its):
            return None
        return list(zip(mine, its, strict=True))
    return []


def _side_by_side(
    one: SpecMerge, other: SpecMerge
) -> tuple[tuple[SpecBody, ...], tuple[SpecBody, ...]]:
    """Return the branches of two merges, with an empty one where one has one less."""
    mine, its = one.branches, other.branches
    if len(mine) > len(its) == 1 and not other.args:
        return mine, _beside(mine, its[0])
    if len(its) > len(mine) == 1 and not one.args:
        return _beside(its, mine[0]), its
    return mine, its


def _beside(branches: Sequence[SpecBody], only: SpecBody) -> tuple[SpecBody, ...]:
    """Return a single branch in the position of the most similar one."""

    def alike(place: int) -> int:
        pairs = _aligned(_tokens(branches[place]), _tokens(only))
        return sum(a is not None and b is not None for a, b in pairs)

    best = max(range(len(branches)), key=alike)
    return tuple(only if n == best else SpecBody() for n in range(len(branches)))


# ---- merging two bodies --------------------------------------------------------------


def _common(one: SpecBody, other: SpecBody) -> SpecBody | None:
    """Return a body with the parts of two; None if a part cannot be left out."""
    said = {*_registered(one), *_registered(other)}
    if len(said) > 1:
        return None
    lines: list[SpecLine] = []
    for mine, its in _aligned(_tokens(one), _tokens(other)):
        token = mine or its
        assert token is not None
        if mine is not None and its is not None:
            items = [_both(a, b) for a, b in zip(mine.items, its.items, strict=True)]
        elif token.repeats and not token.line.output:
            items = list(token.items)
        elif token.can_lack:
            items = [with_guard(token.items[0], True)]
        else:
            return None
        whole = tuple(item for item in items if item is not None)
        if len(whole) < len(items):
            return None
        if token.begins or not lines:
            lines.append(replace(token.line, items=whole))
        else:
            lines[-1] = replace(lines[-1], items=(*lines[-1].items, *whole))
    return SpecBody((*said, *lines))


def _both(one: SpecItem, other: SpecItem) -> SpecItem | None:
    bodies = _inner(one, other)
    if bodies is None:
        return None
    made = [_common(left, right) for left, right in bodies]
    whole = tuple(body for body in made if body is not None)
    if len(whole) < len(made):
        return None
    if isinstance(one, SpecBraces):
        return replace(one, body=whole[0])
    if isinstance(one, SpecMerge) and isinstance(other, SpecMerge):
        return replace(one, branches=whole, args=one.args or other.args)
    return one


def _fitted(whole: _Token, own: _Token | None) -> list[SpecItem] | None:
    """Return the items of a token, in the form that they have in the merged body."""
    if own is None:
        item = whole.items[0]
        return [_lacking(item)] if is_optional(item) else None
    found: list[SpecItem] = []
    for mine, its in zip(whole.items, own.items, strict=True):
        bodies = _inner(mine, its)
        if bodies is None:
            return None
        made = [fit(left, right) for left, right in bodies]
        inner = tuple(body for body in made if body is not None)
        if len(inner) < len(made):
            return None
        if isinstance(its, SpecBraces):
            its = replace(its, body=inner[0])
        elif isinstance(its, SpecMerge) and isinstance(mine, SpecMerge):
            its = replace(its, branches=inner, args=mine.args)
        found.append(with_guard(its, True if is_optional(mine) else None))
    return found


def _lacking(item: SpecItem) -> SpecItem:
    """Return a part marked as absent, and its numbers as absent, too."""
    return with_guard(_without_numbers(item), False)


def _without_numbers(item: SpecItem) -> SpecItem:
    def within(body: SpecBody) -> SpecBody:
        lines = [
            replace(line, items=tuple(map(_without_numbers, line.items)), times=MISSING)
            for line in body
        ]
        return SpecBody(tuple(lines))

    if isinstance(item, SpecWord):
        slots = [(n, MISSING if is_slot(item, v) else v) for n, v in item.slots]
        item = replace(item, slots=tuple(slots))
    elif isinstance(item, SpecBraces):
        item = replace(item, body=within(item.body))
    elif isinstance(item, SpecMerge):
        item = replace(item, branches=tuple(map(within, item.branches)))
    return with_guard(item, MISSING) if is_optional(item) else item


def _is_plain(whole: SpecBody, bodies: Sequence[SpecBody | None]) -> bool:
    """Return whether a merged body is easy to read: few options, many common parts."""
    there = [_presence(body) for body in bodies if body is not None]
    columns = list(zip(*there, strict=True))
    common = sum(map(all, columns))
    # Consecutive parts that are present in the same bodies are one option.
    runs = [one for n, one in enumerate(columns) if n == 0 or columns[n - 1] != one]
    options = sum(not all(one) for one in runs)
    enough = common >= _COMMON * len(columns)
    return options <= _MOST_OPTIONS and enough and not _has_choice(whole, columns)


def _has_choice(whole: SpecBody, columns: Sequence[tuple[bool, ...]]) -> bool:
    """Return whether some bodies have one part where others have another one."""
    words = [
        item.word if isinstance(item, SpecWord) else ""
        for item in all_items(whole)
        if not isinstance(item, SpecBraces | SpecMerge)
    ]
    ways = {one for one, word in zip(columns, words, strict=True) if word != "identity"}
    return any(tuple(not there for there in one) in ways for one in ways)


def _presence(body: SpecBody, there: bool = True) -> list[bool]:
    """Return for each layer and call of a body whether it is present."""
    found: list[bool] = []
    for line in body:
        for item in line.items:
            mine = (
                there
                and line.times != 0
                and (not is_optional(item) or item.guard is True)
            )
            if isinstance(item, SpecBraces):
                found += _presence(item.body, mine)
            elif isinstance(item, SpecMerge):
                for branch in item.branches:
                    found += _presence(branch, mine)
            else:
                found.append(mine)
    return found
