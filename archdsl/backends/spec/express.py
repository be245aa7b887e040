"""Expressions for values of rows.

A row is one call of a block, or one copy of a repeat; see `rows`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from archdsl.backends.spec.parts import ANY, PartName
from archdsl.backends.spec.rows import InnerRows, ItemRows, RowsDiffer
from archdsl.conditions import Joined, Not, Relation, Test, Truth
from archdsl.elaborate.bind import bind_layer
from archdsl.elaborate.faults import Fault
from archdsl.elaborate.references import BlockRef, BodyRef, KindRef
from archdsl.ir import Named
from archdsl.layer import Layer
from archdsl.naming import input_name
from archdsl.source import Source, Span
from archdsl.symbolic import Atom, Poly, Sym, SymFloat, TooLong
from archdsl.syntax import tree as t
from archdsl.values import Dims, show_shape

# Values without an expression: blocks are called by name, and bodies are written out.
_WITHOUT_TEXT: Final = (BlockRef, BodyRef)
_NUMBERS = re.compile(r"([0-9]+)")
# Up to this many rounds of a loop, a table reads better than a test for the first.
_FEW: Final = 2
# Longer expressions of the network's parameters are replaced by their value.
LONGEST: Final = 40
# The precedence of an expression that never needs brackets.
ATOM: Final = 3
_SUM: Final = 1
_TEST: Final = 0


@dataclass(frozen=True)
class KindValue:
    """A layer kind as a value, with its arguments."""

    layer: type[Layer]
    arguments: tuple[tuple[str, Any], ...]

    def fits(self, op: Layer) -> bool:
        """Return whether a layer is of this kind and has exactly these arguments."""
        made = self.layer(**dict(self.arguments))
        return type(op) is self.layer and all(
            same_value(value, getattr(op, name)) or (name == "bias" and value is None)
            for name, value in vars(made).items()
        )


def known_value(value: Any) -> Any:
    """Return a parameter's value in the form used here; ANY if it has no text."""
    if isinstance(value, KindRef):
        return _kind_value(value)
    if isinstance(value, Named):
        return ANY if value.kind is None else KindValue(value.kind, ())
    if isinstance(value, _WITHOUT_TEXT):
        return ANY
    if isinstance(value, tuple) and not isinstance(value, Dims):
        parts = tuple(known_value(part) for part in value)
        return ANY if any(part is ANY for part in parts) else parts
    return value


def _kind_value(value: KindRef) -> Any:
    """Return a kind with its arguments; ANY if some of them are still missing."""
    if not value.bound:
        return KindValue(value.kind, ())
    _, context = next(iter(value.bound.values()))
    span = Span(Source("", ""), 0, 0)
    call = t.Call(word=value.kind.word, angle=None, args=[], body=None, span=span)
    try:
        made = bind_layer(call, value, context)
    except Fault:
        return ANY
    return KindValue(
        value.kind, tuple([(name, getattr(made, name)) for name in value.bound])
    )


def same_value(one: Any, other: Any) -> bool:
    """Return whether two values are equal and of the same type."""
    for kind in (bool, float, str, Dims):
        if isinstance(one, kind) != isinstance(other, kind):
            return False
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(same_value, one, other))
    return bool(one == other)


def poly_of_value(value: Any) -> Poly | None:
    """Return the expression that a number or size carries, or None."""
    if isinstance(value, Sym):
        return value.poly
    if isinstance(value, tuple) and value and all(isinstance(v, Sym) for v in value):
        polys = [v.poly for v in value]
        return polys[0] if all(poly == polys[0] for poly in polys) else None
    return None


