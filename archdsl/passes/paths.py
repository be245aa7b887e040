"""The paths along which the gradient flows back from the loss.

A path leads from an output backwards through the layers, at each one to one of its
inputs. Its length is the number of weighted layers on it. Unlike in the depth of a
network, projections on shortcuts count, since a gradient is multiplied by their
weights, too.

A plain network has a single path, as long as the network is deep. In a residual
network, each of the n units can be passed through or skipped, so there are 2^n paths,
whose lengths are distributed like a binomial distribution.

Source: Veit, Wilber & Belongie 2016, "Residual networks behave like ensembles of
relatively shallow networks", section 3.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import isqrt
from typing import Any, Final, NamedTuple

from archdsl.ir.graph import Graph

# Bits of a number of paths that is still written out, as Python refuses to print more
# than 4300 digits.
_MOST_BITS: Final = 14_000
# The most bits of all intermediate results; if more are needed, no distribution is
# given.
_MOST_WORK: Final = 1 << 32


class Paths(NamedTuple):
    """The paths from a loss to one place, their lengths in weighted layers.

    Attributes:
        number: how many there are.
        total: the sum of their lengths.
        squares: the sum of the squares of their lengths.
        shortest: the least length.
        longest: the greatest length.
    """

    number: int
    total: int
    squares: int
    shortest: int
    longest: int

    @property
    def mean(self) -> float:
        """The mean length."""
        return self.total / self.number

    @property
    def deviation(self) -> float:
        """The standard deviation of the length."""
        spread = self.number * self.squares - self.total * self.total
        # A million times the root, as either number may be too large for a float.
        return isqrt(spread * 10**12 // self.number**2) / 10**6

    def as_dict(self) -> dict[str, Any]:
        """Return the figures as plain data; no count if it has thousands of digits."""
        return {
            "count": self.number if self.number.bit_length() <= _MOST_BITS else None,
            "shortest": self.shortest,
            "longest": self.longest,
            "mean": self.mean,
            "deviation": self.deviation,
        }


class GradientPaths(NamedTuple):
    """The paths of a network.

    Attributes:
        main: those from the main output to each value, the layer that makes it
            included; values that it does not depend on have none.
        heads: likewise those from all other outputs, including auxiliary heads, each
            with its own loss.
        input: those from the main output to the first input; None if there is none.
        lengths: how many of those have each length, shortest first; None if that is
            too much to count.
    """

    main: Mapping[int, Paths]
    heads: Mapping[int, Paths]
    input: Paths | None
    lengths: tuple[tuple[int, int], ...] | None

    def as_dict(self) -> dict[str, Any] | None:
        """Return the figures of the network as plain data; None without a path."""
        if self.input is None:
            return None
        figures = self.input.as_dict()
        kept = self.lengths is not None and figures["count"] is not None
        pairs = [list(pair) for pair in self.lengths or ()]
        return {**figures, "lengths": pairs if kept else None}

    def of(self, value: int) -> dict[str, Any] | None:
        """Return the figures of the layer that makes a value as plain data.

        They are those of the paths from the main output, or zero and None if there
        is none; `heads` has those from the others. None if no loss reaches the layer.
        """
        main, heads = self.main.get(value), self.heads.get(value)
        if main is None and heads is None:
            return None
        nothing = dict.fromkeys(("shortest", "longest", "mean", "deviation"))
        figures = main.as_dict() if main else {"count": 0, **nothing}
        return {**figures, "heads": heads.as_dict() if heads else None}


def paths(graph: Graph) -> GradientPaths:
    """Return the paths from the losses of a network to all of its layers.

    The loss of the main output is one, and those of the other outputs, such as the
    auxiliary heads that only training has, are kept apart. Inputs of which a layer
    only reads the shape get no gradient. A layer that is used twice counts at each use.
    """
    outputs = graph.outputs(training=True)
    main_output = graph.outputs(training=False)[0]
    main = _backwards(graph, [main_output])
    others = [value for value in outputs if value != main_output]
    heads = _backwards(graph, others) if others else {}
    image = graph.inputs[0]
    reached = main.get(image)
    return GradientPaths(
        main=_through_makers(graph, main),
        heads=_through_makers(graph, heads),
        input=reached,
        lengths=None if reached is None else _lengths(graph, main_output, reached),
    )


# ---- sums -----------------------------------------------------------------------


def _backwards(graph: Graph, losses: Iterable[int]) -> dict[int, Paths]:
    """Return the paths from some outputs to each value, its maker not included."""
    found: dict[int, Paths] = {}
    for value in losses:
        _add(found, value, Paths(1, 0, 0, 0, 0))
    for node in reversed(graph.nodes):
        behind = found.get(node.output)
        if behind is not None:
            if node.op.weighted:
                behind = _longer(behind)
            for value in node.inputs[: node.op.sources]:
                _add(found, value, behind)
    return found


def _add(found: dict[int, Paths], value: int, more: Paths) -> None:
    known = found.get(value)
    if known is not None:
        more = Paths(
            known.number + more.number,
            known.total + more.total,
            known.squares + more.squares,
            min(known.shortest, more.shortest),
            max(known.longest, more.longest),
        )
    found[value] = more


def _longer(paths: Paths) -> Paths:
    """Return paths with one more weighted layer."""
    number, total, squares, shortest, longest = paths
    return Paths(
        number, total + number, squares + 2 * total + number, shortest + 1, longest + 1
    )


def _through_makers(graph: Graph, found: Mapping[int, Paths]) -> dict[int, Paths]:
    """Return the paths to the layers that make values, these included."""
    return {
        node.output: _longer(each) if node.op.weighted else each
        for node in graph.nodes
        if (each := found.get(node.output)) is not None
    }


# ---- the distribution -----------------------------------------------------------


def _lengths(
    graph: Graph, output: int, reached: Paths
) -> tuple[tuple[int, int], ...] | None:
    """Return how many paths from an output to the first input have each length.

    The numbers of paths of each length are the coefficients of a polynomial, and a
    layer multiplies by x. All coefficients stand in one integer, each in as many bits
    as the number of all paths has, so that adding polynomials is one sum, and
    multiplying by x is one shift.
    """
    width = reached.number.bit_length()
    if width * (reached.longest + 1) * len(graph.nodes) > _MOST_WORK:
        return None
    found = {output: 1}
    for node in reversed(graph.nodes):
        behind = found.pop(node.output, None)  # each is as large as the result
        if behind is not None:
            if node.op.weighted:
                behind <<= width
            for value in node.inputs[: node.op.sources]:
                found[value] = found.get(value, 0) + behind
    packed, mask = found[graph.inputs[0]], (1 << width) - 1
    counts = [packed >> width * n & mask for n in range(reached.longest + 1)]
    return tuple([(length, count) for length, count in enumerate(counts) if count])
