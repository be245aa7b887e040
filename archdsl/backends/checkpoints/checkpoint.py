"""Checkpoints on disk: names, shapes and bytes of tensors.

Checkpoints are untrusted. None of their code runs: safetensors has none, and pickles
are read by torch's unpickler with `weights_only`. No more memory is used than the file
is large, whatever sizes it declares.
"""

from __future__ import annotations

import json
import os
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from archdsl.backends.extras import MissingExtra
from archdsl.diagnostics import Diagnostic, SpecError
from archdsl.limits import MAX_FILE_BYTES

# Far more than real networks have, but few enough to process quickly.
MAX_TENSORS: Final = 200_000
# Most files in an index; each of them is opened.
MAX_SHARDS: Final = 1_000
# How deep weights may be nested in a file's dicts.
_DEEPEST: Final = 3
# The keys under which training scripts store weights, in order of preference.
_USUAL: Final = ("", "state_dict", "model", "model_state_dict", "module")

_INDEX: Final = ".index.json"


class Held(NamedTuple):
    """A tensor of a checkpoint.

    Attributes:
        shape: its sizes.
        dtype: its type, as safetensors calls it: ``F32``, ``BF16``, ``I64``.
        read: returns its elements as bytes, row-major, in native byte order.
    """

    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], bytes]


class Checkpoint(NamedTuple):
    """The weights of a file.

    Attributes:
        path: the file.
        inside: the key of the file's dict that holds the weights; empty if none does.
        others: other keys that hold weights, such as averages.
        tensors: by name, in the file's order.
    """

    path: Path
    inside: str
    others: tuple[str, ...]
    tensors: Mapping[str, Held]


def read_weights(path: Path, inside: str | None = None) -> Checkpoint:
    """Return the weights of a file.

    Args:
        path: a safetensors file, the index of several (``.index.json``), or a file of
            `torch.save`.
        inside: the key of the file's dict that holds them; if None, it is searched for.

    Raises:
        SpecError: if it is not such a file, or would run code.
        MissingExtra: if the package that reads it is not installed.
    """
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError as error:
        raise unreadable(path, (error.strerror or str(error)).lower()) from None
    except ValueError as error:  # a null byte in the path
        raise unreadable(path, str(error)) from None
    if path.name.endswith(_INDEX):
        return _named(path, inside, _shards(path))
    if path.suffix == ".safetensors" or start[8:] == b"{":
        return _named(path, inside, _safetensors(path))
    return _torch(path, inside)


def unreadable(path: Path, why: str, help: str | None = None) -> SpecError:
    """Return the error for a file that cannot be read as weights."""
    message = f"{path} cannot be read as weights: {why}"
    return SpecError([Diagnostic("A1001", message, help=help)])


def _named(path: Path, inside: str | None, tensors: dict[str, Held]) -> Checkpoint:
    if inside:
        help = "only files of torch.save have parts; drop the option"
        raise unreadable(path, f"it has no part `{inside}`", help)
    return Checkpoint(path, "", (), tensors)


# ---- safetensors


def _safetensors(path: Path) -> dict[str, Held]:
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError:
        raise MissingExtra("a safetensors file", "safetensors", "weights") from None
    try:
        with safe_open(path, framework="numpy") as file:
            names = list(file.keys())
        # `safe_open` has checked the header: tensors lie within the file and do not
        # overlap.
        size = int.from_bytes(_part(path, 0, 8), "little")
        header = json.loads(_part(path, 8, size))
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise unreadable(path, _in_one_line(error)) from None
    found = {}
    # Tensors were written in the order of their data.
    for name in sorted(names, key=lambda name: header[name]["data_offsets"]):
        of = header[name]
        if of["dtype"] not in _KNOWN:
            raise unreadable(path, f"`{name}` has the unknown type {of['dtype']}")
        start, end = of["data_offsets"]
        read = partial(_part, path, 8 + size + start, end - start)
        found[name] = Held(tuple(of["shape"]), of["dtype"], read)
    return _not_too_many(path, found)


