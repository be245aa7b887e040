"""The smallest input that a network accepts, and what fails below it.

The shapes of the layers are computed again for other input sizes, without elaborating
the spec again. The weights stay the same, so a linear layer after `flatten` only
accepts maps of one size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from archdsl.ir.graph import Graph, Node
from archdsl.layer import Layer, Mismatch
from archdsl.values import (
    Last,
    Shape,
    Tensor,
    Window,
    channels,
    is_map,
    show_shape,
    sizes,
)

from .receptive import windows

# The code of a window that is larger than its input. Sizes never shrink as the input
# grows, so if it fails, all smaller sizes fail, too.
_WINDOW: Final = "A0303"
# The number of sizes that are tried one by one if those that fit are not consecutive.
_MOST_TRIED: Final = 512


class SizeFailure(NamedTuple):
    """A layer that refuses a size of the input.

    Attributes:
        size: the size of the first input, along each spatial axis.
        layer: path of the layer.
        message: its error message.
        side: -1 if the size is too small, 1 if it is too large, and 0 if it is neither,
            for example if branches differ.
    """

    size: tuple[int, ...]
    layer: str
    message: str
    side: int

    def as_dict(self) -> dict[str, Any]:
        """Return the failure as plain data."""
        return {
            "size": list(self.size),
            "layer": self.layer,
            "message": self.message,
        }


class Sizes(NamedTuple):
    """The sizes that fit along one axis, with the others as in the network.

    They are ``first + k * step + r`` for every k and each ``r < run``.

    Attributes:
        first: the smallest one.
        step: 1 if all sizes from the first one on fit; None if there is no such rule.
        run: how many consecutive sizes fit in each step; 1 if there is no rule.
        last: the largest one, or None if there is none.
        below: what fails at one less than the first, or than the smallest size that
            fits together with the others; None if that is 1.
        between: what fails after the first run, if the step is not 1.
        above: what fails at one more than the largest, if there is one.
    """

    first: int
    step: int | None
    run: int
    last: int | None
    below: SizeFailure | None
    between: SizeFailure | None
    above: SizeFailure | None


class Smallest(NamedTuple):
    """The smallest input that a network accepts.

    Attributes:
        size: the size of the first input, along each spatial axis.
        along: the sizes that fit along each axis.
        built: the smallest input that the network can be built for. It then has other
            weights where these depend on the size, and includes its auxiliary heads.
    """

    size: tuple[int, ...]
    along: tuple[Sizes, ...]
    built: tuple[int, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the sizes as plain data, each along every axis."""
        along = self.along
        return {
            "size": list(self.size),
            "built": list(self.built),
            "step": [each.step for each in along],
            "run": [each.run for each in along],
            "largest": [each.last for each in along],
            "below": [each.below and each.below.as_dict() for each in along],
            "between": [each.between and each.between.as_dict() for each in along],
            "above": [each.above and each.above.as_dict() for each in along],
        }


def smallest(
    graph: Graph,
    seen_by: Sequence[Window | None] | None = None,
    *,
    training: bool = False,
) -> Smallest | None:
    """Return the smallest input that a network accepts; None if its first one is a
    vector.

    This is about the network as it was built. What it could be built for is a different
    question: then auxiliary heads must fit, too, but layers whose weights depend on the
    input's size get weights for another size.

    Other inputs are scaled in proportion, rounded up; vectors stay as they are. Whether
    batch norm can train on the result is not considered, as it does not depend on
    shapes. That all sizes from the first one on fit is concluded from trying a few.

    Args:
        graph: the network.
        seen_by: the result of `archdsl.passes.receptive.windows`, if it is already
            known.
        training: whether auxiliary heads must accept the size, too.
    """
    given = sizes(graph.shapes[graph.inputs[0]])
    if not given:
        return None
    seen_by = windows(graph) if seen_by is None else seen_by
    fit = _Fit(graph, seen_by, training)
    firsts, least = _firsts(fit, given)
    axes = range(len(given))
    period = max([fit.period(axis) for axis in axes])
    probes = [fit(tuple([n + more for n in firsts])) for more in _probes(period)]
    steady = all(f is None or f.side > 0 for f in probes)
    cut = fit(tuple([2 * n for n in given])) is not None
    along: list[Sizes] = []
    for axis in axes:
        guess = along[0] if along else None
        fails, first = _alone(fit, given, axis), firsts[axis]
        recur = 0 if steady else period
        one = _sizes(fails, first, given[axis], recur, cut, guess)
        if least[axis] > first:
            one = one._replace(below=_alone(fit, least, axis)(least[axis] - 1))
        along.append(one)
    built = least
    if fit.bound or any(node.training for node in graph.nodes):
        _, built = _firsts(_Fit(graph, seen_by, training=True, built=True), given)
    return Smallest(least, tuple(along), built)


