"""Sequences of transformations, by name or by level.

The order is that of `PASSES`. Layers that are not needed are removed first, so that no
other pass has to handle them. Computed weights are baked before norms are folded into
them, and norms are folded before branches are merged, which are then single
convolutions. Norms that remain are folded into the layers after them last, since
merging branches may still remove them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from archdsl.ir import Network
from archdsl.transforms.bake_weights import BakeWeights
from archdsl.transforms.base import Transformation
from archdsl.transforms.fold_norms import FoldNorms
from archdsl.transforms.fold_norms_ahead import FoldNormsAhead
from archdsl.transforms.fold_scales import FoldScales
from archdsl.transforms.merge_branches import MergeBranches
from archdsl.transforms.merge_parallel import MergeParallel
from archdsl.transforms.recipe import TensorOrigin, as_before, composed
from archdsl.transforms.remove_dead import RemoveDead
from archdsl.transforms.remove_identities import RemoveIdentities


class Pass(NamedTuple):
    """A transformation of the pipeline.

    Attributes:
        training: the transformation for a network that will be trained; None if there
            is none.
        inference: the transformation for a network that is only for inference.
        level: the lowest level that it belongs to; None if it only runs by name.
    """

    training: Transformation | None
    inference: Transformation
    level: int | None


# In the order in which they run.
PASSES: Final[dict[str, Pass]] = {
    "remove-dead": Pass(RemoveDead(), RemoveDead(inference=True), 1),
    "remove-identities": Pass(RemoveIdentities(), RemoveIdentities(inference=True), 1),
    "bake-weights": Pass(None, BakeWeights(), 1),
    "fold-norms": Pass(None, FoldNorms(), 1),
    "fold-scales": Pass(None, FoldScales(), 1),
    "merge-branches": Pass(None, MergeBranches(), 2),
    "fold-norms-ahead": Pass(None, FoldNormsAhead(), 2),
    # By name only: on the CPUs where it was measured, engines gained nothing from it.
    "merge-parallel": Pass(MergeParallel(), MergeParallel(), None),
}
LEVELS: Final = range(3)


@dataclass(frozen=True)
class Pipeline(Transformation):
    """Several transformations, one after the other.

    Attributes:
        steps: the transformations, in the order in which they run.
    """

    steps: tuple[Transformation, ...] = ()

    def apply(self, network: Network) -> Network:
        """Return the network after the last step; the result of each step is verified.

        Raises:
            archdsl.ir.verify.InvalidNetwork: if the result of one is not a valid
            network.
        """
        return self.rewrite(network)

    def rewrite(self, network: Network) -> Network:
        """Return the network after the last step."""
        for step in self.steps:
            network = step.apply(network)
        return network

    def recipe(self, network: Network) -> dict[str, TensorOrigin]:
        """Return which tensors of the last network come from which of the first."""
        found = as_before(network)
        for step in self.steps:
            found = composed(found, step.recipe(network))
            network = step.rewrite(network)
        return found


# For exported models: with folded norms, engines run fewer operations.
FOLDING: Final = Pipeline(
    (BakeWeights(), FoldNorms(), FoldScales(), MergeBranches(), FoldNormsAhead())
)


def names_of(
    level: int | None = None,
    passes: Sequence[str] | None = None,
    *,
    inference: bool = False,
) -> list[str]:
    """Return the names of the transformations that `pipeline` takes.

    Raises:
        ValueError: as `pipeline`.
    """
    if level is not None and passes is not None:
        raise ValueError("give either a level or passes")
    if passes is None:
        if level is None:
            level = LEVELS[-1] if inference else 1
        if level not in LEVELS:
            raise ValueError(f"the level is from 0 to {LEVELS[-1]}, not {level}")
        return [
            name
            for name, one in PASSES.items()
            if one.level is not None
            and one.level <= level
            and (inference or one.training is not None)
        ]
    for name in passes:
        if name not in PASSES:
            known = ", ".join(PASSES)
            raise ValueError(f"there is no pass `{name}`: the passes are {known}")
        if PASSES[name].training is None and not inference:
            raise ValueError(
                f"{name} is for inference, but the network is for training"
            )
    return list(passes)


def pipeline(
    level: int | None = None,
    passes: Sequence[str] | None = None,
    *,
    inference: bool = False,
) -> Pipeline:
    """Return the transformations of a level, or those with some names.

    Args:
        level: 0 to 2; higher levels run more passes. By default, it is 2 for inference,
            and otherwise 1.
        passes: names from `PASSES` instead, in the order in which they run.
        inference: whether the network is only for inference.

    Raises:
        ValueError: if both are given, there is no such level or name, or a pass is for
            inference and the network is not.
    """
    found = []
    for name in names_of(level, passes, inference=inference):
        one = PASSES[name]
        step = one.inference if inference else one.training
        assert step is not None
        found.append(step)
    return Pipeline(tuple(found))
