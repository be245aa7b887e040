"""Output files, and errors when they cannot be written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from . import status
from .terminal import Failure


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn system errors while a file is written into a message.

    Raises:
        Failure: if it cannot be written.
    """
    if "\0" in str(path):  # Python raises ValueError for it, not OSError
        raise Failure(f"cannot write {path}: embedded null byte", status.USAGE)
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise Failure(f"cannot write {path}: {reason}", status.USAGE) from None


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically.

    Raises:
        Failure: if it cannot be written; the old file is then unchanged.
    """
    from archdsl.files import write

    with writing(path):
        write(path, data)


def create_bytes(path: Path, data: bytes) -> None:
    """Create a file atomically.

    Raises:
        Failure: if it cannot be written or already exists.
    """
    from archdsl.files import create

    with writing(path):
        create(path, data)
