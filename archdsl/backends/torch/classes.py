"""The classes of an emitted module, and when two calls can share one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from archdsl import conditions
from archdsl.backends.torch.layout import flat
from archdsl.backends.torch.nodes import (
    INDEX,
    Argument,
    Assign,
    Either,
    ForStatement,
    IfStatement,
    Invoke,
    LiteralExpr,
    LoopVariable,
    Make,
    Maybe,
    Present,
    Projection,
    PyExpression,
    PyStatement,
    SelfAttribute,
    SequenceExpr,
    Shortcut,
    StoredNumber,
    Var,
    expressions_in,
    mapped_statements,
    names_in,
    parts_of,
    polys_in,
)
from archdsl.conditions import LabelTemplate, Test
from archdsl.naming import channels_of_input
from archdsl.symbolic import Poly

# As many positional arguments as emitted code gives torch's layers: channels and
# kernel.
_MOST_BARE: Final = 3


class ConstructorArgument(NamedTuple):
    """A constructor argument: its type and default, as Python text."""

    name: str
    type: str
    default: str


class Member(NamedTuple):
    """A submodule; `node` is None for a projection that no instance needs.

    Attributes:
        label: its name; empty in a Sequential without names.
        node: the expression that creates it.
        condition: the condition under which it is created; otherwise it is an identity.
        states: whether it is created, in the instances so far.
    """

    label: LabelTemplate
    node: PyExpression | None
    condition: Test | None = None
    states: frozenset[bool] = frozenset((True,))

    @property
    def attr(self) -> str:
        """Its name, if it reads no parameters."""
        return "".join(part for part in self.label if isinstance(part, str))


class Loop(NamedTuple):
    """Submodules created in a loop.

    Attributes:
        times: number of submodules, as an expression.
        counts: their numbers in the calls so far.
        labels: names of the first three, if there are as many.
        nodes: expressions that create these.
        label: name of each as a function of the index; None while only one is known.
            Empty in a Sequential without names.
        node: expression for each as a function of the index; None while only one is
            known.
    """

    times: Poly
    counts: frozenset[int]
    labels: tuple[LabelTemplate, ...]
    nodes: tuple[PyExpression, ...]
    label: LabelTemplate | None
    node: PyExpression | None

    @property
    def is_single(self) -> bool:
        """Whether it is written as a single submodule, since every call has exactly
        one.
        """
        return self.label is None and bool(self.nodes)


class Flag(NamedTuple):
    """Whether an optional shortcut exists.

    Attributes:
        attr: name of the attribute that stores it.
        condition: the condition under which it exists.
        states: its values in the instances so far.
        extra: submodules that the shortcut needs.
    """

    attr: str
    condition: Test
    states: frozenset[bool]
    extra: tuple[ConstructorItem, ...]


class Choice(NamedTuple):
    """Submodules of the calls for which a condition holds, and of the others.

    Attributes:
        test: the condition on the constructor's arguments.
        there: the submodules where it holds, in order.
        otherwise: the other ones.
    """

    test: Test
    there: tuple[ConstructorItem, ...]
    otherwise: tuple[ConstructorItem, ...]

    def of(self, holds: bool) -> tuple[ConstructorItem, ...]:
        """Return the submodules of the calls for which it holds, or of the others."""
        return self.there if holds else self.otherwise

    def with_side(self, holds: bool, items: Sequence[ConstructorItem]) -> Choice:
        """Return the same with other submodules on one side."""
        if holds:
            return self._replace(there=tuple(items))
        return self._replace(otherwise=tuple(items))


ConstructorItem = Member | Loop | Flag | Choice


def every(items: Iterable[ConstructorItem]) -> Iterator[Member | Loop | Flag]:
    """Yield items in order, those of both sides of a choice, and what flags need."""
    for item in items:
        if isinstance(item, Choice):
            yield from every((*item.there, *item.otherwise))
            continue
        yield item
        if isinstance(item, Flag):
            yield from every(item.extra)


class Revision:
    """Counts changes to the classes of one module, to know when cached results are
    stale.

    Attributes:
        number: number of changes so far.
    """

    def __init__(self) -> None:
        self.number = 0


class ClassPlan:
    """One class of the emitted module.

    Attributes:
        role: ``network``, ``block`` or ``part``.
        word: name of the block or group in the spec.
        sequential: whether it is an `nn.Sequential`.
        doc: the comment in the spec.
        shape: shapes of input and output, for the docstring.
        fields: the possible arguments of the constructor, in order.
        items: its submodules, in order.
        inputs: names of `forward`'s arguments.
        forward: its statements; empty for a plain Sequential.
        channels: number of channels of its output; more than one if a condition decides
            between them, and none if the output has the input's or nothing tells it.
        lets: named numbers in the spec, by name.
        kinds: the classes of layer kinds among the block's parameters, by name; empty
            where an argument of the constructor chooses them.
        again: whether the backward pass runs its instances again.
        tests: conditions on the constructor's arguments that decide what is in it, with
            their answers in the calls so far.
        apart: the block's parameters that are not numbers, with their values.
        order: the names of the block's parameters, as in the spec.
        unrolled: the number of copies of each repeat that is written out one by one.
        extras: the outputs besides the main one, by name, with their shapes for the
            docstring.
        is_divided: whether its code depends on a condition.
        served: answers and statements of calls that share a divided class.
        holes: for each submodule that is an identity in calls that do not need it, the
            condition under which it is more than that.
        calls: the expressions that create an instance.
        promoted: the arguments that replace constants.
        pairs: the arguments that can be tuples.
    """

    def __init__(
        self,
        revision: Revision,
        role: str,
        word: str,
        sequential: bool,
        doc: str,
        shape: str,
        fields: list[ConstructorArgument],
        items: list[ConstructorItem],
        inputs: list[str],
        forward: tuple[PyStatement, ...],
        out_channels: Poly | None,
        lets: Mapping[str, Poly],
        kinds: Mapping[str, str] = MappingProxyType({}),
        again: bool = False,
        tests: Mapping[Test, bool] = MappingProxyType({}),
        apart: Mapping[str, Any] = MappingProxyType({}),
        unrolled: tuple[int, ...] = (),
        extras: Mapping[str, str] = MappingProxyType({}),
        order: Sequence[str] = (),
    ) -> None:
        self.extras = dict(extras)
        self.order = order
        self.revision = revision
        self.role = role
        self.word = word
        self.sequential = sequential
        self.doc = doc
        self.shape = shape
        self.fields = fields
        self.items = items
        self.inputs = inputs
        self.forward = forward
        self.channels = [] if out_channels is None else [out_channels]
        self.lets = lets
        self.kinds = dict(kinds)
        self.again = again
        self.tests = {test: frozenset((held,)) for test, held in tests.items()}
        self.holes: dict[str, Test] = {}
        self.apart = apart
        self.unrolled = unrolled
        self.is_divided = False
        self.served: list[tuple[dict[Test, bool], tuple[PyStatement, ...]]] = []
        self.name = ""
        self.calls: list[Make] = []
        self.promoted: set[str] = set()
        self.pairs: set[str] = set()
        self._signature: list[ConstructorArgument] = []
        self._signed = -1

    @property
    def out_channels(self) -> Poly | None:
        """The number of channels of its output, if that is one for all calls."""
        return self.channels[0] if len(self.channels) == 1 else None

    def title(self) -> str:
        """Return the class's name."""
        return self.name

    @property
    def base(self) -> str:
        """The torch class that it derives from."""
        if self.sequential:
            return "nn.Sequential"
        loops = any(isinstance(one, ForStatement) for one in self.statements())
        return "nn.ModuleDict" if loops else "nn.Module"

    def targets(self) -> list[ClassPlan]:
        """Return the classes of which it creates instances."""
        found: list[ClassPlan] = []
        for node in map(creation, every(self.items)):
            found += _targets(node) if node is not None else []
        return found

    def used(self) -> set[str]:
        """Return the names that the constructor uses."""
        return set(self.settings()).union(*map(_names_of, self.items))

    def settings(self) -> dict[str, str]:
        """Return the arguments that `forward` uses, with their attributes."""
        names: dict[str, None] = {}
        for node in expressions_in(self.forward):
            if isinstance(node, StoredNumber):
                # In source order, independent of hashes.
                names |= dict.fromkeys(sorted(node.number.names()))
        for test in tests_in(self._told(self.forward)) if self.is_divided else ():
            names |= dict.fromkeys(sorted(conditions.condition_parameters(test)))
        attrs = [item.attr for item in every(self.items) if not isinstance(item, Loop)]
        taken = {attr.partition(".")[0] for attr in attrs}
        return {n: f"{n}_" if n in taken else n for n in names}

    def signature(self) -> list[ConstructorArgument]:
        """Return the constructor's arguments: those that it uses, defaults last."""
        if self._signed != self.revision.number:
            used = self.used()
            kept = [field for field in self.fields if field.name in used]
            self._signature = sorted(kept, key=lambda field: bool(field.default))
            self._signed = self.revision.number
        return self._signature

    def select(self, args: Mapping[str, PyExpression]) -> Sequence[Argument]:
        """Return the arguments of a call that the constructor takes."""
        found = []
        signature = self.signature()
        few = sum([not field.default for field in signature]) <= _MOST_BARE
        unnamed = True
        for field in signature:
            value = args.get(field.name, LiteralExpr(Poly.name(field.name)))
            text = flat(value)
            if text == field.default:
                continue
            says = few and not isinstance(value, SequenceExpr)
            if field.default or not (says or self._says_itself(field, text)):
                unnamed = False
            found.append(Argument("" if unnamed else field.name, value))
        return found

    def _says_itself(self, field: ConstructorArgument, value: str) -> bool:
        """Return whether an argument is clear without its name among many others.

        It is if its value is a name that equals its own. At the front, so are input and
        output channels, as in torch's own layers.
        """
        is_out = self.out_channels == Poly.name(field.name)
        is_in = any(field.name == channels_of_input(name) for name in self.inputs)
        return is_out or is_in or field.name in ("in_channels", value)

    def locals(self) -> dict[Poly, str]:
        """Return the expressions that get a local variable, with its name.

        Those are named values of the spec, and expressions that would be written three
        times or more.
        """
        counts: dict[Poly, int] = {}
        sure = {poly for item in self.items for poly in _sure(item)}
        for item in every(self.items):
            node = creation(item)
            if node is None or isinstance(item, Loop | Flag):
                continue
            for poly in polys_in(node):
                plain = poly.number is not None or poly.is_name
                if not plain and (poly in sure or not poly.divides()):
                    counts[poly] = counts.get(poly, 0) + 1
        names = {p: n for n, p in self.lets.items() if p in counts}
        taken = {field.name for field in self.fields} | set(names.values())
        for poly, count in counts.items():
            if count < 3 or poly in names:
                continue
            word = "out" if poly == self.out_channels else "mid"
            name, number = f"{word}_channels", 1
            while name in taken:
                number += 1
                name = f"{word}{number}_channels"
            taken.add(name)
            names[poly] = name
        return names

    def statements(self) -> tuple[PyStatement, ...]:
        """Return `forward` in its final form, when all calls are known."""
        settings = self.settings()
        named = {n: Poly.name(f"self.{attr}") for n, attr in settings.items()}
        missing, flags = self.missing(), self._flags()

        def change(node: PyExpression) -> PyExpression:
            match node:
                case StoredNumber():
                    return LiteralExpr(node.number.substitute(named))
                case Projection():
                    if node.name in missing:
                        return node.value
                    return Invoke(SelfAttribute(node.name), (Argument("", node.value),))
                case Shortcut() if len(flags[node.flag]) < 2:
                    value = node.there if True in flags[node.flag] else node.otherwise
                    assert value is not None
                    return value
            return node

        written = mapped_statements(self._told(self.forward, settings), change)
        return passed_on(self._singled(written))

    def _told(
        self, statements: Sequence[PyStatement], names: Mapping[str, str] | None = None
    ) -> tuple[PyStatement, ...]:
        """Return statements with the conditions that they depend on in final form.

        If a condition holds exactly in the instances that have some submodules, the
        statement tests for these submodules instead.

        Args:
            statements: the statements.
            names: the attributes that store arguments, by name.
        """
        if not self.is_divided:
            return tuple(statements)
        optional = {
            name: at
            for name, at in optional_members(self.items).items()
            if name not in self.holes
        }
        found: list[PyStatement] = []
        for one in statements:
            if not isinstance(one, IfStatement) or isinstance(one.test, Present):
                found.append(one)
                continue
            sides = [self._told(side, names) for side in (one.then, one.otherwise)]
            for holds, side in ((True, sides[0]), (False, sides[1])):
                own = {n for n, at in optional.items() if at == (one.test, holds)}
                used = [n for n in _attributes(side) if n in own]
                if used:
                    present = Present(tuple(dict.fromkeys(used)))
                    found.append(IfStatement(present, side, sides[holds]))
                    break
            else:
                own_names = {n: f"self.{attr}" for n, attr in (names or {}).items()}
                test = conditions.renamed(one.test, own_names)
                then, otherwise = sides
                if not then:
                    test, then, otherwise = conditions.opposite(test), otherwise, then
                found.append(IfStatement(test, then, otherwise))
        return tuple(found)

    def _singled(self, statements: Sequence[PyStatement]) -> Iterator[PyStatement]:
        """Yield statements; a loop over a single submodule is replaced by its body."""
        loops = [item for item in every(self.items) if isinstance(item, Loop)]
        for one in statements:
            name = loops[0].labels[0] if loops and loops[0].is_single else ()
            if (
                not isinstance(one, ForStatement)
                or not name
                or conditions.label_parameters(name)
            ):
                yield one
                continue
            own = SelfAttribute("".join(map(str, name)))
            yield from mapped_statements(
                one.body, _in_place_of(LoopVariable(one.layer), own)
            )

    def answers(self) -> dict[Test, bool]:
        """Return the conditions that had one answer in all calls so far."""
        return {t: True in held for t, held in self.tests.items() if len(held) == 1}

    def answer(self, test: Test) -> bool | None:
        """Return the answer to a condition in all calls so far, if there is one."""
        return conditions.answer(test, self.answers())

    def missing(self) -> set[str]:
        """Return the names of projections that no instance needs."""
        members = [i for i in every(self.items) if isinstance(i, Member)]
        return {one.attr for one in members if one.node is None}

    def _flags(self) -> dict[str, frozenset[bool]]:
        """Return the values of the flags of optional shortcuts, by attribute name."""
        return {i.attr: i.states for i in every(self.items) if isinstance(i, Flag)}


