"""Builds tree nodes as the parser reduces grammar rules, without recursion."""

from __future__ import annotations

import re
from math import isinf
from typing import Any, NamedTuple

from lark import Token, Transformer
from lark.visitors import v_args

from archdsl.diagnostics import Diagnostic
from archdsl.limits import MAX_INTEGER
from archdsl.source import Source, Span
from archdsl.syntax import tree as t


class _Angle(NamedTuple):
    args: list[t.Arg]
    span: Span


class Embedded(NamedTuple):
    """An expression inside a label, and its index among the label's parts."""

    parts: list[str | t.Expr | None]
    place: int
    text: str
    offset: int


class _Element(NamedTuple):
    step: t.ChainStep
    span: Span  # including label, body, repeat and guard


# Claims may contain the MACs of a large network: 18 digits fit in 63 bits.
_CLAIM_DIGITS = 18


def _is_small_claim(error: Diagnostic, claims: Span) -> bool:
    """Whether a large integer is in a claim, and small enough for one."""
    span = error.span
    if span is None or span.start < claims.start:
        return False
    return len(span.text.replace("_", "").lstrip("0")) <= _CLAIM_DIGITS


_LABEL_PART = re.compile(r"\{(?P<inner>[^{}]*)\}|[^{]+|\{")
_SILENCES = re.compile(r"# ?lint:")


