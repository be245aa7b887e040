"""Older names of parts: `renamed from` in the spec, and names of old torch versions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from archdsl.ir import OWNERS, Group, Network, Step


class _Name(NamedTuple):
    """A name of a part, an old one or its own.

    Attributes:
        text: the name.
        own: what the part is called now.
        part: the part.
    """

    text: str
    own: str
    part: Step | Group


class OldNames:
    """The older names of a network's parts.

    A key is resolved from left to right, one namespace after the other, and within each
    by older names first. So two parts may have swapped names, and a key may mix older
    names with new ones.
    """

    def __init__(self, network: Network) -> None:
        self._root = network.root
        self._names: dict[int, dict[str, list[_Name]]] = {}

    def __bool__(self) -> bool:
        """Whether there are any."""
        return _has_older(self._root)

    def rename(self, key: str) -> str:
        """Return the network's key for an older one; any other key stays."""
        return self._below(self._root, key, 0, set()) or key

    def _below(
        self, owner: Group, key: str, start: int, failed: set[tuple[int, int]]
    ) -> str | None:
        """Return the rest of a key within a namespace, in today's names.

        It is None if no tensor has that name.

        Args:
            owner: the namespace.
            key: the whole key.
            start: where the rest begins.
            failed: pairs of namespace and start that are known to fail.
        """
        if (id(owner), start) in failed:
            return None
        first = key[start:].partition(".")[0]
        for name in self._of(owner).get(first, ()):
            end = start + len(name.text)
            if not key.startswith(name.text, start) or key[end : end + 1] not in ".":
                continue
            if isinstance(name.part, Group):
                rest = self._below(name.part, key, end + 1, failed)
            else:
                rest = _tensor(name.part, key[end + 1 :])
            if rest is not None:
                return f"{name.own}.{rest}" if rest else name.own
        failed.add((id(owner), start))
        return None

    def _of(self, owner: Group) -> dict[str, list[_Name]]:
        """Return the names of parts by their first component, older ones first."""
        known = self._names.get(id(owner))
        if known is None:
            names = [
                _Name(old.name, part.name, part)
                for part in _parts(owner)
                for old in part.renamed_from
            ]
            names += [_Name(part.name, part.name, part) for part in _parts(owner)]
            known = self._names[id(owner)] = {}
            for name in names:
                known.setdefault(name.text.partition(".")[0], []).append(name)
        return known


def _tensor(step: Step, name: str) -> str | None:
    """Return the current name of a layer's tensor; None if there is none."""
    for tensor in step.op.tensors(*step.input_shapes):
        if name == tensor.name or (tensor.older and name == tensor.older):
            return tensor.name
    return None


def _parts(owner: Group) -> Iterator[Step | Group]:
    """Yield the parts of a namespace; shared ones only where they are first used."""
    stack = [*reversed(owner.children)]
    while stack:
        part = stack.pop()
        if isinstance(part, Group) and part.role not in OWNERS:
            stack.extend(reversed(part.children))
        elif not part.shared:
            yield part


def _has_older(group: Group) -> bool:
    return bool(group.renamed_from) or any(
        _has_older(child) if isinstance(child, Group) else _is_older(child)
        for child in group.children
    )


def _is_older(step: Step) -> bool:
    """Return whether a layer, or one of its tensors, had another name."""
    tensors = step.op.tensors(*step.input_shapes)
    return bool(step.renamed_from) or any(tensor.older for tensor in tensors)
