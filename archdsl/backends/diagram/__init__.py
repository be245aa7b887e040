"""Diagrams: a network as dot text, and as svg, png or pdf."""

from .draw import Drawing, UnknownPart, dot_source, render
from .layout import FORMATS, UnknownFormat, image
from .options import Options, check_options

__all__ = [
    "FORMATS",
    "Drawing",
    "Options",
    "UnknownFormat",
    "UnknownPart",
    "check_options",
    "dot_source",
    "image",
    "render",
]
