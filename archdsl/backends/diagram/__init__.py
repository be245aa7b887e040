"""Diagrams: a network as dot text, and as svg, png or pdf."""

from .dot import dot_source
from .layout import FORMATS, MissingExtra, UnknownFormat, image, render

__all__ = [
    "FORMATS",
    "MissingExtra",
    "UnknownFormat",
    "dot_source",
    "image",
    "render",
]