@dataclass(eq=False)
class RowScope:
    """The names that may be used at one place, with their values for each row.

    Attributes:
        count: the number of rows.
        names: parameters and loop variables, the innermost last.
        used: the names used so far, shared by all scopes of a block.
        taken: all names in use, shared likewise.
        lets: the expressions of values named by `let`, the same for all rows.
        level: number of groups between this place and its block.
        entries: for each of these groups, the expression of its input channels.
        around: the enclosing scope, for a loop or braces.
        parents: for each row, its row in the enclosing scope and the loop index.
        loop: the variable of a loop that can have a table of values.
        fixed: whether its number of rounds is independent of parameters.
        table: the columns of this table by name, with a value for each row.
        values: the values named by `let`, for each row.
        extra: parameters that the text adds; None where it cannot add any.
        tests: for each call, the conditions that decided what the block contains.
        entry: the name of the block's input channels, for conditions on them.
    """

    count: int
    names: dict[str, list[Any]]
    used: set[str]
    taken: set[str]
    lets: dict[str, Poly] = field(default_factory=dict)
    level: int = 0
    entries: dict[str, Poly] = field(default_factory=dict)
    around: RowScope | None = None
    parents: list[tuple[int, int]] = field(default_factory=list)
    loop: str = ""
    fixed: bool = True
    table: dict[str, list[Any]] = field(default_factory=dict)
    values: dict[str, list[int]] = field(default_factory=dict)
    extra: dict[str, list[Any]] | None = None
    tests: Sequence[Mapping[Test, bool]] = ()
    entry: str = ""

    def inside(self, parents: Sequence[tuple[int, int]], loop: str = "") -> RowScope:
        """Return the scope of the rows within braces, or of a loop's rounds."""
        names = {n: [v[row] for row, _ in parents] for n, v in self.names.items()}
        if loop:
            names[loop] = [copy for _, copy in parents]
        values = {n: [v[row] for row, _ in parents] for n, v in self.values.items()}
        return RowScope(
            len(parents),
            names,
            self.used,
            self.taken,
            dict(self.lets),
            self.level,
            dict(self.entries),
            self,
            list(parents),
            loop,
            values=values,
        )

    def within(self, inner: InnerRows, items: ItemRows) -> RowScope:
        """Return the scope within braces that are a namespace."""
        inside = self.inside(inner.parents)
        inside.level += 1
        flow = Texts(self, items.channels).flow()
        if flow is not None:
            inside.entries[input_name(inside.level)] = flow
        return inside

    def fresh(self, word: str) -> str:
        """Return a name that is not taken, and take it."""
        name, number = word, 1
        while name in self.taken:
            number += 1
            name = f"{word}{number}"
        self.taken.add(name)
        return name

    def known(self) -> Iterator[tuple[str, list[Any]]]:
        """Yield names with their values, the innermost first."""
        yield from reversed(self.names.items())
        scope: RowScope | None = self
        rows = list(range(self.count))
        while scope is not None:
            for name, values in {**scope.table, **(scope.extra or {})}.items():
                yield name, [values[row] for row in rows]
            rows = [scope.parents[row][0] for row in rows] if scope.parents else rows
            scope = scope.around

    def column(self, values: Sequence[Any], word: str) -> str | None:
        """Return a name for a column of the innermost loop's table."""
        if self.around is None:
            return None
        if not self.loop:
            return self.around.column(self._lifted(values), word)
        if not self.fixed:
            return None
        numbers = {row: 0 for row in range(self.around.count)}
        for row, _ in self.parents:
            numbers[row] += 1
        if len(set(numbers.values())) > 1:
            return None  # the table would be as long for all
        try:
            for column in self.rounds(values):
                Texts(self.around, [None] * self.around.count).value(column, word)
        except RowsDiffer:
            return None
        name = self.fresh(word)
        self.table[name] = list(values)
        return name

    def parameter(self, values: Sequence[Any], word: str) -> str | None:
        """Return the name of an added parameter with a value for each call."""
        if self.around is not None:
            return self.around.parameter(self._lifted(values), word)
        known = [value for value in values if value is not ANY]
        if self.extra is None or not known or not all(map(_is_plain, known)):
            return None
        name = self.fresh(word)
        self.extra[name] = [_plain(known[0] if v is ANY else v) for v in values]
        return name

    def _lifted(self, values: Sequence[Any]) -> list[Any]:
        """Return the values for the rows of the enclosing scope."""
        assert self.around is not None
        found = [ANY] * self.around.count
        for (row, _), value in zip(self.parents, values, strict=True):
            if value is ANY:
                continue
            if found[row] is not ANY and not same_value(found[row], value):
                raise RowsDiffer  # rounds of the same loop differ
            found[row] = value
        return found

    @property
    def outermost(self) -> RowScope:
        """The scope of the block's or network's body."""
        scope = self
        while scope.around is not None:
            scope = scope.around
        return scope

    @property
    def is_network(self) -> bool:
        """Whether this is in the network's own body, not in a block."""
        return self.outermost.extra is None

    def loops(self) -> set[str]:
        """Return the variables of the enclosing loops."""
        found: set[str] = set()
        scope: RowScope | None = self
        while scope is not None:
            found.add(scope.loop)
            scope = scope.around
        return found

    def test(self, chosen: set[int], *, obvious: bool = False) -> str | None:
        """Return a test that holds exactly for some of the rows.

        Args:
            chosen: the rows.
            obvious: whether only truth values and the first round of a loop may be
                tested.
        """
        loops = self.loops()
        for name, values in (*self.known(), *self.values.items()):
            if obvious and name in loops:
                if {values[row] for row in chosen} != {0}:
                    continue
            elif obvious and not all(isinstance(value, bool) for value in values):
                continue
            text = _separation(name, values, chosen)
            if text is not None:
                self.used.add(name)
                return text
        return None

    def decisive(self, chosen: set[int], others: set[int]) -> list[Test]:
        """Return conditions of the block that separate rows from others.

        Args:
            chosen: the rows for which they hold.
            others: those for which they fail.
        """
        rows = list(range(self.count))
        scope = self
        while scope.around is not None:
            rows = [scope.parents[row][0] for row in rows]
            scope = scope.around
        if not scope.tests or not chosen or not others:
            return []
        calls = [scope.tests[row] for row in rows]
        return [
            test
            for test in calls[min(chosen)]
            if all(calls[row].get(test) is True for row in chosen)
            and all(calls[row].get(test) is False for row in others)
        ]

    def rounds(self, values: Sequence[Any]) -> list[list[Any]]:
        """Return a column's values in all rounds, for each row around the loop."""
        assert self.around is not None
        most = max(copy for _, copy in self.parents) + 1
        found = [[ANY] * self.around.count for _ in range(most)]
        for (row, copy), value in zip(self.parents, values, strict=True):
            found[copy][row] = value
        return found


