"""Turns blocks that are written alike into one, with parameters for what differs.

From the innermost outwards, the blocks of a class whose bodies have the same form are
put together. Each number in them is, in this order: the same in all; a multiple or part
of the channels that flow in; a parameter that exists already, or a multiple of it; a
parameter of its own.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from archdsl.backends.importer.spec import (
    ANY,
    Block,
    Body,
    Braces,
    Expression,
    Item,
    Kind,
    Line,
    Merge,
    Same,
    Spec,
    Tap,
    Word,
)
from archdsl.layer import REQUIRED, words
from archdsl.naming import (
    LANGUAGE_WORDS,
    PARAMETER_RESERVED,
    refusal,
)

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
# The argument that stands for an activation.
_ACT: Final = "act"
# The part of calls that must agree for a default; strides are more often left out.
_AGREE: Final = 0.7
_AGREE_STRIDE: Final = 0.5
# Names that say more than the argument's own.
_NAMES: Final = {"p": "drop", "times": "count", "size": "size"}


def structured(spec: Spec, *, plain: bool = False, optional: bool = True) -> Spec:
    """Return a spec whose blocks are shared by what is written alike.

    Args:
        spec: with a block for each call of a module.
        plain: whether only what is equal is shared, so that no block has parameters.
        optional: whether a class that is a residual in some calls, and in others only
            its body, becomes one with an optional shortcut. Whether the shape changes
            in just the latter is not looked at.
    """
    return Structure(spec, plain, optional).result()


@dataclass
class _Family:
    """Blocks of one class and form.

    Attributes:
        members: the names that they had, in order.
        block: the block that they become.
        given: the values of its parameters, for each member.
    """

    members: list[str]
    block: Block
    given: dict[str, dict[str, Any]] = field(default_factory=dict)


class Structure:
    """Blocks that are put together.

    Args:
        spec: with a block for each call of a module.
        plain: whether only what is equal is shared.
        optional: as for `structured`.

    Attributes:
        families: what the blocks become, in order of definition.
    """

    def __init__(self, spec: Spec, plain: bool = False, optional: bool = True) -> None:
        self.spec = spec
        self.plain = plain
        self.optional = optional and not plain
        self.names: set[str] = set()
        self.done: dict[str, _Family] = {}
        self.families: list[_Family] = []

    def share(self) -> None:
        """Put all blocks together that can be, from the innermost outwards."""
        waiting = dict(self.spec.blocks)
        while waiting:
            ready = {
                name: block
                for name, block in waiting.items()
                if all(word not in waiting for word in _calls(block.body))
            }
            for name in ready:
                del waiting[name]
            self._level(ready)

    def body_of(self, body: Body) -> Body:
        """Return the body of a network, with calls of the shared blocks."""
        body = changed(body, self._resolve)
        return body if self.plain else _repeated(body)

    def result(self) -> Spec:
        """Return the spec with shared blocks."""
        self.share()
        body = self.body_of(self.spec.body)
        blocks = {family.block.name: family.block for family in self.families}
        used = _used(body, blocks)
        kept = {name: block for name, block in blocks.items() if name in used}
        return replace(self.spec, body=body, blocks=kept)

    def _level(self, ready: dict[str, Block]) -> None:
        """Put blocks together that call none which is not done."""
        forms: dict[Any, list[str]] = {}
        bodies: dict[str, Body] = {}
        for name, block in ready.items():
            body = changed(block.body, self._resolve)
            if not self.plain:
                body = _repeated(changed(body, _automatic))
                body = changed(body, _any_activation)
            bodies[name] = body
        if self.optional:
            _make_optional(ready, bodies)
        for name, block in ready.items():
            numbers = tuple(_slots(bodies[name])) if self.plain else ()
            form = (block.title, block.indexed, form_of(bodies[name]), numbers)
            forms.setdefault(form, []).append(name)
        for members in forms.values():
            self._family(members, ready[members[0]], [bodies[n] for n in members])

    def _family(self, members: list[str], model: Block, bodies: Sequence[Body]) -> None:
        unified = Unifier(bodies)
        body = unified.body()
        name = self._name(members[0].partition(" ")[0])
        parameters = unified.parameters(len(members))
        kinds = tuple(name for name, one in unified.kinds.items() if one == _ACT)
        block = replace(model, name=name, body=body, parameters=parameters, kinds=kinds)
        family = _Family(members, block)
        for place, member in enumerate(members):
            given = {key: values[place] for key, values in unified.found.items()}
            family.given[member] = given
            self.done[member] = family
        self.families.append(family)

    def _resolve(self, item: Item) -> Item:
        """Return a call of the block that a part became."""
        if not isinstance(item, Word) or not item.block or item.word not in self.done:
            return item
        family = self.done[item.word]
        given = family.given[item.word]
        slots = tuple((name, given[name]) for name, _ in family.block.parameters)
        return replace(item, word=family.block.name, slots=slots)

    def _name(self, cls: str) -> str:
        base = _CAMEL.sub("_", cls.strip("_")).lower() or "part"
        if refusal(base, "block", LANGUAGE_WORDS) or base in words():
            base = f"{base}_block"
        name, number = base, 1
        while name in self.names:
            number += 1
            name = f"{base}{number}"
        self.names.add(name)
        return name


# ---- bodies of the same form -------------------------------------------------------


class Unifier:
    """Makes one body of several that have the same form.

    Args:
        bodies: those bodies.
        constants_first: whether a number that all have stays one, even if it is that of
            the channels that flow in.
    """

    def __init__(
        self, bodies: Sequence[Body], *, constants_first: bool = False
    ) -> None:
        self.bodies = bodies
        self.constants_first = constants_first
        self.found: dict[str, list[Any]] = {}
        self.kinds: dict[str, str] = {}

    def body(self) -> Body:
        """Return the body, with parameters in place of what differs."""
        streams = [list(_slots(body)) for body in self.bodies]
        columns = list(zip(*streams, strict=True))
        values = iter([self._value(column) for column in columns])
        return _filled(self.bodies[0], values)

    def parameters(self, number: int) -> tuple[tuple[str, Any], ...]:
        """Return the parameters' names and defaults, those without one first."""
        required, optional = [], []
        for name, values in self.found.items():
            value, count = Counter(values).most_common(1)[0]
            often_left_out = self.kinds[name] in ("stride", "groups")
            enough = _AGREE_STRIDE if often_left_out else _AGREE
            if number > 1 and count / number >= enough:
                optional.append((name, value))
            else:
                required.append((name, None))
        return (*required, *optional)

    def _value(self, column: Sequence[_Item]) -> Any:
        """Return what stands at a place of the common body."""
        values = _alike([one.value for one in column])
        flows = [one.flow for one in column]
        name = column[0].name
        if self.constants_first and len(set(values)) == 1:
            return values[0]
        if name == "groups" and all(values) and values == flows and max(values) > 1:
            return Expression("channels")
        if name == "width" and values == flows:
            return Width(values)
        if len(set(values)) == 1:
            return values[0]
        if _counts_channels(name):
            if all(flows) and (text := _ratio(values, flows, "channels")):
                return Expression(text)
            for known, other in self.found.items():
                wide = _counts_channels(self.kinds[known])
                if wide and (text := _ratio(values, other, known)):
                    return Expression(text)
        for known, other in self.found.items():
            if other == values and self.kinds[known] == name:
                return Expression(known)
        made = self._new(column[0], values)
        return Expression(made)

    def _new(self, one: _Item, values: list[Any]) -> str:
        base = _NAMES.get(one.name, one.name)
        if one.label and base in self.found and "." not in one.label:
            base = f"{one.label}_{base}".replace("-", "_")
        if refusal(base, "parameter", PARAMETER_RESERVED) or base in words():
            base = f"{base}_"
        name, number = base, 1
        while name in self.found:
            number += 1
            name = f"{base}{number}"
        self.found[name] = values
        self.kinds[name] = one.name
        return name