def _sure(item: ConstructorItem) -> Iterator[Poly]:
    """Yield the numbers that a constructor computes whatever the conditions."""
    if isinstance(item, Member) and item.node is not None and item.condition is None:
        stack = [item.node]
        while stack:
            node = stack.pop()
            if isinstance(node, LiteralExpr) and isinstance(node.value, Poly):
                yield node.value
            if not isinstance(node, Either | Maybe) or _is_settled(node):
                stack += parts_of(node)


def _is_settled(node: PyExpression) -> bool:
    return isinstance(node, Maybe) and len(node.states) == 1


def tests_in(statements: Iterable[PyStatement]) -> Iterator[Test]:
    """Yield the conditions on arguments of the constructor, in order."""
    for one in statements:
        if isinstance(one, IfStatement):
            if not isinstance(one.test, Present):
                yield one.test
            yield from tests_in((*one.then, *one.otherwise))


def _attributes(statements: Sequence[PyStatement]) -> Iterator[str]:
    """Yield the names of the attributes that statements read."""
    for node in expressions_in(statements):
        if isinstance(node, SelfAttribute):
            yield node.name


def optional_members(
    items: Sequence[ConstructorItem],
) -> dict[str, tuple[Test, bool]]:
    """Return the submodules that only some instances have, with the condition and
    whether it holds in these.
    """
    found: dict[str, tuple[Test, bool]] = {}
    for item in items:
        if isinstance(item, Choice):
            for holds in (False, True):
                others = names_of_members(item.of(not holds))
                for name in names_of_members(item.of(holds)):
                    if name not in others:
                        found[name] = item.test, holds
            found |= optional_members((*item.there, *item.otherwise))
        elif isinstance(item, Flag):
            found |= optional_members(item.extra)
    return found