def _alone(fit: _Fit, given: Shape, axis: int) -> _Try:
    """Return a function that says why a size along one axis fails on its own."""
    return lambda n: fit((*given[:axis], n, *given[axis + 1 :]))


def _firsts(fit: _Fit, given: Shape) -> tuple[Shape, Shape]:
    """Return the smallest sizes that fit along each axis alone, and those that fit
    together.
    """
    firsts: list[int] = []
    for axis, n in enumerate(given):
        guess = firsts[0] if firsts else 1
        firsts.append(_first(_alone(fit, given, axis), n, guess=guess))
    if fit(tuple(firsts)) is None:
        return tuple(firsts), tuple(firsts)
    # Norms over the positions of a sample need more than one, along whichever axis.
    least = given
    for axis, n in enumerate(given):
        first = _first(_alone(fit, least, axis), n, guess=firsts[axis])
        least = (*least[:axis], first, *least[axis + 1 :])
    return tuple(firsts), least


# ---- one size -------------------------------------------------------------------


# The sizes of a map, or the features of a vector; the number of channels does not
# depend on the input's size.
_Extent = tuple[int, ...]


class _Part(NamedTuple):
    """A layer that can refuse a size, or changes it.

    Attributes:
        node: the layer.
        inputs: the values that it reads, with those of omitted layers replaced.
        weights: its tensors, if they depend on the size of its input.
        alike: a number shared by layers that always give the same answer.
        slides: whether it has a window that slides over positions.
    """

    node: Node
    inputs: tuple[int, ...]
    weights: tuple[Tensor, ...] | None
    alike: int
    slides: bool


