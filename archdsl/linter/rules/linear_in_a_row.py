"""Two layers in a row that one could compute."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from archdsl.ir.graph import Node
from archdsl.layer import Mismatch, count, output_size
from archdsl.linter.net import Net, bias, macs, params, percent, saving, weight
from archdsl.linter.rule import Finding, Rule, net
from archdsl.values import Continued, Last, channels, show_shape, sizes


class SingleLayer(NamedTuple):
    """A single layer that computes the same as two.

    Attributes:
        text: how a spec would write it.
        weights: its number of parameters.
        macs: its multiply-accumulates for one sample.
        exact: whether the result is also the same at the border of the map.
    """

    text: str
    weights: int
    macs: int
    exact: bool


class LinearInARow(Rule):
    """Two convolutions with no nonlinearity between them compose to a linear function,
    and so to a single convolution, with a kernel that covers what both together cover.
    Depth without nonlinearities does not add to what the network can express. The same
    is true of linear layers. A `bn` in between does not help: in inference it only
    scales and shifts each channel.

    Two layers can still be the cheaper way to write the one: 1x7 and 7x1 in place of
    7x7, a depthwise and a 1x1 convolution, or a narrow layer between wide ones as in
    the linear bottlenecks of MobileNetV2. So the rule applies only if a single full
    convolution has no more weights and no more multiply-accumulates than the two, and
    neither of them is grouped or dilated.

    If the first adds a bias and the second pads, two layers and one layer differ in the
    outermost rows: there, the second one sees zeros instead of the first one's bias.
    They also differ if the first is larger than 1x1 and the second pads.

    Most often, what is missing is a `relu` in between. The savings are those of writing
    a single layer instead.

    Source: Saxe, McClelland & Ganguli 2013, "Exact solutions to the nonlinear dynamics
    of learning in deep linear neural networks", section 1; Sandler et al. 2018,
    "MobileNetV2", section 3.2, for layers that are linear on purpose.
    """

    code = "W0118"
    name = "linear-in-a-row"
    title = "two layers without a nonlinearity between them, where one would do"
    bad = net("conv 3x3 32 -> conv 1x1 32 -> relu", "conv 1x1 10")
    good = net("conv 3x3 32 -> relu -> conv 1x1 32 -> relu", "conv 1x1 10")

    def check(self, net: Net) -> Iterator[Finding]:
        """Yield the second layers of such pairs."""
        for node in net.owners:
            chain = _chain(net, node) if weight(node) is not None else []
            one = _joined(chain) if chain else None
            if one is None:
                continue
            first, *_, last = chain
            weights = sum(map(params, chain)) - one.weights
            products = macs(first) + macs(last) - one.macs
            if weights >= 0 and products >= 0:
                yield _finding(chain, one, weights, products)


def _chain(net: Net, node: Node) -> list[Node]:
    """Return a layer before another, what stands between them, and that other.

    Nothing is returned unless each is all that reads the one before it.
    """
    chain = [node]
    while len(chain) == 1 or weight(chain[-1]) is None:
        maker = net.makers.get(chain[-1].inputs[0])
        if maker is None or net.next(maker) is not chain[-1]:
            return []
        between = maker.op.channelwise or _passes(maker)
        if weight(maker) is None and not between:
            return []
        chain.append(maker)
    alone = all(len(net.uses(each)) == 1 for each in chain)
    known = all(each.op.family in ("conv", "linear") for each in (chain[-1], node))
    return chain[::-1] if alone and known else []


def _passes(node: Node) -> bool:
    return node.op.passes(node.input_shapes, node.shape)


def _joined(chain: list[Node]) -> SingleLayer | None:
    """Return a single layer that computes the same as two, if there is one."""
    first, *between, last = chain
    family = first.op.family
    if family != last.op.family or not (first.op.scales and last.op.scales):
        return None
    into, out = channels(first.input_shapes[0]), channels(last.shape)
    shifted = bool(bias(first)) or not all(map(_passes, between))
    shift = shifted or bool(bias(last))
    extra = out if shift else 0
    flag = "" if shift else " bias=false"
    if family == "linear":
        positions = count(sizes(last.shape)) if isinstance(last.shape, Last) else 1
        text = f"{last.op.word} {out}{flag}"
        return SingleLayer(text, into * out + extra, into * out * positions, exact=True)
    reach = _reach(first, last)
    if reach is None:
        return None
    kernel, stride, pad = reach
    text = f"{last.op.word} {show_shape(kernel)} {out}"
    if count(stride) > 1:
        text += f" /{_short(stride)}"
    weights = into * out * count(kernel)
    point = weight(first)
    assert point is not None
    window = last.window
    padded = window is not None and max(window.pad) > 0
    exact = not padded or (count(point.shape[2:]) == 1 and not shifted)
    return SingleLayer(
        f"{text} pad={_short(pad)}{flag}",
        weights + extra,
        weights * count(sizes(last.shape)),
        exact,
    )


def _short(numbers: tuple[int, ...]) -> str:
    """Return the numbers of all axes as a spec writes them, once if they are equal."""
    return show_shape(numbers if len(set(numbers)) > 1 else numbers[:1])


def _reach(
    first: Node, last: Node
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]] | None:
    """Return kernel, stride and padding of two convolutions as one, if there is one."""
    windows = [n.window for n in (first, last)]
    for node, window in zip((first, last), windows, strict=True):
        kernel = weight(node)
        if kernel is None or window is None or len(kernel.shape) < 3:
            return None
        plain = max(window.up) == max(window.dilation) == 1
        plain = plain and not isinstance(window, Continued)
        grouped = kernel.shape[1] != channels(node.input_shapes[0])
        if not plain or grouped:
            return None
    a, b = windows
    assert a is not None
    assert b is not None
    axes = [
        (k + s * (m - 1), s * t, p + s * q)
        for k, s, p, m, t, q in zip(
            a.kernel, a.stride, a.pad, b.kernel, b.stride, b.pad, strict=True
        )
    ]
    for axis, (kernel, stride, pad) in enumerate(axes):
        before, after = sizes(first.input_shapes[0])[axis], sizes(last.shape)[axis]
        try:
            units = output_size("", before, kernel, stride, (pad, pad), 1)
        except Mismatch:
            return None
        if units != after:
            return None  # it is padded unevenly
    kernels, strides, pads = zip(*axes, strict=True)
    return kernels, strides, pads


def _finding(
    chain: list[Node], one: SingleLayer, weights: int, products: int
) -> Finding:
    first, *between, last = chain
    norm = f"only {between[-1].step.path}" if between else "nothing"
    saved = saving([last], weights, lambda _: products)
    rim = "" if one.exact else ", except at the border of the map"
    said = f", and save {saved}" if any(saved) else ", at the same cost"
    spent = percent(weights, sum(map(params, chain)))
    return Finding(
        last,
        f"{first.step.path} and {last.step.path} have {norm} between them: one layer "
        f"computes the same with {spent} fewer weights",
        saved,
        label="a linear function of a linear function",
        notes=(f"`{one.text}` would replace both{rim}{said}",),
        help=f"put a nonlinearity between {first.step.path} and {last.step.path}, or "
        "write one layer",
    )