def names_of_members(items: Sequence[ConstructorItem]) -> set[str]:
    """Return the names of the submodules that some instances have."""
    members = [one for one in every(items) if isinstance(one, Member)]
    return {one.attr for one in members if one.node is not None}


def choices(items: Sequence[ConstructorItem]) -> Iterator[Choice]:
    """Yield the choices among items, which depend on conditions."""
    for item in items:
        if isinstance(item, Choice):
            yield item
            yield from choices((*item.there, *item.otherwise))
        elif isinstance(item, Flag):
            yield from choices(item.extra)


def _in_place_of(
    old: PyExpression, new: PyExpression
) -> Callable[[PyExpression], PyExpression]:
    return lambda node: new if node == old else node


def _names_of(item: ConstructorItem) -> set[str]:
    """Return the names that the constructor uses to create an item."""
    if isinstance(item, Flag):
        tested = (
            conditions.condition_parameters(item.condition)
            if len(item.states) > 1
            else set()
        )
        return tested.union(*map(_names_of, item.extra))
    if isinstance(item, Choice):
        sides = *item.there, *item.otherwise
        return conditions.condition_parameters(item.test).union(*map(_names_of, sides))
    node = creation(item)
    if node is None:
        return set()
    if isinstance(item, Member):
        tested = (
            conditions.condition_parameters(item.condition) if item.condition else set()
        )
        return names_in(node) | tested | conditions.label_parameters(item.label)
    if item.is_single:
        return names_in(node) | conditions.label_parameters(item.labels[0])
    rounds = names_in(node) | conditions.label_parameters(item.label or ())
    return (rounds - {INDEX}) | item.times.names()


