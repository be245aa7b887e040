"""Multiply-accumulates of convolutions and linear layers, as archdsl counts them."""

from __future__ import annotations

from typing import Final

from archdsl.torch.calls import Executed

VERSION: Final = "archdsl"
UNIT: Final = "MACs"
EVALUATES: Final = False
NOTE: Final = "convolutions and linear layers, without biases"
ABOUT: Final = (
    "archdsl counts a multiply-accumulate (MAC) for each product of a weight and an "
    "input in convolutions and linear layers, those with the padding included, and no "
    "biases. This is what most papers print, often under the name of FLOPs."
)


def count(step: Executed, training: bool) -> int:
    """Return what the layer declares."""
    return step.macs
