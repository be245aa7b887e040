"""The text of a block or network."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from archdsl.backends.spec.express import (
    ATOM,
    LONGEST,
    RowScope,
    Texts,
    known_value,
    literal,
    window,
)
from archdsl.backends.spec.parts import ANY, ChainItem, arguments_of
from archdsl.backends.spec.rows import Case, Chains, InnerRows, ItemRows, RowsDiffer
from archdsl.ir import Group
from archdsl.layer import Field, Layer
from archdsl.naming import input_name, is_identifier
from archdsl.symbolic import Poly, Sym
from archdsl.values import Dims, channels

_LOOPS = ("i", "j", "k", "m", "n")
_ROOM = 60
_OLD = re.compile(r'"[^"]*"').findall


@dataclass(frozen=True)
class Header:
    """The header of a block.

    Attributes:
        word: its name.
        params: its parameters in order, each with its default as text, or None.
    """

    word: str
    params: tuple[tuple[str, str | None], ...]


class BodyWriter:
    """Writes the body of a block or network.

    Args:
        headers: the headers of blocks, by name.
    """

    def __init__(self, headers: dict[str, Header]) -> None:
        self.headers = headers

    def body(
        self, inner: InnerRows, groups: Sequence[Group], scope: RowScope
    ) -> list[str]:
        """Return the statements of namespaces, one group for each row."""
        indexed = groups[0].indexed
        lets = _lets(groups)
        if scope.is_network:
            lets = {n: poly for n, poly in lets.items() if len(poly.text()) <= LONGEST}
        scope.lets.update(lets)
        for name in lets:
            scope.values[name] = [int(dict(group.lets)[name]) for group in groups]
        scope.taken.update(lets)
        own = Poly.name(input_name(scope.level))
        if scope.tests and own not in lets.values():
            scope.entry = scope.fresh("inputs")
            lets = {scope.entry: own, **lets}
        written = self.within(inner, scope, indexed)
        lines: list[str] = []
        for name, poly in reversed(lets.items()):
            scope.lets.pop(name, None)
            if name in scope.used:
                flowing = [
                    Sym(int(channels(group.input_shape)), own) for group in groups
                ]
                found = Texts(scope, flowing).poly(poly)
                if found is None:
                    raise RowsDiffer
                lines.insert(0, f"{name} = {found[0]}")
        return [*lines, *written]

    def within(self, inner: InnerRows, scope: RowScope, indexed: bool) -> list[str]:
        """Return the contents of braces, with an `if` where rows differ."""
        lines = self.statements(inner.before, scope, indexed)
        if inner.cases:
            lines.append(self._cases(inner.cases, scope, indexed))
        return lines + self.statements(inner.after, scope, indexed)

    def statements(
        self, chains: Sequence[Chains], scope: RowScope, indexed: bool
    ) -> list[str]:
        """Return statements."""
        return [self._chain(chain, scope, indexed) for chain in chains]

    def _chain(self, chain: Chains, scope: RowScope, indexed: bool) -> str:
        texts = ["".join(item) for item in self._items(chain, scope, indexed)]
        start = {None: "", False: "output ", True: "training output "}[chain.output]
        text = start + texts[0]
        for more in texts[1:]:
            # A loop must be a statement of its own; it reads the value before it.
            text += ("\n" if more.startswith("for ") else " -> ") + more
        return text

    def _items(
        self, chain: Chains, scope: RowScope, indexed: bool
    ) -> list[tuple[str, str, str]]:
        """Return each item with its label and older names."""
        return [
            (
                self._label(items, scope, indexed),
                self._core(items, scope, indexed),
                self._older(items, scope),
            )
            for items in chain.items
        ]

    def _label(self, items: ItemRows, scope: RowScope, indexed: bool) -> str:
        if items.names is None or items.implied or indexed:
            return ""
        return f"{_quoted(Texts(scope, items.channels).label(items.names))}: "

    def _older(self, items: ItemRows, scope: RowScope) -> str:
        texts = Texts(scope, items.channels)
        names = [f'"{texts.label(names)}"' for names in items.older]
        return f" renamed from {' or '.join(names)}" if names else ""

    def _core(self, items: ItemRows, scope: RowScope, indexed: bool) -> str:
        texts = Texts(scope, items.channels)
        match items.key:
            case ("tap",):
                return f"@{texts.label(items.values['path'])}"
            case ("same", name):
                label = name if is_identifier(name) else f'"{name}"'
                return f"same {label}{self._inputs(items, scope, indexed)}"
            case ("layer",):
                return self._layer(items, texts)
            case ("call", word):
                inputs = self._inputs(items, scope, indexed)
                return f"{self._call(word, items, texts)}{inputs}"
            case ("register", _):
                names = [_quoted(texts.label(one)) for one in items.values.values()]
                return f"register {', '.join(names)}"
            case ("inline",):
                return self._braces(items.inner[0], scope, indexed)
            case ("braces", own):
                return ("seq " if own else "") + self._owned(items, scope)
            case ("merge", kind, _):
                head = " ".join([kind.word, *self._arguments(kind, items, texts)])
                return f"{head} {self._branches(items, scope, indexed)}"
            case ("residual", *how):
                return self._residual(how, items, scope, indexed)
            case ("guard",):
                return self._guard(items, scope, indexed)
            case _:
                assert items.key == ("repeat",), items.key
                return self._repeat(items, scope, indexed)

    # ---- layers and calls

    def _layer(self, items: ItemRows, texts: Texts) -> str:
        ops = [_op(item) for item in items.samples]
        word = texts.kind(ops)
        if word is not None:
            return word
        if len(set(map(type, ops))) > 1:
            raise RowsDiffer
        kind: type[Layer] = type(ops[0])
        return " ".join([kind.word, *self._arguments(kind, items, texts)])

    def _arguments(
        self, kind: type[Layer], items: ItemRows, texts: Texts
    ) -> Iterator[str]:
        fields = sorted(kind.fields.values(), key=_place)
        whole = True  # whether all arguments so far are positional
        for field in fields:
            values = items.values[field.name]
            ops = [arguments_of(_op(item))[field.name] for item in items.samples]
            if all(v is ANY for v in values):
                continue
            values = [_sized(v) for v in ops]
            if all(_is_default(value, field) for value in values):
                whole = whole and field.position == "/"
                continue
            by_place = isinstance(field.position, int) and whole
            yield self._argument(field, values, texts, by_place)

    def _argument(
        self, field: Field, values: list[Any], texts: Texts, by_place: bool
    ) -> str:
        if any(value is None for value in values):
            raise RowsDiffer
        first = values[0]
        if isinstance(first, str) and all(value == first for value in values):
            text = first
        else:
            text, binds = texts.value(values, field.name)
            if not by_place and isinstance(first, Dims) and text == literal(first)[0]:
                text = window(first)
            if binds < ATOM and (by_place or not re.fullmatch(r"-[0-9.e-]+", text)):
                text = f"({text})"
        if by_place:
            return text
        return f"/{text}" if field.position == "/" else f"{field.name}={text}"

    def _call(self, word: str, items: ItemRows, texts: Texts) -> str:
        header = self.headers[word]
        given: list[str] = []
        whole = True
        for name, default in header.params:
            values = [known_value(value) for value in items.values[name]]
            text, _ = texts.value(values, name)
            if text == default:
                whole = False
                continue
            given.append(text if whole else f"{name} = {text}")
        return f"{word}<{', '.join(given)}>" if given else word

    # ---- braces

    def _braces(self, inner: InnerRows, scope: RowScope, indexed: bool) -> str:
        inside = scope.inside(inner.parents)
        return _in_braces(self.within(inner, inside, indexed))

    def _owned(self, items: ItemRows, scope: RowScope) -> str:
        inner = items.inner[0]
        inside = scope.within(inner, items)
        parts = [item.part for item in items.samples]
        groups = [part for part in parts if isinstance(part, Group)]
        return _in_braces(self.body(inner, groups, inside))

    def _branches(self, items: ItemRows, scope: RowScope, indexed: bool) -> str:
        part = items.samples[0].part
        owned = isinstance(part, Group) and part.role == "group"
        texts = []
        for inner in items.inner:
            inside = (
                scope.within(inner, items) if owned else scope.inside(inner.parents)
            )
            texts.append(self.within(inner, inside, indexed and not owned))
        return _in_branches(texts)

    def _inputs(self, items: ItemRows, scope: RowScope, indexed: bool) -> str:
        """Return the inputs of a block with several; empty for others."""
        return f" {self._branches(items, scope, indexed)}" if items.inner else ""

    def _residual(
        self, how: Sequence[Any], items: ItemRows, scope: RowScope, indexed: bool
    ) -> str:
        texts = Texts(scope, items.channels)
        options = []
        if how[0] in ("identity", "optional", "projection"):
            options.append(f"shortcut = {how[0]}")
        names = [name for name in items.values.get("projection", ()) if name is not ANY]
        if names:
            if len(set(names)) > 1:
                raise RowsDiffer
            options.append(f"projection = {names[0]}")
        if how[-1] is True:
            options.append("before = true")
        drops = items.values.get("drop", [ANY])
        if any(drop is not ANY and drop != 0.0 for drop in drops):
            options.append(f"drop = {texts.value(drops, 'drop')[0]}")
        head = f"residual<{', '.join(options)}>" if options else "residual"
        return f"{head} {self._branches(items, scope, indexed)}"

    def _guard(self, items: ItemRows, scope: RowScope, indexed: bool) -> str:
        test = Texts(scope, items.channels).test(items.values["test"])
        inner = items.inner[0]
        if not inner.parents:
            return f"identity if {test}"
        (chain,) = inner.before
        (item,) = self._items(chain, scope.inside(inner.parents), indexed)
        return f"{''.join(item)} if {test}"

    # ---- repeats

    def _repeat(self, items: ItemRows, scope: RowScope, indexed: bool) -> str:
        inner = items.inner[0]
        if not inner.parents:
            return f"for {scope.fresh('i')} in range({self._count(items, scope)}) {{}}"
        used, taken = set(scope.used), set(scope.taken)
        try:
            return self._rounds(inner, items, scope, indexed)
        except RowsDiffer:
            inner = inner.apart()
            if len(inner.cases) == 1:
                raise
            scope.used.intersection_update(used)
            scope.taken.intersection_update(taken)
            return self._rounds(inner, items, scope, indexed)

    def _count(self, items: ItemRows, scope: RowScope) -> str:
        return Texts(scope, items.channels).value(items.values["count"], "count")[0]

    def _rounds(
        self, inner: InnerRows, items: ItemRows, scope: RowScope, indexed: bool
    ) -> str:
        loop = next((n for n in _LOOPS if n not in scope.taken), "round")
        inside = scope.inside(inner.parents, scope.fresh(loop))
        inside.fixed = not any(isinstance(n, Sym) for n in items.values["count"])
        is_chain = len(inner.before) == 1 and not inner.cases
        if is_chain and inner.before[0].output is None:
            return self._one_chain(inner.before[0], inside, items, indexed)
        lines = self.within(inner, inside, indexed)
        return self._loop(inside, items, _in_braces(lines))

    def _cases(self, cases: Sequence[Case], scope: RowScope, indexed: bool) -> str:
        """Return an `if` that selects the statements of each row."""
        bodies: dict[str, list[int]] = {}
        for case in cases:
            rows = scope.inside([(row, 0) for row in case.rows])
            body = _in_braces(self.statements(case.chains, rows, indexed))
            bodies.setdefault(body if case.chains else "", []).extend(case.rows)
        text = ""
        while any(bodies):
            body, test = self._next_case(bodies, _flowing(cases, scope), scope)
            shown = body if len(bodies) == 1 else f"if {test} {body}"
            text += f"{' else ' if text else ''}{shown}"
            del bodies[body]
        return text

    def _next_case(
        self,
        bodies: Mapping[str, Sequence[int]],
        flowing: Sequence[int | None],
        scope: RowScope,
    ) -> tuple[str, str]:
        """Return the body to write next, and the test for it.

        Args:
            bodies: the remaining ones, with the rows that have them.
            flowing: the input channels, for each row.
            scope: the names that may be used.

        Raises:
            RowsDiffer: if no test separates it from the others.
        """
        some = [body for body in bodies if body]
        texts = Texts(scope, flowing)
        for body in some:
            rest = {row for b, rows in bodies.items() if b != body for row in rows}
            test = texts.decision(set(bodies[body]), rest)
            if test is not None:
                return body, test
        test = scope.test(set(bodies[some[0]])) if len(bodies) > 1 else ""
        if test is None:
            raise RowsDiffer
        return some[0], test

    def _one_chain(
        self, chain: Chains, inside: RowScope, items: ItemRows, indexed: bool
    ) -> str:
        """Return a repeated chain, or a loop if its copies differ."""
        written = self._items(chain, inside, indexed)
        loop = re.compile(rf"\b{inside.loop}\b")
        number = f"{{{inside.loop} + 1}}"
        names = [name for label, _, older in written for name in (label, older)]
        last = chain.items[-1].key
        simple = (
            not inside.table
            and last not in (("guard",), ("repeat",))
            and not any(loop.search(core) for _, core, _ in written)
            and not any(loop.search(name.replace(number, "")) for name in names)
            and all(number in label or not label for label, _, _ in written)
            and all(number in name for _, _, older in written for name in _OLD(older))
        )
        if not simple:
            text = " -> ".join(map("".join, written))
            return self._loop(inside, items, _in_braces([text]))
        assert inside.around is not None
        count = self._count(items, inside.around)
        text = " -> ".join(
            label.replace(f"{number}:", ":").replace(number, "{}")
            + core
            + older.replace(f'{number}"', '"').replace(number, "{}")
            for label, core, older in written
        )
        return f"{text}  x{count}" if count.isdigit() else f"{text}  x({count})"

    def _loop(self, inside: RowScope, items: ItemRows, body: str) -> str:
        """Return a loop, over a table if its rounds need one."""
        around = inside.around
        assert around is not None
        if not inside.table:
            count = self._count(items, around)
            return f"for {inside.loop} in range({count}) {body}"
        outside = Texts(around, [None] * around.count)
        columns = [
            [outside.value(column)[0] for column in inside.rounds(values)]
            for values in inside.table.values()
        ]
        names = list(inside.table)
        rows = [", ".join(row) for row in zip(*columns, strict=True)]
        several = len(names) > 1
        shown = ", ".join(f"[{row}]" if several else row for row in rows)
        target = f"[{', '.join(names)}]" if several else names[0]
        used = re.search(rf"\b{inside.loop}\b", body) is not None
        target = f"{inside.loop}, {target}" if used else target
        return f"for {target} in [{shown}] {body}"


def _quoted(label: str) -> str:
    """Return a label in quotes if it has a hyphen."""
    return f'"{label}"' if "-" in re.sub(r"{.*?}", "", label) else label


def _flowing(cases: Sequence[Case], scope: RowScope) -> list[int | None]:
    """Return the input channels of statements that only some rows have.

    Rows without a statement have the same, as all come from one place of the spec.
    """
    found: list[int | None] = [None] * scope.count
    for case in cases:
        for row, flows in zip(case.rows, _first_channels(case), strict=True):
            found[row] = flows
    known = [flows for flows in found if flows is not None]
    return [known[0] if flows is None else flows for flows in found] if known else found


def _first_channels(case: Case) -> list[int | None]:
    return case.chains[0].items[0].channels if case.chains else [None] * len(case.rows)


def _place(field: Field) -> tuple[int, int]:
    """Return a sort key: positional arguments, then the stride, then named ones."""
    if isinstance(field.position, int):
        return 0, field.position
    return (1, 0) if field.position == "/" else (2, 0)


def _is_default(value: Any, field: Field) -> bool:
    axes = len(value) if isinstance(value, tuple) else 2
    default = _sized(field.default_for(axes))
    if value is None or default is None:
        return value is default
    carries = isinstance(value, Sym) or (
        isinstance(value, tuple) and any(isinstance(v, Sym) for v in value)
    )
    return not carries and type(value) is type(default) and bool(value == default)


def _sized(value: Any) -> Any:
    """Return a window as a spec writes its size."""
    return Dims(value) if type(value) is tuple else value


def _lets(groups: Sequence[Group]) -> dict[str, Poly]:
    """Return the `let` statements that all rows compute alike."""
    found: dict[str, Poly] = {}
    for name, value in groups[0].lets:
        if isinstance(value, Sym):
            found[name] = value.poly
    for group in groups[1:]:
        own = dict(group.lets)
        for name in list(found):
            other = own.get(name)
            if not isinstance(other, Sym) or other.poly != found[name]:
                del found[name]
    return found


def _in_braces(statements: Sequence[str]) -> str:
    if not statements:
        return "{}"
    line = "; ".join(statements)
    if len(line) <= _ROOM and "\n" not in line and not line.startswith("for "):
        return f"{{ {line} }}"
    return "{\n" + "\n".join(statements) + "\n}"


def _in_branches(branches: Sequence[Sequence[str]]) -> str:
    lines = ["; ".join(branch) for branch in branches]
    line = " | ".join(lines)
    if len(line) <= _ROOM and "\n" not in line:
        return f"{{ {line.strip()} }}"
    return "{\n" + "\n|\n".join("\n".join(branch) for branch in branches) + "\n}"


def _op(item: ChainItem) -> Layer:
    """Return the layer of an item: that of its step, or of its merge."""
    part = item.part
    while isinstance(part, Group):
        part = part.children[-1]
    assert part is not None
    return part.op
