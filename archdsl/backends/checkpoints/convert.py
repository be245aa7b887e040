"""Converting the tensors of a checkpoint to those of a network."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from archdsl.backends.extras import need
from archdsl.transforms.recipe import TensorRecipe, with_names

from .checkpoint import DTYPES, Held
from .match import Match

if TYPE_CHECKING:
    from torch import Tensor

_EIGHT_ZEROS: Final = bytes(8)


def tensors_of(match: Match) -> dict[str, Held]:
    """Return the matching tensors by the network's keys; missing counters are 0.

    Raises:
        MissingExtra: if NumPy is not installed, and a weight is to be adapted.
    """
    held = match.checkpoint.tensors
    found = {one.key: Held((), "I64", lambda: _EIGHT_ZEROS) for one in match.filled}
    for one in match.adapted:
        channels = one.tensor.shape[1]
        found[one.tensor.key] = _made([held[one.name]], partial(_adapted, channels))
    return found | {key: held[name] for key, name in match.names.items()}


def _adapted(channels: int, weight: Any) -> Any:
    """Return a convolution's weight for another number of input channels, as timm does.

    For one channel, the weights of all channels are summed. For more, they are repeated
    in turn and scaled by old / new, which keeps the size of outputs.
    """
    import numpy as np

    old = weight.shape[1]
    if channels == 1:
        return weight.sum(axis=1, keepdims=True)
    places = np.arange(channels) % old
    return weight[:, places] * (old / channels)


def transformed(tensors: Mapping[str, Held], recipe: TensorRecipe) -> dict[str, Held]:
    """Return the tensors that a recipe makes from others.

    Unchanged tensors keep their bytes. The others are computed in double precision, and
    have the type of the first tensor that they are made from.

    Raises:
        MissingExtra: if NumPy is not installed, and a tensor is to be computed.
        KeyError: if only some of the tensors that one is made from are there.
    """
    found: dict[str, Held] = {}
    for key, (keys, make) in with_names(recipe, tensors).items():
        if keys[0] not in tensors:
            continue
        parts = [tensors[one] for one in keys]
        found[key] = parts[0] if make is None else _made(parts, make)
    return found


def _made(parts: Sequence[Held], make: Callable[..., Any]) -> Held:
    need("computing weights", "numpy", "onnx")
    made = make(*[decoded_tensor(one).astype("float64") for one in parts])
    shape = tuple(int(n) for n in made.shape)
    return Held(shape, parts[0].dtype, partial(encoded, made, parts[0].dtype))


def decoded_tensor(stored: Held) -> Any:
    """Return a stored tensor as a NumPy array; NumPy has no bfloat16, so as float32."""
    import numpy as np

    data = stored.read()
    if stored.dtype == "BF16":  # the upper half of a float32
        upper = np.frombuffer(data, "<u2").astype("<u4")
        return (upper << 16).view("<f4").reshape(stored.shape)
    return np.frombuffer(data, _ARRAYS[stored.dtype]).reshape(stored.shape)


def encoded(array: Any, dtype: str) -> bytes:
    """Return an array's bytes in a type of safetensors."""
    import numpy as np

    if dtype != "BF16":
        return bytes(np.ascontiguousarray(array, _ARRAYS[dtype]).tobytes())
    bits = np.ascontiguousarray(array, "<f4").view("<u4").astype("<u8")
    # Round to nearest, ties to even.
    bits = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return bytes(bits.astype("<u2").tobytes())


def safetensors_bytes(tensors: Mapping[str, Held], about: Mapping[str, str]) -> bytes:
    """Return tensors as a safetensors file.

    The library only writes tensors of torch or NumPy, and NumPy has no bfloat16. So the
    format is written here: a JSON header, then the bytes. A test reads it with the
    library.

    Args:
        tensors: the tensors by name.
        about: the metadata of the file.
    """
    header: dict[str, object] = {"__metadata__": dict(about)}
    data = bytearray()
    # Widest types first, so that every tensor is aligned to the size of its elements.
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
    """Return the matching tensors by the network's keys, as tensors of torch.

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
# NumPy's names of the types of safetensors.
_ARRAYS: Final = {
    **{"F64": "<f8", "F32": "<f4", "F16": "<f2"},
    **{"I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1", "BOOL": "?"},
}
