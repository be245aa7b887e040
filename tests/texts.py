"""Random specs as text, with comments and spaces wherever they are allowed."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from archdsl.syntax import tree as t

# Gaps: between statements; after brackets, commas and arrows; at the end of a line.
SEPARATOR, BREAK, SPACE = "\0sep", "\0break", "\0space"

Tokens = list[str]

_NAMES = st.sampled_from(
    ["a", "b1", "conv", "relu", "width", "unit_2", "Net", "truely", "index", "ifs", "_"]
)
_NUMBERS = st.sampled_from(["0", "1", "64", "1_000", "0.5", "1e-3", "2.50E+2", "007"])
_DIMS = st.sampled_from(["1x1", "3x3", "3x224x224", "07x7"])
_STRINGS = st.sampled_from(['""', '"fan_out"', '"a # b"', '"{|}"', '"\'"'])
_ATOMS = st.one_of(
    _NUMBERS, _NAMES, _DIMS, _STRINGS, st.sampled_from(["true", "false"])
)
_OPERATORS = ["+", "-", "*", "/", "//", "%", "**"]
_COMPARATORS = ["==", "!=", "<=", ">=", "in"]


def _joined(parts: list[Tokens], comma: str = ",") -> Tokens:
    out: Tokens = []
    for part in parts:
        out += [comma, BREAK, *part] if out else part
    return out


def _wrapped(opener: str, inner: Tokens, closer: str) -> Tokens:
    return [opener, BREAK, *inner, BREAK, closer]


# ---- expressions ----------------------------------------------------------------


@st.composite
def _names(draw: st.DrawFn) -> Tokens:
    """The names that a loop binds."""
    target = [draw(_NAMES)]
    if draw(st.integers(0, 4)) == 0:
        parts = draw(st.lists(_NAMES, min_size=2, max_size=3))
        target = _wrapped("[", _joined([[p] for p in parts]), "]")
    return [draw(_NAMES), ",", *target] if draw(st.booleans()) else target


@st.composite
def expressions(draw: st.DrawFn, depth: int = 2, angle: bool = False) -> Tokens:
    """Expressions; in < > without bare < and >."""
    if depth == 0 or draw(st.booleans()):
        return [draw(_ATOMS)]
    inner = expressions(depth - 1)
    operand = expressions(depth - 1).map(_as_operand)
    kind = draw(st.integers(0, 9))
    if kind <= 2:
        return [*draw(operand), draw(st.sampled_from(_OPERATORS)), *draw(operand)]
    if kind == 3:
        comparators = _COMPARATORS if angle else [*_COMPARATORS, "<", ">"]
        return [*draw(operand), draw(st.sampled_from(comparators)), *draw(operand)]
    if kind == 4:
        return [draw(st.sampled_from(["-", "not"])), *draw(operand)]
    if kind == 5:
        return [*draw(operand), "if", *draw(operand), "else", *draw(operand)]
    if kind == 6:
        items = draw(st.lists(inner, max_size=4))
        comma = [","] if items and draw(st.booleans()) else []
        return _wrapped("[", _joined(items) + comma, "]")
    if kind == 7:
        args = draw(st.lists(_argument(depth - 1), max_size=3))
        return [draw(_NAMES), *_wrapped("(", _joined(args), ")")]
    if kind == 8:
        return [*draw(operand), *_wrapped("[", draw(inner), "]")]
    test = ["if", *draw(operand)] if draw(st.booleans()) else []
    loop = ["for", *draw(_names()), "in", *draw(operand), *test]
    return _wrapped("[", [*draw(inner), *loop], "]")


def _as_operand(tokens: Tokens) -> Tokens:
    return tokens if len(tokens) == 1 else _wrapped("(", tokens, ")")


@st.composite
def _argument(draw: st.DrawFn, depth: int, angle: bool = False) -> Tokens:
    value = draw(expressions(depth, angle))
    if angle and depth and draw(st.integers(0, 5)) == 0:
        value = [draw(_NAMES), *draw(_angle(depth - 1))]
    return [draw(_NAMES), "=", *value] if draw(st.booleans()) else value


@st.composite
def _angle(draw: st.DrawFn, depth: int = 2) -> Tokens:
    args = draw(st.lists(_argument(depth, angle=True), max_size=4))
    comma = [","] if args and draw(st.booleans()) else []
    return _wrapped("<", _joined(args) + comma, ">")


# ---- statements -----------------------------------------------------------------


@st.composite
def _labels(draw: st.DrawFn) -> str:
    name = draw(_NAMES)
    if draw(st.integers(0, 3)) == 0:
        inner = draw(st.sampled_from(["", " ", "i", "i+1", " i * (b - 2) "]))
        return f"{name}{{{inner}}}"
    return name


@st.composite
def _calls(draw: st.DrawFn, depth: int) -> Tokens:
    out = [draw(_NAMES)]
    if draw(st.integers(0, 2)) == 0:
        out += draw(_angle())
    for _ in range(draw(st.integers(0, 3))):
        value = [draw(_ATOMS)]
        if draw(st.integers(0, 2)) == 0:
            value = _wrapped("(", draw(expressions()), ")")
        signed = [draw(st.sampled_from(["-1", "- 0.5"]))]
        out += draw(
            st.sampled_from(
                [value, ["/", *value], ["pad", "=", *value], ["p", "=", *signed]]
            )
        )
    if depth and draw(st.integers(0, 2)) == 0:
        out += draw(bodies(depth - 1))
    return out


@st.composite
def _elements(draw: st.DrawFn, depth: int, last: bool) -> Tokens:
    out: Tokens = []
    if draw(st.integers(0, 3)) == 0:
        out += [draw(_labels()), ":"]
    kind = draw(st.integers(0, 7))
    if kind == 0:
        out.append(f"@{draw(_labels())}")
    elif kind == 1 and depth:
        out += draw(bodies(depth - 1))
    else:
        out += draw(_calls(depth))
    if last and draw(st.integers(0, 3)) == 0:
        out += draw(
            st.sampled_from([["x2"], ["x10"], _wrapped("x(", ["n", "-", "1"], ")")])
        )
    if draw(st.integers(0, 7)) == 0:
        out += ["if", *draw(expressions(1))]
    return out


@st.composite
def _chains(draw: st.DrawFn, depth: int) -> Tokens:
    count = draw(st.integers(1, 4))
    out: Tokens = []
    for place in range(count):
        out += [BREAK, "->"] if out else []
        out += draw(_elements(depth, place == count - 1))
    return out


@st.composite
def _ifs(draw: st.DrawFn, depth: int) -> Tokens:
    out = ["if", *draw(expressions()), *draw(bodies(depth - 1))]
    if draw(st.booleans()):
        other = (
            _ifs(depth - 1) if depth > 1 and draw(st.booleans()) else bodies(depth - 1)
        )
        out += [BREAK, "else", *draw(other)]
    return out


@st.composite
def _claims(draw: st.DrawFn) -> Tokens:
    short = [["output", "1000"], ["receptive_field", "7x7"]]
    one = st.one_of(st.sampled_from(short), expressions())
    return ["expect", *_joined(draw(st.lists(one, min_size=1, max_size=3)))]


@st.composite
def statements(draw: st.DrawFn, depth: int = 2) -> Tokens:
    """Statements of a body."""
    kind = draw(st.integers(0, 12))
    if kind == 0:
        name = [draw(_NAMES)] if draw(st.booleans()) else []
        return ["input", *name, draw(st.sampled_from(["3x32x32", "100"]))]
    if kind == 1:
        return [
            *draw(st.sampled_from([[], ["training"]])),
            "output",
            *draw(_chains(depth)),
        ]
    if kind == 2:
        function = [
            "normal",
            *_wrapped("(", _joined(draw(st.lists(_argument(1), max_size=2))), ")"),
        ]
        return ["init", "conv", "weight", "=", *function, "bias", "=", "-1"]
    if kind == 3:
        return draw(_claims())
    if kind == 4:
        return [draw(_NAMES), "=", *draw(expressions(angle=True))]
    if kind == 5 and depth:
        return [
            "for",
            *draw(_names()),
            "in",
            *draw(expressions()),
            *draw(bodies(depth - 1)),
        ]
    if kind == 6 and depth:
        return draw(_ifs(depth))
    if kind == 7:
        names = st.sampled_from(["conv1", "b.1", "a{i+1}", '"a-b"', "x.{ i }.y", "if"])
        parts = draw(st.lists(names, min_size=1, max_size=3))
        return ["register", *_joined([[part] for part in parts])]
    return draw(_chains(depth))


@st.composite
def bodies(draw: st.DrawFn, depth: int) -> Tokens:
    """Layers in braces."""
    branches = draw(
        st.lists(st.lists(statements(depth), max_size=3), min_size=1, max_size=3)
    )
    out: Tokens = ["{"]
    for place, branch in enumerate(branches):
        out += ["|"] if place else []
        for number, statement in enumerate(branch):
            out += [SEPARATOR if number else BREAK, *statement]
        out.append(BREAK)
    return [*out, "}"]


# ---- files ----------------------------------------------------------------------


@st.composite
def _params(draw: st.DrawFn) -> Tokens:
    params: list[Tokens] = []
    for _ in range(draw(st.integers(0, 4))):
        param = [draw(_NAMES)]
        if draw(st.booleans()):
            param += [":", draw(st.sampled_from(["int", "block", "list"]))]
        if draw(st.booleans()):
            param += ["=", *draw(expressions(1, angle=True))]
        params.append(param)
    comma = [","] if params and draw(st.booleans()) else []
    return _wrapped("<", _joined(params) + comma, ">")


@st.composite
def _items(draw: st.DrawFn) -> Tokens:
    kind = draw(st.integers(0, 8))
    if kind == 0:
        names = [[n] for n in draw(st.lists(_NAMES, min_size=1, max_size=3))]
        return [
            "import",
            *_joined(names),
            "from",
            draw(st.sampled_from(["std", '"a.arch"'])),
        ]
    if kind == 1:
        default = ["default"] if draw(st.booleans()) else []
        out = [*default, "preset", draw(_NAMES), "=", draw(_NAMES)]
        out += draw(_angle()) if draw(st.booleans()) else []
        for _ in range(draw(st.integers(0, 2))):
            out += [draw(st.sampled_from([SEPARATOR, SPACE])), *draw(_claims())]
            if out.count("expect") == 1 and SEPARATOR in out:
                break
        return _one_claim_a_line(out)
    if kind == 2:
        params = _joined([[draw(_NAMES)], [draw(_NAMES), "=", *draw(expressions(1))]])
        return [
            "fn",
            draw(_NAMES),
            *_wrapped("(", params, ")"),
            "=",
            *draw(expressions()),
        ]
    params = draw(_params()) if draw(st.booleans()) else []
    if kind == 3:
        settings = [["torch", "=", '"a.B"'], ["params", "=", *draw(expressions())]]
        body = ["{", BREAK, *settings[0], SEPARATOR, *settings[1], BREAK, "}"]
        return ["op", draw(_NAMES), *params, *body]
    if kind == 4:
        return ["network", draw(_NAMES), *params, *draw(bodies(3))]
    seq = ["seq"] if draw(st.booleans()) else []
    return ["block", draw(_NAMES), *params, *seq, *draw(bodies(2))]


def _one_claim_a_line(tokens: Tokens) -> Tokens:
    """Put every claim except for the first on its own line."""
    out: Tokens = []
    for place, token in enumerate(tokens):
        after_first = (
            token == SPACE and "expect" in out and tokens[place + 1] == "expect"
        )
        out.append(SEPARATOR if after_first else token)
    return out


class _Printer:
    """Prints tokens with random gaps."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.comments = 0

    def comment(self) -> str:
        self.comments += 1
        return (
            f"{self.draw(st.sampled_from(['# c', '#c', '##', '#  ']))}{self.comments}"
        )

    def gap(self, kind: str) -> str:
        spaces = ["", " ", "  ", "\t"]
        shape = self.draw(st.integers(0, 7))
        indent = self.draw(st.sampled_from(spaces))
        end = self.draw(st.sampled_from(["\n", "\n", "\r\n"]))
        if kind == BREAK and shape < 5:
            return indent
        if shape == 7 or (kind == SEPARATOR and shape == 6):
            own = f"{indent}{self.comment()}{end}" * (shape - 6)
            return f"{indent}{self.comment()}{end}{own}{indent}"
        if kind == SEPARATOR and shape == 5:
            return f"{indent};{indent}"
        return end * self.draw(st.integers(1, 3)) + indent

    def text(self, tokens: Tokens) -> str:
        out = ""
        for token in tokens:
            if token == SPACE:
                out += " "
            elif token in (SEPARATOR, BREAK):
                out += self.gap(token)
            else:
                out += self.between(out[-1:], token) + token
        return out

    def between(self, before: str, token: str) -> str:
        if before in ("", " ", "\t", "\n"):
            return ""
        tight = before in "([,{" or token[0] in ")],}:" or before == ":"
        return self.draw(
            st.sampled_from(["", " ", "  "] if tight else [" ", "  ", "\t"])
        )


