"""The order in which the parts of a namespace are registered: that of its `state_dict`.

Those that the group lists come first, in that order; the others follow in order of
execution. All that depends on this order asks here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from archdsl.ir.nodes import Group, Step, holds_tensors, named_parts

T = TypeVar("T")


def in_order(
    items: Iterable[T], name_of: Callable[[T], str], listed: Sequence[str]
) -> list[T]:
    """Return items, which are in order of execution, in that of registration.

    Args:
        items: parts, or what stands for them.
        name_of: returns the name of one.
        listed: the names that come first: of parts, or of containers of parts.
    """
    if not listed:
        return list(items)
    places = {name: place for place, name in enumerate(listed)}

    def place(item: T) -> int:
        name = name_of(item)
        while name not in places and "." in name:
            name = name.rpartition(".")[0]
        return places.get(name, len(places))

    return sorted(items, key=place)


def registered_steps(group: Group) -> Iterator[Step]:
    """Yield the steps of a namespace, and of those in it, in order of registration."""
    for part in in_order(group.parts(), lambda part: part.name, group.registered):
        if isinstance(part, Step):
            yield part
        else:
            yield from registered_steps(part)


def changes(children: Iterable[Step | Group], listed: Sequence[str]) -> bool:
    """Return whether a `state_dict` has another order if some names come first.

    Args:
        children: of the namespace.
        listed: the names.
    """
    parts = [part for part in named_parts(children) if holds_tensors(part)]
    return _keys(parts, listed) != _keys(parts, ())


def _keys(parts: Iterable[Step | Group], listed: Sequence[str]) -> list[str]:
    """Return what keys begin with, in the order of the `state_dict`."""
    ordered = in_order(parts, lambda part: part.name, listed)
    return in_torch_order(list(dict.fromkeys(map(_begin, ordered))))


def _begin(part: Step | Group) -> str:
    """Return what the keys of a part begin with; a bare parameter is its own key."""
    bare = isinstance(part, Step) and not all(
        tensor.name for tensor in part.op.tensors(*part.input_shapes)
    )
    return part.name if bare else f"{part.name}."


def in_torch_order(keys: Sequence[str], start: int = 0) -> list[str]:
    """Return keys in torch's order: a module's own, then its children's in turn.

    Args:
        keys: those of one module and of all below it, in order of registration.
        start: where in them the names of these begin.
    """
    own: list[str] = []
    children: dict[str, list[str]] = {}
    for key in keys:
        dot = key.find(".", start)
        if dot < 0:
            own.append(key)
        else:
            children.setdefault(key[start:dot], []).append(key)
    for name, inside in children.items():
        own += in_torch_order(inside, start + len(name) + 1)
    return own
