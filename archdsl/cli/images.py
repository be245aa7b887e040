"""Options that say how images are prepared."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import click

Command = Callable[..., Any]
_SIZE = re.compile(r"([0-9]{1,5})x([0-9]{1,5})")


def split_floats(
    ctx: click.Context, param: click.Parameter, value: str | None
) -> tuple[float, ...]:
    """Return numbers that are separated by commas."""
    try:
        found = tuple(float(part) for part in (value or "").split(",") if value)
    except ValueError:
        raise click.BadParameter(
            f"`{value}` is not a list of numbers such as 0.485,0.456,0.406"
        ) from None
    if any(not abs(number) < 1e6 for number in found):
        raise click.BadParameter(f"`{value}` is out of bounds")
    if param.name == "deviation" and 0 in found:
        raise click.BadParameter("a standard deviation cannot be 0")
    return found


def _size(
    ctx: click.Context, param: click.Parameter, value: str | None
) -> tuple[int, int] | None:
    """Return a height and a width."""
    if value is None:
        return None
    found = _SIZE.fullmatch(value)
    if not found or min(int(found[1]), int(found[2])) < 1:
        raise click.BadParameter(f"`{value}` is not a height and width such as 224x224")
    return int(found[1]), int(found[2])


def image_options(command: Command) -> Command:
    """Add --crop, --mean and --std to a command."""
    for option in (
        click.option(
            "--std",
            "deviation",
            callback=split_floats,
            metavar="X,Y,Z",
            help="Standard deviation to then divide each channel by.  [default: as "
            "for --mean; or 1]",
        ),
        click.option(
            "--mean",
            callback=split_floats,
            metavar="X,Y,Z",
            help="Mean to subtract from each channel, whose values are from 0 to 1.  "
            "[default: ImageNet's for three channels; otherwise 0]",
        ),
        click.option(
            "--crop",
            type=click.FloatRange(0.01, 1),
            default=0.875,
            show_default=True,
            help="Share of the shorter side to keep, around the centre.",
        ),
    ):
        command = option(command)
    return command


size_option = click.option(
    "--size",
    callback=_size,
    metavar="HxW",
    help="Height and width to run at, if the model takes any.  [default: the spec's]",
)
