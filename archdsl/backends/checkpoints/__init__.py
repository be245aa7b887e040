"""Checkpoints: which of their tensors a network wants, and under which names."""

from .checkpoint import Checkpoint, Held, read
from .convert import safetensors_bytes, state_dict
from .layout import Wanted, wanted
from .match import Match, Reshaped, Suggestion, match
from .rules import Rule, Rules, maps, parse_rules, shipped

__all__ = [
    "Checkpoint",
    "Held",
    "Match",
    "Reshaped",
    "Rule",
    "Rules",
    "Suggestion",
    "Wanted",
    "maps",
    "match",
    "parse_rules",
    "read",
    "safetensors_bytes",
    "shipped",
    "state_dict",
    "wanted",
]