@dataclass(frozen=True)
class Width:
    """A width that equals the channels that flow in, and so is left out."""

    values: Any

    def __hash__(self) -> int:
        return 0


def _alike(values: list[Any]) -> list[Any]:
    """Return numbers as sizes where some are sizes: a parameter has one type."""
    axes = max((len(v) for v in values if isinstance(v, tuple)), default=0)
    return (
        [v if isinstance(v, tuple) else (v,) * axes for v in values] if axes else values
    )


def _counts_channels(name: str) -> bool:
    """Return whether an argument is a number of channels, or of groups of them."""
    return name.rstrip("0123456789").endswith(("width", "groups"))


def _ratio(values: Sequence[int], base: Sequence[int], name: str) -> str:
    """Return numbers as a multiple or part of others, if they all are."""
    if not all(base) or not all(values):
        return ""
    first, other = values[0], base[0]
    if all(v == b for v, b in zip(values, base, strict=True)):
        return name
    if first % other == 0:
        times = first // other
        if all(v == times * b for v, b in zip(values, base, strict=True)):
            return f"{times} * {name}"
    if other % first == 0:
        part = other // first
        if all(v * part == b for v, b in zip(values, base, strict=True)):
            return f"{name} // {part}"
    return ""


@dataclass(frozen=True)
class _Item:
    """A number in a body: its argument, its value and the channels that flow in."""

    name: str
    value: Any
    flow: int = field(compare=False)
    label: str = ""


