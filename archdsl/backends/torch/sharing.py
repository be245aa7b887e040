"""Whether one class can serve two calls of a block, and which arguments it then needs.

Two classes that only differ in constants are merged, with an argument for each pair of
constants. So a width that cannot be expressed by the block's own parameters is simply
passed in, and so is the class of an activation that a parameter of the block chooses,
if all calls create it with the same arguments. A window that is square in some calls
only is an argument that can be a tuple, and so is a padding that follows from it.

Two classes that differ by what a condition of the spec decides are merged, too: their
constructor tests it, and so does their `forward`, if it has to.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any, Final, NamedTuple

from archdsl import conditions
from archdsl.backends.torch.classes import (
    Choice,
    ClassPlan,
    ConstructorArgument,
    ConstructorItem,
    Flag,
    Loop,
    Member,
    choices,
    creation,
    every,
    names_of_members,
    optional_members,
    tests_in,
)
from archdsl.backends.torch.layout import flat
from archdsl.backends.torch.nodes import (
    Argument,
    CallExpr,
    Either,
    First,
    Invoke,
    LiteralExpr,
    Make,
    Maybe,
    Projection,
    PyExpression,
    PyStatement,
    SelfAttribute,
    SequenceExpr,
    Shortcut,
    Star,
    TypeExpr,
    expressions_in,
    generalise,
    mapped_statements,
    names_in,
    parts_of,
)
from archdsl.backends.torch.tracing import (
    as_projections,
    divided,
    same_statements,
    seen_by,
    trace_statements,
    without_projections,
)
from archdsl.conditions import Test, Truth, opposite
from archdsl.symbolic import Poly

_MOST = 4
# With more conditions, a class is harder to read than two.
_MOST_TESTS: Final = 2

# Torch's defaults for arguments that are left out.
_DEFAULTS: Final = {"padding": "0", "stride": "1", "dilation": "1", "groups": "1"}


class Promotion(NamedTuple):
    """A constant that becomes an argument.

    Attributes:
        name: name of the argument.
        old: its value in the calls so far, in the names of the constructor.
        new: its value in the new call.
    """

    name: str
    old: PyExpression
    new: PyExpression


def share(
    known: ClassPlan,
    new: ClassPlan,
    args: Mapping[str, PyExpression],
    split: Test | None = None,
) -> Mapping[str, PyExpression] | None:
    """Make a class serve another call as well, if possible.

    Args:
        known: the class.
        new: the class that the other call needs.
        args: the values of that call's arguments.
        split: a condition that has one answer in the calls so far, and the other one in
            the new call; what differs may depend on it.

    Returns:
        Values for the new call of constants that became arguments, or None if the new
            call needs a class of its own.
    """
    for one in ("sequential", "inputs", "again"):
        if getattr(known, one) != getattr(new, one):
            return None
    if bool(known.forward) != bool(new.forward) or [*known.extras] != [*new.extras]:
        return None
    forward = _shared_forward(known, new)
    if forward is None and split is None:
        return None
    sharing = Sharing(known, new, args, split)
    items = sharing.items(known.items, new.items)
    # A constant that a new call does not have would lack a value.
    if items is None or not known.promoted <= sharing.given.keys():
        return None
    if split is not None:
        # A submodule that one of the calls now lacks may have been an identity before.
        lacking = optional_members(items).keys() - optional_members(known.items).keys()
        if forward is None or not lacking.isdisjoint(_called(forward)):
            forward = sharing.forward(known, new)
    if forward is None or not sharing.explains(known, new):
        return None
    if split is not None and len(_tests(items, forward)) > _MOST_TESTS:
        return None
    if new.sequential and any(tests_in(forward)):
        return None  # its constructor keeps no numbers that `forward` could ask for
    if not all(_takes_pairs(item, sharing.pairs) for item in items):
        return None
    values = [sharing.before(added) for added in sharing.added]
    if any(None in before for before in values):
        return None
    if (known.items, known.forward) != (items, forward):
        known.items, known.forward = items, forward
        known.holes = _holes(items, forward)
        known.is_divided |= split is not None
        known.revision.number += 1
    known.tests = {
        test: answers | {held}
        for test, answers in known.tests.items()
        if (held := new.answer(test)) is not None
    }
    for added, found in zip(sharing.added, values, strict=True):
        before = [value for value in found if value is not None]
        default = _default(added.name, [*before, added.new])
        field = ConstructorArgument(added.name, type_of(*before), default)
        known.fields.insert(_place(known, added.name), field)
        known.promoted.add(added.name)
        if added.name in known.kinds:
            known.kinds[added.name] = ""
        sharing.given[added.name] = added.new
        for call, value in zip(known.calls, before, strict=True):
            call.args = (*call.args, Argument(added.name, value))
    first = sharing.pairs - known.pairs
    for call in known.calls if first else ():
        _add_types(known, {n: value for n, value in call.args if n in first})
    given = {**args, **sharing.given}
    _describe(known, new, given, split)
    names = given.keys() & (known.promoted | sharing.pairs)
    _add_types(known, {name: given[name] for name in names})
    known.pairs = sharing.pairs
    return sharing.given


def unite(
    known: ClassPlan, new: ClassPlan, args: Mapping[str, PyExpression]
) -> Mapping[str, PyExpression] | None:
    """Make a class serve a call with other code, selected by a condition of the spec.

    See `share` for the arguments and the result.
    """
    if known.unrolled != new.unrolled:
        return None
    # A label may equal the name that a projection would get if it existed.
    if any(names_of_members(one.items) & one.missing() for one in (known, new)):
        return None
    for test, held in new.tests.items():
        if known.tests.get(test) == frozenset({True, False}) - held:
            given = share(known, new, args, test)
            if given is not None:
                return given
    return None


def _place(plan: ClassPlan, name: str) -> int:
    """Return the place of a new argument: as in the spec, or else the last one."""
    if name in plan.order:
        later = plan.order[plan.order.index(name) :]
        for place, field in enumerate(plan.fields):
            if field.name in later:
                return place
    return len(plan.fields)


def _tests(
    items: Sequence[ConstructorItem], forward: Sequence[PyStatement]
) -> set[Test]:
    """Return the conditions that decide which code of a class runs."""
    found = {one.test for one in choices(items)}
    found.update(tests_in(forward))
    stack = [node for node in map(creation, every(items)) if node is not None]
    while stack:
        node = stack.pop()
        if isinstance(node, Either):
            found.add(node.test)
        stack += parts_of(node)
    return {min(test, opposite(test), key=repr) for test in found}


def _called(statements: Sequence[PyStatement]) -> set[str]:
    """Return the submodules that statements call."""
    nodes = expressions_in(statements)
    return {node.name for node in nodes if isinstance(node, SelfAttribute | Projection)}


def _holes(
    items: Sequence[ConstructorItem], forward: Sequence[PyStatement]
) -> dict[str, Test]:
    """Return the conditions of the submodules that are identities otherwise."""
    optional = optional_members(items)
    names = [n.name for n in expressions_in(forward) if isinstance(n, Projection)]
    return {
        name: test if holds else opposite(test)
        for name in names
        if name in optional
        for test, holds in (optional[name],)
    }


def _longest(known: str, new: str) -> str:
    """Return the shapes of a class; of equal ones, the longer text is kept."""
    shapes = known.split(" or ")
    plain = new.replace("'", "")
    return " or ".join(
        [
            max(one, new, key=len) if one.replace("'", "") == plain else one
            for one in shapes
        ]
    )


def _of_both(known: str, new: str, count: str = "C") -> str:
    """Return the shape of an output of two calls, with a name for channels that
    differ.
    """
    pairs = zip(known.split(" x "), new.split(" x "), strict=False)
    return " x ".join(
        [
            max(one, other, key=len) if one.strip("'") == other.strip("'") else count
            for one, other in pairs
        ]
    )


def _describe(
    known: ClassPlan,
    new: ClassPlan,
    args: Mapping[str, PyExpression],
    split: Test | None,
) -> None:
    """Extend the docstring and the channels of a class to those of a new call."""
    known.extras = {
        name: _of_both(text, new.extras[name]) for name, text in known.extras.items()
    }
    theirs = new.out_channels
    if theirs is None or not known.channels or theirs in known.channels:
        known.shape = " to ".join(
            map(_longest, known.shape.split(" to "), new.shape.split(" to "))
        )
        return
    before, _, after = known.shape.partition(" to ")
    shapes, shape = after.split(" or "), new.shape.partition(" to ")[2]
    here, calls = LiteralExpr(theirs), [dict(call.args) for call in known.calls]
    for place, one in enumerate(map(LiteralExpr, known.channels)):
        if _agree(one, here, args):
            return
        if all(_agree(one, here, call) for call in calls):
            shapes[place], known.channels[place] = shape, theirs
            break
        name = "" if split is not None else _argument_for(known, one, args, here)
        if name and len(shapes[place].split(" x ")) == len(shape.split(" x ")):
            shapes[place] = _of_both(shapes[place], shape, name)
            known.channels[place] = Poly.name(name)
            break
    else:
        shapes.append(shape)
        known.channels.append(theirs)
        if split is None:  # nothing tells which of them a call has
            known.channels.clear()
            shapes = _by_rank(shapes)
    known.shape = f"{before} to {' or '.join(shapes)}"


def _agree(
    one: PyExpression, other: PyExpression, args: Mapping[str, PyExpression]
) -> bool:
    """Return whether two numbers are known to be equal in a call."""
    value = _value(one, args)
    return value is not None and value == _value(other, args)


def _by_rank(shapes: Sequence[str]) -> list[str]:
    """Return one shape for all of a rank, with a name for channels that differ."""
    found: dict[int, str] = {}
    for shape in shapes:
        rank = len(shape.split(" x "))
        found[rank] = _of_both(found.get(rank, shape), shape)
    return [*found.values()]


def _argument_for(
    known: ClassPlan,
    mine: PyExpression,
    args: Mapping[str, PyExpression],
    theirs: PyExpression,
) -> str | None:
    """Return the argument that has one value in the calls so far, and another in a new
    call; None if none has.

    Args:
        known: the class.
        mine: its value in the calls so far, in the names of the constructor.
        args: the arguments of the new call.
        theirs: its value there.
    """
    for name in sorted(known.promoted):
        calls = [dict(call.args) for call in known.calls]
        if args.get(name) == theirs and all(
            call.get(name) == _value(mine, call) for call in calls
        ):
            return name
    return None


def _default(name: str, values: Sequence[PyExpression]) -> str:
    """Return torch's default, if some calls use it and others have a tuple."""
    default = _DEFAULTS.get(name, "")
    uses = default in map(flat, values)
    return (
        default if uses and any(isinstance(one, SequenceExpr) for one in values) else ""
    )