class Texts:
    """Writes the values of rows in one scope.

    Args:
        scope: the names that may be used.
        flowing: the input channels there, for each row.
    """

    def __init__(self, scope: RowScope, flowing: Sequence[int | None]) -> None:
        self.scope = scope
        self.flowing = flowing

    def value(self, values: Sequence[Any], word: str = "value") -> tuple[str, int]:
        """Return an expression for a value of each row, with its precedence.

        Args:
            values: one per row; ANY where the value does not matter.
            word: the name of a column or parameter that has to be added.

        Raises:
            RowsDiffer: if there is none.
        """
        rows = [row for row, value in enumerate(values) if value is not ANY]
        if not rows:
            return "0", ATOM
        if isinstance(values[rows[0]], KindValue):
            found = self._kind_parameter(values, rows)
            if found is not None:
                return found
        found = (
            self._computed(values, rows)
            or self._constant(values, rows)
            or self._named(values, rows)
            or self._counted(values, rows)
            or self._decided(values, rows)
            or self._chosen(values, rows, obvious=True)
            or self._column(values, word)
            or (
                self._parameter(values, word) if self._are_plain(values, rows) else None
            )
            or self._by_round(values, word)
            or self._chosen(values, rows, obvious=False)
            or self._parameter(values, word)
        )
        if found is None:
            raise RowsDiffer
        return found

    def _constant(
        self, values: Sequence[Any], rows: list[int]
    ) -> tuple[str, int] | None:
        first = values[rows[0]]
        if all(same_value(values[row], first) for row in rows):
            return literal(first)
        return None

    def _computed(
        self, values: Sequence[Any], rows: list[int]
    ) -> tuple[str, int] | None:
        """Return an expression carried by all values."""
        first = values[rows[0]]
        if isinstance(first, SymFloat):
            names = {getattr(values[row], "name", "") for row in rows}
            return self._use(first.name) if names == {first.name} else None
        poly = poly_of_value(first)
        if poly is None:
            return None
        for row in rows:
            other = poly_of_value(values[row])
            if other is None or other != poly:
                return None
        return self.poly(poly, sizes=isinstance(first, tuple))

    def _named(self, values: Sequence[Any], rows: list[int]) -> tuple[str, int] | None:
        """Return a name that has the value in all rows."""
        for name, known in self.scope.known():
            if all(_alike(known[row], values[row]) for row in rows):
                return self._use(name)
        flow = self.flowing
        if all(_is_count(values[r]) and values[r] == flow[r] for r in rows):
            return "channels", ATOM
        return None

    def _kind_parameter(
        self, values: Sequence[Any], rows: list[int]
    ) -> tuple[str, int] | None:
        """Return a parameter that is a kind, unless it matches only by chance."""
        for name, known in self.scope.known():
            everywhere = self.scope.outermost.names.get(name, ())
            if all(same_value(value, values[rows[0]]) for value in everywhere) and all(
                _alike(known[row], values[row]) for row in rows
            ):
                return self._use(name)
        return None

    def _counted(
        self, values: Sequence[Any], rows: list[int]
    ) -> tuple[str, int] | None:
        """Return the index of a loop plus a constant."""
        if not all(_is_count(values[row]) for row in rows):
            return None
        loops = self.scope.loops()
        for name, known in reversed(self.scope.names.items()):
            differences = (
                {int(values[r]) - known[r] for r in rows} if name in loops else ()
            )
            if len(differences) == 1:
                by = next(iter(differences))
                self._use(name)
                return f"{name} {'+' if by > 0 else '-'} {abs(by)}", _SUM
        return None

    def _column(self, values: Sequence[Any], word: str) -> tuple[str, int] | None:
        """Return the name of a column in a loop's table."""
        if any(isinstance(value, KindValue) and value.arguments for value in values):
            return None
        name = self.scope.column(values, word)
        return None if name is None else self._use(name)

    def _are_plain(self, values: Sequence[Any], rows: list[int]) -> bool:
        """Return whether no value carries an expression."""
        return all(
            poly_of_value(values[row]) is None and not isinstance(values[row], SymFloat)
            for row in rows
        )

    def _chosen(
        self, values: Sequence[Any], rows: list[int], *, obvious: bool
    ) -> tuple[str, int] | None:
        """Return a choice between two expressions, by a test of names."""
        first = [row for row in rows if _kindred(values[row], values[rows[0]])]
        rest = [row for row in rows if row not in first]
        if not rest or any(not _kindred(values[row], values[rest[0]]) for row in rest):
            return None
        if obvious and len(rows) <= _FEW:
            return None  # a table is no longer
        yes = [v if row in first else ANY for row, v in enumerate(values)]
        no = [v if row in rest else ANY for row, v in enumerate(values)]
        try:
            sides = self._simple(yes), self._simple(no)
        except RowsDiffer:
            return None
        # The test may give either result for rows whose value does not matter.
        others = {row for row in range(self.scope.count) if row not in rest}
        test = self.scope.test(set(first), obvious=obvious) or self.scope.test(
            others, obvious=obvious
        )
        if test is None:
            return None
        return f"{sides[0]} if {test} else {sides[1]}", _TEST

    def _decided(
        self, values: Sequence[Any], rows: list[int]
    ) -> tuple[str, int] | None:
        """Return a choice between two expressions, by a condition of the block."""
        first = [row for row in rows if _kindred(values[row], values[rows[0]])]
        rest = [row for row in rows if row not in first]
        for chosen, others in ((first, rest), (rest, first)):
            test = self.decision(set(chosen), set(others))
            if test is None:
                continue
            sides = [
                [v if row in side else ANY for row, v in enumerate(values)]
                for side in (chosen, others)
            ]
            try:
                yes, no = map(self._simple, sides)
            except RowsDiffer:
                continue
            return f"{yes} if {test} else {no}", _TEST
        return None

    def _by_round(self, values: Sequence[Any], word: str) -> tuple[str, int] | None:
        """Return a value for the first round of a loop, and one for the others."""
        for loop in self.scope.loops() & self.scope.names.keys():
            rounds = self.scope.names[loop]
            if 0 not in rounds or not any(rounds):
                continue
            sides = [
                [
                    value if bool(at) == later else ANY
                    for value, at in zip(values, rounds, strict=True)
                ]
                for later in (False, True)
            ]
            texts = [self._side_of(side, word) for side in sides]
            if None not in texts:
                self._use(loop)
                return f"{texts[0]} if {loop} == 0 else {texts[1]}", _TEST
        return None

    def _side_of(self, values: Sequence[Any], word: str) -> str | None:
        try:
            return self._simple(values)
        except RowsDiffer:
            found = self._parameter(values, word)
            return None if found is None else found[0]

    def _parameter(self, values: Sequence[Any], word: str) -> tuple[str, int] | None:
        """Return the name of an added parameter."""
        try:
            name = self.scope.parameter(values, word)
        except RowsDiffer:
            return None
        return None if name is None else self._use(name)

    def _simple(self, values: Sequence[Any]) -> str:
        rows = [row for row, value in enumerate(values) if value is not ANY]
        found = self._computed(values, rows) or self._constant(values, rows)
        found = found or self._named(values, rows)
        if found is None:
            raise RowsDiffer
        return found[0]

    def _use(self, name: str) -> tuple[str, int]:
        self.scope.used.add(name)
        return name, ATOM

    # ---- expressions of parameters

    def poly(self, poly: Poly, *, sizes: bool = False) -> tuple[str, int] | None:
        """Return the text of an expression; None if it cannot be written here.

        Args:
            poly: the expression.
            sizes: whether it is one side of a size such as 3x3, which a name can mean.
        """
        number = poly.number
        if number is not None:
            return literal(number)
        for name, known in self.scope.lets.items():
            if known == poly:
                return self._use(name)
        written = self._in_names(poly)
        if written is None:
            return None
        if self.scope.is_network and len(written.text()) > LONGEST:
            return None
        for name in written.names() - {"channels"}:
            self.scope.used.add(name)
        is_name = written.is_name
        if not (is_name and sizes):
            sides = self._sides(written.names())
            written, is_name = written.substitute(sides), is_name and not sides
        return written.text(), ATOM if is_name else _SUM

    def _sides(self, names: Iterable[str]) -> dict[str, Poly]:
        """Return the symbols for the equal sides of sizes with a name."""
        known = self.scope.names
        return {
            name: Poly.name(f"{name}[0]")
            for name in names
            if any(isinstance(value, Dims) for value in known.get(name, ()))
        }

    def _in_names(self, poly: Poly) -> Poly | None:
        """Return an expression in the names known here."""
        allowed = {*self.scope.names, *self.scope.lets}
        if poly.names() <= allowed:
            return poly
        flow = self.flow()
        if flow is not None and flow == poly:
            return Poly.name("channels")
        outer = None if flow is None else self._outside(flow)
        bindings: dict[str, Poly] = {}
        for level in range(self.scope.level + 1):
            own = input_name(level)
            if own not in poly.names():
                continue
            name = next(
                (n for n, p in self.scope.lets.items() if p == Poly.name(own)), None
            )
            if Poly.name(own) in (flow, outer):
                bindings[own] = Poly.name("channels")
            elif name is not None:
                bindings[own] = Poly.name(name)
        try:
            found = poly.substitute(bindings)
            if found.names() <= {*allowed, "channels"}:
                return found
            return self._by_flow(poly, flow, allowed)
        except TooLong:
            return None

    def _by_flow(self, poly: Poly, flow: Poly | None, allowed: set[str]) -> Poly | None:
        """Return an expression, with a part of it replaced by the input channels."""
        if flow is None or len(flow.terms) != 1:
            return None
        (monomial, factor) = flow.terms[0]
        if factor != 1 or len(monomial) != 1:
            return None
        found = _replaced(poly, monomial[0])
        return found if found.names() <= {*allowed, "channels"} else None

    def _outside(self, flow: Poly) -> Poly:
        """Return the input channels in the block's names."""
        for level in range(self.scope.level, 0, -1):
            own = input_name(level)
            if flow == Poly.name(own) and own in self.scope.entries:
                flow = self.scope.entries[own]
        return flow

    def flow(self) -> Poly | None:
        """Return the expression of the input channels, if rows share it."""
        polys = {
            value.poly if isinstance(value, Sym) else None for value in self.flowing
        }
        return polys.pop() if len(polys) == 1 else None

    # ---- tests, labels, words

    def test(self, tests: Sequence[Test | None]) -> str:
        """Return a condition shared by all rows.

        Raises:
            RowsDiffer: if they share none.
        """
        first = tests[0]
        if first is None or any(repr(test) != repr(first) for test in tests):
            raise RowsDiffer
        return self._test(first)

    def decision(self, chosen: set[int], others: set[int]) -> str | None:
        """Return a condition of the block that separates rows from others, if any.

        Args:
            chosen: the rows for which it holds.
            others: those for which it fails.
        """
        scope, used = self.scope, set(self.scope.used)
        tests = scope.decisive(chosen, others)
        entry, own = scope.outermost.entry, Poly.name(input_name(0))
        lets = scope.lets
        for names in (lets, {entry: own, **lets}) if entry else (lets,):
            scope.lets = names
            for test in tests:
                try:
                    return self._test(test)
                except RowsDiffer:
                    scope.used.intersection_update(used)
                finally:
                    scope.lets = lets
        return None

    def _test(self, test: Test) -> str:
        match test:
            case Relation(left, op, right):
                return f"{self._side(left)} {op} {self._side(right)}"
            case Truth(name):
                if name not in self.scope.names:
                    raise RowsDiffer
                return self._use(name)[0]
            case Not(inner):
                return f"not ({self._test(inner)})"
            case Joined(op, tests):
                parts = [
                    f"({self._test(one)})"
                    if isinstance(one, Joined)
                    else self._test(one)
                    for one in tests
                ]
                return f" {op} ".join(parts)

    def _side(self, side: Poly | float) -> str:
        found = self.poly(side) if isinstance(side, Poly) else literal(side)
        if found is None:
            raise RowsDiffer
        return found[0]

    def label(self, names: Sequence[PartName]) -> str:
        """Return a label, with expressions in braces where rows differ.

        Raises:
            RowsDiffer: if they differ in more than numbers.
        """
        pieces = [_pieces(name) for name in names]
        first = pieces[0]
        if any(len(one) != len(first) for one in pieces):
            raise RowsDiffer
        text = ""
        for column in zip(*pieces, strict=True):
            if all(
                piece == column[0] and not isinstance(piece, Sym) for piece in column
            ):
                text += str(column[0])
            elif all(isinstance(piece, int) for piece in column):
                text += f"{{{self.value(column, 'number')[0]}}}"
            else:
                raise RowsDiffer
        return text

    def kind(self, values: Sequence[Layer]) -> str | None:
        """Return the name of a kind that makes the layers of all rows."""
        for name, known in self.scope.names.items():
            if all(
                isinstance(kind, KindValue) and kind.fits(op)
                for kind, op in zip(known, values, strict=True)
            ):
                return self._use(name)[0]
        return None