def _is_slot(value: Any) -> bool:
    if isinstance(value, tuple | Kind):
        return True
    return type(value) in (int, float)


def _slots(body: Body) -> Iterator[_Item]:
    """Yield the numbers in a body, in the order in which `_filled` asks for them."""
    for line in body:
        for item in line.items:
            if isinstance(item, Word):
                for name, value in item.slots:
                    if _is_slot(value):
                        number = _single(value, item, name)
                        yield _Item(name, number, item.flow, item.label)
            elif isinstance(item, Braces):
                yield from _slots(item.body)
            elif isinstance(item, Merge):
                for branch in item.branches:
                    yield from _slots(branch)
        yield _Item("times", line.times, 0)


def _single(value: Any, item: Word, name: str) -> Any:
    """Return equal sizes as one number, where the language takes it for both."""
    if not isinstance(value, tuple) or item.block or len(set(value)) != 1:
        return value
    known = item.declared
    assert known is not None
    return value if known.fields[name].position == 0 else value[0]


def _filled(body: Body, values: Iterator[Any]) -> Body:
    """Return a body with other numbers, taken in the order of `_slots`."""
    lines = []
    for line in body:
        items: list[Item] = []
        for item in line.items:
            if isinstance(item, Word):
                items.append(_with_numbers(item, values))
            elif isinstance(item, Braces):
                items.append(replace(item, body=_filled(item.body, values)))
            elif isinstance(item, Merge):
                some = tuple(_filled(branch, values) for branch in item.branches)
                items.append(replace(item, branches=some))
            else:
                items.append(item)
        lines.append(replace(line, items=tuple(items), times=next(values)))
    return Body(tuple(lines))


def _with_numbers(item: Word, values: Iterator[Any]) -> Word:
    slots, flow = [], item.flow
    for name, old in item.slots:
        value = next(values) if _is_slot(old) else old
        if isinstance(value, Width):
            # Left out, as it equals what flows in, where it can be.
            value = Expression("channels") if _has_to_say(item, name) else None
        elif name == "width" and not item.block and value == flow:
            flow = 0  # of others, it is not what flows in
        if isinstance(old, tuple) and isinstance(value, int) and not item.block:
            value = (value, value)
        slots.append((name, value))
    return replace(item, slots=tuple(slots), flow=flow)


def _has_to_say(item: Word, name: str) -> bool:
    """Return whether a call cannot leave an argument out."""
    known = item.declared
    return item.block or known is None or known.fields[name].default is REQUIRED


def form_of(body: Body) -> Any:
    """Return what bodies have in common whose numbers alone differ."""
    lines = []
    for line in body:
        items: list[Any] = []
        for item in line.items:
            if isinstance(item, Word):
                slots = tuple(
                    (name, "number" if _is_slot(value) else value)
                    for name, value in item.slots
                )
                items.append((item.word, slots, item.label, item.block))
            elif isinstance(item, Braces):
                items.append((form_of(item.body), item.label, item.indexed))
            elif isinstance(item, Merge):
                branches = tuple(form_of(branch) for branch in item.branches)
                items.append((item.word, branches, item.args, item.label))
            else:
                items.append(item)
        lines.append((tuple(items), line.output))
    return tuple(lines)


