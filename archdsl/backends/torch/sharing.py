"""Whether one class can serve two calls of a block, and which arguments it then needs.

Two classes that only differ in constants are merged, with an argument for each pair of
constants. So a width that cannot be expressed by the block's own parameters is simply
passed in. A window that is square in some calls only is an argument that can be a
tuple, and so is a padding that follows from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Final, NamedTuple

from archdsl import conditions
from archdsl.backends.torch.classes import ClassPlan, Field, Flag, Item, Loop, Member
from archdsl.backends.torch.layout import flat
from archdsl.backends.torch.nodes import (
    Argument,
    Call,
    First,
    Items,
    Leaf,
    Make,
    Maybe,
    Node,
    Shortcut,
    Star,
    Statement,
    generalise,
    mapped_statements,
    names_in,
    parts_of,
)
from archdsl.symbolic import Poly

_MOST = 4


# What torch assumes for an argument that is left out.
_DEFAULTS: Final = {"padding": "0"}


class Promotion(NamedTuple):
    """A constant that becomes an argument.

    Attributes:
        name: name of the argument.
        old: its value in the calls so far, in the names of the constructor.
        new: its value in the new call.
    """

    name: str
    old: Node
    new: Node


def share(
    known: ClassPlan, new: ClassPlan, args: Mapping[str, Node]
) -> Mapping[str, Node] | None:
    """Make a class serve another call as well, if possible.

    Args:
        known: the class.
        new: the class that the other call needs.
        args: the values of that call's arguments.

    Returns:
        Values for the new call of constants that became arguments, or None if the new
            call needs a class of its own.
    """
    if (known.sequential, known.inputs) != (new.sequential, new.inputs):
        return None
    forward = _shared_forward(known, new)
    if forward is None:
        return None
    sharing = Sharing(known, _names(known, new), args)
    items = sharing.items(known.items, new.items)
    # A constant that a new call does not have would lack a value.
    if items is None or not known.promoted <= sharing.given.keys():
        return None
    if not all(_takes_pairs(item, sharing.pairs) for item in items):
        return None
    values = [sharing.before(added) for added in sharing.added]
    if any(None in before for before in values):
        return None
    if (known.items, known.forward) != (items, forward):
        known.items, known.forward = items, forward
        known.revision.number += 1
    for added, found in zip(sharing.added, values, strict=True):
        before = [value for value in found if value is not None]
        default = _default(added.name, [*before, added.new])
        known.fields.append(Field(added.name, type_of(*before), default))
        known.promoted.add(added.name)
        sharing.given[added.name] = added.new
        for call, value in zip(known.calls, before, strict=True):
            call.args = (*call.args, Argument(added.name, value))
    first = sharing.pairs - known.pairs
    for call in known.calls if first else ():
        _add_types(known, {n: value for n, value in call.args if n in first})
    given = {**args, **sharing.given}
    names = given.keys() & (known.promoted | sharing.pairs)
    _add_types(known, {name: given[name] for name in names})
    known.pairs = sharing.pairs
    if known.shape != new.shape:
        known.shape = max(known.shape, new.shape, key=len)
    return sharing.given


def _default(name: str, values: Sequence[Node]) -> str:
    """Return torch's default, where some calls have it and others have a tuple."""
    default = _DEFAULTS.get(name, "")
    uses = default in map(flat, values)
    return default if uses and any(isinstance(one, Items) for one in values) else ""


def _add_types(plan: ClassPlan, given: Mapping[str, Node]) -> None:
    """Let arguments of a class have the types of some values, too."""
    for place, field in enumerate(plan.fields):
        if field.name in given:
            types = {*field.type.split(" | "), _type(given[field.name])}
            plan.fields[place] = field._replace(type=" | ".join(sorted(types)))


def _takes_pairs(item: Item, pairs: Set[str]) -> bool:
    """Return whether an item only passes some arguments on, which can be tuples."""
    tested: set[str] = set()
    nodes: list[Node] = []
    match item:
        case Flag():
            tested |= conditions.names(item.condition)
            nodes += [one.node for one in item.extra if one.node is not None]
        case Member():
            tested |= conditions.reads(item.label)
            tested |= conditions.names(item.condition) if item.condition else set()
            nodes += [item.node] if item.node is not None else []
        case Loop():
            tested |= item.times.names() | conditions.reads(item.label or ())
            nodes += [one for one in (*item.nodes, item.node) if one is not None]
    while nodes:
        node = nodes.pop()
        match node:
            case Leaf(Poly() as number) if not number.is_name:
                tested |= number.names()
            case Star():
                tested |= node.times.names()
            case Maybe():
                tested |= conditions.names(node.test)
            case _:
                pass
        nodes += parts_of(node)
    return tested.isdisjoint(pairs)


def _shared_forward(known: ClassPlan, new: ClassPlan) -> tuple[Statement, ...] | None:
    """Return statements that serve both, or None.

    A class that never has an optional shortcut leaves its sum open.
    """
    if known.forward == new.forward:
        return known.forward
    if without_sums(known.forward) != without_sums(new.forward):
        return None
    for one, other in ((known, new), (new, known)):
        flags = [item for item in one.items if isinstance(item, Flag)]
        if not any(True in flag.states for flag in flags):
            return other.forward
    return None