def _add_types(plan: ClassPlan, given: Mapping[str, PyExpression]) -> None:
    """Add the types of some values to those of a class's arguments."""
    for place, field in enumerate(plan.fields):
        if field.name in given:
            types = {*field.type.split(" | "), _type(given[field.name])}
            plan.fields[place] = field._replace(type=" | ".join(sorted(types)))


def _takes_pairs(item: ConstructorItem, pairs: Set[str]) -> bool:
    """Return whether an item only passes some arguments on, which can be tuples."""
    tested: set[str] = set()
    nodes: list[PyExpression] = []
    match item:
        case Choice():
            sides = *item.there, *item.otherwise
            inner = all(_takes_pairs(one, pairs) for one in sides)
            return inner and conditions.condition_parameters(item.test).isdisjoint(
                pairs
            )
        case Flag():
            tested |= conditions.condition_parameters(item.condition)
            if not all(_takes_pairs(one, pairs) for one in item.extra):
                return False
        case Member():
            tested |= conditions.label_parameters(item.label)
            tested |= (
                conditions.condition_parameters(item.condition)
                if item.condition
                else set()
            )
            nodes += [item.node] if item.node is not None else []
        case Loop():
            tested |= item.times.names() | conditions.label_parameters(item.label or ())
            nodes += [one for one in (*item.nodes, item.node) if one is not None]
    while nodes:
        node = nodes.pop()
        match node:
            case LiteralExpr(Poly() as number) if not number.is_name:
                tested |= number.names()
            case Star():
                tested |= node.times.names()
            case Maybe() | Either():
                tested |= conditions.condition_parameters(node.test)
            case _:
                pass
        nodes += parts_of(node)
    return tested.isdisjoint(pairs)