def passed_on(statements: Iterable[PyStatement]) -> tuple[PyStatement, ...]:
    """Assign a value that is only copied directly to the variable it is copied to."""
    written = list(statements)
    # Most classes copy nothing, and then it is not needed.
    last: dict[str, int] = {}
    found: list[PyStatement] = []
    for place, one in enumerate(written):
        if isinstance(one, IfStatement):
            found += _tidied(one)
            continue
        if _copies_itself(one):
            continue
        if isinstance(one, Assign) and isinstance(one.value, Var) and not one.typed:
            before = found[-1] if found else None
            name = one.value.name
            last = last or _last_reads(written)
            if (
                isinstance(before, Assign)
                and before.target == name
                and not before.typed
                and last[name] <= place
                and one.target not in before.others
            ):
                found[-1] = replace(before, target=one.target)
                continue
        found.append(one)
    return tuple(found)


def _copies_itself(statement: PyStatement) -> bool:
    """Return whether a statement assigns a variable to itself."""
    if not isinstance(statement, Assign) or statement.typed:
        return False
    return statement.value == Var(statement.target)


def _tidied(statement: IfStatement) -> Iterator[IfStatement]:
    """Yield a condition without statements that do nothing, if it has others."""
    then, otherwise = (
        tuple([one for one in side if not _copies_itself(one)])
        for side in (statement.then, statement.otherwise)
    )
    test = statement.test
    if not then and not isinstance(test, Present):
        test, then, otherwise = conditions.opposite(test), otherwise, then
    if then:
        yield IfStatement(test, then, otherwise)


