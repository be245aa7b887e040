"""Operators, and what creates and fills tensors."""

from __future__ import annotations

from typing import Final

from .function import Function, Module
from .rules import inputs

_KAIMING: Final = "tensor, a=0, mode='fan_in', nonlinearity='leaky_relu'"
_PATCHED: Final = {"calflops": inputs, "ptflops_module": inputs}

ENTRIES: Final = (
    Function("Tensor.add Tensor.__add__ Tensor.__radd__", None, "place", _PATCHED),
    Function("Tensor.mul Tensor.__mul__ Tensor.__rmul__", None, "place", _PATCHED),
    Function("Tensor.sub Tensor.__sub__ Tensor.__rsub__", None, "place"),
    # The helper class for stochastic depth draws the samples to drop with these.
    Function("Tensor.bernoulli_ Tensor.div_ Tensor.new_empty Tensor.dim", counts={}),
    Function("torch.full", "size, fill_value"),
    # A class of the emitted text that derives from no layer of torch.
    Module("nn.Module", "", "", {}),
    Module("nn.Parameter", "data=None, requires_grad=True", ""),
    Function("nn.init.constant_", "tensor, val"),
    Function("nn.init.kaiming_normal_ nn.init.kaiming_uniform_", _KAIMING),
    Function("nn.init.normal_", "tensor, mean=0.0, std=1.0"),
    Function("nn.init.ones_ nn.init.zeros_", "tensor"),
    Function("nn.init.trunc_normal_", "tensor, mean=0.0, std=1.0, a=-2.0, b=2.0"),
    Function("nn.init.uniform_", "tensor, a=0.0, b=1.0"),
    Function("nn.init.xavier_normal_ nn.init.xavier_uniform_", "tensor, gain=1.0"),
)
