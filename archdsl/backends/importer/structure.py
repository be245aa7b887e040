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
from functools import partial
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

# Where a word begins in the name of a class; ReLU and ViT are one.
_CAMEL = re.compile(
    r"(?<=[a-z0-9])(?=[A-Z][a-z0-9])|(?<=[a-z0-9]{2})(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])"
)
# The argument that stands for an activation.
_ACT: Final = "act"
# The part of calls that must agree for a default; strides are more often left out.
_AGREE: Final = 0.7
_AGREE_STRIDE: Final = 0.5
# Names that say more than the argument's own.
_NAMES: Final = {"p": "drop", "times": "count", "size": "size"}
# The value that stands for the input channels of a block, and the parameter that it is
# a multiple of.
_INPUTS: Final = "inputs"
_FACTOR: Final = "expand"
# A width inside a block, beside that of what flows out.
_INNER: Final = "mid"
_MOST_FACTOR: Final = 8
# Padding that depends on the size of the map.
_SAME: Final = "same"


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
        return body if self.plain else repeated(body)

    def result(self) -> Spec:
        """Return the spec with shared blocks."""
        self.share()
        body = unrolled(self.body_of(self.spec.body))
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
                body = repeated(changed(body, _automatic))
                body = changed(body, _any_activation)
            bodies[name] = body
        _pad_alike(ready, bodies)
        if self.optional:
            _make_optional(ready, bodies)
        for name, block in ready.items():
            numbers = tuple(_slots(bodies[name])) if self.plain else ()
            form = (block.title, block.indexed, form_of(bodies[name]), numbers)
            forms.setdefault(form, []).append(name)
        for members in forms.values():
            flows = [(ready[n].inputs, ready[n].outputs) for n in members]
            self._family(
                members, ready[members[0]], [bodies[n] for n in members], flows
            )

    def _family(
        self,
        members: list[str],
        model: Block,
        bodies: Sequence[Body],
        flows: Sequence[tuple[int, int]],
    ) -> None:
        unified = Unifier(bodies, flows)
        body = unrolled(unified.body())
        name = self._name(members[0].partition(" ")[0])
        parameters = unified.parameters(len(members))
        kinds = tuple(name for name, one in unified.kinds.items() if one == _ACT)
        block = replace(
            model,
            name=name,
            body=body,
            parameters=parameters,
            kinds=kinds,
            values=tuple(unified.values.items()),
        )
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
            name = f"{base}{'_' * base[-1].isdigit()}{number}"
        self.names.add(name)
        return name


# ---- bodies of the same form -------------------------------------------------------


