"""The order in which parts are registered: that of the `state_dict`.

Those that their namespace lists come first, in that order; the others follow in order
of execution. All that depends on this order asks here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

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
