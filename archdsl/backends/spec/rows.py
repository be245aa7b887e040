"""Parts that are written once: calls of one block, or copies of one repeat.

Each such call or copy is a row. What is the same in all rows is kept once; where rows
differ, an item holds a value for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from archdsl.backends.spec.parts import ChainItem, ItemChains, PartName


class RowsDiffer(Exception):
    """Rows that no common text describes."""


@dataclass(eq=False)
class Case:
    """Statements that only some rows have.

    Attributes:
        rows: these rows, by index.
        chains: the statements.
    """

    rows: list[int]
    chains: list[Chains]


@dataclass(eq=False)
class InnerRows:
    """The contents of braces, or the copies of a repeat.

    Attributes:
        parents: for each inner row, its outer row and the number of the copy.
        before: the common statements before those that differ.
        cases: the statements that differ; empty if all are alike.
        after: the common statements after them.
        bodies: the contents of each inner row.
    """

    parents: list[tuple[int, int]]
    before: list[Chains]
    cases: list[Case]
    after: list[Chains]
    bodies: list[ItemChains]

    def apart(self) -> InnerRows:
        """Return these rows with a separate case for each copy."""
        copies = sorted({copy for _, copy in self.parents})
        cases = [
            _case(
                self.bodies,
                [r for r, (_, own) in enumerate(self.parents) if own == copy],
            )
            for copy in copies
        ]
        return InnerRows(self.parents, [], cases, [], self.bodies)


@dataclass(eq=False)
class ItemRows:
    """One item of all rows.

    Attributes:
        key: the key of each of them.
        values: for each name, the value in each row.
        channels: the input channels, for each row.
        inner: its braces and branches.
        names: the names of the parts; None where no part has one.
        older: each older name, for each row.
        implied: whether the names need no label.
        samples: the items themselves.
    """

    key: tuple[Any, ...]
    values: dict[str, list[Any]]
    channels: list[int | None]
    inner: list[InnerRows]
    names: list[PartName] | None
    older: list[list[PartName]]
    implied: bool
    samples: list[ChainItem]


@dataclass(eq=False)
class Chains:
    """One chain, for all rows."""

    items: list[ItemRows]
    output: bool | None


def join_rows(bodies: Sequence[ItemChains]) -> list[Chains]:
    """Join the bodies of several rows into one.

    Raises:
        RowsDiffer: if they are of different forms.
    """
    if len({len(body) for body in bodies}) > 1:
        raise RowsDiffer
    return [_chain(chains) for chains in zip(*bodies, strict=True)]


def _chain(chains: Sequence[Any]) -> Chains:
    first = chains[0]
    if any(
        len(one.items) != len(first.items) or one.output != first.output
        for one in chains
    ):
        raise RowsDiffer
    columns = zip(*(one.items for one in chains), strict=True)
    return Chains([_item(items) for items in columns], first.output)


def _item(items: Sequence[ChainItem]) -> ItemRows:
    first = items[0]
    for one in items:
        if one.key != first.key or (one.name is None) != (first.name is None):
            raise RowsDiffer
        if len(one.older) != len(first.older):
            raise RowsDiffer
    words = {item.values.get("word") for item in items}
    names = list(first.values) if len(words) < 2 else ["word"]
    inner = [
        inner_of([item.bodies[place] for item in items])
        for place in range(len(first.bodies))
    ]
    return ItemRows(
        first.key,
        {name: [item.values[name] for item in items] for name in names},
        [item.channels for item in items],
        inner,
        None if first.name is None else [item.name for item in items if item.name],
        [list(names) for names in zip(*(item.older for item in items), strict=True)],
        all(item.implied for item in items) and not any(i.tapped for i in items),
        list(items),
    )


def inner_of(copies: Sequence[Sequence[ItemChains]]) -> InnerRows:
    """Join the contents of braces of all rows into one.

    Args:
        copies: for each row, its copies.
    """
    parents = [
        (row, copy) for row, own in enumerate(copies) for copy in range(len(own))
    ]
    bodies = [body for own in copies for body in own]
    if not bodies:
        return InnerRows(parents, [], [], [], bodies)
    try:
        return InnerRows(parents, join_rows(bodies), [], [], bodies)
    except RowsDiffer:
        pass
    least = min(map(len, bodies))
    before = _alike(bodies, range(least))
    after = _alike(bodies, range(-1, -1 - least + len(before), -1))[::-1]
    rest = [body[len(before) : -len(after) or None] for body in bodies]
    return InnerRows(parents, before, _cases(rest), after, bodies)


def _alike(bodies: list[ItemChains], places: range) -> list[Chains]:
    """Return the common statements at some places, up to the first difference."""
    found: list[Chains] = []
    for place in places:
        try:
            found.append(_chain([body[place] for body in bodies]))
        except RowsDiffer:
            break
    return found


def _cases(bodies: list[ItemChains]) -> list[Case]:
    """Return as few cases as possible."""
    found: list[Case] = []
    for row in range(len(bodies)):
        for place, case in enumerate(found):
            try:
                found[place] = _case(bodies, [*case.rows, row])
                break
            except RowsDiffer:
                continue
        else:
            found.append(_case(bodies, [row]))
    return found


def _case(bodies: list[ItemChains], rows: list[int]) -> Case:
    return Case(rows, join_rows([bodies[row] for row in rows]))
