"""Plain data that is only computed when it is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar

SubjectT = TypeVar("SubjectT")
# For each group of keys, the function that computes their values.
Groups = Mapping[tuple[str, ...], Callable[[SubjectT], Mapping[str, Any]]]


class Plain(Mapping[str, Any], Generic[SubjectT]):
    """A mapping whose values are made when one of their group is first read.

    A report reads a few of many figures, and should not wait for the others.
    """

    __slots__ = ("_groups", "_made", "_subject")

    def __init__(self, subject: SubjectT, groups: Groups[SubjectT]) -> None:
        self._subject = subject
        self._groups = groups
        self._made: dict[str, Any] = {}

    def __getitem__(self, key: str) -> Any:
        """Return a value, made with the others of its group."""
        if key not in self._made:
            maker = next((m for keys, m in self._groups.items() if key in keys), None)
            if maker is None:
                raise KeyError(key)
            self._made.update(maker(self._subject))
        return self._made[key]

    def __iter__(self) -> Iterator[str]:
        """Yield the keys of all groups, in order."""
        for keys in self._groups:
            yield from keys

    def __len__(self) -> int:
        """Return the number of keys."""
        return sum(map(len, self._groups))


def all_values(subject: SubjectT, groups: Groups[SubjectT]) -> dict[str, Any]:
    """Return the values of all groups."""
    made: dict[str, Any] = {}
    for maker in groups.values():
        made.update(maker(subject))
    return made
