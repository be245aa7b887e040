"""Reads maps with a separate axis for groups of channels as maps of all channels.

Split attention and selective kernels stack maps along a new axis, or split the channels
into groups along one, and then take sums or a softmax over it. In a spec, channels have
a single axis, and `groupsum` and `softmax of=` have the number of groups as an
argument. So such an axis is removed: operations that only add or remove it are left
out, and operations along it add it themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any, Final, NamedTuple

from archdsl.backends.importer.calls import (
    ModuleCall,
    RecordedCall,
    Recording,
    TensorRef,
)


def regrouped(run: Recording) -> Recording:
    """Return a run in which no value has an axis of groups, where that is possible.

    An axis stays if another operation needs it.
    """
    kept: set[int] = set()
    while True:
        attempt = _Attempt(run, kept)
        root = attempt.frame(run.root)
        attempt.lose(run.outputs)
        if not attempt.lost:
            break
        kept |= attempt.lost
    asked = tuple(dict.fromkeys(map(attempt.name, run.asked)))
    outputs = tuple(map(attempt.name, run.outputs))
    return replace(run, root=root, outputs=outputs, shapes=attempt.shapes, asked=asked)


class _Grouped(NamedTuple):
    """A value with an axis of groups.

    Attributes:
        flat: the same value as a map of all channels.
        sizes: the sizes of the axes that the channels have in it.
        origins: values that introduced the axis.
    """

    flat: int
    sizes: tuple[int, ...]
    origins: frozenset[int]


class _Attempt:
    """Rewrites a run.

    Args:
        run: the run.
        kept: values that keep their axis.

    Attributes:
        shapes: shapes of all values.
        lost: values whose axis another operation needs.
    """

    def __init__(self, run: Recording, kept: set[int]) -> None:
        self.shapes = dict(run.shapes)
        self.kept = kept
        self.lost: set[int] = set()
        # Values that equal another value, and those that equal it except for an axis.
        self.same: dict[int, int] = {}
        self.grouped: dict[int, _Grouped] = {}

    def name(self, value: int) -> int:
        """Return the value that replaces another."""
        found = self.grouped.get(value)
        return found.flat if found is not None else self.same.get(value, value)

    def lose(self, values: Sequence[int]) -> None:
        """Record that an operation needs values with their axis."""
        for value in values:
            if value in self.grouped:
                self.lost |= self.grouped[value].origins

    def frame(self, frame: ModuleCall) -> ModuleCall:
        """Return a call of a module, rewritten."""
        items: list[RecordedCall | ModuleCall] = []
        reads = tuple(map(self.name, frame.reads))
        for item in frame.items:
            if isinstance(item, ModuleCall):
                items.append(self.frame(item))
            else:
                items += self._call(item)
        gives = tuple(map(self.name, frame.gives))
        return replace(frame, reads=reads, gives=gives, items=items)

    def _call(self, call: RecordedCall) -> list[RecordedCall]:
        known = any(number in self.grouped for number in call.reads)
        if known or call.name in ("view", "stack"):
            rewrite = _REWRITES.get(call.name)
            made = None if rewrite is None or call.owns else rewrite(self, call)
            if made is not None:
                return made
        self.lose(call.reads)
        return [_renamed(call, self.same)]

    # ---- operations that add or remove an axis of groups

    def _view(self, call: RecordedCall) -> list[RecordedCall] | None:
        if len(call.reads) != 1:
            return None
        (value,), (result,), shape = call.reads, call.gives, call.shapes[0]
        flat = self.name(value)
        found = _channel_sizes(self.shapes[flat], shape)
        before = self.grouped.get(value)
        if found is None or result in self.kept:
            return None
        if before is None and (len(found) < 2 or len(self.shapes[flat]) < 3):
            return None
        if shape == self.shapes[flat]:
            self.same[result] = flat
        else:
            origins = frozenset((result,)) if before is None else before.origins
            self.grouped[result] = _Grouped(flat, found, origins)
        return []

    def _stack(self, call: RecordedCall) -> list[RecordedCall] | None:
        (result,), first = call.gives, self.shapes[call.reads[0]]
        plain = not any(number in self.grouped for number in call.reads)
        if dict(call.args).get("dim") != 1 or not plain or result in self.kept:
            return None
        if len(first) < 3:
            return None
        count = len(call.reads)
        flat = self._new((first[0], count * first[1], *first[2:]))
        axis = frozenset((result,))
        self.grouped[result] = _Grouped(flat, (count, first[1]), axis)
        made = _giving(call, "cat", flat, self.shapes[flat])
        return [_renamed(made, self.same)]

    def _transposed(self, call: RecordedCall) -> list[RecordedCall] | None:
        found = self.grouped[call.reads[0]]
        axes = sorted(int(v) - 1 for _, v in call.args if isinstance(v, int))
        if len(axes) != 2 or axes[1] - axes[0] != 1 or axes[1] >= len(found.sizes):
            return None
        sizes = list(found.sizes)
        first, second = sizes[axes[0]], sizes[axes[1]]
        if 1 not in (first, second):
            return None
        sizes[axes[0]], sizes[axes[1]] = second, first
        self.grouped[call.gives[0]] = found._replace(sizes=tuple(sizes))
        return []

    # ---- operations along it, or on each channel

    def _summed(self, call: RecordedCall) -> list[RecordedCall] | None:
        made = self._parted(call)
        if made is None:
            return None
        view, (batch, groups, *sizes) = made, made.shapes[0]
        if call.shapes[0] != (batch, *sizes) or groups == 1:
            return None
        return [view, _along(call, view.gives[0])]

    def _softmax(self, call: RecordedCall) -> list[RecordedCall] | None:
        view = self._parted(call)
        if view is None:
            return None
        found = self.grouped[call.reads[0]]
        inner = self._new(view.shapes[0])
        flat = self._new(self.shapes[found.flat])
        self.grouped[call.gives[0]] = found._replace(flat=flat)
        shape = self.shapes[flat]
        args = (("input", TensorRef(inner)), ("start_dim", 1), ("end_dim", 2))
        flattened = replace(view, args=args, reads=(inner,))
        along = _along(call, view.gives[0])
        return [
            view,
            _giving(along, "softmax", inner, view.shapes[0]),
            _giving(flattened, "flatten", flat, shape),
        ]

    def _parted(self, call: RecordedCall) -> RecordedCall | None:
        """Return a view with the axis of groups that a call needs."""
        given = dict(call.args)
        found, axis = self.grouped[call.reads[0]], given.pop("dim", 0)
        if set(given) != {"input"} or not isinstance(axis, int):
            return None
        if not 1 <= axis <= len(found.sizes) or prod(found.sizes[: axis - 1]) != 1:
            return None
        batch, channels, *sizes = self.shapes[found.flat]
        groups = found.sizes[axis - 1]
        shape = (batch, groups, channels // groups, *sizes)
        args = (("input", TensorRef(found.flat)), ("sizes", shape))
        read = replace(call, args=args, reads=(found.flat,))
        return _giving(read, "view", self._new(shape), shape)

    def _product(self, call: RecordedCall) -> list[RecordedCall] | None:
        known = [self.grouped[n] for n in call.reads if n in self.grouped]
        if len(known) != 2:
            return None
        one, other = known
        if one.sizes != other.sizes:
            return None
        whole = [self.shapes[one.flat], self.shapes[other.flat]]
        flat = self._new(tuple(map(max, *whole)))
        origins = one.origins | other.origins
        self.grouped[call.gives[0]] = _Grouped(flat, one.sizes, origins)
        names = {number: self.name(number) for number in call.reads}
        made = _giving(call, "mul", flat, self.shapes[flat])
        return [_renamed(made, names)]

    def _new(self, shape: Sequence[int]) -> int:
        number = len(self.shapes)
        self.shapes[number] = tuple(shape)
        return number


_REWRITES: Final = {
    "view": _Attempt._view,
    "stack": _Attempt._stack,
    "transpose": _Attempt._transposed,
    "sum": _Attempt._summed,
    "softmax": _Attempt._softmax,
    "mul": _Attempt._product,
}


def _channel_sizes(flat: Sequence[int], shape: Sequence[int]) -> tuple[int, ...] | None:
    """Return the sizes of the axes that channels have in another shape of a map.

    None if it is not a shape of the same map. For a map of one position, the spatial
    axes may be missing.
    """
    if len(flat) < 2:
        return None  # a number that is the same for all samples
    channels, *sizes = flat[1:]
    number = len(shape) - 1 - len(sizes)
    if number >= 1 and list(shape[1 + number :]) == sizes:
        found = tuple(shape[1 : 1 + number])
    elif prod(sizes) == 1:
        found = tuple(shape[1:])
    else:
        return None
    return found if prod(found) == channels else None


def _along(call: RecordedCall, value: int) -> RecordedCall:
    """Return a call along the axis of groups of a view."""
    args = (("input", TensorRef(value)), ("dim", 1))
    return replace(call, args=args, reads=(value,))


def _giving(
    call: RecordedCall, name: str, value: int, shape: Sequence[int]
) -> RecordedCall:
    """Return a call of another function, with another output."""
    return replace(call, name=name, gives=(value,), shapes=(tuple(shape),))


def _renamed(call: RecordedCall, names: dict[int, int]) -> RecordedCall:
    """Return a call that reads other values."""
    if not any(number in names for number in call.reads):
        return call

    def renamed(value: Any) -> Any:
        if isinstance(value, TensorRef):
            return TensorRef(names.get(value.number, value.number))
        if type(value) is tuple:
            return tuple(map(renamed, value))
        return value

    args = tuple((name, renamed(value)) for name, value in call.args)
    reads = tuple(names.get(number, number) for number in call.reads)
    return replace(call, args=args, reads=reads)
