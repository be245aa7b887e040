"""Parses sizes of memory as people write them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_SIZE: Final = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,9})?) ?([A-Za-z]*)")
_UNITS: Final[Mapping[str, int]] = {
    **{unit + "B": 1000**n for n, unit in enumerate(("", "k", "M", "G", "T"))},
    **{unit + "iB": 1024**n for n, unit in enumerate(("K", "M", "G", "T"), 1)},
}
_BY_NAME: Final = {name.lower(): factor for name, factor in _UNITS.items()}


def parse_bytes(text: str) -> int:
    """Return the bytes of a size such as ``24GiB``, ``80 GB`` or ``1.5MiB``.

    KiB, MiB, GiB and TiB are powers of 1024, kB, MB, GB and TB powers of 1000; case
    does not matter. Fractions of a byte are dropped.

    Raises:
        ValueError: if the text is not a size.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a memory size: write it as 24GiB or 80GB")
    number, unit = match.groups()
    factor = _BY_NAME.get(unit.lower())
    if factor is None:
        units = ", ".join(_UNITS)
        what = f"{unit} is not a unit" if unit else "the unit is missing"
        raise ValueError(f"{text!r}: {what}; there are {units}")
    whole, _, part = number.partition(".")
    scale: int = 10 ** len(part)
    return int(whole + part) * factor // scale
