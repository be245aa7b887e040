"""Comments that silence rules, each with a reason.

At the end of a line, `# lint: allow W0101 the paper's stem` applies to the statements
that begin or end on that line. On a line of its own, it applies to the next statement
or definition, and above `arch 1` to the whole file. At the call of a block, it applies
to the layers of that call. In an imported file, it applies to that file's blocks,
wherever they are called.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Final, NamedTuple, TypeAlias

from archdsl.diagnostics import did_you_mean
from archdsl.source import Source, Span
from archdsl.syntax import tree as t

from .rule import BAD_ALLOW, STALE_ALLOW, all_rules
from .written import bodies_of

PAGES: Final = {
    BAD_ALLOW: f"{BAD_ALLOW} (bad-allow): a comment that is meant to silence a rule, "
    "but does not\n\nA comment that begins with `# lint:` must have the form `# "
    "lint: allow W0101 the reason`. Several codes are separated by commas. Each "
    "must be the code of a rule. The reason is for the next reader of the spec.",
    STALE_ALLOW: f"{STALE_ALLOW} (stale-allow): a comment that silences nothing\n\n"
    "The rule has no finding there any more, in any network of the file. The comment "
    "then describes something that is gone, and would hide a later finding. It is only "
    "reported if all networks of the file were checked as the file defines them, "
    "and not for a comment in a block that none of them calls. `--fix` removes it.",
}

_SIGN = re.compile(r"#|\"[^\"\n]*\"")
# Comments with small mistakes are found, too, so that none silently has no effect.
_MARK = re.compile(r"#[ \t]*lint(?::|[ \t]+(?:allow|ignore|disable|off)\b)", re.I)
_ALLOW = re.compile(
    r"# ?lint: allow (?P<codes>W\d{4}(?:, ?W\d{4})*)(?:[ \t]+(?P<reason>\S.*))?"
)


@dataclass
class Allow:
    """A comment that silences rules.

    Attributes:
        codes: codes of the rules.
        reason: the reason.
        span: the comment's place.
        ranges: the start and end offsets of what it applies to.
        used: the codes for which it silenced something.
    """

    codes: tuple[str, ...]
    reason: str
    span: Span
    ranges: tuple[tuple[int, int], ...]
    used: set[str] = field(default_factory=set)

    @property
    def stale(self) -> list[str]:
        """The codes for which it silenced nothing."""
        return [code for code in self.codes if code not in self.used]


class Allows:
    """Comments, indexed by what they apply to.

    Statements are nested, so only few ranges cover a place, however many there are. All
    comments that apply to the same range have the same effect.
    """

    def __init__(self, found: Iterable[Allow]) -> None:
        self._by_range: dict[_Range, list[Allow]] = {}
        for allow in found:
            for start, end in allow.ranges:
                for code in allow.codes:
                    key = (id(allow.span.source), code, start, end)
                    self._by_range.setdefault(key, []).append(allow)
        self._parts = _parts(self._by_range)
        self._used: set[_Range] = set()

    def silence(self, code: str, places: Iterable[Span]) -> bool:
        """Return whether a comment applies to a place, and mark all that do as used."""
        if not self._by_range:
            return False
        ranges = {each for place in places for each in self._around(code, place)}
        for each in ranges - self._used:
            for allow in self._by_range[each]:
                allow.used.add(code)
        self._used |= ranges
        return bool(ranges)

    def _around(self, code: str, place: Span) -> Sequence[_Range]:
        bounds, covered = self._parts.get((id(place.source), code), ((), ()))
        part = bisect_right(bounds, place.start) - 1
        return covered[part] if part >= 0 else ()


# The identity of a text, the code of a rule, and the start and end of a range.
_Range: TypeAlias = tuple[int, str, int, int]
# The starts of parts of a text, and the ranges that cover each part.
_Parts: TypeAlias = tuple[Sequence[int], Sequence[Sequence[_Range]]]


def _parts(ranges: Iterable[_Range]) -> Mapping[tuple[int, str], _Parts]:
    """Split texts into parts within which the same ranges cover every place."""
    turns: dict[tuple[int, str], dict[int, list[_Range]]] = {}
    for each in ranges:
        source, code, *ends = each
        for end in ends:
            turns.setdefault((source, code), {}).setdefault(end, []).append(each)
    return {key: _swept(each) for key, each in turns.items()}


def _swept(turns: Mapping[int, list[_Range]]) -> _Parts:
    bounds = sorted(turns)
    covered: list[Sequence[_Range]] = []
    around: dict[_Range, None] = {}
    for at in bounds:
        for each in turns[at]:
            if each[2] == at:
                around[each] = None
            else:
                del around[each]
        covered.append(tuple(around))
    return bounds, covered


class Mistake(NamedTuple):
    """An error in such a comment."""

    span: Span
    message: str
    help: str


def allows(file: t.File) -> tuple[list[Allow], list[Mistake]]:
    """Return the comments of a file that silence rules, and the errors in such
    comments.
    """
    source = file.source
    found: list[Allow] = []
    mistakes: list[Mistake] = []
    if "lint" not in source.text.lower():
        return found, mistakes
    extents = _Extents(file)
    for start, end in comments(source):
        if not _MARK.match(source.text, start, end):
            continue
        span = Span(source, start, end)
        read = _ALLOW.fullmatch(span.text)
        mistake = _mistake(span, read)
        if mistake is not None:
            mistakes.append(mistake)
            continue
        assert read is not None
        codes = tuple(re.split(r", ?", read["codes"]))
        ranges = tuple(_about(source, start, extents))
        found.append(Allow(codes, read["reason"].strip(), span, ranges))
    return found, mistakes


def _mistake(span: Span, read: re.Match[str] | None) -> Mistake | None:
    form = "write `# lint: allow W0101 the reason`, several codes with commas"
    if read is None:
        return Mistake(
            span, "this comment does not have the form that silences a rule", form
        )
    for code in read["codes"].replace(" ", "").split(","):
        if code not in all_rules():
            near = did_you_mean(code, all_rules())
            help = near or "`archdsl lint --list` shows all rules"
            return Mistake(span, f"there is no rule `{code}`", help)
    if not read["reason"]:
        return Mistake(span, "a rule is silenced without a reason", form)
    return None


def comments(source: Source) -> Iterator[tuple[int, int]]:
    """Yield the start and end of each comment in a text."""
    text, at = source.text, 0
    while match := _SIGN.search(text, at):
        at = match.end()
        if match[0] == "#":
            end = text.find("\n", at)
            at = len(text) if end < 0 else end
            yield match.start(), match.start() + len(text[match.start() : at].rstrip())


def _about(source: Source, at: int, extents: _Extents) -> Iterator[tuple[int, int]]:
    """Yield the ranges of a text that a comment at an offset applies to."""
    text = source.text
    begin = text.rfind("\n", 0, at) + 1
    if text[begin:at].strip():
        yield begin, at
        yield from extents.touching(begin, at)
    elif not extents.begins_before(at):
        if extents.next(at):
            yield 0, len(text)  # only comments precede it
    elif following := extents.next(at):
        yield following


class _Extents:
    """The starts and ends of a file's items and statements, for searching."""

    def __init__(self, file: t.File) -> None:
        self._by_start = sorted(_extents(file))
        self._by_end = sorted(self._by_start, key=itemgetter(1))

    def begins_before(self, at: int) -> bool:
        """Whether anything begins before an offset."""
        return bool(self._by_start) and self._by_start[0][0] < at

    def next(self, at: int) -> tuple[int, int] | None:
        """Return the longest of those that begin first after an offset."""
        first = bisect_right(self._by_start, at, key=itemgetter(0))
        if first == len(self._by_start):
            return None
        start = self._by_start[first][0]
        behind = bisect_right(self._by_start, start, first, key=itemgetter(0))
        return self._by_start[behind - 1]

    def touching(self, begin: int, end: int) -> set[tuple[int, int]]:
        """Return those that begin or end on a line."""
        first = bisect_left(self._by_start, begin, key=itemgetter(0))
        behind = bisect_left(self._by_start, end, first, key=itemgetter(0))
        found = {*self._by_start[first:behind]}
        first = bisect_right(self._by_end, begin, key=itemgetter(1))
        behind = bisect_right(self._by_end, end, first, key=itemgetter(1))
        return found.union(self._by_end[first:behind])


