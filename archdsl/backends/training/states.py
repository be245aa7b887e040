"""Saved states of a run, from which it resumes exactly where it stopped."""

from __future__ import annotations

import io
import re
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

from archdsl import files

FOLDER: Final = "checkpoints"
# Two, so that there is another one if the newest is damaged.
KEPT: Final = 2
_NAME: Final = re.compile(r"step-(\d{9,})\.pt")


class FoundState(NamedTuple):
    """A state that was read.

    Attributes:
        path: its file.
        state: its content.
        broken: newer files that could not be read.
    """

    path: Path
    state: dict[str, Any]
    broken: tuple[Path, ...]


def save(run: Path, step: int, state: dict[str, Any]) -> Path:
    """Write a state atomically, and delete all but the newest ones.

    Raises:
        OSError: if it cannot be written; earlier states are unchanged.
    """
    import torch

    data = io.BytesIO()
    torch.save(state, data)
    folder = run / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step-{step:09}.pt"
    files.write(path, data.getvalue())
    for old in _all(run)[KEPT:]:
        with suppress(OSError):
            old.unlink()
    return path


def newest(run: Path) -> FoundState | None:
    """Return the newest undamaged state, or None.

    No code in a file is run: torch only reads tensors, numbers, strings and containers.
    """
    broken: list[Path] = []
    for path in _all(run):
        state = _read(path)
        if state is not None:
            return FoundState(path, state, tuple(broken))
        broken.append(path)
    return None


def exist(run: Path) -> bool:
    """Return whether a folder has states, damaged or not."""
    return bool(_all(run))


def _all(run: Path) -> list[Path]:
    """Return the files of states, the newest first."""
    found = {}
    with suppress(OSError):
        for path in (run / FOLDER).iterdir():
            match = _NAME.fullmatch(path.name)
            if match:
                found[int(match[1])] = path
    return [found[step] for step in sorted(found, reverse=True)]


def _read(path: Path) -> dict[str, Any] | None:
    import torch

    try:
        with zipfile.ZipFile(path) as archive:
            # torch does not compress; compressed data could unpack to any size.
            if any(item.compress_type for item in archive.infolist()):
                return None
            if archive.testzip() is not None:  # a checksum is wrong
                return None
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # readers raise all sorts of errors for a damaged file
        return None
    return state if isinstance(state, dict) else None
