"""The parameters of torch's callables, so that equal calls have one canonical form."""

from __future__ import annotations

import ast
from typing import Any, Final

from archdsl.backends.torch.validate.values import TensorValue, refuse
from archdsl.torch.functions import find

_REQUIRED: Final = object()
# Sizes for 1 to 3 axes, or for both sides of each: equal ones mean a single number.
_PER_AXIS: Final = (1, 2, 3, 4, 6)


class _Follows:
    """A default that is another argument's value."""

    def __init__(self, place: int) -> None:
        self.place = place


class Signature:
    """Names and defaults of a callable's parameters.

    Attributes:
        names: in order.
        defaults: by position; parameters without one are required.
    """

    def __init__(self, names: list[str], defaults: list[Any]) -> None:
        self.names = names
        self.defaults = defaults
        self.places = {name: place for place, name in enumerate(names)}
        self.inplace = self.places.get("inplace", -1)
        self.follow = [
            (place, d.place)
            for place, d in enumerate(defaults)
            if isinstance(d, _Follows)
        ]

    def bind(self, args: list[Any], kwargs: dict[str, Any]) -> list[Any]:
        """Return all arguments in order, in canonical form."""
        values = self.defaults.copy()
        if len(args) > len(values):
            refuse(f"{len(args)} arguments where {len(values)} are taken")
        for place, value in enumerate(args):
            values[place] = normal(value)
        for name, value in kwargs.items():
            found = self.places.get(name)
            if found is None or found < len(args):
                refuse(f"`{name}` is not an argument here, or is given twice")
            values[found] = normal(value)
        for place, source in self.follow:
            if isinstance(values[place], _Follows) or values[place] is None:
                values[place] = values[source]
        if _REQUIRED in values:
            refuse(f"`{self.names[values.index(_REQUIRED)]}` is not given")
        return values


def declared(
    arguments: ast.arguments, base: Signature | None = None
) -> Signature | None:
    """Return the signature of a definition, None if it is not known.

    Args:
        arguments: the definition's.
        base: what `*args` and `**options` are passed on to, if they are.
    """
    names = [a.arg for a in (*arguments.posonlyargs, *arguments.args)]
    defaults: list[Any] = [_REQUIRED] * (len(names) - len(arguments.defaults))
    if arguments.vararg or arguments.kwarg:
        if base is None or names:
            return None
        names, defaults = base.names.copy(), base.defaults.copy()
    for default in arguments.defaults:
        if isinstance(default, ast.Name):
            defaults.append(_Follows(names.index(default.id)))
        else:
            defaults.append(normal(ast.literal_eval(default)))
    for arg, late in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        names.append(arg.arg)
        defaults.append(_REQUIRED if late is None else normal(ast.literal_eval(late)))
    return Signature(names, defaults)


_FOUND: dict[str, Signature | None] = {}


def signature(name: str) -> Signature | None:
    """Return the signature of a torch callable, None if it is not known."""
    if name not in _FOUND:
        entry, found = find(name), None
        if entry is not None and entry.parameters is not None:
            function = ast.parse(f"def f({entry.parameters}): pass").body[0]
            assert isinstance(function, ast.FunctionDef)
            found = declared(function.args)
        _FOUND[name] = found
    return _FOUND[name]


def bound(
    name: str, args: list[Any], kwargs: dict[str, Any], known: Signature | None = None
) -> tuple[tuple[Any, ...], bool]:
    """Return the arguments of a call in canonical form, and whether it runs in place.

    Without a known signature, they stay as written.
    """
    known = known or signature(name)
    if known is None:
        inplace = bool(kwargs.get("inplace", False))
        named = sorted((n, normal(v)) for n, v in kwargs.items() if n != "inplace")
        return (*map(normal, args), *named), inplace
    values = known.bind(args, kwargs)
    if known.inplace < 0:
        return tuple(values), False
    inplace = values.pop(known.inplace) == normal(True)
    return tuple(values), inplace


def normal(value: Any) -> Any:
    """Return the canonical form of a value, which is the same for equal arguments.

    Equal numbers, for the axes or the sides, become a single number; a list becomes a
    tuple, in which one or three numbers are a shape; a truth value is not a number.
    """
    if type(value) is int:  # the usual case
        return value
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, tuple | list):
        parts = tuple([normal(part) for part in value])
        lengths = _PER_AXIS if isinstance(value, tuple) else (2, 4)
        if len(parts) in lengths and parts.count(parts[0]) == len(parts):
            return parts if type(parts[0]) is TensorValue else parts[0]
        return parts
    if isinstance(value, slice):
        return "slice", value.start, value.stop, value.step
    return value
