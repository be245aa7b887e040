"""Networks whose gradients show which positions a unit depends on."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional

from archdsl.ir import Network
from archdsl.ir.graph import flatten
from tests.handmade import Interpreted, Sketch
from tests.strategies import KINDS

# Kinds whose gradient can be zero although the output depends on the input: only the
# winner passes it, or terms of opposite sign cancel.
BLIND = {
    "adaptivemaxpool",
    "globalmaxpool",
    "groupnorm",
    "instancenorm",
    "layernorm",
    "lrn",
    "maxpool",
    "mul",
    "softmax",
    "spatialsoftmax",
}
# The other kinds; those with one input; and among these, those with a window.
CLEAR = tuple(word for word in KINDS if word not in BLIND)
ALONE = tuple(word for word in CLEAR if KINDS[word].arity == 1)
WINDOWED = tuple(
    word
    for word in ALONE
    if any(field.type == "window" for field in KINDS[word].fields.values())
)


def seeing(network: Network) -> Interpreted:
    """Return the network in float64, with a nonzero gradient wherever units depend.

    All values stay positive, because of ReLUs, and about 1, because of sigmoids.
    """
    module = Interpreted(network)
    brighten(module)
    return module


def brighten(module: nn.Module) -> None:
    """Give a module weights and pools that pass gradients to all visible positions."""
    module.double().eval()
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if name.endswith("running_mean"):
                tensor.zero_()
            elif tensor.is_floating_point():
                tensor.uniform_(0.5, 1.5)
                tensor /= tensor[:1].numel() if tensor.dim() else 1
    for owner in list(module.modules()):
        for name, part in list(owner.named_children()):
            if isinstance(part, nn.MaxPool2d):
                setattr(owner, name, _Averaging(part))


class _Averaging(nn.Module):
    """An average instead of a maximum, over the same windows."""

    def __init__(self, pool: nn.MaxPool2d) -> None:
        super().__init__()
        self.pool = pool
        self.kernel, self.stride, self.pad, self.dilation = (
            value if isinstance(value, tuple) else (value, value)
            for value in (pool.kernel_size, pool.stride, pool.padding, pool.dilation)
        )

    def forward(self, x: Tensor) -> Tensor:
        height, width = self.pool(x).shape[2:]
        most = 2 * max(*self.kernel, *self.stride) * max(self.dilation)
        padded = functional.pad(x, (self.pad[1], most, self.pad[0], most))
        weight = x.new_full((x.shape[1], 1, *self.kernel), 1 / prod(self.kernel))
        summed = functional.conv2d(
            padded, weight, None, self.stride, 0, self.dilation, groups=x.shape[1]
        )
        return summed[:, :, :height, :width]


def thin(network: Network, height: int, width: int) -> Network:
    """Reduce a network to its windows and merges, at another size, with few channels.

    Layers that act on single positions are left out, and so is everything from the
    first vector on.
    """
    graph = flatten(network)
    sketch = Sketch((1, height, width))
    values = {graph.inputs[0]: 0}
    for node in graph.run(training=False):
        if len(node.shape) == 1:
            break
        inputs = [values[value] for value in node.inputs]
        window = node.op.window(node.input_shapes, node.shape)
        if window is not None and window.is_pointwise and len(inputs) == 1:
            values[node.output] = inputs[0]
            continue
        if node.op.arity != 1:
            inputs = [sketch.add("conv", n, kernel=(1, 1), width=1) for n in inputs]
        narrow = {
            name: 1
            for name in ("width", "groups")
            if getattr(node.op, name, None) is not None
        }
        values[node.output] = sketch.add(node.op.replace(**narrow), *inputs)
    return sketch.network()
