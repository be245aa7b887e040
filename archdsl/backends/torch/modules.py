"""Turns emitted text into a module that Python's own tools can find.

The result of `build` can be pickled, by `torch.save` or for another process, and its
source is available, as `torch.jit.script` needs. A pickle contains the text itself, so
it can be loaded wherever archdsl is installed.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from functools import lru_cache
from importlib.abc import ExecutionLoader
from importlib.util import module_from_spec, spec_from_loader
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from archdsl.backends.torch.check import UnsafeCode, check_text

if TYPE_CHECKING:
    from torch import nn

# The number of texts whose source Python can find. A search builds thousands of
# networks, and each would stay in memory. Modules of older texts work without their
# source.
MAX_KEPT: Final = 256
_KEPT: Final[dict[str, None]] = {}

Reduced = tuple[Any, ...]


class _TextLoader(ExecutionLoader):
    """Provides the text of a module to Python's import system."""

    def __init__(self, text: str, filename: str) -> None:
        self.text = text
        self.filename = filename

    def get_source(self, fullname: str) -> str:
        return self.text

    def get_filename(self, fullname: str) -> str:
        return self.filename


def module_of(text: str, word: str, foreign: tuple[str, ...] = ()) -> ModuleType:
    """Return the module of a text; the same text always gives the same module.

    Args:
        text: text of the module, which must have passed `check`.
        word: a word for the module's name.
        foreign: dotted names of the classes that it may import.

    Raises:
        ImportError: if torch, or a module of an `op`, is not installed.
    """
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    name = f"archdsl.emitted.{word}_{digest}"
    known = sys.modules.get(name)
    if known is not None:
        return known
    # No such file exists; a name in angle brackets would never be looked up.
    spec = spec_from_loader(name, _TextLoader(text, f"{name}.py"))
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    for made in _classes_of(module):
        made.__reduce_ex__ = _reducer(text, word, foreign)
    _KEPT[name] = None
    while len(_KEPT) > MAX_KEPT:
        oldest = next(iter(_KEPT))
        del _KEPT[oldest]
        sys.modules.pop(oldest, None)
    return module


def network_class(module: ModuleType) -> Any:
    """Return the class defined last: blocks come before the network."""
    return _classes_of(module)[-1]


def _classes_of(module: ModuleType) -> list[Any]:
    found = [value for value in vars(module).values() if isinstance(value, type)]
    return [value for value in found if value.__module__ == module.__name__]


def _reducer(
    text: str, word: str, foreign: tuple[str, ...]
) -> Callable[[Any, int], Reduced]:
    """Return a function that pickles an instance together with its text."""

    def reduce(self: Any, protocol: int) -> Reduced:
        usual = object.__reduce_ex__(self, max(protocol, 2))
        assert isinstance(usual, tuple)
        return (unpickled, (text, word, foreign, type(self).__name__), *usual[2:])

    return reduce


def unpickled(text: str, word: str, foreign: tuple[str, ...], name: str) -> nn.Module:
    """Return an instance of a class in a text, before the pickle restores its state.

    The text passes the same check as everything that is emitted.

    Raises:
        UnsafeCode: if the text could do more than define a network, or has no class
            with that name.
    """
    _check_once(text, foreign)
    module = module_of(text, word, foreign)
    made = {one.__name__: one for one in _classes_of(module)}.get(name)
    if made is None:
        raise UnsafeCode(f"no class {name} in the text")
    instance: nn.Module = made.__new__(made)
    return instance


@lru_cache(maxsize=MAX_KEPT)
def _check_once(text: str, foreign: tuple[str, ...]) -> None:
    """Check a text once: every submodule in a pickle or a copy has the same one."""
    check_text(text, frozenset(foreign))