# ---- activations -------------------------------------------------------------------


def _any_activation(item: Item) -> Item:
    """Return an activation without arguments as a layer that may be a parameter's."""
    if not isinstance(item, Word) or item.block or item.word == ANY:
        return item
    known = item.declared
    if known is None or known.family != "activation":
        return item
    if any(value != known.fields[name].default for name, value in item.slots):
        return item
    return replace(item, word=ANY, slots=((_ACT, Kind(item.word)),))


# ---- shortcuts ---------------------------------------------------------------------


def _automatic(item: Item) -> Item:
    """Return a residual without the projection that it would make itself."""
    if not isinstance(item, Merge) or item.word != "residual" or item.args:
        return item
    if len(item.branches) != 2 or not item.changes or item.label:
        return item
    body, shortcut = item.branches
    if len(shortcut.lines) != 1 or len(shortcut.lines[0].items) != 1:
        return item
    only = shortcut.lines[0].items[0]
    label = only.label if isinstance(only, Word | Braces) else ""
    parts: list[Item] = [only]
    if isinstance(only, Braces):
        parts = [part for line in only.body for part in line.items]
        if not only.indexed:
            return item
    norm = _last_norm(body)
    conv = parts[0]
    if not isinstance(conv, Word) or conv.word != "conv" or not label:
        return item
    if parts[1:] != ([norm] if norm else []):
        return item
    slots = dict(conv.slots)
    plain = slots["kernel"] == (1, 1) and slots["groups"] == 1 and slots["pad"] is None
    if not plain or (norm is None) != isinstance(only, Word):
        return item
    args = () if label == "downsample" else (("projection", label),)
    return replace(item, branches=(body,), args=args)


def _make_optional(blocks: Mapping[str, Block], bodies: dict[str, Body]) -> None:
    """Give the blocks of a class an optional shortcut where some calls have it.

    Args:
        blocks: by name.
        bodies: theirs, which are changed.
    """
    inner: dict[Any, dict[str, Body]] = {}
    for name, block in blocks.items():
        body = _added_to_its_input(bodies[name])
        if body is not None:
            key = block.title, block.indexed, form_of(body)
            inner.setdefault(key, {})[name] = body
    for name, block in blocks.items():
        found = inner.get((block.title, block.indexed, form_of(bodies[name])))
        if found is not None and name not in found:
            for other, body in {**found, name: bodies[name]}.items():
                args = (("shortcut", "optional"),)
                item = Merge("residual", (body,), args)
                bodies[other] = Body((Line((item,)),))


def _added_to_its_input(body: Body) -> Body | None:
    """Return what a block adds to its input, if that is all that it does."""
    if len(body.lines) != 1 or len(body.lines[0].items) != 1:
        return None
    line, (item,) = body.lines[0], body.lines[0].items
    if not isinstance(item, Merge) or item.word != "residual" or item.changes:
        return None
    once = line.times == 1 and not line.output and not item.label
    return (
        item.branches[0] if once and len(item.branches) == 1 and not item.args else None
    )


def _last_norm(body: Body) -> Word | None:
    found = None
    for line in body:
        for item in line.items:
            if isinstance(item, Word) and not item.block:
                known = item.declared
                if known is not None and known.family == "norm":
                    found = replace(item, label="")
    return found


# ---- trees -------------------------------------------------------------------------


def changed(body: Body, change: Callable[[Item], Item]) -> Body:
    """Return a body with each item changed, the innermost first."""
    lines = []
    for line in body:
        items = []
        for item in line.items:
            if isinstance(item, Braces):
                item = replace(item, body=changed(item.body, change))
            elif isinstance(item, Merge):
                some = tuple(changed(branch, change) for branch in item.branches)
                item = replace(item, branches=some)
            items.append(change(item))
        lines.append(replace(line, items=tuple(items)))
    return Body(tuple(lines))