class Unifier:
    """Makes one body of several that have the same form.

    Args:
        bodies: those bodies.
        flows: for each, the channels that flow in, and those that flow out; none of a
            network.
        constants_first: whether a number that all have stays one, even if it is that of
            the channels that flow in.

    Attributes:
        found: the parameters, with their value for each body.
        kinds: what the parameters are in layers and calls, by name.
        values: values that the body needs beforehand, as text by name.
    """

    def __init__(
        self,
        bodies: Sequence[Body],
        flows: Sequence[tuple[int, int]] = (),
        *,
        constants_first: bool = False,
    ) -> None:
        self.bodies = bodies
        self.constants_first = constants_first
        self.inputs = [one for one, _ in flows]
        self.outputs = [one for _, one in flows]
        self._clear()
        # Whether a parameter is the width of what flows out.
        self.sets_width = False

    def _clear(self) -> None:
        self.found: dict[str, list[Any]] = {}
        self.kinds: dict[str, str] = {}
        self.values: dict[str, str] = {}

    def body(self) -> Body:
        """Return the body with parameters for what differs."""
        body = self._unified()
        if self._width_of_outputs() not in ("", "width"):
            self._clear()
            self.sets_width = True
            body = self._unified()
        return body

    def _unified(self) -> Body:
        streams = [list(_slots(body)) for body in self.bodies]
        columns = list(zip(*streams, strict=True))
        values = iter([self._value(column) for column in columns])
        return _filled(self.bodies[0], values)

    def _width_of_outputs(self) -> str:
        """Return the parameter that is the width of what flows out, or nothing."""
        for name, values in self.found.items():
            if values == self.outputs and _counts_channels(self.kinds[name]):
                return name
        return ""

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
        # What flows out is said first.
        required.sort(key=lambda one: one[0] != self._width_of_outputs())
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
            if text := self._of_inputs(values):
                return Expression(text)
            if name == "width" and (text := self._of_factor(values, flows)):
                return Expression(text)
        for known, other in self.found.items():
            if other == values and self.kinds[known] == name:
                return Expression(known)
        made = self._new(column[0], values)
        return Expression(made)

    def _of_inputs(self, values: Sequence[int]) -> str:
        """Return numbers as a part or multiple of what flows in, if they all are."""
        text = _ratio(values, self.inputs, _INPUTS) if self.inputs else ""
        for known, factors in self.found.items() if self.inputs else ():
            if self.kinds[known] == _FACTOR and not text:
                pairs = zip(factors, self.inputs, strict=True)
                if values == [factor * flow for factor, flow in pairs]:
                    text = f"{known} * {_INPUTS}"
        if text:
            self.values[_INPUTS] = "channels"
        return text

    def _of_factor(self, values: list[int], flows: list[int]) -> str:
        """Return numbers as multiples of what flows in, if it is widened inside."""
        if not all(flows) or values == self.outputs:
            return ""
        if any(v % flow for v, flow in zip(values, flows, strict=True)):
            return ""
        factors = [v // flow for v, flow in zip(values, flows, strict=True)]
        few = 2 * len(set(factors)) <= len(set(values))
        if not few and (flows != self.inputs or max(factors) > _MOST_FACTOR):
            return ""
        for known, other in self.found.items():
            if self.kinds[known] == _FACTOR and other == factors:
                return f"{known} * channels"
        return f"{self._new(_Item(_FACTOR, 0, 0), factors)} * channels"

    def _new(self, one: _Item, values: list[Any]) -> str:
        base = _NAMES.get(one.name, one.name)
        label = _COUNTED.sub(lambda m: m[2] or m[1].strip("{i}"), one.label)
        inner = self.sets_width and _counts_channels(one.name)
        if inner and values == self.outputs:
            base = "width"
        elif label and (base in self.found or inner) and "." not in label:
            base = f"{label}_{base}".replace("-", "_")
        elif inner and base == "width":
            base = _INNER
        if refusal(base, "parameter", PARAMETER_RESERVED) or base in words():
            base = f"{base}_"
        name, number = base, 1
        while name in self.found or name == _INPUTS:
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
    ends = ("width", "groups", "start", "stop", _INNER)
    return name.rstrip("0123456789_").endswith(ends)


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
        lines.append((tuple(items), line.output, line.loop))
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


# ---- padding -----------------------------------------------------------------------


def _pad_alike(blocks: Mapping[str, Block], bodies: dict[str, Body]) -> None:
    """Say of padding that it is as large as needed where other calls of a class do.

    Where the stride is 1, that is the usual one, and so was left out.

    Args:
        blocks: by name.
        bodies: theirs, which are changed.
    """
    said: set[tuple[str, str]] = set()
    for name, block in blocks.items():
        for item in _all_items(bodies[name]):
            # Without a label, it may be another layer in another call.
            if not isinstance(item, Word) or not item.label:
                continue
            if dict(item.slots).get("pad") == _SAME:
                said.add((block.title, item.label))
    for name, block in blocks.items() if said else ():
        bodies[name] = changed(bodies[name], partial(_padded, block.title, said))


def _padded(title: str, said: set[tuple[str, str]], item: Item) -> Item:
    if not isinstance(item, Word) or item.block or (title, item.label) not in said:
        return item
    given = dict(item.slots)
    if given.get("pad", _SAME) is not None or set(given["stride"]) != {1}:
        return item
    return replace(item, slots=tuple({**given, "pad": _SAME}.items()))


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


def _all_items(body: Body) -> Iterator[Item]:
    """Yield all items of a body, in order."""
    for line in body:
        for item in line.items:
            yield item
            if isinstance(item, Braces):
                yield from _all_items(item.body)
            elif isinstance(item, Merge):
                for branch in item.branches:
                    yield from _all_items(branch)


def _calls(body: Body) -> Iterator[str]:
    """Yield the names of the blocks that a body calls."""
    for item in _all_items(body):
        if isinstance(item, Word) and item.block:
            yield item.word


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


def repeated(body: Body) -> Body:
    """Return a body in which repeated lines are one line with a count.

    Lines whose labels end in a number become rounds of a loop, even a single one, so
    that bodies with more and with fewer rounds have the same form.
    """
    lines: list[Line] = []
    stem: Line | None = None
    start, flow = 0, ""
    for line in body:
        line = replace(line, items=tuple(_repeated_within(i, flow) for i in line.items))
        flow = _label(line.items[-1]) if len(line.items) == 1 else ""
        last = lines[-1] if lines else None
        if last is not None and _is_again(last, line):
            lines[-1] = replace(_both(last, line), times=last.times + 1)
            continue
        if last is not None and stem is not None:
            again = _round(line, start + last.times, start)
            if again == stem and again is not None:
                stem = _both(stem, again)
                lines[-1] = replace(stem, times=last.times + 1)
                continue
        number = _number_of(line)
        start = 0 if number is None else number
        stem = None if number is None else _round(line, start, start)
        alone = stem is not None and not _has_merge(line)
        lines.append(stem if alone and stem is not None else line)
    return Body(tuple(_in_turns([_with_branches(line) for line in lines])))


def _repeated_within(item: Item, flow: str) -> Item:
    """Return an item with what it holds repeated.

    Args:
        item: the item.
        flow: label of what flows in, if it has one.
    """
    if isinstance(item, Braces):
        return replace(item, body=repeated(item.body))
    if isinstance(item, Merge) and len(item.branches) > 2:
        return replace(item, branches=_with_ranges(item.branches, flow))
    return item


def _with_branches(line: Line) -> Line:
    """Return a line with what the branches of its merges hold repeated."""
    items = (
        replace(item, branches=tuple(map(repeated, item.branches)))
        if isinstance(item, Merge)
        else item
        for item in line.items
    )
    return replace(line, items=tuple(items))


def _with_ranges(branches: Sequence[Body], flow: str) -> tuple[Body, ...]:
    """Return branches with taps whose labels count, such as a.0 and a.1, as a loop."""
    names = [flow if not body.lines else _tap_of(body) for body in branches]
    found: list[Body] = []
    place = 0
    while place < len(branches):
        number = _NUMBER.search(names[place])
        count = 1
        if number is not None:
            stem = names[place][: number.start()]
            first = int(number[0])
            while names[place + count : place + count + 1] == [
                f"{stem}{first + count}"
            ]:
                count += 1
        if count > 1:
            tap = Tap(f"{stem}{_counted(first)}")
            found.append(Body((Line((tap,), times=count, loop=True),)))
        else:
            found.append(branches[place])
        place += count
    return tuple(found)


def _tap_of(body: Body) -> str:
    """Return the name that a branch reads, if it is nothing but a tap."""
    items = [item for line in body for item in line.items]
    return items[0].name if len(items) == 1 and isinstance(items[0], Tap) else ""


def _has_merge(line: Line) -> bool:
    return any(isinstance(item, Merge) for item in line.items)


def _counted(start: int) -> str:
    """Return what a label ends in, in a loop whose first round has a number."""
    return f"{{i + {start}}}" if start else "{i}"


def unrolled(body: Body) -> Body:
    """Return a body whose loops are repeats, or written out, where that is as short."""
    taps = [i.name for line in body for i in _items(line) if isinstance(i, Tap)]
    return _unrolled(body, frozenset(_COUNTED.sub("", name) for name in taps))


_COUNTED: Final = re.compile(r"(\{i(?: \+ (\d+))?\}|\d+)$")


def _unrolled(body: Body, tapped: frozenset[str]) -> Body:
    lines: list[Line] = []
    for line in body:
        items = tuple(_unrolled_within(item, tapped) for item in line.items)
        line = replace(line, items=items)
        if not line.loop:
            lines.append(line)
            continue
        labels = [label for item in _items(line) if (label := _label(item))]
        stems = [_COUNTED.sub("", label) for label in labels]
        start = _start_of(labels[0])
        plain = not _has_merge(line)
        bare = plain and start == 1 and not any("." in stem for stem in stems)
        if line.times != 1 and bare and not tapped.intersection(stems):
            lines.append(_relabelled(line, partial(_COUNTED.sub, ""), loop=False))
        elif line.times == 1 or (line.times == 2 and plain):
            for number in range(start, start + line.times):
                once = _relabelled(line, partial(_COUNTED.sub, str(number)), loop=False)
                lines.append(replace(once, times=1))
        else:
            lines.append(line)
    return Body(tuple(lines))


def _start_of(label: str) -> int:
    """Return the number of the first round in a label of a loop."""
    found = _COUNTED.search(label)
    return int(found[2] or 0) if found is not None else 0


def _unrolled_within(item: Item, tapped: frozenset[str]) -> Item:
    if isinstance(item, Braces):
        return replace(item, body=unrolled(item.body))
    if isinstance(item, Merge):
        branches: list[Body] = []
        for branch in item.branches:
            name = _tap_of(branch)
            times = branch.lines[0].times if name else 0
            if name.endswith("}") and times in (2, 3):
                for number in range(_start_of(name), _start_of(name) + times):
                    tap = Tap(_COUNTED.sub(str(number), name))
                    branches.append(Body((Line((tap,)),)))
            else:
                branches.append(branch if name else _unrolled(branch, tapped))
        return replace(item, branches=tuple(branches))
    return item


def _in_turns(lines: Sequence[Line]) -> list[Line]:
    """Return lines in which alternating ones, such as a, b, a, b, are one chain."""
    found: list[Line] = []
    rest = list(lines)
    while rest:
        for length in (2, 3, 4):
            part, count = rest[:length], 1
            if len(part) < length or not all(map(_takes_turns, part)):
                continue
            while rest[count * length : (count + 1) * length] == part:
                part = list(map(_both, part, rest[count * length :]))
                count += 1
            if count > 1:
                items = tuple(item for line in part for item in line.items)
                found.append(Line(items, times=count))
                del rest[: count * length]
                break
        else:
            found.append(rest.pop(0))
    return found


def _takes_turns(line: Line) -> bool:
    return line.times == 1 and _has_no_names(line)


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
    return replace(last, times=1) == line and _has_no_names(line)


def _has_no_names(line: Line) -> bool:
    """Return whether a line can be repeated as it is, as it names nothing."""
    if line.output or line.loop:
        return False
    return not any(isinstance(i, Tap | Same) or _label(i) for i in _items(line))


_NUMBER: Final = re.compile(r"(?<![0-9])(?:0|[1-9][0-9]*)$")


def _number_of(line: Line) -> int | None:
    """Return the number that the labels of a line end in; None if there is none."""
    for item in _items(line):
        found = _NUMBER.search(_label(item))
        if found is not None:
            return int(found[0])
    return None


def _round(line: Line, number: int, start: int) -> Line | None:
    """Return a line as a round of a loop; None if it cannot be one.

    Args:
        line: the line.
        number: what its labels end in.
        start: what those of the first round end in.
    """
    end = str(number)
    labels = [label for item in _items(line) if (label := _label(item))]
    if not labels or line.output or line.times != 1:
        return None
    if any(isinstance(item, Tap | Same) for item in _items(line)):
        return None
    if not all(label.endswith(end) and label != end for label in labels):
        return None
    if any(label[-len(end) - 1].isdigit() for label in labels):
        return None
    return _relabelled(
        line, lambda label: label.removesuffix(end) + _counted(start), loop=True
    )


def _relabelled(line: Line, rename: Callable[[str], str], *, loop: bool) -> Line:
    """Return a line with other labels; parts in braces keep theirs."""

    def change(item: Item) -> Item:
        if isinstance(item, Merge):
            branches = tuple(
                Body(tuple(_relabelled(one, rename, loop=one.loop) for one in branch))
                for branch in item.branches
            )
            item = replace(item, branches=branches)
        if isinstance(item, Word | Braces | Merge) and item.label:
            return replace(item, label=rename(item.label))
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
