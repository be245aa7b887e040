"""Images in files, which may be broken or come from anywhere."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from archdsl.backends.extras import need


class BadImage(Exception):
    """An image that cannot be read; the message says why."""


def open_image(path: Path | IO[bytes], mode: str, extra: str = "train") -> Any:
    """Return an image of a file as Pillow's, in ``RGB`` or ``L``.

    Args:
        path: the file's, or the file itself.
        mode: Pillow's.
        extra: which extra of archdsl brings Pillow.

    Raises:
        BadImage: if it is not an image, is broken or claims to be too large for Pillow.
        FileNotFoundError: if there is no such file.
        MissingExtra: if Pillow is not installed.
    """
    pillow: Any = need("an image", "Pillow", extra, "PIL.Image")
    operations: Any = need("an image", "Pillow", extra, "PIL.ImageOps")

    def read() -> Any:
        with pillow.open(path) as file:
            return operations.exif_transpose(file).convert(mode)

    return decoded_image(read)


def decoded_image(read: Callable[[], Any]) -> Any:
    """Return an image that a function has Pillow read.

    Raises:
        BadImage: if it is not an image, is broken or claims to be too large for Pillow.
        FileNotFoundError: if there is no such file.
    """
    from PIL import Image as pillow

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Of a size at which Pillow warns, before anything is unpacked.
            warnings.simplefilter("error", pillow.DecompressionBombWarning)
            return read()
    except (pillow.DecompressionBombError, pillow.DecompressionBombWarning):
        raise BadImage("its header declares a size larger than images have") from None
    except pillow.UnidentifiedImageError:
        raise BadImage("it is not an image") from None
    except FileNotFoundError:
        raise
    except Exception as error:  # a broken file may raise anything in Pillow's readers
        raise BadImage(" ".join(str(error).split()) or type(error).__name__) from None
