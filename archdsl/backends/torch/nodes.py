"""Python expressions of emitted code, and their layout on lines.

Layout follows the formatter's rule for calls and lists: on one line if that fits;
else all items on a line of their own; else one item a line, with a trailing comma.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from archdsl.symbolic import Poly, SymFloat, poly_of

WIDTH = 88
INDEX = "i"
# An argument of the constructor that `forward` reads, and so has to be kept.
KEPT = re.compile(r"\x07(\w+)\x07")

Bindings = Mapping[str, Poly]


class Target(Protocol):
    """A class of the emitted module, whose name and parameters come last.

    Attributes:
        calls: the expressions that make an instance.
    """

    calls: list[Make]

    def title(self) -> str:
        """Return the class's name."""
        ...

    def select(self, args: Mapping[str, Node]) -> Sequence[Argument]:
        """Return the arguments that the constructor takes, in order."""
        ...


class Leaf(NamedTuple):
    """A number with its expression, or text that is written as it is."""

    value: Poly | str


class Argument(NamedTuple):
    """One argument of a call; `name` is empty by position."""

    name: str
    value: Node


class Call(NamedTuple):
    """A call of a torch callable; `spread` forces one argument a line."""

    function: str
    args: tuple[Argument, ...]
    spread: bool = False


class Make:
    """An instance of a class of the emitted module.

    Attributes:
        target: the class.
        args: what its constructor might take, by name. The class may ask for more
            once it is to serve other calls as well.
    """

    __slots__ = ("args", "target")

    def __init__(self, target: Target, args: tuple[Argument, ...]) -> None:
        self.target = target
        self.args = args
        target.calls.append(self)

    def with_args(self, args: tuple[Argument, ...]) -> Make:
        """Return the same with other arguments."""
        return Make(self.target, args)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Make)
            and self.target is other.target
            and self.args == other.args
        )

    def __hash__(self) -> int:
        return hash(id(self.target))


class Items(NamedTuple):
    """A tuple of at least two items, or a list."""

    items: tuple[Node, ...]
    brackets: tuple[str, str] = ("(", ")")


class Star(NamedTuple):
    """``*(item for i in range(count))``."""

    item: Node
    times: Poly
    indexed: bool


class First(NamedTuple):
    """One expression in the first round of a loop, and another in the rest."""

    first: Node
    rest: Node


class Maybe(NamedTuple):
    """An argument that is there under a test.

    Attributes:
        node: the argument; None while no call with it is known.
        test: as Python text.
        states: what holds for the calls known.
    """

    node: Node | None
    test: str
    states: frozenset[bool]


Node = Leaf | Call | Make | Items | Star | First | Maybe


def node_of(value: Any, bindings: Bindings) -> Node:
    """Return a value of the IR as an expression in the names of a class.

    A tuple of equal sizes is written as one of them; a list is written in full.
    """
    if isinstance(value, str) and value.isidentifier():
        return Leaf(f'"{value}"')
    if isinstance(value, bool | str) or value is None:
        return Leaf(repr(value))
    if isinstance(value, SymFloat):
        return Leaf(Poly.name(value.name))
    if isinstance(value, int):
        return Leaf(poly_of(value).substitute(bindings))
    if isinstance(value, float):
        return Leaf(repr(float(value)))
    items = tuple(node_of(part, bindings) for part in value)
    if isinstance(value, list):
        return Items(items, ("[", "]"))
    return items[0] if len(set(items)) == 1 else Items(items)


def generalise(copies: Sequence[Node]) -> Node | None:
    """Return the expression that gives each copy for i = 0, 1, ..., or None.

    Numbers must be equal or grow by equal steps.
    """
    first = copies[0]
    if any(type(copy) is not type(first) for copy in copies):
        return None
    if isinstance(first, Leaf):
        return _leaf([c.value for c in copies if isinstance(c, Leaf)])
    if isinstance(first, Items):
        parts = _each([c.items for c in copies if isinstance(c, Items)])
        return first._replace(items=parts) if parts is not None else None
    if isinstance(first, Call):
        calls = [c for c in copies if isinstance(c, Call)]
        if len({(c.function, c.spread) for c in calls}) > 1:
            return None
        args = _arguments([c.args for c in calls])
        return first._replace(args=args) if args is not None else None
    if isinstance(first, Make):
        makes = [c for c in copies if isinstance(c, Make)]
        if any(c.target is not first.target for c in makes):
            return None
        args = _arguments([c.args for c in makes])
        return first.with_args(args) if args is not None else None
    if isinstance(first, Maybe):
        return _generalise_maybes([c for c in copies if isinstance(c, Maybe)])
    return first if all(copy == first for copy in copies) else None


def _generalise_maybes(copies: list[Maybe]) -> Node | None:
    if len({copy.test for copy in copies}) > 1:
        return None
    known = [copy.node for copy in copies if copy.node is not None]
    node = generalise(known) if known else None
    if known and node is None:
        return None
    states = frozenset[bool]().union(*(copy.states for copy in copies))
    return Maybe(node, copies[0].test, states)


