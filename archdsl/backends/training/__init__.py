"""Training: from a network, images and a recipe to weights."""

from . import sharding, states
from .data import Data, load
from .loop import Options, Stopped, Trainer, Watch
from .prepare import Start, classes_of, trainer
from .recipe import Recipe, parse, shipped
from .scaling import Scale

__all__ = [
    "Data",
    "Options",
    "Recipe",
    "Scale",
    "Start",
    "Stopped",
    "Trainer",
    "Watch",
    "classes_of",
    "load",
    "parse",
    "sharding",
    "shipped",
    "states",
    "trainer",
]