def _pieces(name: PartName) -> list[str | int]:
    """Split a name into texts and numbers."""
    if name.pattern:
        return _by_pattern(name)
    found: list[str | int] = []
    for piece in _NUMBERS.split(name.text):
        is_number = piece.isdigit() and str(int(piece)) == piece
        found.append(int(piece) if is_number else piece)
    return found


def _by_pattern(name: PartName) -> list[str | int]:
    """Split a name into texts, and numbers with their expressions."""
    groups = [
        "([0-9]+)" if isinstance(p, Poly) else f"({re.escape(p)})" for p in name.pattern
    ]
    match = re.fullmatch("".join(groups), name.text)
    if match is None:
        return [name.text]
    found: list[str | int] = []
    for part, text in zip(name.pattern, match.groups(), strict=True):
        if isinstance(part, Poly):
            found.append(Sym(int(text), part))
        else:
            found += _pieces(PartName(text))
    return found


def _replaced(poly: Poly, atom: Atom) -> Poly:
    """Return an expression with `channels` in place of a term."""
    total = Poly(())
    for monomial, factor in poly.terms:
        product = Poly.constant(factor)
        for own in monomial:
            product = product * _replaced_atom(own, atom)
        total = total + product
    return total


def _replaced_atom(own: Atom, atom: Atom) -> Poly:
    if own == atom:
        return Poly.name("channels")
    if not own.args:
        return Poly.atom(own)
    args = tuple(
        _replaced(arg, atom) if isinstance(arg, Poly) else arg for arg in own.args
    )
    return Poly.atom(Atom(own.op, args))


