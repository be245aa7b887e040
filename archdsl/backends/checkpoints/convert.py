"""A checkpoint under a network's own names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from .checkpoint import DTYPES, Held
from .match import Match

if TYPE_CHECKING:
    from torch import Tensor

_EIGHT_ZEROS: Final = bytes(8)


def safetensors_bytes(match: Match, about: Mapping[str, str]) -> bytes:
    """Return the tensors that fit as a safetensors file, under the network's keys.

    The library writes only what torch or NumPy holds, and NumPy has no bfloat16. So the
    format is written here, which is a JSON header and the bytes; a test has the library
    read it.

    Args:
        match: which tensor is which.
        about: what the file says of itself.
    """
    held = match.checkpoint.tensors
    tensors = {one.key: Held((), "I64", lambda: _EIGHT_ZEROS) for one in match.filled}
    tensors |= {key: held[name] for key, name in match.names.items()}
    header: dict[str, object] = {"__metadata__": dict(about)}
    data = bytearray()
    # The widest first, so that each tensor begins at a multiple of its elements' size.
    for key in sorted(tensors, key=lambda key: -_WIDTHS[tensors[key].dtype]):
        one, start = tensors[key], len(data)
        data += one.read()
        header[key] = {
            "dtype": one.dtype,
            "shape": one.shape,
            "data_offsets": (start, len(data)),
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data


def state_dict(match: Match) -> dict[str, Tensor]:
    """Return the tensors that fit, by the network's keys.

    Raises:
        ImportError: if torch is not installed.
    """
    import torch

    found = {one.key: torch.zeros((), dtype=torch.int64) for one in match.filled}
    for key, name in match.names.items():
        held = match.checkpoint.tensors[name]
        dtype = getattr(torch, _NAMES[held.dtype])
        data = bytearray(held.read())
        found[key] = (
            torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
        ).reshape(held.shape)
    return found


_NAMES: Final = {short: name for name, (short, _) in DTYPES.items()}
_WIDTHS: Final = dict(DTYPES.values())
