"""How a module is written, where several ways are correct."""

from __future__ import annotations

from dataclasses import dataclass

from archdsl.passes.recompute import RecomputeChoice


@dataclass(frozen=True)
class Style:
    """The choices of the writer of a module, which its validator must know.

    Attributes:
        in_place: whether layers overwrite inputs that nothing else needs.
        inference: whether nothing is kept for a backward pass, so that more layers can
            overwrite their input.
        recompute: whether the backward pass runs blocks again, or the paths of those.
    """

    in_place: bool = True
    inference: bool = False
    recompute: RecomputeChoice = False


DEFAULT = Style()
