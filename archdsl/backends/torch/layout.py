"""Lays out trees of Python code as lines of text.

The layout of calls and lists follows the formatter's rule: on one line if that fits;
otherwise all items on one line of their own; otherwise one item per line, with a
trailing comma.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from archdsl.backends.torch.nodes import (
    INDEX,
    Argument,
    Assign,
    Attribute,
    BinaryExpr,
    CallExpr,
    Either,
    Entries,
    First,
    ForStatement,
    IfStatement,
    InTraining,
    Invoke,
    LiteralExpr,
    LoopVariable,
    Make,
    Maybe,
    Present,
    Projection,
    PyExpression,
    PyStatement,
    Return,
    SelfAttribute,
    SequenceExpr,
    Shortcut,
    SliceExpr,
    Star,
    StoredNumber,
    Subscript,
    Text,
    TypeExpr,
    Var,
    settled,
    written_arguments,
)
from archdsl.conditions import Joined, LabelTemplate, Not, Number, Relation, Test, Truth
from archdsl.symbolic import Poly

WIDTH = 88
# Precedence of expressions: atoms, products, sums, conditions.
_ALONE, _PRODUCT, _SUM, _CONDITION = 3, 2, 1, 0


# ---- on one line ---------------------------------------------------------------


def condition_text(test: Test) -> str:
    """Return a condition on the constructor's arguments as text."""
    match test:
        case Relation():
            return f"{_number_text(test.left)} {test.op} {_number_text(test.right)}"
        case Truth():
            return test.name
        case Not():
            inner = condition_text(test.test)
            return f"not {inner}" if isinstance(test.test, Truth) else f"not ({inner})"
        case Joined():
            return f" {test.op} ".join(_parts(test))


def _parts(test: Joined) -> list[str]:
    """Return joined conditions, in brackets if they are joined by another operator."""
    return [
        f"({condition_text(one)})"
        if isinstance(one, Joined) and one.op != test.op
        else condition_text(one)
        for one in test.tests
    ]


def _number_text(number: Number) -> str:
    return number.text() if isinstance(number, Poly) else repr(number)


def quoted(label: LabelTemplate) -> str:
    """Return a submodule's name as a string of Python."""
    parts = [p if isinstance(p, str) else f"{{{p.text()}}}" for p in label]
    text = "".join(parts)
    return f'"{text}"' if all(isinstance(p, str) for p in label) else f'f"{text}"'


def flat(node: PyExpression) -> str:
    """Return an expression on one line."""
    match node:
        case LiteralExpr():
            return node.value if isinstance(node.value, str) else node.value.text()
        case Text():
            return quoted(node.label)
        case TypeExpr():
            return node.name
        case First():
            return f"{flat(node.first)} if {INDEX} == 0 else {flat(node.rest)}"
        case Star():
            return f"*({flat(node.item)} {_rounds(node)})"
        case Either():
            there, otherwise = _operand(node.there, _SUM), flat(node.otherwise)
            return f"{there} if {condition_text(node.test)} else {otherwise}"
        case Maybe():
            inner = flat(node.node) if node.node is not None else ""
            return f"*([{inner}] if {condition_text(node.test)} else [])"
        case Var() | LoopVariable():
            return node.name
        case StoredNumber():
            return _operand(node, 0)
        case SelfAttribute():
            return _own_text(node)
        case Attribute():
            return f"{_operand(node.value, _ALONE)}.{node.name}"
        case SliceExpr():
            return _range_text(node)
        case BinaryExpr():
            return _binary_text(node)
        case Projection():
            return f"{_own_text(SelfAttribute(node.name))}({flat(node.value)})"
        case Shortcut():
            return _shortcut_text(node)
        case CallExpr() | Make() | SequenceExpr() | Invoke() | Subscript() | Entries():
            head, begin, args, end = _bracket(node)
            return f"{head}{begin}{', '.join([_argument(a) for a in args])}{end}"
    assert_never(node)


Bracketed = CallExpr | Make | SequenceExpr | Invoke | Subscript | Entries


