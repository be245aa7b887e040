"""Whether a network is what its spec expects."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any, Final

from archdsl.diagnostics import Diagnostic
from archdsl.ir import Expectation, Network
from archdsl.values import show_shape

from .analysis import Analysis

_COMPARE: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def check_expectations(network: Network, analysis: Analysis) -> list[Diagnostic]:
    """Return a diagnostic for every claim of the spec that does not hold."""
    found = []
    for claim in network.expectations:
        actual = _measure(claim.measure, analysis)
        if not _holds(claim, actual):
            found.append(_refute(claim, actual))
    return found


def _measure(measure: str, analysis: Analysis) -> tuple[int, ...]:
    """Return the numbers that are claimed about; none if there is no such thing."""
    if measure == "layers":
        return (len(analysis.layers),)
    if measure == "receptive_field":
        field = analysis.receptive_field
        return field.size if field else ()
    value = getattr(analysis, measure)
    return value if isinstance(value, tuple) else (value,)


def _holds(claim: Expectation, actual: tuple[int, ...]) -> bool:
    compare, claimed = _COMPARE[claim.op], _numbers(claim.value)
    if len(claimed) == 1 and claim.measure != "output":
        claimed *= len(actual)  # one number claims it of both axes
    if len(claimed) != len(actual) or not actual:
        return claim.op == "!="
    pairs = [compare(a, b) for a, b in zip(actual, claimed, strict=True)]
    return any(pairs) if claim.op == "!=" else all(pairs)


def _numbers(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, tuple) else (value,)


def _refute(claim: Expectation, actual: tuple[int, ...]) -> Diagnostic:
    has = f"the network has {_show(actual)}"
    return Diagnostic(
        "A0401",
        f"expected {claim.measure} {claim.op} {_show(_numbers(claim.value))}, {has}",
        claim.span,
        label=has,
        help="correct the claim, or the network",
    )


def _show(numbers: tuple[Any, ...]) -> str:
    """Return numbers as a spec writes them."""
    if not numbers:
        return "none"
    if len(numbers) == 1:
        return f"{numbers[0]:_}"
    return show_shape(numbers)