def _shared_forward(known: ClassPlan, new: ClassPlan) -> tuple[PyStatement, ...] | None:
    """Return statements that serve both, or None.

    In a class that never has an optional shortcut, the sum is left open.
    """
    if known.forward == new.forward:
        return known.forward
    mine, theirs = known.forward, new.forward
    if known.is_divided:
        answers = new.answers()
        if (answers, theirs) in known.served:
            return known.forward
        mine = seen_by(mine, answers, known.holes)
        theirs = without_projections(theirs, new.missing() & known.holes.keys())
        if same_statements(mine, theirs):
            known.served.append((answers, new.forward))
            return known.forward
    if not same_statements(without_sums(mine), without_sums(theirs)):
        return None
    for one, other in ((known, new), (new, known)):
        flags = [item for item in every(one.items) if isinstance(item, Flag)]
        if not any(True in flag.states for flag in flags):
            return None if other is new and known.is_divided else other.forward
    return None


def _names(known: ClassPlan, new: ClassPlan) -> dict[tuple[str, str], str]:
    """Return the spec's names for the numbers in which two calls differ."""
    return {
        (poly.text(), new.lets[name].text()): name
        for name, poly in known.lets.items()
        if name in new.lets
    }


def without_sums(statements: Sequence[PyStatement]) -> tuple[PyStatement, ...]:
    """Return statements in which the sums of optional shortcuts are left open."""

    def change(node: PyExpression) -> PyExpression:
        return Shortcut(node.flag, None, None) if isinstance(node, Shortcut) else node

    return mapped_statements(statements, change)


