"""Multiply-accumulates of convolutions and linear layers, as archdsl counts them."""

from __future__ import annotations

from typing import Final

from archdsl.passes.written import Written

UNIT: Final = "MACs"
EVALUATES: Final = False
NOTE: Final = "convolutions and linear layers, without biases"


def count(step: Written, training: bool) -> int:
    """Return what the layer declares."""
    return step.macs
