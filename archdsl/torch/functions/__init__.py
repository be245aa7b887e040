"""A description of each function and module of torch that emitted code can call.

The files of this package contain the entries. Every function that a layer kind calls
needs one. They are read by the verification of emitted text and of receptive fields, by
the counts of other tools, and by the choice of layers that run in place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from archdsl.values import TorchForm, without_axes

from .function import (
    CountingRule,
    CountingRules,
    Function,
    Module,
    Reads,
    ShapedCall,
    UnknownCount,
)

__all__ = [
    "CountingRule",
    "CountingRules",
    "Function",
    "Module",
    "Reads",
    "ShapedCall",
    "UnknownCount",
    "called_by",
    "copies_input",
    "entries",
    "find",
    "kept_in_place",
    "parameter_names",
    "reads",
    "runs_in_place",
    "tool_count",
]


def find(name: str) -> Function | Module | None:
    """Return the entry of a function or module by its name, such as ``F.conv2d``."""
    known = entries()
    return known.get(name) or known.get(without_axes(name))


def called_by(name: str) -> str | None:
    """Return the function that a module calls, None if the module is not known."""
    found = find(name)
    if not isinstance(found, Module):
        return None
    return found.calls.format(axes=name[len(without_axes(name)) :])


def tool_count(calls: Sequence[ShapedCall], tool: str) -> int:
    """Return what a tool counts for some calls of functions or modules.

    Args:
        calls: the calls that it sees.
        tool: the name of the tool, from `counting.TOOLS`.

    Raises:
        Unknown: if one has no entry, or the entry does not say it.
    """
    total = 0
    for call in calls:
        found = find(call.name)
        if found is None or found.counts is None:
            raise UnknownCount(call.name)
        rule = found.counts.get(tool)
        total += rule(call) if rule else 0
    return total


def reads(name: str) -> Reads:
    """Return what a function's output depends on, None if that is not known.

    Args:
        name: without the module or class that has it, such as ``conv2d``.
    """
    known = _reads()
    return known.get(name) or known.get(without_axes(name))


def runs_in_place(form: TorchForm) -> bool:
    """Return whether a layer of this form can overwrite its input."""
    return _inplace(form) is not None


def copies_input(form: TorchForm) -> bool:
    """Return whether autograd copies the input if such a layer runs in place."""
    return _inplace(form) == "copies"


def _inplace(form: TorchForm) -> str | None:
    if form.module is None or form.origin or form.helper:
        return None
    return kept_in_place(form.module.name)


@cache
def kept_in_place(module: str) -> str | None:
    """Return what autograd keeps of a module that runs in place; see `Function`."""
    found = find(called_by(module) or "")
    return found.inplace if isinstance(found, Function) else None


@cache
def parameter_names(name: str) -> tuple[str, ...]:
    """Return the names of a constructor's parameters, none for an unknown module."""
    found = find(name)
    if not isinstance(found, Module):
        return ()
    return tuple([part.split("=")[0].strip() for part in found.parameters.split(",")])


@cache
def entries() -> Mapping[str, Function | Module]:
    """Return all entries by name; one of several names stands under each."""
    found: dict[str, Function | Module] = {}
    for entry in _all():
        names = entry.names if isinstance(entry, Function) else entry.name
        for name in names.split():
            assert name not in found, f"{name} has two entries"
            found[name] = entry
    return found


@cache
def _reads() -> dict[str, Reads]:
    known = entries().items()
    return {
        name.rpartition(".")[2]: entry.reads
        for name, entry in known
        if isinstance(entry, Function) and entry.reads is not None
    }


def _all() -> list[Any]:
    files = [file.name for file in iter_modules(__path__)]
    modules = [import_module(f"{__name__}.{file}") for file in sorted(files)]
    return [entry for m in modules for entry in getattr(m, "ENTRIES", ())]