def _arguments(copies: list[tuple[Argument, ...]]) -> tuple[Argument, ...] | None:
    names = [a.name for a in copies[0]]
    if any([a.name for a in copy] != names for copy in copies):
        return None
    values = _each([tuple(a.value for a in copy) for copy in copies])
    if values is None:
        return None
    return tuple(Argument(n, v) for n, v in zip(names, values, strict=True))


def _each(copies: list[tuple[Node, ...]]) -> tuple[Node, ...] | None:
    if len({len(copy) for copy in copies}) > 1:
        return None
    parts = [generalise(column) for column in zip(*copies, strict=True)]
    kept = tuple(part for part in parts if part is not None)
    return kept if len(kept) == len(parts) else None


def _leaf(values: Sequence[Poly | str]) -> Node | None:
    """Return what gives each value: a number that grows, or a first one and a rest."""
    if all(value == values[0] for value in values):
        return Leaf(values[0])
    even = affine(values)
    if len(values) == 2:
        # Two points make any line: only a plain step is taken for one.
        step = values[1] - values[0] if even else None  # type: ignore[operator]
        plain = isinstance(step, Poly) and len(step.terms) < 2 and bool(step.names())
        return even if plain else First(Leaf(values[0]), Leaf(values[1]))
    if even is not None:
        return even
    if all(value == values[1] for value in values[1:]):
        return First(Leaf(values[0]), Leaf(values[1]))
    return None


def affine(values: Sequence[Poly | str]) -> Leaf | None:
    """Return the number that gives each of some for i = 0, 1, ..., or None."""
    if all(value == values[0] for value in values):
        return Leaf(values[0])
    polys = [value for value in values if isinstance(value, Poly)]
    if len(polys) < len(values):
        return None
    step = polys[1] - polys[0]
    for number, poly in enumerate(polys):
        if poly != polys[0] + Poly.constant(number) * step:
            return None
    return Leaf(polys[0] + Poly.name(INDEX) * step)


def has_first(node: Node) -> bool:
    """Return whether the first round of a loop differs from the rest."""
    if isinstance(node, First):
        return True
    if isinstance(node, Call | Make):
        return any(has_first(argument.value) for argument in node.args)
    return False


def kept(node: Node) -> Node:
    """Return a number as `forward` reads it, its names marked."""
    if not isinstance(node, Leaf) or not isinstance(node.value, Poly):
        return node
    marks = {name: Poly.name(f"\x07{name}\x07") for name in node.value.names()}
    return Leaf(node.value.substitute(marks))


def names_in(node: Node) -> set[str]:
    """Return the names that an expression reads."""
    if isinstance(node, Maybe):
        found = names_in(node.node) if node.node is not None else set()
        return found | (names_of_test(node.test) if len(node.states) > 1 else set())
    if isinstance(node, First):
        return names_in(node.first) | names_in(node.rest) | {INDEX}
    if isinstance(node, Leaf):
        return node.value.names() if isinstance(node.value, Poly) else set()
    if isinstance(node, Items):
        return set().union(*(names_in(item) for item in node.items))
    if isinstance(node, Star):
        return (names_in(node.item) - {INDEX}) | node.times.names()
    args = _head(node)[1]
    return set().union(*(names_in(a.value) for a in args))


def names_of_test(test: str) -> set[str]:
    """Return the names that a test reads."""
    return set(re.findall(r"[a-z_A-Z]\w*", test)) - {"or", "and", "not"}


def parts_of(node: Node) -> list[Node]:
    """Return the expressions that one is made of, one level down."""
    if isinstance(node, Leaf):
        return []
    if isinstance(node, Items):
        return [*node.items]
    if isinstance(node, Star):
        return [node.item]
    if isinstance(node, First):
        return [node.first, node.rest]
    if isinstance(node, Maybe):
        return [node.node] if node.node is not None else []
    return [argument.value for argument in node.args]


def polys_in(node: Node) -> Iterator[Poly]:
    """Yield the numbers in an expression, in the order in which they are written."""
    if isinstance(node, Leaf):
        if isinstance(node.value, Poly):
            yield node.value
    elif isinstance(node, Maybe):
        yield from polys_in(node.node) if node.node is not None else ()
    elif isinstance(node, First):
        yield from polys_in(node.first)
        yield from polys_in(node.rest)
    elif isinstance(node, Items):
        for item in node.items:
            yield from polys_in(item)
    elif isinstance(node, Star):
        yield from polys_in(node.item)
        yield node.times
    else:
        args = _head(node)[1]
        for argument in args:
            yield from polys_in(argument.value)


def replaced(node: Node, names: Mapping[Poly, str]) -> Node:
    """Return an expression with some numbers in variables."""
    if isinstance(node, Leaf):
        if isinstance(node.value, Poly) and node.value in names:
            return Leaf(Poly.name(names[node.value]))
        return node
    if isinstance(node, Items):
        items = tuple(replaced(item, names) for item in node.items)
        return node._replace(items=items)
    if isinstance(node, Star):
        return node._replace(item=replaced(node.item, names))
    if isinstance(node, First):
        return First(replaced(node.first, names), replaced(node.rest, names))
    if isinstance(node, Maybe):
        inner = replaced(node.node, names) if node.node is not None else None
        return Maybe(inner, in_variables(node.test, names), node.states)
    args = tuple(Argument(a.name, replaced(a.value, names)) for a in node.args)
    return node.with_args(args) if isinstance(node, Make) else node._replace(args=args)


