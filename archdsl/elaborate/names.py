"""Refuses names that a spec cannot use."""

from __future__ import annotations

from archdsl.elaborate.faults import Fault
from archdsl.naming import (
    EMITTED_NAMES,
    LABEL_RESERVED,
    LANGUAGE_WORDS,
    PARAMETER_RESERVED,
    attributes_of,
    gap_in,
    is_identifier,
    refusal,
)
from archdsl.source import Span


def check_label(name: str, span: Span, quoted: bool = False) -> None:
    """Refuse a label that cannot be the name of a submodule.

    Args:
        name: the label; if it has dots, the names of containers and of a part of the
            last one; all but the first may be numbers.
        span: its place.
        quoted: whether it is in quotes, and can contain hyphens.

    Raises:
        Fault: with the reason.
    """
    if gap := gap_in(name):
        names = ".".join(filter(None, name[:100].split(".")))
        raise Fault(
            "A0103",
            f"`{name[:100]}` cannot name a label: it {gap}",
            span,
            help=f"write `{names}`" if names else "choose another name",
        )
    if quoted and "-" in name:
        container, dot, _ = name.partition(".")
        if dot and "-" in container:
            raise Fault(
                "A0103",
                f"`{container}` cannot name a container: it has a hyphen",
                span,
                help="only a layer, or a name after a dot, can have one",
            )
        name = name.replace("-", "_")
    for attribute in attributes_of(name):
        _check(attribute, span, "label", LABEL_RESERVED)


def check_parameter(name: str, span: Span) -> None:
    """Refuse the name of a parameter or loop variable that emitted code cannot use."""
    _check(name, span, "parameter", PARAMETER_RESERVED)


def check_class(path: str, span: Span) -> None:
    """Refuse a dotted name of a Python class that emitted code cannot import."""
    *modules, name = path.split(".")
    for module in modules:
        _check(module, span, "module", frozenset())
    _check(name, span, "class", EMITTED_NAMES)


def check_definition(
    name: str, span: Span, kinds: frozenset[str], what: str = "block"
) -> None:
    """Refuse the name of a block or network that already has another meaning."""
    _check(name, span, what, LANGUAGE_WORDS)
    if name in kinds:
        raise Fault(
            "A0103",
            f"`{name}` is a layer kind, and cannot be defined again",
            span,
            help="choose another name",
        )


def check_function(name: str, span: Span, functions: frozenset[str]) -> None:
    """Refuse the name of a function that already has another meaning."""
    _check(name, span, "function", LANGUAGE_WORDS)
    if name in functions:
        raise Fault(
            "A0103",
            f"`{name}` is a function already, and cannot be defined again",
            span,
            help="choose another name",
        )


def _check(name: str, span: Span, what: str, reserved: frozenset[str]) -> None:
    reason = refusal(name, what, reserved)
    if not reason:
        return
    raise Fault(
        "A0103",
        f"`{name[:100]}` cannot name a {what}: it {reason}",
        span,
        help=_advice(name, what),
    )


def _advice(name: str, what: str) -> str:
    if what == "label" and name.isdigit():
        return (
            "the parts of `seq { ... }` are named by number, from 0; elsewhere write "
            f"a number after a dot: `blocks.{name[:20]}: ...`"
        )
    if not is_identifier(name.strip("_") or "a"):
        return "choose another name"
    return f"choose another name, such as `{name.strip('_')[:40] or what}_`"
