"""Which positions of the network's input, and of each layer's input, are read.

A stride larger than its kernel skips positions, and if a stride does not divide a size,
the last positions may be left out. Along each axis, the set of used positions of a
value is stored as the bits of an integer. These sets are propagated from the output
back to the input, through the window of every layer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from archdsl.ir.graph import Graph, Node
from archdsl.values import Continued, Shape, Window, sizes

from .receptive import windows

# Largest number of bits of a set: a window can be padded by millions.
_MOST_BITS: Final = 1 << 20

Ranges = tuple[tuple[int, int], ...]
# A set of positions along each axis; a vector has none, and is read as a whole.
Sets = tuple[int, ...]


class LayerCoverage(NamedTuple):
    """The positions of its input that a layer reads, along each axis.

    Attributes:
        of: number of positions of its input.
        reads: number of positions that it reads, for any of its units.
        units: number of positions of its output.
        used: number of these that the main output depends on.
    """

    of: tuple[int, ...]
    reads: tuple[int, ...]
    units: tuple[int, ...]
    used: tuple[int, ...]

    @property
    def share(self) -> float:
        """Share of its input's positions that it reads."""
        return _share(self.reads, self.of)

    def as_dict(self) -> dict[str, Any]:
        """Return the figures as plain data."""
        return {
            "of": list(self.of),
            "reads": list(self.reads),
            "share": self.share,
            "units": list(self.units),
            "used": list(self.used),
        }


class Coverage(NamedTuple):
    """The positions of the first input that the main output depends on, by axis.

    Attributes:
        of: number of positions of the input.
        covered: number of positions that the output depends on.
        dropped: the others, as the first and last position of each run.
        layers: what each layer reads, by the value that it outputs; vectors have none.
    """

    of: tuple[int, ...]
    covered: tuple[int, ...]
    dropped: tuple[Ranges, ...]
    layers: Mapping[int, LayerCoverage]

    @property
    def share(self) -> float:
        """Share of the input's positions that the output depends on."""
        return _share(self.covered, self.of)

    def as_dict(self) -> dict[str, Any]:
        """Return the figures of the network as plain data."""
        return {
            "of": list(self.of),
            "covered": list(self.covered),
            "share": self.share,
            "dropped": [[list(run) for run in runs] for runs in self.dropped],
        }


def coverage(
    graph: Graph, seen_by: Sequence[Window | None] | None = None
) -> Coverage | None:
    """Return which positions of the first input are read; None if that is a vector.

    Channels are taken together: a position counts as read if any of its channels is.
    Only inference is considered, so layers of auxiliary heads do not count. If a window
    spans more than a million positions, the result is None, too.

    Args:
        graph: the network.
        seen_by: the result of `archdsl.passes.receptive.windows`, if it is already
            known.
    """
    size = sizes(graph.shapes[graph.inputs[0]])
    seen_by = windows(graph) if seen_by is None else seen_by
    if not size or max(map(_reach, graph.nodes, seen_by), default=0) > _MOST_BITS:
        return None
    made: _Made = {}
    main = graph.outputs(training=False)[0]
    needed: dict[int, Sets] = {main: _full(sizes(graph.shapes[main]))}
    layers = {}
    for node, window in zip(reversed(graph.nodes), reversed(seen_by), strict=True):
        wanted = needed.get(node.output)
        sources = node.inputs[: node.op.sources]
        if wanted is not None:
            for value in sources:
                read = _read(window, wanted, graph.shapes[value], sources, made)
                before = needed.get(value)
                needed[value] = read if before is None else _both(before, read)
        if sizes(node.input_shapes[0]):
            layers[node.output] = _of_layer(node, window, wanted, sources, made)
    covered = needed.get(graph.inputs[0], (0,) * len(size))
    pairs = list(zip(covered, size, strict=True))
    return Coverage(
        of=size,
        covered=_counts(covered),
        dropped=tuple([_runs(mask ^ (1 << n) - 1) for mask, n in pairs]),
        layers=layers,
    )


# ---- one layer ------------------------------------------------------------------

_Made = dict[tuple[int, ...], int]


def _of_layer(
    node: Node,
    window: Window | None,
    wanted: Sets | None,
    sources: Sequence[int],
    made: _Made,
) -> LayerCoverage:
    """Return what a layer reads of its first input."""
    shape, units = node.input_shapes[0], sizes(node.shape)
    of = reads = sizes(shape)
    if window is not None and (of != units or not window.is_pointwise):
        read = _read(window, _full(units), shape, sources, made)
        reads = _counts(read)
    used = (0,) * len(units) if wanted is None else _counts(wanted)
    return LayerCoverage(of, reads, units, used)


