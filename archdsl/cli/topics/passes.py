"""`archdsl explain passes`."""

from __future__ import annotations

from inspect import cleandoc

from archdsl.transforms import PASSES


def page() -> str:
    """Return what each transformation does, in the order in which they run."""
    return "\n\n".join([f"passes: {TITLE}", INTRODUCTION, *map(_about, PASSES)])


TITLE = "the transformations of a network before it is compiled"
INTRODUCTION = (
    "`archdsl compile -O1` and `-O2` run all of their level and below, in the order "
    "of this page, and `--passes NAME,NAME` those that you name, in your order. With "
    "`--inference`, some remove more, and passes run that a network for training "
    "cannot have. `archdsl weights SPEC CHECKPOINT` with the same options, and "
    "`--for inference`, makes the weights of the new network."
)


def _about(name: str) -> str:
    """Return what a transformation does, by the docstring of its class."""
    one = PASSES[name]
    when = "by name alone" if one.level is None else f"from -O{one.level} on"
    if one.training is None:
        when += ", for inference"
    text = cleandoc(type(one.inference).__doc__ or "").partition("\n\nAttributes:")[0]
    return f"{name} ({when}): {' '.join(text.split())}"