@v_args(inline=True)
class TreeBuilder(Transformer[Token, t.File]):
    """One method per grammar rule.

    Attributes:
        source: the source that spans refer to.
        base: the offset of the parsed text in the source.
        errors: mistakes that the grammar allows.
        stray: errors for claims without a preset; other errors may explain them.
        large: errors for integers beyond the limit; claims may have such integers.
        embedded: the expressions inside labels, which are parsed later.
    """

    def __init__(self) -> None:
        super().__init__(visit_tokens=False)
        self.begin(Source("", ""))

    def begin(self, source: Source, base: int = 0) -> None:
        """Prepare for the next parse."""
        self.source = source
        self.base = base
        self.errors: list[Diagnostic] = []
        self.stray: list[Diagnostic] = []
        self.large: list[Diagnostic] = []
        self.embedded: list[Embedded] = []

    def _start(self, node: Any) -> int:
        if isinstance(node, Token):
            return self.base + (node.start_pos or 0)
        start: int = node.span.start
        return start

    def _end(self, node: Any) -> int:
        if isinstance(node, Token):
            return self.base + (node.end_pos or 0)
        end: int = node.span.end
        return end

    def _span(self, first: Any, last: Any = None) -> Span:
        end = self._end(first if last is None else last)
        return Span(self.source, self._start(first), end)

    def _error(
        self, code: str, message: str, span: Span, help: str | None = None
    ) -> None:
        self.errors.append(Diagnostic(code, message, span, help=help))

    def _integer(self, text: str, at: Token) -> int:
        digits = text.replace("_", "").lstrip("0")
        if digits and not digits.isdigit():
            help = "sizes are whole numbers, such as `3x224x224`"
            self._error(
                "A0001", f"`{text}` is not a whole number", self._span(at), help
            )
            return 1
        # int() raises for thousands of digits.
        if len(digits) > 10 or int(digits or "0") > MAX_INTEGER:
            message = f"an integer is larger than {MAX_INTEGER:,} (31 bits)"
            self.large.append(Diagnostic("A0903", message, self._span(at)))
            return int(digits) if len(digits) <= _CLAIM_DIGITS else 1
        return int(digits or "0")

    def _sizes(self, token: Token) -> tuple[int, ...]:
        return tuple(self._integer(part, token) for part in token.split("x"))

    # ---- file

    def start(self, *items: t.Item | t.Expect | None) -> t.File:
        kept: list[t.Item] = []
        for item in items:
            if isinstance(item, t.Expect):
                self._claim(kept[-1] if kept else None, item)
            elif item is not None:  # an empty file has one
                kept.append(item)
        return t.File(self.source, kept)

    def _claim(self, above: t.Item | None, expect: t.Expect) -> None:
        """Attach claims on a line of their own to the preset above."""
        if not isinstance(above, t.Preset):
            message = "`expect` belongs in a network or below a preset"
            self.stray.append(Diagnostic("A0001", message, expect.span))
        elif above.expect is None:
            above.expect = expect
        else:
            above.expect.items += expect.items
            above.expect.span = above.expect.span.to(expect.span)

    def version(self, word: Token, number: Token) -> t.Version:
        return t.Version(str(number), self._span(word, number))

    @v_args(inline=False)
    def import_(self, parts: list[Token]) -> t.Import:
        names, origin = parts[:-1], parts[-1]
        is_path = origin.type == "STRING"
        return t.Import(
            [(str(n), self._span(n)) for n in names],
            origin[1:-1] if is_path else str(origin),
            is_path,
            self._span(names[0], origin),
            self._span(origin),
        )

    def block(
        self,
        word: Token,
        name: Token,
        params: list[t.Param] | None,
        inputs: list[tuple[str, Span]] | None,
        seq: Token | None,
        body: t.Body,
    ) -> t.Definition:
        return t.Definition(
            str(name),
            params or [],
            body,
            self._span(name),
            is_network=word == "network",
            indexed=seq is not None,
            doc=_comment_above(self.source.text, self._start(word)),
            inputs=inputs or [],
        )

    def network(
        self,
        word: Token,
        name: Token,
        params: list[t.Param] | None,
        seq: Token | None,
        body: t.Body,
    ) -> t.Definition:
        return self.block(word, name, params, None, seq, body)

    @v_args(inline=False)
    def entries(self, parts: list[Token]) -> list[tuple[str, Span]]:
        _, *names, _ = parts
        return [(str(name), self._span(name)) for name in names]

    @v_args(inline=False)
    def function_def(self, parts: list[Any]) -> t.FunctionDef:
        name, *params, _, value = parts
        return t.FunctionDef(str(name), params, value, self._span(name))

    def fn_param(self, name: Token, default: t.Expr | None) -> t.Param:
        return t.Param(str(name), None, default, self._span(name))

    def op(
        self,
        name: Token,
        params: list[t.Param] | None,
        inputs: list[tuple[str, Span]] | None,
        body: t.Body,
    ) -> t.OpDef:
        settings: list[t.Let] = []
        if each := body.branches[0].each:
            self._error("A0001", "an `op` has no branches", each.span)
        for statement in body.branches[0].statements:
            if isinstance(statement, t.Let):
                settings.append(statement)
            else:
                self._error(
                    "A0001",
                    'an `op` holds settings such as `torch = "module.Class"`',
                    statement.span,
                )
        return t.OpDef(
            str(name), params or [], settings, self._span(name), inputs or []
        )

    def preset(
        self,
        default: Token | None,
        name: Token,
        network: Token,
        angle: _Angle | None,
        expect: t.Expect | None,
    ) -> t.Preset:
        return t.Preset(
            str(name),
            str(network),
            self._span(network),
            angle.args if angle else [],
            expect,
            default is not None,
            self._span(name),
        )

    def params(self, opened: Token, *params: t.Param | None) -> list[t.Param]:
        return [p for p in params if p is not None]

    def param(
        self, name: Token, type_: Token | None, default: t.Expr | None
    ) -> t.Param:
        return t.Param(
            str(name), str(type_) if type_ else None, default, self._span(name)
        )

    # ---- statements

    @v_args(inline=False)
    def body(self, parts: list[Any]) -> t.Body:
        opened, *branches, closed = parts
        at = self._end(opened)
        for branch in branches:
            if not branch.statements:  # it is empty: right after the brace or `|`
                branch.span = Span(self.source, at, at)
            at = branch.span.end
        return t.Body(branches, self._span(opened, closed))

    def branch(self, *parts: t.Statement | t.Each | None) -> t.Branch:
        kept = [s for s in parts if s is not None and not isinstance(s, t.Each)]
        each = next((part for part in parts if isinstance(part, t.Each)), None)
        span = kept[0].span.to(kept[-1].span) if kept else Span(self.source, 0, 0)
        return t.Branch(kept, span, each)

    def each(self, targets: t.Targets, iterable: t.Expr) -> t.Each:
        return t.Each(targets, iterable, targets.span.to(iterable.span))

    def input(self, name: Token | None = None, dims: Token | None = None) -> t.Input:
        if dims is None:  # an input without a name has one child only
            name, dims = None, name
        assert dims is not None
        shown = str(name) if name else None
        return t.Input(shown, self._sizes(dims), self._span(name or dims, dims))

    def output(self, training: Token | None, chain: t.Chain) -> t.Output:
        return t.Output(chain, training is not None, chain.span)

    def let(self, name: Token, value: t.Expr) -> t.Let:
        return t.Let(str(name), value, self._span(name))

    def for_(self, targets: t.Targets, iterable: t.Expr, body: t.Body) -> t.For:
        return t.For(targets, iterable, body, targets.span.to(iterable.span))

    def targets(self, index: Token | None, target: t.Targets) -> t.Targets:
        if index is None:
            return target
        span = self._span(index, target)
        return t.Targets(str(index), target.names, target.unpacks, span)

    @v_args(inline=False)
    def target(self, parts: list[Token]) -> t.Targets:
        names = [str(token) for token in parts if token.type == "NAME"]
        return t.Targets(None, names, len(parts) > 1, self._span(parts[0], parts[-1]))

    def if_(
        self, test: t.Expr, body: t.Body, otherwise: t.Body | t.If | None = None
    ) -> t.If:
        return t.If(test, body, otherwise, self._span(test))

    def expects(self, *items: t.Claim) -> t.Expect:
        span = self._span(items[0], items[-1])
        self.large = [e for e in self.large if not _is_small_claim(e, span)]
        return t.Expect(list(items), span)

    def expect(self, first: t.Expr | Token, dims: Token | None = None) -> t.Claim:
        if dims is None:
            return t.Claim(first, None, (), self._span(first))  # type: ignore[arg-type]
        span = self._span(first, dims)
        return t.Claim(None, str(first), self._sizes(dims), span)

    @v_args(inline=False)
    def init(self, parts: list[Any]) -> t.Init:
        word, what, *rest = parts
        kind, path = ("", what[1:]) if what.type == "TAP" else (str(what), "")
        if len(rest) % 2:  # a path or kind comes before the pairs
            kind = str(rest.pop(0) or "")
        settings = [
            t.Arg(str(n), v, self._span(n, v))
            for n, v in zip(rest[::2], rest[1::2], strict=True)
        ]
        return t.Init(kind, path, settings, self._span(word, rest[-1]))

    def register(self, word: Token, *names: t.Label) -> t.Register:
        return t.Register(list(names), self._span(word, names[-1]))

    def part(self, token: Token) -> t.Label:
        return self.label(token)

    # ---- chains

    @v_args(inline=False)
    def chain(self, parts: list[Any]) -> t.Chain:
        elements = [p for p in parts if isinstance(p, _Element)]
        for element in elements[:-1]:
            if element.step.repeat is not None:
                self._error(
                    "A0001",
                    "a repeat comes at the end of a chain",
                    element.step.repeat.span,
                    "it repeats the whole chain; put the rest on another line",
                )
        span = elements[0].span.to(elements[-1].span)
        return t.Chain([e.step for e in elements], span)

    def element(
        self,
        label: t.Label | None,
        core: t.ChainStep,
        renamed: list[t.Label] | None,
        repeat: t.Expr | None,
        guard: t.Expr | None,
    ) -> _Element:
        core.label, core.renamed = label, renamed
        core.repeat, core.guard = repeat, guard
        body = core.body if isinstance(core, t.Call) else None
        span = self._span(label or core, guard or repeat or body or core)
        if renamed and not (guard or repeat):
            span = Span(self.source, span.start, renamed[-1].span.end + 1)  # the quote
        return _Element(core, span)

    def renamed(self, word: Token, *names: Token) -> list[t.Label]:
        return [self.label(name) for name in names]

    def label(self, token: Token) -> t.Label:
        if token.type == "STRING":
            return self._label(token[1:-1], self._start(token) + 1, quoted=True)
        return self._label(token, self._start(token))

    def _label(self, text: str, offset: int, *, quoted: bool = False) -> t.Label:
        """Split ``layer{i + 1}`` into text and positions of expressions."""
        parts: list[str | t.Expr | None] = []
        for match in _LABEL_PART.finditer(text):
            inner = match["inner"]
            parts.append(match[0] if inner is None else None)
            if inner and inner.strip():
                at = offset + match.start("inner")
                self.embedded.append(Embedded(parts, len(parts) - 1, inner, at))
        span = Span(self.source, offset, offset + len(text))
        return t.Label(parts, span, quoted)

    def guard(self, test: t.Expr) -> t.Expr:
        return test

    def repeat(
        self, count: Token, expr: t.Expr | None = None, close: Token | None = None
    ) -> t.Expr:
        if expr is not None:
            expr.span = self._span(count, close)
            return expr
        value = self._integer(count[1:], count)
        return t.Literal(self._span(count), value, count[1:])

    @v_args(inline=False)
    def call(self, parts: list[Any]) -> t.Call:
        word, angle, *args, body = parts
        self._check_spaced_x(args)
        last = args[-1] if args else angle or word
        args_in_angle = angle.args if angle else None
        return t.Call(self._span(word, last), str(word), args_in_angle, args, body)

    def _check_spaced_x(self, args: list[t.Arg]) -> None:
        """Report sizes and repeats that are written with spaces."""
        for place, arg in enumerate(args[:-1]):
            after = args[place + 1]
            if arg.span.text != "x" or not isinstance(after.value, t.Literal):
                continue
            number = after.value.text
            before = args[place - 1].value if place else None
            if isinstance(before, t.Literal):
                shown = f"{before.text}x{number}"
                span, help = before.span, f"sizes have no spaces: `{shown}`"
            else:
                span, help = arg.span, f"a repeat has no space: `x{number}`"
            self._error("A0001", "`x` has a space beside it", span.to(after.span), help)

    def group(self, body: t.Body) -> t.BracedGroup:
        return t.BracedGroup(body.span, body)

    def tap(self, token: Token) -> t.Tap:
        path = self._label(token[1:], self._start(token) + 1)
        return t.Tap(self._span(token), path)

    @v_args(inline=False)
    def angle(self, parts: list[Any]) -> _Angle:
        opened, *args, closed = parts
        return _Angle([a for a in args if a is not None], self._span(opened, closed))

    given = angle

    def angle_arg(self, first: t.Expr | Token, value: t.Expr | None = None) -> t.Arg:
        if isinstance(first, Token):
            assert value is not None
            return t.Arg(str(first), value, self._span(first, value))
        return t.Arg(None, first, first.span)

    def partial(self, name: Token, angle: _Angle) -> t.Partial:
        return t.Partial(self._span(name, angle), str(name), angle.args)

    call_arg = angle_arg

    def arg(self, value: t.Expr) -> t.Arg:
        return t.Arg(None, value, value.span)

    def slash(self, slash: Token, value: t.Expr) -> t.Arg:
        return t.Arg("/", value, self._span(slash, value))

    def named(self, name: Token, value: t.Expr) -> t.Arg:
        return t.Arg(str(name), value, self._span(name, value))

    # ---- expressions

    def number(self, token: Token) -> t.Literal:
        text = token.replace("_", "")
        if not any(c in text for c in ".eE"):
            value: float = self._integer(text, token)
        elif isinf(value := float(text)):
            self._error("A0903", "a number is too large", self._span(token))
        return t.Literal(self._span(token), value, str(token))

    def dims(self, token: Token) -> t.DimsLiteral:
        return t.DimsLiteral(self._span(token), self._sizes(token))

    def string(self, token: Token) -> t.Literal:
        return t.Literal(self._span(token), str(token[1:-1]), str(token))

    def true(self, token: Token) -> t.Literal:
        return t.Literal(self._span(token), True, "true")

    def false(self, token: Token) -> t.Literal:
        return t.Literal(self._span(token), False, "false")

    def name(self, token: Token) -> t.Name:
        return t.Name(self._span(token), str(token))

    def parens(self, opened: Token, inner: t.Expr, closed: Token) -> t.Expr:
        inner.span = self._span(opened, closed)
        return inner

    @v_args(inline=False)
    def list_(self, parts: list[Any]) -> t.ListExpr:
        opened, *items, closed = parts
        kept = [i for i in items if i is not None]
        return t.ListExpr(self._span(opened, closed), kept)

    def comprehension(
        self,
        opened: Token,
        item: t.Expr,
        targets: t.Targets,
        iterable: t.Expr,
        test: t.Expr | None,
        closed: Token,
    ) -> t.Comprehension:
        return t.Comprehension(
            self._span(opened, closed), item, targets, iterable, test
        )

    def neg(self, sign: Token, operand: t.Expr) -> t.Expr:
        return t.Unary(self._span(sign, operand), "-", operand)

    def bool_not(self, word: Token, operand: t.Expr) -> t.Expr:
        return t.Unary(self._span(word, operand), "not", operand)

    def comparator(self, token: Token) -> str:
        return str(token)

    arg_comparator = comparator

    def compare(self, left: t.Expr, op: str, right: t.Expr) -> t.Expr:
        return t.Binary(left.span.to(right.span), op, left, right)

    def cond(self, then: t.Expr, test: t.Expr, otherwise: t.Expr) -> t.Expr:
        return t.Conditional(then.span.to(otherwise.span), then, test, otherwise)

    def index(self, sequence: t.Expr, at: t.Expr, close: Token) -> t.Expr:
        return t.Index(self._span(sequence, close), sequence, at)

    @v_args(inline=False)
    def function(self, parts: list[Any]) -> t.FunctionCall:
        name, *args, close = parts
        kept = [a for a in args if a is not None]
        return t.FunctionCall(self._span(name, close), str(name), kept)


