"""The Lark parser, loaded from stored tables if there are any."""

from __future__ import annotations

from typing import Any

import lark
from lark.grammar import Rule
from lark.lexer import TerminalDef

from archdsl.resources import grammar_text
from archdsl.syntax.build import TreeBuilder
from archdsl.syntax.cache import load_tables, store_tables
from archdsl.syntax.lines import LineFilter

# The start rules: a file, an expression, and an argument in < >.
_STARTS = ["start", "expr", "arg_value"]


def make_lark(build: TreeBuilder, lines: LineFilter) -> lark.Lark:
    """Return a parser that reports to a builder, through a filter of line ends.

    Computing the tables takes about 90 ms, reading them about 20.
    """
    name = f"lark {lark.__version__} {' '.join(_STARTS)}"
    hooks: dict[str, Any] = {"transformer": build, "postlex": lines}
    stored = load_tables(name)
    if stored is not None:
        try:
            made: lark.Lark = lark.Lark._load_from_dict(*stored, **hooks)  # type: ignore[no-untyped-call]
            return made
        except (AttributeError, AssertionError, LookupError, TypeError, ValueError):
            pass  # unusable tables are computed again
    made = lark.Lark(
        grammar_text(),
        parser="lalr",
        lexer="contextual",
        start=_STARTS,
        maybe_placeholders=True,
        **hooks,
    )
    if stored is None:
        store_tables(name, _tables(made))
    return made


def _tables(parser: lark.Lark) -> list[Any]:
    data, memo = parser.memo_serialize([TerminalDef, Rule])
    # The builder and the filter are passed in anew on each load.
    data["options"] = {**data["options"], "transformer": None, "postlex": None}
    return [data, memo]