class Sharing:
    """Merges the submodules of a class with those that another call needs.

    Attributes:
        added: constants that become arguments.
        given: values for the new call of arguments that were such constants before.
        pairs: arguments that are a number in one call, and a tuple in another.
        split: a condition that tells the new call from the others, if there is one.
    """

    def __init__(
        self,
        known: ClassPlan,
        new: ClassPlan,
        args: Mapping[str, PyExpression],
        split: Test | None = None,
    ) -> None:
        self.added: list[Promotion] = []
        self.given: dict[str, PyExpression] = {}
        self.pairs = set(known.pairs)
        self.split = split
        self._new = new
        self._is_divided = known.is_divided
        # Nothing depends on conditions, as for nearly all calls.
        self._is_plain = split is None and not known.is_divided
        self._holds = split is not None and bool(new.answer(split))
        self._taken = {field.name for field in known.fields}
        self._own = self._taken - known.promoted
        self._calls = known.calls
        self._promoted = known.promoted
        self._names = _names(known, new)
        self._args = args

    def before(self, added: Promotion) -> list[PyExpression | None]:
        """Return the values of an added argument in the calls so far."""
        return [_value(added.old, dict(call.args)) for call in self._calls]

    def items(
        self, mine: Sequence[ConstructorItem], theirs: Sequence[ConstructorItem]
    ) -> list[ConstructorItem] | None:
        """Return submodules that serve both, or None."""
        if self._is_plain:
            if len(mine) != len(theirs):
                return None
            pairs = [self._item(a, b) for a, b in zip(mine, theirs, strict=True)]
            kept = [item for item in pairs if item is not None]
            if len(kept) < len(pairs) or len(self.added) > _MOST:
                return None
            return kept
        if self.split is not None and _are_unnamed((*mine, *theirs)):
            return self._unnamed(mine, theirs)
        rest = list(theirs)
        merged = self._items(mine, rest)
        if merged is None or len(self.added) > _MOST:
            return None
        if rest and self.split is None:
            return None
        merged += self._only_theirs(rest)
        if any(isinstance(one, Choice) and not _can_wait(one) for one in merged):
            return None
        if self.split is None:
            return merged
        found = self._grouped(merged)
        names = [name for one in found for name in names_of_members((one,))]
        return None if len(set(names)) < len(names) and any(names) else found

    def _unnamed(
        self, mine: Sequence[ConstructorItem], theirs: Sequence[ConstructorItem]
    ) -> list[ConstructorItem] | None:
        """Return submodules of a sequence without names that serve both, or None."""
        args = self._arguments(_as_arguments(mine), _as_arguments(theirs))
        if args is None or len(self.added) > _MOST:
            return None
        return [Member((), argument.value) for argument in args]

    def _items(
        self, mine: Sequence[ConstructorItem], rest: list[ConstructorItem]
    ) -> list[ConstructorItem] | None:
        """Merge items with those of the new call, which are removed from a list."""
        merged: list[ConstructorItem] = []
        ahead = [*map(_key, every_seen(mine, self._new))]
        for item in mine:
            if isinstance(item, Choice):
                found = self._choice(item, rest)
                if found is None:
                    return None
                merged.append(found)
                continue
            key, keys = _key(item), [*map(_key, rest)]
            if key not in keys:
                if self.split is None:
                    return None
                merged.append(self._part(item, not self._holds))
                continue
            if keys[0] != key:
                place = keys.index(key)
                # A submodule that the class has later would have to be moved.
                if self.split is None or not set(ahead).isdisjoint(keys[:place]):
                    return None
                merged += self._only_theirs(rest[:place])
                del rest[:place]
            one = self._item(item, rest.pop(0))
            if one is None:
                return None
            merged.append(one)
        return merged

    def _choice(self, item: Choice, rest: list[ConstructorItem]) -> Choice | None:
        """Merge submodules that depend on a condition with those of the new call."""
        holds = self._new.answer(item.test)
        if holds is None:
            return None
        keys = {_key(one) for one in item.of(not holds)}
        side = item.of(holds)
        if not side and rest and _is_missing(rest[0]) and _key(rest[0]) in keys:
            rest.pop(0)
        own = rest[: len(side)]
        for place, one in enumerate(own):
            if isinstance(one, Member) and one.states == {True}:
                rest[place] = one._replace(condition=None)
        split, self.split = self.split, None
        merged = self._items(side, rest)
        self.split = split
        return None if merged is None else item.with_side(holds, merged)

    def _part(self, item: ConstructorItem, holds: bool) -> Choice:
        """Return a submodule that depends on the condition that tells calls apart."""
        assert self.split is not None
        return Choice(self.split, (), ()).with_side(holds, (item,))

    def _only_theirs(self, items: Sequence[ConstructorItem]) -> list[ConstructorItem]:
        return [self._part(item, self._holds) for item in items]

    def _grouped(self, items: Sequence[ConstructorItem]) -> list[ConstructorItem]:
        """Join neighbours that depend on the same condition."""
        found: list[ConstructorItem] = []
        for item in items:
            last = found[-1] if found else None
            if (
                isinstance(item, Choice)
                and isinstance(last, Choice)
                and item.test == last.test == self.split
            ):
                both = last.there + item.there, last.otherwise + item.otherwise
                found[-1] = Choice(item.test, *both)
            else:
                found.append(item)
        return found

    def _item(
        self, mine: ConstructorItem, theirs: ConstructorItem
    ) -> ConstructorItem | None:
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
        extra: Sequence[ConstructorItem] | None = mine.extra or theirs.extra
        # Without the shortcut, it is not known what comes before it.
        if True in mine.states & theirs.states or (mine.extra and theirs.extra):
            extra = self.items(mine.extra, theirs.extra)
        if extra is None:
            return None
        return mine._replace(states=mine.states | theirs.states, extra=tuple(extra))

    def _members(self, mine: Member, theirs: Member) -> ConstructorItem | None:
        if mine.label != theirs.label:
            return None
        states = mine.states | theirs.states
        if mine.condition == theirs.condition:
            node = mine.node or theirs.node
            if mine.node is None or theirs.node is None:
                if mine.condition is not None or node is None:
                    return mine._replace(node=node, states=states)
            else:
                node = self.node(mine.node, theirs.node, mine.attr)
                if node is not None:
                    return mine._replace(node=node, states=states)
        return None if self.split is None else self._either_member(mine, theirs)

    def _either_member(self, mine: Member, theirs: Member) -> ConstructorItem | None:
        """Return a submodule that is created in two ways, or in one case only."""
        if mine.node is theirs.node is None:
            # No call so far needs it, so no condition can tell which calls do.
            return mine._replace(condition=None, states=mine.states | theirs.states)
        sides: list[tuple[Member, ...]] = []
        for one in (mine, theirs):
            if one.node is None:
                sides.append(())
            elif one.states == {True}:
                sides.append((one._replace(condition=None),))
            else:
                sides.append((one,))
        if self.split is None or any(one.condition for side in sides for one in side):
            return None
        nodes = [one.node for side in sides for one in side]
        if len(nodes) > 1 and any(
            isinstance(one, CallExpr) and one.function == "nn.Sequential"
            for one in nodes
        ):
            return None  # two lists of layers read better in two classes
        found = Choice(self.split, (), ()).with_side(self._holds, sides[1])
        return found.with_side(not self._holds, sides[0])

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

    # ---- forward

    def forward(
        self, known: ClassPlan, new: ClassPlan
    ) -> tuple[PyStatement, ...] | None:
        """Return statements for two calls that a condition tells apart.

        A submodule that one of them has besides is an identity for the other, if that
        is all they differ by. Otherwise, the statements test the condition.
        """
        assert self.split is not None
        mine, theirs = known.forward, without_projections(new.forward, new.missing())
        own, others = names_of_members(known.items), names_of_members(new.items)
        if not known.is_divided:
            mine = without_projections(mine, known.missing())
        for more, less, names in (
            (known.forward, theirs, own - others),
            (new.forward, mine, others - own),
        ):
            if names != own ^ others or not names:
                continue
            may_lack = as_projections(more, names | known.holes.keys())
            found = trace_statements(may_lack, names | known.missing() | new.missing())
            if found is not None and found == trace_statements(less):
                return may_lack
        return divided(self.split, known.forward, new.forward, self._holds)

    # ---- expressions

    def node(
        self, mine: PyExpression, theirs: PyExpression, hint: str
    ) -> PyExpression | None:
        """Return an expression that serves both, or None.

        Args:
            mine: expression of the class so far.
            theirs: expression of the new call.
            hint: name for an argument, if the two are different constants.
        """
        if mine == theirs:
            return mine
        if isinstance(mine, Either):
            holds = self._new.answer(mine.test)
            if holds is None:
                return None
            sides = [mine.there, mine.otherwise]
            # A choice within a choice would be hard to read.
            split, self.split = self.split, None
            side = self.node(sides[not holds], theirs, hint)
            self.split = split
            sides[not holds] = sides[not holds] if side is None else side
            return None if side is None else Either(mine.test, *sides)
        if isinstance(mine, CallExpr | Invoke) and isinstance(theirs, CallExpr):
            return self._call(mine, theirs)
        if isinstance(theirs, TypeExpr):
            return self._type(mine, theirs, (hint,))
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

    def _call(self, mine: CallExpr | Invoke, theirs: CallExpr) -> PyExpression | None:
        """Return a call for both, or None.

        If its class is one of the block's parameters, the constructor takes the class.
        """
        if isinstance(mine, Invoke):
            callee = self._type(mine.callee, TypeExpr(theirs.function), ())
        else:
            by = tuple([name for name in mine.chosen_by if name in theirs.chosen_by])
            if mine.function == theirs.function:
                args = self._arguments(mine.args, theirs.args)
                if args is None:
                    return None
                spread = mine.spread or theirs.spread
                return mine._replace(args=args, spread=spread, chosen_by=by)
            pair = TypeExpr(mine.function), TypeExpr(theirs.function)
            callee = self._type(*pair, by)
        args = None if callee is None else self._arguments(mine.args, theirs.args)
        return None if callee is None or args is None else Invoke(callee, args)

    def _type(
        self, mine: PyExpression, theirs: TypeExpr, names: Sequence[str]
    ) -> PyExpression | None:
        """Return a class that serves both calls: the argument for it, or None.

        Args:
            mine: the class in the calls so far.
            theirs: the class in the new call.
            names: names that the argument can have, if there is none yet.
        """
        if mine == theirs:
            return mine
        if _bare_name(mine) in self._promoted:
            return self._given(mine, theirs)
        if not isinstance(mine, TypeExpr):
            return None
        free = next((name for name in names if name not in self._taken), "")
        return self._replaced(mine, theirs) or (
            self._promote(free, mine, theirs) if free else None
        )

    def _given(self, mine: PyExpression, theirs: PyExpression) -> PyExpression | None:
        """Return an argument that replaces a constant in the calls so far, if it can
        have a value in the new call.
        """
        known = self.given.setdefault(_bare_name(mine), theirs)
        return mine if known == theirs else None

    def _replaced(
        self, mine: PyExpression, theirs: PyExpression
    ) -> PyExpression | None:
        """Return the argument that already replaces two constants, if there is one."""
        for added in self.added:
            if (added.old, added.new) == (mine, theirs):
                return LiteralExpr(Poly.name(added.name))
        return None

    def _promote(
        self, name: str, mine: PyExpression, theirs: PyExpression
    ) -> PyExpression:
        """Return a new argument that replaces two constants."""
        self._taken.add(name)
        self.added.append(Promotion(name, mine, theirs))
        return LiteralExpr(Poly.name(name))

    def explains(self, known: ClassPlan, new: ClassPlan) -> bool:
        """Return whether a condition, if there is one, is all that tells calls apart.

        Other parameters that are no numbers must be equal, or be arguments.
        """
        passed = known.promoted.union([added.name for added in self.added])
        return self.split is None or all(
            known.apart[name] == new.apart.get(name)
            for name in known.apart.keys() - passed
        )

    def _maybes(self, mine: Maybe, theirs: Maybe, hint: str) -> PyExpression | None:
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
        """Return arguments for both calls, or None."""
        merged: list[Argument] = []
        if self._is_plain:
            if [a.name for a in mine] != [b.name for b in theirs]:
                return None
            for a, b in zip(mine, theirs, strict=True):
                node = self.node(a.value, b.value, a.name or "size")
                if node is None:
                    return None
                merged.append(Argument(a.name, node))
            return tuple(merged)
        rest = list(theirs)
        for a in mine:
            left_out = self._left_out(a, rest)
            if left_out is not None:
                merged.append(left_out)
                continue
            wanted = [b.name for b in rest]
            place = wanted.index(a.name) if a.name in wanted else None
            if place is None:
                given = self._by_default(a)
            elif place and not a.name:
                return None
            else:
                for one in rest[:place]:
                    own = self._by_default(one)
                    node = own and self.node(own.value, one.value, one.name)
                    if node is None:
                        return None
                    merged.append(Argument(one.name, node))
                given = rest[place]
                del rest[: place + 1]
            node = given and self.node(a.value, given.value, a.name or "size")
            if node is None:
                return None
            merged.append(Argument(a.name, node))
        for b in rest:
            own = self._only_in(b, self._holds) if not b.name else self._by_default(b)
            if own is not None and b.name:
                node = self.node(own.value, b.value, b.name)
                own = None if node is None else Argument(b.name, node)
            if own is None:
                return None
            merged.append(own)
        return tuple(merged)

    def _left_out(self, a: Argument, rest: list[Argument]) -> Argument | None:
        """Return an argument of a sequence that the new call does not have, as one that
        depends on a condition; None if it has it.
        """
        b = rest[0].value if rest else None
        value = a.value
        known = isinstance(value, Maybe) and value.node is not None
        if known and isinstance(value, Maybe) and not _is_maybe(b, value):
            holds = self._new.answer(value.test)
            if holds is False:
                return a
            if holds and b is not None:
                node = value.node and self.node(value.node, b, "size")
                if node is not None:
                    rest.pop(0)
                    return Argument("", value._replace(node=node))
            return None
        if a.name or not isinstance(value, CallExpr | Make):
            return None
        if b is not None and _is_alike(value, b):
            return None
        return self._only_in(a, not self._holds)

    def _only_in(self, one: Argument, holds: bool) -> Argument | None:
        """Return an argument that depends on the condition that tells calls apart."""
        if self.split is None or not isinstance(one.value, CallExpr | Make):
            return None
        test = self.split if holds else opposite(self.split)
        return Argument("", Maybe(one.value, test, frozenset((True, False))))

    def _by_default(self, one: Argument) -> Argument | None:
        """Return torch's default for an argument that only one of two calls has."""
        given = isinstance(one.value, Either) or self.split is not None
        if not given or one.name not in _DEFAULTS:
            return None
        return Argument(one.name, LiteralExpr(Poly.constant(int(_DEFAULTS[one.name]))))

    def _constant(
        self, mine: PyExpression, theirs: PyExpression, hint: str
    ) -> PyExpression | None:
        """Return the argument that replaces the two constants."""
        if pair := self._pair(mine, theirs):
            self.pairs.add(pair)
            return LiteralExpr(Poly.name(pair))
        if self._is_passed(hint, mine, theirs):
            return LiteralExpr(Poly.name(hint))
        follows = self._follows(mine) or self._follows(theirs)
        if self.split is not None and not follows:
            return self._told_apart(mine, theirs, hint)
        is_new = _is_constant(theirs) and not _is_constant(mine)
        if self._is_divided and is_new and _value(mine, self._args) == theirs:
            return mine
        if self._follows(theirs):
            theirs = _value(theirs, self._args) or theirs
        if not _is_constant(theirs):
            return None
        if _bare_name(mine) in self._promoted:
            return self._given(mine, theirs)
        if not _is_constant(mine) and not self._follows(mine):
            return None
        if replaced := self._replaced(mine, theirs):
            return replaced
        hint = self._names.get((flat(mine), flat(theirs)), hint)
        hint = name = hint if hint.isidentifier() else "size"
        number = 1
        while name in self._taken:
            number += 1
            name = f"{hint}{number}"
        return self._promote(name, mine, theirs)

    def _is_passed(self, name: str, mine: PyExpression, theirs: PyExpression) -> bool:
        """Return whether two constants are the values of an argument in two calls."""
        if (
            name not in self._own
            or isinstance(mine, SequenceExpr)
            or isinstance(theirs, SequenceExpr)
        ):
            return False
        if not (_is_constant(mine) and _is_constant(theirs)):
            return False
        return self._args.get(name) == theirs and self._was_given(name, mine)

    def _was_given(self, name: str, value: PyExpression) -> bool:
        return all(dict(call.args).get(name) == value for call in self._calls)

    def _told_apart(
        self, mine: PyExpression, theirs: PyExpression, hint: str
    ) -> PyExpression | None:
        """Return an expression that depends on the condition for the new call."""
        assert self.split is not None
        if not all(
            isinstance(one, LiteralExpr | SequenceExpr) for one in (mine, theirs)
        ):
            return None
        if hint in self._own:
            if isinstance(theirs, SequenceExpr) and self._args.get(hint) == theirs:
                self.pairs.add(hint)
                theirs = LiteralExpr(Poly.name(hint))
            if isinstance(mine, SequenceExpr) and self._was_given(hint, mine):
                self.pairs.add(hint)
                mine = LiteralExpr(Poly.name(hint))
        if _is_constant(theirs) and _value(mine, self._args) == theirs:
            return mine
        if _is_constant(mine) and all(
            _value(theirs, dict(call.args)) == mine for call in self._calls
        ):
            return theirs
        sides = (theirs, mine) if self._holds else (mine, theirs)
        if isinstance(self.split, Truth):
            texts = [flat(side) for side in sides]
            if texts == ["True", "False"]:
                return LiteralExpr(Poly.name(self.split.name))
        return Either(self.split, *sides)

    def _pair(self, mine: PyExpression, theirs: PyExpression) -> str:
        """Return the argument that is a tuple in one call, and another or a number in
        the other; an empty text if there is none.
        """
        names = {_bare_name(mine), _bare_name(theirs)} - {""}
        if isinstance(mine, SequenceExpr) and isinstance(theirs, SequenceExpr):
            names = set(self._args)
        if not isinstance(mine, SequenceExpr) and not isinstance(theirs, SequenceExpr):
            return ""
        for name in sorted(names & self._own):
            before = [dict(call.args) for call in self._calls]
            known = self._stands_for(name, mine, before)
            if known and self._stands_for(name, theirs, [self._args]):
                return name
        return ""

    def _stands_for(
        self, name: str, node: PyExpression, calls: Sequence[Mapping[str, PyExpression]]
    ) -> bool:
        """Return whether an argument has the value of an expression in some calls."""
        if isinstance(node, SequenceExpr):
            return all(args.get(name) == node for args in calls)
        return _bare_name(node) == name

    def _follows(self, node: PyExpression) -> bool:
        """Return whether a number follows from arguments that can be tuples."""
        names = names_in(node)
        return isinstance(node, LiteralExpr) and bool(names) and names <= self.pairs