def _bracket(node: Bracketed) -> tuple[str, str, Sequence[Argument], str]:
    """Return what precedes the brackets, their contents, and the brackets."""
    match node:
        case Make():
            return node.target.title(), "(", written_arguments(node), ")"
        case CallExpr():
            return node.function, "(", written_arguments(node), ")"
        case SequenceExpr():
            begin, end = node.brackets
            return "", begin, [Argument("", item) for item in node.items], end
        case Invoke():
            return _operand(node.callee, _ALONE), "(", node.args, ")"
        case Subscript():
            items = [Argument("", item) for item in node.items]
            return _operand(node.value, _ALONE), "[", items, "]"
        case Entries():
            return "", "{", node.items, "}"


def _argument(argument: Argument) -> str:
    return f"{_name_of(argument)}{flat(argument.value)}"


def _name_of(argument: Argument) -> str:
    """Return the text before an argument's value."""
    if not argument.name or argument.name.endswith(": "):
        return argument.name
    return f"{argument.name}="


def _own_text(own: SelfAttribute) -> str:
    if own.indexed:
        return f"self[{own.name}]"
    return attribute_text(own.name) or f'self.get_submodule("{own.name}")'


def attribute_text(name: str) -> str | None:
    """Return how a class writes a submodule; None if no attribute has such a name.

    What stands after a dot is a key of an `nn.ModuleDict`.
    """
    container, *keys = name.split(".")
    if not container.isidentifier():
        return None
    return f"self.{container}" + "".join(f'["{key}"]' for key in keys)


def _rounds(star: Star) -> str:
    index = INDEX if star.indexed else "_"
    return f"for {index} in range({star.times.text()})"


def _range_text(node: SliceExpr) -> str:
    """Return a slice, with spaces around the colon if an end is more than a number."""
    low, high = ["" if e is None else flat(e) for e in (node.low, node.high)]
    if all(not end or end.isdigit() for end in (low, high)):
        return f"{low}:{high}"
    return f"{low + ' ' if low else ''}:{' ' + high if high else ''}"


def _binary_text(node: BinaryExpr) -> str:
    own = _PRODUCT if node.op in ("*", "/") else _SUM
    first, *rest = node.operands
    # Operators are left-associative, and sums of floats depend on the order.
    parts = [_operand(first, own), *(_operand(one, own + 1) for one in rest)]
    return f" {node.op} ".join(parts)


def _shortcut_text(node: Shortcut) -> str:
    there = "" if node.there is None else flat(node.there)
    otherwise = "" if node.otherwise is None else flat(node.otherwise)
    return f"{there} if self.{node.flag} else {otherwise}"


def _operand(node: PyExpression, least: int) -> str:
    """Return an operand, in brackets if its precedence requires it."""
    if isinstance(node, LiteralExpr) and isinstance(node.value, Poly):
        return node.value.text(least)
    if isinstance(node, StoredNumber):
        kept = {name: Poly.name(f"self.{name}") for name in node.number.names()}
        return node.number.substitute(kept).text(least)
    if isinstance(node, BinaryExpr):
        own = _PRODUCT if node.op in ("*", "/") else _SUM
    else:
        own = _CONDITION if isinstance(node, Shortcut | First | Either) else _ALONE
    return f"({flat(node)})" if own < least else flat(node)


# ---- on many lines -------------------------------------------------------------


def spread(node: PyExpression) -> bool:
    """Return whether an expression must not be written on one line."""
    if isinstance(node, CallExpr):
        args = settled(node.args)
        # A single item has no trailing comma, and so can share the line.
        own = node.spread and (len(args) > 1 or len(node.args) == 1)
        return own or any([spread(a.value) for a in args])
    return False


