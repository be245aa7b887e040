"""A large kernel in place of stacked 3x3 ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from archdsl.ir.graph import Node
from archdsl.layer import count
from archdsl.linter.net import Net, macs, params, percent, saving, weight
from archdsl.linter.rule import Finding, Fix, Rule, net
from archdsl.values import Shape, sizes


class Stack(NamedTuple):
    """A stack of 3x3 convolutions that sees as much as a single larger one.

    Attributes:
        layers: number of convolutions.
        stride: stride of the first; that of the others is 1.
        pad: padding of each.
    """

    layers: int
    stride: int
    pad: int


class LargeKernel(Rule):
    """A k x k convolution sees k x k positions. For odd k > 3, so do (k - 1) / 2
    stacked 3x3 convolutions, with 9 (k - 1) / 2 weights per pair of channels in place
    of k * k: 18 instead of 25, or 27 instead of 49. The stack also has nonlinearities
    in between.

    If the convolution has a stride s, the first layer of the stack takes it over, and
    each further layer widens the field by 2 s; if no such stack has the same field,
    nothing is reported. Between its layers, the stack has as many channels as the wider
    of the two ends. If the other end is far narrower, as for an RGB image, the stack
    would cost more than the large kernel, so nothing is reported either. Depthwise and
    grouped convolutions are left out: they have few of a network's weights, and each
    additional layer has to read and write all activations again.

    The rule applies if at least 1 % of the network's weights or multiply-accumulates is
    saved at one place.

    The edit changes the network, so it needs `--unsafe`. Between the convolutions it
    inserts a relu, and a norm before it if one follows the large kernel.

    Source: Simonyan & Zisserman 2014, "Very deep convolutional networks for large-scale
    image recognition", section 2.3.
    """

    code = "W0101"
    name = "large-kernel"
    title = "a large kernel where stacked 3x3 kernels see as much"
    least = 0.01
    bad = net("conv 3x3 32 -> relu", "conv 7x7 32 -> relu", "conv 1x1 10")
    good = net(
        "conv 3x3 32 -> relu",
        "conv 3x3 32 -> relu -> conv 3x3 32 -> relu -> conv 3x3 32 -> relu",
        "conv 1x1 10",
    )

    def check(self, net: Net) -> Iterator[Finding]:
        """Yield the convolutions that a stack would make cheaper."""
        for node in net.owners:
            stack = stack_for(node)
            if stack is None:
                continue
            saved = params(node) - _weights(net, node, stack)
            if saved > 0 and macs(node) > _macs(node, stack):
                yield self._finding(net, node, stack, saved)

    def _finding(self, net: Net, node: Node, stack: Stack, saved: int) -> Finding:
        k = _kernel(node)[-1]
        word = {2: "two", 3: "three", 4: "four", 5: "five"}.get(stack.layers)
        many = word or str(stack.layers)
        whole = saving(net.uses(node), saved, lambda n: macs(n) - _macs(n, stack))
        return Finding(
            node,
            f"{many} 3x3 convolutions would see the same {k}x{k} positions with "
            f"{percent(saved, params(node))} fewer weights",
            whole,
            label=f"{params(node):,} weights, {macs(node):,} MACs",
            notes=(f"stacked 3x3 convolutions would save {whole}",),
            help=f"write {many} 3x3 convolutions, with a nonlinearity between them",
            fix=_fix(net, node, stack),
        )


def stack_for(node: Node) -> Stack | None:
    """Return the 3x3 convolutions with the same field as a layer, if there are any."""
    kernel = weight(node)
    window = node.window
    if node.op.family != "conv" or kernel is None or window is None:
        return None
    ways = {(window.kernel, window.stride, window.pad)}
    square = all(len(set(axes)) == 1 for axes in next(iter(ways)))
    plain = window.up == (1, 1) and window.dilation == (1, 1)
    grouped = kernel.shape[1] != node.input_shapes[0][0]
    if not square or not plain or grouped or len(kernel.shape) != 4:
        return None
    size, stride, pad = window.kernel[0], window.stride[0], window.pad[0]
    further, rest = divmod(size - 3, 2 * stride)
    if rest or further < 1 or pad not in (0, size // 2):
        return None
    return Stack(further + 1, stride, 1 if pad else 0)


def _weights(net: Net, node: Node, stack: Stack) -> int:
    """Return the weights of the stack, with the norms between its layers."""
    inner = stack.layers - 1
    stay = params(node) - count(_kernel(node))
    return (
        stay + sum(_products(node, stack)) + inner * _wide(node) * net.per_channel(node)
    )


def _macs(node: Node, stack: Stack) -> int:
    """Return the multiply-accumulates of the stack."""
    units, total = sizes(node.input_shapes[0]), 0
    for place, products in enumerate(_products(node, stack)):
        stride = 1 if place else stack.stride
        units = tuple((n + 2 * stack.pad - 3) // stride + 1 for n in units)
        total += products * count(units)
    return total


def _products(node: Node, stack: Stack) -> list[int]:
    """Return the elements of the kernel of each layer of the stack."""
    inner = [_wide(node)] * (stack.layers - 1)
    into, out = [node.input_shapes[0][0], *inner], [*inner, node.shape[0]]
    return [9 * a * b for a, b in zip(into, out, strict=True)]


def _wide(node: Node) -> int:
    """Return the channels between the layers of a stack."""
    return max(node.input_shapes[0][0], node.shape[0])


def _kernel(node: Node) -> Shape:
    kernel = weight(node)
    assert kernel is not None
    return kernel.shape


def _fix(net: Net, node: Node, stack: Stack) -> Fix | None:
    norm, written = net.norm_behind(node), net.written(node)
    if written is None or written.call.guard is not None:
        return None
    known = {"kernel", "width", "bias", "/", None}
    kernel, width = written.argument("kernel", 0), written.argument("width", 1)
    if kernel is None or {arg.name for arg in written.call.args} - known:
        return None
    if written.call.label is not None or node.shape[0] < node.input_shapes[0][0]:
        return (
            None  # a label can only name one layer, and the width is that of the last
        )
    wide = f" {width.value.span.text}" if width else ""
    stride, flag = written.argument("/"), written.argument("bias")
    slash = f" {stride.span.text}" if stride else ""
    said = f" {flag.span.text}" if flag else ""
    between = f" -> {norm.op.word} -> relu -> " if norm else " -> relu -> "
    words = [f"{node.op.word} 3x3{wide}{said}"] * stack.layers
    words[0] = f"{node.op.word} 3x3{wide}{slash}{said}"
    return Fix((written.replaced(between.join(words)),))