def _alike(known: Any, value: Any) -> bool:
    if known is ANY:
        return False
    if isinstance(value, Dims) and _is_count(known):
        return all(same_value(known, part) for part in value)
    return same_value(known, value)


def _kindred(one: Any, other: Any) -> bool:
    """Return whether one expression can give both values."""
    poly, its = poly_of_value(one), poly_of_value(other)
    if poly is None or its is None:
        return poly is its and same_value(one, other)
    return poly == its


def _separation(name: str, values: Sequence[Any], chosen: set[int]) -> str | None:
    """Return a test of one name that holds exactly for the chosen rows."""
    if any(value is ANY for value in values):
        return None
    yes = [value for row, value in enumerate(values) if row in chosen]
    no = [value for row, value in enumerate(values) if row not in chosen]
    if not yes or not no:
        return None
    if all(isinstance(value, bool) for value in values):
        if len({*yes}) == len({*no}) == 1 and yes[0] != no[0]:
            return name if yes[0] else f"not {name}"
        return None
    if not all(map(_is_count, values)) or not {*yes}.isdisjoint(no):
        return None
    if len({*yes}) == 1:
        return f"{name} == {int(yes[0])}"
    if len({*no}) == 1:
        return f"{name} != {int(no[0])}"
    if max(yes) < min(no):
        return f"{name} <= {int(max(yes))}"
    if max(no) < min(yes):
        return f"{name} >= {int(min(yes))}"
    return f"{name} in [{', '.join(str(int(v)) for v in sorted({*yes}))}]"


