"""Training: from a network, images and a recipe to weights."""

from . import sharding, states
from .data import Data, load_data
from .loop import LoopOptions, Stopped, Trainer, Watch
from .prepare import Start, classes_of, trainer
from .recipe import Recipe, parse_recipe, shipped_recipe
from .scaling import ImageScale

__all__ = [
    "Data",
    "ImageScale",
    "LoopOptions",
    "Recipe",
    "Start",
    "Stopped",
    "Trainer",
    "Watch",
    "classes_of",
    "load_data",
    "parse_recipe",
    "sharding",
    "shipped_recipe",
    "states",
    "trainer",
]
