"""The types of values, and how messages show values."""

from __future__ import annotations

from typing import Any

from archdsl.elaborate.references import KindRef
from archdsl.values import Dims

# Number of list items shown in a message.
MAX_SHOWN = 12

WORDS_OF_TYPES = {
    "int": "an integer",
    "float": "a number",
    "bool": "true or false",
    "string": "a string",
    "kernel": "sizes such as 3x3",
    "list": "a list",
    "kind": "a layer kind",
    "block": "a block or layers in braces",
}


def type_name(value: Any) -> str:
    """Return the language's name for the type of a value."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int"
    if isinstance(value, float):
        return "float"
    if isinstance(value, str):
        return "string"
    if isinstance(value, Dims):
        return "kernel"
    if isinstance(value, tuple):
        return "list"
    return "kind" if isinstance(value, KindRef) else "block"


def show_value(value: Any) -> str:
    """Return a value as it would be written in a spec."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, float):
        text = f"{float(value):.6g}"
        return f"{text}.0" if text.lstrip("-").isdigit() else text
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, tuple) and not isinstance(value, Dims):
        shown = [show_value(v) for v in value[:MAX_SHOWN]]
        more = ["..."] if len(value) > MAX_SHOWN else []
        return f"[{', '.join(shown + more)}]"
    return repr(value)


def counted(number: int, noun: str) -> str:
    """Return ``1 item`` or ``2 items``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def has_type(value: Any, type_: str) -> bool:
    """Return whether a value may be given to a parameter of a type."""
    own = type_name(value)
    return (
        own == type_
        or (type_ == "float" and own == "int")
        or (type_ == "block" and own == "kind")
    )


def is_number(value: Any) -> bool:
    """Return whether a value is a number; truth values are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)
