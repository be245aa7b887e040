"""The value of an expression: total, without side effects, bounded in size."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Literal

from archdsl.conditions import Not, Number, Relation, Test, Truth, join_conditions
from archdsl.diagnostics import did_you_mean
from archdsl.elaborate import foreign
from archdsl.elaborate.contexts import Context, Meaning
from archdsl.elaborate.faults import Fault
from archdsl.elaborate.library import prelude
from archdsl.elaborate.references import BlockRef, KindRef, Range, Unknown
from archdsl.elaborate.types import counted, is_number, show_value
from archdsl.layer import kind
from archdsl.limits import MAX_INTEGER, MAX_LIST, MAX_REPEAT
from archdsl.source import Span
from archdsl.symbolic import (
    MAX_SIZE,
    Poly,
    Sym,
    SymFloat,
    TooLong,
    combine,
    poly_of,
    simplify,
)
from archdsl.syntax import tree as t
from archdsl.syntax.loader import LoadedFile
from archdsl.values import Dims, channels


def evaluate(expr: t.Expr, context: Context) -> Any:
    """Return the value of an expression.

    Raises:
        Fault: if a name is unknown, or an operation is not defined or too large.
        SpecError: if the spec asks for too much work.
    """
    context.budget.spend(expr.span)
    try:
        return _RULES[type(expr)](expr, context)
    except TooLong:
        raise too_long(expr.span) from None


def too_long(span: Span) -> Fault:
    """Return the error for an expression that is too long for a constructor."""
    return Fault(
        "A0907",
        f"an expression grows beyond {MAX_SIZE} names and numbers",
        span,
        help="name a part of it, or make it a parameter of a block",
    )


def integer(expr: t.Expr, context: Context, what: str) -> int:
    """Return the value of an expression that must be an integer."""
    value = evaluate(expr, context)
    if isinstance(value, bool) or not isinstance(value, int):
        raise Fault(
            "A0204", f"{what} must be an integer, not {show_value(value)}", expr.span
        )
    return value


def truth(expr: t.Expr, context: Context) -> bool:
    """Return the value of a condition."""
    value = evaluate(expr, context)
    if not isinstance(value, bool):
        raise Fault(
            "A0204",
            f"a test must be true or false, not {show_value(value)}",
            expr.span,
            help="compare it, as in `count > 0`",
        )
    return value


def asked(expr: t.Expr, context: Context) -> bool:
    """Return the value of a condition that decides what is in a block, and record it.

    So code generation knows why calls of the block differ.
    """
    holds = truth(expr, context)
    if context.lets is not None and context.inside is None:
        test = test_of(expr, context, context.lets)
        if test is not None:
            context.space.record(test, holds)
    return holds


def test_of(
    expr: t.Expr, context: Context, lets: Mapping[str, Meaning] = MappingProxyType({})
) -> Test | None:
    """Return a condition over a block's parameters.

    None if it uses none of them, or if it cannot be expressed by them alone.

    Args:
        expr: the condition.
        context: where it stands.
        lets: names of the block's body that it may use, too.
    """
    found = _test(expr, context, lets)
    return None if isinstance(found, bool) else found


def meaning(name: str, expr: t.Expr, value: Any, context: Context) -> Meaning | None:
    """Return what a name that a body defines stands for in conditions.

    Args:
        name: the name.
        expr: its definition.
        value: its value.
        context: the context of the definition.
    """
    assert context.lets is not None
    if isinstance(value, bool):
        return test_of(expr, context, context.lets) or Truth(name)
    plain = isinstance(value, int) and not isinstance(value, Sym)
    return Poly.name(name) if plain else None


def _test(expr: t.Expr, context: Context, lets: Mapping[str, Meaning]) -> Test | bool:
    """Return a condition, or its value if no more is known."""
    if isinstance(expr, t.Name):
        if context.is_parameter(expr.id):
            return Truth(expr.id)
        known = lets.get(expr.id)
        if known is not None and not isinstance(known, Poly):
            return known
    if isinstance(expr, t.Unary) and expr.op == "not":
        inner = _test(expr.operand, context, lets)
        if isinstance(inner, bool):
            return not inner
        return Not(inner)
    if isinstance(expr, t.Binary) and expr.op in ("and", "or"):
        op: Literal["and", "or"] = "and" if expr.op == "and" else "or"
        return _joined(op, [_test(e, context, lets) for e in (expr.left, expr.right)])
    if isinstance(expr, t.Binary) and expr.op in (*_ORDER, "==", "!="):
        sides = (expr.left, expr.right)
        left, right = [_number(side, context, lets) for side in sides]
        literals = all(isinstance(side, t.Literal) for side in sides)
        if left is not None and right is not None and not literals:
            return Relation(left, expr.op, right)
    return truth(expr, context)


def _joined(op: Literal["and", "or"], sides: Sequence[Test | bool]) -> Test | bool:
    decided = op == "or"
    if decided in sides:
        return decided
    tests = [side for side in sides if not isinstance(side, bool)]
    return join_conditions(op, tests) or (not decided)


def _number(
    expr: t.Expr, context: Context, lets: Mapping[str, Meaning]
) -> Number | None:
    """Return a number, if it is a literal, computed from parameters, or has a name."""
    value = evaluate(expr, context)
    if isinstance(value, SymFloat):
        return Poly.name(value.name)
    if isinstance(value, Sym):
        return value.poly
    if isinstance(expr, t.Name) and isinstance(known := lets.get(expr.id), Poly):
        return known
    if not isinstance(expr, t.Literal) or isinstance(value, bool | str):
        return None
    return Poly.constant(value) if isinstance(value, int) else float(value)


# ---- one rule per kind of expression ----------------------------------------


def _literal(expr: t.Literal, context: Context) -> Any:
    return expr.value


def _dims(expr: t.DimsLiteral, context: Context) -> Dims:
    return Dims(expr.dims)


def _name(expr: t.Name, context: Context) -> Any:
    name = expr.id
    if name in context.env:
        value = context.env[name]
        if isinstance(value, Unknown):
            raise Fault("", f"the value of {name} is unknown", None)
        return value
    if name == "channels" and context.space.current is not None:
        return _channels(expr, context)
    if found := defined(name, context):
        return found
    raise Fault(
        "A0104",
        f"`{name}` is not a parameter, loop variable, block or layer kind",
        expr.span,
        help=did_you_mean(name, [*context.env, *context.module.names()]),
    )


def defined(word: str, context: Context) -> KindRef | BlockRef | None:
    """Return the block, op or layer kind that a word means in a file; None if it means
    none of them.

    Raises:
        Fault: if it is an op whose declaration is incomplete or wrong.
    """
    if found := _everywhere(word, context.module):
        return found
    if word not in context.module.ops:
        return None
    made = foreign.kind_of(*context.module.ops[word], evaluate)
    made.budget = context.budget
    return KindRef(made)


@lru_cache(maxsize=1024)  # asked for with every call
def _everywhere(word: str, module: LoadedFile) -> KindRef | BlockRef | None:
    """Return the block or layer kind that a word means in all networks of a file.

    An op is another kind in each network, so it is left out.
    """
    if found := module.find(word):
        return BlockRef(*found)
    if word in module.ops:
        return None
    if found := prelude().find(word):
        return BlockRef(*found)
    found_kind = kind(word)
    return KindRef(found_kind) if found_kind else None


def _channels(expr: t.Expr, context: Context) -> int:
    current = context.space.current
    if current is None or current.shape is None:
        raise Fault("", "the input's shape is unknown", None)
    if not current.shape:
        raise Fault(
            "A0306",
            "`channels` comes before any input",
            expr.span,
            help="begin the network with `input 3x224x224`",
        )
    return channels(current.shape)


def _list(expr: t.ListExpr, context: Context) -> tuple[Any, ...]:
    return _sized(tuple(evaluate(item, context) for item in expr.items), expr, context)


def _sized(items: tuple[Any, ...], expr: t.Expr, context: Context) -> tuple[Any, ...]:
    """Return a list; refuse it if it is too long, including nested lists."""
    size = _size(items)
    context.budget.spend(expr.span, size)
    if size > MAX_LIST:
        raise Fault("A0906", f"a list has more than {MAX_LIST:,} items", expr.span)
    return items


def _size(value: Any) -> int:
    """Return the number of items in a list and the lists inside it."""
    if not isinstance(value, tuple):
        return 1
    return len(value) + sum(_size(v) for v in value if isinstance(v, tuple))


def _unary(expr: t.Unary, context: Context) -> Any:
    value = evaluate(expr.operand, context)
    if expr.op == "not":
        if isinstance(value, bool):
            return not value
        raise Fault(
            "A0207", f"`not` needs true or false, not {show_value(value)}", expr.span
        )
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Fault("A0207", f"`-` needs a number, not {show_value(value)}", expr.span)
    return -value


def _conditional(expr: t.Conditional, context: Context) -> Any:
    return evaluate(expr.then if asked(expr.test, context) else expr.otherwise, context)


def _index(expr: t.Index, context: Context) -> Any:
    sequence = evaluate(expr.sequence, context)
    at = integer(expr.at, context, "an index")
    if not isinstance(sequence, tuple):
        raise Fault("A0207", f"{show_value(sequence)} is not a list", expr.span)
    if not -len(sequence) <= at < len(sequence):
        raise Fault(
            "A0207",
            f"index {int(at)} is outside the list, which has "
            f"{counted(len(sequence), 'item')}",
            expr.span,
            help=f"it has the indices 0 to {len(sequence) - 1}" if sequence else None,
        )
    return sequence[at]


def _power(left: Any, right: Any) -> Any:
    if isinstance(right, int) and isinstance(left, int):
        size = abs(int(left))
        if right < 0:
            return float(left) ** int(right)
        if size > 1 and int(right) * math.log2(size) > 32:
            raise OverflowError
        return int(left) ** int(right)
    return float(left) ** float(right)


def _divide(left: Any, right: Any) -> float:
    return float(left) / float(right)


_ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": _divide,
    "//": operator.floordiv,
    "%": operator.mod,
    "**": _power,
}
_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def _binary(expr: t.Binary, context: Context) -> Any:
    if expr.op in ("and", "or"):
        left = truth(expr.left, context)
        if left == (expr.op == "or"):
            return left
        return truth(expr.right, context)
    left = evaluate(expr.left, context)
    right = evaluate(expr.right, context)
    if expr.op in ("==", "!="):
        context.budget.spend(expr.span, _size(left))
        return _same(left, right) == (expr.op == "==")
    if expr.op == "in":
        if isinstance(right, tuple):
            context.budget.spend(expr.span, _size(right))
            return any(_same(left, item) for item in right)
        raise Fault(
            "A0207", f"`in` needs a list, not {show_value(right)}", expr.right.span
        )
    if expr.op in ("+", "*") and (_is_list(left) or _is_list(right)):
        return _of_lists(expr, left, right, context)
    for side, part in ((left, expr.left), (right, expr.right)):
        if isinstance(side, bool) or not isinstance(side, int | float):
            raise Fault(
                "A0207", f"`{expr.op}` needs numbers, not {show_value(side)}", part.span
            )
    if expr.op in _ORDER:
        return bool(_ORDER[expr.op](left, right))
    return _arithmetic(expr, left, right)


def _is_list(value: Any) -> bool:
    return isinstance(value, tuple) and not isinstance(value, Dims)


def _of_lists(
    expr: t.Binary, left: Any, right: Any, context: Context
) -> tuple[Any, ...]:
    """Return one list behind another, or a list several times."""
    if expr.op == "+":
        for side, part in ((left, expr.left), (right, expr.right)):
            if not _is_list(side):
                raise Fault(
                    "A0207",
                    f"`+` joins two lists, and {show_value(side)} is not a list",
                    part.span,
                    help=f"write `[{part.span.text}]` for a list of one item",
                )
        return _sized((*left, *right), expr, context)
    items, times, part = (left, right, expr.right)
    if not _is_list(items):
        items, times, part = (right, left, expr.left)
    if not isinstance(times, int) or isinstance(times, bool) or times < 0:
        raise Fault(
            "A0207",
            "a list can only be repeated an integer number of times, not "
            f"{show_value(times)}",
            part.span,
        )
    if _size(items) * times > MAX_LIST:
        raise Fault("A0906", f"a list has more than {MAX_LIST:,} items", expr.span)
    return _sized(items * int(times), expr, context)


def _same(left: Any, right: Any) -> bool:
    return bool(left == right)


def _arithmetic(expr: t.Binary, left: Any, right: Any) -> Any:
    try:
        value = _ARITHMETIC[expr.op](left, right)
    except ZeroDivisionError:
        raise Fault("A0207", "division by zero", expr.right.span) from None
    except OverflowError:
        raise _too_large(expr) from None
    value = _bounded(value, expr)
    return _shortened(value) if isinstance(value, float) else value


def _shortened(value: float) -> float:
    """Return a number with the digits that all arithmetic keeps.

    So 0.2 * 3 is 0.6, as written by hand, and not 0.6000000000000001.
    """
    return float(f"{value:.15g}")


def _bounded(value: Any, expr: t.Expr) -> Any:
    if isinstance(value, complex):
        raise Fault("A0207", "a root of a negative number", expr.span)
    if isinstance(value, int) and abs(value) > MAX_INTEGER:
        raise _too_large(expr)
    if isinstance(value, float) and not math.isfinite(value):
        raise _too_large(expr)
    return value


def _too_large(expr: t.Expr) -> Fault:
    return Fault(
        "A0903", f"a number is larger than {MAX_INTEGER:,} (31 bits)", expr.span
    )


# ---- functions --------------------------------------------------------------


def _of_numbers(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that only accepts numbers, or one list of numbers."""

    def checked(*values: Any) -> Any:
        listed = len(values) == 1 and isinstance(values[0], tuple)
        if not all(map(is_number, values[0] if listed else values)):
            raise TypeError
        return function(*values)

    return checked


