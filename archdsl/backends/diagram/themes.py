"""Colour themes.

The fills of a theme can be told apart with any colour vision, and text on them is
readable.
"""

from __future__ import annotations

from typing import Final, NamedTuple

# The legend's texts for the families, in its order.
FAMILIES: Final = {
    "conv": "convolution",
    "linear": "linear",
    "pool": "pooling",
    "merge": "merge",
    "reshape": "reshape",
    "norm": "norm, activation",
    "other": "other",
}
# These rarely have their own node, and share a neutral fill.
_NEUTRAL: Final = frozenset({"norm", "activation", "dropout"})


class Palette(NamedTuple):
    """The colours of one theme.

    Attributes:
        fills: colours of nodes, by family.
        text: colour of labels.
        paper: colour of the background.
        tints: colours of open boxes, by their depth.
        closed: colour of a box that is not open.
        line: colour of the borders of nodes.
        edge: colour of arrows.
        frame: colour of the borders of boxes.
        strong: colour of the borders of repeated nodes and boxes, and of arrows between
            columns.
        shades: colours of the least and the largest share of parameters or MACs.
    """

    fills: dict[str, str]
    text: str
    paper: str
    tints: tuple[str, ...]
    closed: str
    line: str
    edge: str
    frame: str
    strong: str
    shades: tuple[str, str]


LIGHT = Palette(
    fills={
        "conv": "#70bdfb",
        "linear": "#ee7546",
        "pool": "#c792a1",
        "merge": "#ffffff",
        "reshape": "#c0f3b6",
        "norm": "#d4d4d4",
        "other": "#dad037",
    },
    text="#000000",
    paper="#ffffff",
    tints=("#f7f7f7", "#ededed", "#e3e3e3"),
    closed="#fbfbf4",
    line="#404040",
    edge="#606060",
    frame="#a0a0a0",
    strong="#000000",
    shades=("#ffffff", "#3d9be9"),
)
DARK = Palette(
    fills={
        "conv": "#0250b5",
        "linear": "#855f54",
        "pool": "#90107a",
        "merge": "#221f20",
        "reshape": "#0a3904",
        "norm": "#444444",
        "other": "#667100",
    },
    text="#ffffff",
    paper="#1e1e1e",
    tints=("#282828", "#323232", "#3c3c3c"),
    closed="#303030",
    line="#b0b0b0",
    edge="#c0c0c0",
    frame="#909090",
    strong="#ffffff",
    shades=("#1e1e1e", "#0a5fc2"),
)
PRINT = Palette(
    fills={
        "conv": "#d0d0d0",
        "linear": "#a0a0a0",
        "pool": "#e8e8e8",
        "merge": "#ffffff",
        "reshape": "#f4f4f4",
        "norm": "#ffffff",
        "other": "#b8b8b8",
    },
    text="#000000",
    paper="#ffffff",
    tints=("#ffffff", "#ffffff", "#ffffff"),
    closed="#ffffff",
    line="#000000",
    edge="#000000",
    frame="#606060",
    strong="#000000",
    shades=("#ffffff", "#9a9a9a"),
)
PALETTES: Final = {"light": LIGHT, "dark": DARK, "print": PRINT}


def layer_family(family: str) -> str:
    """Return the family under which a layer is drawn."""
    if family in _NEUTRAL:
        return "norm"
    return family if family in FAMILIES else "other"


def shade(palette: Palette, share: float) -> str:
    """Return the fill for a share from 0 to 1."""
    return mix_colours(*palette.shades, share)


def mix_colours(first: str, second: str, share: float) -> str:
    """Return a mixture of two colours, with some share of the second one."""
    pairs = zip(_rgb(first), _rgb(second), strict=True)
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in pairs)


def _rgb(colour: str) -> list[int]:
    return [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