def _is_plain(value: Any) -> bool:
    return isinstance(value, int | float | Dims | KindValue)


def _plain(value: Any) -> Any:
    """Return a value without its expression."""
    if isinstance(value, Dims):
        return Dims(int(part) for part in value)
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)
    return float(value) if isinstance(value, float) else value


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def literal(value: Any) -> tuple[str, int]:
    """Return a value as a spec writes it.

    Raises:
        RowsDiffer: if it has no text.
    """
    if value is ANY:
        raise RowsDiffer
    if isinstance(value, bool):
        return ("true" if value else "false"), ATOM
    if isinstance(value, int):
        return str(int(value)), ATOM if value >= 0 else _SUM
    if isinstance(value, float):
        text = repr(float(value))
        return text, ATOM if value >= 0 else _SUM
    if isinstance(value, str):
        return f'"{value}"', ATOM
    if isinstance(value, KindValue):
        given = ", ".join(f"{n} = {_argument(v)}" for n, v in value.arguments)
        return f"{value.layer.word}<{given}>" if given else value.layer.word, ATOM
    if isinstance(value, Dims):
        return show_shape(value), ATOM
    if isinstance(value, tuple):
        return f"[{', '.join(literal(part)[0] for part in value)}]", ATOM
    raise RowsDiffer


def _argument(value: Any) -> str:
    return show_shape(value) if isinstance(value, tuple) else literal(value)[0]


def window(value: tuple[int, ...]) -> str:
    """Return sizes; one number if they are equal."""
    return str(int(value[0])) if len(set(value)) == 1 else show_shape(value)