def _key(item: ConstructorItem) -> Any:
    """Return the key by which the same item is found in another class."""
    match item:
        case Member():
            return item.label
        case Flag():
            return item.attr
        case _:
            return type(item).__name__


def every_seen(
    items: Sequence[ConstructorItem], new: ClassPlan
) -> Iterator[ConstructorItem]:
    """Yield the items that a call has, by its answers."""
    for item in items:
        if isinstance(item, Choice):
            holds = new.answer(item.test)
            if holds is not None:
                yield from every_seen(item.of(holds), new)
        else:
            yield item


def _are_unnamed(items: Sequence[ConstructorItem]) -> bool:
    return all(isinstance(item, Member) and not item.label for item in items)


def _as_arguments(items: Sequence[ConstructorItem]) -> tuple[Argument, ...]:
    members = [item for item in items if isinstance(item, Member)]
    return tuple([Argument("", one.node) for one in members if one.node is not None])


def _can_wait(choice: Choice) -> bool:
    """Return whether attributes can hold submodules that not all instances have."""
    items = *choice.there, *choice.otherwise
    return all(
        _can_wait(one)
        if isinstance(one, Choice)
        else isinstance(one, Member)
        and one.attr.isidentifier()
        and not conditions.label_parameters(one.label)
        for one in items
    )