def _last_reads(statements: Sequence[PyStatement]) -> dict[str, int]:
    """Return the index of the last statement that reads each variable."""
    found = {}
    for place, one in enumerate(statements):
        for node in expressions_in([one]):
            if isinstance(node, Var):
                found[node.name] = place
    return found


def creation(item: ConstructorItem) -> PyExpression | None:
    """Return the expression that creates an item, as far as it is known."""
    if isinstance(item, Flag | Choice):
        return None
    if isinstance(item, Member):
        return item.node
    if item.node is None and item.nodes:
        return item.nodes[0]
    return item.node


def general_label(labels: Sequence[LabelTemplate]) -> LabelTemplate | None:
    """Return the names of a loop's submodules as a function of the index, if possible.

    They must end in consecutive numbers, and be equal before these.
    """
    ends = [_number_at_end(label) for label in labels]
    known = [end for end in ends if end is not None]
    if not known or len(known) < len(ends):
        return None
    head, start = known[0]
    if any(h != head or n != start + k for k, (h, n) in enumerate(known)):
        return None
    index = Poly.name(INDEX) + Poly.constant(start)
    return conditions.label((*head, index))


def _number_at_end(label: LabelTemplate) -> tuple[LabelTemplate, int] | None:
    """Return a name without the number at its end, and the number."""
    last = label[-1]
    if not isinstance(last, str):
        return None
    text = last.rstrip("0123456789")
    digits = last[len(text) :]
    # A number with leading zeros would lose them.
    if not digits or str(int(digits)) != digits:
        return None
    return (*label[:-1], *([text] if text else [])), int(digits)


