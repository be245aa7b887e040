"""The options of a picture."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple, get_args, get_origin, get_type_hints

from archdsl.diagnostics import did_you_mean
from archdsl.limits import DPI

Direction = Literal["TB", "LR"]
Detail = Literal["names", "shapes", "costs"]
Theme = Literal["light", "dark", "print"]
DrawingStyle = Literal["auto", "graph", "unet", "volumes"]
PageSize = Literal["a4", "slide"]
Shade = Literal["family", "params", "macs"]

# Blocks of no network are nested deeper.
ALL: Final = 1_000

# The largest pictures, in points, whose text of 11 points is drawn at 6 points or more
# when they are scaled to fit: a page of A4 has room for 523 x 770 of its 595 x 842
# points, and a slide for 907 x 467 of its 960 x 540.
FONT: Final = 11.0
SMALLEST: Final = 6.0
PAGES: Final[dict[PageSize, tuple[float, float]]] = {
    "a4": (523 * FONT / SMALLEST, 770 * FONT / SMALLEST),
    "slide": (907 * FONT / SMALLEST, 467 * FONT / SMALLEST),
}


class Options(NamedTuple):
    """How to draw; the defaults are those of `archdsl render`.

    Attributes:
        fold: draw equal consecutive copies once, and a chain's steps as one node.
        depth: levels of blocks that are open; None for as many as fit on a page.
        direction: from top to bottom, or from left to right.
        detail: the text in nodes: names, shapes and parameters, or MACs, too.
        theme: colours for a light or dark screen, or for print without colour.
        style: a graph from top to bottom, or one bent as a U; `auto` bends it if skips
            pair up, and `unet` closes blocks until they do. `volumes` draws a chain as
            boxes of the size of its maps and channels.
        shade: what fills show: the family, or the share of parameters or MACs.
        page: the page that the picture must fit on.
        title: the title, by default the network's name and parameters; empty for none.
        legend: whether a legend is drawn.
        insets: whether closed blocks are drawn open beside the picture.
        dpi: dots per inch of a png.
        block: draw only the first call of this block, as papers do.
        only: draw only the group with this path.
        tight: whether rows are closer, used if the picture does not fit otherwise.
    """

    fold: bool = True
    depth: int | None = None
    direction: Direction = "TB"
    detail: Detail = "shapes"
    theme: Theme = "light"
    style: DrawingStyle = "auto"
    shade: Shade = "family"
    page: PageSize = "a4"
    title: str | None = None
    legend: bool = True
    insets: bool = True
    dpi: int = 96
    block: str = ""
    only: str = ""
    tight: bool = False


DEFAULT: Final = Options()


def check_options(options: Options) -> None:
    """Refuse invalid options.

    Raises:
        TypeError: if one has the wrong type.
        ValueError: if one has an unknown value; the message lists the known ones.
    """
    for name, kind in get_type_hints(Options).items():
        value = getattr(options, name)
        known = get_args(kind)
        if get_origin(kind) is Literal:
            if value not in known:
                text = str(value)[:40]
                hint = did_you_mean(text, known)
                message = f"{name}: no `{text}`; there are {', '.join(known)}"
                raise ValueError(message + (f"; {hint}" if hint else ""))
        elif type(value) not in (known or (kind,)):
            words = " or ".join(one.__name__ for one in known or (kind,))
            raise TypeError(
                f"{name} must be {words.replace('NoneType', 'None')}, "
                f"not {type(value).__name__}"
            )
    low, high = DPI
    if not low <= options.dpi <= high:
        raise ValueError(f"dpi must be {low} to {high:,}, not {options.dpi}")
    if options.style == "unet" and options.direction == "LR":
        raise ValueError(
            "a U is always drawn from top to bottom: leave out direction LR"
        )
