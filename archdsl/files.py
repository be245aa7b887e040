"""Atomic writing of files that survives a loss of power."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write(path: Path, data: bytes | bytearray) -> None:
    """Write a file atomically.

    Raises:
        OSError: if it cannot be written; the old file is then unchanged.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        mode = None
    if mode is not None and not stat.S_ISREG(mode):  # a device or a pipe
        path.write_bytes(data)
        return
    path = path.resolve()  # a link stays one
    with _beside(path, data) as new:
        if mode is not None:
            new.chmod(stat.S_IMODE(mode))
        new.replace(path)
        _sync_folder(path.parent)


def create(path: Path, data: bytes) -> None:
    """Create a file atomically.

    Raises:
        OSError: if it cannot be written or already exists.
    """
    with _beside(path, data) as new:
        try:
            # Unlike a renaming, this never takes the place of another file.
            os.link(new, path)
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links
            with path.open("xb") as out:
                _write_through(out.fileno(), data)
        _sync_folder(path.parent)


@contextmanager
def _beside(path: Path, data: bytes | bytearray) -> Iterator[Path]:
    """Write data to a temporary file on the same file system as a path."""
    try:
        temporary = tempfile.TemporaryDirectory(prefix=".archdsl-", dir=path.parent)
    except OSError as error:
        error.filename = str(path)  # the user did not name that folder
        raise
    with temporary as folder:
        # A file made in the ordinary way has the ordinary permissions.
        new = Path(folder, path.name)
        with new.open("xb") as out:
            _write_through(out.fileno(), data)
        yield new


def _write_through(handle: int, data: bytes | bytearray) -> None:
    """Write data completely, and flush it to disk.

    Otherwise a file could be renamed before its contents are on disk, and a full disk
    might only be noticed then.
    """
    left = memoryview(data)
    while left:
        left = left[os.write(handle, left) :]
    os.fsync(handle)


def _sync_folder(folder: Path) -> None:
    """Flush a new name to disk, if the system supports it."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # not readable, or a system that opens no folders
        return
    try:
        os.fsync(handle)
    except OSError:  # some network file systems
        pass
    finally:
        os.close(handle)