def _names(known: ClassPlan, new: ClassPlan) -> dict[tuple[str, str], str]:
    """Return the spec's names for the numbers in which two calls differ."""
    return {
        (poly.text(), new.lets[name].text()): name
        for name, poly in known.lets.items()
        if name in new.lets
    }


def without_sums(statements: Sequence[Statement]) -> tuple[Statement, ...]:
    """Return statements in which the sums of optional shortcuts are left open."""

    def change(node: Node) -> Node:
        return Shortcut(node.flag, None, None) if isinstance(node, Shortcut) else node

    return mapped_statements(statements, change)


class Sharing:
    """Merges the submodules of a class with those that another call needs.

    Attributes:
        added: constants that become arguments.
        given: values for the new call of arguments that were such constants before.
        pairs: arguments that are a number in one call, and a tuple in another.
    """

    def __init__(
        self,
        known: ClassPlan,
        names: Mapping[tuple[str, str], str],
        args: Mapping[str, Node],
    ) -> None:
        self.added: list[Promotion] = []
        self.given: dict[str, Node] = {}
        self.pairs = set(known.pairs)
        self._taken = {field.name for field in known.fields}
        self._own = self._taken - known.promoted
        self._calls = known.calls
        self._promoted = known.promoted
        self._names = names
        self._args = args

    def before(self, added: Promotion) -> list[Node | None]:
        """Return the values of an added argument in the calls so far."""
        return [_value(added.old, dict(call.args)) for call in self._calls]

    def items(self, mine: Sequence[Item], theirs: Sequence[Item]) -> list[Item] | None:
        """Return submodules that serve both, or None."""
        if len(mine) != len(theirs):
            return None
        merged = [self._item(a, b) for a, b in zip(mine, theirs, strict=True)]
        kept = [item for item in merged if item is not None]
        if len(kept) < len(merged) or len(self.added) > _MOST:
            return None
        return kept

    def _item(self, mine: Item, theirs: Item) -> Item | None:
        if isinstance(mine, Flag) and isinstance(theirs, Flag):
            return self._flags(mine, theirs)
        if isinstance(mine, Member) and isinstance(theirs, Member):
            return self._members(mine, theirs)
        if isinstance(mine, Loop) and isinstance(theirs, Loop):
            return self._loops(mine, theirs)
        return None

    def _flags(self, mine: Flag, theirs: Flag) -> Flag | None:
        if mine.condition != theirs.condition:
            return None
        extra: Sequence[Item] | None = mine.extra or theirs.extra
        if mine.extra and theirs.extra:
            extra = self.items(mine.extra, theirs.extra)
        if extra is None:
            return None
        members = tuple(item for item in extra if isinstance(item, Member))
        return mine._replace(states=mine.states | theirs.states, extra=members)

    def _members(self, mine: Member, theirs: Member) -> Member | None:
        if (mine.label, mine.condition) != (theirs.label, theirs.condition):
            return None
        if mine.node is None or theirs.node is None:
            if mine.condition is None:
                return None
            return theirs if mine.node is None else mine
        node = self.node(mine.node, theirs.node, mine.attr)
        return None if node is None else mine._replace(node=node)

    def _loops(self, mine: Loop, theirs: Loop) -> Loop | None:
        if mine.times != theirs.times:
            return None
        more, less = (
            (mine, theirs) if len(mine.nodes) >= len(theirs.nodes) else (theirs, mine)
        )
        known = len(less.nodes)
        if more.labels[: len(less.labels)] != less.labels:
            return None
        if known > 2 and more.label != less.label:
            return None
        counts = mine.counts | theirs.counts
        if more.is_single and counts != {1}:
            # The names in further iterations are unknown.
            return None
        pairs = zip(mine.nodes, theirs.nodes, strict=False)
        nodes = [self.node(a, b, "size") for a, b in pairs]
        kept = [node for node in nodes if node is not None]
        if len(kept) < len(nodes):
            return None
        whole = (*kept, *more.nodes[known:])
        node = generalise(whole) if len(whole) > 1 else None
        if more.node is not None and node is None:
            return None
        return more._replace(nodes=whole, node=node, counts=counts)

    # ---- expressions

    def node(self, mine: Node, theirs: Node, hint: str) -> Node | None:
        """Return an expression that serves both, or None.

        Args:
            mine: expression of the class so far.
            theirs: expression of the new call.
            hint: name for an argument, if the two are different constants.
        """
        if mine == theirs:
            return mine
        if isinstance(mine, Call) and isinstance(theirs, Call):
            if (mine.function, mine.spread) != (theirs.function, theirs.spread):
                return None
            args = self._arguments(mine.args, theirs.args)
            return None if args is None else mine._replace(args=args)
        if isinstance(mine, Make) and isinstance(theirs, Make):
            if mine.target is not theirs.target:
                return None
            args = self._arguments(mine.args, theirs.args)
            return None if args is None else mine.with_args(args)
        if isinstance(mine, Star) and isinstance(theirs, Star):
            item = self.node(mine.item, theirs.item, hint)
            same = (mine.times, mine.indexed) == (theirs.times, theirs.indexed)
            return mine._replace(item=item) if item is not None and same else None
        if isinstance(mine, First) and isinstance(theirs, First):
            first = self.node(mine.first, theirs.first, hint)
            rest = self.node(mine.rest, theirs.rest, hint)
            return None if first is None or rest is None else First(first, rest)
        if isinstance(mine, Maybe) and isinstance(theirs, Maybe):
            return self._maybes(mine, theirs, hint)
        return self._constant(mine, theirs, hint)

    def _maybes(self, mine: Maybe, theirs: Maybe, hint: str) -> Node | None:
        if mine.test != theirs.test:
            return None
        node = mine.node or theirs.node
        if mine.node is not None and theirs.node is not None:
            node = self.node(mine.node, theirs.node, hint)
            if node is None:
                return None
        return Maybe(node, mine.test, mine.states | theirs.states)

    def _arguments(
        self, mine: tuple[Argument, ...], theirs: tuple[Argument, ...]
    ) -> tuple[Argument, ...] | None:
        if [a.name for a in mine] != [a.name for a in theirs]:
            return None
        merged = []
        for a, b in zip(mine, theirs, strict=True):
            node = self.node(a.value, b.value, a.name or "size")
            if node is None:
                return None
            merged.append(Argument(a.name, node))
        return tuple(merged)

    def _constant(self, mine: Node, theirs: Node, hint: str) -> Node | None:
        """Return the argument that replaces the two constants."""
        if pair := self._pair(mine, theirs):
            self.pairs.add(pair)
            return Leaf(Poly.name(pair))
        if self._follows(theirs):
            theirs = _value(theirs, self._args) or theirs
        if not _is_constant(theirs):
            return None
        name = _bare_name(mine)
        if name in self._promoted:
            known = self.given.setdefault(name, theirs)
            return mine if known == theirs else None
        if not _is_constant(mine) and not self._follows(mine):
            return None
        for promotion in self.added:
            if (promotion.old, promotion.new) == (mine, theirs):
                return Leaf(Poly.name(promotion.name))
        hint = self._names.get((flat(mine), flat(theirs)), hint)
        hint = name = hint if hint.isidentifier() else "size"
        number = 1
        while name in self._taken:
            number += 1
            name = f"{hint}{number}"
        self._taken.add(name)
        self.added.append(Promotion(name, mine, theirs))
        return Leaf(Poly.name(name))

    def _pair(self, mine: Node, theirs: Node) -> str:
        """Return the argument that is a tuple in one call, and another or a number in
        the other; an empty text if there is none.
        """
        names = {_bare_name(mine), _bare_name(theirs)} - {""}
        if isinstance(mine, Items) and isinstance(theirs, Items):
            names = set(self._args)
        if not isinstance(mine, Items) and not isinstance(theirs, Items):
            return ""
        for name in sorted(names & self._own):
            before = [dict(call.args) for call in self._calls]
            known = self._stands_for(name, mine, before)
            if known and self._stands_for(name, theirs, [self._args]):
                return name
        return ""

    def _stands_for(
        self, name: str, node: Node, calls: Sequence[Mapping[str, Node]]
    ) -> bool:
        """Return whether an argument has the value of an expression in some calls."""
        if isinstance(node, Items):
            return all(args.get(name) == node for args in calls)
        return _bare_name(node) == name

    def _follows(self, node: Node) -> bool:
        """Return whether a number follows from arguments that can be tuples."""
        names = names_in(node)
        return isinstance(node, Leaf) and bool(names) and names <= self.pairs