def _binary(op: str) -> Any:
    def build(self: TreeBuilder, left: t.Expr, right: t.Expr) -> t.Binary:
        return t.Binary(left.span.to(right.span), op, left, right)

    return build


for _rule, _op in {
    "bool_or": "or",
    "bool_and": "and",
    "add": "+",
    "sub": "-",
    "mul": "*",
    "div": "/",
    "floordiv": "//",
    "mod": "%",
    "pow": "**",
}.items():
    setattr(TreeBuilder, _rule, v_args(inline=True)(_binary(_op)))

# Rules with the names of Python keywords or built-ins.
for _rule in ("import", "for", "if", "list"):
    setattr(TreeBuilder, _rule, vars(TreeBuilder)[_rule + "_"])


def _comment_above(text: str, at: int) -> str:
    """Return the comment lines that stand directly above the line of an offset.

    Comments that silence a rule of `archdsl lint` do not count, as they describe
    nothing.
    """
    begin = text.rfind("\n", 0, at) + 1
    if text[begin:at].strip():
        return ""
    lines: list[str] = []
    while begin:
        end = begin - 1
        begin = text.rfind("\n", 0, end) + 1
        line = text[begin:end].strip()
        if not line.startswith("#"):
            break
        if not _SILENCES.match(line):
            lines.append(line[1:].removeprefix(" "))
    return "\n".join(reversed(lines))
