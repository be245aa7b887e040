"""Writing files as a whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from click import ClickException

from . import status


class CannotWrite(ClickException):
    """An output file that cannot be written."""

    exit_code = status.USAGE

    def __init__(self, path: Path, error: OSError) -> None:
        reason = (error.strerror or str(error)).lower()
        super().__init__(f"cannot write {path}: {reason}")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the system says while a file is written into a message.

    Raises:
        CannotWrite: if it cannot be written.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise CannotWrite(path, error) from None


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file so that it is never seen half-written.

    Raises:
        CannotWrite: if it cannot be written; it is then as it was before.
    """
    with writing(path):
        if path.exists() and not path.is_file():  # a device or a pipe
            path.write_bytes(data)
        else:
            _replace(path.resolve(), data)  # a link stays one


def create_bytes(path: Path, data: bytes) -> None:
    """Write a new file so that it is never seen half-written.

    Raises:
        CannotWrite: if it cannot be written, or there is one already.
    """
    with writing(path), _beside(path, data) as new:
        try:
            # Unlike a renaming, this never takes the place of another file.
            os.link(new, path)
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links
            with path.open("xb") as out:
                out.write(data)


def _replace(path: Path, data: bytes) -> None:
    with _beside(path, data) as new:
        if path.exists():
            new.chmod(path.stat().st_mode & 0o7777)
        new.replace(path)


@contextmanager
def _beside(path: Path, data: bytes) -> Iterator[Path]:
    """Write data to a file on the file system of a path, for a while."""
    with tempfile.TemporaryDirectory(prefix=".archdsl-", dir=path.parent) as folder:
        # A file made in the ordinary way has the ordinary permissions.
        new = Path(folder, path.name)
        new.write_bytes(data)
        yield new
