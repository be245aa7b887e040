"""Transformations of networks: each is a class whose fields are its options.

from archdsl.transforms import pipeline

deploy = pipeline(inference=True)
network = deploy.apply(trained)
weights = deploy.weights(trained, state)
"""

from archdsl.transforms.as_modules import AsModules
from archdsl.transforms.backbone import Backbone, CannotCut
from archdsl.transforms.bake_weights import BakeWeights
from archdsl.transforms.base import Transformation
from archdsl.transforms.fold_norms import FoldNorms
from archdsl.transforms.fold_norms_ahead import FoldNormsAhead
from archdsl.transforms.fold_scales import FoldScales
from archdsl.transforms.merge_branches import MergeBranches
from archdsl.transforms.merge_parallel import MergeParallel
from archdsl.transforms.pack import Pack
from archdsl.transforms.pipeline import (
    FOLDING,
    PASSES,
    Pipeline,
    names_of,
    pipeline,
)
from archdsl.transforms.recipe import TensorOrigin, TensorRecipe
from archdsl.transforms.remove_dead import RemoveDead
from archdsl.transforms.remove_identities import RemoveIdentities

__all__ = [
    "FOLDING",
    "PASSES",
    "AsModules",
    "Backbone",
    "BakeWeights",
    "CannotCut",
    "FoldNorms",
    "FoldNormsAhead",
    "FoldScales",
    "MergeBranches",
    "MergeParallel",
    "Pack",
    "Pipeline",
    "RemoveDead",
    "RemoveIdentities",
    "TensorOrigin",
    "TensorRecipe",
    "Transformation",
    "names_of",
    "pipeline",
]