def lay_out(
    node: PyExpression,
    indent: int,
    before: str = "",
    after: str = "",
    enclosed: bool = False,
) -> list[str]:
    """Return the lines of ``before node after``, indented by a number of spaces.

    Args:
        node: an expression.
        indent: indentation of the first line.
        before: text before it, on its first line.
        after: text after it, on its last line.
        enclosed: whether it is in brackets, inside which lines can end anywhere.
    """
    pad = " " * indent
    line = f"{pad}{before}{flat(node)}{after}"
    forced = spread(node)
    if not forced and len(line) <= WIDTH:
        return [line]
    match node:
        case Star():
            return _lay_out_star(node, indent, before, after)
        case Maybe():
            return _lay_out_maybe(node, indent, before, after)
        case Either():
            return _lay_out_either(node, indent, before, after, enclosed)
        case BinaryExpr():
            return _lay_out_binary(node, indent, before, after, enclosed)
        case Shortcut():
            return _lay_out_shortcut(node, indent, before, after, enclosed)
        case Attribute():
            return lay_out(node.value, indent, before, f".{node.name}{after}")
        case CallExpr() | Make() | SequenceExpr() | Invoke() | Subscript() | Entries():
            if method := _method_of_call(node):
                value, call = method
                return lay_out(value, indent, before, f"{call}{after}")
            head, begin, args, end = _bracket(node)
            return _lay_out_items(
                args, forced, indent, f"{before}{head}{begin}", f"{end}{after}"
            )
        case _:
            return [line]


def _method_of_call(node: PyExpression) -> tuple[PyExpression, str] | None:
    """Return a call, and the text of the method that is called on its result."""
    if not isinstance(node, Invoke) or not isinstance(node.callee, Attribute):
        return None
    value = node.callee.value
    if not isinstance(value, Bracketed):
        return None
    args = ", ".join([_argument(a) for a in node.args])
    return value, f".{node.callee.name}({args})"


def _lay_out_items(
    args: Sequence[Argument], forced: bool, indent: int, opening: str, closing: str
) -> list[str]:
    """Return the contents of brackets on a line of their own, or one item per line."""
    pad = " " * indent
    if not args:
        return [f"{pad}{opening}{closing}"]
    inner = f"{pad}    {', '.join([_argument(a) for a in args])}"
    if not forced and len(inner) <= WIDTH:
        return [f"{pad}{opening}", inner, f"{pad}{closing}"]
    lines = [f"{pad}{opening}"]
    comma = "" if len(args) == 1 else ","
    for arg in args:
        lines += lay_out(arg.value, indent + 4, _name_of(arg), comma, enclosed=True)
    return [*lines, f"{pad}{closing}"]


def _lay_out_binary(
    node: BinaryExpr, indent: int, before: str, after: str, enclosed: bool
) -> list[str]:
    """Return one operand per line; one of two can break inside its brackets instead."""
    pad, own = " " * indent, _PRODUCT if node.op in ("*", "/") else _SUM
    texts = [_operand(o, own + (k > 0)) for k, o in enumerate(node.operands)]
    first, *rest = node.operands
    if len(rest) == 1 and not enclosed and isinstance(rest[0], Bracketed):
        head = f"{before}{texts[0]} {node.op} "
        last, begin, _, _ = _bracket(rest[0])
        if len(f"{pad}{head}{last}{begin}") <= WIDTH:
            return lay_out(rest[0], indent, head, after)
        if isinstance(first, Bracketed):
            return lay_out(first, indent, before, f" {node.op} {texts[1]}{after}")
    if enclosed:
        lines = [f"{pad}{before}{texts[0]}"]
        lines += [f"{pad}{node.op} {text}" for text in texts[1:]]
        return [*lines[:-1], f"{lines[-1]}{after}"]
    whole = f"{pad}    {f' {node.op} '.join(texts)}"
    inner = [whole]
    if len(whole) > WIDTH:
        inner = lay_out(node, indent + 4, enclosed=True)
    return [f"{pad}{before}(", *inner, f"{pad}){after}"]


def _lay_out_shortcut(
    node: Shortcut, indent: int, before: str, after: str, enclosed: bool
) -> list[str]:
    assert node.there is not None and node.otherwise is not None
    pad = " " * indent
    if enclosed:
        return [
            *lay_out(node.there, indent, before, enclosed=True),
            f"{pad}if self.{node.flag}",
            *lay_out(node.otherwise, indent, "else ", after, enclosed=True),
        ]
    inner = lay_out(node, indent + 4, enclosed=True)
    return [f"{pad}{before}(", *inner, f"{pad}){after}"]


