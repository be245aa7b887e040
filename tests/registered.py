"""Random `register` statements, which decide what comes first in the `state_dict`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Final

import archdsl
from archdsl.ir import Group, Step
from archdsl.source import Source
from archdsl.syntax.parser import parse

# The roles whose parts have names of their own.
_OWNERS: Final = ("network", "block", "group")
_MOST: Final = 3


def with_registered(
    text: str, random: Random, loads: Callable[[str], archdsl.Network | None]
) -> str:
    """Add `register` statements to some bodies of a spec.

    Args:
        text: a valid spec.
        random: the source of random choices.
        loads: returns the network of a spec; None if it is refused.
    """
    network = loads(text)
    assert network is not None
    bodies = _bodies(text, network)
    # Backwards, so that the positions of the others stay valid.
    for start in sorted(bodies, reverse=True):
        names = sorted(bodies[start])
        if len(names) < 2 or random.randrange(3) == 0:
            continue
        count = random.randint(1, min(len(names), _MOST))
        chosen = ", ".join(map(_quoted, random.sample(names, count)))
        tried = f"{text[: start + 1]} register {chosen}\n{text[start + 1 :]}"
        text = tried if loads(tried) is not None else text
    return text


def _quoted(name: str) -> str:
    return f'"{name}"' if "-" in name else name


def _bodies(text: str, network: archdsl.Network) -> dict[int, set[str]]:
    """Return the names of parts in each namespace, by the position of its body."""
    places = {
        definition.span.start: definition.body.span.start
        for definition in parse(Source("drawn.arch", text)).definitions()
    }
    found: dict[int, set[str]] = {}
    for group in _groups(network.root):
        if group.role == "group":
            start = group.span.start
        else:
            start = places.get(_definition_of(group), -1)
        if group.indexed or group.shared or text[start : start + 1] != "{":
            continue
        names = {part.name for part in _named(group.children)}
        containers = {name.partition(".")[0] for name in names if "." in name}
        found.setdefault(start, set()).update(names | containers)
    return found


def _definition_of(group: Group) -> int:
    """Return the position of a definition's name; -1 if it is in the library."""
    if group.role == "network":
        return group.span.start
    origin, _, place = group.origin.rpartition(":")
    return int(place) if origin == "drawn.arch" else -1


def _groups(group: Group) -> Iterator[Group]:
    if group.role in _OWNERS:
        yield group
    for child in group.children:
        if isinstance(child, Group):
            yield from _groups(child)


def _named(children: Sequence[Step | Group]) -> Iterator[Step | Group]:
    """Yield the named parts of a body that have tensors."""
    for child in children:
        if isinstance(child, Group) and child.role not in _OWNERS:
            yield from _named(child.children)
        elif any(map(_has_tensors, _steps(child))):
            yield child


def _steps(part: Step | Group) -> Iterator[Step]:
    return iter([part]) if isinstance(part, Step) else part.steps()


def _has_tensors(step: Step) -> bool:
    return bool(step.op.tensors(*step.input_shapes))
