"""From text to syntax tree; all independent syntax errors are reported at once."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final

from archdsl.diagnostics import Diagnostic, SpecError
from archdsl.limits import MAX_FILE_BYTES
from archdsl.source import Source, Span
from archdsl.syntax import tree as t
from archdsl.syntax.cache import load_tree, store_tree

if TYPE_CHECKING:
    from lark import Lark, Token

    from archdsl.syntax.build import TreeBuilder

MAX_SYNTAX_ERRORS: Final = 20


def parse(source: Source) -> t.File:
    """Parse a whole file.

    Raises:
        SpecError: with all independent syntax errors.
    """
    _check_size(source)
    cached = load_tree(source)
    if cached is not None:
        return cached
    with _LOCK:
        file = _checked_file(source)
    store_tree(file)
    return file


def parse_partial(source: Source) -> tuple[t.File, list[Diagnostic]]:
    """Parse a file as far as possible.

    Returns:
        The tree, without unreadable parts, and the errors that `parse` would raise.
    """
    errors: list[Diagnostic] = []
    nothing = t.File(source, [])
    try:
        _check_size(source)
        check_characters(source)
        check_nesting(source)
    except SpecError as error:
        errors = error.diagnostics
        if error.is_limit or errors[0].code == "A0006":
            return nothing, errors
    with _LOCK:
        file, found = _parser().partial(source)
    try:
        if file is not None:
            _check_depth(file)
    except SpecError as error:
        return nothing, errors or found or error.diagnostics
    return file or nothing, errors or found


def _check_size(source: Source) -> None:
    if len(source.text) > MAX_FILE_BYTES:
        message = f"{source.name} is larger than {MAX_FILE_BYTES:,} bytes"
        raise SpecError([Diagnostic("A0901", message)])


def _checked_file(source: Source) -> t.File:
    """Parse a file after the checks that the parser relies on."""
    check_characters(source)
    check_nesting(source)
    file = _parser().file(source)
    _check_depth(file)
    return file


# The checks are imported late: a cached tree has passed them.


def check_characters(source: Source) -> None:
    """Refuse control characters and invisible direction marks."""
    from archdsl.syntax import checks

    checks.check_characters(source)


def check_nesting(source: Source) -> None:
    """Refuse unbalanced or too deep brackets."""
    from archdsl.syntax import checks

    checks.check_nesting(source)


def _check_depth(root: t.File | t.Expr) -> None:
    from archdsl.syntax import checks

    checks.check_depth(root)


def parse_expression(
    source: Source, text: str, offset: int, *, argument: bool = False
) -> t.Expr:
    """Parse one expression at `offset` in a source.

    Args:
        source: the source that contains it.
        text: the expression.
        offset: its position.
        argument: whether it is an argument in < >, such as ``unit<groups = 32>``.

    Raises:
        SpecError: if the text is not an expression, or is nested too deeply.
    """
    with _LOCK:
        start = "arg_value" if argument else "expr"
        expr = _parser().expression(source, text, offset, start)
    _check_depth(expr)
    return expr


def tokenize(source: Source, start: str = "start") -> list[Token]:
    """Return the tokens of a text that can be parsed, without whitespace and comments.

    Raises:
        SpecError: with all independent syntax errors, as for `parse`.
    """
    _check_size(source)
    with _LOCK:
        parser = _parser()
        kept: list[Token] = []
        parser.lines.kept = kept
        try:
            if start == "start":
                _checked_file(source)
            else:
                parser.expression(source, source.text, 0)
        finally:
            parser.lines.kept = None
    return kept


class _Parser:
    """The Lark parser, with its tree builder and line filter."""

    def __init__(self) -> None:
        from archdsl.syntax.build import TreeBuilder
        from archdsl.syntax.lines import LineFilter
        from archdsl.syntax.tables import make_lark

        self.build: TreeBuilder = TreeBuilder()
        self.lines: LineFilter = LineFilter()
        self.lark: Lark = make_lark(self.build, self.lines)

    def file(self, source: Source) -> t.File:
        """Parse a file."""
        file, errors = self.partial(source)
        if file is None or errors:
            raise SpecError(errors)
        return file

    def partial(self, source: Source) -> tuple[t.File | None, list[Diagnostic]]:
        """Parse a file as far as possible, and collect its errors."""
        from archdsl.syntax.recover import parse_all

        self.build.begin(source)
        self.lines.begin(source.text)
        file, errors = parse_all(self.lark, self.lines, source, MAX_SYNTAX_ERRORS)
        self.lines.kept = None
        errors += self.build.errors or ([] if errors else self.build.stray)
        errors += self.build.large
        for part in self.build.embedded:
            try:
                part.parts[part.place] = self.expression(source, part.text, part.offset)
            except SpecError as error:
                errors += error.diagnostics
        return file, _first_of_each_line(errors)

    def expression(
        self, source: Source, text: str, offset: int, start: str = "expr"
    ) -> t.Expr:
        """Parse an expression."""
        from lark import UnexpectedInput

        from archdsl.syntax.lines import position

        self.build.begin(source, offset)
        self.lines.begin(text)
        try:
            expr: Any = self.lark.parse(text, start=start)
        except UnexpectedInput as error:
            at = position(error)
            place = len(text) - 1 if at is None else min(at, len(text) - 1)
            span = Span(source, offset + max(0, place), offset + max(1, len(text)))
            message = f"`{text.strip()}` is not an expression"
            raise SpecError([Diagnostic("A0001", message, span)]) from None
        if self.build.errors or self.build.large:
            raise SpecError(self.build.errors + self.build.large)
        assert isinstance(expr, t.Expr)
        return expr


def _first_of_each_line(errors: list[Diagnostic]) -> list[Diagnostic]:
    kept: dict[int, Diagnostic] = {}
    for error in errors:
        kept.setdefault(error.span.line if error.span else 0, error)
    in_order = [kept[line] for line in sorted(kept)]
    return in_order[:MAX_SYNTAX_ERRORS]


_LOCK = threading.Lock()
_CACHE: list[_Parser] = []


def _parser() -> _Parser:
    if not _CACHE:
        _CACHE.append(_Parser())
    return _CACHE[0]
