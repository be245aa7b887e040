"""Networks made of networks: each transformation is a class whose fields are options.

from archdsl.transforms import FoldNorms

fold = FoldNorms()
folded = fold.apply(network)
weights = fold.weights(network, state)
"""

from archdsl.transforms.as_modules import AsModules
from archdsl.transforms.base import Transformation
from archdsl.transforms.fold_norms import FoldNorms
from archdsl.transforms.remove_identities import RemoveIdentities

__all__ = ["AsModules", "FoldNorms", "RemoveIdentities", "Transformation"]