def _lay_out_either(
    node: Either, indent: int, before: str, after: str, enclosed: bool
) -> list[str]:
    pad = " " * indent
    if enclosed and not before:
        return [
            *lay_out(node.there, indent, enclosed=True),
            f"{pad}if {condition_text(node.test)}",
            *lay_out(node.otherwise, indent, "else ", after, enclosed=True),
        ]
    inner = [f"{pad}    {flat(node)}"]
    if len(inner[0]) > WIDTH:
        inner = _lay_out_either(node, indent + 4, "", "", True)
    return [f"{pad}{before}(", *inner, f"{pad}){after}"]


def _lay_out_maybe(node: Maybe, indent: int, before: str, after: str) -> list[str]:
    """Return a guarded argument on three lines: list, condition and the rest."""
    assert node.node is not None
    pad = " " * indent
    return [
        f"{pad}{before}*(",
        *lay_out(node.node, indent + 4, "[", "]"),
        f"{pad}    if {condition_text(node.test)}",
        f"{pad}    else []",
        f"{pad}){after}",
    ]


def _lay_out_star(node: Star, indent: int, before: str, after: str) -> list[str]:
    """Return a comprehension on two lines: the item, and the loop."""
    pad = " " * indent
    return [
        f"{pad}{before}*(",
        *lay_out(node.item, indent + 4),
        f"{pad}    {_rounds(node)}",
        f"{pad}){after}",
    ]


def lay_out_statements(statements: Sequence[PyStatement], indent: int) -> list[str]:
    """Return the lines of statements, indented by a number of spaces."""
    lines: list[str] = []
    for statement in statements:
        match statement:
            case Assign():
                typed = ": Tensor" if statement.typed else ""
                targets = ", ".join((statement.target, *statement.others))
                lines += lay_out(statement.value, indent, f"{targets}{typed} = ")
            case Return():
                lines += _lay_out_return(statement.value, indent)
            case ForStatement():
                head = f"for {statement.layer} in {statement.over}:"
                lines.append(f"{' ' * indent}{head}")
                lines += lay_out_statements(statement.body, indent + 4)
            case InTraining():
                lines.append(f"{' ' * indent}if self.training:")
                lines += lay_out_statements(statement.body, indent + 4)
            case IfStatement():
                lines += _lay_out_if(statement, indent)
    return lines


def _lay_out_return(node: PyExpression, indent: int) -> list[str]:
    """Return a `return`; several values have brackets only if one line is too short."""
    if isinstance(node, SequenceExpr):
        line = f"{' ' * indent}return {', '.join(map(flat, node.items))}"
        if len(line) <= WIDTH:
            return [line]
    return lay_out(node, indent, "return ")


def _lay_out_if(statement: IfStatement, indent: int) -> list[str]:
    test, pad = statement.test, " " * indent
    if isinstance(test, Present):
        here = [f"self.{name} is not None" for name in test.names]
        lines = [f"{pad}if {' and '.join(here)}:"]
    else:
        lines = lay_out_test(test, indent, "if ", ":")
    lines += lay_out_statements(statement.then, indent + 4)
    if not statement.otherwise:
        return lines
    if isinstance(statement.then[-1], Return):
        return [*lines, *lay_out_statements(statement.otherwise, indent)]
    rest = lay_out_statements(statement.otherwise, indent + 4)
    return [*lines, f"{pad}else:", *rest]


def lay_out_test(test: Test, indent: int, before: str, after: str = "") -> list[str]:
    """Return the lines of ``before test after``; a long condition gets brackets."""
    pad = " " * indent
    line = f"{pad}{before}{condition_text(test)}{after}"
    if len(line) <= WIDTH:
        return [line]
    inner = [f"{pad}    {condition_text(test)}"]
    if len(inner[0]) > WIDTH and isinstance(test, Joined):
        first, *rest = _parts(test)
        inner = [f"{pad}    {first}", *(f"{pad}    {test.op} {one}" for one in rest)]
    return [f"{pad}{before}(", *inner, f"{pad}){after}"]
