"""Claims about a network: `expect` statements."""

from __future__ import annotations

from archdsl.diagnostics import did_you_mean
from archdsl.elaborate.contexts import Context
from archdsl.elaborate.evaluate import evaluate
from archdsl.elaborate.faults import Fault
from archdsl.elaborate.state import State
from archdsl.elaborate.types import is_number, show_value
from archdsl.figures import CLAIMED
from archdsl.ir import Expectation
from archdsl.ir.trusted import new_expectation
from archdsl.source import Span
from archdsl.syntax import tree as t

_COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")


def expectations(
    state: State, preset: t.Preset | None, context: Context
) -> tuple[Expectation, ...]:
    """Return the claims of a network and of its preset; report wrong ones.

    Args:
        state: has the statements.
        preset: the preset.
        context: of the network.
    """
    found: list[Expectation] = []
    stated = list(state.expects)
    if preset is not None and preset.expect is not None:
        stated.append((preset.expect, context))
    for statement, where in stated:
        for item in statement.items:
            try:
                found.append(_expectation(item, where))
            except Fault as fault:
                state.report(fault, context)
    return tuple(found)


def _expectation(item: t.Claim, context: Context) -> Expectation:
    test = item.test
    if test is None:
        assert item.measure is not None
        _check_measure(item.measure, item.span)
        return new_expectation(
            measure=item.measure, op="==", value=item.dims, span=item.span
        )
    if (
        not isinstance(test, t.Binary)
        or test.op not in _COMPARISONS
        or not isinstance(test.left, t.Name)
    ):
        raise Fault(
            "A0402",
            "a claim compares a figure with a value",
            item.span,
            help="write `expect params == 1_000` or `expect output 1000`",
        )
    _check_measure(test.left.id, test.left.span)
    value = evaluate(test.right, context)
    parts = value if isinstance(value, tuple) else (value,)
    if not all(map(is_number, parts)):
        raise Fault(
            "A0207",
            f"a claim compares with a number or sizes, not {show_value(value)}",
            test.right.span,
        )
    return new_expectation(
        measure=test.left.id, op=test.op, value=value, span=item.span
    )


def _check_measure(name: str, span: Span) -> None:
    if name not in CLAIMED:
        raise Fault(
            "A0402",
            f"`{name}` is not a figure of a network",
            span,
            help=did_you_mean(name, CLAIMED) or f"the figures are {', '.join(CLAIMED)}",
        )
