"""Libraries that not everybody installs: the extras."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType


class MissingExtra(ImportError):
    """A library is not installed; the message says what to install.

    Args:
        what: needs it, for the message: ``an ONNX model``.
        library: its name.
        extra: which extra of archdsl contains it.
        instead: what else would do, as the end of the sentence.
    """

    def __init__(self, what: str, library: str, extra: str, instead: str = "") -> None:
        install = f'pip install "archdsl[{extra}]"'
        super().__init__(f"{what} needs {library}: {install}{instead}")


def need(what: str, library: str, extra: str, module: str = "") -> ModuleType:
    """Return a library's module.

    Args:
        what: needs the library, for the message: ``an ONNX model``.
        library: its name.
        extra: which extra of archdsl contains it.
        module: the module; that of the library's name if empty.

    Raises:
        MissingExtra: if it is not installed.
    """
    try:
        return import_module(module or library)
    except ImportError as error:
        root = (module or library).partition(".")[0]
        if (error.name or "").partition(".")[0] != root:
            raise
        raise MissingExtra(what, library, extra) from None


def need_working(
    what: str, library: str, extra: str, module: str, instead: str = ""
) -> ModuleType:
    """Return a library's module, which must also be one that can be imported.

    A library that imports torchvision fails where that is of another build than torch:
    it registers operators, which raises errors of several kinds.

    Args:
        what: needs the library, for the message.
        library: its name, or what is needed of it.
        extra: which extra of archdsl contains it.
        module: the module.
        instead: what else to install.

    Raises:
        MissingExtra: if it cannot be imported.
    """
    try:
        return import_module(module)
    except (ImportError, RuntimeError, OSError):
        raise MissingExtra(what, library, extra, instead) from None