@st.composite
def specs(draw: st.DrawFn) -> str:
    """Whole files that parse, in any layout."""
    tokens: Tokens = [BREAK] if draw(st.booleans()) else []
    for place, item in enumerate(
        [["arch", "1"], *draw(st.lists(_items(), max_size=3))]
    ):
        tokens += [SEPARATOR, *item] if place else item
    tokens += [BREAK] if draw(st.booleans()) else []
    return _Printer(draw).text(tokens)


# ---- comparing ------------------------------------------------------------------


def content(node: Any) -> Any:
    """Return a tree as nested tuples, without spans."""
    if isinstance(node, list | tuple):
        return tuple(content(item) for item in node if not isinstance(item, t.Span))
    if not isinstance(node, t.SyntaxNode):
        return node
    fields = [f for f in node.fields if "span" not in f and f != "source"]
    return type(node).__name__, *(content(getattr(node, f)) for f in fields)


def with_spans(node: Any) -> Any:
    """Return a tree as nested tuples, with spans."""
    if isinstance(node, list | tuple):
        return tuple(with_spans(item) for item in node)
    if isinstance(node, t.Span):
        return node.start, node.end, node.source.text
    if not isinstance(node, t.SyntaxNode):
        return node
    fields = [f for f in node.fields if f != "source"]
    return type(node).__name__, *(with_spans(getattr(node, f)) for f in fields)
