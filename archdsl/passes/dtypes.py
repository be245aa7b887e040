"""The size of an element in bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

Dtype = Literal["float64", "float32", "bfloat16", "float16"]

ITEM_BYTES: Final[Mapping[str, int]] = {
    "float64": 8,
    "float32": 4,
    "bfloat16": 2,
    "float16": 2,
}
# A counter, such as that of the batches seen, is a 64-bit integer.
COUNTER_BYTES: Final = 8


def item_bytes(dtype: str) -> int:
    """Return the bytes of an element of a dtype.

    Raises:
        ValueError: if there is no such dtype.
    """
    if dtype not in ITEM_BYTES:
        raise ValueError(f"dtype must be one of {', '.join(ITEM_BYTES)}, not {dtype}")
    return ITEM_BYTES[dtype]
