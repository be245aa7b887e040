"""The items of unfinished specs, and the numbers in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeGuard

from archdsl.backends.importer.spec import (
    ANY,
    BareItem,
    Block,
    Expression,
    Kind,
    SpecBody,
    SpecBraces,
    SpecItem,
    SpecMerge,
    SpecWord,
)
from archdsl.layer import REQUIRED


class AbsentNumber:
    """A number of an absent part."""


MISSING: Final = AbsentNumber()


@dataclass(frozen=True)
class Width:
    """A width that equals the input channels, and so is left out."""

    values: Any

    def __hash__(self) -> int:
        return 0


@dataclass(frozen=True)
class Slot:
    """A number in a body: its argument, its value and the input channels."""

    name: str
    value: Any
    flow: int = field(compare=False)
    label: str = ""


def is_slot(item: SpecWord, value: Any) -> bool:
    """Return whether an argument may become a parameter."""
    if isinstance(value, tuple | Kind | AbsentNumber):
        return True
    return type(value) in ((int, float, bool) if item.block else (int, float))


def is_optional(item: SpecItem) -> TypeGuard[SpecWord | SpecBraces | SpecMerge]:
    """Return whether an item has a guard."""
    return not isinstance(item, BareItem) and item.guard is not None


def with_guard(item: SpecItem, guard: Any) -> SpecItem:
    """Return an item with a guard; one that cannot have any is returned unchanged."""
    if isinstance(item, BareItem):
        return item
    return replace(item, guard=guard)


def _name(item: SpecItem) -> str:
    """Return the name of an item: its label, or else its word."""
    if not isinstance(item, BareItem) and item.label:
        return item.label
    if isinstance(item, SpecWord):
        return "act" if item.word == ANY else item.word
    return item.word if isinstance(item, SpecMerge) else "part"


def slots_of(body: SpecBody) -> Iterator[Slot]:
    """Yield the numbers in a body, in the order in which `filled` asks for them."""
    for line in body:
        for item in line.items:
            if is_optional(item):
                yield Slot("guard", item.guard, 0, _name(item))
            if isinstance(item, SpecWord):
                for name, value in item.slots:
                    if is_slot(item, value):
                        number = _single(value, item, name)
                        yield Slot(name, number, item.flow, item.label)
            elif isinstance(item, SpecBraces):
                yield from slots_of(item.body)
            elif isinstance(item, SpecMerge):
                for branch in item.branches:
                    yield from slots_of(branch)
        yield Slot("times", line.times, 0)


def _single(value: Any, item: SpecWord, name: str) -> Any:
    """Return equal sizes as one number, where the language allows that."""
    if not isinstance(value, tuple) or item.block or len(set(value)) != 1:
        return value
    known = item.declared
    assert known is not None
    return value if known.fields[name].position == 0 else value[0]


def filled(body: SpecBody, values: Iterator[Any]) -> SpecBody:
    """Return a body with other numbers, taken in the order of `slots_of`."""
    lines = []
    for line in body:
        items: list[SpecItem] = []
        for item in line.items:
            if is_optional(item):
                guard = next(values)
                item = with_guard(item, None if guard is True else guard)
            if isinstance(item, SpecWord):
                items.append(_with_numbers(item, values))
            elif isinstance(item, SpecBraces):
                items.append(replace(item, body=filled(item.body, values)))
            elif isinstance(item, SpecMerge):
                some = tuple(filled(branch, values) for branch in item.branches)
                items.append(replace(item, branches=some))
            else:
                items.append(item)
        lines.append(replace(line, items=tuple(items), times=next(values)))
    return SpecBody(tuple(lines))


def _with_numbers(item: SpecWord, values: Iterator[Any]) -> SpecWord:
    slots, flow = [], item.flow
    for name, old in item.slots:
        value = next(values) if is_slot(item, old) else old
        if isinstance(value, Width):
            # It is left out if it equals the input channels, and the kind allows that.
            value = Expression("channels") if _has_to_say(item, name) else None
        elif name == "width" and not item.block and value == flow:
            flow = 0  # the width of other kinds does not default to the input channels
        if isinstance(old, tuple) and type(value) is int and not item.block:
            value = (value, value)
        slots.append((name, value))
    return replace(item, slots=tuple(slots), flow=flow)


def _has_to_say(item: SpecWord, name: str) -> bool:
    """Return whether an argument is required."""
    known = item.declared
    return item.block or known is None or known.fields[name].default is REQUIRED


def form_of(body: SpecBody) -> Any:
    """Return a key that bodies share if they only differ in numbers."""
    lines = []
    for line in body:
        items: list[Any] = []
        for item in line.items:
            guarded = is_optional(item)
            if isinstance(item, SpecWord):
                slots = tuple(
                    (name, "number" if is_slot(item, value) else value)
                    for name, value in item.slots
                )
                own = item.word, slots, item.label, item.block, item.inputs
                items.append((*own, guarded))
            elif isinstance(item, SpecBraces):
                inner = form_of(item.body)
                items.append((inner, item.label, item.indexed, guarded))
            elif isinstance(item, SpecMerge):
                branches = tuple(form_of(branch) for branch in item.branches)
                items.append((item.word, branches, item.args, item.label, guarded))
            else:
                items.append(item)
        lines.append((tuple(items), line.output, line.loop))
    return tuple(lines)


def map_items(body: SpecBody, change: Callable[[SpecItem], SpecItem]) -> SpecBody:
    """Return a body with each item changed, the innermost first."""
    lines = []
    for line in body:
        items = []
        for item in line.items:
            if isinstance(item, SpecBraces):
                item = replace(item, body=map_items(item.body, change))
            elif isinstance(item, SpecMerge):
                some = tuple(map_items(branch, change) for branch in item.branches)
                item = replace(item, branches=some)
            items.append(change(item))
        lines.append(replace(line, items=tuple(items)))
    return SpecBody(tuple(lines))


def all_items(body: SpecBody) -> Iterator[SpecItem]:
    """Yield all items of a body, in order."""
    for line in body:
        for item in line.items:
            yield item
            if isinstance(item, SpecBraces):
                yield from all_items(item.body)
            elif isinstance(item, SpecMerge):
                for branch in item.branches:
                    yield from all_items(branch)


def calls_of(body: SpecBody) -> Iterator[str]:
    """Yield the names of the blocks that a body calls."""
    for item in all_items(body):
        if isinstance(item, SpecWord) and item.block:
            yield item.word


def used_blocks(body: SpecBody, blocks: dict[str, Block]) -> set[str]:
    """Return the names of all blocks that a body needs."""
    found: set[str] = set()
    waiting = list(calls_of(body))
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += calls_of(blocks[name].body)
    return found
