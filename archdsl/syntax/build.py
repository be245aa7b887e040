"""Grammar rules to tree nodes; runs while the parser reduces, so it never recurses."""

from __future__ import annotations

from typing import Any

from lark import Token, Transformer
from lark.visitors import v_args

from ..source import Source, Span
from . import tree as t


@v_args(inline=True)
class Build(Transformer[Token, t.File]):
    """One method per grammar rule. `source` is set before each parse."""

    def __init__(self) -> None:
        super().__init__(visit_tokens=False)
        self.source = Source("", "")
        self.expressions: Any = None  # parses the expressions inside labels

    def _span(self, first: Any, last: Any = None) -> Span:
        last = first if last is None else last
        return Span(self.source, _start(first), _end(last))

    # ---- file

    def start(self, *items: t.Item) -> t.File:
        return t.File(self.source, list(items))

    def version(self, number: Token) -> t.Version:
        start = self.source.text.rfind("arch", 0, number.start_pos)
        return t.Version(str(number), Span(self.source, start, _end(number)))

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
        self, name: Token, params: list[t.Param] | None, body: t.Body
    ) -> t.Definition:
        return t.Definition(str(name), params or [], body, self._span(name), False)

    def network(
        self, name: Token, params: list[t.Param] | None, body: t.Body
    ) -> t.Definition:
        return t.Definition(str(name), params or [], body, self._span(name), True)

    def preset(
        self,
        default: Token | None,
        name: Token,
        network: Token,
        angle: list[t.Arg] | None,
        expect: t.Expect | None,
    ) -> t.Preset:
        return t.Preset(
            str(name),
            str(network),
            self._span(network),
            angle or [],
            expect,
            default is not None,
            self._span(name),
        )

    def params(self, *params: t.Param | None) -> list[t.Param]:
        return [p for p in params if p is not None]

    def param(
        self, name: Token, type_: Token | None, default: t.Expr | None
    ) -> t.Param:
        return t.Param(
            str(name), str(type_) if type_ else None, default, self._span(name)
        )

    # ---- statements

    def body(self, *branches: t.Branch) -> t.Body:
        return t.Body(list(branches), branches[0].span.to(branches[-1].span))

    def branch(self, *statements: t.Statement | None) -> t.Branch:
        kept = [s for s in statements if s is not None]
        span = kept[0].span.to(kept[-1].span) if kept else Span(self.source, 0, 0)
        return t.Branch(kept, span)

    def input(self, name: Token | None = None, dims: Token | None = None) -> t.Input:
        if dims is None:  # the alternative without a name has one child only
            name, dims = None, name
        assert dims is not None
        sizes = (
            tuple(int(p) for p in dims.split("x")) if "x" in dims else (_integer(dims),)
        )
        return t.Input(
            str(name) if name else None, sizes, self._span(name or dims, dims)
        )

    def output(self, training: Token | None, chain: t.Chain) -> t.Output:
        return t.Output(chain, training is not None, chain.span)

    def for_(
        self, first: Token, second: Token | None, iterable: t.Expr, body: t.Body
    ) -> t.For:
        names = [str(first)] + ([str(second)] if second else [])
        return t.For(names, iterable, body, self._span(first, iterable))

    def if_(
        self, test: t.Expr, body: t.Body, otherwise: t.Body | t.If | None = None
    ) -> t.If:
        return t.If(test, body, otherwise, self._span(test))

    def expects(self, *items: t.Expectation) -> t.Expect:
        return t.Expect(list(items), self._span(items[0], items[-1]))

    def expect(self, first: t.Expr | Token, dims: Token | None = None) -> t.Expectation:
        if dims is None:
            return t.Expectation(first, None, (), self._span(first))  # type: ignore[arg-type]
        sizes = tuple(_integer(p) for p in dims.split("x"))
        return t.Expectation(None, str(first), sizes, self._span(first, dims))

    @v_args(inline=False)
    def init(self, parts: list[Any]) -> t.Init:
        kind, rest = parts[0], parts[1:]
        settings = [
            t.Arg(str(n), v, self._span(n, v))
            for n, v in zip(rest[::2], rest[1::2], strict=True)
        ]
        return t.Init(str(kind), settings, self._span(kind))

    # ---- chains

    @v_args(inline=False)
    def chain(self, parts: list[Any]) -> t.Chain:
        steps = [p for p in parts if isinstance(p, t.Step)]
        return t.Chain(steps, steps[0].span.to(steps[-1].span))

    def element(
        self,
        label: t.Label | None,
        core: t.Step,
        repeat: t.Expr | None,
        guard: t.Expr | None,
    ) -> t.Step:
        core.label, core.repeat, core.guard = label, repeat, guard
        return core

    def label(self, token: Token) -> t.Label:
        return self._label(token, token.start_pos or 0)

    def _label(self, text: str, offset: int) -> t.Label:
        """Split ``layer{i + 1}`` into text and expressions."""
        span = Span(self.source, offset, offset + len(text))
        if "{" not in text:
            return t.Label([str(text)], span)
        parts: list[str | t.Expr | None] = []
        at = 0
        while at < len(text):
            begin = text.find("{", at)
            if begin < 0:
                parts.append(text[at:])
                break
            if begin > at:
                parts.append(text[at:begin])
            end = text.index("}", begin)
            inner = text[begin + 1 : end]
            parts.append(
                self.expressions(self.source, inner, offset + begin + 1)
                if inner.strip()
                else None
            )
            at = end + 1
        return t.Label(parts, span)

    def guard(self, test: t.Expr) -> t.Expr:
        return test

    def repeat(self, count: Token, expr: t.Expr | None = None) -> t.Expr:
        if expr is not None:
            return expr
        return t.Literal(self._span(count), _integer(count[1:]), count[1:])

    @v_args(inline=False)
    def call(self, parts: list[Any]) -> t.Call:
        word, angle, *args, body = parts
        last = body or (args[-1] if args else (angle[-1] if angle else word))
        span = self._span(word, word if last is body else last)
        return t.Call(span, str(word), angle, args, body)

    def group(self, body: t.Body) -> t.Group:
        return t.Group(body.span, body)

    def tap(self, token: Token) -> t.Tap:
        start = token.start_pos or 0
        return t.Tap(self._span(token), self._label(token[1:], start + 1))

    def angle(self, *args: t.Arg | None) -> list[t.Arg]:
        return [a for a in args if a is not None]

    def angle_arg(self, first: t.Expr | Token, value: t.Expr | None = None) -> t.Arg:
        if isinstance(first, Token):
            assert value is not None
            return t.Arg(str(first), value, self._span(first, value))
        return t.Arg(None, first, first.span)

    call_arg = angle_arg

    def arg(self, value: t.Expr) -> t.Arg:
        return t.Arg(None, value, value.span)

    def slash(self, value: t.Expr) -> t.Arg:
        return t.Arg("/", value, value.span)

    def named(self, name: Token, value: t.Expr) -> t.Arg:
        return t.Arg(str(name), value, self._span(name, value))

    # ---- expressions

    def number(self, token: Token) -> t.Literal:
        text = token.replace("_", "")
        value = float(text) if any(c in text for c in ".eE") else _integer(text)
        return t.Literal(self._span(token), value, str(token))

    def dims(self, token: Token) -> t.DimsLiteral:
        return t.DimsLiteral(
            self._span(token), tuple(_integer(p) for p in token.split("x"))
        )

    def string(self, token: Token) -> t.Literal:
        return t.Literal(self._span(token), str(token[1:-1]), str(token))

    def true(self, token: Token) -> t.Literal:
        return t.Literal(self._span(token), True, "true")

    def false(self, token: Token) -> t.Literal:
        return t.Literal(self._span(token), False, "false")

    def name(self, token: Token) -> t.Name:
        return t.Name(self._span(token), str(token))

    def parens(self, inner: t.Expr) -> t.Expr:
        return inner

    def list(self, *items: t.Expr | None) -> t.ListExpr:
        kept = [i for i in items if i is not None]
        span = self._span(kept[0], kept[-1]) if kept else Span(self.source, 0, 0)
        return t.ListExpr(span, kept)

    def neg(self, operand: t.Expr | Token) -> t.Expr:
        value = self.number(operand) if isinstance(operand, Token) else operand
        return t.Unary(value.span, "-", value)

    def bool_not(self, operand: t.Expr) -> t.Expr:
        return t.Unary(operand.span, "not", operand)

    def comparator(self, token: Token) -> str:
        return str(token)

    def compare(self, left: t.Expr, op: str, right: t.Expr) -> t.Expr:
        return t.Binary(left.span.to(right.span), op, left, right)

    def cond(self, then: t.Expr, test: t.Expr, otherwise: t.Expr) -> t.Expr:
        return t.Conditional(then.span.to(otherwise.span), then, test, otherwise)

    def index(self, sequence: t.Expr, at: t.Expr) -> t.Expr:
        return t.Index(sequence.span.to(at.span), sequence, at)

    def function(self, name: Token, *args: t.Arg | None) -> t.Function:
        kept = [a for a in args if a is not None]
        return t.Function(self._span(name), str(name), kept)


def _binary(op: str) -> Any:
    def build(self: Build, left: t.Expr, right: t.Expr) -> t.Binary:
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
    setattr(Build, _rule, v_args(inline=True)(_binary(_op)))

# Rules named like Python keywords.
for _rule in ("import", "for", "if"):
    setattr(Build, _rule, vars(Build)[_rule + "_"])


def _start(node: Any) -> int:
    start: int = node.start_pos if isinstance(node, Token) else node.span.start
    return start


def _end(node: Any) -> int:
    end: int = node.end_pos if isinstance(node, Token) else node.span.end
    return end


def _integer(text: str) -> int:
    return int(text.replace("_", ""))
