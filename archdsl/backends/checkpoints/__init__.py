"""Checkpoints: which of their tensors a network wants, and under which names."""

from archdsl.ir.state import Wanted, wanted

from .checkpoint import Checkpoint, Held, read
from .convert import decoded, safetensors_bytes, state_dict, tensors_of, transformed
from .match import Match, Reshaped, Suggestion, match
from .older import OldNames
from .rules import Rule, Rules, maps, parse_rules, shipped

__all__ = [
    "Checkpoint",
    "Held",
    "Match",
    "OldNames",
    "Reshaped",
    "Rule",
    "Rules",
    "Suggestion",
    "Wanted",
    "decoded",
    "maps",
    "match",
    "parse_rules",
    "read",
    "safetensors_bytes",
    "shipped",
    "state_dict",
    "tensors_of",
    "transformed",
    "wanted",
]
