"""Checkpoints: reading them, and matching their tensors to a network's."""

from archdsl.ir.state import Wanted, wanted

from .checkpoint import Checkpoint, Held, read_weights
from .convert import (
    decoded_tensor,
    safetensors_bytes,
    state_dict,
    tensors_of,
    transformed,
)
from .match import Match, Reshaped, Suggestion, match
from .older import OldNames
from .rules import KeyRule, Rules, maps, parse_rules, shipped_rules

__all__ = [
    "Checkpoint",
    "Held",
    "KeyRule",
    "Match",
    "OldNames",
    "Reshaped",
    "Rules",
    "Suggestion",
    "Wanted",
    "decoded_tensor",
    "maps",
    "match",
    "parse_rules",
    "read_weights",
    "safetensors_bytes",
    "shipped_rules",
    "state_dict",
    "tensors_of",
    "transformed",
    "wanted",
]
