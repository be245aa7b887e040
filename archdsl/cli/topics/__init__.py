"""Topics of `archdsl explain` other than codes, one per file."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Final

TOPICS: Final[Mapping[str, str]] = {
    "counts": "why tools disagree about the operations of a network",
    "passes": "the transformations of `archdsl compile -O`, one by one",
}


def page(topic: str) -> str:
    """Return the paragraphs of a topic, a blank line between them."""
    text: str = import_module(f"{__name__}.{topic}").page()
    return text