class _Fit:
    """Whether a network accepts a size of its first input."""

    def __init__(
        self,
        graph: Graph,
        seen_by: Sequence[Window | None],
        training: bool,
        *,
        built: bool = False,
    ) -> None:
        self._inputs = [(value, graph.shapes[value]) for value in graph.inputs]
        self._parts = _parts(graph.nodes, seen_by, training)
        if built:  # with weights that fit
            self._parts = [part._replace(weights=None) for part in self._parts]
        self._answers: dict[tuple[int, tuple[_Extent, ...]], _Extent | _Refusal] = {}
        self._tried: dict[tuple[int, ...], SizeFailure | None] = {}

    @property
    def bound(self) -> bool:
        """Whether any weights depend on the size of the input."""
        return any(part.weights is not None for part in self._parts)

    def __call__(self, size: tuple[int, ...]) -> SizeFailure | None:
        """Return the failure for a size of the first input, or None."""
        if size not in self._tried:
            self._tried[size] = self._try(size)
        return self._tried[size]

    def _try(self, size: tuple[int, ...]) -> SizeFailure | None:
        answers = self._answers
        given = sizes(self._inputs[0][1])
        known = {value: _scaled(own, size, given) for value, own in self._inputs}
        for part in self._parts:
            seen = tuple([known[value] for value in part.inputs])
            key = part.alike, seen
            made = answers.get(key)
            if made is None:
                made = answers[key] = _answer(part, seen)
            if isinstance(made, _Refusal):
                return SizeFailure(size, part.node.step.path, made.message, made.side)
            known[part.node.output] = made
        return None

    def period(self, axis: int) -> int:
        """Return an upper bound of the period with which fitting sizes repeat along an
        axis.

        That is the stride of the smallest map, and one more for rounding.
        """
        whole = sizes(self._inputs[0][1])
        given = whole[axis]
        maps = [sizes(part.node.shape) for part in self._parts if part.slides]
        alike = [units[axis] for units in maps if len(units) == len(whole)]
        smallest = min(alike, default=given)
        return min(-(-given // smallest) + 1, _MOST_TRIED // 4)


def _parts(
    nodes: Sequence[Node], seen_by: Sequence[Window | None], training: bool
) -> list[_Part]:
    """Return the layers that matter for sizes.

    Layers that work on each position separately are left out.
    """
    parts = []
    same: dict[int, int] = {}
    known: dict[Any, tuple[int, tuple[Tensor, ...] | None, bool]] = {}
    for node, window in zip(nodes, seen_by, strict=True):
        if node.training and not training:
            continue
        inputs = tuple([same.get(value, value) for value in node.inputs])
        op, shapes = node.op, node.input_shapes
        # A shape with its channels last compares equal to a plain tuple.
        key = op, shapes, tuple(map(type, shapes))
        if key not in known:
            plain = window is not None and window.is_pointwise
            known[key] = len(known), _sized(node), plain and _keeps(node)
        alike, weights, keeps = known[key]
        if weights is None and keeps:
            same[node.output] = inputs[0]
        else:
            slides = window is not None and not window.is_pointwise
            parts.append(_Part(node, inputs, weights, alike, slides))
    return parts


def _sized(node: Node) -> tuple[Tensor, ...] | None:
    """Return a layer's tensors if they depend on the size of its input."""
    if type(node.op).tensors is Layer.tensors:
        return None
    own = node.tensors
    larger = [_larger(shape) for shape in node.input_shapes]
    try:
        return None if node.op.tensors(*larger) == own else own
    except Mismatch:
        return own


def _keeps(node: Node) -> bool:
    """Return whether a layer keeps the number of positions, for any number."""
    if len(node.inputs) > 1:
        return False
    if type(node.op).shape is Layer.shape:
        return True
    larger = _larger(node.input_shapes[0])
    try:
        return _extent(node.op.shape(larger)) == _extent(larger)
    except Mismatch:
        return False


def _larger(shape: Shape) -> Shape:
    """Return a shape with more positions, or a vector with more features."""
    more = tuple([n + 1 for n in _extent(shape)])
    return _resized(shape, more)


class _Refusal(NamedTuple):
    """Why a layer does not accept a shape; see `SizeFailure`."""

    message: str
    side: int


def _answer(part: _Part, extents: tuple[_Extent, ...]) -> _Extent | _Refusal:
    """Return the output size of a layer, or why it fails."""
    op, given = part.node.op, part.node.input_shapes
    inputs = tuple([_resized(s, e) for s, e in zip(given, extents, strict=True)])
    try:
        made = _extent(op.shape(*inputs))
        if part.weights is None or inputs == given:
            return made
        needed = op.tensors(*inputs)
    except Mismatch as mismatch:
        return _Refusal(mismatch.message, -1 if mismatch.code == _WINDOW else 0)
    if needed == part.weights:
        return made
    more = sum(t.elements for t in needed) - sum(t.elements for t in part.weights)
    message = (
        f"{op.word}: its weights are for an input of {show_shape(given[0])}, but this "
        f"one is {show_shape(inputs[0])}"
    )
    return _Refusal(message, (more > 0) - (more < 0))


def _extent(shape: Shape) -> _Extent:
    return sizes(shape) or tuple(shape)


def _resized(shape: Shape, extent: _Extent) -> Shape:
    """Return a shape with another size."""
    if not is_map(shape):
        return extent
    if isinstance(shape, Last):
        return Last((*extent, channels(shape)))
    return (shape[0], *extent)


def _scaled(own: Shape, size: _Extent, given: _Extent) -> _Extent:
    """Return the extent of an input if the first one has another size.

    Maps with other axes than the first one stay as they are, as vectors do.
    """
    extent = _extent(own)
    if len(own) != len(given) + 1:
        return extent
    return tuple([-(-n * m // g) for n, m, g in zip(extent, size, given, strict=True)])


# ---- the search -----------------------------------------------------------------

_Try = Callable[[int], SizeFailure | None]


def _first(fails: _Try, given: int, guess: int = 1) -> int:
    """Return the smallest size that fits, given one that does."""
    if guess <= given and fails(guess) is None:
        below = fails(guess - 1) if guess > 1 else None
        if guess == 1 or (below is not None and below.side < 0):
            return guess
    # All sizes up to `low` are too small.
    low, high = 0, given
    while high - low > 1:
        middle = (low + high) // 2
        failure = fails(middle)
        if failure is not None and failure.side < 0:
            low = middle
        else:
            high = middle
    for size in range(low + 1, min(low + _MOST_TRIED, given)):
        if fails(size) is None:
            return size
    return given


def _probes(period: int) -> list[int]:
    """Return distances between sizes to try: after each halving, some are odd.

    Branches that are halved in different ways only agree at some sizes.
    """
    bits = period.bit_length()
    return [1, 2, int("01" * bits, 2) % 2**bits, int("10" * bits, 2) % 2**bits]


def _sizes(
    fails: _Try,
    first: int,
    given: int,
    period: int,
    cut: bool,
    guess: Sizes | None = None,
) -> Sizes:
    """Return the sizes that fit along one axis.

    Args:
        fails: says why a size does not fit.
        first: the smallest that does.
        given: the size that the network was made for.
        period: an upper bound of the step at which sizes that fit recur; 0 if all fit.
        cut: whether twice the sizes given do not fit.
        guess: the sizes that fit along the other axis, which are tried first.
    """
    below = fails(first - 1) if first > 1 else None
    last = _last(fails, given, period == 0) if cut else None
    if guess is not None and _recurs(fails, first, guess):
        step, run = guess.step, guess.run
    else:
        fits = [fails(first + n) is None for n in range(2 * period)]
        step, run = _recurrence(fits)
        if step is None and True not in fits[run:] and given < first + run:
            step, run, last = 1, 1, first + run - 1  # the only ones
    between = fails(first + run) if step != 1 else None
    above = None if last is None else fails(last + 1)
    return Sizes(first, step, run, last, below, between, above)


def _recurs(fails: _Try, first: int, guess: Sizes) -> bool:
    """Return whether sizes recur in steps of a guess, judged by a few of them."""
    step, run = guess.step, guess.run
    if step is None or step == 1 or first != guess.first:
        return False
    tried = {
        run - 1,
        run,
        (run + step) // 2,
        step - 1,
        step,
        step + run - 1,
        step + run,
    }
    return all((fails(first + n) is None) == (n % step < run) for n in tried)


def _recurrence(fits: Sequence[bool]) -> tuple[int | None, int]:
    """Return the step at which sizes recur, and how many fit in each step."""
    if all(fits):
        return 1, 1
    run = fits.index(False)
    if True not in fits[run:]:
        return None, run
    step = fits.index(True, run)
    steady = all(fit == (at % step < run) for at, fit in enumerate(fits))
    return step if steady else None, run


def _last(fails: _Try, given: int, steady: bool) -> int | None:
    """Return the largest size that fits, if twice the size given is too large.

    Args:
        fails: says why a size does not fit.
        given: the size that the network was made for.
        steady: whether no size beyond the first that does not fit fits again.
    """

    def beyond(size: int) -> bool:
        failure = fails(size)
        return failure is not None and (steady or failure.side > 0)

    low, high = given, 2 * given
    if not beyond(high):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        if beyond(middle):
            high = middle
        else:
            low = middle
    return low