def _of_list(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function whose first argument is a list."""

    def checked(items: Any, *values: Any) -> Any:
        if not isinstance(items, tuple):
            raise TypeError
        return function(items, *values)

    return checked


def _extreme(name: str, choose: Callable[..., Any]) -> Callable[..., Any]:
    def extreme(*values: Any) -> Any:
        items = values[0] if len(values) == 1 else values
        result = choose(items)
        symbolic = len(items) > 1 and any(isinstance(v, Sym) for v in items)
        if symbolic and all(isinstance(v, int) for v in items):
            poly = combine(name, tuple(poly_of(v) for v in items))
            return simplify(int(result), poly)
        return result

    return _of_numbers(extreme)


def _range(*bounds: Any) -> Range:
    numbers = [int(b) for b in bounds]
    result = Range(range(*numbers))
    result.length = bounds[0] if len(bounds) == 1 else len(result)
    return result


def _rounded(how: Callable[[Any], int]) -> Callable[[Any], int]:
    def rounded(value: Any) -> int:
        return value if isinstance(value, int) else how(float(value))

    return _of_numbers(rounded)


def _unique(items: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(dict.fromkeys(items))


def _count(items: tuple[Any, ...], value: Any) -> int:
    return items.count(value)


FUNCTIONS: dict[str, tuple[Callable[..., Any], int, int, str]] = {
    "abs": (_of_numbers(abs), 1, 1, "absolute value"),
    "ceil": (_rounded(math.ceil), 1, 1, "rounded up to an integer"),
    "count": (_of_list(_count), 2, 2, "how often a value is in a list"),
    "exp": (_of_numbers(math.exp), 1, 1, "e raised to a power"),
    "floor": (_rounded(math.floor), 1, 1, "rounded down to an integer"),
    "int": (_rounded(int), 1, 1, "integer part"),
    "len": (_of_list(len), 1, 1, "number of items of a list"),
    "log": (
        _of_numbers(math.log),
        1,
        2,
        "natural logarithm, or logarithm to a given base",
    ),
    "max": (_extreme("max", max), 1, 99, "largest of its arguments, or of a list"),
    "min": (_extreme("min", min), 1, 99, "smallest of its arguments, or of a list"),
    "range": (_range, 1, 3, "list of integers, as in Python"),
    "round": (_rounded(round), 1, 1, "rounded to the nearest integer, halves to even"),
    "sqrt": (_of_numbers(math.sqrt), 1, 1, "square root"),
    "sum": (_of_list(_of_numbers(sum)), 1, 1, "sum of a list"),
    "unique": (_of_list(_unique), 1, 1, "the distinct values of a list, in order"),
}


def _function(expr: t.FunctionCall, context: Context) -> Any:
    own = context.module.functions.get(expr.name)
    if own is not None and _visible(*own, context):
        return _call_own(expr, *own, context)
    if expr.name not in FUNCTIONS:
        raise Fault(
            "A0104",
            f"there is no function `{expr.name}`",
            expr.span,
            help="a function can only call functions defined above it"
            if own
            else did_you_mean(expr.name, {*FUNCTIONS, *context.module.functions})
            or f"the functions are {', '.join(FUNCTIONS)}",
        )
    function, least, most, _ = FUNCTIONS[expr.name]
    for arg in expr.args:
        if arg.name is not None:
            raise Fault("A0201", f"{expr.name} has no argument `{arg.name}`", arg.span)
    values = [evaluate(arg.value, context) for arg in expr.args]
    if not least <= len(values) <= most:
        takes = counted(most, "argument")
        raise Fault(
            "A0203",
            f"{expr.name} takes {takes if least == most else f'{least} to {takes}'}, "
            f"not {len(values)}",
            expr.span,
        )
    context.budget.spend(expr.span, sum(_size(v) for v in values))
    if expr.name == "range":
        _check_range(expr, values)
    try:
        return _bounded(function(*values), expr)
    except (TypeError, ValueError, OverflowError, ZeroDivisionError):
        shown = ", ".join(show_value(v) for v in values)
        raise Fault(
            "A0207", f"{expr.name}({shown}) is not defined", expr.span
        ) from None


def _visible(definition: t.FunctionDef, module: LoadedFile, context: Context) -> bool:
    """Return whether a function can be called here: it must be defined earlier."""
    inside = context.inside
    if inside is None or module is not context.module:
        return True
    return definition.span.start < inside.span.start


def _call_own(
    expr: t.FunctionCall,
    definition: t.FunctionDef,
    module: LoadedFile,
    context: Context,
) -> Any:
    """Return the value of a function that a spec defines."""
    names = [p.name for p in definition.params]
    given: dict[str, Any] = {}
    for place, arg in enumerate(expr.args):
        name = arg.name or (names[place] if place < len(names) else None)
        if name is None or name not in names:
            raise Fault(
                "A0203" if arg.name is None else "A0201",
                f"{expr.name} takes {', '.join(names)}",
                arg.span,
            )
        if name in given:
            raise Fault("A0206", f"{expr.name}: `{name}` is given twice", arg.span)
        given[name] = evaluate(arg.value, context)
    inner = context.replace(module=module, env=given, inside=definition)
    for param in definition.params:
        if param.name in given:
            continue
        if param.default is None:
            raise Fault("A0202", f"{expr.name} needs `{param.name}`", expr.span)
        inner = inner.bind({param.name: evaluate(param.default, inner)})
    return evaluate(definition.value, inner)


def listed(expr: t.Expr, context: Context) -> tuple[Any, ...]:
    """Return the list that a `for` goes through.

    Raises:
        Fault: if it is not a list.
    """
    items = evaluate(expr, context)
    if not isinstance(items, tuple) or isinstance(items, Dims):
        raise Fault(
            "A0204",
            f"`for` needs a list, not {show_value(items)}",
            expr.span,
            help="write `for i in range(n)` to count",
        )
    return items


def bind_targets(
    targets: t.Targets, place: int, item: Any, span: Span
) -> dict[str, Any]:
    """Return the variables of a loop in one iteration.

    Raises:
        Fault: if an item does not have the parts that the loop names.
    """
    bound = {targets.index: place} if targets.index else {}
    if not targets.unpacks:
        return {**bound, targets.names[0]: item}
    if not isinstance(item, tuple) or len(item) != len(targets.names):
        raise Fault(
            "A0207",
            f"{show_value(item)} does not have {counted(len(targets.names), 'part')}",
            span,
            label=f"the loop names {', '.join(targets.names)}",
        )
    return {**bound, **dict(zip(targets.names, item, strict=True))}


def _comprehension(expr: t.Comprehension, context: Context) -> tuple[Any, ...]:
    items = evaluate(expr.iterable, context)
    if not isinstance(items, tuple) or isinstance(items, Dims):
        raise Fault(
            "A0204", f"`for` needs a list, not {show_value(items)}", expr.iterable.span
        )
    found = []
    for place, item in enumerate(items):
        inner = context.bind(bind_targets(expr.targets, place, item, expr.span))
        if expr.test is None or truth(expr.test, inner):
            found.append(evaluate(expr.item, inner))
    return _sized(tuple(found), expr, context)


def _check_range(expr: t.FunctionCall, values: list[Any]) -> None:
    if not all(isinstance(v, int) and not isinstance(v, bool) for v in values):
        raise Fault("A0207", "range needs integers", expr.span)
    if len(values) == 3 and values[2] == 0:
        raise Fault("A0207", "range needs a step other than 0", expr.span)
    if len(range(*(int(v) for v in values))) > MAX_REPEAT:
        raise Fault("A0906", f"a range is longer than {MAX_REPEAT:,}", expr.span)


def _partial(expr: t.Partial, context: Context) -> BlockRef | KindRef:
    target = _name(t.Name(expr.span, expr.id), context)
    if not isinstance(target, BlockRef | KindRef):
        raise Fault("A0204", f"`{expr.id}` is not a block or layer kind", expr.span)
    known = (
        {p.name for p in target.definition.params}
        if isinstance(target, BlockRef)
        else set(target.kind.fields)
    )
    bound: dict[str, Any] = dict(target.bound)
    values = dict(target.values) if isinstance(target, KindRef) else bound
    for arg in expr.args:
        if arg.name is None:
            raise Fault(
                "A0203",
                "a block as a value takes its arguments by name",
                arg.span,
                help=f"write `{expr.id}<name = value>`",
            )
        if arg.name not in known:
            raise Fault(
                "A0201",
                f"`{expr.id}` has no parameter `{arg.name}`",
                arg.span,
                help=did_you_mean(arg.name, known),
            )
        choices = (
            target.kind.fields[arg.name].choices if isinstance(target, KindRef) else ()
        )
        if isinstance(arg.value, t.Name) and arg.value.id in choices:
            values[arg.name] = arg.value.id
        else:
            values[arg.name] = evaluate(arg.value, context)
        if isinstance(target, KindRef):
            bound[arg.name] = arg, context
    if isinstance(target, KindRef):
        return KindRef(target.kind, bound, values)
    return BlockRef(target.definition, target.module, bound)


_RULES: dict[type[t.Expr], Callable[[Any, Context], Any]] = {
    t.Literal: _literal,
    t.DimsLiteral: _dims,
    t.Name: _name,
    t.ListExpr: _list,
    t.Unary: _unary,
    t.Binary: _binary,
    t.Conditional: _conditional,
    t.Index: _index,
    t.FunctionCall: _function,
    t.Partial: _partial,
    t.Comprehension: _comprehension,
}