def _value(node: Node, args: Mapping[str, Node]) -> Node | None:
    """Return an expression of a constructor where a call has some arguments; None if
    that is no number.
    """
    if not isinstance(node, Leaf) or not isinstance(node.value, Poly):
        return node
    bindings: dict[str, Poly] = {}
    for name in node.value.names():
        given = args.get(name)
        if not isinstance(given, Leaf) or not isinstance(given.value, Poly):
            return None
        bindings[name] = given.value
    return Leaf(node.value.substitute(bindings))


def type_of(*values: Node) -> str:
    """Return the type of an argument that has some values."""
    return " | ".join(sorted(set(map(_type, values))))


def _type(node: Node) -> str:
    if isinstance(node, Items):
        return f"tuple[{', '.join(['int'] * len(node.items))}]"
    if isinstance(node, Leaf) and isinstance(node.value, Poly):
        return "int"
    text = flat(node)
    if text in ("True", "False"):
        return "bool"
    return "float" if any(c in text for c in ".e") else "int"


def _is_constant(node: Node) -> bool:
    if isinstance(node, Items):
        return node.brackets == ("(", ")") and not names_in(node)
    if not isinstance(node, Leaf):
        return False
    if isinstance(node.value, Poly):
        return node.value.number is not None
    text = node.value
    return text in ("True", "False") or text.lstrip("-")[:1].isdigit()


def _bare_name(node: Node) -> str:
    if isinstance(node, Leaf) and isinstance(node.value, Poly) and node.value.is_name:
        return flat(node)
    return ""