def _part(path: Path, start: int, length: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read(length)


def _shards(path: Path) -> dict[str, Held]:
    """Return the tensors of all files that an index lists."""
    try:
        if path.stat().st_size > 64 * MAX_FILE_BYTES:
            raise unreadable(path, "the index is too large")
        listed = json.loads(path.read_bytes())["weight_map"]
        named = {str(name): str(file) for name, file in listed.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        why = "it is not an index, a JSON file with a `weight_map`"
        raise unreadable(path, why) from None
    files = dict.fromkeys(named.values())
    if len(files) > MAX_SHARDS:
        raise unreadable(path, f"it lists more than {MAX_SHARDS:,} files")
    held: dict[str, dict[str, Held]] = {}
    for file in files:
        # An index may only name files in its own folder.
        if file != os.path.basename(file) or file in ("", ".", ".."):
            raise unreadable(path, f"`{file}` does not name a file in the same folder")
        held[file] = _safetensors(path.with_name(file))
    for name, file in named.items():
        if name not in held[file]:
            raise unreadable(path, f"{file} has no tensor `{name}`")
    found = {name: held[file][name] for name, file in named.items()}
    return _not_too_many(path, found)


# ---- torch


def _torch(path: Path, inside: str | None) -> Checkpoint:
    _check_zip(path)
    try:
        import torch
    except ImportError:
        raise MissingExtra("a file of torch.save", "PyTorch", "torch") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about files that are refused below
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise _refused(path, error) from None
    parts = dict(_dicts(loaded, "", 0))
    if not parts:
        raise unreadable(path, "it has no dictionary of tensors")
    chosen = _chosen(path, parts, inside)
    size = path.stat().st_size
    held = {name: _held(path, name, one, size) for name, one in parts[chosen].items()}
    others = tuple(name for name in parts if name != chosen)
    return Checkpoint(path, chosen, others, _not_too_many(path, held))


def _refused(path: Path, error: Exception) -> SpecError:
    """Return the error for a file that torch's unpickler refused."""
    called = _CALLED.search(str(error))
    if called is None:
        return unreadable(
            path, "it is neither a safetensors file nor a file of torch.save"
        )
    help = "if you trust the file, load it, and save only its `state_dict()`"
    why = f"it holds `{called[1]}`, which is not a tensor; no code in it was run"
    return unreadable(path, why, help)


# The part of torch's messages that names what a pickle would import.
_CALLED: Final = re.compile(
    r"(?:GLOBAL|[Gg]lobal:?)\s+(?:GLOBAL\s+)?`?([A-Za-z_][\w.]*)"
)


def _check_zip(path: Path) -> None:
    """Refuse an archive that unpacks to more than its size; torch writes none."""
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = [item.file_size for item in archive.infolist()]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise unreadable(path, _in_one_line(error)) from None
    if sum(sizes) > path.stat().st_size:
        raise unreadable(path, "its contents are larger than the file itself")


def _dicts(value: Any, name: str, depth: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the dicts of tensors in a loaded value, with their dotted keys."""
    from torch import Tensor

    if not isinstance(value, Mapping) or depth > _DEEPEST:
        return
    tensors = {
        key: one
        for key, one in value.items()
        if isinstance(key, str) and isinstance(one, Tensor)
    }
    # Besides tensors, a `state_dict` may hold extra state of other types.
    if len(tensors) * 2 > len(value):
        yield name, tensors
        return
    for key, one in value.items():
        if isinstance(key, str):
            yield from _dicts(one, f"{name}.{key}" if name else key, depth + 1)


def _chosen(path: Path, parts: Mapping[str, Any], inside: str | None) -> str:
    if inside is None:
        return next((name for name in _USUAL if name in parts), next(iter(parts)))
    if inside not in parts:
        known = ", ".join(f"`{name}`" for name in parts if name) or "none"
        raise unreadable(
            path, f"it has no part `{inside}`", f"parts with weights: {known}"
        )
    return inside


def _held(path: Path, name: str, tensor: Any, size: int) -> Held:
    dtype, _ = DTYPES.get(str(tensor.dtype).removeprefix("torch."), ("", 0))
    if not dtype or str(tensor.layout) != "torch.strided":
        raise unreadable(path, f"`{name}` has a type that weights cannot have")
    # A view with stride 0 can have any size.
    if tensor.numel() * tensor.element_size() > size:
        raise unreadable(path, f"`{name}` is larger than the file itself")

    return Held(tuple(tensor.shape), dtype, partial(_elements, tensor))


def _elements(tensor: Any) -> bytes:
    import torch

    plain = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
    return bytes(plain.numpy())


# torch's types of weights: their names in safetensors, and their bytes.
DTYPES: Final = {
    "float64": ("F64", 8),
    "float32": ("F32", 4),
    "float16": ("F16", 2),
    "bfloat16": ("BF16", 2),
    "int64": ("I64", 8),
    "int32": ("I32", 4),
    "int16": ("I16", 2),
    "int8": ("I8", 1),
    "uint8": ("U8", 1),
    "bool": ("BOOL", 1),
}
_KNOWN: Final = frozenset(name for name, _ in DTYPES.values())


def _not_too_many(path: Path, found: dict[str, Held]) -> dict[str, Held]:
    if len(found) > MAX_TENSORS:
        raise unreadable(path, f"it has more than {MAX_TENSORS:,} tensors")
    return found


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