def _read(
    window: Window | None,
    wanted: Sets,
    shape: Shape,
    sources: Sequence[int],
    made: _Made,
) -> Sets:
    """Return the positions of an input of some shape that some units read."""
    own = sizes(shape)
    if window is None or len(own) != len(wanted):
        return _full(own)
    plain = window.is_pointwise
    if plain and all(
        [mask.bit_length() == n for mask, n in zip(wanted, own, strict=True)]
    ):
        return wanted
    found = []
    for n, (mask, units) in enumerate(zip(wanted, own, strict=True)):
        if len(sources) > 1 and units == 1:
            mask = 1  # the only unit of a branch is repeated for all
        elif mask.bit_length() > units or not plain:
            key = (*_axis(window, n), mask, units)
            if isinstance(window, Continued):
                mask = _continued(window, n, mask, units)
            else:
                if key not in made:
                    made[key] = _slide(*key)
                mask = made[key]
        found.append(mask)
    # If nothing is read along one axis, nothing is read along the others.
    return tuple(found) if all(found) else (0,) * len(found)


def _axis(window: Window, n: int) -> tuple[int, int, int, int, int]:
    """Return kernel, stride, pad, dilation and up along axis n."""
    kernel, stride, pad, dilation, up = window
    return kernel[n], stride[n], pad[n], dilation[n], up[n]


def _slide(
    kernel: int, stride: int, pad: int, dilation: int, up: int, mask: int, units: int
) -> int:
    """Return which of the input units a window reads for given output units."""
    read = _taps(kernel, stride, dilation, mask)
    read = read >> pad if pad >= 0 else read << -pad
    if up > 1:
        read = _every(read, up)
    return read & (1 << units) - 1


def _taps(kernel: int, stride: int, dilation: int, mask: int) -> int:
    """Return the positions that a window reads, counted from the padding's first."""
    read, taps = _spread(mask, stride), 1
    while taps < kernel:
        more = min(taps, kernel - taps)
        read |= read << dilation * more
        taps += more
    return read


def _continued(window: Continued, n: int, mask: int, units: int) -> int:
    """Return which units a window reads of a map that is continued beyond its
    border."""
    kernel, stride, pad, dilation, _ = _axis(window, n)
    places = _taps(kernel, stride, dilation, mask)
    read = places >> pad & (1 << units) - 1
    for beyond in (places & (1 << pad) - 1, places >> units + pad << units + pad):
        while beyond:
            place = (beyond & -beyond).bit_length() - 1
            read |= 1 << window.source(place - pad, units)
            beyond &= beyond - 1
    return read


def _spread(mask: int, stride: int) -> int:
    """Return a set with each position multiplied."""
    if stride == 1 or not mask:
        return mask
    gap = "0" * (stride - 1)
    return int(gap.join(bin(mask)[2:]), 2)


def _every(mask: int, up: int) -> int:
    """Return the multiples in a set, divided."""
    return int(bin(mask)[:1:-1][::up][::-1], 2)


# ---- sets -----------------------------------------------------------------------


def _full(units: Sequence[int]) -> Sets:
    return tuple([(1 << n) - 1 for n in units])


def _counts(masks: Sets) -> tuple[int, ...]:
    return tuple([mask.bit_count() for mask in masks])


def _both(one: Sets, other: Sets) -> Sets:
    return tuple([a | b for a, b in zip(one, other, strict=True)])


def _runs(mask: int) -> Ranges:
    """Return the first and last position of each run of a set."""
    found = []
    at = 0
    while mask:
        gap = (mask & -mask).bit_length() - 1
        at, mask = at + gap, mask >> gap
        run = (~mask & (mask + 1)).bit_length() - 1
        found.append((at, at + run - 1))
        at, mask = at + run, mask >> run
    return tuple(found)


def _share(part: Sequence[int], whole: Sequence[int]) -> float:
    """Return the share of positions along all axes together."""
    share = 1.0
    for a, b in zip(part, whole, strict=True):
        share *= a / b
    return share


def _reach(node: Node, window: Window | None) -> int:
    """Return the largest number of bits that the sets of a layer need."""
    units = max(sizes(node.shape), default=1)
    if window is None:
        return units
    spans = zip(window.kernel, window.stride, window.pad, window.dilation, strict=True)
    return max([k * d + units * s + abs(p) for k, s, p, d in spans], default=units)