def _extents(file: t.File) -> Iterator[tuple[int, int]]:
    """Yield the start and end of each item and statement of a file."""
    text = file.source.text
    for item in file.items:
        start, end = item.span.start, item.span.end
        if isinstance(item, t.Definition):
            yield _of_definition(item)
            yield from _of_body(item.body)
            continue
        elif isinstance(item, t.Preset) and item.expect is not None:
            end = item.expect.span.end
        elif isinstance(item, t.OpDef) and item.settings:
            end = item.settings[-1].value.span.end
        elif isinstance(item, t.FunctionDef):
            end = item.value.span.end
        # An item's span is that of its name, so its first words precede it.
        yield text.rfind("\n", 0, start) + 1, end


def definitions(file: t.File) -> Iterator[tuple[int, int]]:
    """Yield the start and end of each block and network of a file."""
    return (_of_definition(each) for each in file.definitions())


def _of_definition(item: t.Definition) -> tuple[int, int]:
    text = item.span.source.text
    return text.rfind("\n", 0, item.span.start) + 1, item.body.span.end


def _of_body(body: t.Body) -> Iterator[tuple[int, int]]:
    for branch in body.branches:
        for statement in branch.statements:
            yield from _of_statement(statement)


def _of_statement(statement: t.Statement) -> Iterator[tuple[int, int]]:
    start, end = statement.span.start, statement.span.end
    if isinstance(statement, t.For):
        end = statement.body.span.end
        yield from _of_body(statement.body)
    elif isinstance(statement, t.If):
        for body in bodies_of(statement):
            end = max(end, body.span.end)
            yield from _of_body(body)
    elif isinstance(statement, t.Let):
        end = statement.value.span.end
    elif isinstance(statement, t.Chain | t.Output):
        chain = statement if isinstance(statement, t.Chain) else statement.chain
        for step in chain.steps:
            inner = step.body if isinstance(step, t.Call | t.BracedGroup) else None
            if inner is not None:
                yield from _of_body(inner)
    yield start, end