def _calls(body: Body) -> Iterator[str]:
    """Yield the names of the blocks that a body calls."""
    for line in body:
        for item in line.items:
            if isinstance(item, Word) and item.block:
                yield item.word
            elif isinstance(item, Braces):
                yield from _calls(item.body)
            elif isinstance(item, Merge):
                for branch in item.branches:
                    yield from _calls(branch)


def _used(body: Body, blocks: dict[str, Block]) -> set[str]:
    """Return the names of all blocks that a body needs."""
    found: set[str] = set()
    waiting = list(_calls(body))
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += _calls(blocks[name].body)
    return found


def _repeated(body: Body) -> Body:
    """Return a body with lines that say the same again as one, with a number.

    The copies of a repeat get the labels with 1, 2, 3 and so on behind them.
    """
    lines: list[Line] = []
    tapped = {i.name for line in body for i in _items(line) if isinstance(i, Tap)}
    stem: Line | None = None
    for line in body:
        items = tuple(
            replace(item, body=_repeated(item.body))
            if isinstance(item, Braces)
            else item
            for item in line.items
        )
        line = replace(line, items=items)
        last = lines[-1] if lines else None
        if last is not None and _is_again(last, line):
            lines[-1] = replace(_both(last, line), times=last.times + 1)
            continue
        if last is not None and stem is not None:
            number = last.times + 1
            again = _without_number(line, number, tapped)
            if again == stem and again is not None:
                stem = _both(stem, again)
                lines[-1] = replace(stem, times=number)
                continue
        stem = _without_number(line, 1, tapped)
        lines.append(line)
    return Body(tuple(lines))


def _both(first: Line, second: Line) -> Line:
    """Return one of two lines that say the same, without the flows that differ.

    Of a part into which not always the same number flows, none is left out.
    """

    def body(one: Body, other: Body) -> Body:
        return Body(tuple(map(_both, one.lines, other.lines)))

    items: list[Item] = []
    for one, other in zip(first.items, second.items, strict=True):
        if isinstance(one, Word) and isinstance(other, Word) and one.flow != other.flow:
            one = replace(one, flow=0)
        elif isinstance(one, Braces) and isinstance(other, Braces):
            one = replace(one, body=body(one.body, other.body))
        elif isinstance(one, Merge) and isinstance(other, Merge):
            some = map(body, one.branches, other.branches)
            one = replace(one, branches=tuple(some))
        items.append(one)
    return replace(first, items=tuple(items))


def _is_again(last: Line, line: Line) -> bool:
    """Return whether a line says the same as the one before it."""
    if replace(last, times=1) != line or line.output:
        return False
    return all(isinstance(item, Word) and not item.label for item in line.items)


def _without_number(line: Line, number: int, tapped: set[str]) -> Line | None:
    """Return a line whose labels lack a number at their end; None if one has none."""
    end = str(number)
    labels = [label for item in _items(line) if (label := _label(item))]
    if not labels or line.output or line.times != 1 or tapped.intersection(labels):
        return None
    if any(isinstance(item, Tap | Same) for item in _items(line)):
        return None
    if not all(label.endswith(end) and label != end for label in labels):
        return None
    if any(label[-len(end) - 1].isdigit() or "." in label for label in labels):
        return None

    loop = any(isinstance(item, Merge) for item in line.items)

    def change(item: Item) -> Item:
        if isinstance(item, Merge):
            branches = tuple(
                Body(
                    tuple(
                        replace(one, items=tuple(map(change, one.items))) for one in b
                    )
                )
                for b in item.branches
            )
            item = replace(item, branches=branches)
        if isinstance(item, Word | Braces | Merge) and item.label:
            stem = item.label.removesuffix(end)
            return replace(item, label=stem + "{i + 1}" if loop else stem)
        return item

    return replace(line, items=tuple(map(change, line.items)), loop=loop)


def _label(item: Item) -> str:
    return item.label if isinstance(item, Word | Braces | Merge) else ""


def _items(line: Line) -> Iterator[Item]:
    """Yield all items of a line but those in braces, which own their names."""
    for item in line.items:
        yield item
        if isinstance(item, Merge):
            for branch in item.branches:
                for inner in branch:
                    yield from _items(inner)
