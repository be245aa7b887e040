"""Checks the claims (`expect`) of a spec."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from archdsl.conditions import COMPARISONS
from archdsl.diagnostics import Diagnostic
from archdsl.figures import FIGURES
from archdsl.ir import Expectation, Network
from archdsl.values import show_shape

from .analysis import Analysis
from .receptive import ReceptiveField


def check_expectations(network: Network, analysis: Analysis) -> list[Diagnostic]:
    """Return a diagnostic for every claim of the spec that is not proven."""
    found: list[Diagnostic] = []
    for claim in network.expectations:
        if FIGURES[claim.measure].is_along_axes:
            found += _check_field(claim, analysis.receptive_field)
            continue
        actual = _measure(claim.measure, analysis)
        if not _holds(claim, actual):
            found.append(_refute(claim, _show(actual)))
    return found


def _measure(measure: str, analysis: Analysis) -> tuple[int, ...]:
    """Return the numbers that a claim is about."""
    value = FIGURES[measure].of(analysis)
    assert value is not None
    return value if isinstance(value, tuple) else (value,)


def _holds(claim: Expectation, actual: tuple[int, ...]) -> bool:
    compare, claimed = COMPARISONS[claim.op], _numbers(claim.value)
    if len(claimed) != len(actual):
        return claim.op == "!="
    pairs = [compare(a, b) for a, b in zip(actual, claimed, strict=True)]
    return any(pairs) if claim.op == "!=" else all(pairs)


# ---- receptive fields -----------------------------------------------------------


class _Sizes(NamedTuple):
    """Sizes of receptive fields along each axis.

    Attributes:
        least: for the units that see least.
        most: for the units that see most.
        exact: whether that is known exactly; if not, no unit sees more than `most`.
        whole: whether every unit sees the whole input.
    """

    least: tuple[int, ...]
    most: tuple[int, ...]
    exact: bool
    whole: bool = False


def _check_field(
    claim: Expectation, field: ReceptiveField | None
) -> Iterator[Diagnostic]:
    """Yield the errors of a claim about the fields of all units of the last map."""
    sizes = field and _sizes(claim.measure, field)
    if sizes is None:
        if claim.op != "!=":
            yield _refute(claim, _show(()))
        return
    proven = _proves(claim, sizes)
    if proven is None:
        yield _leave_open(claim, sizes)
    elif not proven:
        local = sizes.whole and field is not None and field.local
        yield _refute(
            claim,
            _show_sizes(sizes),
            f"; `local_field` is {_show(local)}, along local paths" if local else "",
        )


def _sizes(measure: str, field: ReceptiveField) -> _Sizes | None:
    """Return the sizes that a claim is about, None if there are no such fields."""
    if measure == "receptive_field":
        return _Sizes(field.smallest, field.size, field.exact, field.whole)
    if field.local is None:
        # If it is not known what a layer reads, it may read a single position.
        return None if field.exact else _Sizes(field.smallest, field.size, exact=False)
    assert field.local_smallest is not None
    return _Sizes(field.local_smallest, field.local, field.exact)


def _proves(claim: Expectation, sizes: _Sizes) -> bool | None:
    """Return whether a claim holds for every unit, None if that is not known."""
    claimed = _numbers(claim.value)
    if len(claimed) == 1:
        claimed *= len(sizes.most)  # a single number is a claim about both axes
    if len(claimed) != len(sizes.most):
        return claim.op == "!="
    op = "==" if claim.op == "!=" else claim.op
    answers = [
        _proves_along(op, wanted, least, most, sizes.exact)
        for wanted, least, most in zip(claimed, sizes.least, sizes.most, strict=True)
    ]
    proven = False if False in answers else None if None in answers else True
    return proven if proven is None or op == claim.op else not proven


def _proves_along(
    op: str, claimed: int, least: int, most: int, exact: bool
) -> bool | None:
    """Return whether all sizes along an axis satisfy a comparison with a number."""
    compare = COMPARISONS[op]
    if exact:
        return compare(least, claimed) and compare(most, claimed)
    # Only an upper bound is known.
    if op in ("<", "<="):
        return True if compare(most, claimed) else None
    return None if most >= claimed + (op == ">") else False


def _leave_open(claim: Expectation, sizes: _Sizes) -> Diagnostic:
    known = f"all that is known is that no unit sees more than {_show(sizes.most)}"
    return Diagnostic(
        "A0403",
        f"{_claimed(claim)} can be neither proven nor refuted: {known}",
        claim.span,
        label=known,
        help="claim an upper bound, or declare `pointwise = true` for ops that are",
    )


def _show_sizes(sizes: _Sizes) -> str:
    """Return ``188x188 to 204x204``, or a single size if all are equal."""
    if not sizes.exact:
        return f"at most {_show(sizes.most)}"
    if sizes.least == sizes.most:
        return _show(sizes.most) + (", the whole input" if sizes.whole else "")
    return f"{_show(sizes.least)} to {_show(sizes.most)}"


# ---- words ----------------------------------------------------------------------


def _claimed(claim: Expectation) -> str:
    return f"{claim.measure} {claim.op} {_show(_numbers(claim.value))}"


def _numbers(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, tuple) else (value,)


def _refute(claim: Expectation, actual: str, also: str = "") -> Diagnostic:
    has = f"the network has {actual}"
    return Diagnostic(
        "A0401",
        f"expected {_claimed(claim)}, {has}",
        claim.span,
        label=has,
        help=f"correct the claim, or the network{also}",
    )


def _show(numbers: tuple[Any, ...]) -> str:
    """Return numbers as a spec writes them."""
    if not numbers:
        return "none"
    if len(numbers) == 1:
        return f"{numbers[0]:_}"
    return show_shape(numbers)