def _targets(node: PyExpression) -> list[ClassPlan]:
    inner = [one for part in parts_of(node) for one in _targets(part)]
    if isinstance(node, Make) and isinstance(node.target, ClassPlan):
        return [node.target, *inner]
    return inner


def in_order(last: ClassPlan) -> list[ClassPlan]:
    """Return a class after all those that it needs."""
    found: dict[ClassPlan, None] = {}

    def visit(plan: ClassPlan) -> None:
        if plan not in found:
            for target in plan.targets():
                visit(target)
            found[plan] = None

    visit(last)
    return list(found)


def camel(word: str) -> str:
    """Return a class name: ``basic_block`` becomes ``BasicBlock``."""
    words = word.replace("-", "_").split("_")
    return "".join(part[:1].upper() + part[1:] for part in words)


_TAKEN = frozenset(("F", "OrderedDict", "Tensor", "False", "None", "True"))


def name_classes(classes: list[ClassPlan], reserved: set[str]) -> None:
    """Give every class its own name, the network's first."""
    taken = set(_TAKEN) | reserved
    network = classes[-1]
    network.name = camel(network.word)
    while network.name in taken:
        network.name += "Net"
    taken.add(network.name)
    variants: dict[str, list[ClassPlan]] = {}
    for plan in classes[:-1]:
        variants.setdefault(camel(plan.word), []).append(plan)
    differ = {base: _differing(alike) for base, alike in variants.items()}
    numbers: dict[str, int] = {}
    for plan in classes[:-1]:
        base = camel(plan.word)
        base += "".join([plan.kinds[kind] for kind in differ[base]])
        name, number = base, numbers.get(base, 1)
        while name in taken:
            number += 1
            name = f"{base}{number}"
        numbers[base] = number
        taken.add(name)
        plan.name = name


def _differing(variants: Sequence[ClassPlan]) -> list[str]:
    """Return the parameters for layer kinds by which classes of a block differ."""
    names = [*variants[0].kinds]
    if any([*variant.kinds] != names for variant in variants):
        return []
    return [n for n in names if len({variant.kinds[n] for variant in variants}) > 1]