def in_variables(test: str, variables: Mapping[Poly, str]) -> str:
    """Return a test with some numbers in variables."""
    for poly, name in variables.items():
        text = re.escape(poly.text())
        test = re.sub(rf"(?<![\w*/+-] ){text}(?! [*/+-])", name, test)
    return test


def settled(args: Sequence[Argument]) -> list[Argument]:
    """Return arguments without tests that come out the same in all calls."""
    found = []
    for argument in args:
        value = argument.value
        if isinstance(value, Maybe) and len(value.states) == 1:
            if value.node is not None:
                found.append(Argument(argument.name, value.node))
        else:
            found.append(argument)
    return found


# ---- layout -----------------------------------------------------------------


def flat(node: Node) -> str:
    """Return an expression on one line."""
    if isinstance(node, First):
        return f"{flat(node.first)} if {INDEX} == 0 else {flat(node.rest)}"
    if isinstance(node, Leaf):
        return node.value if isinstance(node.value, str) else node.value.text()
    if isinstance(node, Items):
        begin, end = node.brackets
        return f"{begin}{', '.join(flat(item) for item in node.items)}{end}"
    if isinstance(node, Star):
        return _star_text(node, flat(node.item))
    if isinstance(node, Maybe):
        inner = flat(node.node) if node.node is not None else ""
        return f"*([{inner}] if {node.test} else [])"
    head, args = _head(node)
    return f"{head}({', '.join(_argument(a) for a in args)})"


def _head(node: Call | Make) -> tuple[str, Sequence[Argument]]:
    if isinstance(node, Make):
        return node.target.title(), node.target.select(dict(node.args))
    return node.function, settled(node.args)


def _argument(argument: Argument) -> str:
    text = flat(argument.value)
    return f"{argument.name}={text}" if argument.name else text


def _star_text(node: Star, item: str) -> str:
    index = INDEX if node.indexed else "_"
    return f"*({item} for {index} in range({node.times.text()}))"


def spread(node: Node) -> bool:
    """Return whether an expression may not stand on one line."""
    if isinstance(node, Call):
        args = settled(node.args)
        # One that is left alone goes without a comma, and so may share the line.
        own = node.spread and (len(args) > 1 or len(node.args) == 1)
        return own or any(spread(a.value) for a in args)
    return False


def lay_out(node: Node, indent: int, before: str = "", after: str = "") -> list[str]:
    """Return the lines of ``before node after``, indented by so many spaces."""
    pad = " " * indent
    line = f"{pad}{before}{flat(node)}{after}"
    if not spread(node) and len(line) <= WIDTH:
        return [line]
    if isinstance(node, Star):
        return _lay_out_star(node, indent, before, after)
    if isinstance(node, Leaf | First):
        return [line]
    if isinstance(node, Maybe):
        return _lay_out_maybe(node, indent, before, after)
    begin, end = node.brackets if isinstance(node, Items) else ("(", ")")
    if isinstance(node, Items):
        head, args = "", [Argument("", item) for item in node.items]
    else:
        head, args = _head(node)[0], list(_head(node)[1])
    if not args:
        return [line]
    opened = f"{pad}{before}{head}{begin}"
    closed = f"{pad}{end}{after}"
    inner = f"{pad}    {', '.join(_argument(a) for a in args)}"
    if not spread(node) and len(inner) <= WIDTH:
        return [opened, inner, closed]
    lines = [opened]
    # A single argument that is itself spread out gets no comma.
    comma = "" if len(args) == 1 and isinstance(args[0].value, Call | Make) else ","
    for arg in args:
        name = f"{arg.name}=" if arg.name else ""
        lines += lay_out(arg.value, indent + 4, name, comma)
    return [*lines, closed]


def _lay_out_maybe(node: Maybe, indent: int, before: str, after: str) -> list[str]:
    """Return a guarded argument on a line each for the list, the test and the rest."""
    assert node.node is not None
    pad = " " * indent
    return [
        f"{pad}{before}*(",
        *lay_out(node.node, indent + 4, "[", "]"),
        f"{pad}    if {node.test}",
        f"{pad}    else []",
        f"{pad}){after}",
    ]


def _lay_out_star(node: Star, indent: int, before: str, after: str) -> list[str]:
    """Return a comprehension on two lines: the item, and the loop."""
    pad = " " * (indent + 4)
    index = INDEX if node.indexed else "_"
    loop = f"for {index} in range({node.times.text()})"
    return [
        f"{' ' * indent}{before}*(",
        *lay_out(node.item, indent + 4),
        f"{pad}{loop}",
        f"{' ' * indent}){after}",
    ]