def _is_missing(item: ConstructorItem) -> bool:
    return isinstance(item, Member) and item.node is None


def _is_maybe(node: PyExpression | None, other: Maybe) -> bool:
    return isinstance(node, Maybe) and node.test == other.test


def _is_alike(one: PyExpression, other: PyExpression) -> bool:
    """Return whether two arguments of a sequence may be the same one."""
    if isinstance(one, CallExpr) and isinstance(other, CallExpr):
        return one.function == other.function
    if isinstance(one, Make) and isinstance(other, Make):
        return one.target is other.target
    return False


def _value(node: PyExpression, args: Mapping[str, PyExpression]) -> PyExpression | None:
    """Return a constructor's expression for the arguments of a call; None if it
    is not a number.
    """
    if not isinstance(node, LiteralExpr) or not isinstance(node.value, Poly):
        return node
    if name := _bare_name(node):
        return args.get(name)
    bindings: dict[str, Poly] = {}
    for name in node.value.names():
        given = args.get(name)
        if not isinstance(given, LiteralExpr) or not isinstance(given.value, Poly):
            return None
        bindings[name] = given.value
    return LiteralExpr(node.value.substitute(bindings))


def type_of(*values: PyExpression) -> str:
    """Return the type of an argument that has some values."""
    return " | ".join(sorted(set(map(_type, values))))


def _type(node: PyExpression) -> str:
    if isinstance(node, TypeExpr):
        return "type[nn.Module]"
    if isinstance(node, SequenceExpr):
        return f"tuple[{', '.join(['int'] * len(node.items))}]"
    if isinstance(node, LiteralExpr) and isinstance(node.value, Poly):
        return "int"
    text = flat(node)
    if text in ("True", "False"):
        return "bool"
    return "float" if any(c in text for c in ".e") else "int"


def _is_constant(node: PyExpression) -> bool:
    if isinstance(node, SequenceExpr):
        return node.brackets == ("(", ")") and not names_in(node)
    if not isinstance(node, LiteralExpr):
        return False
    if isinstance(node.value, Poly):
        return node.value.number is not None
    text = node.value
    return text in ("True", "False") or text.lstrip("-")[:1].isdigit()


def _bare_name(node: PyExpression) -> str:
    if (
        isinstance(node, LiteralExpr)
        and isinstance(node.value, Poly)
        and node.value.is_name
    ):
        return flat(node)
    return ""
