"""Writing files as a whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from click import ClickException

from . import status


class CannotWrite(ClickException):
    """An output file that cannot be written."""

    exit_code = status.USAGE

    def __init__(self, path: Path, error: OSError) -> None:
        reason = (error.strerror or str(error)).lower()
        super().__init__(f"cannot write {path}: {reason}")


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file so that it is never seen half-written.

    Raises:
        CannotWrite: if it cannot be written; it is then as it was before.
    """
    write_with(path, lambda temporary: temporary.write_bytes(data))


def write_with(path: Path, write: Callable[[Path], object]) -> None:
    """Let a function write a file beside the target, then put it into its place.

    Args:
        path: the target.
        write: is given the file to write; it has the target's suffix.

    Raises:
        CannotWrite: if it cannot be written; the target is then as it was before.
    """
    try:
        if path.exists() and not path.is_file():  # a device or a pipe
            write(path)
            return
        _replace(path.resolve(), write)  # a link stays one
    except OSError as error:
        raise CannotWrite(path, error) from None


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    handle, name = tempfile.mkstemp(path.suffix, f".{path.name}.", path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        temporary.chmod(_mode(path))
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _mode(path: Path) -> int:
    if path.exists():
        return path.stat().st_mode & 0o7777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
