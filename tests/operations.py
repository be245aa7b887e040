"""What torch's operators do: MACs, operations by purpose, bytes moved.

The figures come from the calls that reach torch's dispatcher, so functions count like
modules; a formula gives the number of operations of each call.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from archdsl.passes.traffic import Traffic

PURPOSES = ("bias", "norm", "activation", "pool", "add", "other")

# Operations per element, by the formula of each function.
ACTIVATIONS: Mapping[str, int] = {
    "relu": 1,  # max(x, 0)
    "hardtanh": 2,  # min(max(x, 0), 6)
    "sigmoid": 4,  # 1 / (1 + exp(-x))
    "silu": 5,  # x * sigmoid(x)
    "hardsigmoid": 4,  # min(max(x + 3, 0), 6) / 6
    "hardswish": 5,  # x * hardsigmoid(x)
    "gelu": 5,  # x * (1 + erf(x / sqrt(2))) / 2, the half a factor of the weights
    "tanh": 1,
}


class Macs(TorchDispatchMode):
    """Counts the MACs of everything that runs within the context, also backward.

    Source: torch's own formulas, except for the weight gradient of a grouped
        convolution,
    where torch assumes that each filter reads all channels.

    Attributes:
        macs: those of the whole batch.
    """

    def __init__(self) -> None:
        super().__init__()
        self.macs = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        self._count(func, args, kwargs or {}, out)
        return out

    def _count(self, func: Any, args: Any, kwargs: Any, out: Any) -> None:
        packet = func._overloadpacket
        formula = flop_registry.get(packet)
        if formula is None:
            return
        if packet is not torch.ops.aten.convolution_backward:
            self.macs += formula(*args, **kwargs, out_val=out) // 2
            return
        *rest, groups, (of_input, of_weight, _) = args
        if of_input:
            self.macs += formula(*rest, groups, (True, False, False), out_val=out) // 2
        if of_weight:
            flops = formula(*rest, groups, (False, True, False), out_val=out)
            self.macs += flops // groups // 2


class Operations(Macs):
    """Also counts operations other than MACs, in a forward pass.

    Attributes:
        counts: for the whole batch, by one of `PURPOSES`; `per_batch` has those that do
            not depend on the batch size.
    """

    def __init__(self) -> None:
        super().__init__()
        self.counts = Counter[str]()
        # Kept as they are found, so that no identity is used twice.
        self._noise: dict[int, Any] = {}

    def _count(self, func: Any, args: Any, kwargs: Any, out: Any) -> None:
        super()._count(func, args, kwargs, out)
        name = func._overloadpacket.__name__.removesuffix("_")
        if name in ACTIVATIONS:
            self.counts["activation"] += ACTIVATIONS[name] * out.numel()
        elif name in _FORMULAS:
            self.counts.update(_FORMULAS[name](*args, out=out))
        elif name == "bernoulli":
            storage = out.untyped_storage()
            self._noise[storage._cdata] = storage
            self.counts["other"] += out.numel()
        elif name in ("add", "sub", "mul", "div"):
            self._count_pointwise(args[0], args[1], out)

    def _count_pointwise(self, one: Tensor, other: Any, out: Tensor) -> None:
        if not out.is_floating_point():
            self.counts["per_batch"] += out.numel()  # a counter of batches
            return
        operands = [t for t in (one, other) if isinstance(t, Tensor) and t.dim()]
        joins = len(operands) == 2 and not any(map(self._is_factor, operands))
        self.counts["add" if joins else "other"] += out.numel()

    def _is_factor(self, tensor: Tensor) -> bool:
        """Return whether a tensor is a parameter or a mask, not another branch."""
        drawn = tensor.untyped_storage()._cdata in self._noise
        return drawn or isinstance(tensor, nn.Parameter)


def _bias(out: Tensor, bias: Tensor | None) -> dict[str, int]:
    return {} if bias is None else {"bias": out.numel()}


def _pool(kernel: Any, out: Tensor, *, less: int) -> dict[str, int]:
    height, width = kernel if len(kernel) == 2 else (*kernel, *kernel)
    return {"pool": (height * width - less) * out.numel()}


def _batch_norm(training: bool, channels: int, out: Tensor) -> dict[str, int]:
    if not training:
        return {"norm": 2 * out.numel()}
    # Per element: mean, difference, square, variance, scale, weight, bias. Per channel:
    # both divisions, epsilon, root, inverse; (1 - m) * old + m * new twice; n / (n - 1)
    # for the variance.
    return {"norm": 7 * out.numel(), "per_batch": (5 + 2 * 3 + 1) * channels}


def _adaptive(x: Tensor, out: Tensor) -> dict[str, int]:
    taps = x.shape[0] * x.shape[1]
    for n, m in zip(x.shape[2:], out.shape[2:], strict=True):
        taps *= sum(-(-(i + 1) * n // m) - i * n // m for i in range(m))
    return {"pool": taps}


_FORMULAS: Mapping[str, Callable[..., dict[str, int]]] = {
    "convolution": lambda x, weight, bias, *rest, out: _bias(out, bias),
    "addmm": lambda bias, *rest, out: _bias(out, bias),
    "native_batch_norm": lambda x, weight, bias, mean, var, training, *rest, out: (
        _batch_norm(training, x.shape[1], out[0])
    ),
    # Per element as above, and the five operations per position.
    "native_layer_norm": lambda *args, out: {
        "norm": 7 * out[0].numel() + 5 * out[1].numel()
    },
    # Four products and three sums.
    "upsample_bilinear2d": lambda *args, out: {"other": 7 * out.numel()},
    "max_pool2d_with_indices": lambda x, kernel, *rest, out: _pool(
        kernel, out[0], less=1
    ),
    # One sum less than the window has elements, and a division.
    "avg_pool2d": lambda x, kernel, *rest, out: _pool(kernel, out, less=0),
    "mean": lambda x, *rest, out: {"pool": x.numel()},
    "_adaptive_avg_pool2d": lambda x, *rest, out: _adaptive(x, out),
}


class _Reads(TorchDispatchMode):
    """Records the storages that torch's operators read, by id."""

    def __init__(self) -> None:
        super().__init__()
        # Kept as they are found, so that no identity is used twice.
        self.storages: dict[int, Any] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        for value in tree_leaves((args, kwargs)):
            if isinstance(value, Tensor):
                storage = value.untyped_storage()
                self.storages[storage._cdata] = storage
        return func(*args, **(kwargs or {}))


def moved_by(module: nn.Module, *inputs: Tensor) -> Traffic:
    """Return the bytes that a module of one layer reads and writes, each tensor once.

    Tensors that reach an operator count as read. The output counts as written, and so
    do buffers in training, and what autograd keeps besides inputs, output and
    parameters.
    """
    kept: dict[int, Any] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
    with hooks, _Reads() as reads:
        (output,) = module(*inputs)
    own = [*module.parameters(), *module.buffers()]
    shared = [x for x in inputs if _identity(x) == _identity(output)]
    # On the meta device, some copies share memory as well, but they are not views.
    if any(x is output or output._is_view() for x in shared):
        return Traffic()
    read = [t for t in (*inputs, *own) if _identity(t) in reads.storages]
    written = [output, *(module.buffers() if module.training else ())]
    known = {_identity(t) for t in (*inputs, *own, output)}
    return Traffic(
        sum(t.nbytes for t in read),
        sum(t.nbytes for t in written)
        + sum(s.nbytes() for name, s in kept.items() if name not in known),
    )


def _identity(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata
